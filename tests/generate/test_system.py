"""Candidates of many compositions."""

from collections import Counter

import numpy as np
import pytest
from ase.build import bulk

from nucleate.crystals.compositions import parse_system
from nucleate.errors import BadInput
from nucleate.fingerprints.matching import space_group
from nucleate.generate.settings import GenerateSettings
from nucleate.generate.system import SystemGenerator

ONE = GenerateSettings(workers=1)


@pytest.fixture(scope="module")
def generator():
    return SystemGenerator(parse_system("Mg-Si"), 4, ONE)


def test_exact_numbers_and_compositions(generator):
    rng = np.random.default_rng(0)
    for n in (1, 7, 40):
        made = generator.propose(n, rng)
        assert len(made) == n
        for candidate in made:
            assert len(candidate.atoms) <= 4
            assert generator.system.contains(candidate.atoms)


def test_all_compositions_have_their_share(generator):
    made = generator.propose(140, np.random.default_rng(1))
    formulas = Counter(generator.system.formula(Counter(c.atoms.get_chemical_symbols())) for c in made)
    # Seven compositions: Mg, Si, MgSi, Mg2Si, MgSi2, Mg3Si, MgSi3.
    assert set(formulas) == set(generator.compositions)
    assert max(formulas.values()) - min(formulas.values()) <= 1
    # All cells of a composition occur.
    assert {len(c.atoms) for c in made if set(c.atoms.get_chemical_symbols()) == {"Mg"}} == {1, 2, 3, 4}


def test_weights_decide(generator):
    weights = np.zeros(len(generator.compositions))
    weights[generator.compositions.index("Mg2Si")] = 3.0
    made = generator.propose(12, np.random.default_rng(2), weights)
    assert {generator.system.formula(Counter(c.atoms.get_chemical_symbols())) for c in made} == {"Mg2Si"}


def test_the_same_seed_gives_the_same_candidates(generator):
    first, second = (generator.propose(9, np.random.default_rng(3)) for _ in range(2))
    other = SystemGenerator(parse_system("Mg-Si"), 4, ONE).propose(9, np.random.default_rng(3))
    for a, b, c in zip(first, second, other, strict=True):
        assert np.array_equal(a.atoms.positions, b.atoms.positions)
        assert np.array_equal(a.atoms.positions, c.atoms.positions)


def test_structures_of_the_user_come_first_in_their_primitive_cells():
    salt = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    generator = SystemGenerator(parse_system("Na-Cl"), 4, ONE, [salt, bulk("Na", cubic=True)])
    made = generator.propose(5, np.random.default_rng(0), with_seeds=True)
    assert [c.origin for c in made[:2]] == ["seed", "seed"]
    assert [len(c.atoms) for c in made[:2]] == [2, 1]
    assert space_group(made[0].atoms)[1] == 225
    assert all(c.origin != "seed" for c in made[2:])
    with pytest.raises(BadInput, match="not a composition"):
        SystemGenerator(parse_system("Na-Cl"), 4, ONE, bulk("MgO", "rocksalt", a=4.2))
    with pytest.raises(BadInput, match="more than max_atoms"):
        SystemGenerator(parse_system("Na-Cl"), 1, ONE, salt)


def test_distances_of_pairs_hold_where_the_pair_is():
    """A distance between two elements of the system does not refuse the pure elements."""
    generator = SystemGenerator(parse_system("Mg-Si"), 3, GenerateSettings(workers=1, min_distance={"Mg-Si": 3.5}))
    for candidate in generator.propose(30, np.random.default_rng(4)):
        atoms = candidate.atoms * (3, 3, 3)
        distances = atoms.get_all_distances()
        unlike = atoms.numbers[:, None] != atoms.numbers[None]
        assert not unlike.any() or distances[unlike].min() > 3.5 - 1e-6
    with pytest.raises(BadInput, match="no such pair"):
        SystemGenerator(parse_system("Mg-Si"), 3, GenerateSettings(min_distance={"Mg-O": 2.0}))


def test_compositions_that_the_space_groups_exclude_are_left_out():
    """Group 225 has sites of one, two and four atoms in its primitive cell, of which two can have one atom."""
    generator = SystemGenerator(parse_system("Mg-Si"), 5, GenerateSettings(space_groups=(225,), workers=1))
    made = generator.propose(60, np.random.default_rng(5))
    assert len(made) == 60
    formulas = {generator.system.formula(Counter(c.atoms.get_chemical_symbols())) for c in made}
    assert {"Mg", "Si", "MgSi", "Mg2Si"} <= formulas
    assert "Mg4Si" not in formulas


def test_space_groups_that_fit_no_end_member():
    # No site of group 227 has a single atom in the primitive cell.
    with pytest.raises(BadInput, match="no cell of this end member"):
        SystemGenerator(parse_system("Mg-Si"), 1, GenerateSettings(space_groups=(227,), workers=1))
