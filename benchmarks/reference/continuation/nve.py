"""Drift of the total energy and processor time of dynamics on GPAW, with extrapolated densities and with GPAW's own continuation.

    OMP_NUM_THREADS=1 python benchmarks/reference/continuation/nve.py --crystals Al8 Si8 --steps 250

Both dynamics start with the same rattled atoms and velocities (600 K) and take steps of 2 fs. The drift is the slope of the total energy by
least squares. A line is printed for each crystal and start.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
from ase import units
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from ase.md.verlet import VelocityVerlet
from gpaw import GPAW, PW
from gpaw.occupations import FermiDirac
from run import CUTOFFS, PATHS, STEP, crystal_of

from nucleate.gpaw.continued import ContinuedGPAW


def main() -> None:
    """Run the dynamics and print drift, scatter and time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crystals", nargs="+", choices=PATHS["dynamics"], default=list(PATHS["dynamics"]))
    parser.add_argument("--steps", type=int, default=250)
    a = parser.parse_args()
    warnings.simplefilter("ignore")
    print("| crystal | start | fs | iterations a step | processor s a step | drift, meV/atom/ps | scatter, meV/atom |\n|" + "---|" * 7)
    for name in a.crystals:
        for start, make in (("extrapolated", ContinuedGPAW), ("calculator of GPAW", GPAW)):
            atoms = crystal_of(name, 0)
            atoms.calc = make(
                mode=PW(CUTOFFS[name]), xc="PBE", kpts={"size": (2, 2, 2), "gamma": True}, occupations=FermiDirac(0.1), txt=None,
                convergence={"density": 1e-4, "forces": 0.01}, symmetry={"point_group": False},
            )  # fmt: skip
            MaxwellBoltzmannDistribution(atoms, temperature_K=600, rng=np.random.default_rng(0))
            Stationary(atoms)
            dynamics = VelocityVerlet(atoms, STEP * units.fs)
            energies, iterations = [], []
            began = time.process_time()
            for _ in dynamics.irun(a.steps):
                # The conserved quantity of dynamics with smeared occupations contains the free energy.
                energies.append(atoms.get_potential_energy(force_consistent=True) + atoms.get_kinetic_energy())
                iterations.append(atoms.calc.dft.scf_loop.niter)
            seconds = (time.process_time() - began) / a.steps
            times = STEP * np.arange(len(energies)) / 1000
            slope, offset = np.polyfit(times, energies, 1)
            scatter = np.std(np.array(energies) - slope * times - offset)
            print(
                f"| {name} | {start} | {STEP * a.steps:.0f} | {np.mean(iterations[1:]):.2f} | {seconds:.2f} "
                f"| {1000 * slope / len(atoms):+.2f} | {1000 * scatter / len(atoms):.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
