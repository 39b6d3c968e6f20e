import itertools

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from nucleate.errors import BadInput
from nucleate.spins.geometry import image_beyond, image_vectors, magnetic_sites, nearest_images, pairs_within

EVERY = np.array(list(itertools.product(range(-9, 10), repeat=3)))


def crystals(count=15, seed=2):
    """Random crystals with skewed cells; atoms outside the cell, too."""
    rng = np.random.default_rng(seed)
    while count:
        cell = rng.normal(size=(3, 3)) * 4.0
        if (1 / np.linalg.norm(np.linalg.inv(cell), axis=0)).min() > 1.2:
            count -= 1
            yield Atoms("Mn3O", scaled_positions=rng.uniform(-1, 2, size=(4, 3)), cell=cell, pbc=True)


def all_lengths(atoms, i, j):
    return np.linalg.norm(atoms.positions[j] - atoms.positions[i] + EVERY @ atoms.cell.array, axis=1)


def test_image_vectors_agree_with_brute_force():
    for atoms in crystals():
        vectors = image_vectors(atoms, 0, 1, 6.0)
        lengths = np.linalg.norm(vectors, axis=1)
        assert np.allclose(lengths, np.sort(lengths))
        brute = all_lengths(atoms, 0, 1)
        assert np.allclose(lengths, np.sort(brute[brute <= 6.0]))
        steps = (vectors - atoms.positions[1] + atoms.positions[0]) @ np.linalg.inv(atoms.cell.array)
        assert np.allclose(steps, np.round(steps), atol=1e-9)


@pytest.mark.parametrize("factor", [1.02, 1.5])
def test_nearest_images_agree_with_brute_force(factor):
    for atoms in crystals():
        brute = np.sort(all_lengths(atoms, 0, 2))
        lengths = np.linalg.norm(nearest_images(atoms, 0, 2, factor), axis=1)
        assert np.allclose(lengths, brute[brute <= factor * brute[0]])


def test_nearest_images_of_cubic_cells():
    # The body centre of a cube has eight images at one distance, the centre of a face four.
    atoms = Atoms("Mn3", scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)], cell=[4.0] * 3, pbc=True)
    assert len(nearest_images(atoms, 0, 1, 1.02)) == 8
    assert len(nearest_images(atoms, 0, 2, 1.02)) == 4


def test_images_do_not_depend_on_the_description():
    rng = np.random.default_rng(4)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    for atoms in crystals(8):
        other = atoms.copy()
        other.set_scaled_positions(other.get_scaled_positions(wrap=False) + rng.integers(-2, 3, size=(4, 3)) + rng.random(3))
        other.set_cell(other.cell.array @ turn, scale_atoms=True)
        for one, two in ((image_vectors(a, 0, 1, 7.0) for a in (atoms, other)), (nearest_images(a, 0, 1, 1.1) for a in (atoms, other))):
            assert np.allclose(np.linalg.norm(one, axis=1), np.linalg.norm(two, axis=1))
        assert image_beyond(atoms, 0, 1, 5.0) == pytest.approx(image_beyond(other, 0, 1, 5.0))


def test_image_beyond_the_cutoff_agrees_with_brute_force():
    for atoms in crystals():
        for cutoff in (1.0, 4.0, 8.0):
            brute = all_lengths(atoms, 0, 1)
            assert image_beyond(atoms, 0, 1, cutoff) == pytest.approx(brute[brute > cutoff + 1e-3].min())


def test_pairs_are_counted_once_and_all_of_them():
    for atoms in crystals():
        sites = magnetic_sites(atoms, {"Mn": 4.5})
        first, second, shifts = pairs_within(atoms, sites, 5.0)
        lengths = np.linalg.norm(atoms.positions[sites][second] - atoms.positions[sites][first] + shifts @ atoms.cell.array, axis=1)
        brute = np.concatenate([all_lengths(atoms, i, j) for i in sites for j in sites])
        brute = brute[(brute > 1e-9) & (brute <= 5.0)]
        assert np.allclose(np.repeat(np.sort(lengths), 2), np.sort(brute))
        pairs = {(i, j, *s) for i, j, s in zip(first, second, map(tuple, shifts), strict=True)}
        assert len(pairs) == len(first)
        assert not pairs & {(j, i, *(-n for n in s)) for i, j, *s in pairs}


def test_bcc_has_four_nearest_pairs_an_atom():
    first, _, _ = pairs_within(bulk("Fe"), np.array([0]), 2.5)
    assert len(first) == 4


def test_sites_without_moment_are_refused():
    with pytest.raises(BadInput, match="no magnetic atom"):
        magnetic_sites(bulk("Fe"), {})
    with pytest.raises(BadInput, match="does not contain"):
        magnetic_sites(bulk("Fe"), {"Fe": 2.2, "Co": 1.6})
    with pytest.raises(BadInput, match="increase the cutoff"):
        pairs_within(bulk("Fe"), np.array([0]), 1.0)


@pytest.mark.parametrize("height", [0.0, 2.5, 13.0])
def test_pairs_of_a_film_do_not_cross_its_vacuum(height):
    """Two layers in a cell of 14 Å, also where the boundary of the cell lies between them or they are not inside it."""
    film = Atoms("Fe2", [[0, 0, 0], [1.4, 1.4, 2.0]], cell=[2.8, 2.8, 14.0], pbc=True)
    film.positions[:, 2] += height
    assert len(pairs_within(film, np.arange(2), 13.0)[0]) > len(pairs_within(film, np.arange(2), 13.0, across_films=False)[0])
    first, second, shifts = pairs_within(film, np.arange(2), 13.0, across_films=False)
    vectors = film.positions[second] - film.positions[first] + shifts @ film.cell.array
    assert set(np.abs(vectors[:, 2]).round(6)) == {0.0, 2.0}
    whole = Atoms("Fe2", film.positions, cell=[2.8, 2.8, 60.0], pbc=True)
    assert len(first) == len(pairs_within(whole, np.arange(2), 13.0)[0])
    wrapped = film.copy()
    wrapped.wrap()
    assert len(pairs_within(wrapped, np.arange(2), 13.0, across_films=False)[0]) == len(first)
