"""CIF files with their space group give the same crystal in three programs."""

import io
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from nucleate.crystals.cif_writing import symmetric_cif
from nucleate.crystals.formats import read_frames
from nucleate.csp.result_files import cif_text
from nucleate.fingerprints.matching import space_group, standard_cell
from nucleate.generate.aflow import read_prototypes

ROUNDED = 3e-4
"""pymatgen rounds coordinates close to 1/3 and 2/3, which moves atoms by up to 1e-4 cell lengths; the other readers do not round, Å."""


def prototypes() -> list[Atoms]:
    """Return the smallest prototype of each space group with at most 30 atoms in the primitive cell, of light elements."""
    smallest: dict[int, Atoms] = {}
    for prototype in read_prototypes():
        atoms = Atoms(prototype.numbers, cell=prototype.cell, scaled_positions=prototype.scaled, pbc=True)
        if len(atoms) <= 30 and max(atoms.numbers) <= 86:
            known = smallest.get(prototype.space_group)
            if known is None or len(atoms) < len(known):
                smallest[prototype.space_group] = atoms
    return [smallest[number] for number in sorted(smallest)]


def distances(atoms: Atoms, count: int | None = None) -> np.ndarray:
    """Return the interatomic distances within a radius that holds some 30 neighbours, sorted."""
    radius = (8 * atoms.get_volume() / len(atoms)) ** (1 / 3)
    return np.sort(neighbor_list("d", atoms, radius))[:count]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_three_readers_get_the_crystal_that_was_written(tmp_path: Path) -> None:
    path = tmp_path / "crystal.cif"
    groups = set()
    for k, atoms in enumerate(prototypes()):
        rattled = atoms.copy()
        rattled.rattle(0.003, seed=k)
        cell = standard_cell(rattled)
        group = space_group(rattled)
        groups.add(group[1])
        text = symmetric_cif(cell, 1e-3)
        assert text is not None
        path.write_text(text)
        (own,) = read_frames(path)
        read = {"nucleate": own, "ase": ase.io.read(path), "pymatgen": AseAtomsAdaptor.get_atoms(Structure.from_file(path))}
        # The radius can lie on a shell of neighbours.
        wanted = distances(cell)
        wanted = wanted[: int(0.8 * len(wanted))]
        for reader, other in read.items():
            assert sorted(other.numbers) == sorted(cell.numbers), (reader, group)
            assert space_group(other, 1e-3) == group, reader
            tolerance = ROUNDED * max(cell.cell.lengths()) if reader == "pymatgen" else 1e-6
            assert np.allclose(distances(other, len(wanted)), wanted, rtol=0, atol=tolerance), (reader, group)
    # Two origins, rhombohedral, monoclinic and triclinic groups are among them.
    assert {2, 12, 14, 141, 166, 227} <= groups
    assert len(groups) > 60


def test_the_setting_is_the_one_that_programs_assume() -> None:
    diamond = Atoms(
        "Si2", cell=[[0, 2.715, 2.715], [2.715, 0, 2.715], [2.715, 2.715, 0]], scaled_positions=[[0, 0, 0], [0.25] * 3], pbc=True
    )
    text = cif_text(diamond)
    assert "'F d -3 m :2'" in text
    assert "'-F 4vw 2vw 3'" in text
    # In the second origin silicon is at (1/8, 1/8, 1/8) or (3/8, 3/8, 3/8), letters a and b: one atom stands for eight.
    (site,) = [line.split() for line in text.splitlines() if line.startswith("Si1 ")]
    assert site[1:3] == ["Si", "8"]
    assert site[3:7] in (["a", *["0.12500000"] * 3], ["b", *["0.37500000"] * 3])


def test_the_handedness_stays() -> None:
    # Tellurium, P3_121 and P3_221 (152, 154).
    places = [[0.2636, 0, 1 / 3], [0, 0.2636, 2 / 3], [-0.2636, -0.2636, 0]]
    one = Atoms("Te3", cell=[4.456, 4.456, 5.921, 90, 90, 120], scaled_positions=places, pbc=True)
    other = one.copy()
    other.positions[:, 2] *= -1
    groups = [space_group(ase.io.read(io.StringIO(cif_text(atoms)), format="cif"))[1] for atoms in (one, other)]
    assert groups == [space_group(one)[1], space_group(other)[1]]
    assert sorted(groups) == [152, 154]


def test_a_crystal_without_the_symmetry_it_claims_is_not_written() -> None:
    # All atoms are listed then. spglib finds no cell when atoms coincide.
    double = Atoms("Si2", cell=[3, 3, 3], positions=[[0, 0, 0], [0, 0, 0]], pbc=True)
    assert symmetric_cif(double, 1e-3) is None
