"""The similarity of patterns and the fit of the cell."""

import numpy as np
import pytest
from scipy.linalg import expm

from nucleate.errors import BadInput
from nucleate.observables.background import background
from nucleate.observables.correlation import Measured, Profile, binned
from nucleate.observables.powder import PowderSettings, calculated, fit_powder, powder_data, powder_lines, uniform
from nucleate.observables.radiation import radiation
from nucleate.observables.variable_cell import _evaluate, fit_cell

CU = radiation("CuKa")


def direct(f, g, step, width):
    """De Gelder's similarity as a double sum."""
    x = step * np.arange(len(f))
    weight = np.maximum(0, 1 - np.abs(x[:, None] - x) / width)
    return f @ weight @ g / np.sqrt((f @ weight @ f) * (g @ weight @ g))


def test_it_is_the_double_sum(rng):
    step, width = 0.05, 1.0
    lines = np.zeros(400)
    lines[rng.integers(60, 340, 30)] = rng.random(30)
    profile = Profile(0.3, 0.4)
    curve = Measured(0.0, step, lines, width, profile).curve(lines)
    g = np.convolve(rng.random(400), np.ones(9) / 9, "same") * (np.abs(np.arange(400) - 200) < 150)
    measured = Measured(10.0, step, g, width, profile)
    ours, slope = measured.similarities(lines[None])
    assert ours[0] == pytest.approx(direct(curve, g, step, width), abs=2e-3)
    changed = lines.copy()
    changed[150] += 1e-4
    assert (measured.similarities(changed[None])[0] - ours)[0] == pytest.approx(1e-4 * slope[0, 150], rel=1e-3)


def test_identical_curves_have_similarity_1_and_the_order_does_not_matter(rng):
    f, g = np.abs(rng.normal(size=(2, 300)))
    pairs = [(f, f), (f, g), (g, f), (3 * f, g)]
    same, one, other, scaled = (Measured(0.0, 0.1, b, 0.8, None).similarities(a[None])[0][0] for a, b in pairs)
    assert same == pytest.approx(1.0, abs=1e-9)
    assert one == pytest.approx(other, abs=1e-12)
    assert one == pytest.approx(scaled, abs=1e-12)


def test_lines_between_points_keep_area_and_centre():
    measured = Measured(0.0, 0.5, np.ones(9), 1.0, None)
    curves = binned(measured, np.array([[1.2, np.nan, 77.0]]), np.array([[2.0, 1.0, 1.0]])).curves
    assert curves.sum() == pytest.approx(2.0)
    assert curves[0] @ (0.5 * np.arange(9)) / 2.0 == pytest.approx(1.2)


def test_a_strained_crystal_is_recognised_and_its_strain_found(polymorphs, measure, rng):
    for strain in (np.diag([0.028, 0.028, -0.021]), np.diag([-0.03, -0.03, -0.03])):
        crystal = polymorphs["rutile"].copy()
        crystal.set_cell(crystal.cell.array @ expm(strain), scale_atoms=True)
        x, y = measure(crystal, background=0.05, counts=3000, rng=rng)
        data = powder_data(x, y, CU)
        fit = fit_powder(polymorphs["rutile"], data)
        assert fit.plain < 0.9
        assert fit.fitted > 0.985
        assert np.sort(np.linalg.eigvalsh(fit.strain)) == pytest.approx(np.sort(np.diag(strain)), abs=1e-3)
        assert fit.fitted > fit_powder(polymorphs["anatase"], data).fitted + 0.05
        curve = calculated(polymorphs["rutile"], data, fit.strain, fit.zero)
        clean = data.counts - data.background
        assert ((curve - clean) ** 2).sum() < 0.1 * (clean**2).sum()


def test_angles_near_180_degrees(polymorphs, measure):
    # Strains move reflections beyond the largest angle, where Bragg's law has no solution.
    x, y = measure(polymorphs["rutile"], wavelength="CrKa", first=20.0, last=168.0)
    crystal = polymorphs["rutile"].copy()
    crystal.set_cell(crystal.cell.array * 0.98, scale_atoms=True)
    fit = fit_powder(crystal, powder_data(x, y, radiation("CrKa")))
    assert fit.fitted > 0.99
    assert np.expm1(np.linalg.eigvalsh(fit.strain)) == pytest.approx(np.full(3, 1 / 0.98 - 1), abs=1e-3)


def test_large_sets_of_strains_are_evaluated_in_parts(polymorphs, measure, monkeypatch):
    x, y = measure(polymorphs["anatase"])
    data = powder_data(x, y, CU)
    whole = fit_powder(polymorphs["rutile"], data)
    monkeypatch.setattr("nucleate.observables.variable_cell.CHUNK", 500)
    monkeypatch.setattr("nucleate.observables.reflections.CHUNK", 50)
    assert fit_powder(polymorphs["rutile"], data).fitted == pytest.approx(whole.fitted, abs=1e-9)


def test_a_strain_that_breaks_the_symmetry(polymorphs, measure):
    crystal = polymorphs["rocksalt"].copy()
    crystal.set_cell(crystal.cell.array @ expm(np.diag([0.02, -0.015, 0.0])), scale_atoms=True)
    x, y = measure(crystal)
    data = powder_data(x, y, CU)
    within, beyond = (fit_powder(polymorphs["rocksalt"], data, symmetry) for symmetry in (True, False))
    assert within.fitted < 0.97
    assert beyond.fitted > 0.995
    assert np.linalg.eigvalsh(beyond.strain) == pytest.approx([-0.015, 0.0, 0.02], abs=1.5e-3)


def test_a_fit_of_any_strain_is_at_least_as_good(polymorphs, measure):
    x, y = measure(polymorphs["anatase"])
    data = powder_data(x, y, CU)
    for name in ("rutile", "anatase"):
        crystal = polymorphs[name].copy()
        crystal.rotate(33, (1, 2, 3), rotate_cell=True)
        assert fit_powder(crystal, data, symmetry=False).fitted >= fit_powder(crystal, data).fitted - 1e-6


def test_a_shift_of_the_zero_is_found(polymorphs, measure):
    x, y = measure(polymorphs["rutile"])
    fit = fit_powder(polymorphs["rutile"], powder_data(x + 0.08, y, CU))
    assert fit.fitted > 0.995
    assert fit.zero == pytest.approx(0.08, abs=0.02)


def test_strain_stays_within_the_bound(polymorphs, measure):
    crystal = polymorphs["rutile"].copy()
    crystal.set_cell(crystal.cell.array * 1.08, scale_atoms=True)
    x, y = measure(crystal)
    data = powder_data(x, y, CU, PowderSettings(strain=0.02))
    assert np.abs(np.linalg.eigvalsh(fit_powder(polymorphs["rutile"], data).strain)).max() <= 0.02 + 1e-9
    rigid = powder_data(x, y, CU, PowderSettings(strain=0.0))
    fit = fit_powder(polymorphs["rutile"], rigid)
    assert fit.plain == fit.fitted


def test_slopes_of_the_similarity(polymorphs, measure):
    x, y = measure(polymorphs["anatase"])
    data = powder_data(x, y, CU)
    lines = powder_lines(polymorphs["anatase"], data)
    level, at = data.levels[0], np.array([[0.012, -0.008, 0.03]])
    _, slope = _evaluate(lines, level, at)
    for k in range(3):
        step = np.zeros((1, 3))
        # Lines share their area between two points of the grid: the similarity has a kink wherever a line passes a point.
        step[0, k] = 1e-6
        high, low = (_evaluate(lines, level, at + sign * step)[0][0] for sign in (1, -1))
        # Commutators of strain and slope, of the order of the strain, are left out.
        assert slope[0, k] == pytest.approx((high - low) / 2e-6, rel=0.02, abs=0.01)


def test_the_fit_is_reproducible(polymorphs, measure):
    x, y = measure(polymorphs["anatase"])
    data = powder_data(x, y, CU)
    one, other = (fit_cell(powder_lines(polymorphs["rutile"], data), data.levels, data.fit) for _ in range(2))
    assert one.fitted == other.fitted


def test_bins_keep_the_integral_of_irregular_data(rng):
    x = np.sort(rng.uniform(5, 50, 3000))
    grid, values = uniform(x, 2 + 0.1 * x, 0.05)
    assert values == pytest.approx(2 + 0.1 * grid, abs=1e-9)


def test_background_below_peaks(rng):
    x = np.linspace(0, 1, 2000)
    smooth = 50 + 80 * np.exp(-3 * x) + 20 * np.sin(4 * x)
    peaks = sum(500 * np.exp(-0.5 * ((x - c) / 0.003) ** 2) for c in rng.random(25))
    found = background(rng.poisson(smooth + peaks).astype(float), 200)
    assert np.abs(found - smooth).mean() < 5


def test_patterns_without_peaks_or_range():
    x = np.linspace(10, 90, 500)
    with pytest.raises(BadInput, match="no peak"):
        powder_data(x, np.full(500, 7.0), CU)
    with pytest.raises(BadInput, match="20 to 50000"):
        powder_data(np.linspace(10, 10.2, 30), np.arange(30.0), CU)
