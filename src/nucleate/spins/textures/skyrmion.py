"""Skyrmions in films: a starting state, radius and charge, and the collapse into the uniform state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from contourpy import contour_generator

from nucleate.errors import BadInput
from nucleate.spins.simulate.lattice import SpinLattice
from nucleate.spins.simulate.observables.topology import skyrmion_number
from nucleate.spins.textures.path import SpinPath, along_geodesics, minimum_energy_path
from nucleate.spins.textures.surface import TORQUE, SpinSurface, unit

HELICITIES = (0.0, 90.0, 180.0, 270.0)
"""Angles in degrees between the in-plane components and the radial direction that are tried: Néel and Bloch skyrmions of both senses."""
IMAGES = 16
SHORTEST = 1.5
"""Radius, in distances of cells, of the smallest skyrmion of a starting path."""


@dataclass(frozen=True)
class Skyrmion:
    """Relaxed skyrmion in a uniform background.

    Attributes:
        spins: (N, 3) directions.
        energy: Energy above the uniform state in meV.
        charge: Topological charge of the plane.
        radius: Radius in Å of the circle whose area is that inside the line on which spins are at right angles to the background.
        path: Minimum energy path of its collapse; None: not computed.
    """

    spins: np.ndarray
    energy: float
    charge: float
    radius: float
    path: SpinPath | None = None


def plane_axes(lattice: SpinLattice) -> tuple[np.ndarray, np.ndarray]:
    """Return orthonormal axes (2, 3) in the plane of a film, the first along its first vector, and its unit normal (3,).

    Raises:
        BadInput: The film is not one cell thick along the third vector, or open in the plane.
    """
    if lattice.size[2] != 1 or lattice.periodic != (True, True, False):
        raise BadInput("texture: the film must be periodic along the first two vectors and one cell thick along the third")
    a, b = lattice.couplings.cell[:2]
    normal = unit(np.cross(a, b))
    x = unit(a)
    return np.stack([x, np.cross(normal, x)]), normal


def in_plane(lattice: SpinLattice) -> np.ndarray:
    """Return the places (N, 2) of the spins of a film relative to its middle in Å, at the nearest image."""
    axes, _ = plane_axes(lattice)
    sides = np.array(lattice.size[:2])[:, None] * lattice.couplings.cell[:2] @ axes.T
    away = lattice.positions @ axes.T - 0.5 * sides.sum(axis=0)
    grid = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1], indexing="ij"), -1).reshape(-1, 2) @ sides
    moved = away[:, None] + grid
    nearest = np.linalg.norm(moved, axis=2).argmin(axis=1)
    found: np.ndarray = moved[np.arange(len(moved)), nearest]
    return found


def started(lattice: SpinLattice, background: np.ndarray, radius: float, helicity: float) -> np.ndarray:
    """Return a skyrmion (N, 3) in the middle of a film, whose spins turn from opposite to the background within a radius in Å.

    Args:
        lattice: Film, see `plane_axes`.
        background: (3,) direction of the uniform state.
        radius: Radius in Å at which spins are at right angles to the background.
        helicity: Angle in degrees between the components across the background and the radial direction.
    """
    away = in_plane(lattice)
    axes, normal = plane_axes(lattice)
    n = unit(background)
    # Components across the background, which need not be the normal.
    first = next(axis - (axis @ n) * n for axis in axes if np.linalg.norm(axis - (axis @ n) * n) > 1e-6)
    e1 = unit(first)
    e2 = np.cross(n, e1) * (-1.0 if n @ normal < -1e-9 else 1.0)
    r = np.linalg.norm(away, axis=1)
    theta = np.pi * np.exp(-np.log(2) * (r / radius) ** 2)
    phi = np.arctan2(away[:, 1], away[:, 0]) + np.deg2rad(helicity)
    side = np.cos(phi)[:, None] * e1 + np.sin(phi)[:, None] * e2
    return np.cos(theta)[:, None] * n + np.sin(theta)[:, None] * side


def radius_of(lattice: SpinLattice, spins: np.ndarray, background: np.ndarray) -> float:
    """Return the radius in Å of the circle with the area in which spins of the first site point against the background."""
    along = spins.reshape(*lattice.size[:2], -1, 3)[:, :, 0] @ background
    # The reversed region is moved to the middle, away from the edges of the array.
    place = np.unravel_index(int(along.argmin()), along.shape)
    along = np.roll(along, (lattice.size[0] // 2 - place[0], lattice.size[1] // 2 - place[1]), axis=(0, 1))
    area = 0.0
    for line in contour_generator(z=along).lines(0.0):
        x, y = np.asarray(line).T
        area += abs(0.5 * float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1])))
    cell = float(np.linalg.norm(np.cross(*lattice.couplings.cell[:2])))
    return float(np.sqrt(area * cell / np.pi))


def find_skyrmion(surface: SpinSurface, background: np.ndarray, radii: list[float]) -> tuple[Skyrmion | None, int]:
    """Relax skyrmions of several radii and helicities.

    Args:
        surface: Energy surface of a film.
        background: (3,) direction of the uniform state, which is stationary.
        radii: Starting radii in Å.

    Returns:
        The lowest metastable skyrmion, or None, and the number of starts that neither converged nor collapsed.
    """
    lattice = surface.lattice
    uniform = np.tile(background, (len(lattice), 1))
    level, found, undecided = surface.evaluate(uniform)[0], None, 0
    for radius in radii:
        starts = [started(lattice, background, radius, helicity) for helicity in HELICITIES]
        # The sense of rotation that costs least before relaxation.
        spins, value = surface.relaxed(min(starts, key=lambda each: surface.evaluate(each)[0]))
        charge = float(skyrmion_number(lattice, spins)[0, 0])
        if abs(charge) < 0.5:
            continue
        if surface.torque(spins) > TORQUE:
            undecided += 1
            continue
        if found is None or value - level < found.energy - 1e-6 * surface.scale:
            found = Skyrmion(spins, value - level, charge, radius_of(lattice, spins, background))
    return found, undecided


def collapse(
    surface: SpinSurface,
    skyrmion: Skyrmion,
    background: np.ndarray,
    images: int = IMAGES,
    progress: Callable[[int, float], None] = lambda step, torque: None,
) -> SpinPath:
    """Return the minimum energy path from a skyrmion to the uniform state, by way of ever smaller skyrmions."""
    return minimum_energy_path(surface, starting_path(surface, skyrmion, background, images), progress=progress)


def starting_path(surface: SpinSurface, skyrmion: Skyrmion, background: np.ndarray, images: int = IMAGES) -> np.ndarray:
    """Return the states (images, N, 3) from which `collapse` starts."""
    uniform = np.tile(background, (len(surface.lattice), 1))
    return np.concatenate([skyrmion.spins[None], _shrunk(surface.lattice, skyrmion, background, images - 2), uniform[None]])


def _shrunk(lattice: SpinLattice, skyrmion: Skyrmion, background: np.ndarray, count: int) -> np.ndarray:
    """Return states (count, N, 3) between a skyrmion and the uniform state: the profile drawn together, and its last spins turned back."""
    centre = in_plane(lattice)[int((skyrmion.spins @ background).argmin())]
    shortest = SHORTEST * float(np.sqrt(np.linalg.norm(np.cross(*lattice.couplings.cell[:2]))))
    last = min(0.9, shortest / max(skyrmion.radius, 1e-9))
    turns = max(2, count // 3)
    found = [_scaled(lattice, skyrmion.spins, factor, centre) for factor in np.linspace(1, last, count - turns + 2)[1:-1]]
    uniform = np.tile(background, (len(lattice), 1))
    back = along_geodesics(_scaled(lattice, skyrmion.spins, last, centre), uniform, turns + 1, np.random.default_rng(0))
    return np.concatenate([np.array(found).reshape(-1, *uniform.shape), back[:-1]])[:count]


def _scaled(lattice: SpinLattice, spins: np.ndarray, factor: float, centre: np.ndarray) -> np.ndarray:
    """Return the state whose spin at r is that of `spins` at r / factor, by bilinear interpolation between cells."""
    size = np.array(lattice.size[:2])
    grid = spins.reshape(*size, -1, 3)
    axes, _ = plane_axes(lattice)
    per_cell = np.linalg.inv(lattice.couplings.cell[:2] @ axes.T)
    # Places of the first sites relative to the centre, in cells.
    cells = (in_plane(lattice) - centre).reshape(*size, -1, 2)[:, :, 0] @ per_cell
    cells = (cells + size / 2) % size - size / 2
    source = cells / factor
    inside = (np.abs(source) < size / 2).all(axis=-1)
    middle = np.array(np.unravel_index(int(np.argmin(np.abs(cells).sum(axis=-1))), size))
    low = np.floor(source).astype(int)
    u, v = np.moveaxis((source - low)[..., None, None, :], -1, 0)
    i, j = np.moveaxis(low + middle, -1, 0)

    def at(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        picked: np.ndarray = grid[p % size[0], q % size[1]]
        return picked

    mixed = (1 - u) * (1 - v) * at(i, j) + u * (1 - v) * at(i + 1, j) + (1 - u) * v * at(i, j + 1) + u * v * at(i + 1, j + 1)
    far = grid[tuple((middle + size // 2) % size)]
    return unit(np.where(inside[..., None, None], mixed, far)).reshape(-1, 3)
