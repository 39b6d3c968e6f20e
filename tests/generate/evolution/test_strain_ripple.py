import numpy as np
import pytest

from nucleate.generate.evolution.sites import sites_of
from nucleate.generate.evolution.strain import StrainRipple, rippled, strain
from tests.generate.evolution.parents import SYSTEMS, corundum, loose, packing_of, positions_differ, random_parents


@pytest.mark.parametrize("name", SYSTEMS)
def test_volume_is_kept_and_the_shape_is_not(name):
    operator = StrainRipple(packing_of(name))
    rng = np.random.default_rng(0)
    for parent in random_parents(name)[:6]:
        child = operator([parent], rng)
        assert child.get_volume() == pytest.approx(parent.get_volume(), rel=1e-9)
        assert not np.allclose(np.sort(child.cell.lengths()), np.sort(parent.cell.lengths()), rtol=1e-3)


def test_no_strain_and_no_ripple_give_the_parent():
    packing = loose(packing_of("alumina"))
    child = StrainRipple(packing, sigma=(0.0, 0.0), amplitude=(0.0, 0.0))([corundum()], np.random.default_rng(0))
    sites = sites_of(packing, corundum())
    assert np.allclose(child.cell.array, sites.cell)
    assert np.allclose(child.get_scaled_positions(), sites.scaled)


def test_strain_is_symmetric_and_of_the_size_given():
    sites = sites_of(packing_of("alumina"), corundum())
    rng = np.random.default_rng(0)
    matrices = np.array([np.linalg.solve(sites.cell, strain(sites, 0.1, rng).cell) - np.eye(3) for _ in range(400)])
    assert np.allclose(matrices, matrices.transpose(0, 2, 1))
    assert np.std(matrices[:, 0, 0]) == pytest.approx(0.1, rel=0.1)
    assert np.std(matrices[:, 0, 1]) == pytest.approx(0.05, rel=0.1)


def test_a_ripple_moves_atoms_along_one_lattice_vector_by_up_to_the_amplitude():
    sites = sites_of(packing_of("spinel"), random_parents("spinel")[0])
    rng = np.random.default_rng(0)
    axes, largest = set(), 0.0
    for _ in range(30):
        moved = rippled(sites, 0.4, rng)
        steps = (moved.scaled - sites.scaled) * np.linalg.norm(sites.cell, axis=1)
        along = np.flatnonzero(np.abs(steps).max(axis=0) > 1e-12)
        assert len(along) == 1
        assert np.abs(steps).max() <= 0.4 + 1e-12
        assert np.ptp(steps[:, along[0]]) > 1e-3
        axes.add(int(along[0]))
        largest = max(largest, float(np.abs(steps).max()))
    assert axes == {0, 1, 2}
    assert largest > 0.3


def test_ripple_has_the_period_of_the_lattice():
    packing = loose(packing_of("alumina"))
    sites = sites_of(packing, corundum())
    shifted = sites._replace(scaled=sites.scaled + np.array([1.0, -2.0, 3.0]))
    one, other = (rippled(s, 0.5, np.random.default_rng(4)) for s in (sites, shifted))
    assert np.allclose(other.scaled - one.scaled, [1.0, -2.0, 3.0])


def test_atoms_that_do_not_overlap_are_not_pushed():
    packing = loose(packing_of("alumina"))
    child = StrainRipple(packing, sigma=(0.0, 0.0), amplitude=(0.2, 0.2))([corundum()], np.random.default_rng(1))
    start = corundum()
    sites = sites_of(packing, start)
    start = type(start)(child.numbers, scaled_positions=sites.scaled, cell=sites.cell, pbc=True)
    assert 0.0 < np.linalg.norm(positions_differ(start, child), axis=1).max() <= 0.2 + 1e-9
