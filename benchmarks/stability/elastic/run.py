"""Elastic constants of a committee against those of its reference by the same code, on a surrogate.

    OMP_NUM_THREADS=1 python benchmarks/stability/elastic/run.py --folder runs [--systems Na4Cl4 Mg4O4] [--teacher 7net-0] [--train 12]

Each formula is searched on the surrogate; the rock-salt polymorph is then checked on the committee of the last round and on the surrogate,
each time at the minimum of its own surface. With --train the committee is trained on labels near the minimum before; each of the
--trainings has displacements and strains of its own. Systems that are in result.json are not repeated.
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
from nucleate.polymorphs.stability import near_minimum
from nucleate.polymorphs.stability.elastic import moduli
from nucleate.polymorphs.stability.settings import CheckSettings

ROCK_SALT = 225
NAMES = {"C11": (0, 0), "C12": (0, 1), "C44": (3, 3)}


def row_of(formula: str, reference: str, teacher: str | None, seed: int, folder: Path, train: int, near: int) -> dict[str, Any]:
    """Search a formula and return the elastic constants of rock salt on the committee and on the surrogate, GPa."""
    path = folder / f"{formula}-{reference}-{teacher or 'alone'}-{seed}"
    if not (path / "run.toml").exists():
        nucleate.search(formula, reference=reference, teacher=teacher, prototypes=False, top=1, seed=seed, workers=0, out=path)
    elif read_run(path).status != "finished":
        nucleate.resume(path)
    run = read_run(path)
    ranking = run.state.ranking()
    place = next((k for k, p in enumerate(ranking) if p.number == ROCK_SALT), None)
    if place is None:
        raise SystemExit(f"{formula}: the search has not found rock salt; choose another --seed")
    start = path / "rock-salt.extxyz"
    ase.io.write(start, ranking[place].atoms)
    settings = CheckSettings(phonons=False)
    if train:
        # Labels of the search are read from its folder, in which rock salt is one of the polymorphs.
        near_minimum.SEED = near
        trained = settings.model_copy(update={"train": train})
        one = check(path, trained, top=place + 1, workers=0, out=path / f"check-train{train}-{near}")
        committee = one.polymorphs[place]
    else:
        model = sorted((path / "models").glob("round_*.safetensors"))[-1]
        one = check(start, settings, model=model, reference=reference, workers=0, out=path / "check")
        (committee,) = one.polymorphs
    other = check(start, settings, reference=reference, workers=0, out=path / "check-reference")
    (surrogate,) = other.polymorphs
    assert committee.prepared.number == surrogate.prepared.number == ROCK_SALT
    assert committee.elastic is not None
    assert surrogate.elastic is not None
    assert committee.spot is not None
    volumes = [round(each.prepared.atoms.get_volume() / 2, 4) for each in (committee, surrogate)]
    row: dict[str, Any] = {
        "formula": formula, "teacher": teacher, "seed": seed, "train": train, "near": near if train else None, "trained": one.trained,
        "search_calls": run.calls, "check_calls": other.calls, "members": one.members,
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
    lines = [
        "| search | calls | labels near the minima | constant | committee, GPa | surrogate, GPa | difference |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in data["rows"]:
        search = f"{row['formula']}, {'no teacher' if row['teacher'] is None else 'teacher ' + row['teacher']}"
        for name in (*NAMES, "B"):
            mean, spread, true = row[name]
            difference = 100 * (mean / true - 1)
            labels = row.get("trained") or 0
            lines.append(
                f"| {search} | {row['search_calls']} | {labels} | {name} | {mean:.1f} ± {spread:.1f} | {true:.1f} | {difference:+.1f} % |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--systems", nargs="+", default=["Na4Cl4", "Mg4O4"])
    parser.add_argument("--reference", default="chgnet")
    parser.add_argument("--teacher", default=None, help="pretrained potential that is searched first")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--train", type=int, default=0, help="labels near each minimum on which the committee is trained before")
    parser.add_argument("--trainings", type=int, default=1, help="number of trainings, each with structures of its own")
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    result = ResultFile(
        a.result,
        {"reference": a.reference, "check": CheckSettings(phonons=False).model_dump(mode="json", exclude={"train"})},
        ("chgnet", "phonopy"),
    )
    for formula in a.systems:
        for near in range(near_minimum.SEED, near_minimum.SEED + a.trainings):
            key = {"formula": formula, "teacher": a.teacher, "seed": a.seed, "train": a.train, "near": near if a.train else None}
            if result.find(**key) is None:
                result.add(**row_of(formula, a.reference, a.teacher, a.seed, a.folder, a.train, near))
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
