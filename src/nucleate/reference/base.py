"""Protocol of references, which label a structure with energy, forces and stress, and validation of their results."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce

from nucleate.errors import ReferenceFailed, quoted
from nucleate.reference.kpoints import OWN_VECTORS, KGrid

CLOSEST = 0.5
"""Smallest distance between atoms, Å; closer structures are refused without a calculation."""
FLATTEST = 45.0
"""Smallest angle between cell vectors in degrees for which the cell vectors are kept."""

K_POINTS = "k_points"
"""Key of `Atoms.info` that contains the k-point grid of a structure."""


@dataclass(frozen=True)
class Label:
    """Energy, forces and stress from a reference.

    Attributes:
        energy: total energy of the cell, eV (extrapolated to zero smearing where the engine smears).
        forces: (n_atoms, 3), eV/Å.
        stress: (6,), eV/Å³, ASE's sign (tension positive) and Voigt order xx, yy, zz, yz, xz, xy.
        iterations: self-consistency iterations, 0 where the method has none.
        core_seconds: CPU time spent, seconds times cores.
        details: further JSON-serialisable results, such as magnetic moments.
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray
    iterations: int = 0
    core_seconds: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)


@runtime_checkable
class Reference(Protocol):
    """A method that labels structures; picklable, because it is sent to worker processes."""

    name: str
    surrogate: bool

    def settings(self) -> dict[str, Any]:
        """Return all JSON-serialisable settings that determine the result; they are part of the ledger's hash."""
        ...

    def k_points(self, atoms: Atoms) -> KGrid | None:
        """Return the k-point grid for a structure; None if the method has none or if keywords of the user determine it."""
        ...

    def label(self, atoms: Atoms) -> Label:
        """Calculate energy, forces and stress of one structure, with the k-point grid in `atoms.info` if there is one.

        Raises:
            ReferenceFailed: the calculation failed; `reason` is the message of the engine.
        """
        ...


def with_k_points(atoms: Atoms, reference: Reference, like: Atoms | None = None) -> Atoms:
    """Return a copy of a structure with its k-point grid in `info`.

    Energies along a relaxation are comparable only if they are calculated with one grid, and a newly chosen grid may change under small
    strains.

    Args:
        atoms: the structure.
        reference: chooses the grid.
        like: structure whose grid is used, of which `atoms` is a strained version; None uses the grid of `atoms`.
    """
    copy: Atoms = atoms.copy()
    grid = reference.k_points(atoms if like is None else like)
    copy.info.pop(K_POINTS, None)
    if grid is not None:
        copy.info[K_POINTS] = grid.as_dict()
    return copy


MOST_ENERGY = 1e7
"""Largest absolute energy, eV/atom; the total energy of a uranium atom is about 8e5 eV."""
MOST_FORCE, MOST_STRESS = 1e7, 1e6
"""Largest absolute force (eV/Å) and stress (eV/Å³)."""
NOT_FAILURES = ("", "ok", "running", "interrupted")
"""Statuses of the ledger that a failure cannot have."""
LONGEST_REASON = 1000
"""Largest length of a failure's reason in the ledger, in characters."""


def checked_answer(answer: object, atoms: Atoms) -> Label | ReferenceFailed:
    """Validate the result of a reference before it is recorded.

    Args:
        answer: the object that the reference returned or raised.
        atoms: the structure that was calculated.

    Returns:
        The label with plain numbers, or the failure with a reason of one printable line. A result that is not a valid label of these atoms
        becomes a failure of kind `invalid`.
    """
    if isinstance(answer, ReferenceFailed):
        kind = answer.kind if isinstance(answer.kind, str) and answer.kind not in NOT_FAILURES else "failed"
        reason = answer.reason if isinstance(answer.reason, str) else quoted(answer.reason)
        return ReferenceFailed(quoted(" ".join(reason.split()), LONGEST_REASON), kind=quoted(kind, 40))
    try:
        return _checked_label(answer, len(atoms))
    except ValueError as error:
        return ReferenceFailed(f"the result is not a valid label: {error}", kind="invalid")


def said(error: BaseException) -> str:
    """Return class and message of an exception as text."""
    try:
        message = str(error)
    except Exception:
        message = "its message cannot be read"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _checked_label(label: object, count: int) -> Label:
    """Return a label of `count` atoms with plain numbers; raise `ValueError` if it is not one."""
    if not isinstance(label, Label):
        raise ValueError(f"the reference returned an object of type {type(label).__name__}")
    arrays = {}
    for name, shape, most in (("energy", (), MOST_ENERGY * count), ("forces", (count, 3), MOST_FORCE), ("stress", (6,), MOST_STRESS)):
        try:
            value = getattr(label, name)
            array = np.array(value)
        except Exception:  # array-like objects may raise exceptions of any type
            raise ValueError(f"{name} cannot be converted to numbers") from None
        # Text and complex numbers could be converted to floats as well, but not without loss.
        if array.dtype.kind not in "iuf":
            raise ValueError(f"{name} is {quoted(value, 40)} of type {array.dtype}, not real numbers")
        if array.shape != shape:
            raise ValueError(f"{name} has the shape {array.shape}, but {shape} is required")
        array = array.astype(float)
        if not np.isfinite(array).all():
            raise ValueError(f"{name} is not finite")
        if np.abs(array).max(initial=0) > most:
            raise ValueError(f"{name} has the unphysical value {np.abs(array).max():.3g}")
        arrays[name] = array
    try:
        # Details that are not JSON-serialisable are kept as text rather than discarding the label.
        details = json.loads(json.dumps(label.details, default=str, allow_nan=True))
        iterations, seconds = int(label.iterations), float(label.core_seconds)
    except Exception:  # `str` of foreign objects may raise exceptions of any type
        raise ValueError("details, iterations or core_seconds cannot be recorded") from None
    if not isinstance(details, dict) or not math.isfinite(seconds) or not 0 <= iterations < 2**31:
        raise ValueError("details, iterations or core_seconds cannot be recorded")
    return Label(float(arrays["energy"]), arrays["forces"], arrays["stress"], iterations, max(0.0, seconds), details)


class Asked(NamedTuple):
    """Cell and k-points with which an engine calculates a structure.

    Attributes:
        atoms: the same crystal with other lattice vectors; one primitive cell if the structure is a supercell.
        grid: k-point grid on those vectors; None if keywords of the user determine it.
        repeats: (n_atoms,) index in `atoms` of the atom that each atom of the structure is a translation of.
        record: the grid relative to the vectors of the structure, for the details of the label; empty without a grid.
    """

    atoms: Atoms
    grid: KGrid | None
    repeats: np.ndarray
    record: dict[str, Any]

    def label(self, label: Label) -> Label:
        """Convert the label of `atoms` to the label of the structure."""
        details = {**label.details, **self.record}
        if "moments" in details:
            details["moments"] = [details["moments"][k] for k in self.repeats]
        cells = len(self.repeats) / len(self.atoms)
        if "total_moment" in details:
            details["total_moment"] = cells * details["total_moment"]
        return replace(label, energy=cells * label.energy, forces=label.forces[self.repeats], details=details)


def asked_of_engine(atoms: Atoms, reference: Reference) -> Asked:
    """Return the cell and k-points of a calculation, with the grid in `atoms.info` or else the one that the reference chooses."""
    carried = atoms.info.get(K_POINTS)
    grid = reference.k_points(atoms) if carried is None else KGrid.from_dict(carried)
    described = None if grid is None else grid.described(atoms)
    if grid is not None and described is None:
        # The grid was chosen for a supercell whose translational symmetry a displacement has since broken. With other points, and above all
        # with shifted ones that break the symmetry of the crystal, there would be forces on atoms that are not displaced.
        whole = grid.of_whole_cell()
        chosen = reference.k_points(atoms) if whole is None else whole
        grid = chosen if chosen is None or any(grid.shift) else replace(chosen, shift=(False, False, False))
        described = None if grid is None else grid.described(atoms)
    if grid is None or described is None:
        return Asked(on_short_vectors(atoms), None, np.arange(len(atoms)), {})
    cell, repeats = described
    # Constraints are removed, because forces must be those on free atoms.
    cell.set_constraint()
    return Asked(cell, replace(grid, basis=OWN_VECTORS, cells=1), repeats, {K_POINTS: grid.as_dict()})


def content_hash(atoms: Atoms, settings: dict[str, Any]) -> str:
    """Return the SHA-256 hash of a structure and the settings of a reference, which is the key of the ledger.

    The hash includes atomic numbers, cell and positions (to 1e-6 Å), periodicity, starting moments that are not zero, the k-point grid in
    `atoms.info`, and the settings; it does not include tags, names and other info.
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
    """Return whether the structure has starting moments that are not zero."""
    return bool(np.abs(atoms.get_initial_magnetic_moments()).max(initial=0) > 0)


def start_moments(atoms: Atoms, of_elements: dict[str, float]) -> bool:
    """Set the starting moments of `of_elements` unless the atoms have their own; return whether the calculation is spin-polarised."""
    if of_elements and not has_moments(atoms):
        atoms.set_initial_magnetic_moments([of_elements.get(symbol, 0.0) for symbol in atoms.get_chemical_symbols()])
    return has_moments(atoms)


def on_short_vectors(atoms: Atoms) -> Atoms:
    """Return a periodic copy; a cell with an angle below 45 or above 135 degrees is changed to the shortest lattice vectors.

    Used if keywords of the user determine the k-points. Energy, forces and stress are unchanged, but flat cells need more plane waves and
    k-points, and GPAW warns of wrong results for them.
    """
    copy: Atoms = atoms.copy()
    copy.pbc = True
    copy.set_constraint()
    angles = copy.cell.angles()
    if angles.min() < FLATTEST or angles.max() > 180 - FLATTEST:
        copy.set_cell(minkowski_reduce(copy.cell)[0], scale_atoms=False)
    return copy


def refuse_overlap(atoms: Atoms, engine: str) -> None:
    """Raise `ReferenceFailed` if atoms are closer than `CLOSEST`, for which engines converge slowly and to meaningless results."""
    # ASE's neighbour lists import half of SciPy, and workers of relaxations do not use them.
    from ase.neighborlist import neighbor_list

    distances = neighbor_list("d", atoms, CLOSEST)
    if len(distances):
        raise ReferenceFailed(f"{engine}: not calculated, because two atoms are only {distances.min():.2f} Å apart")
