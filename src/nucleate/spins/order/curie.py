"""Leading magnetic order and estimates of its transition temperature without a simulation.

J(q)_ab = sum_R J_ab(R) exp(2 pi i q . R) includes every neighbour of a site. Its entries are scalars for isotropic couplings and 3x3
tensors otherwise. The largest eigenvalue over q determines the order (J. M. Luttinger, L. Tisza, Phys. Rev. 70, 954 (1946), doi
10.1103/PhysRev.70.954). On-site anisotropies are ignored. For classical unit spins
    mean field:  k T = max eigenvalue of J(q) / 3
    RPA:         1 / (k T) = 3 / N sum_q [ (L - J(q))^-1 ]_aa   for every sublattice a, with isotropic parts only,
with L the diagonal matrix of molecular fields in the ordered state, L_a = sum_b J_ab(q0) x_b / x_a; for one sublattice this is Tyablikov's
formula with J(0) - J(q) (M. Pajda et al., Phys. Rev. B 64, 174402 (2001), doi 10.1103/PhysRevB.64.174402; several sublattices: J. Rusz,
I. Turek, M. Diviš, Phys. Rev. B 71, 174408 (2005), doi 10.1103/PhysRevB.71.174408).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize, root

from nucleate.errors import BadInput, NucleateError
from nucleate.spins.couplings import Couplings
from nucleate.units import K_B

ALIKE = 1e-3
"""Relative eigenvalue tolerance within which waves are domains of one order; couplings often have few decimals."""
MOST_WAVES = 256
DIRECTED = 1e-6
"""Anisotropic part relative to the largest coupling below which couplings are treated as isotropic."""
LARGEST_MESH = 1e8
"""Maximum number of matrix entries on the initial mesh; larger meshes are coarsened."""
MOST_ROWS = 2000
"""Maximum dimension of J(q): the number of sites, or three times as many for tensor couplings."""
EQUAL = 1e-9
"""Relative difference of the sublattices' Green's functions at which the equations of the RPA are solved."""
LARGEST = 2e7
"""Maximum number of matrix entries on an RPA mesh; larger meshes are coarsened."""


@dataclass(frozen=True)
class Order:
    """Leading magnetic order in mean-field theory.

    Attributes:
        wave_vector: (3,) in units of reciprocal vectors, each component in (-1/2, 1/2].
        weights: (n,) complex amplitudes of the sites with maximum one; (n, 3) with maximum length one for tensor couplings.
        eigenvalue: Largest eigenvalue of J(q) in meV.
    """

    wave_vector: np.ndarray
    weights: np.ndarray
    eigenvalue: float

    @property
    def mean_field(self) -> float:
        """Mean-field transition temperature in K."""
        return self.eigenvalue / 3 / K_B


def coupling_waves(couplings: Couplings, q: np.ndarray) -> np.ndarray:
    """Return J(q) of the isotropic parts, complex (m, n, n) in meV, for q (m, 3) in units of reciprocal vectors."""
    first, second, shifts, tensors = couplings.both_ways()
    strengths = np.trace(tensors, axis1=1, axis2=2) / 3
    n = len(couplings.positions)
    found = np.zeros((len(q), n, n), dtype=complex)
    for a, b in np.unique(np.column_stack([first, second]), axis=0):
        mine = (first == a) & (second == b)
        found[:, a, b] = np.exp(2j * np.pi * (q @ shifts[mine].T)) @ strengths[mine]
    return found


def isotropic(couplings: Couplings) -> bool:
    """Return whether all couplings are isotropic within the tolerance."""
    rest = couplings.tensors - couplings.isotropic[:, None, None] * np.eye(3)
    return not np.abs(rest).max(initial=0) > DIRECTED * np.abs(couplings.isotropic).max(initial=0)


def order_waves(couplings: Couplings, q: np.ndarray) -> np.ndarray:
    """Return J(q) in meV: (m, n, n) as in `coupling_waves`, or (m, 3 n, 3 n) with three components per site for tensor couplings."""
    if isotropic(couplings):
        return coupling_waves(couplings, q)
    first, second, shifts, tensors = couplings.both_ways()
    n = len(couplings.positions)
    found = np.zeros((len(q), n, 3, n, 3), dtype=complex)
    for a, b in np.unique(np.column_stack([first, second]), axis=0):
        mine = (first == a) & (second == b)
        found[:, a, :, b, :] = np.einsum("qp,pxy->qxy", np.exp(2j * np.pi * (q @ shifts[mine].T)), tensors[mine])
    return found.reshape(len(q), 3 * n, 3 * n)


def mesh(n: int, offset: float = 0.0) -> np.ndarray:
    """Return a mesh of wave vectors (n^3, 3), shifted by `offset` steps."""
    line = (np.arange(n) + offset) / n
    return np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)


def leading_order(couplings: Couplings, steps: int = 12) -> Order:
    """Find the order with the largest eigenvalue of J(q) on a mesh and refine its wave vector.

    Raises:
        BadInput: There are no couplings, or too many sites for matrices J(q).
    """
    if not len(couplings.first) or not np.abs(couplings.tensors).max() > 0:
        raise BadInput("order: there are no couplings between the sites")
    size = len(couplings.positions) * (1 if isotropic(couplings) else 3)
    if size > MOST_ROWS:
        raise BadInput(f"order: {len(couplings.positions)} sites exceed the limit; give the couplings of a smaller cell")
    # Larger cells have smaller Brillouin zones, so a coarser mesh is sufficient.
    while steps > 2 and steps**3 * size**2 > LARGEST_MESH:
        steps -= 1
    q = mesh(steps)
    values = np.linalg.eigvalsh(order_waves(couplings, q))[:, -1]
    best = q[values >= values.max() - 1e-9 * abs(values.max())][0]
    # Components along vectors without a net coupling are arbitrary, and stay zero.
    free = np.flatnonzero(np.abs(couplings.loops).max(axis=0) > 0)

    def with_free(p: np.ndarray) -> np.ndarray:
        q = best.copy()
        q[free] = p
        return q

    def energy(p: np.ndarray) -> float:
        return -float(np.linalg.eigvalsh(order_waves(couplings, with_free(p)[None]))[0, -1])

    if len(free):
        simplex = best[free] + 0.3 / steps * np.vstack([np.zeros(len(free)), np.eye(len(free))])
        options = {"xatol": 1e-7, "fatol": 1e-12, "initial_simplex": simplex}
        found = minimize(energy, best[free], method="Nelder-Mead", options=options)
        # Keep a commensurate vector unless the refined one is significantly better.
        if -found.fun > values.max() + 1e-7 * abs(values.max()):
            best = with_free(found.x)
    best = 0.5 - (0.5 - best) % 1.0
    eigenvalues, vectors = np.linalg.eigh(order_waves(couplings, best[None])[0])
    weights = vectors[:, -1]
    if len(weights) == len(couplings.positions):
        weights = weights / weights[np.abs(weights).argmax()]
    else:
        weights = weights.reshape(-1, 3) / np.linalg.norm(weights.reshape(-1, 3), axis=1).max()
    return Order(best, weights, float(eigenvalues[-1]))


def waves_of(couplings: Couplings, size: tuple[int, int, int], order: Order) -> tuple[np.ndarray, np.ndarray]:
    """Return the commensurate waves of a supercell with the largest eigenvalues of J(q), which span the domains of one order.

    Returns:
        Wave vectors (w, 3) in units of reciprocal vectors, repeated for degenerate eigenvectors, and the eigenvectors (w, n) of length
        sqrt(n); (w, n, 3) for tensor couplings.

    Raises:
        NucleateError: More than `MOST_WAVES` waves are degenerate, as in frustrated lattices with a flat band, so no order is defined.
    """
    lines = [np.arange(n) / n for n in size]
    q = np.stack(np.meshgrid(*lines, indexing="ij"), -1).reshape(-1, 3)
    values, vectors = np.linalg.eigh(order_waves(couplings, q))
    best = np.argwhere(values >= values.max() - ALIKE * abs(values.max()))
    if len(best) > MOST_WAVES:
        raise NucleateError(
            f"order: {len(best)} waves are degenerate within {100 * ALIKE:g} % of their energy, so the couplings do not determine an order"
        )
    amplitudes = np.array([vectors[k, :, v] for k, v in best])
    if not isotropic(couplings):
        amplitudes = amplitudes.reshape(len(best), -1, 3)
    return q[best[:, 0]], np.sqrt(len(couplings.positions)) * amplitudes


def rpa(couplings: Couplings, order: Order | None = None, steps: int = 24) -> float:
    """Return the transition temperature in the random-phase approximation in K.

    Args:
        couplings: Couplings, of which the isotropic parts are used.
        order: Result of `leading_order`; the isotropic parts must lead to the same order.
        steps: Results for meshes of `steps` and `2 steps` along each vector are extrapolated; cells with many sites use fewer.

    Raises:
        NucleateError: The equations have no solution, for example if sublattices order independently, or the couplings extend along
            fewer than three directions.
    """
    directions = np.linalg.matrix_rank(couplings.loops) if len(couplings.first) else 0
    if directions < 3:
        raise NucleateError(
            f"RPA: couplings extend along {directions} directions only; isotropic spins order above 0 K only in three dimensions"
        )
    order = order or leading_order(couplings)
    if not isotropic(couplings):
        plain = leading_order(replace(couplings, tensors=couplings.isotropic[:, None, None] * np.eye(3)))
        if np.abs((plain.wave_vector - order.wave_vector + 0.5) % 1 - 0.5).max() > 1e-3:
            raise NucleateError("RPA: the isotropic parts of the couplings, which RPA uses, order at another wave vector")
        order = plain
    while steps > 8 and (2 * steps) ** 3 * len(couplings.positions) ** 2 > LARGEST:
        steps -= 2
    return float(K_B**-1 / (2 / _on_mesh(couplings, order, 2 * steps) - 1 / _on_mesh(couplings, order, steps)))


def _on_mesh(couplings: Couplings, order: Order, steps: int) -> float:
    """Return k T on one mesh in meV. The mesh avoids q0 by half a step; the error is proportional to the step."""
    waves = coupling_waves(couplings, mesh(steps, 0.5) + order.wave_vector)
    return tyablikov(coupling_waves(couplings, order.wave_vector[None])[0], waves, order.weights)


def tyablikov(at_order: np.ndarray, waves: np.ndarray, weights: np.ndarray) -> float:
    """Return the transition temperature k T in the random-phase approximation in meV.

    Args:
        at_order: (n, n) J(q0) of the order in meV.
        waves: (m, n, n) J(q) of the wave vectors that are summed over, in meV.
        weights: (n,) amplitudes of the order.

    Raises:
        NucleateError: The equations have no solution.
    """
    if (np.abs(weights) < 1e-6).any():
        raise NucleateError("RPA: a sublattice does not participate in the order")
    phase = weights / np.abs(weights)

    def green(log_ratio: np.ndarray) -> np.ndarray:
        x = np.exp(np.concatenate([[0.0], log_ratio])) * phase
        fields = (at_order @ x / x).real
        try:
            inverse = np.linalg.inv(np.diag(fields) - waves)
        except np.linalg.LinAlgError:
            raise NucleateError("RPA: the order is unstable against other waves") from None
        return np.diagonal(inverse, axis1=1, axis2=2).real.mean(axis=0)

    start = np.log(np.abs(weights[1:] / weights[0]))
    g = green(start)
    # Equivalent sublattices, as those of a supercell, need no search.
    if (g > 0).all() and np.ptp(np.log(g)) > EQUAL:

        def unequal(log_ratio: np.ndarray) -> np.ndarray:
            g = green(log_ratio)
            return np.log(np.abs(g[1:] / g[0]))

        found = root(unequal, start)
        if not found.success:
            raise NucleateError(f"RPA: the equations have no solution ({' '.join(found.message.split())})")
        g = green(found.x)
    if not (np.isfinite(g).all() and g[0] > 0):
        raise NucleateError("RPA: the order is unstable against other waves")
    return 1 / (3 * g[0])
