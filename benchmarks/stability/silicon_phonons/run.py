"""Phonons of diamond silicon on the committee of a search, against GPAW in the same supercell.

    OMP_NUM_THREADS=1 python benchmarks/stability/silicon_phonons/run.py --folder Si8 [--supercell 2x2x2]
    nucleate train Si8 --prior 7net-mf-0:PBE --out Si8-prior
    OMP_NUM_THREADS=1 python benchmarks/stability/silicon_phonons/run.py --folder Si8 --model Si8-prior/model.safetensors \\
        --name "the same labels, prior 7net-mf-0:PBE"
    OMP_NUM_THREADS=1 python benchmarks/stability/silicon_phonons/run.py --folder Si8 --train 12 [--seeds 3]

The search is that of examples/demo.toml; a finished run in the folder is used as it is, and an interrupted one is resumed. Diamond is then
checked twice, each time at the minimum of its own surface: on the committee of the last round, and on GPAW with the settings of the search.
Frequencies are compared at the q points that fit into the supercell, where nothing is interpolated. With --train the committee is trained
on labels near the minimum before; each of the --seeds has displacements and strains of its own.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from comparison import compare

import nucleate
from nucleate.benchmark.result_file import ResultFile
from nucleate.csp.run_data import read_run
from nucleate.polymorphs.stability import near_minimum

DEMO = Path(__file__).resolve().parents[3] / "examples" / "demo.toml"
SEED = 1


def searched(folder: Path) -> None:
    """Finish the rounds of the search in a folder; the accurate ranking after them is not needed."""
    if not (folder / "run.toml").exists():
        nucleate.search(settings=DEMO, prototypes=False, seed=SEED, out=folder)
    elif read_run(folder).state.finished is None:
        nucleate.resume(folder)


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page: one line for each kind of q point, and the deviations over all of them."""
    lines = ["| potential | q | frequencies, THz | spread, THz | GPAW, THz |", "|---|---|---|---|---|"]
    ends = [""]
    for model in dict.fromkeys(row["model"] for row in data["rows"]):
        rows = [row for row in data["rows"] if row["model"] == model]
        seen: list[np.ndarray] = []
        for row in rows:
            own = np.array(row["reference"])
            # Points that symmetry connects have the same frequencies.
            if any(np.abs(own - other).max() < 1e-3 for other in seen):
                continue
            seen.append(own)
            cells = (" ".join(f"{x:.2f}".replace("-0.00", "0.00") for x in row[name]) for name in ("committee", "spread", "reference"))
            lines.append(f"| {model} | {' '.join(f'{x:g}' for x in row['q'])} | {' | '.join(cells)} |")
        difference = np.array([np.array(row["committee"]) - np.array(row["reference"]) for row in rows])
        rms, largest = np.sqrt((difference**2).mean()), np.abs(difference).max()
        first = rows[0]
        text = (
            f"- {model} ({first['members']} members): over all {len(rows)} points rms deviation {rms:.2f} THz, largest {largest:.2f} THz; "
            f"volume {first['volume']:.3f} Å³/atom, on GPAW {first['reference_volume']:.3f}."
        )
        if first.get("trained") is not None:
            text += f" Labels near the minimum: {first['trained']}."
        if first["force_error"] is not None:
            text += f" Spot checks: force error {first['force_error']:.3f} eV/Å, {100 * first['force_share']:.0f} % of the forces."
        ends.append(text)
    first = data["rows"][0]
    ends.append(f"- The search made {first['search_calls']} reference calls, the check on GPAW {first['check_calls']}.")
    return "\n".join(lines + ends)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--supercell", default="2x2x2")
    parser.add_argument("--model", type=Path, default=None, help="another model file in place of the last committee of the search")
    parser.add_argument("--name", default="committee of the search")
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    parser.add_argument("--train", type=int, default=0, help="labels near the minimum on which the committee is trained before")
    parser.add_argument("--seeds", type=int, default=1, help="number of trainings, each with structures of its own")
    a = parser.parse_args()
    first, second, third = (int(n) for n in a.supercell.split("x"))
    result = ResultFile(a.result, {"search": "examples/demo.toml", "seed": SEED, "supercell": a.supercell}, ("gpaw", "phonopy"))
    for seed in range(near_minimum.SEED, near_minimum.SEED + a.seeds):
        name = f"{a.name}, trained on {a.train} labels, seed {seed}" if a.train else a.name
        if result.find(model=name) is None:
            searched(a.folder)
            for row in compare(a.folder, (first, second, third), a.model, a.train, seed):
                result.add(model=name, **row)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
