"""Pressure and energy of elements at the plane-wave cutoffs of the GPAW presets.

    OMP_NUM_THREADS=1 python benchmarks/reference/cutoffs/run.py

Each element is calculated at one geometry (ASE's reference structure, or a simple one of about its density) with a coarse k-point grid,
since the error of the cutoff hardly depends on it. Elements that are in result.json are not calculated again.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.build import bulk

from nucleate.benchmark.result_file import ResultFile
from nucleate.reference.gpaw import SOFT
from nucleate.units import GPA

CUTOFFS = (350, 500, 700, 1000)
"""eV."""
ELEMENTS = ["Li", "Be", "Na", "Mg", "Al", "Si", "P", "S", "K", "Ca", "Sc", "Ti", "V", "Ga", "Ge", "As", "Se", "Sr", "Y", "Zr", "Nb", "Mo"]
ELEMENTS += ["Pd", "Ag", "Cd", "In", "Sn", "Sb", "Te"]
SIMPLE = {"Ga": 4.2, "As": 4.2, "Se": 4.0, "Sb": 4.6, "Te": 4.4, "In": 4.8, "P": 3.8, "S": 3.7}
"""Lattice constants of fcc cells for elements of low symmetry, Å."""


def structure(symbol: str) -> Atoms:
    """Return the structure of an element."""
    if symbol == "Sn":
        return bulk(symbol, "diamond", 6.65)
    return bulk(symbol, "fcc", SIMPLE[symbol]) if symbol in SIMPLE else bulk(symbol)


def calculated(symbol: str) -> dict[str, Any]:
    """Return energies (eV/atom) and pressures (GPa) of an element at all cutoffs."""
    from gpaw import GPAW, PW
    from gpaw.occupations import FermiDirac

    atoms = structure(symbol)
    energies, pressures = [], []
    for cutoff in CUTOFFS:
        grid = (3, 3, 3) if len(atoms) == 1 else (3, 3, 2)
        atoms.calc = GPAW(mode=PW(cutoff), xc="PBE", kpts=grid, occupations=FermiDirac(0.1), txt=None)
        energies.append(round(float(atoms.get_potential_energy()) / len(atoms), 4))
        pressures.append(round(-float(atoms.get_stress()[:3].mean()) / GPA, 2))
    return {"energies": energies, "pressures": pressures}


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    cutoffs = data["settings"]["cutoffs"]
    heads = " | ".join(f"{cutoff} eV" for cutoff in cutoffs[:-1])
    lines = [f"| element | class | {heads} |", "|" + "---|" * (len(cutoffs) + 1)]
    for row in data["rows"]:
        energy, pressure = row["energies"], row["pressures"]
        errors = " | ".join(
            f"{1e3 * (e - energy[-1]):.0f} / {p - pressure[-1]:+.2f}" for e, p in zip(energy[:-1], pressure[:-1], strict=True)
        )
        lines.append(f"| {row['element']} | {'soft' if row['element'] in SOFT else 'hard'} | {errors} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elements", nargs="+", default=ELEMENTS)
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    warnings.simplefilter("ignore")
    result = ResultFile(a.result, {"cutoffs": list(CUTOFFS), "xc": "PBE"}, ("gpaw",))
    for symbol in a.elements:
        if result.find(element=symbol) is None:
            result.add(element=symbol, **calculated(symbol))
            print(symbol, flush=True)
    print(table({"rows": result.rows, "settings": result.settings}))


if __name__ == "__main__":
    main()
