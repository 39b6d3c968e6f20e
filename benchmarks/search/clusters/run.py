"""Quenches of random symmetric clusters until the global minimum of 38 Lennard-Jones atoms.

    OMP_NUM_THREADS=1 python benchmarks/search/clusters/run.py --runs 100

Every candidate of the generator of clusters is relaxed on the pair potential, without a committee and without steps between minima, until
the energy is that of the known minimum. Finished runs are kept in the result file; those that were stopped are repeated.

The known energies are those in PyXtal's database. Beside them stand the figures of GMIN's own example for the same stopping rule: basin
hopping from random starting points, and the same with symmetrisation (mean first encounter times of LJ38, in GMIN's documentation).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from lennard_jones import GENERATE, quench

from nucleate.benchmark.result_file import ResultFile
from nucleate.crystals.point_groups import point_group, symbol_of
from nucleate.generate.clusters import ClusterGenerator

BATCH = 200
"""Candidates that are relaxed at a time; those after the hit are not counted."""
NEAR = 0.01
"""Difference to the known energy below which a quench is a hit."""
PUBLISHED = {38: {"basin hopping": (2825, 387785), "basin hopping with symmetrisation": (738, 59632)}}
"""Mean quenches and potential calls of GMIN."""


def known_energy(n: int) -> float:
    """Return the energy of the global minimum that PyXtal's database contains, in well depths."""
    import pyxtal

    data = json.loads((Path(pyxtal.__file__).parent / "database" / "clusters.json").read_text())
    return float(next(entry for entry in data if int(entry["name"]) == n)["energy"])


def run(n: int, seed: int, most: int) -> dict[str, Any]:
    """Relax candidates until the known minimum; return quenches and potential calls, and the point groups of candidate and minimum."""
    aim = known_energy(n)
    generator = ClusterGenerator({"Ar": n}, None, 12.0, GENERATE)
    rng = np.random.default_rng([n, seed])
    quenches = calls = 0
    while quenches < most:
        candidates = generator.propose(BATCH, rng)
        found = quench([candidate.atoms for candidate in candidates])
        hits = np.nonzero(found.energies < aim + NEAR)[0]
        if len(hits):
            first = int(hits[0])
            positions = found.positions[first] - found.positions[first].mean(0)
            return {
                "atoms": n, "seed": seed, "quenches": quenches + first + 1, "calls": int(calls + found.calls[: first + 1].sum()),
                "from": candidates[first].details["point_group"],
                "group": symbol_of(point_group(np.full(n, 18), positions, 0.05)), "energy": round(float(found.energies[first]), 5),
            }  # fmt: skip
        quenches += BATCH
        calls += int(found.calls.sum())
    return {"atoms": n, "seed": seed, "quenches": None, "calls": calls, "from": None, "group": None, "energy": None}


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = ["| atoms | method | runs | hits | quenches | potential calls | calls a quench |", "|---|---|---|---|---|---|---|"]
    for n in sorted({row["atoms"] for row in data["rows"]}):
        rows = [row for row in data["rows"] if row["atoms"] == n]
        hits = [row for row in rows if row["quenches"] is not None]
        quenches, calls = (np.array([row[name] for row in hits]) for name in ("quenches", "calls"))
        lines.append(
            f"| {n} | random symmetric clusters | {len(rows)} | {len(hits)} | {quenches.mean():.0f} ± {quenches.std(ddof=1):.0f} "
            f"| {calls.mean():.0f} | {calls.sum() / quenches.sum():.0f} |"
        )
        for name, (mean, total) in PUBLISHED.get(n, {}).items():
            lines.append(f"| {n} | GMIN, {name} (published) | 100 | 100 | {mean} | {total} | {total / mean:.0f} |")
    return "\n".join(lines)


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atoms", type=int, default=38)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--most", type=int, default=50_000, help="quenches after which a run is given up")
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    result = ResultFile(a.result, {"generate": GENERATE.model_dump(exclude={"workers"}, exclude_none=True), "most": a.most}, ("numba",))
    for seed in range(a.first_seed, a.first_seed + a.runs):
        if result.find(atoms=a.atoms, seed=seed) is None:
            row = run(a.atoms, seed, a.most)
            result.add(**row)
            print(row, flush=True)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
