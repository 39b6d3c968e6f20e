"""Structures relaxed tightly on the surface on which they are checked, before anything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nucleate.errors import ReferenceFailed
from nucleate.fingerprints.matching import same_crystal, space_group
from nucleate.polymorphs.stability.settings import CheckSettings
from nucleate.polymorphs.stability.supercells import SAME, primitive_cell
from nucleate.polymorphs.stability.surface import Surface
from nucleate.progress import Progress, silent
from nucleate.relax.batched import Relaxed, relax
from nucleate.relax.settings import RelaxSettings
from nucleate.units import GPA

PURPOSE = "relaxing tightly"
EXACT = 1e-3
"""Tolerance in Å of the symmetry of a structure that has been relaxed from a symmetric one."""


@dataclass(frozen=True)
class Subject:
    """A structure to check.

    Attributes:
        name: name for tables and files, such as `01_Fd-3m`.
        atoms: the structure.
    """

    name: str
    atoms: Atoms


@dataclass(frozen=True)
class Prepared:
    """A structure at its minimum on the surface.

    Attributes:
        name: name of the subject.
        atoms: symmetrised primitive cell.
        energy: (m,) enthalpy of each member, eV/atom.
        energy_change: enthalpy minus that of the given structure on the same surface, eV/atom.
        volume_change: relative change of the volume.
        space_group, number: symbol and number of the space group at a tolerance of `SAME`.
        given_group: symbol of the space group of the given structure, at the same tolerance.
        fmax: largest force on an atom, eV/Å.
        stop: stop reason of the relaxation.
        same: whether the structure is still the given crystal by the structure matcher.
    """

    name: str
    atoms: Atoms
    energy: np.ndarray
    energy_change: float
    volume_change: float
    space_group: str
    number: int
    given_group: str
    fmax: float
    stop: str
    same: bool


@dataclass(frozen=True)
class Unusable:
    """A structure that could not be relaxed, with the reason."""

    name: str
    reason: str


def relaxation(settings: CheckSettings, pressure: float, variable_cell: bool = True) -> RelaxSettings:
    """Return the settings of a tight relaxation; `pressure` is in GPa."""
    return RelaxSettings(
        fmax=settings.fmax, smax=settings.smax, max_steps=settings.max_steps, patience=settings.max_steps,
        pressure=pressure, variable_cell=variable_cell,
    )  # fmt: skip


def relax_each(
    structures: Sequence[Atoms], surface: Surface, settings: RelaxSettings, purpose: str, progress: Progress
) -> list[Relaxed | str]:
    """Relax structures together; one that the reference cannot calculate gives the reason instead."""
    if not structures:
        return []
    try:
        return list(relax(structures, surface.potential(purpose), settings, progress=progress))
    except ReferenceFailed as failure:
        if len(structures) == 1:
            return [failure.reason]
    # The calculations that are done are taken from the ledger.
    return [end for atoms in structures for end in relax_each([atoms], surface, settings, purpose, progress)]


def prepare(
    subjects: Sequence[Subject], surface: Surface, settings: CheckSettings, pressure: float, progress: Progress = silent
) -> list[Prepared | Unusable]:
    """Relax structures tightly and make them symmetric.

    A structure is relaxed, made symmetric within `SAME`, and relaxed again, so that the symmetry is exact at the minimum.

    Args:
        subjects: the structures.
        surface: surface of the check.
        settings: settings of the check.
        pressure: external pressure, GPa.
        progress: called with a `Step` as structures finish.

    Returns:
        For each subject the prepared structure, or why there is none.
    """
    limits = relaxation(settings, pressure)
    starts = [primitive_cell(subject.atoms) for subject in subjects]
    first = relax_each(starts, surface, limits, PURPOSE, progress)
    middle = {k: primitive_cell(end.atoms) for k, end in enumerate(first) if isinstance(end, Relaxed) and end.usable}
    second = dict(zip(middle, relax_each(list(middle.values()), surface, limits, PURPOSE, progress), strict=True))
    result: list[Prepared | Unusable] = []
    for k, (subject, start, end) in enumerate(zip(subjects, starts, first, strict=True)):
        last = second.get(k, end)
        if isinstance(last, str):
            result.append(Unusable(subject.name, last))
        elif not last.usable:
            result.append(Unusable(subject.name, f"the relaxation {last.stop}: {last.guard}"))
        else:
            atoms = primitive_cell(last.atoms, EXACT)
            evaluated = surface.evaluate([start, atoms], PURPOSE, like=[start, start] if len(start) == len(atoms) else None)
            before, after = (
                (evaluated.energy[:, j] + pressure * GPA * each.get_volume()) / len(each) for j, each in enumerate((start, atoms))
            )
            symbol, number = space_group(atoms, SAME)
            volume = (atoms.get_volume() / len(atoms)) / (start.get_volume() / len(start)) - 1
            result.append(
                Prepared(
                    subject.name,
                    atoms,
                    after,
                    float((after - before).mean()),
                    volume,
                    symbol,
                    number,
                    space_group(start, SAME)[0],
                    last.fmax,
                    last.stop,
                    same_crystal(subject.atoms, atoms),
                )
            )
    return result
