"""Labels on several MPI ranks: in front of a program, or as Python under a launcher."""

import os
import shutil
import sys

import numpy as np
import pytest
from ase.build import bulk

from nucleate.errors import ReferenceFailed
from nucleate.reference.base import Label
from nucleate.reference.cluster.mpi import Ranks, ask_under_mpi
from nucleate.reference.cluster.worker import compute
from nucleate.reference.engine_inputs import LAUNCHER, EngineInput
from nucleate.reference.settings import ReferenceSettings
from nucleate.reference.spool import kept_answer
from tests.reference.fakes import Emt


@pytest.fixture
def twice(tmp_path, monkeypatch):
    """A launcher of two ranks without MPI."""
    path = tmp_path / "twice"
    path.write_text('#!/bin/bash\nshift 2\nfor rank in 1 0; do PMI_RANK=$rank "$@" || exit 3; done\n')
    path.chmod(0o700)
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    return Ranks(2, f"{path} -n 2", False)


def test_the_launcher_is_put_before_the_engine(monkeypatch):
    engine = EngineInput(ReferenceSettings(engine="espresso", command="sh -c pw.x"), None)
    assert engine.launched == "sh -c pw.x"
    settings = engine.__dict__.copy()
    monkeypatch.setenv(LAUNCHER, "srun -n 8")
    assert engine.launched == "srun -n 8 sh -c pw.x"
    assert engine.__dict__ == settings


def test_workers_are_not_ranks(monkeypatch, tmp_path):
    """As after `srun --mpi=pmix`, under which GPAW would refuse serial calculations."""
    for name in ("PMIX_RANK", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_MCA_gds", "OMPI_MCA_btl"):
        monkeypatch.setenv(name, "1")
    compute(Emt(), bulk("Cu", cubic=True), None, "a" * 64, None, Ranks(1, "", False))
    left = [name for name in os.environ if name.startswith(("PMI", "OMPI"))]
    assert sorted(left) == ["OMPI_MCA_btl", "PMIX_MCA_gds"]


def test_python_runs_on_every_rank(twice, tmp_path):
    atoms, marker = bulk("Cu", cubic=True), tmp_path / "marker"
    spool = tmp_path / "spool"
    spool.mkdir()
    answer, wall = compute(Emt(str(marker)), atoms, 60.0, "a" * 64, spool, twice)
    assert isinstance(answer, Label)
    assert answer.energy == Emt().label(atoms).energy
    assert answer.core_seconds >= wall > 0
    assert marker.read_text() == "call\ncall\n"
    assert kept_answer(spool, "a" * 64)[0].energy == answer.energy
    assert sorted(path.name for path in tmp_path.iterdir()) == ["marker", "spool", "twice"]


def test_ranks_that_fail_are_a_failure(twice, tmp_path):
    atoms = bulk("Cu", cubic=True)
    for trouble, seconds, reason in (
        (0.333, 300, "ended without a label"),
        (0.111, 300, "no convergence"),
        (0.222, 2, "time limit of 2 s"),
    ):
        atoms.positions[0, 0] = trouble
        answer, _ = ask_under_mpi(Emt(), atoms, seconds, twice, None)
        assert isinstance(answer, ReferenceFailed)
        assert reason in answer.reason
    answer, _ = ask_under_mpi(Emt(), atoms, 6.0, Ranks(2, "/no/such/mpiexec", False), None)
    assert "cannot be started" in answer.reason


@pytest.mark.slow
def test_gpaw_on_two_ranks_gives_the_label_of_one(tmp_path):
    pytest.importorskip("gpaw")
    if shutil.which("mpiexec") is None:
        pytest.skip("mpiexec is not installed")
    from nucleate.reference.build import make_reference

    reference = make_reference(ReferenceSettings(engine="gpaw", preset="fast", k_spacing=0.5))
    # With a large Pulay stress, to which all ranks contribute.
    atoms = bulk("LiF", "rocksalt", a=4.07)
    one = reference.label(atoms)
    ranks = Ranks(2, "mpiexec --allow-run-as-root --oversubscribe -n 2", False)
    two, _ = ask_under_mpi(reference, atoms, 600.0, ranks, tmp_path)
    assert isinstance(two, Label), two
    assert two.energy == pytest.approx(one.energy, abs=1e-5)
    np.testing.assert_allclose(two.forces, one.forces, atol=1e-3)
    np.testing.assert_allclose(two.stress, one.stress, atol=1e-5)
