import numpy as np
import pytest
from ase import Atoms

from nucleate.generate import make_packing
from nucleate.generate.evolution.attempts import first_placed
from nucleate.generate.evolution.finishing import finished
from nucleate.generate.evolution.sites import Sites, sites_of
from nucleate.generate.tries import NotPlaced
from tests.generate.evolution.parents import ONE, check_child, corundum, group, packing_of, skewed


def test_atoms_are_sorted_and_the_volume_is_scaled():
    packing = packing_of("alumina")
    sites = sites_of(packing, skewed(corundum(), np.random.default_rng(0)))
    order = np.random.default_rng(1).permutation(10)
    child = finished(packing, Sites(sites.scaled[order], sites.cell, sites.species[order]), [corundum()], 90.0)
    check_child(packing, [corundum()], child)
    assert child.get_volume() == pytest.approx(90.0)
    assert group(child) == 167


def test_overlapping_atoms_are_pushed_apart_and_stay_symmetric():
    packing = packing_of("alumina")
    sites = sites_of(packing, corundum())
    tight = finished(packing, sites, [corundum()], 0.55 * corundum().get_volume())
    check_child(packing, [corundum()], tight)
    assert group(tight, 1e-5) == 167


def test_wrong_compositions_and_cells_are_refused():
    packing = packing_of("alumina")
    sites = sites_of(packing, corundum())
    parents = [corundum()]
    with pytest.raises(NotPlaced, match="composition"):
        finished(packing, sites._replace(species=1 - sites.species), parents)
    flat = sites.cell.copy()
    flat[2] = flat[0] + flat[1]
    with pytest.raises(NotPlaced, match="flat"):
        finished(packing, sites._replace(cell=flat), parents)
    with pytest.raises(NotPlaced, match="flat"):
        finished(packing, sites._replace(cell=np.full((3, 3), np.nan)), parents)
    with pytest.raises(NotPlaced, match="shorter than the smallest distance"):
        finished(packing, sites._replace(cell=np.diag([1.0, 9.0, 9.0])), parents)
    with pytest.raises(NotPlaced, match="pushed apart"):
        finished(packing, sites, parents, 0.2 * corundum().get_volume())


def test_distances_shorter_than_the_estimate_are_allowed_where_a_parent_has_them():
    packing = make_packing({"Si": 2}, ONE)
    close = 0.85 * float(packing.min_distances[0, 0])
    parent = Atoms("Si2", positions=[[0, 0, 0], [close, 0, 0]], cell=[9, 9, 9], pbc=True)
    far = Atoms("Si2", positions=[[0, 0, 0], [4, 4, 4]], cell=[9, 9, 9], pbc=True)
    sites = sites_of(packing, parent)
    assert finished(packing, sites, [parent]).get_distance(0, 1, mic=True) == pytest.approx(close)
    assert finished(packing, sites, [far]).get_distance(0, 1, mic=True) >= float(packing.min_distances[0, 0]) - 1e-6


def test_the_first_child_that_can_be_placed_is_returned():
    tries = []

    def attempt() -> Atoms:
        tries.append(len(tries))
        if len(tries) < 3:
            raise NotPlaced(f"try {len(tries)}")
        return corundum()

    assert len(first_placed(attempt, 5)) == 10
    assert len(tries) == 3
    tries.clear()
    with pytest.raises(NotPlaced, match="try 2"):
        first_placed(attempt, 2)
