"""Free energies in their limits, equations of state and transitions."""

import numpy as np
import pytest

from nucleate.polymorphs.stability.free_energy import (
    VOLUMES,
    FreeEnergy,
    crossings,
    transitions,
    vibrational_energy,
    volume_minimum,
)
from nucleate.units import BOLTZMANN, GPA, THZ

WEIGHTS = np.array([0.25, 0.75])
FREQUENCIES = np.array([[1.0, 4.0], [2.0, 6.0]])


def test_the_energy_at_zero_temperature_is_that_of_the_zero_point():
    found = vibrational_energy(FREQUENCIES, WEIGHTS, np.array([0.0, 1.0]))
    expected = 0.5 * THZ * (WEIGHTS[:, None] * FREQUENCIES).sum()
    assert found[0] == pytest.approx(expected)
    assert found[1] == pytest.approx(expected, rel=1e-6)


def test_the_limit_at_high_temperature_is_classical():
    temperature = 1e5
    heat = BOLTZMANN * temperature
    classical = (WEIGHTS[:, None] * heat * np.log(THZ * FREQUENCIES / heat)).sum()
    assert vibrational_energy(FREQUENCIES, WEIGHTS, np.array([temperature]))[0] == pytest.approx(classical, rel=1e-6)


def test_the_entropy_follows_from_the_slope():
    """The heat capacity of one oscillator is Einstein's."""
    temperatures = np.array([299.0, 300.0, 301.0])
    free = vibrational_energy(np.array([[5.0]]), np.array([1.0]), temperatures)
    heat = -300.0 * (free[0] + free[2] - 2 * free[1])
    x = THZ * 5.0 / (BOLTZMANN * 300.0)
    assert heat == pytest.approx(BOLTZMANN * x**2 * np.exp(x) / (np.exp(x) - 1) ** 2, rel=1e-3)


def test_translations_are_left_out_and_imaginary_modes_have_no_energy():
    with_translation = np.array([[0.0, 4.0], [2.0, 6.0]])
    assert np.isfinite(vibrational_energy(with_translation, WEIGHTS, np.array([0.0, 300.0]))).all()
    members = np.stack([FREQUENCIES, FREQUENCIES - 2.0])
    found = vibrational_energy(members, WEIGHTS, np.array([0.0, 300.0]))
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()


def test_the_minimum_of_an_equation_of_state_is_found():
    v0, e0, bulk = 40.0, -10.0, 80 * GPA
    volumes = VOLUMES * 39.5
    strain = 0.5 * ((v0 / volumes) ** (2 / 3) - 1)
    energies = e0 + 4.5 * v0 * bulk * strain**2
    best, at = volume_minimum(volumes, np.stack([energies, energies * np.nan], axis=1), 0.0)
    assert (best[0], at[0]) == pytest.approx((e0, v0), rel=1e-6)
    assert np.isnan([best[1], at[1]]).all()
    # A pressure of 1 GPa compresses by 1/80 to first order.
    _, pressed = volume_minimum(volumes, energies[:, None], 1.0)
    assert pressed[0] == pytest.approx(v0 * (1 - 1 / 80), rel=1e-3)


def test_a_minimum_beyond_the_volumes_is_not_extrapolated():
    volumes = VOLUMES * 30.0
    strain = 0.5 * ((40.0 / volumes) ** (2 / 3) - 1)
    best, _ = volume_minimum(volumes, (strain**2)[:, None], 0.0)
    assert np.isnan(best[0])


def test_a_transition_lies_where_the_curves_cross():
    axis = np.linspace(0, 1000, 101)
    flat = np.zeros(101)
    falling = [0.01 - 2e-5 * axis, 0.01 - 2.5e-5 * axis, 0.5 - 1e-5 * axis]
    members = np.stack(falling)
    one = FreeEnergy(axis, flat, np.zeros((3, 101)), 0.0, flat, False)
    other = FreeEnergy(axis, 0.5 * (falling[0] + falling[1]), members, 0.0, flat, False)
    (found,) = transitions({0: one, 3: other})
    assert (found.low, found.high, found.members, found.of) == (0, 3, 2, 3)
    assert found.temperature == pytest.approx(0.01 / 2.25e-5, rel=1e-3)
    assert found.spread == pytest.approx(100 / np.sqrt(2), rel=1e-3)
    assert crossings(np.array([1.0, np.nan, -1.0]), np.array([0.0, 1.0, 2.0])) == []
