"""Exact states, Kohn-Sham states and inversion in one dimension against closed forms, other solvers and the program iDEA."""

from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.sparse import csr_matrix, identity, kron
from scipy.sparse.linalg import eigsh

from nucleate.errors import BadInput
from nucleate.onedim import api
from nucleate.onedim.exact import ground_state, one_electron, two_electrons
from nucleate.onedim.grid import Grid
from nucleate.onedim.inversion import invert, one_orbital_potential, response
from nucleate.onedim.kohn_sham import exchange_energy, exchange_potential, occupied, self_consistent
from nucleate.onedim.wells import Well, atoms_well, soft_coulomb

HERE = Path(__file__).parent


def harmonic(omega=1.0, half=8.0, points=121):
    grid = Grid.box(half, points)
    return Well(grid, 0.5 * omega**2 * grid.x**2)


def without_repulsion(well):
    """The same well with an interaction that vanishes."""
    grid = Grid(well.grid.x, 1e9)
    return Well(grid, well.potential)


def test_the_oscillator_has_its_levels():
    energies, orbitals = one_electron(harmonic())
    assert np.allclose(energies[:6], np.arange(6) + 0.5, atol=1e-6)
    x = harmonic().grid.x
    assert np.allclose(np.abs(orbitals[:, 0]), np.pi**-0.25 * np.exp(-(x**2) / 2), atol=1e-7)


def test_errors_of_the_grid_are_of_eighth_order():
    coarse, fine = (abs(one_electron(harmonic(points=p, half=7.5))[0][2] - 2.5) for p in (31, 61))
    assert 7.5 < np.log2(coarse / fine) < 8.5


def test_a_reflectionless_well_has_its_closed_form():
    """-s (s + 1) / 2 sech^2 x has the energies -(s - k)^2 / 2."""
    grid = Grid.box(12, 241)
    energies, _ = one_electron(Well(grid, -3 / np.cosh(grid.x) ** 2))
    assert np.allclose(energies[:2], [-2.0, -0.5], atol=1e-7)


def test_helium_has_its_known_energies():
    """The program iDEA gives -2.238258 Ha and the ionisation energy 0.754822 Ha (121 points on 24 bohr, 13-point stencil)."""
    state = ground_state(atoms_well("2@0", points=201), 2)
    assert state.energy == pytest.approx(-2.238258, abs=2e-6)
    assert state.ionisation == pytest.approx(0.754822, abs=2e-6)


def test_two_electrons_agree_with_sparse_diagonalisation():
    well = atoms_well("1@-1 2@0.5", half_length=8, points=49)
    grid = well.grid
    h, one = csr_matrix(grid.kinetic + np.diag(well.potential)), identity(len(grid))
    full = kron(h, one) + kron(one, h) + csr_matrix(np.diag(grid.interaction.ravel()))
    energy, wave = eigsh(full, k=1, which="SA", tol=1e-12)
    found, psi = two_electrons(well)
    assert found == pytest.approx(energy[0], abs=1e-9)
    assert abs(np.vdot(wave[:, 0] / grid.spacing, psi)) * grid.spacing**2 == pytest.approx(1, abs=1e-9)


def test_without_interaction_two_electrons_are_independent():
    well = without_repulsion(harmonic())
    energy, psi = two_electrons(well)
    assert energy == pytest.approx(1.0, abs=1e-7)
    assert np.linalg.matrix_rank(psi, tol=1e-6) == 1


def test_the_force_theorem_and_the_virial_theorem():
    """dE/dR is the mean force of the density, and 2 T = <x v'> + <(x1 - x2) w'>."""
    grid = Grid.box(14, 281)

    def at(r):
        return Well(grid, soft_coulomb(grid, [1.0, 1.5], [-1.0, r]))

    h = 1e-3
    derivative = (two_electrons(at(1 + h))[0] - two_electrons(at(1 - h))[0]) / (2 * h)
    state = ground_state(at(1.0), 2)
    slope = (at(1 + h).potential - at(1 - h).potential) / (2 * h)
    assert derivative == pytest.approx(grid.integral(slope * state.density), abs=1e-7)
    psi, x = state.wave, grid.x
    kinetic = 2 * np.vdot(psi, grid.kinetic_of(psi)) * grid.spacing**2
    force = x * (1.0 * (x + 1) * ((x + 1) ** 2 + 1) ** -1.5 + 1.5 * (x - 1) * ((x - 1) ** 2 + 1) ** -1.5)
    u = x[:, None] - x
    repulsion = -(u**2) * (u**2 + 1) ** -1.5
    assert 2 * kinetic == pytest.approx(grid.integral(force * state.density) + (psi**2 * repulsion).sum() * grid.spacing**2, abs=1e-6)


@pytest.mark.parametrize("atoms", ["2@0", "1@-1 1@1", "1@-3 1@3", "2@-2 1@2"])
def test_inversion_agrees_with_the_analytic_form(atoms):
    result = api.invert(atoms_well(atoms, points=221))
    assert result.error < 1e-8
    assert result.analytic_difference < 1e-6
    assert result.orbital_energies[-1] == pytest.approx(-result.ionisation, abs=1e-12)
    # Far away v_xc tends to -1/|x|, because the other electron is missing from the density that an electron sees.
    far = np.flatnonzero(result.density > 1e-10)[0]
    assert result.xc[far] * abs(result.x[far]) == pytest.approx(-1, abs=0.35)


def test_one_electron_has_no_self_interaction():
    result = api.invert(atoms_well("1@0", points=201), 1)
    visible = result.density > 1e-6
    assert np.allclose(result.xc[visible], -result.hartree[visible], atol=1e-7)


@pytest.mark.parametrize("electrons", [2, 3, 4, 5])
def test_inversion_returns_the_potential_that_made_the_density(electrons):
    """Any number of electrons, with the density of a known potential."""
    well = atoms_well("3@-1.5 3@1.5", half_length=12, points=161)
    made = self_consistent(well, electrons, lambda n: exchange_potential(n, 1.0))
    assert made.converged
    density = made.orbitals.density
    found = invert(well, density, electrons, -made.orbitals.energies[-1])
    assert found.error < 1e-8
    visible = density > 1e-6
    assert np.abs(found.kohn_sham - made.potential)[visible].max() < 1e-4
    assert np.allclose(found.energies, made.orbitals.energies, atol=1e-6)


@pytest.mark.parametrize("electrons", [2, 3])
def test_the_response_is_the_derivative_of_the_density(electrons):
    well = atoms_well("2@-1 1@2", half_length=8, points=81)
    grid = well.grid
    _, chi, _, _ = response(grid, well.potential, electrons)
    kick = np.exp(-((grid.x - 1) ** 2))
    h = 1e-4
    change = (
        occupied(grid, well.potential + h * kick, electrons).density - occupied(grid, well.potential - h * kick, electrons).density
    ) / (2 * h)
    assert np.allclose(grid.spacing * chi @ kick, change, atol=1e-6)
    # A constant changes nothing, and electrons are not created.
    assert np.abs(chi.sum(axis=1)).max() < 1e-9


@pytest.mark.parametrize(("name", "electrons", "lowest"), [("two", 2, 1e-6), ("three", 3, 1e-5), ("four", 4, 1e-5)])
def test_inversion_agrees_with_idea(name, electrons, lowest):
    """Exact densities and reverse-engineered potentials of the program iDEA with the same stencil.

    Its densities of three and four electrons have errors of 3e-10, so that its potential is not known to 1e-4 Ha where n is below 1e-5.
    """
    lines = (HERE / f"idea_{name}.csv").read_text().splitlines()
    ionisation = float(lines[1].split("ionisation energy = ")[1].split()[0])
    x, v, n, theirs = np.array([[float(word) for word in line.split(",")] for line in lines[3:]]).T
    well = Well(Grid(x), v)
    found = invert(well, n * electrons / well.grid.integral(n), electrons, ionisation)
    visible = n > lowest
    difference = (found.kohn_sham - theirs)[visible]
    # The constant of iDEA's potential is that of its start.
    assert np.abs(difference - np.average(difference, weights=n[visible])).max() < 1e-4
    if electrons == 2:
        assert np.abs(ground_state(well, 2).density - n).max() < 1e-6


def test_exchange_of_the_uniform_gas():
    n, h = np.linspace(0.02, 2, 20), 1e-5
    slope = (exchange_energy(n + h, 0.8) - exchange_energy(n - h, 0.8)) / (2 * h)
    assert np.allclose(slope, exchange_potential(n, 0.8), atol=1e-7)
    k = np.pi * 0.7 / 2
    integral = quad(lambda u: (np.sin(k * u) / u) ** 2 / np.hypot(u, 0.8), 1e-9, 500, limit=2000)[0]
    assert exchange_energy(np.array([0.7]), 0.8)[0] == pytest.approx(-(2 / np.pi**2) * integral, abs=1e-5)


def test_exact_exchange_gives_the_hartree_fock_energy_of_helium():
    """It lies above the exact energy by the correlation energy, which is positive."""
    well = atoms_well("2@0", points=201)
    functional = api.functional_of(well, 2)
    made = self_consistent(well, 2, functional.potential)
    n = made.orbitals.density
    energy = 2 * made.orbitals.energies[0] - 0.5 * well.grid.integral(well.grid.hartree(n) * n) - functional.energy(n)
    assert energy == pytest.approx(-2.2242, abs=1e-4)


def test_unbound_electrons_are_refused_with_their_ionisation_energy():
    with pytest.raises(BadInput, match=r"binds 1 of 2 electrons: the ionisation energy of the next one is -0\.\d+ Ha"):
        ground_state(atoms_well("0.5@0", points=101), 2)
    grid = Grid.box(10, 101)
    with pytest.raises(BadInput, match="binds 0 of 1 electrons"):
        ground_state(Well(grid, np.exp(-(grid.x**2))), 1)
    with pytest.raises(BadInput, match="density at the walls"):
        ground_state(atoms_well("2@0", half_length=3, points=61), 2)
    # A potential that confines has no vacuum level of zero.
    assert ground_state(harmonic(points=61), 2).ionisation > 0


def test_the_analytic_form_is_exact_on_the_grid():
    state = ground_state(atoms_well("2@0", points=161), 2)
    grid = atoms_well("2@0", points=161).grid
    potential = one_orbital_potential(grid, state.density)
    assert np.abs(occupied(grid, potential, 2).density - state.density).max() < 1e-10
