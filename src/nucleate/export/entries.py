"""Polymorphs as pymatgen's ComputedStructureEntry, for phase diagrams and for `--known` of another search."""

from __future__ import annotations

import json
from pathlib import Path

from nucleate.csp.run_data import RunData, package_version, structure_name
from nucleate.export.labels import k_points_of, row_of
from nucleate.persist.files import write_whole
from nucleate.units import GPA


def write_entries(run: RunData, target: Path) -> str:
    """Write a JSON list of entries, the lowest polymorph first.

    The energy of an entry is that of the reference in eV per cell, without the product of pressure and volume. `data.k_points`
    is the grid of its label, see `KPoints`; None if the reference has none.
    """
    from pymatgen.entries.computed_entries import ComputedStructureEntry
    from pymatgen.io.ase import AseAtomsAdaptor

    entries = []
    for k, polymorph in enumerate(run.state.ranking()):
        atoms = polymorph.atoms.copy()
        energy = polymorph.energy * len(atoms) - run.settings.pressure * GPA * atoms.get_volume()
        grid = k_points_of(row_of(polymorph, run.rows, run.settings.pressure))
        data = {
            "rank": k + 1,
            "space_group": polymorph.space_group,
            "enthalpy_per_atom": polymorph.energy,
            "pressure_GPa": run.settings.pressure,
            "fmax": polymorph.fmax,
            "check": polymorph.check,
            "origin": polymorph.origin,
            "reference": run.reference,
            "reference_settings": run.reference_settings,
            "k_points": None if grid is None else grid.as_dict(),
            "surrogate": run.surrogate,
            "seed": run.settings.seed,
            "nucleate": package_version(),
        }
        structure = AseAtomsAdaptor.get_structure(atoms)
        name = structure_name(k + 1, polymorph)
        entries.append(ComputedStructureEntry(structure, energy, entry_id=name, data=data).as_dict())
    write_whole(target, json.dumps(entries, indent=1) + "\n")
    return f"{len(entries)} entr{'y' if len(entries) == 1 else 'ies'}"
