"""Mutated inputs: each is refused in one line, or read as a second reader reads it; none ends in a traceback or hangs.

    python benchmarks/faults/inputs/run.py                                    # all kinds
    python benchmarks/faults/inputs/run.py --kind cif --count 1000 --show     # one kind, with a line for each fault
    python benchmarks/faults/inputs/run.py --kind cif --write 17 FOLDER       # the files of one input

Inputs of a kind, seed and number are the same on every machine with the same shared cases. Finished blocks are not repeated.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

FAULTS = ("differs", "traceback", "message", "slow", "hang", "died", "unpickled")
BLOCK = 1000
NAMED = 8
"""Largest number of failing inputs that a row names."""
HERE = Path(__file__).resolve().parent
CASES = HERE.parents[3] / "shared" / "cases"


def main() -> None:
    from input_batch import outcomes
    from input_cases import mutated_item, write_item
    from input_corpus import corpus
    from input_readers import READERS

    from nucleate.benchmark.result_file import ResultFile

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=sorted(READERS), action="append")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=10 * BLOCK)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE / "result.json")
    parser.add_argument("--show", action="store_true", help="print the faults; no rows are written")
    parser.add_argument("--write", nargs=2, metavar=("NUMBER", "FOLDER"))
    given = parser.parse_args()
    cases = CASES if CASES.is_dir() else None
    result = None if given.show or given.write else ResultFile(given.out, {"block": BLOCK}, ("gemmi", "pymatgen", "safetensors"))
    for kind in given.kind or READERS:
        items = corpus(kind, cases)
        if given.write:
            write_item(mutated_item(kind, given.seed, int(given.write[0]), items, "unpickled"), Path(given.write[1]))
            return
        for first in range(given.first, given.first + given.count, BLOCK):
            key = {"kind": kind, "seed": given.seed, "first": first}
            if result is not None and result.find(**key):
                continue
            numbers = range(first, min(first + BLOCK, given.first + given.count))
            counts: Counter[str] = Counter()
            failing: list[tuple[int, str]] = []
            slowest = 0.0
            for said in outcomes(kind, given.seed, numbers, items):
                counts[said["outcome"]] += 1
                slowest = max(slowest, said["seconds"])
                if said["outcome"] in FAULTS:
                    failing.append((said["number"], said["outcome"]))
                    if given.show:
                        print(kind, said["number"], said["outcome"], said["line"], flush=True)
            print(kind, first, dict(counts), f"slowest {slowest:.2f} s", flush=True)
            if result is not None:
                row = {"inputs": len(numbers), "outcomes": dict(sorted(counts.items())), "slowest": slowest}
                result.add(**key, **row, corpus=len(items), failing=failing[:NAMED])


def table(data: dict[str, Any]) -> str:
    """Return the table of a result file: a row a kind."""
    lines = ["| kind | inputs | refused | read | read, not by a second reader | " + " | ".join(FAULTS) + " | slowest, s |"]
    lines.append("|---|" + "---:|" * (len(FAULTS) + 5))
    for kind in dict.fromkeys(row["kind"] for row in data["rows"]):
        rows = [row for row in data["rows"] if row["kind"] == kind]
        counts: Counter[str] = Counter()
        for row in rows:
            counts.update(row["outcomes"])
        numbers = [sum(row["inputs"] for row in rows), counts["refused"], counts["read"], counts["alone"], *(counts[f] for f in FAULTS)]
        lines.append(f"| {kind} | {' | '.join(map(str, numbers))} | {max(row['slowest'] for row in rows):.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
