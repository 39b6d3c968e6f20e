"""Quenches until the global minimum of 38 Lennard-Jones atoms: random symmetric clusters, and evolutions from random ones without symmetry.

    OMP_NUM_THREADS=1 python benchmarks/search/clusters/run.py --runs 100
    OMP_NUM_THREADS=1 python benchmarks/search/clusters/run.py --runs 100 --method symmetrise

Every candidate of the generator of clusters, or every child of an evolution (evolution.py), is relaxed on the pair potential, without a
committee, until the energy is that of the known minimum. Finished runs are kept in the result file; those that were stopped are repeated.

The known energies are those in PyXtal's database. Beside them stand the figures of GMIN's own example for the same stopping rule: basin
hopping from random starting points, and the same with symmetrisation (mean first encounter times of LJ38, in GMIN's documentation).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from evolution import Scheme, evolve
from lennard_jones import GENERATE, quench

from nucleate.benchmark.result_file import ResultFile
from nucleate.crystals.point_groups import point_group, symbol_of
from nucleate.generate.clusters import ClusterGenerator

BATCH = 200
"""Candidates that are relaxed at a time; those after the hit are not counted."""
NEAR = 0.01
"""Difference to the known energy below which a quench is a hit."""
METHODS = {
    "random": ("random symmetric clusters", "symmetric"),
    "symmetrise": ("symmetrisation of a population", "no symmetry"),
    "evolution": ("evolution: heredity, symmetrisation and twist", "no symmetry"),
}
"""Methods, with what they begin with."""
SCHEMES = {
    "symmetrise": Scheme(5, 5, 5, 40, {"heredity": 0.0, "symmetrise": 1.0, "twist": 0.0}),
    "evolution": Scheme(10, 10, 5, 200, {"heredity": 35.0, "symmetrise": 10.0, "twist": 10.0}),
}
"""Numbers of the evolutions; they were chosen on seeds from 1000 on."""
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


def evolved(n: int, seeds: list[int], most: int, scheme: Scheme) -> Iterator[dict[str, Any]]:
    """Evolve populations until the known minimum; yield quenches and potential calls, and how the minimum came about."""
    for seed, end in evolve(n, seeds, known_energy(n) + NEAR, most, scheme):
        missed = end.hit is None
        group = None if missed else symbol_of(point_group(np.full(n, 18), end.positions - end.positions.mean(0), 0.05))
        yield {
            "atoms": n, "seed": seed, "quenches": None if missed else end.quenches, "calls": end.calls, "from": end.hit, "group": group,
            "energy": None if missed else round(end.energy, 5), "populations": end.populations,
        }  # fmt: skip


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = [
        "| atoms | method | start | runs | hits | quenches | median | potential calls | calls a quench |",
        "|" + "---|" * 9,
    ]
    for n in sorted({row["atoms"] for row in data["rows"]}):
        for method, (name, beginning) in METHODS.items():
            rows = [row for row in data["rows"] if row["atoms"] == n and row.get("method", "random") == method]
            hits = [row for row in rows if row["quenches"] is not None]
            if len(hits) < 2:
                continue
            quenches, calls = (np.array([row[key] for row in hits]) for key in ("quenches", "calls"))
            # Runs that were given up count with what they did; their sum over the hits is the expected number of quenches.
            given_up = (len(rows) - len(hits)) * data["settings"]["most"]
            spent = sum(row["calls"] for row in rows)
            mean = f"{(quenches.sum() + given_up) / len(hits):.0f} ± {quenches.std(ddof=1):.0f}"
            lines.append(
                f"| {n} | {name} | {beginning} | {len(rows)} | {len(hits)} | {mean} | {np.median(quenches):.0f} | {spent / len(hits):.0f} "
                f"| {calls.sum() / quenches.sum():.0f} |"
            )
        for name, (mean, total) in PUBLISHED.get(n, {}).items():
            lines.append(f"| {n} | GMIN, {name} (published) | no symmetry | 100 | 100 | {mean} | | {total} | {total / mean:.0f} |")
    return "\n".join(lines)


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=list(METHODS), default="random")
    parser.add_argument("--atoms", type=int, default=38)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--together", type=int, default=20, help="runs of an evolution that are relaxed in one batch")
    parser.add_argument("--most", type=int, default=50_000, help="quenches after which a run is given up")
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    result = ResultFile(a.result, {"generate": GENERATE.model_dump(exclude={"workers"}, exclude_none=True), "most": a.most}, ("numba",))
    key = {} if a.method == "random" else {"method": a.method}
    known = [row["seed"] for row in result.rows if row["atoms"] == a.atoms and row.get("method", "random") == a.method]
    seeds = [seed for seed in range(a.first_seed, a.first_seed + a.runs) if seed not in known]
    if a.method == "random":
        rows: Iterator[dict[str, Any]] = (run(a.atoms, seed, a.most) for seed in seeds)
    else:
        groups = [seeds[k : k + a.together] for k in range(0, len(seeds), a.together)]
        rows = (row for group in groups for row in evolved(a.atoms, group, a.most, SCHEMES[a.method]))
    for row in rows:
        result.add(**key, **row)
        print(row, flush=True)
    print(table({"rows": result.rows, "settings": result.settings}))


if __name__ == "__main__":
    main()
