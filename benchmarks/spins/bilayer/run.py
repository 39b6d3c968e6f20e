"""Dzyaloshinskii-Moriya vectors from GPAW: a layer of cobalt on a layer of platinum, and the same sheet with platinum on both sides.

    OMP_NUM_THREADS=1 python benchmarks/spins/bilayer/run.py --out FOLDER [--meshes 12 18]

Local density, 350 eV, spin-orbit coupling added to the states of a scalar-relativistic calculation. By symmetry D of nearest neighbours
lies across the pair, in the plane and out of it where the sheet has no mirror; between two alike layers of platinum the in-plane part
cancels. Both are printed: what breaks them is error.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from ase import Atoms

from nucleate.reference.settings import ReferenceSettings
from nucleate.spins.dft.gpaw_liechtenstein import liechtenstein_couplings
from nucleate.spins.dft.response_settings import LiechtensteinSettings

SIDE, APART, HEIGHT = 2.77, 1.95, 13.0


def sheet(both: bool) -> Atoms:
    """Pt-Co, or Pt-Co-Pt."""
    cell = [[SIDE, 0, 0], [-SIDE / 2, SIDE * 3**0.5 / 2, 0], [0, 0, HEIGHT]]
    atoms = Atoms("CoPtPt" if both else "CoPt", cell=cell, pbc=True)
    middle = HEIGHT / 2
    heights = [middle, middle - APART, middle + APART][: len(atoms)]
    hollows = [(0, 0), (1 / 3, 2 / 3), (1 / 3, 2 / 3)][: len(atoms)]
    atoms.set_scaled_positions([(a, b, z / HEIGHT) for (a, b), z in zip(hollows, heights, strict=True)])
    return atoms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--meshes", type=int, nargs="+", default=[12, 18])
    a = parser.parse_args()
    warnings.simplefilter("ignore")
    reference = ReferenceSettings(xc="LDA", cutoff=350, smearing=0.1, k_spacing=0.25)
    print("| sheet | k-points | moment | J1, meV | D1, meV: across, along, size along z | spread by symmetry, meV | s |")
    print("|---|---|---|---|---|---|---|")
    for both in (False, True):
        for mesh in a.meshes:
            started = time.perf_counter()
            settings = LiechtensteinSettings(moments={"Co": 1.8}, cutoff=5.0, mesh=(mesh, mesh, 1), bands=1.5, spin_orbit=True)
            found = liechtenstein_couplings(sheet(both), settings, reference, a.out / f"co-{both}")
            near = np.flatnonzero(found.couplings.distances < 1.01 * SIDE)
            along = found.couplings.vectors[near] / SIDE
            across = np.cross([0, 0, 1], along)
            d = found.couplings.dm[near]
            parts = [float(np.mean(np.sum(d * axis, axis=1))) for axis in (across, along)] + [float(np.abs(d[:, 2]).max())]
            name, seconds = "Pt-Co-Pt" if both else "Pt-Co", time.perf_counter() - started
            j, spread = found.couplings.isotropic[near].mean(), found.couplings.errors[near].max()
            texts = ", ".join(f"{x:+.3f}" for x in parts)
            print(f"| {name} | {mesh} x {mesh} | {found.moments[0]:.2f} | {j:.2f} | {texts} | {spread:.3f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
