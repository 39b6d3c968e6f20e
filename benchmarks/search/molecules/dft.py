"""Cells and lattice energies of known molecular crystals on GPAW with PBE-D3(BJ).

    OMP_NUM_THREADS=1 python benchmarks/search/molecules/dft.py --targets "dry ice" urea --out runs/molecular-dft

The crystals are relaxed from their experimental cells; a molecule is relaxed alone from its geometry in the crystal, in a box with 9 Å of
vacuum. Lattice energies are those of the relaxed crystals minus those of the relaxed molecules, without vibrations. All calculations are
kept in a ledger in --out, so that a stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read, write
from ase.units import kJ, mol

sys.path.insert(0, str(Path(__file__).parent))

from targets import TARGETS

from nucleate import api
from nucleate.molecules.topology import crystal_bonds, part_numbers, unwrapped

VACUUM = 9.0
"""Distance of the periodic images of an isolated molecule, Å."""


def relaxed(atoms: Atoms, name: str, out: Path, cutoff: float, variable: bool) -> tuple[Atoms, float]:
    """Relax a structure on the reference; return it and its energy in eV."""
    path = out / f"{name}.extxyz"
    if not variable:
        # Without periodic directions, the box is kept.
        atoms = Atoms(atoms.numbers, atoms.positions, cell=np.ptp(atoms.positions, axis=0) + VACUUM, pbc=False)
    write(path, atoms)
    settings = {"reference": {"engine": "gpaw", "preset": "standard", "cutoff": cutoff, "dispersion": "d3bj"}}
    end = api.relax_file(path, settings=settings, workers=1, out=out / f"{name}-relaxed.extxyz", ledger=out / "dft.db")
    (result,) = end.structures
    print(f"{name}: {result.stop}, {result.steps} steps, {result.space_group}", flush=True)
    final = read(out / f"{name}-relaxed.extxyz")
    return final, float(final.info["enthalpy_per_atom"]) * len(final)


def main() -> None:
    """Relax crystals and molecules and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="+", default=["dry ice", "urea"])
    parser.add_argument("--cutoff", type=float, default=1000.0)
    parser.add_argument("--crystals-only", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs/molecular-dft"))
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    print("| crystal | a, b, c, Å | experiment | deviation, % | lattice energy, kJ/mol |\n|---|---|---|---|---|")
    for target in TARGETS:
        if target.name not in a.targets:
            continue
        crystal = target.atoms()
        bonds = crystal_bonds(crystal).pairs
        parts = part_numbers(len(crystal), bonds)
        one = Atoms(crystal.numbers[parts == 0], unwrapped(crystal, parts, bonds)[parts == 0])
        end, energy = relaxed(crystal, target.name.replace(" ", "-"), a.out, a.cutoff, True)
        lattice = ""
        if not a.crystals_only:
            _, alone = relaxed(one, f"{target.name.replace(' ', '-')}-molecule", a.out, a.cutoff, False)
            lattice = f"{(energy / target.units - alone) * mol / kJ:.1f}"
        lengths, known = end.cell.lengths(), np.array(target.cell[:3])
        deviation = ", ".join(f"{x:+.1f}" for x in 100 * (lengths / known - 1))
        shown = [", ".join(f"{x:.3f}" for x in cell) for cell in (lengths, known)]
        print(f"| {target.name} | {shown[0]} | {shown[1]} | {deviation} | {lattice} |", flush=True)


if __name__ == "__main__":
    main()
