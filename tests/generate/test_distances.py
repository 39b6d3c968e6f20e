import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce
from ase.neighborlist import neighbor_list

from nucleate.generate.distances import closest_fit
from nucleate.generate.lattices import compact


def test_closest_fit_agrees_with_ase_in_skewed_cells():
    rng = np.random.default_rng(3)
    for _ in range(30):
        cell = rng.normal(size=(3, 3)) * 4.0
        if abs(np.linalg.det(cell)) < 5.0:
            continue
        scaled = rng.random((4, 3))
        atoms = Atoms("Si4", scaled_positions=scaled, cell=cell, pbc=True)
        limit = 3.0
        distances = neighbor_list("d", atoms, limit)
        fit = closest_fit(scaled, cell, np.full((4, 4), limit))
        if len(distances):
            assert np.isclose(fit * limit, distances.min())
        else:
            assert fit >= 1.0


def test_compact_keeps_the_crystal():
    rng = np.random.default_rng(4)
    for _ in range(20):
        cell = np.array([[4.0, 0, 0], [9.0, 3.5, 0], [-13.0, 8.0, 5.0]]) + rng.normal(size=(3, 3)) * 0.1
        scaled = rng.random((5, 3))
        new_scaled, new_cell = compact(scaled, cell)
        assert np.linalg.det(new_cell) > 0
        assert np.isclose(np.linalg.det(new_cell), abs(np.linalg.det(cell)))
        assert np.allclose(minkowski_reduce(new_cell)[0] @ minkowski_reduce(new_cell)[0].T, new_cell @ new_cell.T)
        shift = (scaled @ cell - new_scaled @ new_cell) @ np.linalg.inv(cell)
        assert np.allclose(shift, np.round(shift), atol=1e-9)
        limits = np.full((5, 5), 3.0)
        assert np.isclose(closest_fit(scaled, cell, limits), closest_fit(new_scaled, new_cell, limits))
