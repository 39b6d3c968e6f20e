"""Estimates, statistics and topology against numbers that are known in closed form."""

import numpy as np
import pytest

from nucleate.errors import NucleateError
from nucleate.spins.couplings import Couplings, tensor
from nucleate.spins.order.binder import crossing
from nucleate.spins.order.curie import leading_order, rpa, waves_of
from nucleate.spins.simulate.fields import energy
from nucleate.spins.simulate.lattice import SpinLattice
from nucleate.spins.simulate.observables.order import order_squared, phases, structure_factor
from nucleate.spins.simulate.observables.statistics import jackknife
from nucleate.spins.simulate.observables.topology import skyrmion_number, solid_angles
from nucleate.spins.simulate.settings import SimulationSettings
from nucleate.spins.simulate.simulation import Row, simulate
from nucleate.time_series import autocorrelation_time
from nucleate.units import K_B


def cubic(j=1.0):
    return Couplings(3 * np.eye(3), np.zeros((1, 3)), ("Fe",), [1.0], [0] * 3, [0] * 3, np.eye(3), tensor(np.full(3, j)))


def caesium_chloride(j=1.0):
    """Two sublattices, neighbours across alone: bcc with two names."""
    shifts = -np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)])
    return Couplings(3 * np.eye(3), [[0, 0, 0], [1.5, 1.5, 1.5]], ("Fe", "Mn"), [1.0, 1.0], [0] * 8, [1] * 8, shifts, tensor(np.full(8, j)))


@pytest.mark.parametrize(("j", "q"), [(1.0, 0.0), (-1.0, 0.5)])
def test_simple_cubic_estimates(j, q):
    """Mean field 2 J; RPA 6 J / (3 W) with Watson's integral 1.516386."""
    order = leading_order(cubic(j))
    assert order.wave_vector == pytest.approx([q] * 3)
    assert K_B * order.mean_field == pytest.approx(2.0)
    assert K_B * rpa(cubic(j), order) == pytest.approx(2 / 1.516386, abs=2e-4)


@pytest.mark.parametrize("j", [1.0, -1.0])
def test_two_sublattices_are_one_lattice_with_two_names(j):
    """bcc: mean field 8 J / 3, Watson's integral 1.393204; the sign of J moves the order to the other sublattice alone."""
    order = leading_order(caesium_chloride(j))
    assert K_B * order.mean_field == pytest.approx(8 / 3)
    assert (order.weights[1] / order.weights[0]).real == pytest.approx(np.sign(j))
    assert K_B * rpa(caesium_chloride(j), order) == pytest.approx(8 / 3 / 1.393204, abs=5e-4)


def test_a_spiral_has_its_wave():
    """J1 = 1, J2 = -0.5 along a chain: cos(q) = -J1 / (4 J2)."""
    chain = Couplings(3 * np.eye(3), np.zeros((1, 3)), ("Fe",), [1], [0, 0], [0, 0], [[1, 0, 0], [2, 0, 0]], tensor([1.0, -0.5]))
    q = leading_order(chain).wave_vector
    assert abs(q[0]) == pytest.approx(np.arccos(0.5) / (2 * np.pi), abs=1e-5)
    # Across the chain nothing depends on the wave vector.
    assert (q[1:] == 0).all()
    with pytest.raises(NucleateError, match="along 1 directions"):
        rpa(chain)


def chiral(length: int, d: float) -> Couplings:
    """A cubic lattice whose pairs along x have a D vector along z."""
    dm = np.zeros((3, 3))
    dm[0, 2] = d
    return Couplings(3 * np.eye(3), np.zeros((1, 3)), ("Fe",), [1.0], [0] * 3, [0] * 3, np.eye(3), tensor(np.ones(3), dm))


def test_dzyaloshinskii_moriya_vectors_turn_the_order():
    """tan(2 pi q) = D / J along x; the eigenvalue is 2 (sqrt(J^2 + D^2) + 2 J), and the spiral lies across D."""
    pitch = 8
    couplings = chiral(pitch, np.tan(2 * np.pi / pitch))
    order = leading_order(couplings)
    assert abs(order.wave_vector[0]) == pytest.approx(1 / pitch, abs=1e-5)
    assert order.wave_vector[1:] == pytest.approx([0, 0], abs=1e-5)
    assert order.eigenvalue == pytest.approx(2 * (2**0.5 + 2), rel=1e-6)
    assert np.abs(order.weights[0]) == pytest.approx([0.5**0.5, 0.5**0.5, 0], abs=1e-4)
    with pytest.raises(NucleateError, match="order at another wave"):
        rpa(couplings, order)
    # The spiral itself has all of the order, its mirror image of the other hand none.
    lattice = SpinLattice.build(couplings, (pitch, 2, 2))
    phase = phases(lattice, *waves_of(couplings, lattice.size, order))
    cells = np.stack(np.meshgrid(*map(np.arange, lattice.size), indexing="ij"), -1).reshape(-1, 3)
    angle = 2 * np.pi * cells[:, 0] / pitch
    hands = [np.stack([np.cos(angle), sign * np.sin(angle), 0 * angle], axis=1) for sign in (1, -1)]
    energies = [energy(lattice, spins) for spins in hands]
    kept = [order_squared(spins, phase) for spins in hands]
    assert sorted(kept) == pytest.approx([0, 1], abs=1e-9)
    assert np.argmax(kept) == np.argmin(energies)


def test_an_easy_axis_in_the_exchange_is_the_order():
    tensors = tensor(np.ones(3))
    tensors[:, 2, 2] += 0.2
    couplings = Couplings(3 * np.eye(3), np.zeros((1, 3)), ("Fe",), [1.0], [0] * 3, [0] * 3, np.eye(3), tensors)
    order = leading_order(couplings)
    assert np.abs(order.weights[0]) == pytest.approx([0, 0, 1], abs=1e-9)
    assert K_B * order.mean_field == pytest.approx(2.4)
    # The wave is that of the isotropic parts, whose RPA is given.
    assert K_B * rpa(couplings, order) == pytest.approx(2 * (1 + 0.2 / 3) / 1.516386, abs=3e-4)
    settings = SimulationSettings(temperatures=[2.0], sizes=[4], measurements=64, equilibration=200, start="ordered")
    (row,) = simulate(couplings, settings).rows
    assert row.order > 0.95


def test_correlated_numbers_have_honest_errors():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=2**17)
    series = np.empty_like(noise)
    x, rho = 0.0, 0.9
    for k, e in enumerate(noise):
        x = rho * x + e
        series[k] = x
    tau = autocorrelation_time(series)
    assert tau == pytest.approx(0.5 * (1 + rho) / (1 - rho), rel=0.1)
    _, error = jackknife(series, lambda m: m[..., 0])
    assert error == pytest.approx(np.sqrt(2 * tau * series.var() / len(series)), rel=0.35)


def test_jackknife_takes_the_bias_of_a_square_away():
    rng = np.random.default_rng(1)
    values = [jackknife(rng.normal(size=320), lambda m: m[..., 0] ** 2)[0] for _ in range(400)]
    # The plain estimate would be 1 / 320 = 0.0031 too large.
    assert abs(np.mean(values)) < 4 * np.std(values) / 20
    assert np.std(values) / 20 < 3e-4


def test_solid_angles_and_charges():
    x, y, z = np.eye(3)
    assert solid_angles(x, y, z) == pytest.approx(np.pi / 2)
    assert solid_angles(y, x, z) == pytest.approx(-np.pi / 2)
    lattice = SpinLattice.build(cubic(), (20, 20, 2))
    r = lattice.positions - lattice.positions.mean(axis=0)
    radius, phi = np.hypot(r[:, 0], r[:, 1]), np.arctan2(r[:, 1], r[:, 0])
    theta = np.pi * np.clip(1 - radius / 20, 0, 1)
    for turns in (1, -1):
        spins = np.stack([np.sin(theta) * np.cos(turns * phi), np.sin(theta) * np.sin(turns * phi), np.cos(theta)], axis=1)
        assert skyrmion_number(lattice, spins) == pytest.approx(-turns * np.ones((1, 2)), abs=1e-9)


def test_the_structure_factor_of_an_ordered_wave():
    lattice = SpinLattice.build(caesium_chloride(), (4, 4, 4))
    factor = structure_factor(lattice, lattice.aligned())
    assert factor[0, 0, 0] == pytest.approx(len(lattice))
    assert factor.sum() - factor[0, 0, 0] == pytest.approx(0, abs=1e-9)
    plain = SpinLattice.build(cubic(), (4, 5, 6))
    # Parseval: all waves of the supercell together hold each spin once.
    assert structure_factor(plain, plain.random(np.random.default_rng(0))).mean() == pytest.approx(1.0, abs=1e-12)


def row(size, temperature, binder, error):
    return Row(size, size**3, temperature, *[0.0] * 10, binder, error, 1.0, None, None)


def test_a_crossing_is_found_with_its_error():
    rng = np.random.default_rng(2)
    found = []
    for _ in range(60):
        rows = []
        for t in np.linspace(95, 105, 9):
            for size, slope in ((8, 0.01), (16, 0.02)):
                rows.append(row(size, t, 0.62 - slope * (t - 100.3) + 0.002 * rng.normal(), 0.002))
        found.append(crossing(rows, 8, 16))
    temperatures = np.array([c.temperature for c in found])
    assert temperatures.mean() == pytest.approx(100.3, abs=0.05)
    assert temperatures.std() == pytest.approx(np.mean([c.error for c in found]), rel=0.35)


def test_a_wide_range_of_temperatures_is_no_hindrance():
    """Cumulants are 2/3 far below, small far above, with errors that differ by orders: the parabola is fitted in between."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(20):
        rows = []
        for t in np.linspace(50, 150, 21):
            for size, width in ((8, 12.0), (16, 6.0)):
                falling = 1 / (1 + np.exp((t - 100.3) / width - 2.58))
                error = 1e-5 + 0.004 * (1 - falling)
                rows.append(row(size, t, 2 / 3 * falling + error * rng.normal(), error))
        found.append(crossing(rows, 8, 16))
    # Temperatures are 5 apart.
    assert [c.temperature for c in found] == pytest.approx(np.full(20, 100.3), abs=2.0)
    assert np.mean([c.cumulant for c in found]) == pytest.approx(2 / 3 / (1 + np.exp(-2.58)), abs=0.01)


def test_no_crossing_is_said():
    rows = [row(size, t, 0.6 - 0.01 * (t - 90) * size / 8, 0.001) for size in (8, 16) for t in (100.0, 101.0, 102.0)]
    with pytest.raises(NucleateError, match="do not cross"):
        crossing(rows, 8, 16)
    with pytest.raises(NucleateError, match="requires at least three"):
        crossing(rows[:2], 8, 16)


def test_the_cubic_transition_at_small_size():
    """k T_C = 1.4429 J (P. Peczak, A. M. Ferrenberg, D. P. Landau, Phys. Rev. B 43, 6087 (1991)); small sizes cross a little below."""
    temperatures = (np.linspace(1.38, 1.5, 4) / K_B).tolist()
    ended = simulate(cubic(), SimulationSettings(temperatures=temperatures, sizes=[4, 8], measurements=768, seed=1))
    found = crossing(ended.rows, 4, 8)
    assert K_B * found.error < 0.02
    assert abs(K_B * found.temperature - 1.4429) < 4 * K_B * found.error + 0.012
    for one in ended.rows:
        assert one.autocorrelation < 40
        assert 0.99 < one.taken <= 1.0001


def test_an_antiferromagnet_orders_at_the_same_temperature_without_magnetisation():
    temperature = 0.8 / K_B
    rows = [simulate(cubic(j), SimulationSettings(temperatures=[temperature], sizes=[6], measurements=512)).rows[0] for j in (1.0, -1.0)]
    assert abs(rows[0].order - rows[1].order) < 4 * np.hypot(rows[0].order_error, rows[1].order_error)
    assert rows[1].order > 0.6
    assert rows[1].magnetisation < 0.1
