"""Ordered state of lowest energy about which spins oscillate, and the check of its stability.

The wave vectors tried are those of `nucleate.spins.order.curie.leading_order` for all couplings and for their isotropic parts, and zero.
For each the state is relaxed, with on-site anisotropy and field, in every rotating frame that the Hamiltonian allows and in a magnetic
supercell, and the state of the lowest energy per cell is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from nucleate.errors import NucleateError
from nucleate.spins.couplings import Couplings, tensor
from nucleate.spins.order.curie import Order, isotropic, leading_order
from nucleate.spins.waves.frames import (
    LONGEST,
    MOST_SPINS,
    RATIONAL,
    Frame,
    cells_of,
    half_turns,
    obstacle,
    rotating,
    rotations,
    supercell,
    supercell_size,
)
from nucleate.spins.waves.modes import ZERO, Modes, local_axes
from nucleate.spins.waves.relaxation import TORQUE, relaxed

STARTS = 6
"""Number of random states that are relaxed beside those of the leading order."""
SAME_ENERGY = 1e-9
"""Difference of energies relative to the largest coupling within which the first of two states is kept."""
PARALLEL = 1e-6
"""Deviation of the cosine of an angle from one within which directions are parallel."""
NEAR = (0.02, 0.005)
"""Distances from zero modes, in units of reciprocal vectors, at which stability is checked too."""


@dataclass(frozen=True)
class State:
    """Stationary state of a spin Hamiltonian.

    Attributes:
        frame: Frame in which the directions are the same in every cell.
        directions: (n, 3) unit vectors of the sites in the first cell of the frame.
        field: (3,) field in tesla.
        energy: Energy per cell of the crystal in meV.
        torque: Largest torque relative to the largest field on a spin.
    """

    frame: Frame
    directions: np.ndarray
    field: np.ndarray
    energy: float
    torque: float

    @property
    def modes(self) -> Modes:
        """Quadratic form of the energy of small deviations from the state."""
        return Modes.about(self.frame.couplings, self.directions, self.field)

    def to_frame(self, q: np.ndarray) -> np.ndarray:
        """Convert wave vectors (m, 3) from units of reciprocal vectors of the crystal to those of the frame."""
        return np.asarray(q, dtype=float) * np.array(self.frame.size)

    def in_cells(self, size: tuple[int, int, int]) -> np.ndarray:
        """Return the directions (N, 3) in a supercell of the crystal, ordered by cell as in `cells_of`, then by site."""
        cells = cells_of(size)
        within = np.ravel_multi_index(tuple((cells % self.frame.size).T), self.frame.size)
        found = self.directions.reshape(self.frame.cells, -1, 3)[within]
        if self.frame.axis is not None:
            turns = Rotation.from_rotvec(2 * np.pi * (cells @ self.frame.wave_vector)[:, None] * self.frame.axis).as_matrix()
            found = np.einsum("cxy,csy->csx", turns, found)
        return found.reshape(-1, 3)

    @property
    def moment(self) -> float:
        """Length of the net moment per cell of the crystal in Bohr magnetons."""
        total = self.frame.couplings.moments @ self.directions
        if self.frame.axis is not None:
            # Components across the axis rotate and cancel.
            total = (total @ self.frame.axis) * self.frame.axis
        return float(np.linalg.norm(total)) / self.frame.cells

    @property
    def kind(self) -> str:
        """Name of the order: ferromagnet, ferrimagnet, antiferromagnet, spiral, or non-collinear."""
        cosines = self.directions @ self.directions[0]
        collinear = bool(np.abs(np.abs(cosines) - 1).max() < PARALLEL)
        axis, turns = self.frame.axis, self.frame.wave_vector
        if axis is not None and not half_turns(turns):
            return "spiral"
        if axis is not None:
            collinear &= bool(np.abs(self.directions @ axis).max() < PARALLEL**0.5)
        if not collinear:
            return "non-collinear"
        if axis is None and cosines.min() > 0:
            return "ferromagnet"
        return "antiferromagnet" if self.moment < 1e-6 * self.frame.couplings.moments.max() else "ferrimagnet"


def unit(vector: np.ndarray) -> np.ndarray | None:
    """Return the vector (3,) with length one, or None if its length is zero."""
    length = float(np.linalg.norm(vector))
    return vector / length if length > 1e-12 else None


def candidate_axes(couplings: Couplings, field: np.ndarray, order: Order) -> list[np.ndarray]:
    """Return unit vectors (3,), each with both signs, about which a frame may rotate: symmetry axes of the terms of the Hamiltonian."""
    raw = [field, *np.eye(3)[::-1]]
    raw += list(np.linalg.eigh(couplings.anisotropy.sum(axis=0))[1].T)
    raw += list(np.linalg.eigh(couplings.anisotropy[0])[1].T)
    raw += [d for d in couplings.dm[np.argsort(-np.linalg.norm(couplings.dm, axis=1))[:3]]]
    if order.weights.ndim == 2:
        raw += [np.cross(w.real, w.imag) for w in order.weights]
    found: list[np.ndarray] = []
    for vector in raw:
        axis = unit(np.asarray(vector, dtype=float))
        if axis is not None and not any(abs(abs(axis @ other) - 1) < 1e-9 for other in found):
            found.append(axis)
    return [sign * axis for axis in found for sign in (1, -1)]


def _planes(frame: Frame, axes: list[np.ndarray], simple: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return pairs of orthogonal unit vectors (3,) that span the planes of spiral and collinear starts."""
    if frame.axis is not None:
        x, _ = local_axes(frame.axis[None])[0]
        return [(x, np.cross(frame.axis, x))]
    if simple:
        return [(np.eye(3)[2], np.eye(3)[0])]
    found = []
    for x in axes[::2]:
        across = local_axes(x[None])[0]
        found += [(x, across[0]), (x, across[1])]
    return found


def _starts(order: Order, frame: Frame, axes: list[np.ndarray], simple: bool) -> list[np.ndarray]:
    """Return states (n, 3) of the first cell from the weights of the order, and random ones."""
    weights, q = order.weights, order.wave_vector
    phases = np.exp(2j * np.pi * (cells_of(frame.size) @ q))
    waves = (phases.reshape(-1, *[1] * weights.ndim) * weights).reshape(-1, *weights.shape[1:])
    found: list[np.ndarray] = []
    if weights.ndim == 2:
        found += [waves.real, waves.real + waves.imag]
    else:
        for x, y in _planes(frame, axes, simple):
            found.append(waves.real[:, None] * x + waves.imag[:, None] * y)
    rng = np.random.default_rng(0)
    found += list(rng.normal(size=(STARTS, len(waves), 3)))
    result = []
    for e in found:
        lengths = np.linalg.norm(e, axis=1, keepdims=True)
        # A site without weight in the wave starts along the first axis of the list; a slight disorder leaves saddle points.
        e = np.where(lengths > 1e-6, e / np.maximum(lengths, 1e-6), axes[0])
        e = e + 1e-4 * rng.normal(size=e.shape)
        result.append(e / np.linalg.norm(e, axis=1, keepdims=True))
    return result


def _lowest(frame: Frame, field: np.ndarray, starts: list[np.ndarray]) -> State:
    best: State | None = None
    scale = float(np.abs(frame.couplings.tensors).max())
    for start in starts:
        directions, energy, torque = relaxed(frame.couplings, field, start)
        state = State(frame, directions, field, energy / frame.cells, torque)
        if best is None or energy / frame.cells < best.energy - SAME_ENERGY * scale:
            best = state
    assert best is not None
    return best


def _refine_wave(couplings: Couplings, state: State) -> State:
    """Minimise the energy of a spiral over its wave vector too, by Newton's steps in turn with relaxations of the directions."""
    axis = state.frame.axis
    assert axis is not None
    for _ in range(20):
        e, r = state.directions, 2 * np.pi * couplings.shifts
        turned = np.einsum("pxy,py->px", rotations(couplings, state.frame.wave_vector, axis), e[couplings.second])
        left = np.einsum("px,pxy->py", e[couplings.first], couplings.tensors)
        first = np.cross(axis, turned)
        slope = -((left * first).sum(axis=1)[:, None] * r).sum(axis=0)
        bend = -(left * np.cross(axis, first)).sum(axis=1)
        curvature = np.einsum("p,px,py->xy", bend, r, r)
        step = -np.linalg.pinv(curvature, rcond=1e-9, hermitian=True) @ slope
        if np.abs(step).max() < 1e-12 or np.abs(step).max() > 0.05:
            break
        frame = rotating(couplings, state.frame.wave_vector + step, axis)
        directions, energy, torque = relaxed(frame.couplings, state.field, e)
        if energy > state.energy + SAME_ENERGY * np.abs(couplings.tensors).max():
            break
        state = State(frame, directions, state.field, energy, torque)
    return state


def ordered_state(couplings: Couplings, field: np.ndarray | tuple[float, float, float] = (0.0, 0.0, 0.0)) -> State:
    """Find the ordered state of lowest energy and check that it is stable.

    Args:
        couplings: Couplings of the crystal.
        field: Magnetic field (3,) in tesla.

    Raises:
        BadInput: There are no couplings.
        NucleateError: The order is unstable, or its wave vector needs a frame that the Hamiltonian does not allow and a supercell that
            exceeds the limits.
    """
    b = np.asarray(field, dtype=float)
    order = leading_order(couplings)
    # Without couplings along a vector, the component of the wave vector is not defined.
    order = replace(order, wave_vector=np.where(coupled_directions(couplings), order.wave_vector, 0.0))
    snapped = np.round(order.wave_vector * 2) / 2
    if np.abs(order.wave_vector - snapped).max() < RATIONAL:
        order = replace(order, wave_vector=snapped)
    flat = isotropic(couplings)
    plain = np.abs(couplings.anisotropy - np.trace(couplings.anisotropy, axis1=1, axis2=2)[:, None, None] / 3 * np.eye(3)).max()
    simple = flat and plain <= ZERO * np.abs(couplings.tensors).max() and not b.any()
    orders = [order]
    if not flat and np.abs(couplings.isotropic).max() > 0:
        orders.append(leading_order(replace(couplings, tensors=tensor(couplings.isotropic))))
    if not simple:
        orders.append(Order(np.zeros(3), np.ones(len(couplings.positions)), 0.0))
    states: list[State] = []
    refused: list[str] = []
    missing: list[Order] = []
    done: list[np.ndarray] = []
    for one in orders:
        if any(np.abs(one.wave_vector - q - np.round(one.wave_vector - q)).max() < RATIONAL for q in done):
            continue
        done.append(one.wave_vector)
        found, reason = _states(couplings, b, one, simple)
        states += found
        if reason:
            refused.append(reason)
            missing.append(one)
    if not states:
        raise NucleateError(refused[0])
    lowest = min(state.energy for state in states)
    close = SAME_ENERGY * float(np.abs(couplings.tensors).max())
    state = min((state for state in states if state.energy <= lowest + close), key=lambda state: state.frame.cells)
    if any(wave_energy(couplings, one) < lowest - close for one in missing):
        raise NucleateError(refused[0])
    if state.torque > TORQUE:
        raise NucleateError(f"magnons: the torques on the spins do not vanish (relative to the field: {state.torque:.1g})")
    unstable = instability(state, couplings)
    if unstable is not None:
        if refused:
            raise NucleateError(refused[0])
        q, value = unstable
        named = ", ".join(f"{x + 0.0:.4f}" for x in np.round(q, 6))
        raise NucleateError(
            f"magnons: the {state.kind} order is unstable: its mode at q = ({named}) has the energy curvature {value:.4g} meV"
        )
    return state


def wave_energy(couplings: Couplings, order: Order) -> float:
    """Return the energy per cell in meV of the circular spiral with the weights of an order, without a field.

    It is an upper limit of the energy of the order; infinite if the wave is not circular with a direction on every site.
    """
    weights = order.weights
    if weights.ndim == 1:
        plane = np.linalg.eigh(couplings.anisotropy.sum(axis=0))[1][:, :0:-1]
        weights = weights[:, None] * (plane[:, 0] - 1j * plane[:, 1])
    lengths = np.linalg.norm(weights, axis=1)
    if lengths.min() < 1e-6 or np.abs((weights**2).sum(axis=1)).max() > 1e-2 * lengths.min() ** 2:
        return float("inf")
    weights = weights * np.sqrt(2) / lengths[:, None]
    phases = np.exp(2j * np.pi * (couplings.shifts @ order.wave_vector))
    pairs = np.einsum("px,pxy,py,p->", weights.conj()[couplings.first], couplings.tensors, weights[couplings.second], phases)
    onsite = np.einsum("nx,nxy,ny->", weights.conj(), couplings.anisotropy, weights)
    return -float((pairs + onsite).real) / 2


def _states(couplings: Couplings, field: np.ndarray, order: Order, simple: bool) -> tuple[list[State], str | None]:
    """Return the relaxed states of one wave vector, and the reason if there is no frame for it."""
    q = order.wave_vector
    axes = candidate_axes(couplings, field, order)
    if np.abs(q - np.round(q)).max() < RATIONAL:
        frame = Frame(couplings, np.zeros(3))
        return [_lowest(frame, field, _starts(order, frame, axes, simple))], None
    found, obstacles, along = [], [], False
    for axis in axes[:1] if simple else axes:
        problem = obstacle(couplings, field, q, axis)
        if problem is not None:
            obstacles.append(problem)
            continue
        frame = rotating(couplings, q, axis)
        state = _lowest(frame, field, _starts(order, frame, [axis], simple))
        if np.abs(np.abs(state.directions @ axis) - 1).max() < PARALLEL:
            # The directions do not rotate: this is a state of the crystal's own cell.
            along = True
            continue
        found.append(state if half_turns(q) else _refine_wave(couplings, state))
    size = supercell_size(q, len(couplings.positions))
    if size is not None and not simple:
        frame = supercell(couplings, size)
        found.append(_lowest(frame, field, _starts(order, frame, axes, simple)))
    if found or along:
        return found, None
    named = ", ".join(f"{x:.4f}" for x in q)
    return [], (
        f"magnons: because of {obstacles[0] if obstacles else 'its terms'} no frame can rotate with the order at q = ({named}), "
        f"and no supercell within {LONGEST} cells along each vector and {MOST_SPINS} spins repeats it"
    )


def coupled_directions(couplings: Couplings) -> np.ndarray:
    """Return (3,) whether couplings connect cells along each lattice vector."""
    return (couplings.loops != 0).any(axis=0)


def wave_mesh(couplings: Couplings, points: float, offset: float = 0.0) -> np.ndarray:
    """Return a mesh (m, 3) of some `points` wave vectors in units of reciprocal vectors, along the coupled directions alone."""
    coupled = coupled_directions(couplings)
    steps = max(2, round(points ** (1 / max(int(coupled.sum()), 1)) / 2) * 2)
    lines = [(np.arange(steps) + offset) / steps if c else np.zeros(1) for c in coupled]
    return np.stack(np.meshgrid(*lines, indexing="ij"), -1).reshape(-1, 3)


def instability(state: State, couplings: Couplings, points: float = 2000) -> tuple[np.ndarray, float] | None:
    """Return the wave vector (3,) and the curvature in meV of the most unstable mode, or None if the state is stable.

    Curvatures are computed on a mesh and close to the zero modes; a negative one is minimised over the wave vector.
    """
    modes = state.modes
    mesh = wave_mesh(couplings, max(64.0, min(points, 2e8 / modes.size**3)))
    zero = np.array([np.zeros(3), state.frame.wave_vector, -state.frame.wave_vector])
    coupled = coupled_directions(couplings)
    near = np.stack(np.meshgrid(*([-1, 0, 1] if c else [0] for c in coupled), indexing="ij"), -1).reshape(-1, 3)
    close = [z + step * near for z in zero for step in NEAR]
    q = np.concatenate([mesh, zero, *close])
    lowest = modes.curvatures(state.to_frame(q))[:, 0]
    worst = int(lowest.argmin())
    if lowest[worst] > -ZERO * modes.scale:
        return None
    free = np.flatnonzero(coupled)

    def curvature(p: np.ndarray) -> float:
        at = q[worst].copy()
        at[free] = p
        return float(modes.curvatures(state.to_frame(at[None]))[0, 0])

    simplex = q[worst][free] + 0.02 * np.vstack([np.zeros(len(free)), np.eye(len(free))])
    result = minimize(curvature, q[worst][free], method="Nelder-Mead", options={"initial_simplex": simplex, "xatol": 1e-6, "fatol": 1e-12})
    at = q[worst].copy()
    value = lowest[worst]
    # A commensurate point of the mesh is kept unless another one is significantly lower.
    if result.fun < value - 1e-6 * abs(value):
        at[free], value = result.x, result.fun
    return 0.5 - (0.5 - at) % 1.0, float(value)
