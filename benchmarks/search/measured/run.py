"""What a measured powder pattern saves: the same searches without and with it, seed by seed.

    OMP_NUM_THREADS=1 python benchmarks/search/measured/run.py

The pattern is calculated from the experimental structure of the target (corundum, L. W. Finger and R. M. Hazen, J. Appl. Phys. 49, 5823
(1978), doi 10.1063/1.324598), not from the structure on the reference. Each seed has its own pattern: both lattice constants are wrong by
up to 2 %, lines of 0.15 degrees, a background of 30 % of the highest peak, and Poisson noise of 1000 counts at it. The settings are the
defaults, and each search ends at its first hit. Every finished search is a row, and a stopped run resumes.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.analysis.diffraction.xrd import XRDCalculator
from pymatgen.io.ase import AseAtomsAdaptor

from nucleate.benchmark.result_file import ResultFile
from nucleate.benchmark.statistics import expected_calls, interval
from nucleate.benchmark.targets import prototype, relaxed_target
from nucleate.benchmark.trials import dispatching, search_trial, trial_settings
from nucleate.reference import make_reference
from nucleate.reference.settings import ReferenceSettings

CELL_ERROR = 0.02
COUNTS = 1000
BACKGROUND = 0.3


def write_pattern(formula: str, seed: int, path: Path) -> None:
    """Write the powder pattern of the experimental structure with errors of cell and counts."""
    rng = np.random.default_rng([seed, 17])
    atoms = prototype(formula)
    # The axes of the primitive cell are turned so that the third Cartesian direction is the unique axis.
    stretch = 1 + rng.uniform(-CELL_ERROR, CELL_ERROR, 2)
    atoms.set_cell(atoms.cell.array @ np.diag([stretch[0], stretch[0], stretch[1]]), scale_atoms=True)
    peaks = XRDCalculator("CuKa").get_pattern(AseAtomsAdaptor.get_structure(atoms), two_theta_range=(15, 90))
    x = np.arange(15, 90, 0.02)
    lines = sum(height * np.exp(-0.5 * ((x - place) / 0.064) ** 2) for place, height in zip(peaks.x, peaks.y, strict=True))
    smooth = BACKGROUND * (np.exp(-(x - 15) / 30) + 0.5 * np.exp(-0.5 * ((x - 22) / 6) ** 2))
    counts = rng.poisson(COUNTS * (lines / np.max(lines) + smooth))
    np.savetxt(path, np.column_stack([x, counts]), fmt="%.4f %d")


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = ["| system | seeds | hits without / with | ERT without / with | ratio, 95 % | calls without | calls with |", "|" + "---|" * 7]
    for system in dict.fromkeys(row["system"] for row in data["rows"]):
        rows = {(row["seed"], row["pattern"]): row for row in data["rows"] if row["system"] == system}
        seeds = sorted(seed for seed, pattern in rows if pattern and (seed, False) in rows)
        pairs = [[rows[seed, pattern] for seed in seeds] for pattern in (False, True)]
        hits = " / ".join(str(sum(row["first"] is not None for row in runs)) for runs in pairs)
        expected = [expected_calls([(row["calls"], row["first"] is not None) for row in runs]) for runs in pairs]
        ert = " / ".join("none" if value is None else f"{value:.0f}" for value in expected)
        logarithms = np.log([rows[seed, True]["calls"] / rows[seed, False]["calls"] for seed in seeds])
        low, high = interval(len(seeds), lambda drawn, x=logarithms: float(np.exp(x[drawn].mean())))  # type: ignore[misc]
        each = [", ".join(str(row["calls"]) for row in runs) for runs in pairs]
        ratio = f"{np.exp(logarithms.mean()):.2f} ({low:.2f}-{high:.2f})"
        lines.append(f"| {system} | {len(seeds)} | {hits} | {ert} | {ratio} | {each[0]} | {each[1]} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=["Al4O6"])
    parser.add_argument("--reference", default="chgnet")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--budget", type=int, default=300)
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    result = ResultFile(a.result, {"reference": a.reference, "budget": a.budget, "cell_error": CELL_ERROR}, ("chgnet", "pymatgen"))
    for system in a.systems:
        with dispatching(make_reference(ReferenceSettings(engine=a.reference))) as dispatcher:
            target = relaxed_target(system, dispatcher)
        for seed in range(a.first_seed, a.first_seed + a.seeds):
            for pattern in (True, False):
                if result.find(system=system, seed=seed, pattern=pattern) is not None:
                    continue
                with tempfile.TemporaryDirectory() as folder:
                    own: dict[str, Any] = {}
                    if pattern:
                        path = Path(folder) / "pattern.xy"
                        write_pattern(system, seed, path)
                        own = {"measured": {"xrd": str(path), "wavelength": "CuKa"}}
                    trial = search_trial(trial_settings(system, a.reference, seed, a.budget, own), target)
                result.add(
                    system=system, seed=seed, pattern=pattern, first=trial.first, calls=trial.calls, ended=trial.ended,
                    seconds=round(trial.seconds, 1),
                )  # fmt: skip
                print(system, seed, pattern, trial.calls, trial.ended, flush=True)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
