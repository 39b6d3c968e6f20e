"""Effective couplings of one magnetic site from the energies of conical spin spirals with a finite angle.

The exchange field of the site at the lattice vector R is turned to (sin theta cos phi, sin theta sin phi, cos theta), phi = 2 pi q . R,
with all other potentials fixed. By the generalised Bloch theorem a state of spin up at k couples to states of spin down at k + q alone
(L. M. Sandratskii, Adv. Phys. 47, 91 (1998), doi 10.1080/000187398243573). The energy is that of the levels, with the number of electrons
fixed (force theorem), in the basis of the states of the collinear crystal. In the Heisenberg model a spiral has the energy
-J(q) sin^2(theta) / 2 per site, up to a term without q, so that
    J(q) = -2 E(q) / sin^2(theta),
which becomes Liechtenstein's formula for theta -> 0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import spglib
from ase import Atoms
from scipy.linalg import block_diag

from nucleate.spins.dft.liechtenstein import SiteBands, free_energy

BATCH = 2**21
"""Approximate number of matrix entries of each spin diagonalised at once."""


def spiral_energy(bands: SiteBands, width: float, angle: float, wave: np.ndarray) -> float:
    """Return the energy per cell in eV of a conical spiral.

    Args:
        bands: Bands of a collinear state without spin-orbit coupling.
        width: Electronic temperature k_B T in eV.
        angle: Angle between the moments and the axis of the cone in radians; all sites are turned by it.
        wave: (3,) wave vector in steps of the mesh of k-points, integer.
    """
    n = bands.energies.shape[2]
    size = bands.fields.shape[1]
    projections = bands.projections.reshape(2, -1, n, len(bands.fields) * size)
    fields = block_diag(*bands.fields)
    points = np.stack(np.unravel_index(np.arange(projections.shape[1]), bands.mesh), axis=1)
    moved = np.ravel_multi_index(tuple(np.mod(points + wave, bands.mesh).T), bands.mesh)
    tilt, turn = (np.cos(angle) - 1) / 2, np.sin(angle) / 2
    rows = np.arange(n)
    levels = []
    for part in np.array_split(np.arange(len(moved)), -(-len(moved) * n**2 // BATCH)):
        up, down = projections[0, part], projections[1, moved[part]]
        matrices = np.zeros((len(part), 2 * n, 2 * n), dtype=complex)
        matrices[:, :n, :n] = tilt * (up.conj() @ fields @ up.swapaxes(1, 2))
        matrices[:, n:, n:] = -tilt * (down.conj() @ fields @ down.swapaxes(1, 2))
        matrices[:, n:, :n] = turn * (down.conj() @ fields @ up.swapaxes(1, 2))
        matrices[:, rows, rows] += bands.energies[0, part]
        matrices[:, n + rows, n + rows] += bands.energies[1, moved[part]]
        levels.append(np.linalg.eigvalsh(matrices, UPLO="L"))
    return free_energy(np.concatenate(levels), bands.electrons, width)


def cone_couplings(
    bands: SiteBands,
    width: float,
    angle: float,
    mesh: tuple[int, int, int],
    atoms: Atoms,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> np.ndarray:
    """Return effective couplings J(q) of one site on a mesh of wave vectors, (mesh..., 1, 1) in eV, with an arbitrary constant.

    Args:
        bands: Bands of a collinear state with one magnetic site in the cell, without spin-orbit coupling.
        width: Electronic temperature k_B T in eV.
        angle: Angle between the moments and the axis of the cone in degrees, above 0 and at most 90.
        mesh: Number of wave vectors along each reciprocal vector; a divisor of the number of k-points.
        atoms: The whole crystal, whose symmetry reduces the number of spirals.
        progress: Called with the number of finished spirals and of all.
    """
    steps = np.array(bands.mesh) // mesh
    crystal = (atoms.cell.tolist(), atoms.get_scaled_positions().tolist(), atoms.numbers.tolist())
    classes, places = spglib.get_ir_reciprocal_mesh(mesh, crystal)
    found = np.zeros(mesh)
    small = np.unique(classes)
    energies = {}
    for done, number in enumerate(small):
        energies[number] = spiral_energy(bands, width, np.deg2rad(angle), steps * places[number])
        progress(done + 1, len(small))
    for place, number in zip(np.mod(places, mesh), classes, strict=True):
        found[tuple(place)] = -2 * energies[number] / np.sin(np.deg2rad(angle)) ** 2
    return found[..., None, None]
