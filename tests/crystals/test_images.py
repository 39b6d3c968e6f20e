import itertools

import numpy as np
import pytest
import torch

from nucleate.crystals.atom_images import images
from nucleate.crystals.images import lattice_translations, plane_distances
from nucleate.reference.kpoints import _vectors_within


def cells(count, seed=5):
    """Random cells, most of them skewed."""
    rng = np.random.default_rng(seed)
    while count:
        cell = rng.normal(size=(3, 3)) * 4.0
        if plane_distances(cell).min() > 1.0:
            count -= 1
            yield cell, rng


def brute_force(reach=12):
    return np.array(list(itertools.product(range(-reach, reach + 1), repeat=3)))


def test_plane_distances_are_volume_over_area():
    for cell, _ in cells(10):
        areas = [np.linalg.norm(np.cross(cell[k - 2], cell[k - 1])) for k in range(3)]
        assert np.allclose(plane_distances(cell), abs(np.linalg.det(cell)) / areas)


def test_translations_of_a_cube_are_counted():
    assert len(lattice_translations(3.0 * np.eye(3), 6.1, 0.0, 0.0)) == 5**3
    # Within half a cell more on each side.
    assert len(lattice_translations(3.0 * np.eye(3), 6.1)) == 5**3
    assert len(lattice_translations(3.0 * np.eye(3), 7.6)) == 7**3


@pytest.mark.parametrize(("low", "high"), [(-0.5, 0.5), (0.0, 0.0), (-1.3, 0.8)])
def test_no_pair_within_the_cutoff_is_missed(low, high):
    every = brute_force()
    for cell, rng in cells(20):
        cutoff = rng.uniform(1.0, 6.0)
        own = {tuple(n) for n in lattice_translations(cell, cutoff, low, high)}
        for f in rng.uniform(low, high, size=(10, 3)):
            near = every[np.linalg.norm((f + every) @ cell, axis=1) <= cutoff]
            assert {tuple(n) for n in near} <= own


def test_order_and_symmetry():
    for cell, _ in cells(10):
        shifts = lattice_translations(cell, 5.0)
        assert [tuple(n) for n in shifts] == sorted(tuple(n) for n in shifts)
        assert (shifts[::-1] == -shifts).all()
        assert (shifts[len(shifts) // 2] == 0).all()


def test_rotated_cells_have_the_same_translations():
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    for cell, _ in cells(10):
        assert (lattice_translations(cell, 4.321) == lattice_translations(cell @ turn, 4.321)).all()


def test_lattice_vectors_of_k_points_agree_with_brute_force():
    every = brute_force()
    for cell, _ in cells(10):
        lengths = np.linalg.norm(every @ cell, axis=1)
        wanted = every[(lengths < 7.0) & (lengths > 0)]
        found = _vectors_within(cell, 7.0)
        assert {tuple(n) for n in np.concatenate([found, -found])} == {tuple(n) for n in wanted}
        assert 2 * len(found) == len(wanted)


def test_images_of_atoms_contain_all_near_points_of_the_cell():
    every = brute_force(8)
    for cell, rng in cells(10):
        fractions = rng.uniform(-0.7, 1.6, size=(4, 3))
        around = images(torch.tensor(fractions @ cell), torch.tensor(cell), 3.0)
        own = {(int(a), *map(int, n)) for a, n in zip(around.atom, around.shift, strict=True)}
        assert torch.allclose(around.places, torch.tensor(fractions @ cell)[around.atom] + around.shift @ torch.tensor(cell))
        points = rng.random((200, 3))
        for atom, f in enumerate(fractions):
            distances = np.linalg.norm((f + every[:, None] - points) @ cell, axis=-1).min(axis=1)
            assert {(atom, *map(int, n)) for n in every[distances < 3.0]} <= own
