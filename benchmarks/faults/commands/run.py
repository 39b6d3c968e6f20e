"""Mutated inputs given to the command line: exit code 2 and one line, or a command that ends by itself or when it is interrupted.

    python benchmarks/faults/commands/run.py --count 19
    python benchmarks/faults/commands/run.py --count 2 --valid      # what the commands do with inputs that are not mutated

The inputs are those of benchmarks/faults/inputs; each is given to the command that a user would give it to (`command_words.py`), with
settings for a computation of a few seconds. A command that still computes after --patience is interrupted as by Ctrl-C, and must end then.
Finished kinds are not repeated.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FAULTS = ("traceback", "code", "message", "hang", "left", "unpickled")
CASES = HERE.parents[3] / "shared" / "cases"
GRACE = 60.0
"""Time in s after which an interrupted command hangs."""
LEFT = 10.0
"""Time in s after which a process that outlives its command is left behind."""
NOTICES = ("warning: ", "note: ", "this run starts: ", "searching ", "resuming ")
"""Beginnings of lines that commands print beside an error."""


def judged(code: int, text: str, interrupted: bool) -> str:
    """Return the outcome of a command from its exit code and what it printed on stderr."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(NOTICES)]
    if "Traceback (most recent call last)" in text or "Error ignored" in text:
        return "traceback"
    if interrupted:
        return "interrupted" if code in (0, 130) else "code"
    if code == 2:
        return "refused" if len(lines) == 1 else "message"
    return {0: "ran", 1: "failed"}.get(code, "code")


def ended(words: list[str], folder: Path, patience: float) -> tuple[str, str, float]:
    """Run a command; return its outcome, its last lines on stderr and the wall time in s."""
    began = time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "200"}
    with (folder / "said.txt").open("w+") as said:
        command = [sys.executable, "-m", "nucleate", *words]
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
        )
        interrupted = False
        try:
            code = process.wait(patience)
        except subprocess.TimeoutExpired:
            interrupted = True
            process.send_signal(signal.SIGINT)
            try:
                code = process.wait(GRACE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return "hang", "", time.monotonic() - began
        said.seek(0)
        text = said.read()
    outcome = judged(code, text, interrupted)
    if outcome not in FAULTS and _left(process.pid):
        outcome = "left"
    return outcome, f"exit code {code}: " + " | ".join(text.strip().splitlines()[-4:])[-400:], time.monotonic() - began


def _left(group: int) -> bool:
    """Return whether processes of a group outlive their command by more than `LEFT`, and kill them."""
    end = time.monotonic() + LEFT
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    return True


def outcome_of(
    kind: str, seed: int | None, number: int, items: list[Any], beside: dict[str, bytes], patience: float
) -> tuple[str, str, float]:
    """Return the outcome of one input, a line about it and the wall time in s; without a seed the input is valid."""
    from command_words import words
    from input_cases import mutated_item, write_item

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        mark = folder / "unpickled"
        item = items[number % len(items)] if seed is None else mutated_item(kind, seed, number, items, str(mark))
        (folder / "given").mkdir()
        write_item(item, folder / "given")
        (folder / "work").mkdir()
        write_item(beside, folder / "work")
        given = words(kind, number, folder / "given", next(iter(item), "nothing"), folder / "work")
        outcome, line, seconds = ended(given, folder / "work", patience)
        return ("unpickled" if mark.exists() else outcome), line, seconds


def main() -> None:
    """Give inputs of each kind to the command line and print the outcomes."""
    sys.path.insert(1, str(HERE.parent / "inputs"))
    from command_words import needs
    from input_corpus import corpus
    from input_readers import READERS

    from nucleate.benchmark.result_file import ResultFile

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=sorted(READERS), action="append")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--count", type=int, default=19)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--patience", type=float, default=60.0, help="time in s after which a command is interrupted")
    parser.add_argument("--result", type=Path, default=HERE / "result.json")
    parser.add_argument("--show", action="store_true", help="print each outcome; no rows are written")
    parser.add_argument("--valid", action="store_true", help="print the outcomes of inputs that are not mutated; no rows are written")
    given = parser.parse_args()
    cases = CASES if CASES.is_dir() and not given.valid else None
    settings = {"patience": given.patience}
    result = None if given.show or given.valid else ResultFile(given.result, settings, ("gemmi", "pymatgen", "safetensors"))
    beside = needs()
    for kind in given.kind or READERS:
        key = {"kind": kind, "seed": given.seed, "first": given.first, "inputs": given.count}
        if result is not None and result.find(**key):
            continue
        items = corpus(kind, cases)
        counts: Counter[str] = Counter()
        failing: list[list[Any]] = []
        slowest = 0.0
        for number in range(given.first, given.first + given.count):
            outcome, line, seconds = outcome_of(kind, None if given.valid else given.seed, number, items, beside, given.patience)
            counts[outcome] += 1
            slowest = max(slowest, seconds)
            if result is None:
                print(kind, number, outcome, f"{seconds:.1f} s", line, flush=True)
            if outcome in FAULTS:
                failing.append([number, outcome, line])
        print(kind, dict(counts), f"slowest {slowest:.1f} s", flush=True)
        if result is not None:
            result.add(**key, outcomes=dict(sorted(counts.items())), slowest=round(slowest, 1), failing=failing)


def table(data: dict[str, Any]) -> str:
    """Return the table of a result file: a row a kind."""
    kinds = ("refused", "failed", "ran", "interrupted", *FAULTS)
    lines = [f"| kind | inputs | {' | '.join(kinds)} | slowest, s |", "|---|" + "---:|" * (len(kinds) + 2)]
    for kind in dict.fromkeys(row["kind"] for row in data["rows"]):
        rows = [row for row in data["rows"] if row["kind"] == kind]
        counts: Counter[str] = Counter()
        for row in rows:
            counts.update(row["outcomes"])
        cells = [sum(row["inputs"] for row in rows), *(counts[name] for name in kinds)]
        lines.append(f"| {kind} | {' | '.join(map(str, cells))} | {max(row['slowest'] for row in rows):.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
