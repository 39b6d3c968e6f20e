"""Real engines on two MPI ranks inside a block of a real Slurm: the labels of one rank on this computer."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from nucleate.reference import Ledger, ReferenceSettings, make_reference
from nucleate.reference.base import Label
from nucleate.reference.cluster.blocks import Blocks
from nucleate.reference.dispatch import Dispatcher
from nucleate.reference.spool import BLOCKS
from tests.cluster.test_lost_blocks import in_blocks

PSEUDOS = Path("/usr/share/espresso/pseudo")
ENGINES = {
    "gpaw": {"preset": "fast", "k_spacing": 0.6},
    "espresso": {
        "command": "pw.x", "pseudo_dir": str(PSEUDOS), "pseudopotentials": {"Si": "Si.pbe-rrkj.UPF"}, "cutoff": 300, "k_spacing": 0.6,
    },
    "cp2k": {"command": "cp2k.psmp -s", "parameters": {"basis_set": "DZVP-MOLOPT-SR-GTH", "pseudo_potential": "auto"}, "k_spacing": 0.6},
}  # fmt: skip


def needs(engine):
    if engine == "gpaw":
        pytest.importorskip("gpaw")
    elif shutil.which(ENGINES[engine]["command"].split()[0]) is None or (engine == "espresso" and not PSEUDOS.is_dir()):
        pytest.skip(f"needs {ENGINES[engine]['command']}")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_labels_of_two_ranks_in_a_block_are_those_of_one_here(slurm, executor_file, tmp_path, engine):
    needs(engine)
    reference = make_reference(ReferenceSettings(engine=engine, **ENGINES[engine]))
    structures = []
    for seed in range(2):
        atoms = bulk("Si", a=5.43)
        atoms.rattle(0.05, seed=seed)
        structures.append(atoms)
    launch = "mpiexec --allow-run-as-root --oversubscribe -n {ranks}"
    file = executor_file(
        ("workers_per_node = 2", "workers_per_node = 1"), ("[connection]", f'[label]\nranks = 2\nlaunch = "{launch}"\n\n[connection]')
    )
    with in_blocks(tmp_path, file) as executor:
        answers = Dispatcher(reference, Ledger(tmp_path / "run.db"), executor=executor).label_many(structures, "train", 0)
    for answer, atoms in zip(answers, structures, strict=True):
        local = reference.label(atoms)
        assert isinstance(answer, Label), answer
        assert answer.energy == pytest.approx(local.energy, abs=1e-4)
        np.testing.assert_allclose(answer.forces, local.forces, atol=2e-3)
        np.testing.assert_allclose(answer.stress, local.stress, atol=2e-5)
    slurm.wait_until_empty()
    assert Blocks.read(tmp_path / BLOCKS).cost()["label_core_seconds"] > 0
