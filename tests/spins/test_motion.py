"""Movers against closed forms: precession, damping, conservation, equilibrium."""

from dataclasses import replace

import numpy as np
import pytest
from test_hamiltonian import messy

from nucleate.spins.couplings import Couplings, tensor, uniaxial
from nucleate.spins.simulate.dynamics import GYROMAGNETIC, Dynamics
from nucleate.spins.simulate.fields import energy, fields
from nucleate.spins.simulate.lattice import SpinLattice
from nucleate.spins.simulate.monte_carlo import MonteCarlo
from nucleate.spins.simulate.observables.statistics import jackknife
from nucleate.spins.simulate.observables.topology import skyrmion_number
from nucleate.units import K_B, MU_B


def one_spin(field=(0.0, 0.0, 10.0), moment=2.0, onsite=None):
    """Two spins that do not see each other: a lattice wants a pair."""
    anisotropy = None if onsite is None else np.stack([onsite, onsite])
    couplings = Couplings(
        9 * np.eye(3), [[0, 0, 0], [3, 0, 0]], ("Fe", "Fe"), [moment] * 2, [0], [1], [[0, 0, 0]], tensor([0.0]), anisotropy
    )
    return SpinLattice.build(couplings, (1, 1, 1), field)


def cubic(j=1.0, size=4, **more):
    couplings = Couplings(3 * np.eye(3), np.zeros((1, 3)), ("Fe",), [1.0], [0] * 3, [0] * 3, np.eye(3), tensor(np.full(3, j)), **more)
    return SpinLattice.build(couplings, (size, size, size))


@pytest.mark.parametrize("scheme", ["heun", "semi-implicit"])
@pytest.mark.parametrize("damping", [0.0, 0.2])
def test_a_spin_in_a_field_turns_and_falls_as_the_closed_form_says(scheme, damping):
    """tan(theta / 2) falls as exp(-a w t), the azimuth turns by w t, w = g B / (1 + a^2)."""
    lattice = one_spin()
    theta = 1.0
    spins = np.tile([np.sin(theta), 0, np.cos(theta)], (2, 1))
    steps, dt = 4000, 0.1
    Dynamics(lattice, dt, damping, scheme=scheme).run(spins, steps, np.random.default_rng(0))
    w = GYROMAGNETIC * 10.0 / (1 + damping**2)
    expected = 2 * np.arctan(np.tan(theta / 2) * np.exp(-damping * w * steps * dt))
    assert np.arccos(spins[0, 2]) == pytest.approx(expected, abs=1e-6)
    # de/dt = -g e x B turns counter-clockwise around B.
    assert np.arctan2(spins[0, 1], spins[0, 0]) == pytest.approx(w * steps * dt, abs=1e-6)


@pytest.mark.parametrize("scheme", ["heun", "semi-implicit"])
def test_without_damping_the_energy_stays(scheme):
    lattice = SpinLattice.build(messy(), (3, 3, 3))
    spins = lattice.random(np.random.default_rng(0))
    before = energy(lattice, spins)
    change = []
    for dt in (0.2, 0.1):
        moved = spins.copy()
        Dynamics(lattice, dt, 0.0, scheme=scheme).run(moved, int(400 / dt), np.random.default_rng(0))
        change.append(abs(energy(lattice, moved) - before) / len(lattice))
        assert np.allclose(np.linalg.norm(moved, axis=1), 1, atol=1e-12)
    # meV a spin after 0.4 ps, where couplings are 1 meV; both schemes are of second order or better.
    assert change[0] < 1e-3
    assert change[1] < 0.5 * change[0]


def langevin(x):
    return 1 / np.tanh(x) - 1 / x


@pytest.mark.parametrize("scheme", ["heun", "semi-implicit"])
def test_the_thermal_field_brings_equilibrium(scheme):
    """Free moments in a field follow Langevin's function, whatever the damping and the moment."""
    couplings = Couplings(9 * np.eye(3), [[0, 0, 0], [3, 0, 0]], ("Fe", "Mn"), [1.0, 4.0], [0], [1], [[0, 0, 0]], tensor([0.0]))
    lattice = SpinLattice.build(couplings, (600, 1, 1), (0.0, 0.0, 30.0))
    rng = np.random.default_rng(3)
    spins = lattice.random(rng)
    temperature = 30.0
    move = Dynamics(lattice, 5.0, 0.5, temperature, scheme)
    move.run(spins, 1000, rng)
    found = []
    for _ in range(64):
        move.run(spins, 60, rng)
        found.append(spins.reshape(-1, 2, 3)[:, :, 2].mean(axis=0))
    value, error = jackknife(np.array(found), lambda m: m, bins=16)
    expected = langevin(MU_B * 30.0 * np.array([1.0, 4.0]) / (K_B * temperature))
    assert (error < 0.01).all()
    assert (np.abs(value - expected) < 4 * error + 0.002).all()


def sampled(lattice, beta, over_relaxation, measure, sweeps=4000, seed=0):
    rng = np.random.default_rng(seed)
    spins, move = lattice.random(rng), MonteCarlo(lattice)
    found = []
    for k in range(sweeps):
        move.run(spins, beta, rng, 1, over_relaxation)
        if k >= 100:
            found.append(measure(spins))
    return jackknife(np.array(found), lambda m: m)


@pytest.mark.parametrize("moves", [0, 1], ids=["heat bath", "with over-relaxation"])
@pytest.mark.parametrize("x", [0.3, 2.0, 8.0])
def test_an_open_chain_has_its_exact_correlation(moves, x):
    """Open chain: <e_i . e_i+1> = coth x - 1/x, x = J/kT (M. E. Fisher, Am. J. Phys. 32, 343 (1964))."""
    chain = Couplings(3 * np.eye(3), np.zeros((1, 3)), ("Fe",), [1], [0], [0], [[1, 0, 0]], tensor([1.0]))
    lattice = SpinLattice.build(chain, (40, 1, 1), periodic=(False, True, True))
    value, error = sampled(lattice, x, moves, lambda s: (s[1:] * s[:-1]).sum() / 39)
    assert error < 0.005
    assert abs(value - langevin(x)) < 4 * error


def test_anisotropy_and_field_have_the_boltzmann_weights():
    """One spin with K and B: <z> and <z^2> by quadrature; the moves are not linear in the spin."""
    lattice = one_spin((0.0, 0.0, 8.0), 2.0, uniaxial(1.5, [0, 0, 1]) + uniaxial(0.7, [1, 0, 0]))
    beta = 1.2
    z = np.linspace(-1, 1, 2001)
    phi = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    weight = np.exp(beta * (1.5 * z[:, None] ** 2 + 0.7 * (1 - z[:, None] ** 2) * np.cos(phi) ** 2 + MU_B * 2 * 8 * z[:, None])).mean(
        axis=1
    )
    expected = [(weight * z).sum() / weight.sum(), (weight * z * z).sum() / weight.sum()]
    value, error = sampled(lattice, beta, 1, lambda s: [s[:, 2].mean(), (s[:, 2] ** 2).mean()], sweeps=40000)
    assert (error < 0.01).all()
    assert (np.abs(value - expected) < 4 * error).all()


def test_over_relaxation_costs_nothing():
    lattice = cubic(-2.0)
    spins = lattice.random(np.random.default_rng(0))
    before = energy(lattice, spins)
    MonteCarlo(lattice).run(spins, 1.0, np.random.default_rng(1), 0, 200)
    assert energy(lattice, spins) == pytest.approx(before, abs=1e-9)
    assert np.allclose(np.linalg.norm(spins, axis=1), 1, atol=1e-13)


@pytest.mark.parametrize("size", [(6, 4, 5), (2, 3, 1), (1, 1, 7)])
@pytest.mark.parametrize("periodic", [(True, True, True), (False, True, False)])
def test_spins_that_are_moved_together_do_not_interact(size, periodic):
    """Rotations around fields of spins that interact would change the energy."""
    couplings = replace(messy(pairs=20), anisotropy=np.zeros((3, 3, 3)))
    lattice = SpinLattice.build(couplings, size, (1.0, 2.0, 3.0), periodic)
    # A spin's coupling with its own image would be an anisotropy, which changes the energy.
    assert not len(lattice.stencil.onsite)
    spins = lattice.random(np.random.default_rng(0))
    before = energy(lattice, spins)
    start = spins.copy()
    MonteCarlo(lattice).run(spins, 1.0, np.random.default_rng(1), 0, 5)
    assert np.linalg.norm(spins - start, axis=1).min() > 1e-3
    assert energy(lattice, spins) == pytest.approx(before, abs=1e-9)


def test_dynamics_and_monte_carlo_agree():
    lattice = cubic(1.0, 6)
    temperature = 1.2 / K_B
    value, error = sampled(lattice, 1 / 1.2, 1, lambda s: energy(lattice, s) / len(lattice), sweeps=1500)
    rng = np.random.default_rng(0)
    spins = lattice.aligned()
    move = Dynamics(lattice, 10.0, 0.5, temperature)
    move.run(spins, 2000, rng)
    found = []
    for _ in range(640):
        move.run(spins, 20, rng)
        found.append(energy(lattice, spins) / len(lattice))
    other, other_error = jackknife(np.array(found), lambda m: m)
    assert other_error < 0.02
    assert abs(value - other) < 4 * np.hypot(error, other_error) + 0.005


def test_the_same_seed_gives_the_same_spins():
    lattice = cubic()
    ends = []
    for _ in range(2):
        rng = np.random.default_rng(5)
        spins = lattice.random(rng)
        Dynamics(lattice, 1.0, 0.1, 50.0).run(spins, 50, rng)
        MonteCarlo(lattice).run(spins, 1.0, rng)
        ends.append(spins)
    assert np.array_equal(*ends)


def test_a_chain_with_dm_coils_with_its_known_pitch():
    """tan(angle of neighbours) = D / J; 12 spins hold one whole turn if D / J = tan(30 degrees)."""
    j, d = 1.0, np.tan(2 * np.pi / 12)
    chain = Couplings(
        3 * np.eye(3), np.zeros((1, 3)), ("Fe",), [1], [0], [0], [[1, 0, 0]], tensor([j], [[0, 0, d]]), [uniaxial(-0.2, [0, 0, 1])]
    )
    lattice = SpinLattice.build(chain, (36, 1, 1))
    rng = np.random.default_rng(1)
    spins, move = lattice.random(rng), MonteCarlo(lattice)
    for beta in np.geomspace(0.5, 300, 400):
        move.run(spins, beta, rng, 1, 5)
    Dynamics(lattice, 1.0, 0.5).run(spins, 30000, rng)
    steps = np.diff(np.unwrap(np.arctan2(spins[:, 1], spins[:, 0])))
    # E = -D z.(e_1 x e_2): positive D turns counter-clockwise.
    assert np.allclose(steps, np.pi / 6, atol=1e-3)
    assert energy(lattice, spins) / 36 == pytest.approx(-np.hypot(j, d), abs=1e-5)


@pytest.mark.parametrize("cell", [np.eye(3), np.array([[1, 0, 0], [0.5, 0.75**0.5, 0], [0, 0, 5]])], ids=["square", "triangular"])
def test_a_skyrmion_stays_with_charge_minus_one(cell):
    """Interfacial DM vectors at right angles to bonds, a field along z: a core put against the field stays, and counts -1."""
    bonds = [(1, 0, 0), (0, 1, 0)] + ([(1, -1, 0)] if abs(cell[1, 0]) > 0 else [])
    r = np.array(bonds) @ cell
    dm = 0.5 * np.cross([0, 0, 1.0], r)
    n = len(bonds)
    layer = Couplings(cell, np.zeros((1, 3)), ("Fe",), [1.0], [0] * n, [0] * n, bonds, tensor(np.ones(n), dm))
    lattice = SpinLattice.build(layer, (24, 24, 1), (0.0, 0.0, 0.15 * n / 2 / MU_B))
    centre = lattice.positions.mean(axis=0)
    spins = lattice.aligned()
    spins[np.linalg.norm(lattice.positions - centre, axis=1) < 4] *= -1
    spins += 0.05 * lattice.random(np.random.default_rng(0))
    spins /= np.linalg.norm(spins, axis=1, keepdims=True)
    move = Dynamics(lattice, 5.0, 0.5)
    move.run(spins, 6000, np.random.default_rng(0))
    # The torque of a stationary state is zero.
    assert np.linalg.norm(np.cross(spins, fields(lattice, spins)), axis=1).max() < 1e-2
    assert skyrmion_number(lattice, spins) == pytest.approx(np.array([[-1.0]]), abs=1e-9)
    assert spins[:, 2].min() < -0.9
