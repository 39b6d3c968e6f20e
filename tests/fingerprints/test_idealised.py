"""Structures whose approximate symmetry is made exact."""

import numpy as np
import pytest
from ase.build import bulk, make_supercell

from nucleate.fingerprints.matching import EXACT, idealised, same_crystal, space_group, symmetrised


@pytest.fixture
def skewed():
    """Eight silicon atoms in a skewed cell, rattled by less than the tolerance."""
    atoms = make_supercell(bulk("Si", "diamond", a=5.43), [[2, 1, 0], [0, 2, 1], [0, 0, 1]])
    atoms.rattle(0.01, seed=3)
    return atoms


def test_symmetry_becomes_exact_in_the_same_cell(skewed):
    found = idealised(skewed)
    assert space_group(found, EXACT)[1] == 227
    assert same_crystal(found, skewed)
    assert np.abs(found.cell.array - skewed.cell.array).max() < 0.1
    assert np.array_equal(found.numbers, skewed.numbers)


def test_an_exact_structure_stays_as_it_is():
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    assert np.array_equal(idealised(atoms).positions, atoms.positions)


def test_a_distortion_beyond_the_tolerance_stays(skewed):
    atoms = bulk("Si", "diamond", a=5.43)
    atoms.positions[1] += [0.25, 0.0, 0.0]
    before = space_group(atoms)[1]
    assert before != 227
    assert space_group(idealised(atoms), EXACT)[1] == before
    # The looser rule of the leads makes it diamond.
    loose = symmetrised(atoms, 0.5)
    assert loose is None or loose[1] != before
