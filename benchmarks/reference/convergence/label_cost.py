"""What GPAW's presets cost a label, how they order phases, and how aluminium's energy settles with k-points and smearing.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/reference/convergence/label_cost.py cost|phases|smearing

One calculation each, printed as it ends. To compare with another version of the presets, run the same file on that version.
"""

from __future__ import annotations

import argparse
import warnings

from ase.build import bulk
from run import phases, random_cell

from nucleate.reference.gpaw import GPAWReference
from nucleate.reference.settings import ReferenceSettings

SMEARINGS = (
    ("fermi-dirac", 0.1, {}), ("fermi-dirac", 0.2, {}), ("marzari-vanderbilt", 0.2, {}), ("marzari-vanderbilt", 0.4, {}),
    ("methfessel-paxton", 0.3, {"order": 1}),
)  # fmt: skip
"""Name, width in eV, and what else GPAW asks for."""


def cost() -> None:
    """Random and symmetric cells at `standard`."""
    cells = {
        "Si8 random": random_cell("Si8", 160, 2.0, 0), "Si8 another": random_cell("Si8", 160, 2.0, 1),
        "Si8 diamond cube": bulk("Si", a=5.47, cubic=True), "Al4 random": random_cell("Al4", 68, 2.2, 0),
        "Al4O6 random": random_cell("Al4O6", 95, 1.45, 0), "Al4O6 corundum": phases()["Al2O3"]["corundum"],
        "Na4Cl4 cube": bulk("NaCl", "rocksalt", 5.7, cubic=True),
    }  # fmt: skip
    reference = GPAWReference(ReferenceSettings(preset="standard"))
    for name, atoms in cells.items():
        label = reference.label(atoms)
        print(f"{name}: {label.energy / len(atoms):.4f} eV/atom, {label.core_seconds:.1f} CPU s", flush=True)


def orders() -> None:
    """Phases of three systems at each preset, relative to the first."""
    for preset in ("fast", "standard", "accurate"):
        reference = GPAWReference(ReferenceSettings(preset=preset))
        for system in ("Si", "GaAs", "NaCl"):
            energies = {name: reference.label(atoms).energy / len(atoms) for name, atoms in phases()[system].items()}
            first = next(iter(energies.values()))
            print(preset, system, {name: f"{1e3 * (energy - first):.1f} meV/atom" for name, energy in energies.items()}, flush=True)


def smearing() -> None:
    """Energy of fcc aluminium on grids through gamma, relative to 18 points along an axis, at 300 eV."""
    from gpaw import GPAW, PW

    for name, width, more in SMEARINGS:
        energies = []
        for n in (7, 9, 11, 13, 15, 18):
            atoms = bulk("Al", "fcc", 4.05)
            atoms.calc = GPAW(
                mode=PW(300), kpts={"size": (n, n, n), "gamma": True}, occupations={"name": name, "width": width, **more}, txt=None,
                convergence={"density": 1e-4}, symmetry={"tolerance": 1e-4},
            )  # fmt: skip
            energies.append(atoms.get_potential_energy())
        print(name, width, [f"{1e3 * (energy - energies[-1]):+.1f}" for energy in energies], "meV/atom", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cost", "phases", "smearing"])
    warnings.simplefilter("ignore")
    {"cost": cost, "phases": orders, "smearing": smearing}[parser.parse_args().what]()


if __name__ == "__main__":
    main()
