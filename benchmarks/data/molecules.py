"""Distorted molecules of varying stoichiometry, labelled with GFN2-xTB: a semi-empirical stand-in for a first-principles reference.

    pip install tblite; OMP_NUM_THREADS=1 python benchmarks/data/molecules.py --count 10000 --out runs/molecules.extxyz

Molecules are the closed-shell ones of ASE's g2 collection (L. A. Curtiss et al., J. Chem. Phys. 106, 1063 (1997),
doi 10.1063/1.473182). Each is distorted by Gaussian displacements of 0.02 to 0.2 Å and by stretching or squeezing of up to 8 %, none
with a pair nearer than 0.6 times its covalent distance. Structure k follows from the seed and k alone: a stopped run goes on, more
can be added. `group` names the molecule: splits keep a molecule on one side.

GFN2-xTB: C. Bannwarth, S. Ehlert and S. Grimme, J. Chem. Theory Comput. 15, 1652 (2019), doi 10.1021/acs.jctc.8b01176.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import ase.io
import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.collections import g2
from ase.data import covalent_radii
from tblite.ase import TBLite

METHOD = "GFN2-xTB"
CLOSEST = 0.6
"""Smallest distance as a fraction of the sum of covalent radii."""


def names(largest: int, elements: set[str]) -> list[str]:
    """Closed-shell molecules of at least two atoms, of these elements; an empty set: of any."""
    found = []
    for name in g2.names:
        atoms = molecule(name)
        if not 2 <= len(atoms) <= largest or atoms.get_initial_magnetic_moments().any():
            continue
        if not elements or set(atoms.get_chemical_symbols()) <= elements:
            found.append(name)
    return found


def distorted(name: str, rng: np.random.Generator) -> Atoms:
    """One distorted copy."""
    atoms = molecule(name)
    start = atoms.positions.copy()
    limits = CLOSEST * (covalent_radii[atoms.numbers][:, None] + covalent_radii[atoms.numbers][None])
    np.fill_diagonal(limits, 0)
    while True:
        width = rng.uniform(0.02, 0.2)
        atoms.positions = start * rng.uniform(0.92, 1.08) + width * rng.normal(size=start.shape)
        if (atoms.get_all_distances() >= limits).all():
            return atoms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--largest", type=int, default=14, help="atoms of the largest molecule")
    parser.add_argument("--elements", nargs="*", default=[], help="take molecules of these alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/molecules.extxyz"))
    a = parser.parse_args()
    a.out.parent.mkdir(parents=True, exist_ok=True)
    pool = names(a.largest, set(a.elements))
    done = 0
    if a.out.exists():
        frames = ase.io.read(a.out, index=":")
        done = max((atoms.info["number"] for atoms in frames), default=-1) + 1
        # A kill may have cut the last frame.
        ase.io.write(a.out, frames)
    started, failed = time.monotonic(), 0
    for k in range(done, a.count):
        atoms = distorted(pool[k % len(pool)], np.random.default_rng([a.seed, k]))
        atoms.calc = TBLite(method=METHOD, verbosity=0)
        try:
            energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        except Exception as error:  # tblite reports trouble with exceptions of several kinds
            failed += 1
            print(f"{k} {pool[k % len(pool)]}: {type(error).__name__}: {str(error).splitlines()[0][:100]}", flush=True)
            continue
        labelled = Atoms(atoms.numbers, atoms.positions)
        labelled.calc = SinglePointCalculator(labelled, energy=energy, forces=forces)
        labelled.info.update(number=k, group=pool[k % len(pool)], reference=METHOD)
        ase.io.write(a.out, labelled, append=True)
        if (k + 1) % 500 == 0:
            print(f"{k + 1} of {a.count}, {failed} failed, {(time.monotonic() - started) / (k + 1 - done):.4f} s each", flush=True)
    print(f"{a.count} asked for, {failed} of {a.count - done} failed in this run; {len(pool)} molecules; {a.out}")


if __name__ == "__main__":
    main()
