"""Searches of glycine on the force field mcGFN-FF or on GFN1-xTB, with the space groups of nature against uniform ones.

    OMP_NUM_THREADS=1 python benchmarks/search/molecules/run.py --units 2 --seeds 10
    OMP_NUM_THREADS=1 python benchmarks/search/molecules/run.py --units 2 --seeds 3 --reference xtb

The molecule is the zwitterion from its SMILES. A hit is the confirmation of a polymorph within 1 meV/atom of the lowest one that any of the
searches with this reference and number of molecules has confirmed. On mcGFN-FF the form known from experiment (beta for two molecules in
the cell, alpha for four) is looked for as well: within 1 meV/atom and 0.05 of its fingerprint. GFN1-xTB is CP2K's (`apt-get install cp2k
cp2k-data`). Every finished search is a row; stopped ones are kept in --out and resumed.
"""

from __future__ import annotations

import argparse
import shutil
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from targets import GLYCINE, TARGETS

from nucleate import api
from nucleate.benchmark.result_file import ResultFile
from nucleate.benchmark.statistics import expected_calls, interval
from nucleate.csp.run_data import read_run
from nucleate.fingerprints.selection import fingerprints
from nucleate.processes.pools import worker_pool

SAME = 0.001
WEIGHTS = ("nature", "uniform")
REFERENCES: dict[str, dict[str, Any]] = {
    "gfnff": {"engine": "gfnff"},
    "xtb": {"engine": "cp2k", "xc": "GFN1-xTB", "k_spacing": 0.65},
}
NAMES = {"gfnff": "mcGFN-FF", "xtb": "GFN1-xTB"}


def place(out: Path, units: int, weights: str, seed: int, reference: str) -> Path:
    return out / f"Z{units}-{weights}-{seed}{'' if reference == 'gfnff' else '-' + reference}"


def search(units: int, weights: str, seed: int, reference: str, out: Path, budget: int, pool: int) -> dict[str, Any]:
    """Run one search, or what is left of it; return its row: the confirmed polymorphs with energy (eV/atom), group and calls."""
    folder = place(out, units, weights, seed, reference)
    settings = {
        "search": {"pool": pool, "budget": budget, "proof": False}, "relax": {"workers": 1}, "generate": {"workers": 1},
        "reference": REFERENCES[reference],
    }  # fmt: skip
    api.search(molecules=[GLYCINE], units=units, space_group_weights=weights, seed=seed, settings=settings, out=folder)
    run = read_run(folder)
    confirmed = sorted(run.state.polymorphs, key=lambda p: p.calls)
    row = {
        "calls": run.calls,
        "finished": run.state.finished,
        "molecule_calls": sum(1 for item in run.rows if item.purpose == "molecule"),
        "seconds": round(sum(sum(record.seconds.values()) for record in run.state.records), 1),
        "confirmed": [[round(float(p.energy), 6), p.number, p.calls, p.check] for p in confirmed],
    }
    form = next((target for target in TARGETS if target.smiles == GLYCINE and target.units == units), None)
    if reference == "gfnff" and form is not None:
        # Tables are printed without the packages of a search.
        from draws import is_hit, known

        crystal = known(form)
        row["known"] = [p.calls for p in confirmed if is_hit({"energy": p.energy, "fingerprint": _vector(p.atoms)}, crystal)]
    return row


def _vector(atoms: Atoms) -> list[float]:
    """Return the fingerprint of a crystal."""
    return fingerprints([atoms], sorted(set(atoms.numbers.tolist())))[0].tolist()


def first_hit(row: dict[str, Any], lowest: float) -> int | None:
    """Return the calls at the first polymorph within 1 meV/atom of the lowest energy; None if there is none."""
    return next((calls for energy, _, calls, _ in row["confirmed"] if energy < lowest + SAME), None)


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = [
        "| reference | Z | space groups | seeds | hits | calls to the hit, or made | ERT, calls | lowest found, meV/atom, median "
        "| known form: hits, calls | seconds a search |",
        "|" + "---|" * 10,
    ]
    for reference, units in sorted({(row.get("reference", "gfnff"), row["units"]) for row in data["rows"]}):
        mine = [row for row in data["rows"] if (row.get("reference", "gfnff"), row["units"]) == (reference, units)]
        lowest = min((found[0] for row in mine for found in row["confirmed"]), default=float("nan"))
        for weights in WEIGHTS:
            rows = sorted((row for row in mine if row["weights"] == weights), key=lambda row: int(row["seed"]))
            if not rows:
                continue
            hits = [first_hit(row, lowest) for row in rows]
            runs = [(row["calls"] if hit is None else hit, hit is not None) for row, hit in zip(rows, hits, strict=True)]
            expected = expected_calls(runs)
            ert = "none"
            if expected is not None:
                low, high = interval(len(runs), lambda drawn, runs=runs: expected_calls([runs[k] for k in drawn]) or float("inf"))  # type: ignore[misc]
                ert = f"{expected:.0f} ({low:.0f}-{'inf' if high is None else f'{high:.0f}'})"
            calls = ", ".join(str(count) if hit else f"> {count}" for count, hit in runs)
            above = [1000 * (min(found[0] for found in row["confirmed"]) - lowest) for row in rows if row["confirmed"]]
            median = f"{np.median(above):.1f}" if above else "nothing confirmed"
            cells = [NAMES[reference], units, weights, len(rows), sum(hit for _, hit in runs), calls, ert, median]
            looked = [row["known"] for row in rows if "known" in row]
            first = [min(calls) for calls in looked if calls]
            cells.append(f"{len(first)} of {len(looked)}: {', '.join(map(str, first)) or 'none'}" if looked else "")
            lines.append(f"| {' | '.join(map(str, cells))} | {np.median([row['seconds'] for row in rows]):.0f} |")
    return "\n".join(lines)


def main() -> None:
    """Run all searches and print the calls until the lowest form."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, nargs="*", default=[2])
    parser.add_argument("--weights", nargs="*", choices=WEIGHTS, default=list(WEIGHTS))
    parser.add_argument("--reference", choices=list(REFERENCES), default="gfnff")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=200)
    parser.add_argument("--budget", type=int, default=300)
    parser.add_argument("--pool", type=int, default=60)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/glycine"))
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    result = ResultFile(a.result, {"budget": a.budget, "pool": a.pool}, ("gfnff", "rdkit"))
    seeds = range(a.first_seed, a.first_seed + a.seeds)
    tasks = [(units, weights, seed) for units in a.units for seed in seeds for weights in a.weights]
    done = {(row["units"], row["weights"], row["seed"]) for row in result.rows if row.get("reference", "gfnff") == a.reference}
    tasks = [task for task in tasks if task not in done]
    with worker_pool(a.workers) as pool:
        futures = {pool.submit(search, *task, a.reference, a.out, a.budget, a.pool): task for task in tasks}
        for future in as_completed(futures):
            units, weights, seed = futures[future]
            row = future.result()
            result.add(reference=a.reference, units=units, weights=weights, seed=seed, **row)
            shutil.rmtree(place(a.out, units, weights, seed, a.reference))
            best = min((found[0] for found in row["confirmed"]), default=None)
            print(units, weights, seed, row["calls"], row["finished"], best, row["seconds"], flush=True)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
