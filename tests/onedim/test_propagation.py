"""Electrons in motion: conserved quantities, order of the step, and the harmonic potential theorem."""

import itertools

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from nucleate.errors import BadInput
from nucleate.onedim import api
from nucleate.onedim.exact import ground_state
from nucleate.onedim.grid import Grid
from nucleate.onedim.propagation import Pulse, crank_nicolson
from nucleate.onedim.wells import Well, atoms_well

OMEGA = 0.5
THEORIES = ["exact", "kohn-sham"]


def oscillator():
    grid = Grid.box(9, 73)
    return Well(grid, 0.5 * OMEGA**2 * grid.x**2)


def classical(pulse, times):
    """Position of a charge in the oscillator and the pulse."""
    motion = solve_ivp(
        lambda t, y: [y[1], -(OMEGA**2) * y[0] - pulse.field(t)], (0, times[-1]), [0, 0], t_eval=times, rtol=1e-10, atol=1e-12
    )
    return motion.y[0]


@pytest.mark.parametrize("theory", THEORIES)
def test_electrons_in_an_oscillator_move_like_a_classical_charge(theory):
    """The interaction does not act on the centre of mass (J. F. Dobson's theorem); the error of the step is of second order."""
    errors = []
    for dt in (0.2, 0.1):
        result = api.propagate(oscillator(), 2, theory=theory, amplitude=0.05, frequency=0.3, cycles=2, time_step=dt, every=1)
        errors.append(np.abs(result.motion.dipole - 2 * classical(result.pulse, result.motion.times)).max())
    assert errors[1] < 0.03
    assert 1.8 < np.log2(errors[0] / errors[1]) < 2.2


@pytest.mark.parametrize("theory", THEORIES)
def test_the_final_density_converges_with_the_square_of_the_step(theory):
    well = atoms_well("2@0", half_length=9, points=73)
    densities = [
        api.propagate(well, 2, theory=theory, amplitude=0.1, frequency=0.5, cycles=1, time_step=dt, every=10**6).motion.densities[-1]
        for dt in np.pi * 4 / np.array([50, 100, 200])
    ]
    first, second = (np.abs(a - b).max() for a, b in itertools.pairwise(densities))
    assert 1.8 < np.log2(first / second) < 2.2


@pytest.mark.parametrize(("theory", "electrons"), [("exact", 1), ("exact", 2), ("kohn-sham", 2), ("kohn-sham", 4)])
def test_norm_and_energy_are_conserved(theory, electrons):
    well = atoms_well("2@-1 2@1", half_length=11, points=89)
    quiet = api.propagate(well, electrons, theory=theory, amplitude=0.0, time=5.0, time_step=0.1, every=5).motion
    assert np.abs(quiet.energy - quiet.energy[0]).max() < 1e-4
    assert np.abs(quiet.norm - electrons).max() < 1e-10
    driven = api.propagate(well, electrons, theory=theory, amplitude=0.1, frequency=0.4, cycles=1, time_step=0.1, every=5).motion
    assert np.abs(driven.norm - electrons).max() < 1e-10
    # After the pulse the energy is constant again, and no energy was lost from a ground state.
    assert driven.energy[-1] > driven.energy[0]


def test_one_electron_gives_the_same_in_both_theories():
    well = atoms_well("1@0", half_length=14, points=113)
    how = {"amplitude": 0.02, "frequency": 0.3, "cycles": 1, "time_step": 0.1}
    exact, orbital = (api.propagate(well, 1, theory=theory, **how).motion for theory in THEORIES)
    assert np.abs(exact.dipole - orbital.dipole).max() < 1e-6


def test_the_static_response_is_that_of_the_polarised_ground_state():
    """A slow, weak field polarises the atom as a constant one does."""
    well = atoms_well("2@0", half_length=9, points=55)
    e = 1e-3
    shifted = Well(well.grid, well.potential + e * well.grid.x)
    static = float(well.grid.integral(well.grid.x * ground_state(shifted, 2).density))
    result = api.propagate(well, 2, amplitude=e, frequency=0.02, cycles=0.5, time_step=0.2, every=1)
    peak = int(np.abs(result.motion.field).argmax())
    assert result.motion.dipole[peak] / result.motion.field[peak] == pytest.approx(static / e, rel=0.03)


def test_a_free_packet_spreads_by_its_closed_form():
    grid = Grid.box(20, 401)
    wave = (np.pi**-0.25 * np.exp(-(grid.x**2) / 2)).astype(complex)[:, None]
    for _ in range(100):
        wave = crank_nicolson(grid, np.zeros(len(grid)), wave, 0.02)
    density = np.abs(wave[:, 0]) ** 2
    assert grid.integral(grid.x**2 * density) == pytest.approx(0.5 * (1 + 2.0**2), rel=1e-3)


def test_the_pulse_begins_and_ends_with_zero():
    pulse = Pulse(0.1, 0.2, 3)
    assert pulse.field(0) == pulse.field(pulse.duration) == pulse.field(2 * pulse.duration) == 0
    assert max(abs(pulse.field(t)) for t in np.linspace(0, pulse.duration, 500)) <= 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"theory": "hartree"}, "exact or kohn-sham"),
        ({"electrons": 3}, "1 or 2"),
        ({"frequency": 0.0}, "positive"),
        ({"time_step": 1e-9}, "steps"),
        ({"time": float("nan")}, "steps"),
        ({"every": 0}, "record"),
        ({"every": 1, "time": 9e4, "time_step": 0.1}, "too many"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(BadInput, match=message):
        api.propagate(atoms_well("2@0", points=61), **{"electrons": 2, **options})
