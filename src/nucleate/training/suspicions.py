"""Detection of inconsistent labels.

Wrong units, wrong signs and outliers are detected by the magnitudes of the labels, and by comparing energy differences of similar
structures with the work of forces and stresses between them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import spglib
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress
from scipy.linalg import polar

from nucleate.errors import BadInput
from nucleate.training.labelled import LabelledStructure

HARTREE, KCAL, KJ = 27.2114, 23.0605, 96.4853
UNITS = {HARTREE: "eV and hartree", HARTREE / 2: "eV and rydberg", KCAL: "eV and kcal/mol", KJ: "eV and kJ/mol"}
"""Ratios of energies that indicate mixed units."""
OUTLIER = 100.0
"""Smallest deviation of an outlier from the median of its stoichiometry, eV/atom; only strongly compressed crystals reach it."""
NEAR_STRAIN, NEAR_MOVE = 0.15, 0.6
"""Largest strain and displacement (Å) between similar structures, for which the trapezoid rule is accurate."""
NARROW, BINDING, RATIO = 1.5, 1.0, 0.1
"""Criteria of mixed units: largest ratio of energies in one unit, smallest absolute energy of the larger group (eV/atom), and relative
tolerance of the ratio of the groups."""
MOST_LOOKED_AT = 20
"""Largest number of structures with zero forces whose symmetry is determined."""
SYMPREC = 1e-3
"""Tolerance of the symmetry, Å; larger than the rounding of coordinates in files."""
PAIRS = 5
"""Smallest number of pairs from which a conclusion is drawn."""
MOST_PAIRS = 2000
"""Largest number of pairs that are compared."""


def refuse_outliers(data: Sequence[LabelledStructure]) -> None:
    """Raise `BadInput` if the energy of a structure is more than `OUTLIER` from the median of its stoichiometry."""
    for items in _by_stoichiometry(data).values():
        energies = np.array([item.labels.energy / len(item.atoms) for item in items])
        if len(items) < 3:
            continue
        away = np.abs(energies - np.median(energies))
        worst = int(away.argmax())
        if away[worst] > OUTLIER and away[worst] > 20 * np.median(away):
            raise BadInput(
                f"{items[worst].where}: the energy {items[worst].labels.energy:.6g} eV is {away[worst]:.0f} eV/atom from the median of its "
                "composition; correct or remove the row"
            )


def suspicions(data: Sequence[LabelledStructure]) -> list[str]:
    """Return one line for each possible inconsistency of the labels."""
    data = [item.labels for item in data]
    return [*_mixed_units(data), *_zero_forces(data), *_identical(data), *_contradictions(data)]


def _by_stoichiometry(data: Sequence[LabelledStructure]) -> dict[tuple, list[LabelledStructure]]:
    """Group structures by the ratios of their elements."""
    groups: dict[tuple, list[LabelledStructure]] = defaultdict(list)
    for item in data:
        numbers, counts = np.unique(item.atoms.numbers, return_counts=True)
        groups[(*numbers.tolist(), *(counts // np.gcd.reduce(counts)).tolist())].append(item)
    return groups


def _mixed_units(data: Sequence[LabelledStructure]) -> list[str]:
    """Return a line for each formula whose energies are in two groups with the ratio of two units."""
    notes = []
    by_formula: dict[str, list[LabelledStructure]] = defaultdict(list)
    for item in data:
        by_formula[item.formula].append(item)
    for formula, items in by_formula.items():
        items = sorted(items, key=lambda item: abs(item.energy))
        sizes = np.array([abs(item.energy) for item in items])
        if len(items) < 2 or len({item.energy > 0 for item in items}) > 1 or sizes[0] < 1e-9:
            continue
        cut = int((sizes[1:] / sizes[:-1]).argmax()) + 1
        small, large = sizes[:cut], sizes[cut:]
        # Total energies in two units are in two narrow groups; energies relative to a relaxed crystal have all ratios.
        if small[-1] / small[0] > NARROW or large[-1] / large[0] > NARROW or large[0] < BINDING * len(items[0].atoms):
            continue
        ratio = float(np.median(large) / np.median(small))
        units = next((units for factor, units in UNITS.items() if abs(ratio / factor - 1) < RATIO), None)
        if units is not None:
            low, high = items[0], items[-1]
            notes.append(
                f"mixed units? the energies of {formula} in {low.where} and {high.where} are {low.energy:g} and {high.energy:g}; "
                f"their ratio of {ratio:.2f} is that of {units}"
            )
    return notes


def _zero_forces(data: Sequence[LabelledStructure]) -> list[str]:
    """Return a line if forces are exactly zero in structures whose symmetry does not require that, which are probably placeholders."""
    zero = [item for item in data if item.forces is not None and len(item.atoms) > 1 and not np.any(item.forces)]
    if len(zero) < 3 or len({round(item.energy / len(item.atoms), 6) for item in zero}) < 3:
        return []
    looked_at = zero[:: max(1, len(zero) // MOST_LOOKED_AT)][:MOST_LOOKED_AT]
    if sum(not _at_rest_by_symmetry(item.atoms) for item in looked_at) < min(3, len(looked_at)):
        return []
    return [
        f"placeholders? forces are exactly zero in {len(zero)} of {len(data)} structures (the first is {zero[0].where}); "
        "train without forces with --forces-key none"
    ]


def _at_rest_by_symmetry(atoms: Atoms) -> bool:
    """Return whether the forces on all atoms are zero by symmetry, as in strained copies of many crystals."""
    try:
        symmetry = spglib.get_symmetry((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=SYMPREC)
    except Exception:  # spglib 2.7 and later raise an exception where older versions return None
        symmetry = None
    if symmetry is None:
        return False
    turns, shifts = symmetry["rotations"], symmetry["translations"]
    for position in atoms.get_scaled_positions():
        away = turns @ position + shifts - position
        own = np.linalg.norm((away - np.round(away)) @ atoms.cell.array, axis=1) < 2 * SYMPREC
        # The sum over the site symmetry group projects onto the directions that it leaves unchanged.
        if np.any(turns[own].sum(axis=0)):
            return False
    return True


def _identical(data: Sequence[LabelledStructure]) -> list[str]:
    """Return a line if structures are repeated."""
    seen: dict[bytes, LabelledStructure] = {}
    twice = []
    for item in data:
        key = item.atoms.numbers.tobytes() + np.round(item.atoms.positions, 5).tobytes() + np.round(item.atoms.cell.array, 5).tobytes()
        if key in seen:
            twice.append((seen[key], item))
        seen.setdefault(key, item)
    if not twice:
        return []
    first, second = twice[0]
    return [f"{len(twice)} of {len(data)} structures are repeated ({second.where} repeats {first.where})"]


def _contradictions(data: Sequence[LabelledStructure]) -> list[str]:
    """Return a line if energy differences of similar structures contradict the work of forces or of stress between them."""
    changes, forces, stresses = _work(data)
    if len(changes) < PAIRS:
        return []
    notes = []
    counts = np.median([len(item.atoms) for item in data])
    if np.abs(forces).max() > 0:
        rest = changes - stresses
        factor = float(forces @ rest / (forces @ forces))
        left = np.linalg.norm(rest - factor * forces) / np.linalg.norm(rest)
        if factor < -0.5 and left < 0.7:
            notes.append("forces of the wrong sign? energies increase along the forces")
        elif factor > 0 and left < 0.7 and not 0.4 < factor < 2.5:
            known = {
                1 / HARTREE: "energies in hartree", 2 / HARTREE: "energies in rydberg", 1 / counts: "energies per atom",
                KCAL: "energies in kcal/mol", KJ: "energies in kJ/mol", HARTREE: "forces in hartree/Å",
            }  # fmt: skip
            near = min(known, key=lambda value: abs(np.log(value / factor)))
            hint = f", as with {known[near]}" if abs(np.log(near / factor)) < 0.25 else ""
            notes.append(f"mixed units? energy differences of similar structures are {factor:.3g} times the work of the forces{hint}")
    if np.abs(stresses).max() > 0:
        rest = changes - forces
        as_given, turned = np.linalg.norm(rest - stresses), np.linalg.norm(rest + stresses)
        if turned < 0.7 * as_given and float(stresses @ rest) < 0:
            notes.append(
                "stress of the wrong sign? energy differences have the opposite sign of its work; tension must be positive: "
                "--stress-unit -eV/A^3 changes the sign"
            )
    return notes


def _work(data: Sequence[LabelledStructure]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (p,) energy differences, work of forces and work of stress (trapezoid rule) of pairs of similar structures, eV."""
    rows: list[tuple[float, float, float]] = []
    by_kind: dict[bytes, list[LabelledStructure]] = defaultdict(list)
    for item in data:
        if item.atoms.cell.rank == 3 and (item.forces is not None or item.stress is not None):
            by_kind[item.atoms.numbers.tobytes()].append(item)
    near = [(one, other) for items in by_kind.values() for i, one in enumerate(items) for other in items[i + 1 : i + 21]]
    for one, other in near[:MOST_PAIRS]:
        row = _between(one, other)
        if row is not None:
            rows.append(row)
    changes, forces, stresses = np.array(rows).reshape(-1, 3).T
    return changes, forces, stresses


def _between(one: LabelledStructure, other: LabelledStructure) -> tuple[float, float, float] | None:
    """Return energy difference, work of forces and work of stress between two structures, eV; None if they are not similar."""
    first, second = one.atoms.cell.array, other.atoms.cell.array
    # With row vectors x2 = x1 @ gradient and gradient = stretch @ turn.
    turn, stretch = polar(np.linalg.solve(first, second), side="left")
    values, axes = np.linalg.eigh(stretch)
    if values.min() <= 0 or np.abs(np.log(values)).max() > NEAR_STRAIN:
        return None
    strain = (axes * np.log(values)) @ axes.T
    scaled = other.atoms.get_scaled_positions(wrap=False) - one.atoms.get_scaled_positions(wrap=False)
    scaled -= np.round(scaled)
    scaled -= scaled.mean(axis=0)
    moved = scaled @ first @ ((axes * np.sqrt(values)) @ axes.T)
    if np.linalg.norm(moved, axis=1).max() > NEAR_MOVE:
        return None
    force = stress = 0.0
    for item, here, strained in ((one, moved, strain), (other, moved @ turn, turn.T @ strain @ turn)):
        if item.forces is not None:
            force -= 0.5 * float((item.forces * here).sum())
        if item.stress is not None:
            stress += 0.5 * item.atoms.get_volume() * float((voigt_6_to_full_3x3_stress(item.stress) * strained).sum())
    return other.energy - one.energy, force, stress
