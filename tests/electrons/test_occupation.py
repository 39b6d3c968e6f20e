"""Fermi-Dirac weights against numerical quadrature; the Fermi level and its derivative."""

import mpmath
import numpy as np
import pytest
import torch

from nucleate.electrons.levels.fermi_level import CHARGE_TOLERANCE, fermi_level
from nucleate.electrons.levels.heat_capacity import heat_capacity
from nucleate.electrons.levels.occupation import occupation
from nucleate.electrons.levels.polylogarithm import polylogarithm
from nucleate.electrons.levels.smearing import unsmeared, unsmeared_level, weigher
from nucleate.errors import BadInput
from nucleate.units import BOLTZMANN

ENERGIES = torch.arange(-4.0, 4.001, 0.25, dtype=torch.float64)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_polylogarithms_agree_with_arbitrary_precision(order: int) -> None:
    x = torch.tensor([-60.0, -7.3, -0.7, -1e-9, 0.0, 1e-9, 0.4, 3.0, 25.0], dtype=torch.float64)
    with mpmath.workdps(40):
        exact = torch.tensor([float(mpmath.polylog(order, -mpmath.exp(-mpmath.mpf(float(v)))).real) for v in x], dtype=torch.float64)
    assert torch.allclose(polylogarithm(order, x), exact, rtol=1e-14, atol=0)


def test_derivatives_of_polylogarithms_are_the_lower_ones() -> None:
    x = torch.linspace(-8, 8, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: polylogarithm(3, v), x)
    assert torch.autograd.gradgradcheck(lambda v: polylogarithm(3, v), x)


@pytest.mark.parametrize("temperature", [100.0, 933.0, 20000.0])
def test_weights_are_the_integrals_with_hats(temperature: float) -> None:
    kt, mu = BOLTZMANN * temperature, 0.31
    found = occupation(ENERGIES, torch.tensor(mu, dtype=torch.float64), temperature)
    fine = np.linspace(-4.25, 4.25, 850001)
    x = np.clip((fine - mu) / kt, -500, 500)
    f = 1 / (np.exp(x) + 1)
    s = np.log1p(np.exp(-np.abs(x))) + np.abs(x) * np.where(x > 0, f, 1 - f)
    for k in (0, 7, 17, 18, 32):
        hat = np.clip(1 - np.abs(fine - float(ENERGIES[k])) / 0.25, 0, None)
        for values, got in ((f, found.number), (fine * f, found.energy), (s, found.entropy)):
            assert float(got[k]) == pytest.approx(np.trapezoid(values * hat, fine), abs=2e-8)


def test_cold_electrons_fill_levels_below_the_fermi_level() -> None:
    found = occupation(ENERGIES, torch.tensor(0.0, dtype=torch.float64), 1.0)
    assert torch.allclose(found.number[:16], torch.full((16,), 0.25, dtype=torch.float64), atol=1e-12)
    assert float(found.number[17:].abs().max()) < 1e-7
    assert float(found.entropy.sum()) < 1e-3


def test_unsmearing_takes_off_the_curvature_that_gaussians_and_lines_add() -> None:
    # A level drawn as a Gaussian and joined by lines must see a quadratic function as the level itself would.
    sigma, spacing, level = 0.2, 0.1, 0.137
    energies = torch.arange(-3, 3.001, spacing, dtype=torch.float64)
    drawn = torch.exp(-((energies - level) ** 2) / (2 * sigma**2)) / (np.sqrt(2 * np.pi) * sigma)
    weights = spacing * energies**2
    # Hat integrals of a quadratic: E_i² d + d³/6.
    hats = weights + spacing**3 / 6
    assert float(drawn @ hats) - level**2 == pytest.approx(sigma**2 + spacing**2 / 6, rel=1e-3)
    assert float(drawn @ unsmeared(hats, sigma, spacing)) == pytest.approx(level**2, abs=1e-4)


def test_fermi_level_holds_the_electrons_and_knows_its_derivative() -> None:
    dos = (1 + 0.3 * torch.sin(ENERGIES)).requires_grad_()

    def weigh(mu: torch.Tensor):
        return occupation(ENERGIES, mu, 1000.0)

    mu = fermi_level(ENERGIES, dos, 4.2, weigh)
    assert abs(float(weigh(mu).number @ dos) - 4.2) < CHARGE_TOLERANCE
    (slope,) = torch.autograd.grad(mu, dos)
    step = 1e-5
    for k in (3, 16, 20):
        shifted = [dos.detach().clone() for _ in range(2)]
        shifted[0][k] += step
        shifted[1][k] -= step
        up, down = (float(fermi_level(ENERGIES, d, 4.2, weigh)) for d in shifted)
        assert float(slope[k]) == pytest.approx((up - down) / (2 * step), abs=1e-7)


def test_a_window_without_the_fermi_level_says_what_is_missing() -> None:
    dos = torch.ones_like(ENERGIES)
    with pytest.raises(BadInput, match="are missing"):
        fermi_level(ENERGIES, dos, 20.0, lambda mu: occupation(ENERGIES, mu, 300.0))
    for temperature in (0.0, -5.0, float("nan")):
        with pytest.raises(BadInput, match="positive number of kelvin"):
            occupation(ENERGIES, torch.tensor(0.0), temperature)


def test_in_a_gap_the_fermi_level_stays_in_the_gap() -> None:
    # Corrected weights are not monotonous: drawn levels leak into the gap, and there is a root in the conduction band too.
    energies = torch.arange(-8, 6.001, 0.1, dtype=torch.float64)
    levels = [-5.0, -4.6, -4.2, -3.8, 2.0, 2.4, 2.8, 3.2]
    dos = sum(2 * torch.exp(-((energies - level) ** 2) / (2 * 0.2**2)) / (np.sqrt(2 * np.pi) * 0.2) for level in levels)
    plain, corrected = (weigher(energies, 0.2, 500.0, correct) for correct in (False, True))
    near = float(fermi_level(energies, dos, 8.0, plain))
    mu = fermi_level(energies, dos, 8.0, corrected, near=near)
    assert -3.0 < float(mu) < 1.2
    weights = corrected(mu)
    assert abs(float(weights.number @ dos) - 8) < CHARGE_TOLERANCE
    assert float(weights.energy @ dos) == pytest.approx(2 * sum(levels[:4]), abs=5e-3)


def test_what_is_not_finite_is_no_density_of_states() -> None:
    dos = torch.full_like(ENERGIES, float("nan"))
    with pytest.raises(BadInput, match="not finite"):
        fermi_level(ENERGIES, dos, 2.0, lambda mu: occupation(ENERGIES, mu, 300.0))


@pytest.mark.parametrize("temperature", [300.0, 3000.0, 15000.0])
def test_the_heat_capacity_is_the_change_of_the_energy(temperature: float) -> None:
    """dE = T dS at a fixed number of electrons; Sommerfeld's term where the density of states is smooth on the scale of kT."""
    energies = torch.arange(-6.0, 12.0, 0.02, dtype=torch.float64)
    dos = 0.3 * (energies + 6.0).clamp(min=0).sqrt()
    electrons, sigma = float(torch.trapezoid(dos[energies <= 2.0], energies[energies <= 2.0])), 0.1

    def energy(at: float) -> float:
        return float(unsmeared_level(energies, dos, electrons, sigma, at)[1].energy @ dos)

    found = heat_capacity(energies, dos, electrons, sigma, temperature)
    step = 0.002 * temperature
    assert found == pytest.approx((energy(temperature + step) - energy(temperature - step)) / (2 * step * BOLTZMANN), rel=1e-3)
    mu = float(unsmeared_level(energies, dos, electrons, sigma, temperature)[0])
    first = np.pi**2 / 3 * BOLTZMANN * temperature * 0.3 * np.sqrt(mu + 6.0)
    # The next term of the expansion is relative to the first of the order (pi kT / (mu + 6))².
    assert found == pytest.approx(first, rel=max(2e-3, 0.5 * (np.pi * BOLTZMANN * temperature / (mu + 6.0)) ** 2))
    # The step ends at the lowest temperature.
    assert heat_capacity(energies, dos, electrons, sigma, 1.0) == pytest.approx(first / temperature, rel=0.1)
