"""Magnon spectrum of a state: energies along a path, gap, density of states, stiffness and velocity."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from ase.cell import Cell
from ase.dft.kpoints import parse_path_string
from scipy.optimize import minimize

from nucleate.errors import BadInput, NucleateError, quoted
from nucleate.spins.couplings import Couplings
from nucleate.spins.waves.state import State, coupled_directions, instability, wave_mesh

GAPLESS = 1e-5
"""Energy relative to the highest one below which a gap is zero; roundoff of a zero mode grows by its square root."""
STENCIL = np.array([-205 / 72, 8 / 5, -1 / 5, 8 / 315, -1 / 560])
"""Second derivative from values at 0 and at 1 to 4 steps on both sides, of eighth order."""
STEP = 0.08
"""Largest phase in radians between coupled sites over one step of the derivative."""
STEADY = 1e-4
"""Relative difference of derivatives with two steps above which a branch is not quadratic."""
INNER = 0.9
"""Fraction of the largest distance of pairs beyond which they are left out to measure the effect of the cutoff."""
MESH_WORK = 4e8
"""Approximate number of floating-point operations spent on the density of states, in units of matrix dimension cubed."""
BINS = 400
WIDTH = 6
"""Standard deviation of the Gaussian of the density of states, in bins."""


@dataclass(frozen=True)
class WavePath:
    """WavePath of wave vectors.

    Attributes:
        wave_vectors: (m, 3) in units of reciprocal vectors of the crystal.
        distances: (m,) length of the path in 1/Å, including the factor 2 pi.
        labels: (m,) name of a special point, or an empty string.
    """

    wave_vectors: np.ndarray
    distances: np.ndarray
    labels: list[str]


def wave_path(couplings: Couplings, path: str | None = None, points: int = 200) -> WavePath:
    """Return a path of ASE's special points of the lattice.

    Films and chains have the special points of the plane or line along which their couplings extend.

    Args:
        couplings: Couplings.
        path: Names of special points, such as GXMG or GX,MG; None: ASE's standard path.
        points: Number of wave vectors.

    Raises:
        BadInput: A name is unknown to ASE, the number of points is below two, or the couplings do not connect cells.
    """
    if points < 2:
        raise BadInput(f"points {points}: give at least two wave vectors")
    coupled = coupled_directions(couplings)
    if not coupled.any():
        raise BadInput("magnons: the couplings do not connect cells, so energies do not depend on a wave vector")
    # ASE wants the vectors of a plane or line first.
    order = np.argsort(~coupled, kind="stable")
    cell, periodic = Cell(couplings.cell[order]), [bool(c) for c in coupled[order]]
    try:
        band = cell.bandpath(path, npoints=points, pbc=periodic)
        known = band.special_points
        names = [name for part in parse_path_string(band.path) for name in part]
        unknown = [name for name in names if name not in known]
    except Exception as error:
        # ASE raises KeyError, ValueError, AssertionError and others for unknown names and for lattices that it does not recognise.
        try:
            known = cell.bandpath(npoints=2, pbc=periodic).special_points
        except Exception:
            text = quoted(" ".join(str(error).split()))
            raise BadInput(f"magnons: ASE knows no special points of this lattice ({text}); change the cell to a standard one") from None
        raise BadInput(f"path {quoted(path, 40)}: give special points of the lattice, which are {', '.join(sorted(known))}") from None
    if unknown:
        raise BadInput(f"path {quoted(path, 40)}: {unknown[0]} is not a special point of the lattice, which has {', '.join(sorted(known))}")
    wave_vectors = np.zeros((len(band.kpts), 3))
    wave_vectors[:, order] = band.kpts
    x, ticks, ticklabels = band.get_linear_kpoint_axis()
    labels = [""] * len(x)
    for tick, label in zip(ticks, ticklabels, strict=True):
        # A jump of the path has two wave vectors at the same distance.
        here = np.flatnonzero(np.abs(x - tick) < 1e-9)
        free = [int(k) for k in here if not labels[k]]
        labels[free[0] if free else int(here[-1])] = label
    return WavePath(wave_vectors, 2 * np.pi * x, labels)


def gap(state: State, couplings: Couplings) -> tuple[float, np.ndarray]:
    """Return the smallest energy in meV (zero for a zero mode) and its wave vector (3,) in units of reciprocal vectors."""
    modes = state.modes
    zero = np.array([np.zeros(3), state.frame.wave_vector, -state.frame.wave_vector])
    q = np.concatenate([zero, wave_mesh(couplings, max(64.0, min(4000.0, 2e8 / modes.size**3)))])
    energies = modes.energies(state.to_frame(q))
    best, top = int(energies[:, 0].argmin()), float(energies[:, -1].max())
    at, value = q[best].copy(), float(energies[best, 0])
    if value > GAPLESS * top:
        free = np.flatnonzero(coupled_directions(couplings))

        def energy(p: np.ndarray) -> float:
            there = at.copy()
            there[free] = p
            return float(modes.energies(state.to_frame(there[None]))[0, 0])

        simplex = at[free] + 0.03 * np.vstack([np.zeros(len(free)), np.eye(len(free))])
        result = minimize(energy, at[free], method="Nelder-Mead", options={"initial_simplex": simplex, "xatol": 1e-7, "fatol": 1e-13})
        if result.fun < value - 1e-9 * top:
            at[free], value = result.x, float(result.fun)
    return (0.0 if value <= GAPLESS * top else value), 0.5 - (0.5 - at) % 1.0


def density_of_states(state: State, couplings: Couplings, top: float) -> tuple[np.ndarray, np.ndarray]:
    """Return energies (b,) in meV and the density of magnon states (b,) per meV and cell; its integral is the number of sites.

    Args:
        state: Stable state.
        couplings: Couplings of the crystal.
        top: Largest energy in meV on the path, which the range contains.
    """
    modes = state.modes
    mesh = wave_mesh(couplings, min(20000.0, max(200.0, MESH_WORK / modes.size**3)), 0.5)
    energies = modes.energies(state.to_frame(mesh))
    limit = 1.05 * max(top, float(energies.max()))
    counts, edges = np.histogram(energies, BINS, (0.0, limit))
    spread = np.exp(-0.5 * (np.arange(-4 * WIDTH, 4 * WIDTH + 1) / WIDTH) ** 2)
    # States near zero energy are reflected, so that the integral is kept.
    padded = np.pad(counts.astype(float), 4 * WIDTH, mode="symmetric")
    padded[-4 * WIDTH :] = 0
    smooth = np.convolve(padded, spread / spread.sum(), mode="valid")
    width = edges[1] - edges[0]
    smooth *= counts.sum() / smooth.sum()
    return (edges[1:] + edges[:-1]) / 2, smooth / (len(mesh) * state.frame.cells * width)


def long_waves(state: State, couplings: Couplings, power: int) -> np.ndarray | None:
    """Return half the second derivative (3, 3) of the lowest branch to the given power at zero wave vector.

    Args:
        state: Stable state.
        couplings: Couplings of the crystal.
        power: 1 for the stiffness D in meV Å^2, with omega = gap + q . D . q; 2 for the squared velocity in meV^2 Å^2.

    Returns:
        The tensor in Cartesian axes, zero along directions without couplings; None if the branch is not quadratic there.
    """
    results = [_second(state, couplings, power, STEP * factor) for factor in (1.0, 0.5)]
    scale = np.abs(results[0]).max()
    return results[0] if np.abs(results[0] - results[1]).max() <= STEADY * max(scale, 1e-12) else None


def plane(couplings: Couplings) -> np.ndarray:
    """Return orthonormal Cartesian vectors (d, 3) of the directions along which the couplings extend."""
    translations = couplings.loops @ couplings.cell
    values, vectors = np.linalg.eigh(translations.T @ translations)
    return vectors[:, values > 1e-9 * values[-1]].T


def _second(state: State, couplings: Couplings, power: int, phase: float) -> np.ndarray:
    basis = plane(couplings)
    d = len(basis)
    step = phase / float(couplings.distances[np.abs(couplings.tensors).max(axis=(1, 2)) > 0].max())
    pairs = [(i, j) for i in range(d) for j in range(i, d)]
    lines = np.array([basis[i] if i == j else basis[i] + basis[j] for i, j in pairs])
    k = np.arange(-4, 5)[None, :, None] * lines[:, None, :] * step
    q = k.reshape(-1, 3) @ couplings.cell.T / (2 * np.pi)
    values = state.modes.energies(state.to_frame(q))[:, 0].reshape(len(lines), 9) ** power
    weights = np.concatenate([STENCIL[:0:-1], STENCIL])
    along = values @ weights / step**2 / 2
    found = np.zeros((d, d))
    for (i, j), value in zip(pairs, along, strict=True):
        if i == j:
            found[i, i] = value
    for (i, j), value in zip(pairs, along, strict=True):
        if i != j:
            found[i, j] = found[j, i] = (value - found[i, i] - found[j, j]) / 2
    return basis.T @ found @ basis


def without_long_pairs(state: State, couplings: Couplings) -> tuple[State, Couplings, float] | None:
    """Leave out the pairs beyond `INNER` times the largest distance.

    Returns:
        The state with the remaining couplings of its frame, those of the crystal, and their largest distance in Å; None if no pairs or
        no directions remain, or the state is then unstable.
    """
    cut = INNER * float(couplings.distances.max())

    def kept(known: Couplings) -> Couplings:
        rows = known.distances < cut
        return replace(known, **{name: getattr(known, name)[rows] for name in ("first", "second", "shifts", "tensors", "errors")})

    shorter = kept(couplings)
    if not len(shorter.first) or not np.abs(shorter.tensors).max() > 0 or len(plane(shorter)) < len(plane(couplings)):
        return None
    frame = replace(state.frame, couplings=kept(state.frame.couplings))
    reduced = replace(state, frame=frame)
    if instability(reduced, shorter) is not None:
        return None
    return reduced, shorter, float(shorter.distances.max())


def mean_stiffness(tensor: np.ndarray, couplings: Couplings) -> float:
    """Return the mean of a long-wave tensor over the directions along which the couplings extend."""
    return float(np.trace(tensor)) / len(plane(couplings))


def path_energies(state: State, path: WavePath) -> np.ndarray:
    """Return the energies (m, bands) in meV along a path.

    Raises:
        NucleateError: A mode on the path is unstable.
    """
    modes = state.modes
    q = state.to_frame(path.wave_vectors)
    lowest = modes.curvatures(q)[:, 0]
    worst = int(lowest.argmin())
    if lowest[worst] < -GAPLESS * modes.scale:
        named = ", ".join(f"{x:.4f}" for x in path.wave_vectors[worst])
        raise NucleateError(
            f"magnons: the {state.kind} order is unstable: its mode at q = ({named}) has the energy curvature {lowest[worst]:.4g} meV"
        )
    return modes.energies(q)
