"""Synthetic chemical shifts of molecular crystals, and the reliability of the posterior of `nucleate match --shifts`.

    OMP_NUM_THREADS=1 python benchmarks/observables/shifts/run.py

A system is a molecule with random shieldings of its inequivalent C and H sites. Each of its candidate crystals shifts them by random
amounts, as packings do. The measured shifts are those of one candidate by a line with a random slope and offset, plus the errors of a kind.
The candidates are compared with them as `nucleate match` does: sites are assigned to shifts, and slope and offset are fitted for each
candidate, or given. No shielding is computed from first principles. The likelihood is chosen on systems of the part `tune`; the results are
those of the part `test`, which has other random numbers. Finished rows are kept in the result file.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from nucleate.benchmark.calibration import first_and_right, reliability, sharpest
from nucleate.benchmark.result_file import ResultFile
from nucleate.benchmark.statistics import wilson
from nucleate.observables.magres import Shieldings
from nucleate.observables.shifts import ERRORS, Shift, ShiftReference, assign
from nucleate.polymorphs.posterior import SHIFT_PRIOR, log_likelihood_of_shifts


class Kind(NamedTuple):
    """A kind of errors: degrees of freedom of Student's t (0: Gaussian), factor on the standard errors, and whether the line is given."""

    seed: int
    freedom: int
    factor: float
    given: bool


KINDS = {
    "Gaussian errors": Kind(0, 0, 1.0, False),
    "heavy tails": Kind(1, 4, 1.0, False),
    "errors 1.5 times larger": Kind(2, 0, 1.5, False),
    "Gaussian errors, given reference": Kind(3, 0, 1.0, True),
}
RANGES = {"C": (0.0, 170.0), "H": (18.0, 31.0)}
"""Ranges of the shieldings of a molecule, ppm."""
PACKING = {"C": 1.5, "H": 0.6}
"""Standard deviation of the effect of the packing on a shielding, ppm."""
CANDIDATES = 20
BLOCK = 25
"""Number of systems in a row of the result file."""


def crystal(values: dict[str, np.ndarray], rng: np.random.Generator) -> Shieldings:
    """Return a crystal without symmetry, whose sites have the given shieldings."""
    symbols = [element for element, own in values.items() for _ in own]
    atoms = Atoms(symbols, scaled_positions=rng.random((len(symbols), 3)), cell=np.diag([7.0, 8.0, 9.0]), pbc=True)
    return Shieldings(atoms, np.concatenate(list(values.values()))[:, None, None] * np.eye(3))


def compare(number: int, kind: Kind, seed: int) -> dict[str, Any]:
    """Compare the shifts of one candidate with all candidates of its system; the right one is the first."""
    rng = np.random.default_rng([seed, number, kind.seed])
    count = {"C": int(rng.integers(3, 13)), "H": int(rng.integers(2, 13))}
    base = {element: rng.uniform(*RANGES[element], n) for element, n in count.items()}
    shieldings = [
        {element: own + rng.normal(scale=PACKING[element], size=len(own)) for element, own in base.items()} for _ in range(CANDIDATES)
    ]
    references = {element: ShiftReference(rng.uniform(-1.08, -0.92), rng.uniform(170, 175) if element == "C" else rng.uniform(29, 31)) for element in count}  # fmt: skip  # noqa: E501
    shifts = []
    for element, own in shieldings[0].items():
        # Student's t has the variance f/(f - 2).
        errors = rng.standard_t(kind.freedom, len(own)) * np.sqrt(1 - 2 / kind.freedom) if kind.freedom else rng.normal(size=len(own))
        values = references[element].offset + references[element].slope * own + kind.factor * ERRORS[element] * errors
        shifts += [Shift(element, float(value)) for value in values]
    given = references if kind.given else None
    chi2 = np.array([sum(each.chi2 for each in assign(shifts, crystal(own, rng), given)) for own in shieldings])
    data = sum(count.values()) - (0 if kind.given else 2 * len(count))
    return {"data": data, "chi2": " ".join(f"{value:.1f}" for value in chi2)}


def systems(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the systems of the rows, which hold `BLOCK` each, with chi2 as numbers."""
    return [
        {"part": row["part"], "kind": row["kind"], "data": data, "chi2": [float(value) for value in chi2.split()]}
        for row in rows
        for data, chi2 in zip(row["data"], row["chi2"], strict=True)
    ]


def probabilities(row: dict[str, Any], prior: float) -> tuple[float, float]:
    """Return the posterior probability of the most probable candidate, and that of the right one."""
    return first_and_right(log_likelihood_of_shifts(np.array(row["chi2"]), row["data"], prior), [0])


def score(rows: list[dict[str, Any]], prior: float) -> float:
    """Return the mean logarithm of the probability of the right candidate."""
    return float(np.mean([np.log(max(probabilities(row, prior)[1], 1e-12)) for row in rows]))


def table(data: dict[str, Any]) -> str:
    """Return the tables of the results page: how often the right candidate is first, and the reliability of the posterior."""
    parts = {name: [row for row in systems(data["rows"]) if row["part"] == name] for name in ("tune", "test")}
    lines = [
        "| errors | systems | first | 95 % | mean probability of the first, errors known | the same, as used | mean log probability of the right one, errors known | the same, as used |",  # noqa: E501
        "|" + "---|" * 8,
    ]
    for kind in KINDS:
        rows = [row for row in parts["test"] if row["kind"] == kind]
        hits = sum(int(np.argmin(row["chi2"])) == 0 for row in rows)
        low, high = wilson(hits, len(rows))
        means = [f"{100 * np.mean([probabilities(row, prior)[0] for row in rows]):.0f} %" for prior in (np.inf, SHIFT_PRIOR)]
        scores = [f"{score(rows, prior):.2f}" for prior in (np.inf, SHIFT_PRIOR)]
        lines.append(
            f"| {kind} | {len(rows)} | {100 * hits / len(rows):.0f} % ({hits}) | {100 * low:.0f}-{100 * high:.0f} % "
            f"| {' | '.join([*means, *scores])} |"
        )
    best = sharpest(lambda prior: score(parts["tune"], prior), 0.5, 500.0)
    lines += ["", f"The number of data of highest likelihood that the standard errors are worth is {best:.1f} on the {len(parts['tune'])} systems of the part `tune`; nucleate uses {SHIFT_PRIOR:g}."]  # fmt: skip  # noqa: E501
    hits = [int(np.argmin(row["chi2"])) == 0 for row in parts["test"]]
    for name, prior in (("errors known", np.inf), ("as used", SHIFT_PRIOR)):
        lines += ["", f"| predicted probability of the first candidate, {name} | systems | mean prediction | right | 95 % |", "|---|---|---|---|---|"]  # fmt: skip  # noqa: E501
        lines += reliability([probabilities(row, prior)[0] for row in parts["test"]], hits)
    return "\n".join(lines)


def main() -> None:
    """Run and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", type=int, default=100, help="Number of systems of each part and kind.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    result = ResultFile(a.result, {"candidates": CANDIDATES, "packing": PACKING, "seed": a.seed}, ("scipy", "spglib"))
    done = {(row["part"], row["kind"], row["first"]) for row in result.rows}
    for name in ("tune", "test"):
        for kind in KINDS:
            for first in range(0, a.systems, BLOCK):
                if (name, kind, first) not in done:
                    seed, numbers = a.seed + (1000 if name == "tune" else 0), range(first, min(first + BLOCK, a.systems))
                    found = [compare(number, KINDS[kind], seed) for number in numbers]
                    result.add(part=name, kind=kind, first=first, **{key: [row[key] for row in found] for key in ("data", "chi2")})
            print(name, kind, flush=True)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
