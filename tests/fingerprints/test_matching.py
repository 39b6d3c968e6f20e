import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from nucleate.fingerprints.matching import same_crystal, space_group, standard_cell, symmetrised, symmetry


def test_same_crystal_in_other_clothes():
    a = bulk("NaCl", "rocksalt", 5.6)
    b = bulk("NaCl", "rocksalt", 5.65, cubic=True).repeat((1, 1, 2))
    b.rattle(0.02, seed=0)
    b.positions += 0.7
    assert same_crystal(a, b)
    assert same_crystal(b, a)


def test_different_crystals():
    assert not same_crystal(bulk("Cu", "fcc", 3.6), bulk("Cu", "bcc", 2.87))
    assert not same_crystal(bulk("NaCl", "rocksalt", 5.6), bulk("NaCl", "zincblende", 5.6))
    assert not same_crystal(bulk("NaCl", "rocksalt", 5.6), bulk("KCl", "rocksalt", 5.6))


def test_another_density_is_another_polymorph():
    """The matcher scales volumes; ten percent in volume is kept apart all the same."""
    a = bulk("Cu", "fcc", 3.6)
    assert same_crystal(a, bulk("Cu", "fcc", 3.6 * 1.09 ** (1 / 3)))
    assert not same_crystal(a, bulk("Cu", "fcc", 3.6 * 1.12 ** (1 / 3)))


@pytest.mark.parametrize(
    ("atoms", "symbol", "number", "order"),
    [
        (bulk("Si"), "Fd-3m", 227, 48),
        (bulk("NaCl", "rocksalt", 5.6, cubic=True), "Fm-3m", 225, 48),
        (bulk("Mg"), "P6_3/mmc", 194, 24),
        (bulk("GaAs", "zincblende", 5.65), "F-43m", 216, 24),
    ],
)
def test_space_groups(atoms, symbol, number, order):
    assert space_group(atoms) == (symbol, number)
    assert symmetry(atoms).order == order


def test_no_symmetry():
    rng = np.random.default_rng(0)
    atoms = Atoms("Cu3", scaled_positions=rng.random((3, 3)), cell=np.eye(3) * 4 + rng.normal(size=(3, 3)) / 2, pbc=True)
    assert space_group(atoms) == ("P1", 1)
    assert symmetry(atoms).order == 1


def test_coinciding_atoms_are_no_crash():
    atoms = Atoms("Cu2", cell=[3, 3, 3], pbc=True)
    assert space_group(atoms) == ("P1", 1)
    assert symmetry(atoms).order == 1
    assert len(standard_cell(atoms)) == 2


def test_standard_cell():
    atoms = bulk("NaCl", "rocksalt", 5.6)
    atoms.rattle(0.005, seed=0)
    cell = standard_cell(atoms)
    assert len(cell) == 8
    assert np.allclose(cell.cell.angles(), 90)


def test_a_sheared_crystal_is_symmetrised_in_its_own_cell():
    zincblende = bulk("GaAs", "zincblende", a=5.75, cubic=True).repeat((1, 1, 2))
    sheared = zincblende.copy()
    sheared.set_cell(np.diag([5.66, 5.79, 11.61]), scale_atoms=True)
    rng = np.random.default_rng(0)
    sheared.positions += 0.02 * rng.normal(size=sheared.positions.shape)
    assert space_group(sheared)[1] != 216
    atoms, number = symmetrised(sheared, 0.3)
    assert number == 216
    assert len(atoms) == len(sheared)
    assert atoms.get_volume() == pytest.approx(sheared.get_volume(), rel=0.02)
    assert space_group(atoms, 1e-4)[1] == 216
    assert symmetrised(zincblende, 0.3) is None


def test_a_cubic_crystal_is_symmetrised_in_a_cell_that_is_not_cubic():
    # Two conventional cells side by side, stretched by 3 %: the rotations of the cell are the same before and after.
    atoms = bulk("GaAs", "zincblende", 5.65, cubic=True).repeat((2, 1, 1))
    atoms.set_cell(atoms.cell.array @ np.diag([1.03, 1, 1]), scale_atoms=True)
    assert space_group(atoms)[0] == "I-4m2"
    exact = symmetrised(atoms, 0.3)
    assert exact is not None
    assert exact[1] == 216
    assert len(exact[0]) == 16
    assert space_group(exact[0], 1e-4)[1] == 216
