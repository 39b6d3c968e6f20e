"""Elastic constants of a committee against those of its reference by the same code, on a surrogate.

    OMP_NUM_THREADS=1 python benchmarks/stability/elastic/run.py --folder runs [--systems Na4Cl4 Mg4O4] [--teacher 7net-0]

Each formula is searched on the surrogate; the rock-salt polymorph is then checked on the committee of the last round and on the surrogate,
each time at the minimum of its own surface. Systems that are in result.json are not repeated.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import ase.io
import numpy as np

import nucleate
from nucleate.benchmark.result_file import ResultFile
from nucleate.csp.run_data import read_run
from nucleate.polymorphs.check import check
from nucleate.polymorphs.stability.elastic import moduli
from nucleate.polymorphs.stability.settings import CheckSettings

ROCK_SALT = 225
NAMES = {"C11": (0, 0), "C12": (0, 1), "C44": (3, 3)}


def row_of(formula: str, reference: str, teacher: str | None, seed: int, folder: Path) -> dict[str, Any]:
    """Search a formula and return the elastic constants of rock salt on the committee and on the surrogate, GPa."""
    path = folder / f"{formula}-{reference}-{teacher or 'alone'}-{seed}"
    if not (path / "run.toml").exists():
        nucleate.search(formula, reference=reference, teacher=teacher, top=1, seed=seed, workers=0, out=path)
    elif read_run(path).status != "finished":
        nucleate.resume(path)
    run = read_run(path)
    atoms = next((p.atoms for p in run.state.ranking() if p.number == ROCK_SALT), None)
    if atoms is None:
        raise SystemExit(f"{formula}: the search has not found rock salt; choose another --seed")
    start = path / "rock-salt.extxyz"
    ase.io.write(start, atoms)
    settings = CheckSettings(phonons=False)
    model = sorted((path / "models").glob("round_*.safetensors"))[-1]
    one = check(start, settings, model=model, reference=reference, workers=0, out=path / "check")
    other = check(start, settings, reference=reference, workers=0, out=path / "check-reference")
    (committee,), (surrogate,) = one.polymorphs, other.polymorphs
    assert committee.prepared.number == surrogate.prepared.number == ROCK_SALT
    assert committee.elastic is not None
    assert surrogate.elastic is not None
    assert committee.spot is not None
    volumes = [round(each.prepared.atoms.get_volume() / 2, 4) for each in (committee, surrogate)]
    row: dict[str, Any] = {
        "formula": formula, "teacher": teacher, "seed": seed, "search_calls": run.calls, "check_calls": other.calls, "members": one.members,
        "force_error": round(committee.spot.rmse, 4), "force_share": round(committee.spot.share, 4),
        "volumes": volumes,
    }  # fmt: skip
    spread = committee.elastic.spread
    assert spread is not None
    for name, place in NAMES.items():
        row[name] = [round(float(x), 3) for x in (committee.elastic.mean[place], spread[place], surrogate.elastic.mean[place])]
    own, its = moduli(committee.elastic.mean), moduli(surrogate.elastic.mean)
    members = [average.bulk for each in committee.elastic.members if (average := moduli(each)) is not None]
    row["B"] = [
        None if own is None else round(own.bulk, 3),
        round(float(np.std(members, ddof=1)), 3),
        None if its is None else round(its.bulk, 3),
    ]
    return row


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = ["| search | calls | constant | committee, GPa | surrogate, GPa | difference |", "|---|---|---|---|---|---|"]
    for row in data["rows"]:
        search = f"{row['formula']}, {'no teacher' if row['teacher'] is None else 'teacher ' + row['teacher']}"
        for name in (*NAMES, "B"):
            mean, spread, true = row[name]
            difference = 100 * (mean / true - 1)
            lines.append(f"| {search} | {row['search_calls']} | {name} | {mean:.1f} ± {spread:.1f} | {true:.1f} | {difference:+.1f} % |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--systems", nargs="+", default=["Na4Cl4", "Mg4O4"])
    parser.add_argument("--reference", default="chgnet")
    parser.add_argument("--teacher", default=None, help="pretrained potential that is searched first")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    result = ResultFile(
        a.result, {"reference": a.reference, "check": CheckSettings(phonons=False).model_dump(mode="json")}, ("chgnet", "phonopy")
    )
    for formula in a.systems:
        if result.find(formula=formula, teacher=a.teacher, seed=a.seed) is None:
            result.add(**row_of(formula, a.reference, a.teacher, a.seed, a.folder))
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
