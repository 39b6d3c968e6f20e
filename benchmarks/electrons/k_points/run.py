"""How dense k-points must be for a density of states that a local model can learn.

    OMP_NUM_THREADS=1 python benchmarks/electrons/k_points/run.py

Eight aluminium atoms from molecular dynamics at 933 K: relative difference of the occupied density of states, smeared by several widths,
to that at the smallest spacing.
"""

from __future__ import annotations

import argparse

import numpy as np

from nucleate.electrons.data.dynamics import DynamicsSettings, run_dynamics
from nucleate.electrons.data.ground_state import ground_state
from nucleate.electrons.settings import GroundStateSettings

DRAWN, WIDTHS = 0.05, (0.1, 0.2, 0.3, 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spacings", type=float, nargs="+", default=[0.12, 0.16, 0.2, 0.25, 0.3, 0.4])
    a = parser.parse_args()
    dynamics = DynamicsSettings(material="Al", atoms=8, temperature=933, volume=17.6, equilibration=300, snapshots=1)
    (atoms,) = run_dynamics(dynamics).structures
    densest: dict[float, np.ndarray] = {}
    print("| spacing, 1/Å | k-points | core-s |", " | ".join(f"{w} eV" for w in WIDTHS), "|\n|---|---|---|" + "---|" * len(WIDTHS))
    for spacing in sorted(a.spacings):
        settings = GroundStateSettings(
            electronic_temperature=933, cutoff=200, k_spacing=spacing, low=-9, high=9, sigma=DRAWN, spacing=DRAWN / 2
        )  # fmt: skip
        snapshot = ground_state(atoms, settings)
        energies, dos = snapshot.energies, snapshot.ldos.sum((0, 1, 2))
        occupied = energies < snapshot.fermi_level + 1
        cells = []
        for width in WIDTHS:
            kernel = np.exp(-((energies[:, None] - energies) ** 2) / (2 * (width**2 - DRAWN**2)))
            own = (kernel / kernel.sum(1, keepdims=True) @ dos)[occupied]
            known = densest.setdefault(width, own)[: len(own)]
            own = own[: len(known)]
            cells.append(f"{100 * np.linalg.norm(own - known) / np.linalg.norm(known):.1f} %")
        print(
            "|",
            " | ".join(map(str, (spacing, snapshot.details["k_points"], round(snapshot.details["cpu_seconds"]), *cells))),
            "|",
            flush=True,
        )


if __name__ == "__main__":
    main()
