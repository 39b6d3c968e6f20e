"""The contract of a reference: it labels a structure with energy, forces and stress, or raises `ReferenceFailed`."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce
from ase.neighborlist import neighbor_list

from nucleate.errors import ReferenceFailed, quoted
from nucleate.reference.kpoints import OWN_VECTORS, KGrid

CLOSEST = 0.5
"""Å; structures with nearer pairs than this are refused before an engine is asked."""
FLATTEST = 45.0
"""Degrees; the smallest angle between cell vectors that is left as it is."""

K_POINTS = "k_points"
"""Key of `Atoms.info` under which a structure carries its grid."""


@dataclass(frozen=True)
class Label:
    """Energy, forces and stress from a reference.

    Attributes:
        energy: total energy of the cell, eV (extrapolated to zero smearing where the engine smears).
        forces: (n_atoms, 3), eV/Å.
        stress: (6,), eV/Å³, ASE's sign (tension positive) and Voigt order xx, yy, zz, yz, xz, xy.
        iterations: self-consistency iterations, 0 where the method has none.
        core_seconds: CPU time spent, seconds times cores.
        details: what else the engine says (JSON-serialisable), for instance magnetic moments.
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray
    iterations: int = 0
    core_seconds: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)


@runtime_checkable
class Reference(Protocol):
    """A method that labels structures. Picklable, so that worker processes can hold a copy."""

    name: str
    surrogate: bool

    def settings(self) -> dict[str, Any]:
        """Everything that decides the result, JSON-serialisable: part of the ledger's hash."""
        ...

    def k_points(self, atoms: Atoms) -> KGrid | None:
        """The grid of k-points it chooses for a structure; None where it has none, or the user's own keywords decide."""
        ...

    def label(self, atoms: Atoms) -> Label:
        """Energy, forces and stress of one structure, on the grid of k-points that it carries.

        Raises `ReferenceFailed` with the engine's words.
        """
        ...


def with_k_points(atoms: Atoms, reference: Reference, like: Atoms | None = None) -> Atoms:
    """A copy that carries its grid of k-points: that of `like`, of which it is a strained version, or its own.

    Energies along a relaxation are comparable only on one grid, and a grid chosen anew jumps under small strains.
    """
    copy: Atoms = atoms.copy()
    grid = reference.k_points(atoms if like is None else like)
    copy.info.pop(K_POINTS, None)
    if grid is not None:
        copy.info[K_POINTS] = grid.as_dict()
    return copy


MOST_ENERGY = 1e7
"""eV/atom; all electrons of uranium have 8e5."""
MOST_FORCE, MOST_STRESS = 1e7, 1e6
"""eV/Å and eV/Å³."""
NOT_FAILURES = ("", "ok", "running", "interrupted")
"""States of a row of the ledger that a failure must not claim."""
LONGEST_REASON = 1000
"""Characters of an engine's words that are kept."""


def checked_answer(answer: object, atoms: Atoms) -> Label | ReferenceFailed:
    """Validate the answer of a reference before it is recorded.

    Args:
        answer: whatever came back.
        atoms: the structure that was asked about.

    Returns:
        The label as plain numbers, or the failure in one printable line; an answer that is no label of these atoms is a failure of kind
        `invalid` that says why.
    """
    if isinstance(answer, ReferenceFailed):
        kind = answer.kind if isinstance(answer.kind, str) and answer.kind not in NOT_FAILURES else "failed"
        reason = answer.reason if isinstance(answer.reason, str) else quoted(answer.reason)
        return ReferenceFailed(quoted(" ".join(reason.split()), LONGEST_REASON), kind=quoted(kind, 40))
    try:
        return _checked_label(answer, len(atoms))
    except ValueError as error:
        return ReferenceFailed(f"the answer is no label: {error}", kind="invalid")


def said(error: BaseException) -> str:
    """Return class and message of an exception."""
    try:
        words = str(error)
    except Exception:
        words = "whose own words cannot be read"
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _checked_label(label: object, count: int) -> Label:
    if not isinstance(label, Label):
        raise ValueError(f"a {type(label).__name__} came back")
    arrays = {}
    for name, shape, most in (("energy", (), MOST_ENERGY * count), ("forces", (count, 3), MOST_FORCE), ("stress", (6,), MOST_STRESS)):
        try:
            value = getattr(label, name)
            array = np.array(value)
        except Exception:  # objects that pass for arrays raise exceptions of every kind
            raise ValueError(f"{name} cannot be read as numbers") from None
        # Text, complex numbers and objects would convert, some with a part left out.
        if array.dtype.kind not in "iuf":
            raise ValueError(f"{name} is {quoted(value, 40)}, of type {array.dtype}")
        if array.shape != shape:
            raise ValueError(f"{name} has the shape {array.shape}, not {shape}")
        array = array.astype(float)
        if not np.isfinite(array).all():
            raise ValueError(f"{name} is not finite")
        if np.abs(array).max(initial=0) > most:
            raise ValueError(f"{name} reaches {np.abs(array).max():.3g}, beyond any crystal")
        arrays[name] = array
    try:
        # What is no JSON is kept as its text: a label is not thrown away for what is said beside it.
        details = json.loads(json.dumps(label.details, default=str, allow_nan=True))
        iterations, seconds = int(label.iterations), float(label.core_seconds)
    except Exception:  # `str` of foreign objects, too, raises exceptions of every kind
        raise ValueError("its details, iterations or core-seconds cannot be recorded") from None
    if not isinstance(details, dict) or not math.isfinite(seconds) or not 0 <= iterations < 2**31:
        raise ValueError("its details, iterations or core-seconds cannot be recorded")
    return Label(float(arrays["energy"]), arrays["forces"], arrays["stress"], iterations, max(0.0, seconds), details)


class Asked(NamedTuple):
    """Cell and k-points that an engine calculates for a structure.

    Attributes:
        atoms: the same crystal on other lattice vectors, one primitive cell of it where the structure repeats several.
        grid: its k-points, on those vectors; None where the user's own keywords decide.
        repeats: (n_atoms,) which of `atoms` each atom of the structure repeats.
        record: the grid relative to the structure, for the label's details; empty without one.
    """

    atoms: Atoms
    grid: KGrid | None
    repeats: np.ndarray
    record: dict[str, Any]

    def label(self, label: Label) -> Label:
        """The structure's own label, from that of `atoms`."""
        details = {**label.details, **self.record}
        if "moments" in details:
            details["moments"] = [details["moments"][k] for k in self.repeats]
        cells = len(self.repeats) / len(self.atoms)
        if "total_moment" in details:
            details["total_moment"] = cells * details["total_moment"]
        return replace(label, energy=cells * label.energy, forces=label.forces[self.repeats], details=details)


def asked_of_engine(atoms: Atoms, reference: Reference) -> Asked:
    """The cell and k-points that an engine is given: on the grid that the structure carries, or that the reference chooses."""
    carried = atoms.info.get(K_POINTS)
    grid = reference.k_points(atoms) if carried is None else KGrid.from_dict(carried)
    described = None if grid is None else grid.described(atoms)
    if grid is not None and described is None:
        # A displacement took the translations away that the grid was chosen with.
        grid = reference.k_points(atoms)
        described = None if grid is None else grid.described(atoms)
    if grid is None or described is None:
        return Asked(on_short_vectors(atoms), None, np.arange(len(atoms)), {})
    cell, repeats = described
    # Nothing the structure carries besides binds the calculation: forces are those of free atoms.
    cell.set_constraint()
    return Asked(cell, replace(grid, basis=OWN_VECTORS, cells=1), repeats, {K_POINTS: grid.as_dict()})


def content_hash(atoms: Atoms, settings: dict[str, Any]) -> str:
    """SHA-256 of a structure and a reference's settings: the key of the ledger.

    Numbers, cell, positions (to 1e-6 Å), periodicity, starting moments other than zero, the grid of k-points that the structure carries
    and settings enter; tags, names and other info do not.
    """
    digest = hashlib.sha256()
    digest.update(np.asarray(atoms.numbers, dtype="<i4").tobytes())
    for array in (atoms.cell.array, atoms.positions):
        # Adding 0.0 turns -0.0 into 0.0, which would hash differently.
        digest.update((np.round(np.asarray(array, dtype="<f8"), 6) + 0.0).tobytes())
    digest.update(np.asarray(atoms.pbc, dtype="u1").tobytes())
    if has_moments(atoms):
        digest.update((np.round(atoms.get_initial_magnetic_moments().astype("<f8"), 3) + 0.0).tobytes())
    if K_POINTS in atoms.info:
        digest.update(json.dumps(atoms.info[K_POINTS], sort_keys=True).encode())
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def has_moments(atoms: Atoms) -> bool:
    """Whether the structure carries starting moments of its own."""
    return bool(np.abs(atoms.get_initial_magnetic_moments()).max(initial=0) > 0)


def start_moments(atoms: Atoms, of_elements: dict[str, float]) -> bool:
    """Give atoms the moments of their elements, unless they carry some of their own; whether the calculation has spins."""
    if of_elements and not has_moments(atoms):
        atoms.set_initial_magnetic_moments([of_elements.get(symbol, 0.0) for symbol in atoms.get_chemical_symbols()])
    return has_moments(atoms)


def on_short_vectors(atoms: Atoms) -> Atoms:
    """A copy, periodic; a cell with an angle below 45 or above 135 degrees is put on the shortest vectors of its lattice.

    For engines whose k-points the user's own keywords decide: energy, forces and stress are the same, but flat cells need more plane waves
    and k-points, and GPAW warns of wrong results. Others keep their vectors.
    """
    copy: Atoms = atoms.copy()
    copy.pbc = True
    copy.set_constraint()
    angles = copy.cell.angles()
    if angles.min() < FLATTEST or angles.max() > 180 - FLATTEST:
        copy.set_cell(minkowski_reduce(copy.cell)[0], scale_atoms=False)
    return copy


def refuse_overlap(atoms: Atoms, engine: str) -> None:
    """Raise `ReferenceFailed` for atoms so close that an engine would run for long and answer nonsense."""
    distances = neighbor_list("d", atoms, CLOSEST)
    if len(distances):
        raise ReferenceFailed(f"{engine} not asked: two atoms are {distances.min():.2f} Å apart")
