"""Stress of the ground states of the electrons, beside the derivative of free energies at a fixed cutoff.

    OMP_NUM_THREADS=1 python benchmarks/electrons/stress/run.py

LDA with norm-conserving pseudopotentials. The derivative is that of a cubic polynomial through the free energies of seven volumes within
4 %, with one mesh of k-points. The cutoffs below 400 eV, and 700 eV for iron, are those of benchmarks/data/electrons.toml. Finished rows
are not repeated.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk

from nucleate.benchmark.result_file import ResultFile
from nucleate.electrons.data.ground_state import engine_settings, ground_state, self_consistent
from nucleate.electrons.settings import GroundStateSettings
from nucleate.errors import BadInput
from nucleate.units import GPA, HARTREE

STRAINS = np.linspace(-0.04, 0.04, 7)
"""Relative changes of the volume."""
CRYSTALS = {
    "aluminium": bulk("Al", a=4.05),
    "beryllium": bulk("Be", a=2.26, c=3.57),
    "silicon": bulk("Si", a=5.4),
    "magnesia": bulk("MgO", "rocksalt", a=4.17),
    "iron, both spins": bulk("Fe", a=2.8),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "aluminium": {"k_spacing": 0.235, "electronic_temperature": 933},
    "beryllium": {"k_spacing": 0.33, "electronic_temperature": 1000},
    "silicon": {"k_spacing": 0.43, "electronic_temperature": 100},
    "magnesia": {"k_spacing": 0.68, "electronic_temperature": 300},
    "iron, both spins": {"k_spacing": 0.55, "electronic_temperature": 1000, "magnetic_moments": {"Fe": 3.0}},
}
CUTOFFS = {
    "aluminium": (200, 300),
    "beryllium": (300, 400),
    "silicon": (250, 350),
    "magnesia": (350, 700, 1400),
    "iron, both spins": (700, 1400),
}


def stresses(crystal: Atoms, settings: GroundStateSettings) -> dict[str, float]:
    """Return the derivative of the free energy, the stress of a snapshot and its Pulay stress, GPa.

    Raises:
        BadInput: the mesh of k-points is not the same for all volumes.
    """
    volumes, energies, meshes = [], [], set()
    for strain in STRAINS:
        atoms = crystal.copy()
        atoms.set_cell(crystal.cell * (1 + strain) ** (1 / 3), scale_atoms=True)
        meshes.add(tuple(engine_settings(atoms, settings)["mesh"]))
        energies.append(float(self_consistent(atoms, settings).dft.energies.total_free) * HARTREE)
        volumes.append(atoms.get_volume())
    if len(meshes) > 1:
        raise BadInput(f"{crystal.symbols}: the volumes have different meshes of k-points {sorted(meshes)}; change k_spacing")
    snapshot = ground_state(crystal, settings)
    assert snapshot.stress is not None
    slope = np.polyfit(np.array(volumes) - crystal.get_volume(), energies, 3)[-2]
    found = {"derivative": slope, "stress": np.trace(snapshot.stress) / 3, "pulay": snapshot.details["pulay_stress"]}
    return {name: round(float(value) / GPA, 3) for name, value in found.items()}


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = [
        "| crystal | cutoff, eV | dF/dV, GPa | error of GPAW's stress, GPa | error with the Pulay stress, GPa |",
        "|" + "---|" * 5,
    ]
    for row in sorted(data["rows"], key=lambda row: (list(CUTOFFS).index(row["crystal"]), row["cutoff"])):
        errors = row["stress"] - row["pulay"] - row["derivative"], row["stress"] - row["derivative"]
        lines.append(f"| {row['crystal']} | {row['cutoff']} | {row['derivative']:.1f} | {errors[0]:+.1f} | {errors[1]:+.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crystals", nargs="+", choices=list(CUTOFFS), default=list(CUTOFFS))
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    result = ResultFile(a.result, {}, ("gpaw",))
    for name in a.crystals:
        for cutoff in CUTOFFS[name]:
            if result.find(crystal=name, cutoff=cutoff) is None:
                settings = GroundStateSettings(cutoff=cutoff, **SETTINGS[name])
                result.add(crystal=name, cutoff=cutoff, **stresses(CRYSTALS[name], settings))
                print(result.rows[-1], flush=True)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
