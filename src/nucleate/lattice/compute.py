"""Energies of arrangements from a reference; all supercells use k-points that the mesh of the parent folds to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from pydantic import BaseModel, ConfigDict, Field

from nucleate.errors import BadInput, ReferenceFailed
from nucleate.lattice.enumeration import Arrangement
from nucleate.lattice.labels import Labelled, LatticeData
from nucleate.progress import Event, Progress, silent
from nucleate.reference.base import Label, Reference
from nucleate.reference.dispatch import Answered, Dispatcher
from nucleate.reference.kpoints import KGrid
from nucleate.relax.batched import relax
from nucleate.relax.reference_surface import ReferencePotential
from nucleate.relax.settings import RelaxSettings

FOLDED = "folded_k_points"
"""Key of `Atoms.info` with the k-points of a supercell that fold to the mesh of the parent."""
PURPOSE = "lattice"


class LatticeSettings(BaseModel):
    """How energies of arrangements are calculated."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    mesh: tuple[int, int, int] | None = Field(
        None,
        description="k-point mesh of the parent, with Gamma, to which the k-points of every supercell fold; unset: the reference's own.",
    )
    relax: Literal["no", "atoms", "cell"] = Field("no", description="What is relaxed: nothing, the atoms, or atoms and cell.")
    fmax: float = Field(0.03, gt=0, le=10, description="Convergence threshold of the force on each atom, eV/Å.")
    max_steps: int = Field(60, ge=1, le=10_000, description="Largest number of steps of a relaxation.")


@dataclass(frozen=True)
class ArrangementDone(Event):
    """The energy of an arrangement arrived.

    Attributes:
        done: Number of arrangements with an answer.
        total: Number of arrangements.
        energy: Energy in eV per primitive cell; None if the calculation failed.
    """

    done: int
    total: int
    energy: float | None


class FoldedReference:
    """A reference that uses the k-points in `Atoms.info[FOLDED]` where there are some.

    Args:
        inner: the reference.
    """

    def __init__(self, inner: Reference):
        self.inner = inner
        self.name, self.surrogate = inner.name, inner.surrogate

    def settings(self) -> dict[str, Any]:
        """Return the settings of the reference."""
        return self.inner.settings()

    def k_points(self, atoms: Atoms) -> KGrid | None:
        """Return the k-points in `info`, or those that the reference chooses."""
        carried = atoms.info.get(FOLDED)
        return self.inner.k_points(atoms) if carried is None else KGrid.from_dict(carried)

    def label(self, atoms: Atoms) -> Label:
        """Label a structure on the reference."""
        return self.inner.label(atoms)


def check_mesh(data: LatticeData, mesh: tuple[int, int, int] | None) -> None:
    """Raise `BadInput` if the k-points of a supercell cannot fold to the mesh, before anything is calculated."""
    if mesh is None:
        return
    if any(n < 1 for n in mesh) or any(n != 1 for n, p in zip(mesh, data.parent.periodic, strict=True) if not p):
        raise BadInput(f"mesh {'x'.join(map(str, mesh))}: give positive numbers, and 1 along the normal of a layer")
    for entry in data.labelled:
        supercell = entry.arrangement.supercell
        if supercell.folded(mesh) is None:
            text = " ".join(str(row.tolist()) for row in supercell.matrix)
            raise BadInput(
                f"mesh {'x'.join(map(str, mesh))}: does not fold to the supercell {text}; enumerate with the same --mesh, or choose another"
            )


def structure_of(arrangement: Arrangement, mesh: tuple[int, int, int] | None) -> Atoms:
    """Return the structure of an arrangement with its k-points in `info`."""
    atoms = arrangement.supercell.atoms(arrangement.occupation)
    if mesh is not None:
        grid = arrangement.supercell.folded(mesh)
        assert grid is not None
        atoms.info[FOLDED] = grid.as_dict()
    return atoms


def label_all(data: LatticeData, settings: LatticeSettings, dispatcher: Dispatcher, progress: Progress = silent) -> list[Labelled]:
    """Calculate the energies of all arrangements; finished calculations are taken from the ledger.

    Args:
        data: The arrangements.
        settings: Mesh and relaxation.
        dispatcher: Runs the calculations of a `FoldedReference`.
        progress: Called with an `ArrangementDone` after each arrangement.

    Raises:
        BadInput: The mesh does not fold to a supercell.
    """
    check_mesh(data, settings.mesh)
    arrangements = [entry.arrangement for entry in data.labelled]
    structures = [structure_of(arrangement, settings.mesh) for arrangement in arrangements]
    count = len(structures)
    if settings.relax == "no":
        done = [0]

        def hear(event: Event, /) -> None:
            if isinstance(event, Answered):
                done[0] += 1
                label = event.answer
                energy = label.energy / arrangements[event.index].supercell.count if isinstance(label, Label) else None
                progress(ArrangementDone(done[0], count, energy))

        answers = dispatcher.label_many(structures, PURPOSE, 0, hear)
        return [
            Labelled(arrangement, failure=answer.reason)
            if isinstance(answer, ReferenceFailed)
            else Labelled(arrangement, answer.energy, answer.details.get("dipole"))
            for arrangement, answer in zip(arrangements, answers, strict=True)
        ]
    return _relaxed(arrangements, structures, settings, dispatcher, progress)


def _relaxed(
    arrangements: Sequence[Arrangement], structures: list[Atoms], settings: LatticeSettings, dispatcher: Dispatcher, progress: Progress
) -> list[Labelled]:
    """Relax the structures one after another, so that one failure affects one arrangement."""
    limits = RelaxSettings(
        fmax=settings.fmax, max_steps=settings.max_steps, patience=settings.max_steps + 1, variable_cell=settings.relax == "cell"
    )
    result = []
    for number, (arrangement, atoms) in enumerate(zip(arrangements, structures, strict=True), start=1):
        surface = _OneStructure(dispatcher, atoms)
        try:
            end = relax([atoms], surface, limits)[0]
        except ReferenceFailed as failure:
            labelled = Labelled(arrangement, failure=failure.reason)
        else:
            if end.stop != "converged":
                labelled = Labelled(arrangement, failure=f"the relaxation ended as '{end.stop}'")
            else:
                labelled = Labelled(arrangement, end.energy, surface.dipole, _moved(atoms, end.atoms), _strain(atoms, end.atoms))
        result.append(labelled)
        energy = None if labelled.energy is None else labelled.energy / arrangement.supercell.count
        progress(ArrangementDone(number, len(structures), energy))
    return result


class _OneStructure(ReferencePotential):
    """Reference potential of one structure, whose k-points are those of the arrangement."""

    def __init__(self, dispatcher: Dispatcher, atoms: Atoms):
        super().__init__(dispatcher, PURPOSE, 0)
        self._first = {0: atoms}

    @property
    def dipole(self) -> float | None:
        """Dipole moment of the last geometry, e Å."""
        return self.last.details.get("dipole") if self.last is not None else None


def _moved(before: Atoms, after: Atoms) -> float:
    """Return the largest distance between the atoms of two structures, without a common translation and strain, Å."""
    apart = (after.get_scaled_positions(wrap=False) - before.get_scaled_positions(wrap=False)) @ before.cell.array
    apart = find_mic(apart, before.cell, before.pbc)[0]
    apart -= apart.mean(axis=0)
    return float(np.linalg.norm(apart, axis=1).max(initial=0.0))


def _strain(before: Atoms, after: Atoms) -> float:
    """Return the largest principal value of the strain between two cells, after a common change of volume (of area for layers)."""
    gradient = np.linalg.solve(before.cell.array, after.cell.array)
    # Only periodic directions are strained.
    scale = np.linalg.det(gradient) ** (1 / max(1, int(before.pbc.sum())))
    green = 0.5 * (gradient @ gradient.T / scale**2 - np.eye(3))
    axes = np.eye(3) if before.pbc.all() else np.linalg.qr(before.cell.array[before.pbc].T)[0].T
    return float(np.abs(np.linalg.eigvalsh(axes @ green @ axes.T)).max())
