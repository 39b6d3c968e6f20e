import numpy as np
import pytest

from nucleate.fingerprints.matching import same_crystal
from nucleate.generate.evolution.symmetrise import Symmetrise
from nucleate.generate.tries import NotPlaced
from tests.generate.evolution.parents import corundum, group, packing_of, random_parents, rotations, spinel


def rattled(atoms, size, seed):
    moved = atoms.copy()
    moved.positions += np.random.default_rng(seed).normal(scale=size, size=(len(atoms), 3))
    return moved


@pytest.mark.parametrize(("name", "perfect", "number"), [("alumina", corundum, 167), ("spinel", spinel, 227)])
def test_a_rattled_crystal_becomes_symmetric_again(name, perfect, number):
    operator = Symmetrise(packing_of(name))
    found = []
    for seed in range(8):
        parent = rattled(perfect(), 0.08, seed)
        assert group(parent, 0.1) < number
        child = operator([parent], np.random.default_rng(seed))
        assert len(rotations(child, 1e-4)) > len(rotations(parent, 0.1))
        assert child.get_volume() == pytest.approx(parent.get_volume())
        assert same_crystal(child, perfect())
        found.append(group(child, 1e-4))
    assert number in found


def test_crystals_that_are_not_nearly_symmetric_or_already_exact_are_refused():
    with pytest.raises(NotPlaced, match="not nearly symmetric"):
        Symmetrise(packing_of("alumina"))([random_parents("alumina")[-1]], np.random.default_rng(0))
    with pytest.raises(NotPlaced, match="not nearly symmetric"):
        Symmetrise(packing_of("alumina"))([corundum()], np.random.default_rng(0))
