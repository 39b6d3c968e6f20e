"""Crystals with diatomic units: exact counts, intact bonds, no contacts, symmetry."""

import numpy as np
import pytest
from ase.neighborlist import neighbor_list

from nucleate.fingerprints.matching import space_group
from nucleate.generate.diatomic import CONTACT, MOLECULES, DiatomicGenerator, bond_length, diatomic_units
from nucleate.generate.mixture import make_generator
from nucleate.generate.settings import GenerateSettings

ONE = GenerateSettings(workers=1)


@pytest.mark.parametrize(
    ("counts", "units"),
    [
        ({"O": 4}, ("O", 2)), ({"O": 3}, None), ({"S": 4}, None), ({"N": 1, "O": 2}, None),
        # An oxide, a peroxide, a superoxide; states that metals reach; disulphides, a carbide, more chlorine than sodium, a hydride.
        ({"Li": 4, "O": 2}, None), ({"Li": 4, "O": 4}, ("O", 2)), ({"Na": 1, "O": 2}, ("O", 1)), ({"Mn": 1, "O": 2}, None),
        ({"Al": 4, "O": 6}, None), ({"Fe": 1, "S": 2}, ("S", 1)), ({"V": 1, "S": 4}, ("S", 2)), ({"Ca": 1, "C": 2}, ("C", 1)),
        ({"Al": 4, "C": 3}, None), ({"Na": 1, "Cl": 3}, ("Cl", 1)), ({"Li": 1, "H": 6}, ("H", 3)), ({"Mg": 1, "Si": 2}, None),
    ],
)  # fmt: skip
def test_which_compositions(counts, units):
    found = diatomic_units(counts)
    assert (None if found is None else (found.symbol, found.number)) == units


@pytest.mark.parametrize("symbol", MOLECULES)
@pytest.mark.parametrize("count", [2, 8])
def test_molecules_are_intact_and_apart(symbol, count):
    generator = DiatomicGenerator({symbol: count}, ONE)
    made = generator.propose(12, np.random.default_rng(count))
    assert len(made) == 12
    bond = bond_length(symbol)
    contact = generator.packing.min_distances[0, 0]
    for candidate in made:
        atoms = candidate.atoms
        assert atoms.get_chemical_symbols() == [symbol] * count
        i, d = neighbor_list("id", atoms, 0.999 * contact)
        # Within the contact distance each atom has one neighbour, at the bond length.
        assert np.array_equal(np.bincount(i, minlength=count), np.ones(count))
        assert d == pytest.approx(bond, abs=1e-8)


@pytest.mark.parametrize("counts", [{"Li": 4, "O": 4}, {"Na": 2, "O": 6}, {"Fe": 2, "S": 5}, {"Ca": 2, "C": 4}, {"Na": 1, "Cl": 5}])
def test_units_in_compounds_are_intact_and_apart(counts):
    generator = DiatomicGenerator(counts, ONE)
    units, packing = generator.units, generator.packing
    made = generator.propose(15, np.random.default_rng(5))
    for candidate in made:
        atoms = candidate.atoms
        assert {s: atoms.get_chemical_symbols().count(s) for s in counts} == counts
        index = np.array([packing.symbols.index(s) for s in atoms.get_chemical_symbols()])
        limits = packing.min_distances[np.ix_(index, index)]
        i, j, d = neighbor_list("ijd", atoms, float(limits.max()))
        bonded = d < 0.999 * limits[i, j]
        # All that is closer than the smallest distances are the bonds, each counted from both ends.
        assert bonded.sum() == 2 * units.number
        assert d[bonded] == pytest.approx(units.bond, abs=1e-8)
        assert set(atoms.symbols[i[bonded]]) == {units.symbol}


def test_directions_keep_the_space_group_of_the_centres():
    made = DiatomicGenerator({"Li": 4, "O": 4}, GenerateSettings(workers=1, symmetric_share=1.0)).propose(30, np.random.default_rng(3))
    groups = {kind: [space_group(c.atoms)[1] for c in made if c.details["directions"] == kind] for kind in ("symmetric", "free")}
    assert min(len(found) for found in groups.values()) > 3
    assert np.median(groups["symmetric"]) > 16 > np.median(groups["free"])


def test_bond_lengths_lie_below_contacts():
    for symbol in MOLECULES:
        assert 0.6 < bond_length(symbol) < 3.0
        assert bond_length(symbol) < DiatomicGenerator({symbol: 2}, ONE).packing.min_distances[0, 0]
    assert 0 < CONTACT < 1


@pytest.mark.parametrize(("counts", "other"), [({"O": 4}, {"O": 3}), ({"Li": 2, "O": 2}, {"Li": 4, "O": 2})])
def test_half_of_the_candidates_have_units_where_they_are_expected(counts, other):
    made = make_generator(counts, ONE).propose(40, np.random.default_rng(0))
    assert sum(c.origin == "diatomic" for c in made) == 20
    assert all(c.origin != "diatomic" for c in make_generator(other, ONE).propose(10, np.random.default_rng(0)))


@pytest.mark.parametrize("counts", [{"Cl": 4}, {"Li": 2, "O": 2}])
def test_the_same_seed_gives_the_same_crystals(counts):
    one, two = (DiatomicGenerator(counts, ONE).propose(4, np.random.default_rng(7)) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.atoms.positions, b.atoms.positions)
