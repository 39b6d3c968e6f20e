"""Crystals of diatomic molecules: exact counts, intact bonds, no contacts."""

import numpy as np
import pytest
from ase.neighborlist import neighbor_list

from nucleate.generate.diatomic import CONTACT, ELEMENTS, DiatomicGenerator, bond_length, is_diatomic
from nucleate.generate.mixture import make_generator
from nucleate.generate.settings import GenerateSettings

ONE = GenerateSettings(workers=1)


def test_which_compositions():
    assert is_diatomic({"O": 4})
    assert not is_diatomic({"O": 3})
    assert not is_diatomic({"O": 2, "N": 2})
    assert not is_diatomic({"S": 4})


@pytest.mark.parametrize("symbol", ELEMENTS)
@pytest.mark.parametrize("count", [2, 8])
def test_molecules_are_intact_and_apart(symbol, count):
    generator = DiatomicGenerator({symbol: count}, ONE)
    made = generator.propose(12, np.random.default_rng(count))
    assert len(made) == 12
    bond = bond_length(symbol)
    for candidate in made:
        atoms = candidate.atoms
        assert atoms.get_chemical_symbols() == [symbol] * count
        i, d = neighbor_list("id", atoms, 0.999 * generator.contact)
        # Within the contact distance each atom has one neighbour, at the bond length.
        assert np.array_equal(np.bincount(i, minlength=count), np.ones(count))
        assert d == pytest.approx(bond, abs=1e-8)


def test_bond_lengths_lie_below_contacts():
    for symbol in ELEMENTS:
        assert 0.6 < bond_length(symbol) < 3.0
        assert bond_length(symbol) < DiatomicGenerator({symbol: 2}, ONE).contact
    assert 0 < CONTACT < 1


def test_half_of_the_candidates_of_such_an_element_are_molecular():
    made = make_generator({"O": 4}, ONE).propose(40, np.random.default_rng(0))
    assert sum(c.origin == "diatomic" for c in made) == 20
    assert all(c.origin != "diatomic" for c in make_generator({"O": 3}, ONE).propose(10, np.random.default_rng(0)))


def test_the_same_seed_gives_the_same_crystals():
    one, two = (DiatomicGenerator({"Cl": 4}, ONE).propose(4, np.random.default_rng(7)) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.atoms.positions, b.atoms.positions)
