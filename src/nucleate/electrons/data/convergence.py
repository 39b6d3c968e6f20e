"""Convergence of the labels of a data folder with k-points and plane waves, measured on its first snapshot.

Labels whose k-point meshes have different errors cannot be learned together: the model would see the difference as physics. An equal
spacing of k-points is not an equal mesh, neither between cells of different shapes nor between volumes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from pydantic import BaseModel, ConfigDict, Field

from nucleate.electrons.data.ground_state import Snapshot, self_consistent
from nucleate.electrons.settings import GroundStateSettings
from nucleate.errors import BadInput, ReferenceFailed
from nucleate.gpaw.pulay import pulay_stress
from nucleate.persist.files import write_whole
from nucleate.persist.text import from_json, read_text, stated
from nucleate.units import GPA, HARTREE

log = logging.getLogger(__name__)

NAME = "convergence.json"
FINER = 1.5
"""Factor by which the k-point spacing is reduced."""
HIGHER = 1.3
"""Factor by which the cutoff is increased."""
TOGETHER = 2.0
"""Largest difference between the errors of k-point meshes that are learned together, meV/atom."""


class Shift(BaseModel):
    """Change of a label when its calculation is better converged.

    Attributes:
        free: change of the free energy, meV/atom.
        fermi_level: change of the Fermi level, meV.
        forces: root mean square of the change of the forces, meV/Å.
        pressure: change of the pressure, GPa.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    free: float
    fermi_level: float
    forces: float
    pressure: float


class _Convergence(BaseModel):
    """The file of a data folder."""

    model_config = ConfigDict(extra="forbid")

    k_points: Shift
    cutoff: Shift
    finer_k_spacing: float = Field(gt=0)
    higher_cutoff: float = Field(gt=0)
    snapshot: int = Field(ge=0)


def measure_shift(snapshot: Snapshot, settings: GroundStateSettings, better: GroundStateSettings) -> Shift:
    """Return the change of a label with better settings.

    Args:
        snapshot: Label with `settings`, with forces and stress.
        settings: Settings of the label.
        better: Settings with more k-points or a higher cutoff.

    Raises:
        ReferenceFailed: The label has no forces, or the calculation with better settings did not converge.
    """
    if snapshot.forces is None or snapshot.stress is None or snapshot.fermi_level is None:
        raise ReferenceFailed(
            "the first snapshot contains no forces, or no stress at a fixed cutoff, because an earlier version sampled it",
            kind="unsupported",
        )
    atoms = Atoms(snapshot.atoms.numbers, snapshot.atoms.positions, cell=snapshot.atoms.cell, pbc=True)
    calculator = self_consistent(atoms, better)
    dft = calculator.dft
    pressure = np.trace(snapshot.stress) / 3 - calculator.get_stress(atoms)[:3].mean() - pulay_stress(calculator)
    return Shift(
        free=1e3 * (float(dft.energies.total_free) * HARTREE - snapshot.terms["free"]) / len(atoms),
        fermi_level=1e3 * (float(dft.ibzwfs.fermi_level) * HARTREE - snapshot.fermi_level),
        forces=1e3 * float(np.sqrt(((calculator.get_forces(atoms) - snapshot.forces) ** 2).mean())),
        pressure=float(pressure / GPA),
    )


def measure_convergence(snapshot: Snapshot, settings: GroundStateSettings) -> dict[str, Shift]:
    """Return the changes of a label with more k-points (`k_points`) and with a higher cutoff (`cutoff`)."""
    finer = settings.model_copy(update={"k_spacing": settings.k_spacing / FINER})
    higher = settings.model_copy(update={"cutoff": settings.cutoff * HIGHER})
    return {"k_points": measure_shift(snapshot, settings, finer), "cutoff": measure_shift(snapshot, settings, higher)}


def write_convergence(folder: Path, found: dict[str, Shift], settings: GroundStateSettings, number: int) -> None:
    """Write the measured convergence of a data folder.

    Args:
        folder: Data folder.
        found: Result of `measure_convergence`.
        settings: Settings of the labels.
        number: Number of the snapshot.
    """
    data: dict[str, Any] = {name: shift.model_dump() for name, shift in found.items()}
    data |= {"finer_k_spacing": settings.k_spacing / FINER, "higher_cutoff": settings.cutoff * HIGHER, "snapshot": number}
    write_whole(folder / NAME, json.dumps(data, indent=1) + "\n")


def read_convergence(folder: Path) -> dict[str, Shift] | None:
    """Return the measured convergence of a data folder; None if it has not been measured.

    Raises:
        BadInput: The file is damaged.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    said = stated(_Convergence, from_json(read_text(path), str(path)), str(path))
    return {"k_points": said.k_points, "cutoff": said.cutoff}


def check_meshes(folders: Sequence[Path]) -> None:
    """Raise `BadInput` if the errors of the k-point meshes of data folders differ by more than 2 meV/atom.

    Folders whose convergence has not been measured are named in a warning if there are several folders.
    """
    folders = list(dict.fromkeys(folders))
    measured = {folder: found["k_points"].free for folder in folders if (found := read_convergence(folder)) is not None}
    unknown = [str(folder) for folder in folders if folder not in measured]
    if unknown and len(folders) > 1:
        log.warning("the convergence of the labels with k-points has not been measured: %s", ", ".join(unknown))
    if not measured:
        return
    low, high = min(measured, key=lambda folder: measured[folder]), max(measured, key=lambda folder: measured[folder])
    if measured[high] - measured[low] > TOGETHER:
        raise BadInput(
            f"{high} and {low}: with more k-points, their free energies change by {measured[high]:+.1f} and {measured[low]:+.1f} meV/atom, "
            f"which differ by more than {TOGETHER:g}; sample them again with a smaller k_spacing, or train on one of them"
        )
