"""The Curie temperature of the simple cubic Heisenberg ferromagnet, from crossings of Binder's cumulant.

    OMP_NUM_THREADS=1 python benchmarks/spins/curie/run.py [--sizes 8 12 16 24] [--seeds 3] --out runs/curie

k T_C = 1.4429 J: K_c = 0.693035(37) (K. Chen, A. M. Ferrenberg, D. P. Landau, Phys. Rev. B 48, 3249 (1993), doi
10.1103/PhysRevB.48.3249). Crossings of finite sizes deviate from it by corrections that decrease with the size. Seeds that are in
result.json are not simulated again; a stopped simulation resumes from --out.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from nucleate.benchmark.result_file import ResultFile
from nucleate.spins.couplings import Couplings, tensor
from nucleate.spins.order.binder import crossing
from nucleate.spins.order.curie import leading_order, rpa
from nucleate.spins.simulate.settings import SimulationSettings
from nucleate.spins.simulate.simulation import simulate
from nucleate.units import K_B

EXACT = 1 / 0.693035


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = ["| seed | sizes | k T_C / J | deviation, % | cumulant | CPU-s |", "|---|---|---|---|---|---|"]
    for row in data["rows"]:
        for c in row["crossings"]:
            t, error = c["temperature"], c["error"]
            deviation = f"{100 * (t / EXACT - 1):+.2f} | {c['cumulant']:.4f} | {row['cpu_seconds']:.0f}"
            lines.append(f"| {row['seed']} | {c['small']}, {c['large']} | {t:.4f} ± {error:.4f} | {deviation} |")
    wide = [row["crossings"][-1] for row in data["rows"]]
    mean = sum(c["temperature"] for c in wide) / len(wide)
    off = [abs(c["temperature"] - EXACT) / c["error"] for row in data["rows"] for c in row["crossings"]]
    within = f"{sum(x <= 1 for x in off)} are within one error bar of it and {sum(x <= 2 for x in off)} within two"
    return "\n".join(lines) + (
        f"\n\nThe mean of the crossings of the smallest and the largest size is {mean:.4f}, which deviates by "
        f"{100 * (mean / EXACT - 1):+.2f} % from the literature value. Of {len(off)} crossings {within}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 12, 16, 24])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--measurements", type=int, default=4096)
    parser.add_argument("--out", type=Path, default=Path("runs/curie"))
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    couplings = Couplings(3 * np.eye(3), np.zeros((1, 3)), ("Fe",), [1.0], [0] * 3, [0] * 3, np.eye(3), tensor(np.ones(3)))
    temperatures = (np.linspace(1.42, 1.465, 7) / K_B).tolist()
    print(f"mean field {K_B * leading_order(couplings).mean_field:.4f} J, RPA {K_B * rpa(couplings):.4f} J, literature {EXACT:.5f} J")
    result = ResultFile(a.result, {"sizes": a.sizes, "measurements": a.measurements, "temperatures": temperatures}, ("numba",))
    for seed in range(a.seeds):
        if result.find(seed=seed) is not None:
            continue
        start = time.process_time()
        settings = SimulationSettings(temperatures=temperatures, sizes=a.sizes, measurements=a.measurements, seed=seed)
        rows = simulate(couplings, settings, a.out / str(seed)).rows
        cpu = time.process_time() - start
        crossings = []
        for small, large in [*zip(a.sizes, a.sizes[1:], strict=False), (a.sizes[0], a.sizes[-1])]:
            found = crossing(rows, small, large)
            crossings.append(asdict(found) | {"temperature": K_B * found.temperature, "error": K_B * found.error})
        result.add(seed=seed, cpu_seconds=round(cpu, 1), crossings=crossings)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
