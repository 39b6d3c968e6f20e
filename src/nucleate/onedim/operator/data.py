"""Random wells with their exact densities and exchange-correlation potentials."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nucleate.errors import BadInput, NucleateError
from nucleate.onedim.exact import ground_state
from nucleate.onedim.grid import Grid
from nucleate.onedim.inversion import one_orbital_potential
from nucleate.onedim.wells import Well, soft_coulomb
from nucleate.progress import Progress, Step, silent

HALF_LENGTH, POINTS = 12.0, 161
KINDS = ("atom", "dimer", "molecule", "well")
UNSEEN = ((1.5, 2.25), (3.75, 4.5))
"""Intervals of distances in bohr that training dimers leave out."""
FARTHEST = 6.0
"""Largest distance of a dimer in bohr."""


@dataclass(frozen=True)
class Wells:
    """Wells of two electrons on one grid, all (m, n) and in Hartree atomic units.

    Attributes:
        grid: Grid.
        kinds: (m,) kind of each well.
        external: External potentials.
        density: Exact densities.
        xc: Exact exchange-correlation potentials, with the constant of the ionisation energy.
    """

    grid: Grid
    kinds: list[str]
    external: np.ndarray
    density: np.ndarray
    xc: np.ndarray

    def __len__(self) -> int:
        return len(self.kinds)


def unseen(distance: float) -> bool:
    """Return whether training dimers leave a distance in bohr out."""
    return any(low <= distance <= high for low, high in UNSEEN)


def random_potential(grid: Grid, kind: str, rng: np.random.Generator, held_out: bool = False) -> np.ndarray:
    """Return a random external potential (n,) in hartree.

    Args:
        grid: Grid.
        kind: `atom`: one charge; `dimer`: two charges; `molecule`: three charges; `well`: two to four Gaussian wells.
        rng: Random generator.
        held_out: Whether the distance of a dimer is among those that training leaves out, or among the others.
    """
    if kind == "atom":
        return soft_coulomb(grid, rng.uniform(1.1, 3.0, 1), rng.uniform(-2, 2, 1))
    if kind == "dimer":
        distance = rng.uniform(0, FARTHEST)
        while unseen(distance) != held_out:
            distance = rng.uniform(0, FARTHEST)
        centre = rng.uniform(-1, 1)
        return soft_coulomb(grid, rng.uniform(0.8, 2.0, 2), np.array([centre - distance / 2, centre + distance / 2]))
    if kind == "molecule":
        return soft_coulomb(grid, rng.uniform(0.4, 1.4, 3), rng.uniform(-3.5, 3.5, 3))
    count = rng.integers(2, 5)
    depths, centres, widths = rng.uniform(0.5, 2.0, count), rng.uniform(-3, 3, count), rng.uniform(0.5, 1.5, count)
    return np.asarray(-(depths * np.exp(-0.5 * ((grid.x[:, None] - centres) / widths) ** 2)).sum(axis=1))


def exact_wells(
    count: int,
    rng: np.random.Generator,
    kinds: tuple[str, ...] = KINDS,
    held_out: bool = False,
    points: int = POINTS,
    progress: Progress = silent,
) -> Wells:
    """Return wells of two electrons; those that do not bind both inside the box are drawn again.

    Args:
        count: Number of wells, equally many of each kind.
        rng: Random generator.
        kinds: Kinds of wells.
        held_out: Whether dimers have the distances that training leaves out.
        points: Number of grid points; the same generator gives the same wells on every grid.
        progress: Called with each well.
    """
    grid = Grid.box(HALF_LENGTH, points)
    names: list[str] = []
    rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    while len(rows) < count:
        kind = kinds[len(rows) % len(kinds)]
        v = random_potential(grid, kind, rng, held_out)
        try:
            state = ground_state(Well(grid, v, kind), 2)
        except (BadInput, NucleateError):
            continue
        kohn_sham = one_orbital_potential(grid, state.density) - state.ionisation
        names.append(kind)
        rows.append((v, state.density, kohn_sham - v - grid.hartree(state.density)))
        progress(Step("wells", len(rows), count))
    external, density, xc = np.array(rows).transpose(1, 0, 2)
    return Wells(grid, names, external, density, xc)
