"""Faults of the machine in the middle of each command: what is lost, what is paid twice, and what a user is told.

    python benchmarks/faults/runs/run.py --out FOLDER [--job search] [--fault kill] [--points 60] [--runs 10] [--kills 20] [--seed 1]

Each command is run whole once. Then a fault happens to it, it is repeated until it has ended, and what it has then is compared with what
the whole run had. Faults: `kill -9`, SIGTERM and SIGINT at random moments (--runs runs with up to --kills each); and at a given call that
changes a file: `kill -9` before it and with half of the bytes written, SIGTERM, SIGINT, a disk that is full or read-only from this call
on, and a clock that jumps by a day forwards or backwards (--points calls, evenly spaced over all of them). Rows that are in result.json
are not repeated.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import children
from children import Ended, clear, command
from jobs import JOBS, Job, make_inputs

from nucleate.benchmark.result_file import ResultFile

DAY = 86_400
MOMENTS = {"kill": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
"""Signals at random moments."""
WRITES = {
    "kill at a write": ("kill", 0), "kill in a write": ("torn", 0), "SIGTERM at a write": ("term", 0), "SIGINT at a write": ("int", 0),
    "full disk": ("full", 0), "read-only disk": ("read-only", 0), "clock + 1 d": ("clock", DAY), "clock - 1 d": ("clock", -DAY),
}  # fmt: skip
"""Faults at a write: their kind, and the jump of the clock in s."""
FAULTS = (*(f"{name} at random moments" for name in MOMENTS), *WRITES)
KILLED = ("kill", "torn")
MOST = 3
"""Faults that are quoted in a row."""


@dataclass
class Whole:
    """A run without faults."""

    result: Any
    invoices: list[str]
    calls: int
    seconds: float


@dataclass
class Tally:
    """What happened in the runs of a row."""

    faults: int = 0
    runs: int = 0
    repeated: int = 0
    wrong: list[str] = field(default_factory=list)


class Runs:
    """The runs of one job in a folder."""

    def __init__(self, job: Job, out: Path):
        self.job, self.out, self.inputs = job, out, out / "inputs"
        self.number = 0

    def command(self, run: Path, **fault: Any) -> Ended:
        """Run the command of the job once."""
        words = self.job.words(self.inputs, run)
        log, invoices = run.with_suffix(".log"), run.with_suffix(".paid")
        return command(words, log, invoices, patch=self.job.patch, folder=run, **fault)

    def fresh(self) -> Path:
        """Return the path of the next run."""
        self.number += 1
        run = self.out / "runs" / self.job.name.replace(" ", "-").replace(",", "") / f"{self.number:04d}"
        clear(run)
        return run

    def whole(self) -> Whole:
        """Run the job without faults.

        Raises:
            SystemExit: it does not end by itself.
        """
        run = self.fresh()
        ended = self.command(run)
        if ended.code != 0:
            raise SystemExit(f"{self.job.name}: fails without a fault ({ended.code}): {ended.err[-500:]}")
        return Whole(self.job.result(run, ended.out), paid(run), ended.calls, ended.seconds)


def paid(run: Path) -> list[str]:
    """Return the invoices of a run."""
    path = run.with_suffix(".paid")
    return path.read_text().split() if path.exists() else []


def said_wrong(fault: str, ended: Ended) -> list[str]:
    """Return what a command did or said that it must not."""
    wrong = []
    if ended.code is None:
        return [f"still running after {children.LIMIT:g} s"]
    if ended.left:
        wrong.append(f"{ended.left} processes left behind")
    for word in ("Traceback", "(a bug:", "Exception ignored", "Error in atexit"):
        if word in ended.err:
            wrong.append(f"{word}: {ended.err.strip().splitlines()[-1][:150]}")
    errors = [line for line in ended.err.splitlines() if line.startswith("error:")]
    if fault.startswith("kill"):
        allowed: tuple[int, ...] = (0, -9)
    elif fault.startswith("SIG"):
        allowed = (0, 130)
    elif "disk" in fault:
        # A folder that cannot be written when the command begins is bad input.
        allowed = (0, 1, 2)
    else:
        allowed = (0,)
    if ended.code not in allowed:
        wrong.append(f"exit code {ended.code}: {ended.err.strip()[-200:]}")
    elif ended.code in (1, 2) and len(errors) != 1:
        wrong.append(f"{len(errors)} lines of errors: {ended.err.strip()[-200:]}")
    return wrong


def one_run(runs: Runs, whole: Whole, fault: str, positions: list[float], tally: Tally) -> None:
    """Let a fault happen at each position in turn, then let the run end; note what is wrong.

    Args:
        positions: moments in s, or numbers of writes.
    """
    run, wrong = runs.fresh(), []
    tally.runs += 1
    for position in [*positions, None]:
        before, invoices = runs.job.finished(run), len(paid(run))
        if position is None:
            ended = runs.command(run)
        elif fault in WRITES:
            kind, jump = WRITES[fault]
            ended = runs.command(run, kind=kind, at=int(position), jump=jump)
        else:
            ended = runs.command(run, moment=position, sent=MOMENTS[fault.partition(" ")[0]])
        tally.faults += position is not None and ended.fired
        wrong += said_wrong(fault if position is not None else "", ended)
        after = runs.job.finished(run)
        wrong += [f"finished and changed: {key}" for key, row in before.items() if after.get(key) != row]
        wrong += [f"finished and paid again: {key}" for key in paid(run)[invoices:] if key in before]
        if ended.code == 0:
            if (result := runs.job.result(run, ended.out)) != whole.result:
                wrong.append(f"another result: {difference(whole.result, result)}")
            break
    repeated = (Counter(paid(run)) - Counter(whole.invoices)).total()
    tally.repeated += repeated
    if repeated > len(positions) * 2:
        wrong.append(f"{repeated} calculations repeated after {len(positions)} faults")
    if missing := Counter(whole.invoices) - Counter(paid(run)):
        wrong.append(f"{len(missing)} calculations of the whole run were never made")
    if wrong:
        tally.wrong += [f"{run.name} at {', '.join(f'{each:g}' for each in positions)}: {text}" for text in wrong]
    else:
        clear(run)


def difference(one: Any, other: Any, where: str = "") -> str:
    """Return the first place where two results differ."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for key in one:
            if one[key] != other[key]:
                return difference(one[key], other[key], f"{where}.{key}")
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        for k, (a, b) in enumerate(zip(one, other, strict=True)):
            if a != b:
                return difference(a, b, f"{where}[{k}]")
    return f"{where}: {str(one)[:60]} became {str(other)[:60]}"


def row(runs: Runs, whole: Whole, fault: str, a: argparse.Namespace) -> dict[str, Any]:
    """Return the row of a job and a fault."""
    tally, chance = Tally(), random.Random(f"{runs.job.name} {fault} {a.seed}")
    if fault in WRITES:
        step = max(1.0, whole.calls / a.points)
        begin = chance.uniform(1, step + 1)
        for k in range(min(a.points, whole.calls)):
            one_run(runs, whole, fault, [min(whole.calls, int(begin + k * step))], tally)
    else:
        most = a.kills if fault.startswith("kill") else 3
        while tally.runs < a.runs or tally.faults < a.runs * most / 2:
            one_run(runs, whole, fault, [chance.uniform(0, 0.4 * whole.seconds) for _ in range(most)], tally)
            if tally.runs >= 3 * a.runs:
                break
    return {
        "job": runs.job.name, "fault": fault, "seed": a.seed, "writes": whole.calls, "calculations": len(whole.invoices),
        "runs": tally.runs, "faults": tally.faults, "repeated": tally.repeated, "wrong": len(tally.wrong),
        "examples": tally.wrong[:MOST],
    }  # fmt: skip


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page: a line a command, a column a group of faults."""
    jobs = list(dict.fromkeys(row["job"] for row in data["rows"]))
    lines = ["| command | writes | fault | runs | faults | calculations repeated | wrong |", "|---|---|---|---|---|---|---|"]
    for job in jobs:
        for fault in FAULTS:
            rows = [row for row in data["rows"] if row["job"] == job and row["fault"] == fault]
            if rows:
                count = {name: sum(row[name] for row in rows) for name in ("runs", "faults", "repeated", "wrong")}
                cells = [job, rows[0]["writes"], fault, count["runs"], count["faults"]]
                cells += [count["repeated"] if rows[0]["calculations"] else "-", count["wrong"]]
                lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    return "\n".join(lines)


def electron_inputs(out: Path) -> None:
    """Sample the snapshots and train the model that the jobs of the room electrons read."""
    by_name = {job.name: job for job in JOBS}
    for job, place in (("electrons sample", "sampled"), ("electrons train", "model")):
        target = out / "inputs" / place
        if not (target / "done").exists():
            clear(target)
            ended = command(by_name[job].words(out / "inputs", target), out / "inputs" / f"{place}.log", out / "inputs" / f"{place}.paid")
            if ended.code != 0:
                raise SystemExit(f"{job}: fails without a fault: {ended.err[-500:]}")
            (target / "done").touch()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs; those in which something was wrong are kept")
    parser.add_argument("--job", action="append", choices=[job.name for job in JOBS], help="default: all")
    parser.add_argument("--fault", action="append", choices=FAULTS, help="default: all")
    parser.add_argument("--points", type=int, default=60, help="number of writes at which a fault happens")
    parser.add_argument("--runs", type=int, default=10, help="number of runs with faults at random moments")
    parser.add_argument("--kills", type=int, default=20, help="largest number of kills of such a run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    out = a.out.resolve()
    children.with_interposer(out)
    result = ResultFile(a.result, {})
    make_inputs(out / "inputs")
    children.preload()
    for job in JOBS:
        wanted = [fault for fault in a.fault or FAULTS if result.find(job=job.name, fault=fault, seed=a.seed) is None]
        if (a.job and job.name not in a.job) or not wanted:
            continue
        if missing := [name for name in job.needs if importlib.util.find_spec(name) is None]:
            print(f"{job.name}: needs {', '.join(missing)}", file=sys.stderr)
            continue
        if job.name in ("electrons train", "electrons predict"):
            electron_inputs(out)
        runs = Runs(job, out)
        whole = runs.whole()
        for fault in wanted:
            done = row(runs, whole, fault, a)
            result.add(**done)
            print(f"{job.name}, {fault}: {done['faults']} faults in {done['runs']} runs, {done['wrong']} wrong", file=sys.stderr)
            for text in done["examples"]:
                print(f"  {text}", file=sys.stderr)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
