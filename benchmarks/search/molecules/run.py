"""Molecular convolution with 320 weights on distorted molecules, in four stages, beside a2a and painn on the same data.

    OMP_NUM_THREADS=1 python benchmarks/data/molecules.py --elements H C N O --out runs/molecules-hcno.extxyz
    OMP_NUM_THREADS=1 python benchmarks/search/molecules/run.py

Labels are GFN2-xTB's, a semi-empirical stand-in. A tenth of the molecules is held back with all its distortions: errors are those on
molecules never seen. Settings: molecules.toml beside this file. Every finished training is kept in --out.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

from nucleate.persist.toml import read_settings
from nucleate.training.folder import read_events
from nucleate.training.run import fit

HEAD = """| model | weights | seed | after step | energy RMSE, meV/atom (training) | force RMSE, eV/Å (training) | CPU-s |
|---|---|---|---|---|---|---|"""


def train(data: Path, out: Path, settings: dict[str, Any]) -> tuple[list[dict[str, Any]], float]:
    """Events and CPU-seconds of a training; a finished one is not repeated."""
    fit(data, out, settings)
    events = read_events(out)
    return events, next(event["cpu_seconds"] for event in events if event["event"] == "finished")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("runs/molecules-hcno.extxyz"))
    parser.add_argument("--models", nargs="+", help="tables of the settings file; all if left out")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--settings", type=Path, default=Path(__file__).with_name("settings.toml"))
    parser.add_argument("--out", type=Path, default=Path("runs/molecules"))
    a = parser.parse_args()
    settings = read_settings(a.settings)
    print(HEAD)
    for name in a.models or [name for name in settings if name != "common"]:
        for seed in range(a.seeds):
            own = {**settings["common"], **settings[name], "seed": seed}
            digest = hashlib.sha256(str(sorted(own.items())).encode()).hexdigest()[:8]
            events, spent = train(a.data, a.out / f"{name}-{seed}-{digest}", own)
            start = next(event for event in events if event["event"] == "start")
            found = [event for event in events if event["event"] == "evaluation"]
            ends = [sum(stage["steps"] for stage in own["stages"][: k + 1]) for k in range(len(own["stages"]))] if "stages" in own else []
            for event in found:
                if event["step"] in (0, *ends, found[-1]["step"]):
                    said = [event[part] for part in ("validation", "training")]
                    energy = "{:.0f} ({:.0f})".format(*(1e3 * errors["energy_rmse"] for errors in said))
                    force = "{:.2f} ({:.2f})".format(*(errors["force_rmse"] for errors in said))
                    weights = start["parameters"] // start["members"]
                    cells = (name, weights, seed, event["step"], energy, force, f"{spent:.0f}" if event is found[-1] else "")
                    print("|", " | ".join(str(cell) for cell in cells), "|", flush=True)


if __name__ == "__main__":
    main()
