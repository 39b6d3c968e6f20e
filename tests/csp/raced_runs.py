"""Start two searches with different settings on one folder at the same moment, again and again; report as JSON.

    python raced_runs.py FOLDER TIMES

Children are forked from this process, which has imported everything: both are at the folder within a millisecond.
"""

import json
import os
import sys
import tomllib
import traceback
from pathlib import Path

from nucleate import api
from nucleate.crystals import parse_formula
from nucleate.csp.run_settings import settings_from_dict
from nucleate.errors import RunFolderError
from nucleate.generate import make_generator

SETTINGS = {
    "formula": "Cu2",
    "reference": {"engine": "ase", "calculator": "ase.calculators.emt:EMT", "workers": 0},
    "search": {"pool": 4, "first_batch": 2, "batch": 1, "budget": 2, "max_rounds": 1, "proof": False, "lead_fmax": 5.0},
    "generate": {"workers": 1, "space_groups": [166, 194]},
    "model": {"members": 2, "radial": 4, "channels": 4, "hidden": 8},
    "training": {"steps": 2, "warm_steps": 2},
    "relax": {"max_steps": 2},
}
REFUSED = 3


def child(folder, seed, ready, start):
    """Search once the parent says so; the exit code says how it went."""
    code = 1
    try:
        settings = {**SETTINGS, "seed": seed}
        os.write(ready, b"x")
        os.read(start, 1)
        api.search(settings=settings, out=folder)
        code = 0
    except RunFolderError as error:
        print(error, file=sys.stderr)
        code = REFUSED
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def race(folder):
    """Exit code of the searches with seeds 1 and 2, and the seed that run.toml names."""
    children = {}
    ready, tell_ready = os.pipe()
    start, tell_start = os.pipe()
    for seed in (1, 2):
        pid = os.fork()
        if pid == 0:
            child(folder, seed, tell_ready, start)
        children[pid] = seed
    for _ in children:
        os.read(ready, 1)
    os.write(tell_start, b"xx")
    codes = {seed: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid, seed in children.items()}
    for descriptor in (ready, tell_ready, start, tell_start):
        os.close(descriptor)
    return codes, tomllib.loads((folder / "run.toml").read_text())["seed"]


def main():
    folder, times = Path(sys.argv[1]), int(sys.argv[2])
    # Who has the folder does not depend on the files that are written at the end, whose figures take longer than the searches.
    api.write_outputs = lambda folder: None
    settings = settings_from_dict(SETTINGS)
    make_generator(parse_formula(settings.formula), settings.generate)
    print(json.dumps([race(folder / f"run{k}") for k in range(times)]))


if __name__ == "__main__":
    main()
