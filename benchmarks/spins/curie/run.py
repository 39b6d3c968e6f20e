"""The Curie temperature of the simple cubic Heisenberg ferromagnet, from crossings of Binder's cumulant.

    OMP_NUM_THREADS=1 python benchmarks/spins/curie/run.py [--sizes 8 12 16 24] [--seeds 3] --out runs/curie

k T_C = 1.4429 J: K_c = 0.693035(37) (K. Chen, A. M. Ferrenberg, D. P. Landau, Phys. Rev. B 48, 3249 (1993), doi
10.1103/PhysRevB.48.3249). Crossings of finite sizes lie off by corrections that fall with the size.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from nucleate.spins.couplings import Couplings, tensor
from nucleate.spins.order.binder import crossing
from nucleate.spins.order.curie import leading_order, rpa
from nucleate.spins.simulate.settings import SimulationSettings
from nucleate.spins.simulate.simulation import simulate
from nucleate.units import K_B

EXACT = 1 / 0.693035


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 12, 16, 24])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--measurements", type=int, default=4096)
    parser.add_argument("--out", type=Path, default=Path("runs/curie"))
    a = parser.parse_args()
    couplings = Couplings(3 * np.eye(3), np.zeros((1, 3)), ("Fe",), [1.0], [0] * 3, [0] * 3, np.eye(3), tensor(np.ones(3)))
    temperatures = (np.linspace(1.42, 1.465, 7) / K_B).tolist()
    print(f"mean field {K_B * leading_order(couplings).mean_field:.4f} J, RPA {K_B * rpa(couplings):.4f} J, literature {EXACT:.5f} J")
    print("| seed | sizes | k T_C / J | error | off, % | cumulant | CPU-s |\n|---|---|---|---|---|---|---|")
    for seed in range(a.seeds):
        start = time.process_time()
        settings = SimulationSettings(temperatures=temperatures, sizes=a.sizes, measurements=a.measurements, seed=seed)
        rows = simulate(couplings, settings, a.out / str(seed)).rows
        cpu = time.process_time() - start
        for small, large in [*zip(a.sizes, a.sizes[1:], strict=False), (a.sizes[0], a.sizes[-1])]:
            found = crossing(rows, small, large)
            t, error = K_B * found.temperature, K_B * found.error
            print(
                f"| {seed} | {small}, {large} | {t:.4f} | {error:.4f} | {100 * (t / EXACT - 1):+.2f} | {found.cumulant:.4f} | {cpu:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
