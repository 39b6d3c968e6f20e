"""Synthetic pair distribution functions of strained crystals: which prototype of 288 is first, and the reliability of the posterior.

    OMP_NUM_THREADS=1 python benchmarks/observables/pairs/run.py

The library and its parts `tune` and `test` are those of benchmarks/observables/powder. G(r) is that of a prototype whose cell is strained
within its symmetry, whose atoms are displaced at random, with a random Qmax, Qdamp and displacement parameter, nearest neighbours that move
together, and noise without oscillations faster than Qmax. Every entry of the library is compared with it after the fit of the cell. The
effective number of data is chosen on the part `tune`. Finished rows are kept in the result file.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from nucleate.benchmark.calibration import (
    LARGEST_STRAIN,
    TESTED,
    distorted,
    duplicates,
    first_and_right,
    library,
    part,
    reliability,
    sharpest,
)
from nucleate.benchmark.result_file import ResultFile
from nucleate.benchmark.statistics import wilson
from nucleate.observables.pair_distribution import PairLines, PairSettings, pair_data, pair_distribution, pair_lines
from nucleate.observables.variable_cell import fit_cell
from nucleate.polymorphs.posterior import PAIR_POINTS, log_likelihood_of_curve


class Kind(NamedTuple):
    """A kind of synthetic G(r): displacement of each coordinate (Å), noise relative to the rms of G(r), and range of Qmax (1/Å)."""

    seed: int
    rattle: float
    noise: float
    q_max: tuple[float, float]


KINDS = {"good data": Kind(0, 0.03, 0.05, (20.0, 28.0)), "poor data": Kind(1, 0.10, 0.4, (12.0, 16.0))}
KEPT = 25
"""Number of highest similarities that a row keeps, for the posterior."""
TOGETHER = 3.0
"""Distance below which neighbours move together in part, Å; their distances have a smaller displacement parameter."""


def synthetic(atoms: Atoms, kind: Kind, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, PairSettings, float]:
    """Return distances, G(r), the settings with which it is compared, and the largest absolute principal strain."""
    crystal, strain = distorted(atoms, True, kind.rattle, rng)
    r = np.arange(0.6, 20.0, 0.02)
    q_max, q_damp, b_iso = rng.uniform(*kind.q_max), rng.uniform(0.01, 0.05), rng.uniform(0.2, 1.0)
    settings = PairSettings(q_max=q_max, q_damp=q_damp)
    wide, narrow = (pair_distribution(crystal, r, replace(settings, b_iso=b), symmetry=False) for b in (b_iso, 0.5 * b_iso))
    near = 1 / (1 + np.exp((r - TOGETHER) / 0.2))
    g = near * narrow + (1 - near) * wide
    noise = np.fft.rfft(rng.normal(size=len(r)))
    noise[2 * np.pi * np.fft.rfftfreq(len(r), 0.02) > q_max] = 0
    ripples = np.fft.irfft(noise, len(r))
    inside = r > 1.0
    return r, g + ripples * kind.noise * np.sqrt((g[inside] ** 2).mean() / (ripples**2).mean()), settings, strain


def compare(number: int, kind: Kind, crystals: list[Atoms], lines: list[PairLines], seed: int) -> dict[str, Any]:
    """Compare one G(r) with the library."""
    r, g, settings, strain = synthetic(crystals[number], kind, np.random.default_rng([seed, number, kind.seed]))
    data = pair_data(r, g, settings)
    cpu = time.process_time()
    fitted = np.array([fit_cell(replace(each, damping=settings.q_damp), data.levels, data.fit).fitted for each in lines])
    cpu = time.process_time() - cpu
    right = np.zeros(len(crystals), dtype=bool)
    right[duplicates(number, crystals)] = True
    order = np.argsort(-fitted)[:KEPT]
    return {
        "formula": crystals[number].get_chemical_formula(), "strain": round(strain, 4),
        "rank": int((fitted[~right] >= fitted[right].max()).sum()) + 1, "fitted": round(float(fitted[right].max()), 4),
        "fitted_wrong": round(float(fitted[~right].max()), 4), "top": np.round(fitted[order], 4).tolist(),
        "right": [n for n, k in enumerate(order) if right[k]], "cpu_ms": round(1e3 * cpu / len(crystals), 2),
    }  # fmt: skip


def probabilities(row: dict[str, Any], points: float) -> tuple[float, float]:
    """Return the posterior probability of the first entry, and of all right entries, among those that the row keeps."""
    return first_and_right(log_likelihood_of_curve(np.array(row["top"]), points), row["right"])


def score(rows: list[dict[str, Any]], points: float) -> float:
    """Return the mean logarithm of the probability of the right entries."""
    return float(np.mean([np.log(max(probabilities(row, points)[1], 1e-12)) for row in rows]))


def table(data: dict[str, Any]) -> str:
    """Return the tables of the results page: how often the right entry is first, and the reliability of the posterior."""
    parts = {name: [row for row in data["rows"] if row["part"] == name] for name in ("tune", "test")}
    lines = ["| G(r) | prototypes | first, cell fitted | 95 % | similarity | best wrong entry | CPU per comparison |", "|" + "---|" * 7]
    for kind in KINDS:
        rows = [row for row in parts["test"] if row["kind"] == kind]
        if rows:
            hits = sum(row["rank"] == 1 for row in rows)
            low, high = wilson(hits, len(rows))
            median = [f"{np.median([row[name] for row in rows]):.3f}" for name in ("fitted", "fitted_wrong")]
            lines.append(
                f"| {kind} | {len(rows)} | {100 * hits / len(rows):.0f} % ({hits}) | {100 * low:.0f}-{100 * high:.0f} % "
                f"| {' | '.join(median)} | {np.mean([row['cpu_ms'] for row in rows]):.0f} ms |"
            )
    best = sharpest(lambda n: score(parts["tune"], n), 0.5, 500.0)
    lines += ["", f"The effective number of data of highest likelihood on the {len(parts['tune'])} functions of the part `tune` is {best:.1f}; nucleate uses {PAIR_POINTS:g}.", ""]  # fmt: skip  # noqa: E501
    lines += ["| predicted probability of the first entry | functions | mean prediction | right | 95 % |", "|---|---|---|---|---|"]
    predictions = [probabilities(row, PAIR_POINTS)[0] for row in parts["test"]]
    return "\n".join([*lines, *reliability(predictions, [0 in row["right"] for row in parts["test"]])])


def main() -> None:
    """Run and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tune", type=int, default=20, help="Number of prototypes of the part `tune`.")
    parser.add_argument("--test", type=int, default=TESTED)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    result = ResultFile(a.result, {"largest_strain": LARGEST_STRAIN, "seed": a.seed}, ("pymatgen", "scipy", "spglib"))
    crystals = library()
    lines = [pair_lines(atoms, PairSettings()) for atoms in crystals]
    names = list(KINDS)
    jobs = [("tune", names[k % 2], int(number)) for k, number in enumerate(part("tune", len(crystals))[: a.tune])]
    # Alternating kinds, so that a run that is cut short has both.
    jobs += [("test", names[k % 2], int(number)) for k, number in enumerate(part("test", len(crystals))[: a.test])]
    for name, kind, number in jobs:
        if result.find(part=name, kind=kind, number=number) is None:
            row = compare(number, KINDS[kind], crystals, lines, a.seed + (1000 if name == "tune" else 0))
            result.add(part=name, kind=kind, number=number, **row)
            print(name, kind, number, row["formula"], row["rank"], row["fitted"], row["fitted_wrong"], row["cpu_ms"], flush=True)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
