"""Kill the leader of two workers with `kill -9` at random moments, resume it until it ends; report what was paid and what was left.

    python killed_workers.py FOLDER KILLS SEED questions|search

`questions` is a dispatcher with thirty of them, `search` a whole small search. Leaders are forked from this process, which has imported
everything; their workers load this file, so that nothing heavy stands at its top.
"""

import json
import os
import random
import signal
import sqlite3
import sys
import time
import traceback
from collections import Counter
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

WORKERS = 2
GONE = 2.0
"""Seconds that the processes of a killed leader have to end."""


def questions(folder):
    from ase.build import bulk

    from nucleate.reference import Dispatcher, Ledger
    from tests.reference.fakes import Paid

    structures = []
    for k in range(30):
        atoms = bulk("Cu", a=3.6, cubic=True)
        atoms.positions[0, 0] = 0.01 * (k + 1)
        structures.append(atoms)
    folder.mkdir(exist_ok=True)
    with Dispatcher(Paid(folder / "paid"), Ledger(folder / "run.db"), workers=WORKERS, timeout=600) as dispatcher:
        # Two batches: workers are idle in between.
        dispatcher.label_many(structures[:20], "train", 0)
        dispatcher.label_many(structures, "train", 1)


def search(folder):
    from nucleate.csp.loop import Search
    from nucleate.csp.plan import prepare
    from nucleate.csp.run_folder import RunFolder
    from nucleate.csp.run_settings import settings_from_dict
    from nucleate.persist.toml import to_toml
    from tests.csp.killed_runs import SETTINGS
    from tests.reference.fakes import Paid

    settings = settings_from_dict({**SETTINGS, "search": {**SETTINGS["search"], "budget": 40}, "reference": {"workers": WORKERS}})
    with RunFolder.create(folder, to_toml(settings)) as run:
        Search(run, prepare(settings, Paid(folder.with_suffix(".paid")))).run()


def preload():
    """What forked leaders need, but nothing that differentiates: autograd refuses to work after a fork."""

    from nucleate.crystals import parse_formula
    from nucleate.csp.run_settings import settings_from_dict
    from nucleate.generate import make_generator
    from tests.csp.killed_runs import SETTINGS

    settings = settings_from_dict(SETTINGS)
    make_generator(parse_formula(settings.formula), settings.generate)


def invoices(folder):
    for path in (folder / "paid", folder.with_suffix(".paid")):
        if path.exists():
            return [line.split() for line in path.read_text().splitlines()]
    return []


def ledger(folder):
    """Status, energy and attempts of each row, as another program reads them."""
    if not (folder / "run.db").exists():
        return {}
    with sqlite3.connect(folder / "run.db") as db:
        try:
            return {key: tuple(row) for key, *row in db.execute("SELECT hash, status, energy, attempts FROM ledger ORDER BY id")}
        except sqlite3.OperationalError:
            return {}


def answered(rows):
    return {key: row for key, row in rows.items() if row[0] not in ("running", "interrupted")}


def left(folder):
    """Processes that carry this folder in their environment: workers, watchers, Python's own helpers."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            ours = f"NUCLEATE_TEST={folder}\0".encode() in path.read_bytes() + b"\0"
            if ours and (path.parent / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def forked(work, folder):
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.environ["NUCLEATE_TEST"] = str(folder)
        work(folder)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        # As the interpreter ends: the pools' threads are joined.
        import concurrent.futures.process as pools

        try:
            pools._python_exit()
        except OSError:
            # In CPython 3.11 the thread of a pool may close its pipe between the check and the wake-up; a second call finds it closed.
            pools._python_exit()
        os._exit(code)


def ended(child, seconds):
    """Exit code, or None where it still runs after so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    return None


def finished(folder, count):
    return len(answered(ledger(folder))) >= count


def killed(work, folder, moments, most, whole):
    """One run killed up to `most` times."""
    kills, wrong, leftovers, slowest, repeats = 0, [], 0, 0.0, []
    while True:
        before, paid = answered(ledger(folder)), len(invoices(folder))
        child = forked(work, folder)
        code = None
        if kills < most:
            # A third while workers start, a third as the last answers come and the workers are closed, the others anywhere.
            kind = moments.randrange(3)
            if kind == 0:
                code = ended(child, moments.uniform(0.0, 1.5))
            elif kind == 1 and len(before) >= whole["calls"] // 2:
                while code is None and not finished(folder, whole["calls"]):
                    code = ended(child, 0.005)
                code = ended(child, moments.uniform(0.0, 0.3)) if code is None else code
            else:
                code = ended(child, moments.uniform(0.0, 0.6 * whole["seconds"]))
            if code is None:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                kills += 1
                began = time.monotonic()
                while (still := left(folder)) and time.monotonic() - began < GONE:
                    time.sleep(0.02)
                slowest = max(slowest, time.monotonic() - began)
                leftovers += len(still)
                for pid in still:
                    with suppress(OSError):
                        wrong.append(f"left behind: {pid} {Path(f'/proc/{pid}/cmdline').read_bytes()[:200]}")
                        os.kill(pid, signal.SIGKILL)
        else:
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        after = ledger(folder)
        wrong += [f"an answered call changed: {key} {row} {after.get(key)}" for key, row in before.items() if after.get(key) != row]
        begun = Counter(line[1] for line in invoices(folder)[paid:] if line[0] == "begun")
        wrong += [f"paid twice: {key}" for key in begun if key in before]
        wrong += [f"paid {count} times by one leader: {key}" for key, count in begun.items() if count > 1]
        if code is None:
            # What was begun and is not in the ledger will be repeated.
            lost = set(begun) - set(answered(after))
            repeats.append(len(lost))
            if len(lost) > WORKERS:
                wrong.append(f"one kill costs {len(lost)} calls")
        elif code == 0:
            break
        else:
            wrong.append(f"ended with exit code {code}")
            break
    all_paid = Counter(line[1] for line in invoices(folder) if line[0] == "begun")
    rows = ledger(folder)
    if set(all_paid) != set(rows):
        wrong.append("the invoices and the ledger name different calls")
    wrong += [f"paid {all_paid[key]} times, recorded {row[2]} attempts" for key, row in rows.items() if all_paid[key] > row[2]]
    outcome = {key: row[:2] for key, row in rows.items()}
    if outcome != whole["outcome"]:
        wrong.append("the ledger of the killed run differs from that of the whole one")
    return {
        "kills": kills, "wrong": wrong, "leftovers": leftovers, "slowest": slowest,
        "repeated": sum(all_paid.values()) - len(all_paid), "lost": repeats, "calls": len(rows),
    }  # fmt: skip


def main():
    folder, kills, seed, work = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), globals()[sys.argv[4]]
    if work is search:
        preload()
    began = time.monotonic()
    code = os.waitstatus_to_exitcode(os.waitpid(forked(work, folder / "whole"), 0)[1])
    seconds = time.monotonic() - began
    rows = ledger(folder / "whole")
    whole = {"seconds": seconds, "calls": len(rows), "outcome": {key: row[:2] for key, row in rows.items()}}
    result = {"code": code, "seconds": seconds, "calls": len(rows), "runs": []}
    moments, done = random.Random(seed), 0
    while code == 0 and done < kills and len(result["runs"]) <= kills:
        found = killed(work, folder / f"killed{len(result['runs'])}", moments, min(10, kills - done), whole)
        result["runs"].append(found)
        done += found["kills"]
    print(json.dumps(result))


if __name__ == "__main__":
    main()
