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


def in_plane(lattice: SpinLattice) -> tuple[np.ndarray, np.ndarray]:
    """Return distances (N, 2) from the middle of the film in Å, to the nearest image, and the unit normal (3,) of the film.

    Raises:
        BadInput: The film is not one cell thick along the third vector, or open in the plane.
    """
    if lattice.size[2] != 1 or lattice.periodic != (True, True, False):
        raise BadInput("texture: the film must be periodic along the first two vectors and one cell thick along the third")
    a, b = lattice.couplings.cell[:2]
    normal = np.cross(a, b) / np.linalg.norm(np.cross(a, b))
    x = a / np.linalg.norm(a)
    plane = np.stack([x, np.cross(normal, x)])
    sides = np.array([lattice.size[0] * a, lattice.size[1] * b]) @ plane.T
    away = lattice.positions @ plane.T - 0.5 * sides.sum(axis=0)
    grid = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1], indexing="ij"), -1).reshape(-1, 2) @ sides
    moved = away[:, None] + grid
    nearest = np.linalg.norm(moved, axis=2).argmin(axis=1)
    return moved[np.arange(len(moved)), nearest], normal


def started(lattice: SpinLattice, background: np.ndarray, radius: float, helicity: float) -> np.ndarray:
    """Return a skyrmion (N, 3) in the middle of a film, whose spins turn from opposite to the background within a radius in Å.

    Args:
        lattice: Film, see `in_plane`.
        background: (3,) direction of the uniform state.
        radius: Radius in Å at which spins are at right angles to the background.
        helicity: Angle in degrees between the components across the background and the radial direction.
    """
    away, normal = in_plane(lattice)
    a = lattice.couplings.cell[0] / np.linalg.norm(lattice.couplings.cell[0])
    n = background / np.linalg.norm(background)
    # Components across the background, which need not be the normal.
    e1 = a - (a @ n) * n
    if np.linalg.norm(e1) < 1e-6:
        other = np.cross(normal, a)
        e1 = other - (other @ n) * n
    e1 /= np.linalg.norm(e1)
    e2 = np.cross(n, e1) * np.sign(n @ normal if abs(n @ normal) > 1e-9 else 1.0)
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


def find_skyrmion(surface: SpinSurface, background: np.ndarray, radii: list[float]) -> Skyrmion | None:
    """Relax skyrmions of several radii and helicities; return the lowest metastable one, or None if all collapse.

    Args:
        surface: Energy surface of a film.
        background: (3,) direction of the uniform state, which is stationary.
        radii: Starting radii in Å.
    """
    lattice = surface.lattice
    uniform = np.tile(background, (len(lattice), 1))
    level, found = surface.evaluate(uniform)[0], None
    for radius in radii:
        starts = [started(lattice, background, radius, helicity) for helicity in HELICITIES]
        # The sense of rotation that costs least before relaxation.
        spins, value = surface.relaxed(min(starts, key=lambda each: surface.evaluate(each)[0]))
        charge = float(skyrmion_number(lattice, spins)[0, 0])
        if abs(charge) < 0.5 or surface.torque(spins) > TORQUE:
            continue
        if found is None or value - level < found.energy - 1e-6 * surface.scale:
            found = Skyrmion(spins, value - level, charge, radius_of(lattice, spins, background))
    return found


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
    away, _ = in_plane(lattice)
    along = skyrmion.spins @ background
    centre = away[int(along.argmin())]
    shortest = SHORTEST * float(np.sqrt(np.linalg.norm(np.cross(*lattice.couplings.cell[:2]))))
    last = min(0.9, shortest / max(skyrmion.radius, 1e-9))
    sides = lattice.size[0] * lattice.couplings.cell[0], lattice.size[1] * lattice.couplings.cell[1]
    found = []
    turns = max(2, count // 3)
    for factor in np.linspace(1, last, count - turns + 2)[1:-1]:
        found.append(_scaled(lattice, skyrmion.spins, factor, centre, sides))
    small = _scaled(lattice, skyrmion.spins, last, centre, sides)
    rng = np.random.default_rng(0)
    uniform = np.tile(background, (len(lattice), 1))
    back = along_geodesics(small, uniform, turns + 1, rng)[:-1]
    return np.concatenate([np.array(found).reshape(-1, *small.shape), back])[:count]


def _scaled(lattice: SpinLattice, spins: np.ndarray, factor: float, centre: np.ndarray, sides: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return the state whose spin at r is that of `spins` at r / factor, by bilinear interpolation between cells."""
    a, b = lattice.size[:2]
    n = len(lattice.couplings.positions)
    grid = spins.reshape(a, b, n, 3)
    away, _ = in_plane(lattice)
    x = lattice.couplings.cell[0] / np.linalg.norm(lattice.couplings.cell[0])
    normal = np.cross(*lattice.couplings.cell[:2])
    normal /= np.linalg.norm(normal)
    plane = np.stack([x, np.cross(normal, x)])
    per_cell = np.linalg.inv(lattice.couplings.cell[:2] @ plane.T)
    cells = (away - centre).reshape(a, b, n, 2)[:, :, 0] @ per_cell
    cells = (cells + np.array([a, b]) / 2) % np.array([a, b]) - np.array([a, b]) / 2
    source = cells / factor
    inside = (np.abs(source) < np.array([a, b]) / 2).all(axis=-1)
    middle = np.array(np.unravel_index(int(np.argmin(np.abs(cells).sum(axis=-1))), (a, b)))
    low = np.floor(source).astype(int)
    part = (source - low)[..., None, :, None]
    i, j = (low + middle)[..., 0], (low + middle)[..., 1]

    def at(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        picked: np.ndarray = grid[p % a, q % b]
        return picked

    u, v = part[..., 0, :], part[..., 1, :]
    mixed = (1 - u) * (1 - v) * at(i, j) + u * (1 - v) * at(i + 1, j) + (1 - u) * v * at(i, j + 1) + u * v * at(i + 1, j + 1)
    far = grid[(middle[0] + a // 2) % a, (middle[1] + b // 2) % b]
    return unit(np.where(inside[..., None, None], mixed, far)).reshape(-1, 3)
