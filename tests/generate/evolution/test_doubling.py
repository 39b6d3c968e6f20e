import numpy as np
import pytest

from nucleate.fingerprints.matching import same_crystal
from nucleate.generate import make_packing
from nucleate.generate.evolution.doubling import AddUnits
from nucleate.generate.tries import NotPlaced
from tests.generate.evolution.parents import ONE, check_child, corundum, rotations, spinel


@pytest.mark.parametrize("copies", [2, 3, 4])
def test_plain_supercells_are_the_parent(copies):
    packing = make_packing({"Mg": 2 * copies, "Al": 4 * copies, "O": 8 * copies}, ONE)
    rng = np.random.default_rng(0)
    operator = AddUnits(packing, displacement=(0.0, 0.0))
    shapes = set()
    for _ in range(8):
        child = operator([spinel()], rng)
        check_child(packing, [spinel()], child)
        assert child.get_volume() == pytest.approx(copies * spinel().get_volume())
        shapes.add(tuple(np.round(np.sort(child.cell.lengths()), 3)))
    assert same_crystal(child, spinel())
    assert len(shapes) > 1


def test_disturbed_supercells_leave_the_smaller_cell():
    packing = make_packing({"Al": 8, "O": 12}, ONE)
    rng = np.random.default_rng(0)
    for _ in range(8):
        child = AddUnits(packing)([corundum()], rng)
        check_child(packing, [corundum()], child)
        # The plain supercell has at least two translations.
        assert (rotations(child) == np.eye(3)).all(axis=(1, 2)).sum() == 1


def test_compositions_that_do_not_divide_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(NotPlaced, match="fewer formula units"):
        AddUnits(make_packing({"Al": 4, "O": 6}))([corundum()], rng)
    with pytest.raises(NotPlaced, match="composition"):
        AddUnits(make_packing({"Al": 6, "O": 9}))([corundum()[[0, 1, 4, 5, 6, 7]]], rng)
    with pytest.raises(NotPlaced, match="other species"):
        AddUnits(make_packing({"Al": 8, "O": 12}))([spinel()[:10]], rng)
    assert AddUnits.applicable(make_packing({"Al": 4, "O": 6}))
    assert not AddUnits.applicable(make_packing({"Al": 2, "O": 3}))
