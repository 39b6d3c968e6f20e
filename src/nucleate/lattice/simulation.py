"""Averages of Monte Carlo simulations over temperatures, with error bars, resumable temperature by temperature."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nucleate.errors import BadInput, RunFolderError
from nucleate.lattice.expansion import ClusterExpansion
from nucleate.lattice.monte_carlo import Chain, tabulate
from nucleate.lattice.parent import Parent
from nucleate.persist.files import append_line, read_lines
from nucleate.processes.interrupts import check
from nucleate.progress import Event, Progress, silent
from nucleate.time_series import autocorrelation_time
from nucleate.units import BOLTZMANN

BLOCK = 200
"""Number of sweeps between two answers to interrupts."""


@dataclass(frozen=True)
class Averages:
    """Averages at one temperature; errors are standard errors from the autocorrelation time.

    Attributes:
        temperature: Temperature, K.
        energy, energy_error: Energy, eV per primitive cell.
        heat_capacity: Heat capacity at fixed composition or fixed potentials, k_B per primitive cell; NaN with more than one potential.
        fraction, fraction_error: Share of the sites of its sublattice that holds the first species.
        accepted: Share of accepted moves.
        correlation: Autocorrelation time of the energy in sweeps.
    """

    temperature: float
    energy: float
    energy_error: float
    heat_capacity: float
    fraction: float
    fraction_error: float
    accepted: float
    correlation: float


@dataclass(frozen=True)
class TemperatureDone(Event):
    """A temperature is finished.

    Attributes:
        done: Number of finished temperatures.
        total: Number of temperatures.
        averages: Its averages.
    """

    done: int
    total: int
    averages: Averages


def species_sites(parent: Parent) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the active sites of the first sublattice and its species; its first species is the one that is counted."""
    where = np.flatnonzero(parent.kinds == 0)
    return where, parent.allowed[int(where[0])]


def first_arrangement(parent: Parent, sites: int, composition: dict[str, float], generator: np.random.Generator) -> np.ndarray:
    """Return a random arrangement of `sites` sites; each sublattice has the given shares of its species, the last one fills up.

    Raises:
        BadInput: A species does not occur, or the shares are not between 0 and 1.
    """
    unknown = set(composition) - set(parent.names)
    if unknown:
        raise BadInput(f"composition: no site can hold {', '.join(sorted(unknown))}; the species are {', '.join(parent.names)}")
    sublattice = np.tile(np.arange(len(parent.active)), sites // len(parent.active))
    result = np.empty(sites, dtype=int)
    for kind in np.unique(parent.kinds):
        members = np.flatnonzero(parent.kinds[sublattice] == kind)
        names = parent.allowed[int(np.flatnonzero(parent.kinds == kind)[0])]
        last = len(names) - 1
        shares = [composition.get(name, 0.0) for name in names[:last]]
        if any(not 0 <= share <= 1 for share in shares) or sum(shares) > 1 + 1e-9:
            raise BadInput(f"composition of {', '.join(names)}: shares must lie between 0 and 1, and their sum must not exceed 1")
        filled = np.full(len(members), last)
        start = 0
        for index, share in enumerate(shares):
            stop = start + round(share * len(members))
            filled[start:stop] = index
            start = stop
        result[members] = generator.permutation(filled)
    return result


def average(chain: Chain, sweeps: int, temperature: float, potentials: np.ndarray | None, burn: int) -> Averages:
    """Run a chain at one temperature and return its averages; the first `burn` sweeps are left out.

    Args:
        chain: The chain, which goes on from its last arrangement.
        sweeps: Number of sweeps that are averaged.
        temperature: Temperature, K.
        potentials: Chemical potentials of the indices of species in eV, or None for a fixed composition.
        burn: Number of sweeps before them.
    """
    beta = 1 / (BOLTZMANN * temperature)
    cells = chain.tables.supercell.count
    where, _ = species_sites(chain.tables.supercell.parent)
    parts: list[tuple[np.ndarray, np.ndarray, float]] = []
    for total, kept in ((burn, False), (sweeps, True)):
        for start in range(0, total, BLOCK):
            check()
            part = chain.run(min(BLOCK, total - start), beta, potentials, 0)
            if kept:
                parts.append(part)
    energies = np.concatenate([part[0] for part in parts])
    numbers = np.concatenate([part[1] for part in parts])
    # With several potentials the numbers of the other species would be needed.
    known = potentials is None or len(potentials) == 2
    shifted = energies if potentials is None else energies - potentials[0] * numbers
    time = autocorrelation_time(energies)
    fraction = numbers / (cells * len(where))
    return Averages(
        temperature,
        float(energies.mean()) / cells,
        float(energies.std() * np.sqrt(2 * time / len(energies))) / cells,
        float(shifted.var()) * beta**2 / cells if known else float("nan"),
        float(fraction.mean()),
        float(fraction.std() * np.sqrt(2 * autocorrelation_time(numbers) / len(numbers))),
        float(np.mean([part[2] for part in parts])),
        time,
    )


def simulate(
    model: ClusterExpansion,
    cells: tuple[int, int, int],
    temperatures: list[float],
    *,
    composition: dict[str, float] | None = None,
    potentials: dict[str, float] | None = None,
    sweeps: int = 5000,
    burn: int = 1000,
    seed: int = 0,
    record: Path | None = None,
    progress: Progress = silent,
) -> tuple[list[Averages], np.ndarray]:
    """Simulate a lattice at one temperature after the other; each starts from the last arrangement of the one before.

    Args:
        model: The cluster expansion.
        cells: Numbers of primitive cells.
        temperatures: Temperatures, K.
        composition: Share of each species on its sites, for exchanges of atoms; the last species of a list fills up.
        potentials: Chemical potential of each species relative to the last of its list in eV, for changes of species.
        sweeps: Number of sweeps that are averaged.
        burn: Number of sweeps before them.
        seed: Seed.
        record: File to which each temperature is appended, and from which the same call resumes.
        progress: Called with a `TemperatureDone`.

    Returns:
        The averages, and the (sites,) last arrangement.

    Raises:
        BadInput: A value cannot be used.
        RunFolderError: The record belongs to another simulation.
    """
    if (composition is None) == (potentials is None):
        raise BadInput("give either a composition or chemical potentials")
    if not temperatures or any(not 0 < t < 1e6 for t in temperatures):
        raise BadInput("temperatures: give positive numbers in K")
    if sweeps < 10 or burn < 0:
        raise BadInput("give at least 10 sweeps, and no negative number of sweeps before them")
    tables = tabulate(model, cells)
    sites = tables.supercell.sites
    identity: dict[str, Any] = {
        "cells": list(cells), "composition": composition, "potentials": potentials, "sweeps": sweeps, "burn": burn, "seed": seed,
        "interactions": [*model.coefficients.tolist(), model.dipole_strength],
    }  # fmt: skip
    done = _recorded(record, identity, temperatures, sites)
    vector = None if potentials is None else potential_vector(model.parent, potentials)
    if done:
        occupation = np.array(done[-1][1])
    else:
        share = composition if composition is not None else {}
        occupation = first_arrangement(model.parent, sites, share, np.random.default_rng(seed))
    results = [averages for averages, _ in done]
    for k, temperature in enumerate(temperatures):
        if k < len(results):
            continue
        energy = float(model.energies(tables.supercell, occupation[None])[0]) * tables.supercell.count
        chain = Chain(tables, occupation, energy, seed + 7919 * k)
        results.append(average(chain, sweeps, temperature, vector, burn))
        occupation = chain.occupation
        if record is not None:
            append_line(record, {**identity, "averages": asdict(results[-1]), "occupation": occupation.tolist()})
        progress(TemperatureDone(k + 1, len(temperatures), results[-1]))
    return results, occupation


def potential_vector(parent: Parent, potentials: dict[str, float]) -> np.ndarray:
    """Return the chemical potential of each index of a species; the last species of a list has zero.

    Raises:
        BadInput: A species does not occur, or sublattices with different species share an index.
    """
    lists = list(dict.fromkeys(parent.allowed))
    if len(lists) > 1:
        raise BadInput("chemical potentials need a parent with one sublattice; give a composition")
    names = lists[0]
    unknown = set(potentials) - set(names[:-1])
    if unknown:
        raise BadInput(f"potentials: give those of {', '.join(names[:-1])}, relative to {names[-1]} (got {', '.join(sorted(unknown))})")
    return np.array([potentials.get(name, 0.0) for name in names])


def _recorded(record: Path | None, identity: dict[str, Any], temperatures: list[float], sites: int) -> list[tuple[Averages, list[int]]]:
    """Return the temperatures that a record holds; raise `RunFolderError` if it belongs to another simulation."""
    if record is None or not record.exists():
        return []
    result = []
    for row, temperature in zip(read_lines(record), temperatures, strict=False):
        same = all(row.get(name) == value for name, value in identity.items())
        if not same or row["averages"]["temperature"] != temperature or len(row["occupation"]) != sites:
            raise RunFolderError(f"{record}: belongs to a simulation with other settings; choose another file")
        result.append((Averages(**row["averages"]), row["occupation"]))
    return result
