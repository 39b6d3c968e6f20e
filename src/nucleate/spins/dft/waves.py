"""Couplings of one magnetic state on a mesh of wave vectors: the exact static response, and ordering without a cutoff.

The couplings C_ab(q) = sum_R J_ab(R) (e_a . e_b) exp(2 pi i q . R) of rotation angles about one axis perpendicular to the moments contain
every pair of the supercell that corresponds to the mesh, and each site with itself. The order of the state has q = 0.

**Exact static response.** Liechtenstein's formula gives S = -d2 Omega / d theta d theta for the directions theta of the exchange fields. In
a self-consistent calculation a constraining field holds the directions phi of the moments. With the energy T_a of the field of each site
in its moment, phi = T^-1 S theta, the torque of the constraint is T (theta - phi), and
    -d2 E / d phi d phi = T - T S(q)^-1 T,    T_a = sum_b S_ab(0),
where the choice of T makes a uniform rotation free of cost. For one site the energy J(0) - J(q) becomes
[J(0) - J(q)] / (1 - [J(0) - J(q)] / T): the difference is of fourth order in q, so the spin stiffness is unchanged
(P. Bruno, Phys. Rev. Lett. 90, 087205 (2003), doi 10.1103/PhysRevLett.90.087205).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nucleate.errors import NucleateError
from nucleate.spins.order.curie import tyablikov
from nucleate.spins.waves.modes import G
from nucleate.units import K_B

COMPENSATED = 1e-3
"""Net moment relative to the sum of all moments below which a state has no spin stiffness."""
UNSTABLE = 1e-6
"""Curvature relative to the largest coupling below which a wave lowers the energy of the state."""
FEWEST = 8
"""Points of a mesh along a vector below which no stiffness is given."""
SECOND = (3 / 2, -3 / 20, 1 / 90)
"""Half the second derivative of an even function that vanishes at zero, from its values at one to three steps."""
FAINT = 1e-3
"""Coupling between neighbouring cells, relative to the largest one, below which couplings do not extend along a direction."""
ALONG = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0]])
"""Lines of wave vectors, in steps of the mesh, whose second derivatives determine the stiffness tensor."""


def on_waves(cells: np.ndarray) -> np.ndarray:
    """Return couplings of wave vectors (mesh..., n, n), Hermitian, from those between displaced cells (mesh..., n, n)."""
    return np.fft.ifftn(cells, axes=(0, 1, 2), norm="forward")


def between_cells(waves: np.ndarray) -> np.ndarray:
    """Return couplings between displaced cells (mesh..., n, n), real, from those of wave vectors (mesh..., n, n)."""
    return np.fft.fftn(waves, axes=(0, 1, 2), norm="forward").real


def static_response(waves: np.ndarray) -> np.ndarray:
    """Return the couplings (mesh..., n, n) of the directions of moments from those of exchange fields, S(q) (mesh..., n, n) in eV.

    Raises:
        NucleateError: A moment does not follow its field, so the directions of the moments do not determine the state.
    """
    own = waves[0, 0, 0].sum(axis=1).real
    lowest = float(np.linalg.eigvalsh(waves).min())
    if not (lowest > 0 and own.min() > 0):
        raise NucleateError(
            "couplings: the moments of a wave do not follow the exchange fields of their sites, so no response of moments exists;"
            " leave out renormalised"
        )
    return np.diag(own) - own[:, None] * np.linalg.inv(waves) * own


@dataclass(frozen=True)
class MeshOrder:
    """What all couplings on the mesh say of the ordering of their state.

    Attributes:
        mean_field: Mean-field transition temperature of the state's order in K.
        rpa: Transition temperature in the random-phase approximation in K; None: the mesh has an odd number of points along a vector,
            the state is unstable or not above a wave that costs no energy, the equations have no solution, or the couplings extend along
            fewer than three directions, where isotropic spins do not order.
        stiffness: (3, 3) spin stiffness of a state with a net moment in meV Å^2, from the wave vectors nearest to zero; None: the
            state has no net moment or is unstable, the mesh has fewer than eight points along a vector, or the couplings extend along
            fewer than three directions.
        unstable: Wave vector, in units of reciprocal vectors, that lowers the energy of the state most, or None.
    """

    mean_field: float
    rpa: float | None
    stiffness: np.ndarray | None
    unstable: list[float] | None


def mesh_order(waves: np.ndarray, moments: np.ndarray, cell: np.ndarray) -> MeshOrder:
    """Estimate ordering temperatures and the spin stiffness from couplings of wave vectors without a cutoff.

    Args:
        waves: (mesh..., n, n) couplings of rotation angles in eV; the term of each site with itself is ignored.
        moments: (n,) signed moments in Bohr magnetons.
        cell: (3, 3) lattice vectors in Å.
    """
    mesh = waves.shape[:3]
    between = 1e3 * waves
    n = len(moments)
    between[..., np.arange(n), np.arange(n)] -= between[..., np.arange(n), np.arange(n)].mean(axis=(0, 1, 2))
    at_order = (between[0, 0, 0] + between[0, 0, 0].conj().T) / 2
    mean_field = float(np.linalg.eigvalsh(at_order)[-1]) / 3 / K_B
    rigidity = np.diag(at_order.sum(axis=1).real) - between
    lowest = np.linalg.eigvalsh(rigidity)[..., 0]
    place = np.unravel_index(int(lowest.argmin()), mesh)
    if lowest[place] < -UNSTABLE * np.abs(at_order).max():
        q = [k / m - (2 * k > m) for k, m in zip(map(int, place), mesh, strict=True)]
        return MeshOrder(mean_field, None, None, q)
    # A wave beside q = 0 that costs no energy makes both sums infinite.
    elsewhere = np.delete(lowest.ravel(), 0)
    if not _extended(between) or not elsewhere.min(initial=np.inf) > UNSTABLE * np.abs(at_order).max():
        return MeshOrder(mean_field, None, None, None)
    return MeshOrder(mean_field, _mesh_rpa(between, at_order), _stiffness(rigidity, moments, cell), None)


def _mesh_rpa(waves: np.ndarray, at_order: np.ndarray) -> float | None:
    """Return the transition temperature of the random-phase approximation in K, or None if it has none."""
    if any(m % 2 for m in waves.shape[:3]):
        return None
    try:
        # The sum leaves out q = 0; its error is proportional to the step of the mesh.
        fine, coarse = (1 / _without_zero(each, at_order) for each in (waves, waves[::2, ::2, ::2]))
    except NucleateError:
        return None
    return float(1 / (2 * fine - coarse)) / K_B if 2 * fine > coarse else None


def _extended(waves: np.ndarray) -> bool:
    """Return whether couplings (mesh..., n, n) extend along all three directions; a film has none across its vacuum."""
    cells = np.abs(between_cells(waves)).max(axis=(3, 4))
    cells[0, 0, 0] = 0.0
    beyond = [cells.max(axis=tuple(b for b in range(3) if b != a))[1:].max(initial=0.0) for a in range(3)]
    return min(beyond) > FAINT * cells.max()


def _without_zero(waves: np.ndarray, at_order: np.ndarray) -> float:
    """Return k T of the random-phase approximation in meV from a sum over all wave vectors of a mesh except zero."""
    n = len(at_order)
    points = waves.reshape(-1, n, n)
    return tyablikov(at_order, points[1:], np.ones(n)) * len(points) / (len(points) - 1)


def _stiffness(rigidity: np.ndarray, moments: np.ndarray, cell: np.ndarray) -> np.ndarray | None:
    """Return the stiffness (3, 3) in meV Å^2 from wave vectors of one to three steps along six lines.

    To second order in q, the energy of a magnon is g / sum(m) times that of a spiral whose mean rotation is that of the wave, and whose
    sites are otherwise relaxed: n^2 / sum_ab [R(q)^-1]_ab with the curvature R(q) of the energy.
    """
    mesh = np.array(rigidity.shape[:3])
    n = len(moments)
    if (mesh < FEWEST).any() or abs(moments.sum()) < COMPENSATED * np.abs(moments).sum():
        return None
    along = np.zeros(len(ALONG))
    lines = 2 * np.pi * (ALONG / mesh) @ np.linalg.inv(cell).T
    for steps, weight in zip((1, 2, 3), SECOND, strict=True):
        for line, direction in enumerate(ALONG):
            relaxed = n**2 / np.linalg.inv(rigidity[tuple(steps * direction)]).sum().real
            along[line] += weight * G / abs(moments.sum()) * relaxed
    squares = np.einsum("li,lj->lij", lines, lines)
    rows = np.stack([squares[:, i, j] * (1 if i == j else 2) for i, j in zip(*np.triu_indices(3), strict=True)], axis=1)
    found = np.zeros((3, 3))
    found[np.triu_indices(3)] = np.linalg.solve(rows, along)
    return found + np.triu(found, 1).T
