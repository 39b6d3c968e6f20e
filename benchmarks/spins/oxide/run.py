"""One state's couplings against energies of two: MnO, ferromagnetic and antiferromagnetic along [111], PBE + U = 4 eV, GPAW.

    OMP_NUM_THREADS=1 python benchmarks/spins/oxide/run.py --out FOLDER

Liechtenstein's couplings of each state say what the other one's energy is; the calculations themselves say it too.
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bands", type=float, nargs="+", default=[1.5, 3.0])
    a = parser.parse_args()
    warnings.simplefilter("ignore")
    from gpaw import GPAW

    cell = 4.445 * np.array([[1, 0.5, 0.5], [0.5, 1, 0.5], [0.5, 0.5, 1]])
    atoms = Atoms("Mn2O2", scaled_positions=[[0, 0, 0], [0.5] * 3, [0.25] * 3, [0.75] * 3], cell=cell, pbc=True)
    reference = ReferenceSettings(cutoff=500, smearing=0.1, k_spacing=0.45, parameters={"setups": {"Mn": ":d,4.0"}})
    states = {"ferromagnet": [5, 5, 0, 0], "antiferromagnet": [5, -5, 0, 0]}
    print("| state | bands for an electron | J1, meV | J2, meV | E(antiferro) - E(ferro), meV a cell | balance | s |")
    print("|---|---|---|---|---|---|---|")
    for bands in a.bands:
        for name, moments in states.items():
            atoms.set_initial_magnetic_moments(moments)
            settings = LiechtensteinSettings(moments={"Mn": 5.0}, cutoff=4.6, length=9.3, bands=bands)
            started = time.perf_counter()
            result = liechtenstein_couplings(atoms, settings, reference, a.out / name)
            found, seconds = result.couplings, time.perf_counter() - started
            j1, j2 = (found.isotropic[np.abs(found.distances - d) < 0.05].mean() for d in (3.143, 4.445))
            ferro, antiferro = np.outer([1, 1], [0, 0, 1]), np.outer([1, -1], [0, 0, 1])
            told = found.energy(antiferro) - found.energy(ferro)
            print(f"| {name} | {bands} | {j1:.2f} | {j2:.2f} | {told:.1f} | {result.balance.mean():.3f} | {seconds:.0f} |", flush=True)
    energies = [GPAW(str(a.out / name / "state.gpw"), txt=None).get_potential_energy() for name in states]
    print(f"energies: {1e3 * (energies[1] - energies[0]):.1f} meV a cell")


if __name__ == "__main__":
    main()
