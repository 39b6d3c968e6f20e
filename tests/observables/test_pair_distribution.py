"""G(r): coordination numbers, baseline, damping, Qmax, and recovery of strains."""

import numpy as np
import pytest
from ase.build import bulk

from nucleate.errors import BadInput
from nucleate.observables.pair_distribution import PairSettings, fit_pairs, pair_data, pair_distribution, pair_lines, similarity

R = np.arange(0.5, 20.0, 0.01)
SHARP = PairSettings(b_iso=0.1, q_damp=0.0)


@pytest.mark.parametrize(
    ("atoms", "distance", "number"),
    [
        (bulk("C", "diamond", 3.567), 1.5446, 4),
        (bulk("C", "diamond", 3.567, cubic=True), 2.5223, 12),
        (bulk("Cu", "fcc", 3.61), 2.5527, 12),
        (bulk("NaCl", "rocksalt", 5.64), 2.82, 6 * 11 * 17 / 14**2),
    ],
)
def test_coordination_numbers(atoms, distance, number):
    g = pair_distribution(atoms, R, SHARP)
    density = len(atoms) / atoms.get_volume()
    near = np.abs(R - distance) < 0.22
    radial = g * R + 4 * np.pi * density * R**2
    assert np.trapezoid(radial[near], R[near]) == pytest.approx(number, rel=1e-4)
    assert np.trapezoid((radial * R)[near], R[near]) / np.trapezoid(radial[near], R[near]) == pytest.approx(distance, abs=1e-3)


def test_baseline_and_width_of_a_peak():
    atoms = bulk("Cu", "fcc", 3.61)
    g = pair_distribution(atoms, R, SHARP)
    density = 1 / atoms.get_volume()
    assert g[R < 1.5] == pytest.approx(-4 * np.pi * density * R[R < 1.5], abs=1e-6)
    variance, d = 2 * 0.1 / (8 * np.pi**2), 3.61 / np.sqrt(2)
    exact = 12 / R * np.exp(-((R - d) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance) - 4 * np.pi * density * R
    near = np.abs(R - d) < 0.3
    assert g[near] == pytest.approx(exact[near], abs=6e-3 * exact.max())


def test_it_vanishes_at_large_distances_only_with_damping():
    atoms = bulk("Cu", "fcc", 3.61)
    r = np.arange(0.5, 30.0, 0.02)
    damped = pair_distribution(atoms, r, PairSettings(q_damp=0.15))
    whole = pair_distribution(atoms, r, PairSettings(q_damp=0.0))
    assert np.abs(damped[r > 25]).max() < 0.03
    assert np.abs(whole[r > 25]).max() > 1


def test_qmax_removes_fast_oscillations():
    r = np.arange(1.0, 21.0, 0.02)
    transform = np.abs(np.fft.rfft(pair_distribution(bulk("Cu", "fcc", 3.61), r, PairSettings(q_max=15.0, b_iso=0.1)) * np.hanning(len(r))))
    q = 2 * np.pi * np.fft.rfftfreq(len(r), 0.02)
    assert transform[q > 17].max() < 0.01 * transform[q < 15].max()


def test_neutrons_see_other_weights():
    atoms = bulk("NaCl", "rocksalt", 5.64)
    sodium, chlorine = 3.63, 9.577
    near = pair_lines(atoms, PairSettings(neutron=True))
    lengths = np.linalg.norm(near.vectors, axis=1)
    weight = near.weights[np.abs(lengths - 2.82) < 0.01].sum()
    assert weight == pytest.approx(6 * sodium * chlorine / ((sodium + chlorine) / 2) ** 2, rel=5e-3)


def test_a_strained_crystal_is_recognised(polymorphs):
    strained = polymorphs["rutile"].copy()
    strained.set_cell(strained.cell.array * [[1.02], [1.02], [0.99]], scale_atoms=True)
    r = np.arange(0.5, 16, 0.01)
    data = pair_data(r, 0.7 * pair_distribution(strained, r, PairSettings(b_iso=0.6, q_damp=0.04)))
    fits = {name: fit_pairs(atoms, data) for name, atoms in polymorphs.items()}
    assert fits["rutile"].fitted > 0.98
    assert fits["rutile"].fitted > fits["rutile"].plain + 0.02
    assert max(fits["anatase"].fitted, fits["rocksalt"].fitted) < 0.85
    assert np.expm1(np.sort(np.linalg.eigvalsh(fits["rutile"].strain))) == pytest.approx([-0.01, 0.02, 0.02], abs=2e-3)
    assert similarity([polymorphs["rutile"]], data)[0] == fits["rutile"].plain


def test_data_out_of_range():
    with pytest.raises(BadInput, match="at least 10"):
        pair_data(np.linspace(0, 0.9, 50), np.ones(50))
    with pytest.raises(BadInput, match="zero everywhere"):
        pair_data(np.linspace(0, 9, 500), np.zeros(500))
