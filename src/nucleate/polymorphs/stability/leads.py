"""Structures of lower energy that imaginary modes lead to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nucleate.fingerprints.matching import same_crystal, space_group
from nucleate.polymorphs.stability.modes import AMPLITUDES, ImaginaryMode, directions, displaced
from nucleate.polymorphs.stability.phonons import Phonons
from nucleate.polymorphs.stability.prepared import relax_each
from nucleate.polymorphs.stability.settings import CheckSettings
from nucleate.polymorphs.stability.supercells import SAME, primitive_cell
from nucleate.polymorphs.stability.surface import Surface
from nucleate.progress import Progress, silent
from nucleate.relax.batched import Relaxed
from nucleate.relax.settings import RelaxSettings
from nucleate.units import GPA

PURPOSE = "following imaginary modes"
GAIN = 1e-4
"""Smallest decrease of the enthalpy in eV/atom that makes a structure a lead."""
EQUAL = 5e-4
"""Difference of enthalpies in eV/atom below which two similar structures count as one."""
MOST = 3
"""Largest number of leads of one polymorph, the lowest first."""
SEED = 20
"""Seed of the directions that are followed, the same in a check that is resumed."""


@dataclass(frozen=True)
class NewLead:
    """A structure below a polymorph.

    Attributes:
        parent: index of the polymorph.
        mode: imaginary mode that leads to it.
        atoms: symmetrised primitive cell.
        gain: decrease of the enthalpy of the committee's mean, eV/atom, positive.
        spread: standard deviation of the gain over the members, eV/atom; None for a single one.
        space_group, number: symbol and number of the space group.
    """

    parent: int
    mode: ImaginaryMode
    atoms: Atoms
    gain: float
    spread: float | None
    space_group: str
    number: int


@dataclass(frozen=True)
class _Start:
    parent: int
    mode: ImaginaryMode
    atoms: Atoms


def follow(
    phonons: dict[int, Phonons],
    modes: dict[int, list[ImaginaryMode]],
    surface: Surface,
    settings: CheckSettings,
    pressure: float,
    progress: Progress = silent,
) -> list[NewLead]:
    """Displace polymorphs along their imaginary modes, relax them, and return those that are lower, the lowest of each polymorph first.

    Args:
        phonons: phonons of polymorphs, by index.
        modes: their imaginary modes.
        surface: surface of the check.
        settings: settings of the check; `follow` modes of each polymorph are followed.
        pressure: external pressure, GPa.
        progress: called with a `Step` as the calculation advances.
    """
    starts = _starts(phonons, modes, surface, settings, progress)
    ends = relax_each([start.atoms for start in starts], surface, _limits(pressure), PURPOSE, progress)
    relaxed = [
        (start, primitive_cell(end.atoms)) for start, end in zip(starts, ends, strict=True) if isinstance(end, Relaxed) and end.usable
    ]
    parents = sorted({start.parent for start, _ in relaxed})
    if not relaxed:
        return []
    everything = [*(phonons[k].atoms for k in parents), *(atoms for _, atoms in relaxed)]
    energy = surface.evaluate(everything, PURPOSE).energy
    enthalpy = np.stack([(energy[:, k] + pressure * GPA * atoms.get_volume()) / len(atoms) for k, atoms in enumerate(everything)], axis=1)
    leads = []
    for k, (start, atoms) in enumerate(relaxed, start=len(parents)):
        gains = enthalpy[:, parents.index(start.parent)] - enthalpy[:, k]
        if gains.mean() > GAIN:
            spread = float(gains.std(ddof=1)) if len(gains) > 1 else None
            leads.append(NewLead(start.parent, start.mode, atoms, float(gains.mean()), spread, *space_group(atoms, SAME)))
    return _distinct(leads)


def _limits(pressure: float) -> RelaxSettings:
    """Return the settings of the relaxations, which are those of a search; a check of the lead itself relaxes it tightly."""
    return RelaxSettings(fmax=0.01, smax=0.05, max_steps=200, patience=200, pressure=pressure)


def _starts(
    phonons: dict[int, Phonons], modes: dict[int, list[ImaginaryMode]], surface: Surface, settings: CheckSettings, progress: Progress
) -> list[_Start]:
    """Return each polymorph displaced along its modes by the amplitude of lowest energy."""
    rng = np.random.default_rng(SEED)
    lines: list[tuple[int, ImaginaryMode, list[Atoms]]] = []
    for k, own in modes.items():
        for mode in own[: settings.follow]:
            cell, chosen = directions(phonons[k], mode, rng)
            lines += [(k, mode, displaced(cell, direction)) for direction in chosen]
    if not lines:
        return []
    evaluated = surface.evaluate([atoms for _, _, structures in lines for atoms in structures], PURPOSE, progress)
    energy = evaluated.energy.mean(axis=0).reshape(-1, len(AMPLITUDES))
    return [_Start(k, mode, structures[int(best)]) for (k, mode, structures), best in zip(lines, energy.argmin(axis=1), strict=True)]


def _distinct(leads: Sequence[NewLead]) -> list[NewLead]:
    """Return the `MOST` lowest leads of each polymorph, each crystal once."""
    kept: list[NewLead] = []
    # Of leads with the same energy the most symmetric one is kept.
    for lead in sorted(leads, key=lambda lead: (lead.parent, -round(lead.gain / EQUAL), -lead.number)):
        siblings = [other for other in kept if other.parent == lead.parent]
        twin = any(abs(other.gain - lead.gain) < 2 * EQUAL and same_crystal(other.atoms, lead.atoms) for other in siblings)
        if not twin and len(siblings) < MOST:
            kept.append(lead)
    return kept
