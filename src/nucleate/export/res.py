"""SHELX .res files as AIRSS writes them: one for each polymorph, with pressure, volume, enthalpy and space group in the title.

The title has the entries that AIRSS's `cryan` reads: name, pressure (GPa), volume (Å³), enthalpy (eV), total and absolute spin, number of
atoms, space group and number of times found; C. J. Pickard and R. J. Needs, J. Phys.: Condens. Matter 23, 053201 (2011),
doi 10.1088/0953-8984/23/5/053201.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nucleate.csp.records import Polymorph
from nucleate.csp.run_data import RunData, structure_name
from nucleate.export.folders import whole_folder
from nucleate.export.labels import k_points_of, row_of
from nucleate.persist.files import write_whole


def res_text(polymorph: Polymorph, name: str, pressure: float, remarks: list[str], moments: np.ndarray) -> str:
    """Return the text of a .res file.

    Args:
        polymorph: the polymorph; its cell is written as it is.
        name: name in the title; it must not contain spaces.
        pressure: pressure, GPa.
        remarks: lines of remarks.
        moments: final magnetic moments, Bohr magnetons; empty: there are none.
    """
    atoms = polymorph.atoms
    total, absolute = float(moments.sum()), float(np.abs(moments).sum())
    group = polymorph.space_group.replace(" ", "")
    symbols = atoms.get_chemical_symbols()
    species = list(dict.fromkeys(symbols))
    lengths = " ".join(f"{value:.8f}" for value in atoms.cell.cellpar())
    title = f"{name} {pressure:.6f} {atoms.get_volume():.8f} {polymorph.energy * len(atoms):.8f} {total:.4f} {absolute:.4f} {len(atoms)}"
    lines = [f"TITL {title} ({group}) n - {max(polymorph.found, 1)}", *(f"REM {line}" for line in remarks)]
    lines += [f"CELL 1.54180 {lengths}", "LATT -1", f"SFAC {' '.join(species)}"]
    for symbol, (x, y, z) in zip(symbols, atoms.get_scaled_positions(), strict=True):
        lines.append(f"{symbol:<2} {species.index(symbol) + 1} {x:.12f} {y:.12f} {z:.12f} 1.0")
    return "\n".join([*lines, "END", ""])


def write_res(run: RunData, target: Path) -> str:
    """Write one file for each polymorph into a new folder; a remark states the k-points of its label if the reference has them."""
    ranking = run.state.ranking()
    remarks = [f"nucleate, {run.reference}{' (surrogate)' if run.surrogate else ''}, seed {run.settings.seed}"]
    with whole_folder(target) as folder:
        for k, polymorph in enumerate(ranking):
            name = structure_name(k + 1, polymorph)
            row = row_of(polymorph, run.rows, run.settings.pressure)
            moments = np.array([] if row is None or row.label is None else row.label.details.get("moments", []))
            grid = k_points_of(row)
            own = [] if grid is None else [f"k-points {grid.text()}"]
            write_whole(folder / f"{name}.res", res_text(polymorph, name, run.settings.pressure, remarks + own, moments))
    return f"{len(ranking)} .res file{'' if len(ranking) == 1 else 's'}"
