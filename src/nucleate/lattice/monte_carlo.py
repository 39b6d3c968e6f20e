"""Monte Carlo moves of atoms on a lattice: exchanges at fixed composition, changes of species at fixed chemical potentials.

N. Metropolis et al., J. Chem. Phys. 21, 1087 (1953), doi 10.1063/1.1699114. numba compiles the moves, because each one reads the
arrangement that the one before has left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from nucleate.errors import BadInput
from nucleate.lattice.expansion import ClusterExpansion
from nucleate.lattice.supercells import Supercell

MOST_ENTRIES = 400_000_000
"""Largest number of entries of the tables of neighbours."""


@dataclass(frozen=True)
class Tables:
    """Interactions of a supercell, as the moves read them. A figure occurs once for each of its points.

    Attributes:
        supercell: The supercell, n1 x n2 x n3 primitive cells with m active sites.
        shape: (3,) numbers of cells.
        choices: (m,) numbers of species of the active sites.
        kinds: (m,) sublattice of each active site, within which atoms are exchanged.
        own: (m, f) species of the point on the site itself.
        others: (m, f, k) species of the other points; -1 where there are fewer.
        coefficients: (m, f) interactions, eV.
        sites: (sites, f, k) sites of the other points.
        charges: (m, species) dipoles of the species.
        images: (m, cells, m) interactions of dipoles with those of cell 0, eV; empty without a dipole term.
    """

    supercell: Supercell
    shape: np.ndarray
    choices: np.ndarray
    kinds: np.ndarray
    own: np.ndarray
    others: np.ndarray
    coefficients: np.ndarray
    sites: np.ndarray
    charges: np.ndarray
    images: np.ndarray


def tabulate(model: ClusterExpansion, cells: tuple[int, int, int]) -> Tables:
    """Return the tables of a supercell of `cells` primitive cells.

    Raises:
        BadInput: The supercell is so small that a figure meets its own image, or so large that its tables do not fit in memory.
    """
    parent = model.parent
    if any(n < 1 for n in cells) or any(n != 1 for n, p in zip(cells, parent.periodic, strict=True) if not p):
        raise BadInput(f"cells {'x'.join(map(str, cells))}: give positive numbers, and 1 along the normal of a layer")
    supercell = Supercell(parent, np.diag(cells))
    m = len(parent.active)
    rows: list[list[tuple[int, float, np.ndarray]]] = [[] for _ in range(m)]
    for orbit, value in zip(model.orbits, model.coefficients, strict=True):
        for figure in orbit.figures:
            points = np.array(figure, dtype=int).reshape(-1, 5)
            for j, point in enumerate(points):
                others = np.delete(points, j, axis=0)
                others[:, :3] -= point[:3]
                rows[point[3]].append((int(point[4]), float(value), others))
    count = max(len(row) for row in rows)
    width = max(max((len(others) for row in rows for _, _, others in row), default=0), 1)
    if supercell.sites * count * width > MOST_ENTRIES:
        raise BadInput(f"cells {'x'.join(map(str, cells))}: the tables of neighbours would not fit in memory; choose fewer cells")
    own = np.full((m, count), -1)
    species = np.full((m, count, width), -1)
    coefficients = np.zeros((m, count))
    sites = np.zeros((supercell.count, m, count, width), dtype=np.int32)
    for s, row in enumerate(rows):
        for k, (mine, value, others) in enumerate(row):
            own[s, k], coefficients[s, k] = mine, value
            species[s, k, : len(others)] = others[:, 4]
            index = supercell.site_index(supercell.cells[:, None] + others[:, :3], others[:, 3])
            sites[:, s, k, : len(others)] = index
            here = np.append(index[0], s)
            if len(set(here.tolist())) < len(here):
                raise BadInput(f"cells {'x'.join(map(str, cells))}: a figure is longer than the supercell; choose more cells")
    names = max(len(allowed) for allowed in parent.allowed)
    charges = np.zeros((m, names))
    images = np.zeros((0, 0, 0))
    if model.dipoles is not None:
        for s, allowed in enumerate(parent.allowed):
            charges[s, : len(allowed)] = [model.dipoles.charges[parent.names.index(name)] for name in allowed]
        images = model.dipole_strength * model.dipoles.interactions(supercell).reshape(m, supercell.count, m)
    return Tables(
        supercell,
        np.array(cells),
        np.array([len(allowed) for allowed in parent.allowed]),
        parent.kinds,
        own,
        species,
        coefficients,
        sites.reshape(supercell.sites, count, width),
        charges,
        images,
    )


class Chain:
    """A Markov chain of arrangements of one supercell.

    Args:
        tables: Interactions.
        occupation: (sites,) first arrangement.
        energy: Its energy, eV.
        seed: Seed of the moves.
    """

    def __init__(self, tables: Tables, occupation: np.ndarray, energy: float, seed: int):
        self.tables = tables
        self.occupation = np.array(occupation, dtype=np.int64)
        self.energy = energy
        t = tables
        m = len(t.choices)
        q = t.charges[t.supercell.sublattice, self.occupation]
        self.field = np.zeros(len(self.occupation))
        if t.images.size:
            cells = t.supercell.cells
            blocks = q.reshape(-1, m)
            for c, offset in enumerate(cells):
                seen = t.supercell.cell_index(cells - offset)
                self.field[c * m : (c + 1) * m] = np.einsum("sdt,dt->s", t.images[:, seen], blocks)
        self.generator = np.random.default_rng(seed)

    def run(self, sweeps: int, beta: float, potentials: np.ndarray | None, counted: int) -> tuple[np.ndarray, np.ndarray, float]:
        """Make moves, one per site and sweep.

        Args:
            sweeps: Number of sweeps.
            beta: 1/kT, 1/eV.
            potentials: (species,) chemical potential of each index of a species, for changes of species, eV; None: exchanges.
            counted: Index of the species of the first sublattice whose number is returned.

        Returns:
            (sweeps,) energies in eV and numbers of atoms of the counted species after each sweep, and the share of accepted moves.
        """
        t = self.tables
        energies, numbers = np.empty(sweeps), np.empty(sweeps)
        change = np.zeros(0) if potentials is None else np.asarray(potentials, dtype=float)
        self.energy, accepted = _sweeps(
            self.occupation, self.field, self.energy, beta, change, counted, energies, numbers,
            t.shape, t.choices, t.kinds, t.own, t.others, t.coefficients, t.sites, t.charges, t.images, self.generator,
        )  # fmt: skip
        return energies, numbers, accepted / max(1, sweeps * len(self.occupation))


@njit(cache=True)
def _gain(i, s, old, new, occupation, own, others, coefficients, sites):
    """Return the change of the energy of figures if site i changes its species."""
    total = 0.0
    for k in range(own.shape[1]):
        mine = own[s, k]
        if mine != old and mine != new:
            continue
        there = True
        for j in range(others.shape[2]):
            if others[s, k, j] < 0:
                break
            if occupation[sites[i, k, j]] != others[s, k, j]:
                there = False
                break
        if there:
            total += coefficients[s, k] if mine == new else -coefficients[s, k]
    return total


@njit(cache=True)
def _seen(i, j, m, shape):
    """Return the number of the cell that holds site j as seen from the cell of site i."""
    a, b = i // m, j // m
    z = (b % shape[2] - a % shape[2]) % shape[2]
    a, b = a // shape[2], b // shape[2]
    y = (b % shape[1] - a % shape[1]) % shape[1]
    x = (b // shape[1] - a // shape[1]) % shape[0]
    return (x * shape[1] + y) * shape[2] + z


@njit(cache=True)
def _add_field(i, s, change, field, m, shape, images):
    """Add the field of a change of the dipole on site i to all sites."""
    cell = i // m
    z0 = cell % shape[2]
    y0 = cell // shape[2] % shape[1]
    x0 = cell // shape[2] // shape[1]
    j = 0
    for x in range(shape[0]):
        dx = (x - x0) % shape[0]
        for y in range(shape[1]):
            dy = (y - y0) % shape[1]
            for z in range(shape[2]):
                d = (dx * shape[1] + dy) * shape[2] + (z - z0) % shape[2]
                for t in range(m):
                    field[j] += change * images[s, d, t]
                    j += 1


@njit(cache=True)
def _sweeps(
    occupation, field, energy, beta, potentials, counted, energies, numbers,
    shape, choices, kinds, own, others, coefficients, sites, charges, images, generator,
):  # fmt: skip
    """Make `len(energies)` sweeps; return the energy and the number of accepted moves."""
    n, m = len(occupation), len(choices)
    distant = images.size > 0
    accepted = 0
    number = 0
    for i in range(n):
        # The counted species is one of the first sublattice; indices of others mean other species.
        number += occupation[i] == counted and kinds[i % m] == 0
    for sweep in range(len(energies)):
        for _ in range(n):
            i = int(generator.random() * n)
            s = i % m
            old = occupation[i]
            if len(potentials) > 0:
                new = int(generator.random() * (choices[s] - 1))
                if new >= old:
                    new += 1
                gain = _gain(i, s, old, new, occupation, own, others, coefficients, sites)
                change = charges[s, new] - charges[s, old]
                if distant:
                    gain += change * field[i] + 0.5 * change * change * images[s, 0, s]
                weighted = gain - potentials[new] + potentials[old]
                if weighted <= 0.0 or generator.random() < math.exp(-beta * weighted):
                    occupation[i] = new
                    energy += gain
                    accepted += 1
                    number += (new == counted) - (old == counted)
                    if distant and change != 0.0:
                        _add_field(i, s, change, field, m, shape, images)
                continue
            # A second site of the same sublattice that holds another species; all unlike pairs are drawn with equal probability.
            j = int(generator.random() * n)
            t = j % m
            new = occupation[j]
            if new == old or kinds[s] != kinds[t]:
                continue
            gain = _gain(i, s, old, new, occupation, own, others, coefficients, sites)
            occupation[i] = new
            gain += _gain(j, t, new, old, occupation, own, others, coefficients, sites)
            first, second = charges[s, new] - charges[s, old], charges[t, old] - charges[t, new]
            if distant:
                gain += first * field[i] + second * field[j] + first * second * images[s, _seen(i, j, m, shape), t]
                gain += 0.5 * (first * first * images[s, 0, s] + second * second * images[t, 0, t])
            if gain <= 0.0 or generator.random() < math.exp(-beta * gain):
                occupation[j] = old
                energy += gain
                accepted += 1
                if distant and first != 0.0:
                    _add_field(i, s, first, field, m, shape, images)
                if distant and second != 0.0:
                    _add_field(j, t, second, field, m, shape, images)
            else:
                occupation[i] = old
        energies[sweep] = energy
        numbers[sweep] = number
    return energy, accepted
