"""Textures of a film in fields along its normal: the lowest state found, and whether a skyrmion is metastable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nucleate.errors import BadInput
from nucleate.progress import Progress, Stage, silent
from nucleate.spins.couplings import Couplings
from nucleate.spins.simulate.lattice import SpinLattice
from nucleate.spins.textures.dipoles import Dipoles
from nucleate.spins.textures.skyrmion import Skyrmion, collapse, find_skyrmion, plane_axes
from nucleate.spins.textures.surface import TORQUE, SpinSurface, unit

UNIFORM = 1e-3
"""Deviation of the mean spin from length one within which a state is uniform."""
PERIODS = 6
"""Largest number of periods of the spirals that are tried along each vector."""
QUENCHES = 3
"""Number of random states that are relaxed."""
RADII = (3.0, 6.0, 10.0)
"""Starting radii of skyrmions in distances of cells, as far as the film has room for them."""
MOST_CELLS = 512
"""Largest number of cells along a vector."""
LEAST_CELLS = 8
"""Smallest number of cells along a vector, in which a skyrmion has room."""


@dataclass(frozen=True)
class FilmTexture:
    """Textures of a film in one field.

    Attributes:
        field: Field along the normal in T.
        size: Cells along the first two vectors.
        lowest: Name of the lowest state found: `uniform`, or `spiral` with its main wave vector, or `other`.
        wave_vector: (3,) main wave vector of the lowest state in units of reciprocal vectors.
        tilt: Angle in degrees between the uniform state and the normal; None: a uniform start has relaxed into another state.
        lowest_energy: Energy of the lowest state above the one that uniform starts relax into, in meV per cell; zero if it is that one.
        lowest_spins: (N, 3) directions of the lowest state.
        converged: Whether its torques have vanished.
        skyrmion: Lowest metastable skyrmion found, or None.
        undecided: Number of starts of skyrmions that neither converged nor collapsed.
    """

    field: float
    size: tuple[int, int]
    lowest: str
    wave_vector: tuple[float, float, float]
    tilt: float | None
    lowest_energy: float
    lowest_spins: np.ndarray
    converged: bool
    skyrmion: Skyrmion | None
    undecided: int


def film_lattice(couplings: Couplings, size: tuple[int, int], field: float) -> SpinLattice:
    """Return a film, periodic along the first two vectors, in a field in T along its normal.

    Raises:
        BadInput: The couplings connect cells along the third vector, or not along the first two, or the size is out of range.
    """
    if not all(LEAST_CELLS <= n <= MOST_CELLS for n in size):
        raise BadInput(f"size {size[0]} {size[1]}: give {LEAST_CELLS} to {MOST_CELLS} cells along each vector of the film")
    connected = np.abs(couplings.loops).max(axis=0, initial=0) > 0
    if connected[2]:
        raise BadInput(
            "texture: the couplings connect cells along the third lattice vector; give those of a film, whose cell has vacuum there"
        )
    if not connected[:2].all():
        raise BadInput("texture: the couplings do not connect cells along the first two lattice vectors; give those of a film")
    # Open boundaries would drop these pairs.
    if (couplings.shifts[np.abs(couplings.tensors).max(axis=(1, 2)) > 0][:, 2] != 0).any():
        raise BadInput(
            "texture: pairs cross the boundary of the cell along the third lattice vector; move the film into the middle of its cell"
        )
    plain = SpinLattice.build(couplings, (*size, 1), periodic=(True, True, False))
    x, y, z = field * plane_axes(plain)[1]
    return SpinLattice.build(couplings, (*size, 1), (float(x), float(y), float(z)), (True, True, False))


def film_textures(
    couplings: Couplings,
    size: tuple[int, int] = (36, 36),
    fields: Sequence[float] = (0.0,),
    dipoles: bool = True,
    barriers: bool = True,
    progress: Progress = silent,
) -> list[FilmTexture]:
    """Find the lowest state of a film and its skyrmions in each field; see `FilmTexture`.

    Args:
        couplings: Couplings of a film whose third lattice vector crosses its vacuum.
        size: Cells along the first two vectors, with periodic boundaries.
        fields: Fields along the normal in T.
        dipoles: Whether to include the dipole-dipole interaction.
        barriers: Whether to compute the energy barriers of the collapse of skyrmions.
        progress: Called with the stage of each field.

    Raises:
        BadInput: The couplings are not those of a film, or the size is out of range.
    """
    found = []
    interaction: Dipoles | None = None
    for field in fields:
        lattice = film_lattice(couplings, size, field)
        if dipoles and interaction is None:
            progress(Stage("dipole-dipole interaction"))
            interaction = Dipoles.build(lattice)
        surface = SpinSurface(lattice, interaction)
        found.append(_textures(surface, field, barriers, progress))
    return found


def _textures(surface: SpinSurface, field: float, barriers: bool, progress: Progress) -> FilmTexture:
    lattice = surface.lattice
    _, normal = plane_axes(lattice)
    progress(Stage(f"{field:g} T: states"))
    uniform, level = min((surface.relaxed(start) for start in _uniform_starts(lattice, normal)), key=lambda each: each[1])
    states = [(uniform, level)] + [surface.relaxed(start) for start in _starts(surface, normal)]
    spins, value = min(states, key=lambda each: round(each[1] / surface.scale, 6))
    name, q = _name(lattice, spins)
    skyrmion, undecided, tilt = None, 0, None
    if np.linalg.norm(uniform.mean(axis=0)) > 1 - UNIFORM:
        background = unit(uniform.mean(axis=0))
        tilt = float(np.degrees(np.arccos(np.clip(abs(background @ normal), 0, 1))))
        progress(Stage(f"{field:g} T: skyrmions"))
        cell = float(np.sqrt(np.linalg.norm(np.cross(*lattice.couplings.cell[:2]))))
        room = min(lattice.size[:2]) * cell / 4
        skyrmion, undecided = find_skyrmion(surface, background, [r * cell for r in RADII if r * cell <= room] or [room])
        if skyrmion is not None and barriers:
            progress(Stage(f"{field:g} T: collapse of the skyrmion"))
            skyrmion = replace(skyrmion, path=collapse(surface, skyrmion, background))
    cells = lattice.size[0] * lattice.size[1]
    converged = surface.torque(spins) < TORQUE
    return FilmTexture(field, lattice.size[:2], name, q, tilt, (value - level) / cells, spins, converged, skyrmion, undecided)


def _uniform_starts(lattice: SpinLattice, normal: np.ndarray) -> list[np.ndarray]:
    """Return uniform states along the normal and along the first vector, slightly tilted, so that they can turn."""
    a = lattice.couplings.cell[0] / np.linalg.norm(lattice.couplings.cell[0])
    return [np.tile(unit(n + 1e-3 * m), (len(lattice), 1)) for n, m in ((normal, a), (a, normal))]


def _starts(surface: SpinSurface, normal: np.ndarray) -> list[np.ndarray]:
    """Return for each of several wave vectors the spiral of the lowest energy of both planes and senses, and random states."""
    lattice = surface.lattice
    cells = np.stack(np.meshgrid(*(np.arange(n) for n in lattice.size[:2]), indexing="ij"), -1)
    found = []
    for q in [(k, 0) for k in range(1, PERIODS + 1)] + [(k, k) for k in range(1, PERIODS // 2 + 1)]:
        turns = 2 * np.pi * (cells @ (np.array(q) / lattice.size[:2])).repeat(len(lattice.onsite))[:, None]
        along = unit(np.array(q) @ np.linalg.inv(lattice.couplings.cell)[:, :2].T)
        sides = (along, -along, np.cross(normal, along), np.cross(along, normal))
        starts = [np.cos(turns) * normal + np.sin(turns) * side for side in sides]
        found.append(min(starts, key=lambda each: surface.evaluate(each)[0]))
    rng = np.random.default_rng(0)
    return found + [lattice.random(rng) for _ in range(QUENCHES)]


def _name(lattice: SpinLattice, spins: np.ndarray) -> tuple[str, tuple[float, float, float]]:
    """Return the name of a state and its main wave vector."""
    grid = spins.reshape(*lattice.size, -1, 3)
    weights = (np.abs(np.fft.fftn(grid, axes=(0, 1, 2), norm="forward")) ** 2).sum(axis=(3, 4)) / grid.shape[3]
    if weights[0, 0, 0] > 1 - UNIFORM:
        return "uniform", (0.0, 0.0, 0.0)
    place = np.unravel_index(int(weights.argmax()), weights.shape)
    q = np.array([(k / n + 0.5) % 1 - 0.5 for k, n in zip(place, lattice.size, strict=True)])
    return ("spiral" if 2 * weights[place] > 0.5 and place != (0, 0, 0) else "other"), (float(q[0]), float(q[1]), float(q[2]))
