"""Ordering temperatures and stiffness from couplings of wave vectors, against those of pairs and closed forms."""

import numpy as np
import pytest

from nucleate.spins.couplings import Couplings, tensor
from nucleate.spins.dft.waves import between_cells, mesh_order, on_waves
from nucleate.spins.order.curie import leading_order, rpa
from nucleate.spins.waves.modes import G
from nucleate.spins.waves.spectrum import long_waves
from nucleate.spins.waves.state import ordered_state
from nucleate.units import K_B

STEPS = 24


def crystal(positions, moments, pairs, cell=None):
    """Couplings of a cubic cell from (i, j, shift, J)."""
    first, second, shifts, strengths = zip(*pairs, strict=True)
    return Couplings(
        3 * np.eye(3) if cell is None else cell, np.array(positions, dtype=float), ("Fe",) * len(moments), np.abs(moments),
        np.array(first), np.array(second), np.array(shifts), tensor(np.array(strengths, dtype=float)),
    )  # fmt: skip


def waves_of(couplings, signs, own=0.0, steps=STEPS):
    """Couplings of rotation angles on a mesh in eV; `own` is the term of each site with itself."""
    n = len(signs)
    cells = np.zeros((steps, steps, steps, n, n))
    first, second, shifts, tensors = couplings.both_ways()
    for i, j, shift, j_pair in zip(first, second, shifts, np.trace(tensors, axis1=1, axis2=2) / 3, strict=True):
        cells[(*np.mod(shift, steps), i, j)] += 1e-3 * j_pair * signs[i] * signs[j]
    cells[0, 0, 0] += own * np.eye(n)
    return on_waves(cells)


BODY = [(0, 1, tuple(-s), -12.0) for s in np.argwhere(np.ones((2, 2, 2)))]
CUBE = [(0, 0, s, 10.0) for s in np.eye(3, dtype=int)]


def test_transforms_are_inverse():
    cells = np.random.default_rng(0).normal(size=(4, 2, 3, 2, 2))
    assert between_cells(on_waves(cells)) == pytest.approx(cells, abs=1e-13)


def test_a_cubic_ferromagnet():
    couplings = crystal([[0, 0, 0]], [2.0], CUBE)
    found = mesh_order(waves_of(couplings, [1], own=0.3), np.array([2.0]), couplings.cell)
    assert found.mean_field == pytest.approx(2 * 10.0 / K_B, rel=1e-9)
    # Watson's integral, 0.505462; the extrapolation leaves an error of third order in the step.
    assert found.rpa == pytest.approx(2 * 10.0 / 3 / 0.505462 / K_B, rel=2e-3)
    # Terms of the sixth order in q are left.
    assert found.stiffness == pytest.approx(G / 2 * 10.0 * 9 * np.eye(3), abs=1e-3 * G / 2 * 90)
    assert found.unstable is None


def test_an_oblique_cell_has_the_stiffness_of_its_cubic_crystal():
    cell = 3 * np.array([[1, 0, 0], [0, 1, 0], [1, 0, 1]])
    couplings = crystal([[0, 0, 0]], [2.0], [(0, 0, (1, 0, 0), 10.0), (0, 0, (0, 1, 0), 10.0), (0, 0, (-1, 0, 1), 10.0)], cell)
    found = mesh_order(waves_of(couplings, [1]), np.array([2.0]), couplings.cell)
    assert found.stiffness == pytest.approx(G / 2 * 10.0 * 9 * np.eye(3), abs=5e-3 * G / 2 * 90)


def test_a_ferrimagnet_agrees_with_pairs_and_magnons():
    """Two cubic sublattices with different, antiparallel moments, one of them with couplings of its own."""
    couplings = crystal([[0, 0, 0], [1.5, 1.5, 1.5]], [3.0, -1.5], BODY + [(0, 0, tuple(s), 2.0) for s in np.eye(3, dtype=int)])
    moments = np.array([3.0, -1.5])
    found = mesh_order(waves_of(couplings, [1, -1], own=0.1), moments, couplings.cell)
    assert found.mean_field == pytest.approx(leading_order(couplings).mean_field, rel=1e-6)
    assert found.rpa == pytest.approx(rpa(couplings), rel=3e-3)
    known = long_waves(ordered_state(couplings), couplings, 1)
    assert found.stiffness == pytest.approx(known, abs=2e-3 * np.abs(known).max())


def test_no_net_moment_no_stiffness_and_odd_meshes_no_sum():
    couplings = crystal([[0, 0, 0], [1.5, 1.5, 1.5]], [2.0, -2.0], BODY)
    found = mesh_order(waves_of(couplings, [1, -1], steps=7), np.array([2.0, -2.0]), couplings.cell)
    assert found.stiffness is None
    assert found.rpa is None
    assert found.mean_field == pytest.approx(8 * 12.0 / 3 / K_B, rel=1e-9)


def test_a_wave_that_lowers_the_energy_is_named():
    couplings = crystal([[0, 0, 0]], [2.0], [(0, 0, s, -10.0) for s in np.eye(3, dtype=int)])
    found = mesh_order(waves_of(couplings, [1]), np.array([2.0]), couplings.cell)
    assert np.abs(found.unstable) == pytest.approx([0.5, 0.5, 0.5])
    assert found.rpa is None
    assert found.stiffness is None


def test_films_do_not_order():
    """Isotropic spins in a plane: mean field has a temperature, RPA none, whatever the mesh across the vacuum."""
    couplings = crystal([[0, 0, 0]], [2.0], CUBE[:2])
    found = mesh_order(waves_of(couplings, [1]), np.array([2.0]), couplings.cell)
    assert found.mean_field == pytest.approx(4 * 10.0 / 3 / K_B, rel=1e-9)
    assert found.rpa is None
    assert found.stiffness is None
    assert found.unstable is None
