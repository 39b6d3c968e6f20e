"""Magnons of the ordered state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nucleate.errors import BadInput
from nucleate.spins.couplings import Couplings
from nucleate.spins.verbs.given import AnyPath, as_couplings
from nucleate.spins.waves.spectrum import (
    density_of_states,
    gap,
    long_waves,
    mean_stiffness,
    path_energies,
    wave_path,
    without_long_pairs,
)
from nucleate.spins.waves.state import State, ordered_state


@dataclass(frozen=True)
class LongWaves:
    """Long-wave limit of the lowest branch of magnons.

    Attributes:
        tensor: (3, 3) stiffness in meV Å^2 of a state with a net moment, or squared velocity in meV^2 Å^2; zero along directions without
            couplings.
        mean: Mean stiffness in meV Å^2, or root of the mean squared velocity in meV Å, over the directions of the couplings.
        shorter_mean: The same without the longest pairs; None: it is not defined.
        shorter_distance: Largest distance in Å of the pairs kept for it, or None.
    """

    tensor: list[list[float]]
    mean: float
    shorter_mean: float | None
    shorter_distance: float | None


@dataclass(frozen=True)
class Magnons:
    """Magnon spectrum of an ordered state.

    Attributes:
        kind: ferromagnet, ferrimagnet, antiferromagnet, spiral or non-collinear.
        wave_vector: (3,) wave vector of the rotating frame in units of reciprocal vectors; zero without one.
        axis: (3,) axis of the rotation, or None. With a rotation, the component of a mode along the axis has the wave vector of the path;
            the components across it are displaced by plus and minus the wave vector of the rotation.
        cells: (3,) cells of the magnetic supercell; its bands are folded.
        moment: Net moment per cell in Bohr magnetons.
        wave_vectors: (m, 3) wave vectors of the path in units of reciprocal vectors.
        distances: (m,) length along the path in 1/Å.
        labels: (m,) names of special points, or empty strings.
        energies: (m, bands) energies in meV.
        gap: Smallest energy in meV.
        gap_at: (3,) its wave vector.
        stiffness: Long-wave limit of a state with a net moment, or None.
        velocity: Long-wave limit of a state without one, or None.
        dos_energies, dos: (b,) energies in meV and density of states per meV and cell.
        state: The state.
    """

    kind: str
    wave_vector: list[float]
    axis: list[float] | None
    cells: list[int]
    moment: float
    wave_vectors: np.ndarray
    distances: np.ndarray
    labels: list[str]
    energies: np.ndarray
    gap: float
    gap_at: list[float]
    stiffness: LongWaves | None
    velocity: LongWaves | None
    dos_energies: np.ndarray
    dos: np.ndarray
    state: State


def magnons(
    couplings: Couplings | AnyPath,
    path: str | None = None,
    *,
    points: int = 200,
    field: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Magnons:
    """Compute the magnon spectrum of the ordered state of lowest energy; see `nucleate.spins.waves`.

    Args:
        couplings: Couplings, or their file.
        path: Special points of the path, such as GXMG; None: ASE's standard path of the lattice.
        points: Number of wave vectors on the path.
        field: Magnetic field in tesla.

    Raises:
        BadInput: The couplings cannot be read or do not connect cells, or the path or the number of points is not valid.
        NucleateError: The order is unstable, or it can be described neither in a rotating frame nor in a supercell.
    """
    if not np.isfinite(field).all():
        raise BadInput("field: give three finite values in tesla")
    known = as_couplings(couplings)
    if not len(known.first):
        raise BadInput("magnons: there are no couplings between the sites")
    line = wave_path(known, path, points)
    state = ordered_state(known, field)
    energies = path_energies(state, line)
    smallest, where = gap(state, known)
    axis = state.frame.axis
    limit = _long_waves(state, known)
    return Magnons(
        state.kind, state.frame.wave_vector.tolist(), None if axis is None else axis.tolist(), list(state.frame.size), state.moment,
        line.wave_vectors, line.distances, line.labels, energies, smallest, where.tolist(), limit if _magnetised(state) else None,
        None if _magnetised(state) else limit, *density_of_states(state, known, float(energies.max())), state,
    )  # fmt: skip


def _magnetised(state: State) -> bool:
    return state.kind in ("ferromagnet", "ferrimagnet")


def _long_waves(state: State, couplings: Couplings) -> LongWaves | None:
    if state.kind == "non-collinear":
        return None
    power = 1 if _magnetised(state) else 2
    found = long_waves(state, couplings, power)
    if found is None:
        return None
    mean = float(np.sign(m := mean_stiffness(found, couplings)) * abs(m) ** (1 / power))
    shorter = without_long_pairs(state, couplings)
    reduced = None if shorter is None else long_waves(shorter[0], shorter[1], power)
    if shorter is None or reduced is None:
        return LongWaves(found.tolist(), mean, None, None)
    m = mean_stiffness(reduced, shorter[1])
    return LongWaves(found.tolist(), mean, float(np.sign(m) * abs(m) ** (1 / power)), shorter[2])
