"""Pulay stress from the wave functions at the cutoff, beside differences of energies and GPAW's estimate from its data sets.

    OMP_NUM_THREADS=1 python benchmarks/reference/pulay_stress/run.py

Each crystal is calculated at five volumes within 3 % of its own with the same k-points. The exact Pulay stress is the derivative of these
energies, from a parabola, minus the stress that GPAW calculates. GPAW's estimate (`dedecut="estimate"` of its previous implementation) is
that of free atoms. Volumes at zero pressure are those where a parabola through the stresses of labels at four volumes vanishes. The form of
the decay was chosen on `CHOSEN_ON`. What is in result.json is not calculated again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.units import Ha

from nucleate.benchmark.result_file import ResultFile
from nucleate.gpaw.pulay import pulay_stress
from nucleate.reference import make_reference
from nucleate.reference.settings import ReferenceSettings
from nucleate.units import GPA

CUTOFFS = (350, 450, 550, 700)
"""eV."""
CRYSTALS: dict[str, tuple[Atoms, tuple[int, int, int]]] = {
    "MgO": (bulk("MgO", "rocksalt", a=4.25), (4, 4, 4)),
    "LiF": (bulk("LiF", "rocksalt", a=4.07), (4, 4, 4)),
    "SiC": (bulk("SiC", "zincblende", a=4.38), (4, 4, 4)),
    "BN": (bulk("BN", "zincblende", a=3.62), (4, 4, 4)),
    "TiN": (bulk("TiN", "rocksalt", a=4.25), (6, 6, 6)),
    "Cu": (bulk("Cu", a=3.63), (8, 8, 8)),
    "Mg": (bulk("Mg", a=3.19, c=5.19), (8, 8, 5)),
    "NaCl": (bulk("NaCl", "rocksalt", a=5.69), (4, 4, 4)),
    "AlN": (bulk("AlN", "wurtzite", a=3.13, c=5.02), (4, 4, 2)),
    "ZnO": (bulk("ZnO", "wurtzite", a=3.28, c=5.30), (4, 4, 2)),
    "MnO, ferromagnetic, U = 4 eV": (bulk("MnO", "rocksalt", a=4.45), (4, 4, 4)),
}
"""Crystal and k-point grid."""
VOLUMES_OF, VOLUME_CUTOFFS = ("BN", "TiN", "MgO", "LiF"), (450, 550, 700, 1500)
"""Crystals and cutoffs (eV) of volumes at zero pressure."""
CHOSEN_ON = ("MgO", "LiF", "SiC", "BN", "TiN", "Cu", "Mg")
"""Crystals on which the form of the decay and the width of the window were chosen."""


def calculated(name: str, cutoff: float) -> dict[str, Any]:
    """Return the stresses of a crystal at one cutoff, GPa."""
    from gpaw import GPAW, PW
    from gpaw.occupations import FermiDirac

    crystal, size = CRYSTALS[name]
    volumes, energies, ours = [], [], []
    plain = estimate = 0.0
    for factor in (0.97, 0.985, 1.0, 1.015, 1.03):
        atoms = crystal.copy()
        atoms.set_cell(crystal.cell * factor ** (1 / 3), scale_atoms=True)
        magnetic = {}
        if name.startswith("MnO"):
            atoms.set_initial_magnetic_moments([5.0, 0.0])
            magnetic = {"setups": {"Mn": ":d,4.0"}}
        grid = {"size": size, "gamma": True}
        atoms.calc = GPAW(mode=PW(cutoff), xc="PBE", kpts=grid, occupations=FermiDirac(0.1), txt=None, **magnetic)
        energies.append(atoms.get_potential_energy())
        volumes.append(atoms.get_volume())
        ours.append(pulay_stress(atoms.calc) / GPA)
        if factor == 1.0:
            plain = float(atoms.get_stress()[:3].mean()) / GPA
            estimate = 2 / 3 * cutoff * float(atoms.calc.setups.estimate_dedecut(cutoff / Ha)) / atoms.get_volume() / GPA
    slope = np.polyval(np.polyder(np.polyfit(volumes, energies, 2)), volumes[2]) / GPA
    return {
        "cutoff": cutoff, "plain": round(plain, 2), "exact": round(float(slope) - plain, 2), "ours": round(ours[2], 2),
        "estimate": round(float(estimate), 2), "volumes": [round(x, 2) for x in ours],
    }  # fmt: skip


def volumes_without_stress(name: str, cutoff: float) -> dict[str, Any]:
    """Return the volumes (Å³/atom) at which the stress of the label vanishes, with and without the Pulay stress, at `standard` k-points."""
    reference = make_reference(ReferenceSettings(engine="gpaw", cutoff=cutoff))
    crystal = CRYSTALS[name][0]
    volumes, with_it, without = [], [], []
    for factor in (0.94, 0.98, 1.02, 1.06):
        atoms = crystal.copy()
        atoms.set_cell(crystal.cell * factor ** (1 / 3), scale_atoms=True)
        label = reference.label(atoms)
        volumes.append(atoms.get_volume() / len(atoms))
        with_it.append(label.stress[:3].mean())
        without.append(with_it[-1] - label.details["pulay_stress"])

    def zero(stresses: list[float]) -> float:
        roots = np.roots(np.polyfit(volumes, stresses, 2)).real
        return round(float(roots[np.abs(roots - volumes[1]).argmin()]), 3)

    return {"cutoff": cutoff, "with": zero(with_it), "without": zero(without)}


def volume_table(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table of volumes at zero pressure."""
    heads = " | ".join(f"{cutoff} eV" for cutoff in VOLUME_CUTOFFS)
    lines = ["", f"| crystal | Å³/atom at zero pressure | {heads} |", "|" + "---|" * (len(VOLUME_CUTOFFS) + 2)]
    for name in VOLUMES_OF:
        found = {row["cutoff"]: row for row in rows if row["crystal"] == name}
        for key, method in (("with", "with the Pulay stress"), ("without", "without")):
            cells = " | ".join(f"{found[cutoff][key]:.3f}" if cutoff in found else "" for cutoff in VOLUME_CUTOFFS)
            lines.append(f"| {name if key == 'with' else ''} | {method} | {cells} |")
    return lines


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    heads = " | ".join(f"{cutoff} eV" for cutoff in CUTOFFS)
    lines = [f"| crystal | Pulay stress, GPa, from | {heads} |", "|" + "---|" * (len(CUTOFFS) + 2)]
    kinds = (("exact", "differences of energies"), ("ours", "wave functions at the cutoff"), ("estimate", "free atoms (GPAW)"))
    stresses = [row for row in data["rows"] if row["kind"] == "stress"]
    for name in CRYSTALS:
        rows = {row["cutoff"]: row for row in stresses if row["crystal"] == name}
        if rows:
            for key, method in kinds:
                cells = " | ".join(f"{rows[cutoff][key]:.1f}" if cutoff in rows else "" for cutoff in CUTOFFS)
                lines.append(f"| {name if key == 'exact' else ''} | {method} | {cells} |")
    others = [row for row in stresses if row["crystal"] not in CHOSEN_ON]
    for key, method in kinds[1:] if others else ():
        errors = [np.median([abs(row[key] - row["exact"]) for row in others if row["cutoff"] == cutoff]) for cutoff in CUTOFFS]
        lines.append(
            f"| median error of the last {len(CRYSTALS) - len(CHOSEN_ON)} | {method} | {' | '.join(f'{error:.1f}' for error in errors)} |"
        )
    volumes = [row for row in data["rows"] if row["kind"] == "volume"]
    return "\n".join(lines + (volume_table(volumes) if volumes else []))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    result = ResultFile(a.result, {"xc": "PBE"}, ("gpaw",))
    for name in CRYSTALS:
        for cutoff in CUTOFFS:
            if result.find(kind="stress", crystal=name, cutoff=cutoff) is None:
                row = calculated(name, cutoff)
                result.add(kind="stress", crystal=name, **row)
                print(name, row, flush=True)
    for name in VOLUMES_OF:
        for cutoff in VOLUME_CUTOFFS:
            if result.find(kind="volume", crystal=name, cutoff=cutoff) is None:
                row = volumes_without_stress(name, cutoff)
                result.add(kind="volume", crystal=name, **row)
                print(name, row, flush=True)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
