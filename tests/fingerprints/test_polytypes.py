"""Polytypes, whose pooled fingerprints hardly differ, are not taken for duplicates."""

import numpy as np
import pytest
from ase import Atoms

from nucleate.fingerprints.selection import SURE, TOLERANCE, distinct, fingerprints, leaders, same_minimum, unlike

OFFSETS = {"A": (0.0, 0.0), "B": (1 / 3, 2 / 3), "C": (2 / 3, 1 / 3)}


def close_packed(symbol, stacking, a):
    """Close-packed layers with the ideal distance."""
    n = len(stacking)
    scaled = [(*OFFSETS[layer], k / n) for k, layer in enumerate(stacking)]
    cell = a * np.array([[1, 0, 0], [-0.5, 3**0.5 / 2, 0], [0, 0, n * (2 / 3) ** 0.5]])
    return Atoms([symbol] * n, scaled_positions=scaled, cell=cell, pbc=True)


def tetrahedral(cation, anion, stacking, a):
    """Polytype of zinc blende; `a` is the distance of atoms in a layer."""
    n = len(stacking)
    below = [(*OFFSETS[layer], k / n) for k, layer in enumerate(stacking)]
    above = [(x, y, z + 0.75 / n) for x, y, z in below]
    cell = a * np.array([[1, 0, 0], [-0.5, 3**0.5 / 2, 0], [0, 0, n * (2 / 3) ** 0.5]])
    return Atoms([cation] * n + [anion] * n, scaled_positions=below + above, cell=cell, pbc=True)


PAIRS = {
    "fcc and dhcp La": (close_packed("La", "ABC", 3.75), close_packed("La", "ABAC", 3.75)),
    "dhcp and 6H La": (close_packed("La", "ABAC", 3.75), close_packed("La", "ABCACB", 3.75)),
    "dhcp and 6H Al": (close_packed("Al", "ABAC", 2.86), close_packed("Al", "ABCACB", 2.86)),
    "4H and 6H SiC": (tetrahedral("Si", "C", "ABAC", 3.08), tetrahedral("Si", "C", "ABCACB", 3.08)),
    "3C and 4H CdTe": (tetrahedral("Cd", "Te", "ABC", 4.58), tetrahedral("Cd", "Te", "ABAC", 4.58)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_polytypes_are_apart(name):
    one, other = PAIRS[name]
    species = sorted(set(one.numbers.tolist()))
    vectors = fingerprints([one, other], species)
    distance = float(np.linalg.norm(vectors[0] - vectors[1]))
    # The fingerprints alone would join them.
    assert SURE < distance < TOLERANCE
    assert not same_minimum(one, other, distance)
    assert distinct([one, other], species) == [0, 1]
    assert leaders(vectors, np.arange(2), TOLERANCE) == [0]
    assert unlike([one], vectors[:1], [other], vectors[1:]).tolist() == [True]


@pytest.mark.parametrize("name", PAIRS)
def test_loosely_relaxed_duplicates_are_joined(name):
    one = PAIRS[name][0]
    species = sorted(set(one.numbers.tolist()))
    other = one.repeat((1, 2, 1))
    other.rattle(0.02, seed=1)
    vectors = fingerprints([one, other], species)
    assert distinct([one, other], species) == [0]
    assert unlike([other], vectors[1:], [one], vectors[:1]).tolist() == [False]
