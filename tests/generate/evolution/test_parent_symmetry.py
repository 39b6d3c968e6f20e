import numpy as np
import pytest
from ase import Atoms
from ase.spacegroup import crystal

from nucleate.generate.evolution.permutation import Permutation
from nucleate.generate.evolution.sites import Sites
from nucleate.generate.evolution.symmetry import Operations, averaged, made_cyclic, made_exact, made_symmetric, operations, orbits_of
from tests.generate.evolution.parents import corundum, loose, packing_of, rotations, spinel


def rough(atoms: Atoms, seed: int = 0) -> Sites:
    """Return the sites of a crystal with small errors in positions and cell."""
    rng = np.random.default_rng(seed)
    moved = atoms.copy()
    moved.set_cell(moved.cell.array @ (np.eye(3) + rng.normal(scale=1e-3, size=(3, 3))), scale_atoms=True)
    moved.positions += rng.normal(scale=0.01, size=(len(moved), 3))
    return Sites(moved.get_scaled_positions(), moved.cell.array, np.unique(moved.numbers, return_inverse=True)[1])


def conventional() -> Atoms:
    """Return corundum in its hexagonal cell, whose centring makes some powers of operations fractions of a lattice vector."""
    return crystal(["Al", "O"], [(0, 0, 0.3522), (0.3064, 0, 0.25)], spacegroup=167, cellpar=[4.76, 4.76, 12.99, 90, 90, 120])


@pytest.mark.parametrize(("atoms", "order"), [(corundum(), 12), (spinel(), 48), (conventional(), 36)])
def test_an_approximate_group_becomes_exact(atoms, order):
    sites = rough(atoms)
    found = operations(sites)
    assert len(found) == order - 1
    assert len(operations(sites, 1e-4)) == 0
    exact = made_symmetric(sites, found)
    assert len(operations(exact, 1e-6)) == order - 1
    assert exact.volume == pytest.approx(sites.volume)
    steps = exact.scaled - sites.scaled
    assert np.abs(steps - np.round(steps)).max() < 0.02


@pytest.mark.parametrize("atoms", [corundum(), conventional(), spinel().repeat((2, 1, 1))])
def test_single_operations_become_exact(atoms):
    sites = rough(atoms)
    found = operations(sites)
    for k in range(len(found)):
        rotation, images = found.rotations[k], found.images[k]
        scaled, translation = made_exact(sites, rotation, found.translations[k], images)
        difference = scaled @ rotation.T + translation - scaled[images]
        assert np.abs(difference - np.round(difference)).max() < 1e-9
        assert np.abs((scaled - sites.scaled) @ sites.cell).max() < 0.1
        cell = made_cyclic(sites, found, k).cell
        assert np.allclose(rotation.T @ cell @ cell.T @ rotation, cell @ cell.T)


def test_orbits_are_those_of_the_structure():
    found = operations(rough(spinel()))
    labels = orbits_of(found.images)
    assert sorted(np.unique(labels, return_counts=True)[1]) == [2, 4, 8]
    cycle = orbits_of(np.array([[1, 2, 0, 3, 5, 4]]))
    assert cycle.tolist() == [0, 0, 0, 3, 4, 4]


def test_averages_do_not_depend_on_the_cell_of_an_atom():
    inversion = Operations(-np.eye(3, dtype=int)[None], np.zeros((1, 3)), np.array([[1, 0]]))
    scaled = np.array([[0.1, 0.2, 0.98], [0.9, 0.8, 0.0]])
    mean = averaged(scaled, inversion)
    assert np.allclose(mean, [[0.1, 0.2, 0.99], [0.9, 0.8, 0.01]])
    assert np.allclose(averaged(scaled + np.array([[1.0, 0.0, -2.0], [0.0, 3.0, 0.0]]), inversion) % 1.0, mean)


def test_an_exchange_of_orbits_makes_the_symmetry_of_a_rough_parent_exact():
    sites = rough(spinel())
    numbers = np.array([8, 12, 13])[sites.species]
    parent = Atoms(numbers, scaled_positions=sites.scaled, cell=sites.cell, pbc=True)
    assert len(rotations(parent, 1e-3)) == 1
    operator = Permutation(loose(packing_of("spinel")), symmetric=1.0)
    children = [operator([parent], np.random.default_rng(seed)) for seed in range(8)]
    assert min(len(rotations(child, 1e-5)) for child in children) > 1
