import numpy as np
import pytest
from ase import Atoms

from nucleate.generate import GenerateSettings, P1Generator, SymmetricGenerator, make_packing
from nucleate.generate.evolution.registry import WEIGHTS, make_operators, starting_shares
from nucleate.generate.tries import NotPlaced
from tests.generate.conftest import same
from tests.generate.evolution.parents import ONE, SYSTEMS, check_child, corundum, packing_of, random_parents, skewed, spinel

CRYSTALS = ("heredity", "strain", "permutation-strain", "permutation", "soft-mode", "symmetrise", "add-units")
"""Operators on crystals of atoms; the others are for clusters and molecules."""


def random_modes(atoms: Atoms) -> np.ndarray:
    modes = np.random.default_rng(len(atoms)).normal(size=(4, len(atoms), 3))
    return modes / np.linalg.norm(modes, axis=(1, 2))[:, None, None]


def pool_of(name: str, operator: str) -> list[Atoms]:
    """Return parents of which the operator can make children."""
    rng = np.random.default_rng(5)
    if operator == "add-units":
        half = {symbol: n // 2 for symbol, n in SYSTEMS[name].items()}
        return [c.atoms for c in SymmetricGenerator(half, ONE).propose(4, rng)]
    if operator == "symmetrise":
        exact = [atoms for atoms in random_parents(name)[:8]]
        return [rattled(atoms, 0.1, rng) for atoms in [*exact, *{"alumina": [corundum()], "spinel": [spinel()]}.get(name, [])]]
    return random_parents(name)


def rattled(atoms: Atoms, size: float, rng: np.random.Generator) -> Atoms:
    moved = atoms.copy()
    moved.positions += rng.normal(scale=size / np.sqrt(3), size=(len(atoms), 3))
    return moved


CASES = [(name, operator) for name in SYSTEMS for operator in make_operators(packing_of(name), random_modes)]


@pytest.mark.parametrize(("name", "operator"), CASES)
def test_children_have_the_atoms_and_distances_of_the_search(name, operator):
    packing = packing_of(name)
    make = make_operators(packing, random_modes)[operator]
    pool = pool_of(name, operator)
    rng = np.random.default_rng(0)
    children = []
    for _ in range(12):
        parents = [pool[k] for k in rng.integers(len(pool), size=make.parents)]
        before = [(atoms.positions.copy(), atoms.cell.array.copy(), atoms.numbers.copy()) for atoms in parents]
        seed = int(rng.integers(2**32))
        try:
            child = make(parents, np.random.default_rng(seed))
        except NotPlaced:
            continue
        check_child(packing, parents, child)
        assert same(child, make(parents, np.random.default_rng(seed)))
        for atoms, (positions, cell, numbers) in zip(parents, before, strict=True):
            assert np.array_equal(atoms.positions, positions)
            assert np.array_equal(atoms.cell.array, cell)
            assert np.array_equal(atoms.numbers, numbers)
        children.append(child)
    assert len(children) >= (3 if operator == "symmetrise" else 10)
    if operator != "symmetrise":  # there, the parent alone determines the child of a tolerance
        assert not any(same(a, b) for k, a in enumerate(children) for b in children[:k])


@pytest.mark.parametrize("operator", [name for name in CRYSTALS if name != "add-units"])
def test_parents_in_thin_and_skewed_cells(operator):
    packing = packing_of("alumina")
    make = make_operators(packing, random_modes)[operator]
    rng = np.random.default_rng(3)
    pool = [skewed(atoms, rng) for atoms in (rattled(corundum(), 0.1, rng), *random_parents("alumina")[:3])]
    made = 0
    for k in range(6):
        parents = [pool[0], pool[k % 4]][: make.parents]
        try:
            child = make(parents, rng)
        except NotPlaced:
            continue
        check_child(packing, parents, child)
        made += 1
    assert made >= 3


@pytest.mark.parametrize("counts", [{"Cu": 1}, {"Si": 60}, {"K": 1, "Mg": 1, "Al": 1, "F": 6}])
def test_other_sizes(counts):
    packing = make_packing(counts, ONE)
    pool = [c.atoms for c in P1Generator(counts, ONE).propose(3, np.random.default_rng(0))]
    rng = np.random.default_rng(1)
    operators = make_operators(packing)
    assert ("permutation" in operators) == (len(counts) > 1)
    for name in set(operators) - {"symmetrise", "add-units"}:
        for _ in range(3):
            parents = [pool[k] for k in rng.integers(3, size=operators[name].parents)]
            check_child(packing, parents, operators[name](parents, rng))


def test_parents_of_other_compositions_are_refused():
    rng = np.random.default_rng(0)
    operators = make_operators(packing_of("alumina"), random_modes)
    for operator in operators.values():
        with pytest.raises(NotPlaced, match="parent"):
            operator([spinel()] * operator.parents, rng)
        with pytest.raises(NotPlaced, match="parent"):
            operator([Atoms("Al6O4", scaled_positions=rng.random((10, 3)), cell=[5, 5, 5], pbc=True)] * operator.parents, rng)


def test_operators_that_cannot_work_are_left_out():
    assert set(make_operators(make_packing({"Si": 8}))) == {"heredity", "strain", "symmetrise", "add-units"}
    assert set(make_operators(packing_of("alumina"), random_modes)) == set(CRYSTALS)
    assert set(CRYSTALS) < set(WEIGHTS)
    odd = make_operators(make_packing({"Mg": 1, "Al": 2, "O": 4}, GenerateSettings(workers=1)))
    assert "add-units" not in odd
    shares = starting_shares(odd)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares["heredity"] / shares["permutation"] == pytest.approx(35 / 15)
    assert all(operator.name == name for name, operator in odd.items())
