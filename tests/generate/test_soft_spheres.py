import numpy as np

from nucleate.generate.distances import closest_fit, image_shifts
from nucleate.generate.soft_spheres import TARGET, push_apart


def test_overlapping_atoms_are_pushed_apart_and_others_stay():
    cell = np.diag([8.0, 8.0, 8.0])
    scaled = np.array([[0.1, 0.1, 0.1], [0.2, 0.1, 0.1], [0.6, 0.6, 0.6]])
    limits = np.full((3, 3), 2.0)
    apart = push_apart(scaled, limits, cell, image_shifts(cell, TARGET * 2.0))
    assert closest_fit(apart, cell, limits) >= 1.0
    assert np.allclose(apart[2], scaled[2])
    assert np.allclose(apart[:2].mean(axis=0), scaled[:2].mean(axis=0))


def test_symmetric_atoms_remain_symmetric():
    rng = np.random.default_rng(0)
    half = rng.random((6, 3))
    scaled = np.concatenate([half, -half]) % 1.0
    cell = np.array([[6.0, 0.0, 0.0], [1.0, 6.0, 0.0], [0.5, 1.5, 6.0]])
    limits = np.full((12, 12), 1.9)
    assert closest_fit(scaled, cell, limits) < 1.0
    apart = push_apart(scaled, limits, cell, image_shifts(cell, TARGET * 1.9), lambda moved: np.concatenate([moved[:6], -moved[:6]]))
    gap = apart[:6] + apart[6:]
    assert np.abs(gap - np.round(gap)).max() < 1e-9


def test_atoms_without_room_are_not_placed():
    cell = 3.0 * np.eye(3)
    scaled = np.random.default_rng(0).random((8, 3))
    assert push_apart(scaled, np.full((8, 8), 2.9), cell, image_shifts(cell, TARGET * 2.9)) is None
