"""Evaluations until a known crystal by several programs for crystal structure prediction, on the same reference and by the same rules.

    python benchmarks/search/peers/run.py --systems Si8 --seeds 5      # in the environment of requirements.txt

Searches: nucleate with its default settings, random search with its generator, ase-ga, and CrySPY (random search, evolutionary algorithm
and LAQA). Each program has the settings of its documentation, which the first lines of its file state. All evaluations of CHGNet go
through one counter (counting.py). A run ends when an end point is the named crystal, after --budget evaluations, or after --minutes. Each
run is a row, and a stopped benchmark resumes. ABSENT lists programs that cannot take part. Targets: diamond and corundum from
`nucleate.benchmark.targets`, spinel and alpha boron as the lowest AFLOW prototype (benchmarks/search/evolution/run.py).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from nucleate.benchmark.result_file import ResultFile
from nucleate.benchmark.statistics import expected_calls, interval, wilson
from nucleate.benchmark.targets import Target, prototype, relaxed_target
from nucleate.benchmark.trials import dispatching, search_trial, trial_settings
from nucleate.reference import make_reference
from nucleate.reference.settings import ReferenceSettings

HERE = Path(__file__).resolve().parent
REFERENCE = "chgnet"
SYSTEMS = ["Si8", "Al4O6", "B12", "Mg2Al4O8"]
PACKAGES = {
    "nucleate": "nucleate",
    "random symmetric": "nucleate",
    "random P1": "nucleate",
    "ase-ga": "ase-ga",
    "CrySPY RS": "csp-cryspy",
    "CrySPY EA": "csp-cryspy",
    "CrySPY LAQA": "csp-cryspy",
}
"""Searches in the order of the table, and the package of each."""
ABSENT = {
    "AGOX 3.11.1": "its generators place atoms in the cell of a fixed template, and its evaluators relax positions alone, so that the cell"
    " would have to be known beforehand",
    "rsspolymlp 0.4.4": "it relaxes structures on a polynomial potential that has been trained on DFT calculations beforehand, and on no"
    " other calculator; the choice of training set and model for each system would decide its result. Its dependency pypolymlp has no"
    " wheel on the package index, and was not compiled, since that requires Eigen",
}
"""Programs that do not take part, and why."""


def searches() -> dict[str, Callable[..., None]]:
    """Return the searches that take (trial, system, seed)."""
    import random_search
    import search_ase_ga
    import search_cryspy

    return {
        "random symmetric": random_search.symmetric,
        "random P1": random_search.without_symmetry,
        "ase-ga": search_ase_ga.search,
        **{f"CrySPY {name}": partial(search_cryspy.search, name) for name in ("RS", "EA", "LAQA")},
    }


def make_target(system: str) -> Target:
    """Relax the target of a system on the reference."""
    if system in ("Si8", "Al4O6"):
        with dispatching(make_reference(ReferenceSettings(engine=REFERENCE))) as dispatcher:
            return relaxed_target(system, dispatcher)
    sys.path.insert(0, str(HERE.parents[1]))
    from tables import script

    target: Target = script("search/evolution").make_target(system, REFERENCE)
    return target


def run_peer(peer: str, system: str, seed: int, budget: int, target: Target) -> dict[str, Any]:
    """Run one search in the current folder; return its row."""
    from counting import Counter, Ended, Trial

    if peer == "nucleate":
        found = search_trial(trial_settings(system, REFERENCE, seed, budget, {}), target)
        return {
            "first": found.first, "low": found.first_low, "calls": found.calls, "ended": found.ended, "cpu": round(found.cpu_seconds, 1),
            "best": found.best, "lower": [round(energy, 4) for energy in found.lower],
        }  # fmt: skip
    trial = Trial(Counter(make_reference(ReferenceSettings(engine=REFERENCE)).label, budget), target)
    try:
        searches()[peer](trial, system, seed)
        ended = "program ended"
    except Ended as end:
        ended = str(end)
    except Exception as error:
        traceback.print_exc()
        ended = f"{type(error).__name__}: {error}"[:200]
    calls = trial.counter.calls
    return {
        "first": calls if ended == "hit" else None, "low": trial.first_low, "calls": calls, "ended": ended,
        "cpu": round(trial.counter.cpu_seconds, 1), "best": trial.best, "lower": [round(energy, 4) for energy in trial.lower],
        "ends": trial.ends,
    }  # fmt: skip


def _child(sender: Connection, minutes: float, log: Path, *arguments: Any) -> None:
    """Run one search in a process and a folder of its own, since the programs change global state and write files."""
    from counting import Ended

    def stop(*_: Any) -> None:
        raise Ended("time")

    with log.open("a") as stream, tempfile.TemporaryDirectory() as folder:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        os.chdir(folder)
        signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, 60 * minutes)
        sender.send(run_peer(*arguments))
        os.chdir("/")


def run_alone(minutes: float, log: Path, *arguments: Any) -> dict[str, Any] | None:
    """Run one search in a process of its own; None if the process dies."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(sender, minutes, log, *arguments))
    process.start()
    sender.close()
    try:
        row: dict[str, Any] = receiver.recv()
    except EOFError:
        return None
    finally:
        process.join()
    return row


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = [
        "| system | search | seeds | hits | share of hits, 95 % | calls to a hit (ERT) | 95 % "
        "| lowest energy: hits | ERT "
        "| processor s to a hit, median | calls of each seed |",
        "|" + "---|" * 11,
    ]
    for system in [name for name in SYSTEMS if any(row["system"] == name for row in data["rows"])]:
        for peer in PACKAGES:
            rows = sorted((row for row in data["rows"] if (row["system"], row["peer"]) == (system, peer)), key=lambda row: row["seed"])
            if not rows:
                continue
            hits = [row for row in rows if row["first"] is not None]
            low, high = wilson(len(hits), len(rows))
            by_name = [(row["calls"], row["first"] is not None) for row in rows]
            by_energy = [(row["calls"] if row["low"] is None else row["low"], row["low"] is not None) for row in rows]
            seconds = f"{np.median([row['cpu'] for row in hits]):.0f}" if hits else ""
            each = ", ".join(str(row["first"]) if row["first"] is not None else f"> {row['calls']}" for row in rows)
            cells = [system, peer, str(len(rows)), str(len(hits)), f"{low:.2f}-{high:.2f}", expected(by_name), span(by_name)]
            cells += [str(sum(hit for _, hit in by_energy)), expected(by_energy), seconds, each]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def expected(trials: list[tuple[int, bool]]) -> str:
    """Return the expected number of calls to a hit; without a hit, the bound that holds with 95 % confidence (rule of three)."""
    value = expected_calls(trials)
    return f"at least {sum(calls for calls, _ in trials) / 3:.0f}" if value is None else f"{value:.0f}"


def span(trials: list[tuple[int, bool]]) -> str:
    """Return the 95 % interval of the expected number of calls from a bootstrap over seeds; empty without a hit."""
    low, high = interval(len(trials), lambda drawn: expected_calls([trials[k] for k in drawn]))
    if low is None:
        return ""
    return f"above {low:.0f}" if high is None else f"{low:.0f}-{high:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS)
    parser.add_argument("--peers", nargs="+", choices=list(PACKAGES), default=[name for name in PACKAGES if name != "random P1"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--budget", type=int, default=3000)
    parser.add_argument("--minutes", type=float, default=600.0, help="wall time of a run, except those of nucleate")
    parser.add_argument("--result", type=Path, default=HERE / "result.json")
    parser.add_argument("--log", type=Path, default=Path(os.devnull), help="output of the programs")
    a = parser.parse_args()
    packages = ("chgnet", "pymatgen", "pyxtal", "ase-ga", "csp-cryspy")
    result = ResultFile(a.result.resolve(), {"reference": REFERENCE, "budget": a.budget}, packages)
    # CHGNet and the programs are loaded once, before the processes are forked.
    searches()
    make_reference(ReferenceSettings(engine=REFERENCE)).label(prototype("Si8"))
    for system in a.systems:
        target = None
        # Seeds come first, so that a stopped benchmark has all programs of the same seeds.
        for seed in range(a.first_seed, a.first_seed + a.seeds):
            for peer in a.peers:
                if result.find(system=system, seed=seed, peer=peer) is not None:
                    continue
                target = target or make_target(system)
                row = run_alone(a.minutes, a.log.resolve(), peer, system, seed, a.budget, target)
                if row is None:
                    print(system, seed, peer, "died", flush=True)
                    continue
                result.add(system=system, peer=peer, seed=seed, **row, version=version(PACKAGES[peer]))
                print(system, seed, peer, row["calls"], row["ended"], row["cpu"], flush=True)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
