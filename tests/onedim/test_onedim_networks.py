"""Networks of one-dimensional Kohn-Sham theory: exact properties of the operators, derivatives, residuals, and short trainings."""

import numpy as np
import pytest
import torch

from nucleate.onedim.api import functional_of
from nucleate.onedim.exact import ground_state
from nucleate.onedim.grid import Grid
from nucleate.onedim.inversion import one_orbital_potential, response
from nucleate.onedim.kohn_sham import self_consistent
from nucleate.onedim.operator.data import UNSEEN, Wells, exact_wells, random_potential, unseen
from nucleate.onedim.operator.fourier import FourierOperator
from nucleate.onedim.operator.propagator import PropagatorTraining, random_trajectories, roll_out, train_propagator
from nucleate.onedim.operator.refinement import kohn_sham_residual, refine
from nucleate.onedim.operator.training import OperatorTraining, potential_error, predict, responses, solve_with, train_operator
from nucleate.onedim.packet.network import Jet, Perceptron
from nucleate.onedim.packet.orbitals import OrbitalNetwork
from nucleate.onedim.packet.oscillator import PacketTraining, mesh, notebook_residual, packet, packet_errors, residual, train_packet
from nucleate.onedim.propagation import Pulse, propagate_orbitals
from nucleate.onedim.wells import Well, soft_coulomb


@pytest.fixture(scope="module")
def wells():
    return exact_wells(8, np.random.default_rng(0), points=81)


def test_an_operator_does_not_depend_on_the_grid():
    """A band-limited function in the middle has the same image on two grids."""
    torch.manual_seed(0)
    model = FourierOperator(1, 1, width=8, modes=8, layers=2).double()
    images = []
    for points in (81, 161):
        x = torch.linspace(-12, 12, points, dtype=torch.float64)
        with torch.no_grad():
            images.append(model(torch.exp(-(x**2) / 8)[None, None])[0, 0])
    scale = images[0].abs().max()
    assert (images[0] - images[1][::2]).abs().max() < 0.02 * scale


def test_wells_are_exact_and_test_distances_are_new(wells):
    grid = wells.grid
    for v, n, xc in zip(wells.external, wells.density, wells.xc, strict=True):
        assert grid.integral(n) == pytest.approx(2, abs=1e-8)
        _, _, energies, _ = response(grid, v + grid.hartree(n) + xc, 2)
        assert energies[0] == pytest.approx(-ground_state(Well(grid, v), 2).ionisation, abs=1e-5)
    assert [unseen(d) for d in (1.0, np.mean(UNSEEN[0]), 3.0, np.mean(UNSEEN[1]), 5.0)] == [False, True, False, True, False]
    # One generator gives the same wells on every grid.
    coarse, fine = (random_potential(Grid.box(12, p), "dimer", np.random.default_rng(3)) for p in (81, 161))
    assert np.allclose(coarse, fine[::2])


def test_the_screened_response_is_that_of_the_self_consistent_density(wells):
    grid, k = wells.grid, 1
    kick = 1e-4 * np.exp(-((grid.x - 0.5) ** 2))
    well = Well(grid, wells.external[k])
    up, down = (self_consistent(well, 2, lambda n, s=s: wells.xc[k] + s * kick).orbitals.density for s in (1, -1))
    one = Wells(grid, wells.kinds[k : k + 1], wells.external[k : k + 1], wells.density[k : k + 1], wells.xc[k : k + 1])
    assert np.allclose(grid.spacing * responses(one, 1)[0] @ kick, (up - down) / 2, atol=1e-6)


def test_training_lowers_the_error_and_solves_the_equations(wells):
    model = train_operator(wells, np.random.default_rng(0), OperatorTraining(epochs=40, batch=8, rate=4e-3, width=8, modes=12, layers=2))
    errors = potential_error(wells.grid, predict(model, wells.density), wells.xc, wells.density)
    nothing = potential_error(wells.grid, np.zeros_like(wells.xc), wells.xc, wells.density)
    assert np.median(errors) < 0.7 * np.median(nothing)
    mirrored = predict(model, wells.density[:, ::-1].copy())
    assert np.allclose(mirrored[:, ::-1], predict(model, wells.density), atol=1e-10)
    solved = solve_with(model, Well(wells.grid, wells.external[0]))
    assert wells.grid.integral(solved.orbitals.density) == pytest.approx(2, abs=1e-9)


def test_refinement_needs_no_exact_potential(wells):
    """The residual vanishes for the exact potential, and refinement at least halves the error of exact exchange."""
    grid, n, v = wells.grid, wells.density[2], wells.external[2]
    phi = np.sqrt(n / 2)
    exact = torch.tensor(one_orbital_potential(grid, n))
    assert kohn_sham_residual(torch.tensor(grid.kinetic_of(phi)), torch.tensor(phi), exact).abs().max() < 1e-6
    guess = -0.5 * grid.hartree(n)
    better = refine(grid, v, n, guess, steps=60)
    before, after = (potential_error(grid, p, wells.xc[2], n) for p in (guess, better))
    assert after < before / 2


def test_propagated_densities_keep_the_electrons():
    data = random_trajectories(3, np.random.default_rng(0), time=4.0, time_step=0.2, every=2)
    model = train_propagator(data, np.random.default_rng(0), PropagatorTraining(epochs=2, width=8, modes=8, layers=2))
    found = roll_out(model, data)
    assert found.shape == data.densities.shape
    assert np.allclose(data.grid.integral(found), 2, atol=1e-5)


def test_derivatives_of_the_perceptron():
    torch.manual_seed(0)
    model = Perceptron(2, 8, 3, torch.float64, centre=(0.1, 0.2), scale=(2.0, 3.0))
    points = torch.randn(20, 2, dtype=torch.float64)
    jet = model.jet(points)
    h = 1e-4
    dx, dt = torch.tensor([h, 0.0], dtype=torch.float64), torch.tensor([0.0, h], dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(jet.value, model(points))
        assert torch.allclose(jet.x, (model(points + dx) - model(points - dx)) / (2 * h), atol=1e-6)
        assert torch.allclose(jet.t, (model(points + dt) - model(points - dt)) / (2 * h), atol=1e-6)
        assert torch.allclose(jet.xx, (model(points + dx) + model(points - dx) - 2 * model(points)) / h**2, atol=1e-5)


@pytest.mark.parametrize("states", [(0, 1), (1, 3)])
def test_the_exact_packet_obeys_the_right_residual_alone(states):
    points = mesh(2.0, 0.3)
    x, t = points.T.numpy()
    h = 1e-3
    psi = packet(x, t, states)
    xx = (packet(x + h, t, states) + packet(x - h, t, states) - 2 * psi) / h**2
    by_t = (packet(x, t + h, states) - packet(x, t - h, states)) / (2 * h)
    value, first, second = (torch.tensor(np.stack([f.real, f.imag], 1)) for f in (psi, by_t, xx))
    jet = Jet(value, first, first, second)
    assert residual(jet, points[:, 0]).abs().max() < 1e-4
    assert notebook_residual(jet, points[:, 0]).abs().max() > 0.1
    # Norm on the whole line.
    line = np.linspace(-9, 9, 721)
    assert np.sum(np.abs(packet(line, np.full(721, 0.7), states)) ** 2) * 0.025 == pytest.approx(1, abs=1e-9)


def test_the_residual_helps_where_there_are_no_data():
    with_physics, alone = (
        packet_errors(train_packet(PacketTraining(residual=r, weight=1e-2, steps=50, width=8), 0), (0, 1), 0.2)
        for r in ("schroedinger", "none")
    )
    assert with_physics.residual < alone.residual


def orbital_network():
    grid = Grid.box(9, 73)
    well = Well(grid, soft_coulomb(grid, np.array([2.0]), np.array([0.0])))
    functional = functional_of(well, 2)
    start = self_consistent(well, 2, functional.potential)
    return well, functional, start


def test_resting_orbitals_have_no_residual_without_a_field():
    """The network begins with the ground state, which solves the equations, and its density is that of Crank-Nicolson."""
    well, functional, start = orbital_network()
    still = Pulse(0.0, 0.5, 1.0)
    made = OrbitalNetwork(well, start, 2, functional, still, 4.0, 8)
    norms, rest = made.residual(torch.tensor([0.5, 3.0]))
    assert torch.allclose(norms, torch.ones_like(norms), atol=1e-5)
    assert rest.abs().max() < 1e-4
    exact = propagate_orbitals(well, start, 2, functional, still, 0.1, 40)
    assert np.allclose(made.density(exact.times), exact.densities, atol=1e-5)


def test_the_residual_of_orbitals_agrees_with_differences():
    """i d psi / dt - (H - e) psi of a network with random weights, in the interior of the box."""
    torch.manual_seed(1)
    well, functional, start = orbital_network()
    made = OrbitalNetwork(well, start, 2, functional, Pulse(0.05, 0.5, 1.0), 6.0, 8)
    torch.nn.init.normal_(made.network.layers[-1].weight, std=0.1)
    t, h = 2.0, 1e-2
    with torch.no_grad():
        early, psi, late = (made.orbitals(torch.tensor([s]))[0, 0].numpy().astype(complex) for s in (t - h, t, t + h))
        _, rest = made.residual(torch.tensor([t]))
    grid = well.grid
    density = 2 * np.abs(psi) ** 2
    v = well.potential + grid.hartree(density) + functional.potential(density) + grid.x * made.pulse.field(t)
    expected = 1j * (late - early) / (2 * h) - (grid.kinetic_of(psi) + (v - start.orbitals.energies[0]) * psi)
    assert np.abs(rest[0, 0].numpy() - expected).max() < 5e-3
