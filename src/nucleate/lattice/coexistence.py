"""Coexistence of a dilute and an ordered phase: the grand potentials of both branches are equal.

Semi-grand simulations follow two branches at one temperature: from the empty lattice to larger chemical potentials, and from an ordered
arrangement to smaller ones. Both remain metastable beyond the transition. Their grand potentials per cell, phi = e - T s - mu n, follow by
thermodynamic integration, d(phi)/d(mu) = -n and d(beta phi)/d(beta) = e - mu n: D. Frenkel and B. Smit, Understanding Molecular Simulation,
2nd ed., Academic Press (2002), doi 10.1016/B978-0-12-267351-1.X5000-7.

The integration starts where the grand potential is known: in an empty lattice with non-interacting atoms, phi = -kT ln(1 + exp((mu - e1) /
kT)) per site, and in the ordered arrangement at a low temperature, where only single sites change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nucleate.errors import BadInput
from nucleate.lattice.enumeration import Arrangement
from nucleate.lattice.expansion import ClusterExpansion
from nucleate.lattice.monte_carlo import Chain, Tables, tabulate
from nucleate.lattice.simulation import average
from nucleate.progress import Event, Progress, silent
from nucleate.units import BOLTZMANN

COLD = 20.0
"""Smallest energy of a changed site at the coldest temperature, kT; excitations then matter by less than 1e-8."""
DILUTE = 1e-3
"""Largest share of filled sites where the integration of the dilute branch begins."""
FINEST = 0.05
"""Smallest step of the chemical potential where a phase ends, kT."""
JUMP = 0.08
"""Change of the share of filled sites between two chemical potentials that ends a branch."""


@dataclass(frozen=True)
class Branch:
    """One phase at one temperature.

    Attributes:
        potentials: (n,) chemical potentials, eV.
        fractions: (n,) shares of filled sites.
        grand: (n,) grand potentials, eV per primitive cell.
    """

    potentials: np.ndarray
    fractions: np.ndarray
    grand: np.ndarray


@dataclass(frozen=True)
class Coexistence:
    """Equilibrium of two phases at one temperature.

    Attributes:
        temperature: Temperature, K.
        potential: Chemical potential at which the phases coexist, eV; NaN if the branches do not cross where both exist.
        dilute, ordered: Shares of filled sites of the two phases.
        branches: The two branches.
    """

    temperature: float
    potential: float
    dilute: float
    ordered: float
    branches: tuple[Branch, Branch]


@dataclass(frozen=True)
class CoexistenceDone(Event):
    """A temperature is finished.

    Attributes:
        done: Number of finished temperatures.
        total: Number of temperatures.
        result: Its equilibrium.
    """

    done: int
    total: int
    result: Coexistence


def coexist(
    model: ClusterExpansion,
    ordered: Arrangement,
    cells: tuple[int, int, int],
    temperatures: list[float],
    *,
    points: int = 16,
    sweeps: int = 2000,
    seed: int = 0,
    progress: Progress = silent,
) -> list[Coexistence]:
    """Find the equilibrium of a dilute phase and an ordered one at each temperature.

    Args:
        model: Cluster expansion of a parent with one sublattice of two species, the second of which is the empty one.
        ordered: The ordered arrangement; `cells` must be a multiple of its supercell.
        cells: Numbers of primitive cells.
        temperatures: Temperatures, K.
        points: Number of chemical potentials around the transition; two thirds as many lead to it.
        sweeps: Number of sweeps at each one; a quarter as many come before.
        seed: Seed.
        progress: Called with a `CoexistenceDone` after each temperature.

    Raises:
        BadInput: The parent has other sublattices, the cells do not hold the ordered arrangement, or it is not stable against its own
            changes of single sites at any chemical potential.
    """
    parent = model.parent
    if len(parent.active) != 1 or len(parent.allowed[0]) != 2:
        raise BadInput("coexistence is implemented for parents with one site of two species, such as Li=Li,X")
    if not temperatures or any(not 0 < t < 1e6 for t in temperatures):
        raise BadInput("temperatures: give positive numbers in K")
    tables = tabulate(model, cells)
    start = repeated(ordered, tables)
    # Changes of single sites bound the chemical potentials at which the arrangement is stable.
    single = single_changes(model, tables, start)
    filled = start == 0
    lower = float((-single[filled]).max()) if filled.any() else -np.inf
    upper = float(single[~filled].min()) if (~filled).any() else np.inf
    energy = float(model.energies(tables.supercell, start[None])[0])
    empty = np.ones(len(start), dtype=int)
    alone = single_changes(model, tables, empty)[0]
    zero = float(model.energies(tables.supercell, empty[None])[0])
    if lower >= upper:
        raise BadInput(
            "the ordered arrangement is not stable at any chemical potential: removing an atom gains more than adding one costs; choose a "
            "ground state of the hull"
        )
    share = float(filled.mean())
    # The chemical potential at which both are equally stable without temperature.
    equal = (energy - zero) / share
    results = []
    for number, temperature in enumerate(temperatures):
        kt = BOLTZMANN * temperature
        bottom = min(alone + kt * np.log(DILUTE), equal - 4 * kt)
        top = equal + 6 * kt if np.isinf(upper) else min(equal + 6 * kt, 0.5 * (max(lower, equal) + upper))
        # Most points lie around the chemical potential of the transition without temperature.
        close = np.linspace(max(bottom, equal - 3 * kt), min(equal + 2 * kt, top), points)
        grid = np.unique(np.concatenate([np.linspace(bottom, close[0], points // 3), close, np.linspace(close[-1], top, points // 3)]))
        gas = _dilute(model, tables, grid, alone, zero, temperature, sweeps, seed + 1000 * number)
        solid = _ordered(model, tables, start, grid[::-1], energy, single, temperature, sweeps, seed + 1000 * number + 500)
        results.append(_crossing(temperature, gas, solid))
        progress(CoexistenceDone(number + 1, len(temperatures), results[-1]))
    return results


def repeated(ordered: Arrangement, tables: Tables) -> np.ndarray:
    """Return the (sites,) arrangement of the simulated cells that repeats an ordered one.

    Raises:
        BadInput: The simulated cells are no multiple of its supercell.
    """
    small, large = ordered.supercell, tables.supercell
    ratio = large.matrix @ np.linalg.inv(small.matrix)
    if np.abs(ratio - np.rint(ratio)).max() > 1e-8:
        rows = " ".join(str(row.tolist()) for row in small.matrix)
        raise BadInput(f"cells {'x'.join(map(str, tables.shape))}: are no multiple of the ordered supercell {rows}")
    m = len(small.parent.active)
    index = small.cell_index(large.cells)[:, None] * m + np.arange(m)
    result: np.ndarray = np.asarray(ordered.occupation)[index].reshape(-1)
    return result


def single_changes(model: ClusterExpansion, tables: Tables, occupation: np.ndarray) -> np.ndarray:
    """Return the (sites,) changes of the energy if single sites change their species, eV."""
    cell = tables.supercell
    changed = np.repeat(occupation[None], len(occupation), axis=0)
    sites = np.arange(len(occupation))
    changed[sites, sites] = 1 - changed[sites, sites]
    # Sites of equal surroundings have equal changes; the small tables make it cheap to compute all.
    before = float(model.energies(cell, occupation[None])[0])
    result: np.ndarray = (model.energies(cell, changed) - before) * cell.count
    return result


def _dilute(
    model: ClusterExpansion, tables: Tables, grid: np.ndarray, alone: float, zero: float, temperature: float, sweeps: int, seed: int
) -> Branch:
    """Follow the dilute phase to larger chemical potentials until it condenses."""
    kt = BOLTZMANN * temperature
    occupation = np.ones(tables.supercell.sites, dtype=int)
    chain = Chain(tables, occupation, zero * tables.supercell.count, seed)
    visited, fractions = _follow(chain, grid, temperature, sweeps)
    start = zero - kt * np.log1p(np.exp((grid[0] - alone) / kt))
    return Branch(visited, fractions, start - _integral_of_exponential(visited, fractions))


def _ordered(
    model: ClusterExpansion, tables: Tables, start: np.ndarray, grid: np.ndarray, energy: float, single: np.ndarray,
    temperature: float, sweeps: int, seed: int,
) -> Branch:  # fmt: skip
    """Heat the ordered arrangement at the largest chemical potential, then follow it to smaller ones until it evaporates."""
    beta = 1 / (BOLTZMANN * temperature)
    mu = float(grid[0])
    cost = np.where(start == 0, single + mu, single - mu)
    if cost.min() <= 0:
        return Branch(np.array([mu]), np.array([float("nan")]), np.array([float("nan")]))
    cold = max(COLD / float(cost.min()), 1.5 * beta)
    count = tables.supercell.count
    share = float((start == 0).mean())
    betas = np.linspace(cold, beta, 12)
    chain = Chain(tables, start, energy * count, seed)
    values = [energy - mu * share]
    for b in betas[1:]:
        result = average(chain, sweeps, 1 / (BOLTZMANN * b), np.array([mu, 0.0]), sweeps // 4)
        values.append(result.energy - mu * result.fraction)
    first = cold * (energy - mu * share) - np.log1p(np.exp(-cold * cost)).sum() / count
    here = (first + _integral(betas, np.array(values))[-1]) / beta
    visited, fractions = _follow(chain, grid, temperature, sweeps)
    return Branch(visited, fractions, here - _integral(visited, fractions))


def _follow(chain: Chain, grid: np.ndarray, temperature: float, sweeps: int) -> tuple[np.ndarray, np.ndarray]:
    """Follow a phase along chemical potentials until it changes; return those that it survived, and the shares of filled sites.

    At the change, the chain goes back and takes half the step, down to `FINEST`.
    """
    visited: list[float] = []
    fractions: list[float] = []
    waiting = list(grid[::-1])
    finest = FINEST * BOLTZMANN * temperature
    while waiting:
        mu = waiting.pop()
        before = chain.occupation.copy(), chain.field.copy(), chain.energy
        result = average(chain, sweeps, temperature, np.array([mu, 0.0]), sweeps // 4)
        if not fractions or abs(result.fraction - fractions[-1]) <= JUMP:
            visited.append(mu)
            fractions.append(result.fraction)
            continue
        if abs(mu - visited[-1]) < finest:
            break
        chain.occupation, chain.field, chain.energy = before
        waiting = [mu, 0.5 * (mu + visited[-1])]
    return np.array(visited), np.array(fractions)


def _integral(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the (n,) integral of y over x from the first point, by the trapezoidal rule."""
    result: np.ndarray = np.concatenate([[0.0], np.cumsum(0.5 * (y[1:] + y[:-1]) * np.diff(x))])
    return result


def _integral_of_exponential(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the (n,) integral of positive y over x from the first point, with y exponential between two points, as that of a gas is."""
    y = np.maximum(y, 1e-300)
    ratio = np.log(y[1:] / y[:-1])
    mean = np.where(np.abs(ratio) < 1e-6, 0.5 * (y[1:] + y[:-1]), (y[1:] - y[:-1]) / np.where(np.abs(ratio) < 1e-6, 1.0, ratio))
    result: np.ndarray = np.concatenate([[0.0], np.cumsum(mean * np.diff(x))])
    return result


def _crossing(temperature: float, gas: Branch, solid: Branch) -> Coexistence:
    """Return the equilibrium where the grand potentials of two branches cross, by linear interpolation."""
    order = np.argsort(solid.potentials)
    x, phi, share = solid.potentials[order], solid.grand[order], solid.fractions[order]
    common = np.unique(np.concatenate([gas.potentials, x]))
    common = common[(common >= max(x[0], gas.potentials[0])) & (common <= min(x[-1], gas.potentials[-1]))]
    nothing = Coexistence(temperature, float("nan"), float("nan"), float("nan"), (gas, solid))
    if len(common) < 2 or not np.isfinite(phi).all():
        return nothing
    difference = np.interp(common, gas.potentials, gas.grand) - np.interp(common, x, phi)
    change = np.flatnonzero((difference[:-1] < 0) & (difference[1:] >= 0))
    if not change.size:
        return nothing
    k = int(change[0])
    weight = -difference[k] / (difference[k + 1] - difference[k])
    mu = float(common[k] + weight * (common[k + 1] - common[k]))
    dilute = float(np.exp(np.interp(mu, gas.potentials, np.log(np.maximum(gas.fractions, 1e-12)))))
    return Coexistence(temperature, mu, dilute, float(np.interp(mu, x, share)), (gas, solid))
