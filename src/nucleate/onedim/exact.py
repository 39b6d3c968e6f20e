"""Exact ground states of one and two electrons with soft-Coulomb interaction.

The wave function of two electrons in a singlet is a symmetric matrix psi(x1, x2) on the grid. It is computed by Davidson's method. The
preconditioner inverts the Hamiltonian of independent electrons, which is diagonal in products of orbitals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from nucleate.errors import BadInput, NucleateError
from nucleate.onedim.grid import Grid
from nucleate.onedim.wells import Well

TOLERANCE = 1e-9
"""Largest norm of the residual H psi - E psi in hartree."""
ITERATIONS = 200
LARGEST_SPACE = 12
"""Number of vectors at which the search space is reduced to the best two."""
LEAK = 1e-6
"""Largest density at a wall in 1/bohr; a larger one shows that the box confines the electrons."""


@dataclass(frozen=True)
class ExactState:
    """Ground state of interacting electrons.

    Attributes:
        energy: Total energy in hartree.
        ionisation: E(N - 1) - E(N) above the vacuum level, in hartree; positive for a bound state.
        density: (n,) density in 1/bohr; its integral is the number of electrons.
        wave: (n,) orbital of one electron, or (n, n) wave function of two, normalised on the grid.
    """

    energy: float
    ionisation: float
    density: np.ndarray
    wave: np.ndarray


def one_electron(well: Well) -> tuple[np.ndarray, np.ndarray]:
    """Return energies (n,) in hartree and orbitals (n, n), in columns, of one electron; orbitals have the norm 1 in bohr^1/2 units."""
    energies, orbitals = eigh(well.grid.kinetic + np.diag(well.potential))
    return energies, orbitals / np.sqrt(well.grid.spacing)


def two_electron_energy(well: Well, wave: np.ndarray, field: np.ndarray | None = None) -> float:
    """Return the energy in hartree of a wave function (n, n) of two electrons, real or complex, with an additional potential (n,)."""
    return float(np.vdot(wave, hamiltonian(well, wave, field)).real) * well.grid.spacing**2


def hamiltonian(well: Well, wave: np.ndarray, field: np.ndarray | None = None) -> np.ndarray:
    """Return H psi of two electrons, psi(x1, x2) and H psi both (n, n), in hartree."""
    grid = well.grid
    v = well.potential if field is None else well.potential + field
    return grid.kinetic_of(wave) + grid.kinetic_of(wave.T).T + (v[:, None] + v + grid.interaction) * wave


def two_electrons(well: Well) -> tuple[float, np.ndarray]:
    """Return the energy in hartree and the wave function (n, n) of the singlet ground state.

    Source: E. R. Davidson, J. Comput. Phys. 17, 87 (1975).

    Raises:
        NucleateError: The iteration did not converge.
    """
    grid = well.grid
    # A mean potential of the other electron makes independent electrons a good approximation of the inverse.
    energies, orbitals = eigh(grid.kinetic + np.diag(well.potential))
    mean = grid.hartree(orbitals[:, 0] ** 2 / grid.spacing)
    energies, orbitals = eigh(grid.kinetic + np.diag(well.potential + mean))
    pairs = energies[:, None] + energies
    space = [np.outer(orbitals[:, 0], orbitals[:, 0])]
    images = [hamiltonian(well, space[0])]
    for _ in range(ITERATIONS):
        projected = np.array([[np.vdot(a, b) for b in images] for a in space])
        values, vectors = np.linalg.eigh((projected + projected.T) / 2)
        wave = sum(c * v for c, v in zip(vectors[:, 0], space, strict=True))
        image = sum(c * v for c, v in zip(vectors[:, 0], images, strict=True))
        residual = image - values[0] * wave
        if np.linalg.norm(residual) < TOLERANCE:
            return float(values[0]), _signed(grid, wave)
        if len(space) >= LARGEST_SPACE:
            space = [wave, *(sum(c * v for c, v in zip(vectors[:, k], space, strict=True)) for k in (1, 2))]
            images = [image, *(sum(c * v for c, v in zip(vectors[:, k], images, strict=True)) for k in (1, 2))]
        shifted = pairs - values[0]
        shifted = np.where(np.abs(shifted) < 0.05, 0.05, shifted)
        new = orbitals @ ((orbitals.T @ residual @ orbitals) / shifted) @ orbitals.T
        new = (new + new.T) / 2
        for _ in range(2):
            for vector in space:
                new -= np.vdot(vector, new) * vector
        size = np.linalg.norm(new)
        if size < 1e-300:
            break
        space.append(new / size)
        images.append(hamiltonian(well, space[-1]))
    raise NucleateError(f"{well.name}: the state of two electrons did not converge in {ITERATIONS} iterations; change the grid")


def _signed(grid: Grid, wave: np.ndarray) -> np.ndarray:
    """Return the normalised wave function with a positive integral."""
    return wave * np.sign(wave.sum()) / (np.linalg.norm(wave) * grid.spacing)


def pair_density(grid: Grid, wave: np.ndarray) -> np.ndarray:
    """Return the density (n,) in 1/bohr of a wave function (n, n) of two electrons."""
    return np.asarray(2 * grid.integral(np.abs(wave) ** 2))


def ground_state(well: Well, electrons: int) -> ExactState:
    """Return the exact ground state of one or two electrons.

    Raises:
        BadInput: The number of electrons is neither one nor two, the potential does not bind all of them, or the box confines them.
        NucleateError: The iteration did not converge.
    """
    if electrons not in (1, 2):
        raise BadInput(f"{electrons} electrons: the exact solver handles one or two; give a file with the density n as third column")
    energies, orbitals = one_electron(well)
    energy, wave = float(energies[0]), orbitals[:, 0]
    state = ExactState(energy, well.vacuum - energy, wave**2, wave * np.sign(wave.sum()))
    if electrons == 2:
        pair, psi = two_electrons(well)
        state = ExactState(pair, energy + well.vacuum - pair, pair_density(well.grid, psi), psi)
    bound = [well.vacuum - energy > 0, state.ionisation > 0]
    if not all(bound[:electrons]):
        value = well.vacuum - energy if not bound[0] else state.ionisation
        kept = 0 if not bound[0] else electrons - 1
        raise BadInput(
            f"{well.name}: binds {kept} of {electrons} electrons: the ionisation energy of the next one is {value:.4f} Ha, but a bound "
            "electron has a positive one; deepen the well or reduce the number of electrons"
        )
    check_walls(well, state.density)
    return state


def check_walls(well: Well, density: np.ndarray) -> None:
    """Raise `BadInput` if the density (n,) in 1/bohr does not vanish at the walls of the box."""
    edge = float(max(density[0], density[-1]))
    if edge > LEAK:
        raise BadInput(f"{well.name}: the density at the walls is {edge:.1e} /bohr, so the box changes the state; enlarge the box")
