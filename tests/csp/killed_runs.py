"""Run one small search whole, and the same search again and again with `kill -9` at random moments; report as JSON.

    python killed_runs.py FOLDER KILLS SEED BUDGET [SYSTEM or molecules, layers, clusters]

Children are forked from this process, which has imported everything and read the space groups but never differentiated
(autograd refuses to work after a fork of one that has): a start then costs milliseconds.
"""

import json
import os
import random
import signal
import sqlite3
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from nucleate.crystals import parse_formula
from nucleate.csp.loop import Search
from nucleate.csp.molecular.space import MoleculeSpace
from nucleate.csp.plan import prepare
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.run_settings import settings_from_dict
from nucleate.errors import ReferenceFailed
from nucleate.generate import make_generator
from nucleate.persist.toml import to_toml
from nucleate.reference.base import content_hash
from tests.conftest import PairPotential, label

SETTINGS = {
    "formula": "Cu2",
    "seed": 3,
    "search": {
        "pool": 16, "keep": 6, "first_batch": 6, "batch": 3, "max_rounds": 3, "leads": 2, "lead_steps": 5,
        "proof_steps": 12, "fmax": 0.05, "smax": 0.5, "lead_fmax": 3.0,
    },
    "generate": {"workers": 1, "symmetric_share": 0.5, "space_groups": [12, 63, 166, 194]},
    "model": {"cutoff": 4.0, "radial": 5, "channels": 6, "hidden": 8, "members": 2},
    "training": {"steps": 20, "warm_steps": 10, "batch_structures": 6},
    "relax": {"max_steps": 25, "patience": 10},
}  # fmt: skip


class PaidReference:
    """Lennard-Jones copper; every call is written down before it is computed, as an invoice would be.

    Crushed cells fail: failures, too, must be neither lost nor paid twice.
    """

    name = "paid"
    surrogate = True

    def __init__(self, invoices):
        self.invoices = invoices
        self.potential = PairPotential((29, 79), bond=2.6, depth=(0.4,), cutoff=6.0)

    def settings(self):
        return {"engine": "pairs", "bond": 2.6}

    def k_points(self, atoms):
        return None

    def energies(self, atoms):
        return label(self.potential, atoms)

    def label(self, atoms):
        with Path(self.invoices).open("a") as stream:
            stream.write(content_hash(atoms, self.settings()) + "\n")
        # Long enough to be killed in.
        time.sleep(0.01)
        found = self.energies(atoms)
        if found.energy > 20:
            raise ReferenceFailed("crushed")
        return found


class PaidForceField(PaidReference):
    """A force field of molecules, paid in the same way."""

    def energies(self, atoms):
        from nucleate.reference.surrogates import pretrained_reference

        return pretrained_reference("gfnff", settings_from_dict(SETTINGS).molecules.topology).label(atoms)


MOLECULES = {
    "formula": "N4",
    "molecules": {
        "units": 2, "distortions": 6,
        "molecule": [{"name": "N2", "symbols": ["N", "N"], "positions": [[0, 0, -0.55], [0, 0, 0.55]], "bonds": [[0, 1]]}],
    },
}  # fmt: skip


def search(folder):
    """In a child: start or resume, to the end."""
    settings = settings_from_dict(SETTINGS)
    paid = PaidForceField if settings.molecules.molecule else PaidReference
    with RunFolder.create(folder, to_toml(settings)) as run:
        Search(run, prepare(settings, paid(folder.with_suffix(".paid")))).run()


def forked(folder, seconds=None):
    """Exit code of a child that searches; None if it was killed after `seconds`."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            search(folder)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if seconds is not None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return None if code == -signal.SIGKILL else code


def ledger(folder):
    """Rows as a reader outside the program sees them: what was asked, and what came out."""
    if not (folder / "run.db").exists():
        return []
    with sqlite3.connect(folder / "run.db") as db:
        try:
            return db.execute("SELECT hash, status, purpose, round, energy, reason, attempts FROM ledger ORDER BY id").fetchall()
        except sqlite3.OperationalError:
            return []


def invoices(folder):
    path = folder.with_suffix(".paid")
    return path.read_text().split() if path.exists() else []


def outcome(folder):
    """What a user is told in the end."""
    with RunFolder.open(folder) as run:
        saved = run.load_state()
    state = saved[1]
    polymorphs = sorted(state["polymorphs"], key=lambda p: p["energy"])
    records = [{k: v for k, v in record.items() if k != "seconds"} for record in state["records"]]
    proof = state["proof"] and {k: v for k, v in state["proof"].items() if k != "seconds"}
    return {
        "finished": state["finished"],
        "proof": proof,
        "polymorphs": polymorphs,
        "records": records,
        "leads": state["leads"],
        "carried": state["carried"],
        "ledger": [row[:6] for row in ledger(folder)],
    }


def killed(folder, random_moments, most, longest):
    """One search killed up to `most` times. Returns what went wrong, and how often it was killed."""
    kills, wrong = 0, []
    while True:
        before, paid = ledger(folder), invoices(folder)
        answered = {row[0]: row for row in before if row[1] not in ("running", "interrupted")}
        code = forked(folder, random_moments.uniform(0.0, longest) if kills < most else None)
        after = {row[0]: row for row in ledger(folder)}
        for key, row in answered.items():
            if after.get(key) != row:
                wrong.append(f"an answered call changed: {row} became {after.get(key)}")
        for key in invoices(folder)[len(paid) :]:
            if key in answered:
                wrong.append(f"paid twice: {key}")
        if code is None:
            kills += 1
        elif code == 0:
            break
        else:
            wrong.append(f"the search ended with exit code {code}")
            break
    attempts = {row[0]: row[6] for row in ledger(folder)}
    all_paid = invoices(folder)
    for key, count in attempts.items():
        if all_paid.count(key) > count:
            wrong.append(f"paid {all_paid.count(key)} times, recorded {count} attempts: {key}")
    if set(all_paid) != set(attempts):
        wrong.append("the invoices and the ledger name different calls")
    return {"kills": kills, "wrong": wrong, "repeated": len(all_paid) - len(attempts), **outcome(folder)}


def main():
    folder, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    SETTINGS["search"]["budget"] = int(sys.argv[4])
    if sys.argv[5:] == ["molecules"]:
        SETTINGS.update(MOLECULES)
        SETTINGS["generate"] = {"workers": 1}
        SETTINGS["search"].update(fmax=0.01, smax=0.1)
    elif sys.argv[5:] in (["layers"], ["clusters"]):
        SETTINGS.update(formula="Cu4", dimensions=2 if sys.argv[5] == "layers" else 0, generate={"workers": 1})
        # The images of a layer interact through the long cutoff of the model otherwise.
        SETTINGS[sys.argv[5]] = {"vacuum": 9.0}
    elif len(sys.argv) > 5:
        SETTINGS.update(formula=sys.argv[5], hull={"max_atoms": 2})
        SETTINGS["search"].update(pool=24, max_rounds=2)
        SETTINGS["training"].update(steps=40, warm_steps=20)
        SETTINGS["relax"].update(max_steps=40)
    settings = settings_from_dict(SETTINGS)
    if settings.molecules.molecule:
        MoleculeSpace(settings).propose(2, np.random.default_rng(0), False)
    elif settings.dimensions != 3:
        prepare(settings, PaidReference(folder)).space.propose(2, np.random.default_rng(0), False)
    else:
        make_generator(parse_formula("Cu2"), settings.generate)
    began = time.monotonic()
    code = forked(folder / "whole")
    seconds = time.monotonic() - began
    result = {"code": code, "seconds": seconds, "whole": outcome(folder / "whole") if code == 0 else None, "killed": []}
    moments = random.Random(seed)
    done = 0
    while code == 0 and done < kills:
        found = killed(folder / f"killed{len(result['killed'])}", moments, min(10, kills - done), 0.4 * seconds)
        result["killed"].append(found)
        done += found["kills"]
        if len(result["killed"]) > kills:
            break
    print(json.dumps(result))


if __name__ == "__main__":
    main()
