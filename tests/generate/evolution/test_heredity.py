import numpy as np
import pytest

from nucleate.generate.evolution.alignment import aligned, with_origins
from nucleate.generate.evolution.heredity import Heredity
from nucleate.generate.evolution.lattice_choices import cell_of, dissimilarity, lattice_choices, metrics, with_vectors
from nucleate.generate.evolution.sites import sites_of
from nucleate.generate.evolution.splicing import Spliced, depth_in_slab, repaired
from nucleate.generate.evolution.symmetry import symmetric_metric
from nucleate.generate.tries import NotPlaced
from tests.generate.evolution.parents import SYSTEMS, corundum, packing_of, random_parents, rotations


def children(operator, pool, n=24):
    rng = np.random.default_rng(0)
    made = []
    for _ in range(n):
        try:
            made.append(operator([pool[k] for k in rng.choice(len(pool), 2, replace=False)], rng))
        except NotPlaced:
            continue
    return made


def centric(atoms):
    return (rotations(atoms, 1e-4) == -np.eye(3)).all(axis=(1, 2)).any()


@pytest.mark.parametrize("name", SYSTEMS)
def test_aligned_parents_with_inversion_have_children_with_inversion(name):
    pool = random_parents(name, (2,))
    with_symmetry = [centric(child) for child in children(Heredity(packing_of(name), alignment=1.0), pool)]
    without = [centric(child) for child in children(Heredity(packing_of(name), alignment=0.0), pool)]
    assert len(with_symmetry) >= 20
    # The composition of the others could not be repaired by whole orbits.
    assert np.mean(with_symmetry) >= 0.85
    assert np.mean(without) <= 0.1


@pytest.mark.parametrize("groups", [(5,), (8, 9), (16, 17, 18), (143, 146)])
def test_other_operations_are_inherited(groups):
    pool = random_parents("spinel", groups)
    shares = []
    for alignment in (0.0, 1.0):
        made = children(Heredity(packing_of("spinel"), alignment), pool, 16)
        shares.append(np.mean([len(np.unique(rotations(child, 1e-4), axis=0)) > 1 for child in made]))
    assert shares[0] <= 0.1
    assert shares[1] >= 0.25


def test_common_operation_is_exact_and_maps_the_slab_onto_itself():
    rng = np.random.default_rng(0)
    packing, pool = packing_of("spinel"), random_parents("spinel")
    seen = set()
    for _ in range(20):
        one, other = (sites_of(packing, pool[k]) for k in rng.integers(8, size=2))
        try:
            pair = aligned(one, other, rng)
        except NotPlaced:
            continue
        rotation = pair[0].rotation
        assert np.array_equal(rotation, pair[1].rotation)
        seen.add(int(np.trace(rotation)))
        thickness = rng.uniform(0.25, 0.75)
        translations = []
        for sites in with_origins(pair, thickness, rng):
            # The translation that maps the crystal onto itself, from the image of the first atom.
            image = sites.scaled @ rotation.T
            fits = []
            for target in sites.scaled[sites.species == sites.species[0]]:
                shift = target - image[0]
                difference = (image + shift)[:, None] - sites.scaled
                difference -= np.round(difference)
                distance = np.where(sites.species[:, None] == sites.species, np.linalg.norm(difference, axis=2), np.inf).min(axis=1)
                if distance.max() < 1e-9:
                    fits.append(shift)
            assert fits
            translations.append(fits)
            along = depth_in_slab(sites.scaled[:, 0], thickness)
            moved = [depth_in_slab((image + shift)[:, 0], thickness) for shift in fits]
            assert any(np.allclose(along, depth, atol=1e-9) for depth in moved)
        gaps = [a - b for a in translations[0] for b in translations[1]]
        assert min(np.abs(gap - np.round(gap)).max() for gap in gaps) < 1e-9
    assert len(seen) > 1


def test_parents_without_symmetry_have_no_common_operation_but_children():
    packing, pool = packing_of("alumina"), random_parents("alumina")[-2:]
    with pytest.raises(NotPlaced, match="symmetry"):
        aligned(*(sites_of(packing, atoms) for atoms in pool), np.random.default_rng(0))
    assert len(children(Heredity(packing, alignment=1.0), pool, 5)) == 5


def test_a_child_of_twice_the_same_parent_has_its_volume_and_cell():
    packing = packing_of("alumina")
    child = Heredity(packing)([corundum(), corundum()], np.random.default_rng(0))
    assert child.get_volume() == pytest.approx(corundum().get_volume())


def test_lattice_choices_describe_the_same_lattice():
    sites = sites_of(packing_of("alumina"), corundum())
    choices = lattice_choices(sites.cell)
    assert len(choices) >= 48
    distances = dissimilarity(metrics(sites.cell, np.eye(3)[None])[0], metrics(sites.cell, choices))
    # The identity and the negative of it, and the operations of the lattice, which has 12.
    assert (distances < 1e-9).sum() == 12
    assert distances.max() > 0.1
    moved = with_vectors(sites, choices[7])
    assert np.allclose(moved.scaled @ moved.cell, sites.scaled @ sites.cell)
    cell = cell_of(metrics(sites.cell, np.eye(3)[None])[0], sites.volume)
    assert np.allclose(cell @ cell.T, sites.cell @ sites.cell.T)
    twofold = np.diag([-1, 1, -1])
    tensor = symmetric_metric(cell @ cell.T, twofold)
    assert np.allclose(twofold.T @ tensor @ twofold, tensor)


def test_depth_and_repair():
    assert np.allclose(depth_in_slab(np.array([0.0, 0.1, 0.2, 0.4, 0.7, 0.95, 1.1]), 0.4), [0, 0.1, 0.2, 0, -0.3, -0.05, 0.1])
    rng = np.random.default_rng(0)
    scaled = rng.random((8, 3))
    species = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    depth = np.array([0.3, 0.1, 0.2, 0.05, 0.2, -0.1, -0.02, -0.2])
    spliced = Spliced(scaled, species, depth, np.arange(8))
    limits = np.full((2, 2), 0.01)
    # Two surplus atoms closest to the cut go, and the missing one closest to it comes.
    assert set(repaired(spliced, np.array([2, 2]), 10 * np.eye(3), limits)) == {0, 2, 4, 6}
    pairs = spliced._replace(orbits=np.array([0, 0, 1, 1, 2, 3, 4, 4]))
    assert set(repaired(pairs, np.array([2, 2]), 10 * np.eye(3), limits)) == {0, 1, 4, 5}
    assert repaired(pairs, np.array([3, 1]), 10 * np.eye(3), limits) is None


def test_an_atom_that_would_clash_is_not_added_first():
    scaled = np.array([[0.1, 0.5, 0.5], [0.12, 0.5, 0.5], [0.8, 0.5, 0.5]])
    spliced = Spliced(scaled, np.zeros(3, dtype=int), np.array([0.1, -0.05, -0.2]), np.arange(3))
    assert set(repaired(spliced, np.array([2]), 10 * np.eye(3), np.array([[2.0]]))) == {0, 2}
