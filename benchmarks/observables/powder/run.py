"""Synthetic powder patterns of strained crystals, and how often the right prototype is found among 288.

    OMP_NUM_THREADS=1 python benchmarks/observables/powder/run.py

The library consists of the AFLOW prototypes of pymatgen in their own compositions and cells. A pattern is that of a prototype whose cell is
strained, whose atoms are displaced at random, with lines of a random width, a smooth background and Poisson noise. Every entry of the
library is compared with it, in its own cell and with the cell fitted. An entry is right if it is the prototype or matches it by
StructureMatcher without scaling of the volume.

The settings of the comparison were chosen on patterns of the other 228 prototypes (part `tune`), with other random numbers; the results
are those of the 60 prototypes of the part `test`. Finished patterns are kept in the result file.
"""

from __future__ import annotations

import argparse
import time
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
from nucleate.observables.correlation import Measured, Profile
from nucleate.observables.powder import PowderLines, fit_powder, powder_data
from nucleate.observables.radiation import Radiation, radiation
from nucleate.observables.reflections import reflections
from nucleate.observables.variable_cell import fit_cell, strained_curve
from nucleate.polymorphs.posterior import POWDER_POINTS, log_likelihood_of_curve

LINE = "CuKa"


class Kind(NamedTuple):
    """A kind of synthetic pattern: strains, displacement of each coordinate (Å), counts of the highest peak, last angle, background.

    `free` tells whether the fit of the cell may break the symmetry, and `seed` distinguishes the random numbers of the kinds.
    """

    seed: int
    symmetric: bool
    free: bool
    rattle: float
    counts: float
    last: float
    background: float


KINDS = {
    "symmetry-allowed strain": Kind(0, True, False, 0.03, 5000.0, 90.0, 0.1),
    "any strain": Kind(1, False, False, 0.03, 5000.0, 90.0, 0.1),
    "poor data": Kind(2, True, False, 0.10, 100.0, 50.0, 0.3),
    "any strain, fit of any strain": Kind(1, False, True, 0.03, 5000.0, 90.0, 0.1),
}
KEPT = 25
"""Number of highest similarities that a row keeps, for the posterior."""


def synthetic(atoms: Atoms, kind: Kind, source: Radiation, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    """Return angles, counts, and the largest absolute principal strain of a pattern."""
    crystal, strain = distorted(atoms, kind.symmetric, kind.rattle, rng)
    x = np.arange(10.0, kind.last + 0.01, 0.02)
    # Lines up to 5 degrees outside of the range reach into it with their tails.
    profile = Profile(rng.uniform(0.08, 0.25), rng.uniform(0.0, 1.0))
    grid = Measured(5.0, 0.02, np.ones(len(x) + 500), 1.0, profile)
    largest = 2 * np.sin(np.radians(kind.last / 2 + 3)) / source.wavelength
    lines = PowderLines(reflections(crystal, source, largest, rng.uniform(0.2, 1.0), symmetry=False), source)
    pattern = np.maximum(grid.curve(strained_curve(lines, grid, np.zeros((3, 3)), rng.uniform(-0.05, 0.05)))[250 : 250 + len(x)], 0)
    smooth = 0.5 + np.exp(-(x - 10) / 25) + 0.5 * np.exp(-(((x - rng.uniform(20, 35)) / 8) ** 2))
    counts = rng.poisson(kind.counts * (pattern / pattern.max() + kind.background * smooth)).astype(float)
    return x, counts, strain


def compare(number: int, kind: Kind, crystals: list[Atoms], seed: int) -> dict[str, Any]:
    """Compare one pattern with the library."""
    source = radiation(LINE)
    rng = np.random.default_rng([seed, number, kind.seed])
    x, counts, strain = synthetic(crystals[number], kind, source, rng)
    data = powder_data(x, counts, source)
    lines = [PowderLines(_reflections(atoms, source, data.largest, data.settings.b_iso), source) for atoms in crystals]
    begin, cpu = time.perf_counter(), time.process_time()
    if kind.free:
        fits = [fit_powder(atoms, data, symmetry=False) for atoms in crystals]
    else:
        fits = [fit_cell(each, data.levels, data.fit) for each in lines]
    wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
    right = np.zeros(len(crystals), dtype=bool)
    right[duplicates(number, crystals)] = True
    plain, fitted = (np.array([getattr(fit, name) for fit in fits]) for name in ("plain", "fitted"))
    order = np.argsort(-fitted)[:KEPT]
    return {
        "formula": crystals[number].get_chemical_formula(), "strain": round(strain, 4), "duplicates": int(right.sum()) - 1,
        "plain_rank": int((plain[~right] >= plain[right].max()).sum()) + 1, "rank": int((fitted[~right] >= fitted[right].max()).sum()) + 1,
        "plain": round(float(plain[right].max()), 4), "plain_wrong": round(float(plain[~right].max()), 4),
        "fitted": round(float(fitted[right].max()), 4), "fitted_wrong": round(float(fitted[~right].max()), 4),
        "top": np.round(fitted[order], 4).tolist(), "right": [n for n, k in enumerate(order) if right[k]],
        "wall_ms": round(1e3 * wall / len(crystals), 2), "cpu_ms": round(1e3 * cpu / len(crystals), 2),
    }  # fmt: skip


_CACHE: dict[tuple[int, float], Any] = {}


def _reflections(atoms: Atoms, source: Radiation, largest: float, b_iso: float) -> Any:
    """Return the reflections of an entry, computed once for each range of angles."""
    key = (id(atoms), round(largest, 9))
    if key not in _CACHE:
        _CACHE[key] = reflections(atoms, source, largest, b_iso)
    return _CACHE[key]


def probabilities(row: dict[str, Any], points: float) -> tuple[float, float]:
    """Return the posterior probability of the first entry, and of all right entries, among those that the row keeps."""
    return first_and_right(log_likelihood_of_curve(np.array(row["top"]), points), row["right"])


def best_points(rows: list[dict[str, Any]]) -> float:
    """Return the effective number of data that gives the right entries the largest geometric mean probability."""
    return sharpest(lambda n: float(np.mean([np.log(max(probabilities(row, n)[1], 1e-12)) for row in rows])), np.exp(-1.0), np.exp(6.0))


def table(data: dict[str, Any]) -> str:
    """Return the tables of the results page: how often the right entry is first, and the reliability of the posterior."""
    lines = ["| patterns | prototypes | first, own cell | first, cell fitted | 95 % | similarity, own cell | similarity, fitted | best wrong entry, fitted | CPU per comparison |", "|" + "---|" * 9]  # fmt: skip  # noqa: E501
    tested = [row for row in data["rows"] if row["part"] == "test"]
    for kind in KINDS:
        rows = [row for row in tested if row["kind"] == kind]
        if not rows:
            continue
        plain, fitted = (sum(row[name] == 1 for row in rows) for name in ("plain_rank", "rank"))
        low, high = wilson(fitted, len(rows))
        median = [f"{np.median([row[name] for row in rows]):.3f}" for name in ("plain", "fitted", "fitted_wrong")]
        lines.append(
            f"| {kind} | {len(rows)} | {100 * plain / len(rows):.0f} % ({plain}) | {100 * fitted / len(rows):.0f} % ({fitted}) "
            f"| {100 * low:.0f}-{100 * high:.0f} % | {' | '.join(median)} | {np.mean([row['cpu_ms'] for row in rows]):.0f} ms |"
        )
    tuned = [row for row in data["rows"] if row["part"] == "tune"]
    lines += ["", f"The effective number of data of highest likelihood on the {len(tuned)} patterns of the part `tune` is {best_points(tuned):.1f}; nucleate uses {POWDER_POINTS:g}." if tuned else "", ""]  # fmt: skip  # noqa: E501
    lines += ["| predicted probability of the first entry | patterns | mean prediction | right | 95 % |", "|---|---|---|---|---|"]
    lines += reliability([probabilities(row, POWDER_POINTS)[0] for row in tested], [0 in row["right"] for row in tested])
    return "\n".join(lines)


def main() -> None:
    """Run and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tune", type=int, default=30, help="Number of prototypes of the part `tune` that calibrate the posterior.")
    parser.add_argument("--test", type=int, default=TESTED)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    result = ResultFile(a.result, {"line": LINE, "largest_strain": LARGEST_STRAIN, "seed": a.seed}, ("pymatgen", "scipy", "spglib"))
    crystals = library()
    # Each prototype of the part `tune` has one pattern, of alternating kind.
    alternate = ["poor data", "symmetry-allowed strain"]
    jobs = [("tune", alternate[k % 2], int(number)) for k, number in enumerate(part("tune", len(crystals))[: a.tune])]
    jobs += [("test", kind, int(number)) for kind in a.kinds for number in part("test", len(crystals))[: a.test]]
    for name, kind, number in jobs:
        if result.find(part=name, kind=kind, number=number) is None:
            row = compare(number, KINDS[kind], crystals, a.seed + (1000 if name == "tune" else 0))
            result.add(part=name, kind=kind, number=number, **row)
            print(name, kind, number, row["formula"], row["plain_rank"], row["rank"], row["fitted"], row["fitted_wrong"], flush=True)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
