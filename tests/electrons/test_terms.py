"""Each term of the energy against a closed form, another program, or finite differences."""

import math

import numpy as np
import pytest
import torch
from ase.build import bulk

from nucleate.electrons.grid import Grid, refined
from nucleate.electrons.terms import ewald
from nucleate.electrons.terms.ewald import ewald_energy
from nucleate.electrons.terms.exchange_correlation import energy_per_electron, xc_energy, xc_energy_potential
from nucleate.electrons.terms.free_energy import density_terms
from nucleate.electrons.terms.hartree import hartree_energy
from nucleate.electrons.terms.ion_core import core_energy
from nucleate.electrons.terms.ion_overlap import overlap_energy
from nucleate.electrons.terms.large_cells import density_terms_in_planes
from nucleate.units import BOHR, COULOMB

CELL = torch.tensor([[4.0, 0.2, -0.1], [0.3, 4.4, 0.2], [-0.5, 0.1, 3.7]], dtype=torch.float64)


def smooth_density(grid: Grid) -> torch.Tensor:
    """A positive density of a few waves."""
    f = grid.fractions(torch.arange(grid.size)).view(*grid.shape, 3)
    return 0.2 + 0.05 * torch.cos(2 * math.pi * (f[..., 0] - 2 * f[..., 1])) + 0.03 * torch.sin(2 * math.pi * (f[..., 2] + f[..., 0]))


@pytest.mark.parametrize("mesh", [False, True])
def test_ewald_gives_the_madelung_constant_of_rock_salt(mesh: bool) -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    charges = torch.tensor(np.where(atoms.numbers == 11, 1.0, -1.0))
    energy = ewald_energy(torch.tensor(atoms.positions), torch.tensor(atoms.cell.array), charges, mesh=mesh)
    assert float(energy) / 4 == pytest.approx(-1.7475645946 * COULOMB / 2.82, abs=1e-5)


def test_the_mesh_gives_what_the_full_sum_gives() -> None:
    atoms = bulk("Al", cubic=True) * (3, 3, 3)
    atoms.rattle(0.1, seed=0)
    positions, cell, charges = torch.tensor(atoms.positions), torch.tensor(atoms.cell.array), torch.full((108,), 3.0)
    full, mesh = (float(ewald_energy(positions, cell, charges, mesh=m)) / 108 for m in (False, True))
    assert 1e3 * abs(full - mesh) < 0.01


def test_the_mesh_sums_pairs_in_parts_and_atoms_outside_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    positions, charges = torch.tensor(rng.random((7, 3)) @ CELL.numpy()), torch.tensor([1.0, 2.0, 3.0, 1.0, 2.0, -1.0, -2.0])
    moved = positions + torch.tensor(rng.integers(-2, 3, (7, 3)), dtype=torch.float64) @ CELL
    found = []
    for each, atoms in ((positions, 4096), (positions, 3), (moved, 3)):
        monkeypatch.setattr(ewald, "ATOMS", atoms)
        places, cell = each.clone().requires_grad_(), CELL.clone().requires_grad_()
        energy = ewald_energy(places, cell, charges, mesh=True)
        found.append((energy.item(), torch.autograd.grad(energy, places)[0].numpy()))
    for energy, slope in found[1:]:
        assert energy == pytest.approx(found[0][0], abs=1e-9)
        np.testing.assert_allclose(slope, found[0][1], atol=1e-8)


def test_ewald_of_one_charge_in_a_background_is_the_wigner_crystal() -> None:
    energy = ewald_energy(torch.zeros(1, 3, dtype=torch.float64), torch.eye(3, dtype=torch.float64) * 3.0, torch.ones(1))
    assert float(energy) == pytest.approx(-2.837297479 / 2 * COULOMB / 3.0, abs=1e-6)


def test_ewald_and_overlap_have_right_gradients() -> None:
    rng = np.random.default_rng(0)
    positions = torch.tensor(rng.random((5, 3)) @ CELL.numpy(), requires_grad=True)
    cell = CELL.clone().requires_grad_()
    charges, radii = torch.tensor([1.0, 2.0, 3.0, 1.0, 2.0]), torch.full((5,), 0.6, dtype=torch.float64)
    for mesh in (False, True):
        assert torch.autograd.gradcheck(lambda p, c, m=mesh: ewald_energy(p, c, charges, mesh=m), (positions, cell), eps=1e-5, atol=1e-5)
    assert torch.autograd.gradcheck(lambda p, c: overlap_energy(p, c, charges, radii), (positions, cell), eps=1e-5, atol=1e-5)


def test_hartree_of_one_wave() -> None:
    grid = Grid(torch.eye(3, dtype=torch.float64) * 5.0, (12, 10, 9))
    x = grid.fractions(torch.arange(grid.size)).view(*grid.shape, 3)[..., 1]
    density = 0.3 + 0.1 * torch.cos(2 * math.pi * 2 * x)
    g2 = (2 * math.pi * 2 / 5.0) ** 2
    assert float(hartree_energy(density, grid)) == pytest.approx(125 / 2 * 4 * math.pi * COULOMB / g2 * 0.1**2 / 2, rel=1e-12)
    (slope,) = torch.autograd.grad(hartree_energy(density.requires_grad_(), grid), density)
    assert torch.allclose(slope / grid.voxel, 4 * math.pi * COULOMB / g2 * (density.detach() - 0.3), atol=1e-12)


def test_interpolation_keeps_points_and_charge() -> None:
    for shape in ((6, 6, 6), (5, 8, 7)):
        density = smooth_density(Grid(CELL, shape))
        fine = refined(density)
        assert fine.shape == tuple(2 * n for n in shape)
        assert torch.allclose(fine[::2, ::2, ::2], density, atol=1e-13)
        assert float(fine.mean()) == pytest.approx(float(density.mean()), rel=1e-13)


@pytest.mark.parametrize("name", ["LDA", "PBE"])
def test_functionals_agree_with_libxc(name: str) -> None:
    libxc = pytest.importorskip("gpaw.xc.libxc")
    n = np.geomspace(1e-4, 3.0, 40).reshape(1, -1)
    sigma = (0.7 * n ** (4 / 3)) ** 2
    energy, v, dsigma = np.zeros(40), np.zeros((1, 40)), np.zeros((1, 40))
    kernel = libxc.LibXC(name)
    if name == "PBE":
        kernel.calculate(energy, n, v, sigma, dsigma)
    else:
        kernel.calculate(energy, n, v)
    own = torch.tensor(n[0]) * energy_per_electron(torch.tensor(n[0]), torch.tensor(sigma[0]) if name == "PBE" else None)
    # PW92's constant A has more digits in libxc's default.
    assert np.allclose(own.numpy(), energy, rtol=3e-6)


@pytest.mark.parametrize("name", ["LDA", "PBE"])
def test_potential_is_the_derivative_of_the_energy(name: str) -> None:
    grid = Grid(CELL, (8, 9, 8))
    density = smooth_density(grid)
    _, potential = xc_energy_potential(density, grid, name)
    change = torch.randn(grid.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * density * 1e-4
    slope = (xc_energy(density + change, grid, name) - xc_energy(density - change, grid, name)) / 2
    assert float((potential * change).sum() * grid.voxel) == pytest.approx(float(slope), rel=1e-5)


def test_uniform_electrons_have_slaters_exchange() -> None:
    n = torch.tensor([0.02], dtype=torch.float64)
    rs = (3 / (4 * math.pi * n)) ** (1 / 3)
    # At high density correlation dies out beside exchange, -0.4582 / rs.
    assert float(energy_per_electron(n * 1e9)) == pytest.approx(float(-0.458165 / (rs / 1e3)), rel=2e-3)
    # Ceperley and Alder at rs = 2: -0.0448 hartree.
    at = 3 / (4 * math.pi * 2.0**3)
    correlation = float(energy_per_electron(torch.tensor([at], dtype=torch.float64))) + 0.458165 / 2
    assert correlation == pytest.approx(-0.0448, abs=1e-4)


def test_terms_of_large_cells_are_the_same() -> None:
    grid = Grid(CELL, (16, 18, 15))
    density = smooth_density(grid)
    whole, planes = density_terms(density, grid, fine=1), density_terms_in_planes(density, grid)
    for name in ("hartree", "xc", "xc_potential"):
        assert float(getattr(planes, name)) == pytest.approx(float(getattr(whole, name)), rel=1e-10)


def test_core_is_the_average_of_a_gaussian_ion_less_a_point() -> None:
    # int (erf(r / sqrt 2 s) - 1) / r d³r = -2 pi s²: the average of k Z/r less that of the Gaussian's potential.
    radius, volume = 0.45 * BOHR, 60.0
    r = np.linspace(1e-6, 6, 200001)
    average = COULOMB * 3 / volume * np.trapezoid(4 * math.pi * r * np.array([math.erfc(x / (2**0.5 * radius)) for x in r]), r)
    found = core_energy(torch.tensor(volume), torch.tensor([3.0]), torch.tensor([radius]), 3.0)
    assert float(found) == pytest.approx(3 * average, rel=1e-6)
