"""Phonons of diamond silicon on the committee of a search, against GPAW in the same supercell.

    OMP_NUM_THREADS=1 python benchmarks/stability/silicon_phonons/run.py --folder Si8 [--supercell 2x2x2]

The search is that of examples/demo.toml; a finished run in the folder is used as it is, and an interrupted one is resumed. Diamond is then
checked twice, each time at the minimum of its own surface: on the committee of the last round, and on GPAW with the settings of the search.
Frequencies are compared at the q points that fit into the supercell, where nothing is interpolated.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import nucleate
from nucleate.benchmark.result_file import ResultFile
from nucleate.csp.run_data import read_run
from nucleate.polymorphs.check import check
from nucleate.polymorphs.stability.settings import CheckSettings

DEMO = Path(__file__).resolve().parents[3] / "examples" / "demo.toml"
SEED = 1


def searched(folder: Path) -> None:
    """Finish the rounds of the search in a folder; the accurate ranking after them is not needed."""
    if not (folder / "run.toml").exists():
        nucleate.search(settings=DEMO, seed=SEED, out=folder)
    elif read_run(folder).state.finished is None:
        nucleate.resume(folder)


def compare(folder: Path, supercell: tuple[int, int, int]) -> list[dict[str, Any]]:
    """Return a row for each commensurate q point, THz."""
    settings = CheckSettings(elastic=False, supercell=supercell, follow=0)
    committee = check(folder, settings, top=1, out=folder / "check")
    engine = read_run(folder).settings.reference.engine
    reference = check(
        folder, settings.model_copy(update={"fmax": 5e-3, "smax": 0.05}), reference=engine, top=1, out=folder / "check-reference"
    )
    one, other = committee.polymorphs[0], reference.polymorphs[0]
    assert one.prepared.number == other.prepared.number == 227
    assert one.phonons is not None
    assert other.phonons is not None
    assert one.spot is not None
    run = read_run(folder)
    common = {
        "supercell": list(supercell), "atoms": one.phonons.atoms, "search_calls": run.calls, "members": committee.members,
        "check_calls": reference.calls, "force_error": one.spot.rmse, "force_share": one.spot.share,
        "volume": one.prepared.atoms.get_volume() / 2, "reference_volume": other.prepared.atoms.get_volume() / 2,
    }  # fmt: skip
    mean, spread = one.phonons.commensurate.mean, one.phonons.commensurate.spread
    assert spread is not None
    return [
        {
            **common, "q": np.round(q, 4).tolist(), "committee": np.round(mean[k], 4).tolist(), "spread": np.round(spread[k], 4).tolist(),
            "reference": np.round(other.phonons.commensurate.mean[k], 4).tolist(),
        }
        for k, q in enumerate(one.phonons.points)
    ]  # fmt: skip


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page: one line for each kind of q point, and the deviations over all of them."""
    lines = ["| q | committee, THz | spread, THz | GPAW, THz |", "|---|---|---|---|"]
    seen: list[np.ndarray] = []
    for row in data["rows"]:
        own = np.array(row["reference"])
        # Points that symmetry connects have the same frequencies.
        if any(np.abs(own - other).max() < 1e-3 for other in seen):
            continue
        seen.append(own)
        cells = (" ".join(f"{x:.2f}" for x in row[name]) for name in ("committee", "spread", "reference"))
        lines.append(f"| {' '.join(f'{x:g}' for x in row['q'])} | {' | '.join(cells)} |")
    difference = np.array([np.array(row["committee"]) - np.array(row["reference"]) for row in data["rows"]])
    first = data["rows"][0]
    rms, largest = np.sqrt((difference**2).mean()), np.abs(difference).max()
    lines.append("")
    lines.append(
        f"Over all {len(data['rows'])} points: rms deviation {rms:.2f} THz, largest {largest:.2f} THz. The search made "
        f"{first['search_calls']} reference calls, the check on GPAW {first['check_calls']}. Spot checks: force error "
        f"{first['force_error']:.3f} eV/Å, {100 * first['force_share']:.0f} % of the forces. Volume {first['volume']:.3f} Å³/atom on the "
        f"committee of {first['members']} members, {first['reference_volume']:.3f} on GPAW."
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--supercell", default="2x2x2")
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    first, second, third = (int(n) for n in a.supercell.split("x"))
    result = ResultFile(a.result, {"search": "examples/demo.toml", "seed": SEED, "supercell": a.supercell}, ("gpaw", "phonopy"))
    if not result.rows:
        searched(a.folder)
        for row in compare(a.folder, (first, second, third)):
            result.add(**row)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
