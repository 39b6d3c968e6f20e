import numpy as np
import pytest
from ase import Atoms

from nucleate.generate.distances import image_shifts
from nucleate.generate.evolution.sites import sites_of
from nucleate.generate.evolution.soft_modes import SoftModes, typical_distance
from nucleate.generate.tries import NotPlaced
from tests.generate.evolution.parents import corundum, loose, packing_of, positions_differ, skewed


def spring_modes(atoms: Atoms, count: int = 3) -> np.ndarray:
    """Return the softest modes of springs between atoms closer than 2.2 Å, without the three translations."""
    cell, positions, n = atoms.cell.array, atoms.positions, len(atoms)
    hessian = np.zeros((n, 3, n, 3))
    for shift in image_shifts(cell, 3.0 + 2 * np.linalg.norm(cell, axis=1).max()):
        vectors = positions[None] + shift @ cell - positions[:, None]
        lengths = np.linalg.norm(vectors, axis=2)
        for i, j in np.argwhere((lengths > 1e-6) & (lengths < 2.2)):
            unit = vectors[i, j] / lengths[i, j]
            block = np.outer(unit, unit)
            hessian[i, :, i] += block
            hessian[i, :, j] -= block
    values, vectors = np.linalg.eigh(hessian.reshape(3 * n, 3 * n))
    assert np.abs(values[:3]).max() < 1e-9
    return vectors.T[3 : 3 + count].reshape(-1, n, 3)


def sorted_parent(packing) -> Atoms:
    sites = sites_of(packing, corundum())
    return Atoms(["Al"] * 4 + ["O"] * 6, scaled_positions=sites.scaled, cell=sites.cell, pbc=True)


def test_atoms_move_along_the_patterns_by_the_amplitude():
    packing = loose(packing_of("alumina"))
    parent = sorted_parent(packing)
    modes = spring_modes(parent).reshape(3, -1)
    half = 0.5 * typical_distance(parent)
    rng = np.random.default_rng(0)
    overlaps = []
    for _ in range(60):
        steps = positions_differ(parent, SoftModes(packing, spring_modes)([parent], rng))
        assert 0.5 * half - 1e-9 <= np.linalg.norm(steps, axis=1).max() <= 1.5 * half + 1e-9
        overlap = modes @ steps.ravel() / np.linalg.norm(steps)
        assert np.linalg.norm(overlap) == pytest.approx(1.0, abs=1e-6)
        overlaps.append(overlap)
    pure = [int(np.argmax(np.abs(o))) for o in overlaps if np.abs(o).max() > 1 - 1e-9]
    assert 0.5 < len(pure) / len(overlaps) < 1.0
    assert pure.count(0) > pure.count(2) > 0
    signs = {np.sign(o[0]) for o in overlaps if np.abs(o[0]) > 0.99}
    assert signs == {-1.0, 1.0}


def test_patterns_belong_to_the_atoms_in_the_order_of_the_parent():
    packing = loose(packing_of("alumina"))
    parent = skewed(corundum(), np.random.default_rng(2))

    def one_aluminium(atoms):
        pattern = np.zeros((1, len(atoms), 3))
        pattern[0, int(np.flatnonzero(atoms.numbers == 13)[0]), 2] = 1.0
        return pattern

    child = SoftModes(packing, one_aluminium)([parent], np.random.default_rng(0))
    sites = sites_of(packing, parent)
    start = Atoms(child.numbers, scaled_positions=sites.scaled, cell=sites.cell, pbc=True)
    steps = positions_differ(start, child)
    moved = np.linalg.norm(steps, axis=1) > 1e-9
    assert moved.sum() == 1
    assert child.numbers[moved] == [13]


def test_typical_distance_of_corundum():
    assert typical_distance(corundum()) == pytest.approx(1.86, abs=0.02)


def test_no_modes_and_wrong_shapes():
    packing = packing_of("alumina")
    with pytest.raises(NotPlaced, match="no soft modes"):
        SoftModes(packing, lambda atoms: np.empty((0, len(atoms), 3)))([corundum()], np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"\(k, 10, 3\)"):
        SoftModes(packing, lambda atoms: np.ones((3, 30)))([corundum()], np.random.default_rng(0))
    with pytest.raises(NotPlaced, match="does not move"):
        SoftModes(packing, lambda atoms: np.zeros((1, 10, 3)))([corundum()], np.random.default_rng(0))
