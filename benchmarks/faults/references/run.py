"""Searches on a reference that misbehaves in every fifth structure, and in all of them.

    python benchmarks/faults/references/run.py --out FOLDER [--what "NaN energy"] [--seeds 10]

Each search runs with two worker processes. It must end by itself, its ledger must hold the energies of the classical potential for all
structures that were calculated rightly and the reason of the failure for all others, its polymorphs must have the energies that the
potential gives them, and no process may be left. If every calculation fails, the search must end with one line. Rows that are in
result.json are not repeated.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "runs"))

import ase.io
import children
import faulty
import numpy as np
from ase import Atoms
from ase.calculators.emt import EMT
from jobs import SMALL

from nucleate.benchmark.result_file import ResultFile

SETTINGS = """
[reference]
engine = "ase"
calculator = "faulty:Faulty"
workers = 2
timeout = 4.0

[reference.parameters]
what = "WHAT"
share = SHARE
"""
LIMIT = 1e-6
"""Largest deviation of an energy, eV/atom."""


def rows(run: Path) -> list[tuple[Any, ...]]:
    """Return the rows of the ledger, with their structures."""
    with closing(sqlite3.connect(run / "run.db")) as database:
        columns = "status, reason, energy, numbers, cell, positions, attempts"
        return database.execute(f"SELECT {columns} FROM ledger ORDER BY id").fetchall()


def structure(row: tuple[Any, ...]) -> Atoms:
    """Return the structure of a row."""
    numbers, cell, positions = (np.frombuffer(row[k], dtype=kind) for k, kind in ((3, "<i4"), (4, "<f8"), (5, "<f8")))
    return Atoms(numbers, positions.reshape(-1, 3), cell=cell.reshape(3, 3), pbc=True)


def energy(atoms: Atoms) -> float:
    """Return the energy of the classical potential, eV/atom."""
    atoms = atoms.copy()
    atoms.calc = EMT()
    return float(atoms.get_potential_energy()) / len(atoms)


def one_search(run: Path, what: str, share: float, seed: int) -> tuple[list[str], dict[str, int]]:
    """Search; return what is wrong, and counts."""
    children.clear(run)
    settings = run.with_suffix(".toml")
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(SETTINGS.replace("WHAT", what).replace("SHARE", str(share)) + SMALL)
    words = ["search", "Cu2", "--settings", str(settings), "--seed", str(seed), "--out", str(run), "--json"]
    ended = children.command(words, run.with_suffix(".log"), run.with_suffix(".paid"))
    wrong = []
    if ended.code is None:
        return [f"still running after {children.LIMIT:g} s"], {}
    if ended.left:
        wrong.append(f"{ended.left} processes left behind")
    if "Traceback" in ended.err or "(a bug:" in ended.err:
        wrong.append(f"not one line: {ended.err.strip()[-200:]}")
    fatal = share == 1.0 and what not in faulty.HARMLESS
    if ended.code != (1 if fatal else 0):
        wrong.append(f"exit code {ended.code}: {ended.err.strip()[-200:]}")
    if fatal and sum(line.startswith("error:") for line in ended.err.splitlines()) != 1:
        wrong.append(f"no line of an error: {ended.err.strip()[-200:]}")
    found = rows(run)
    failed = 0
    for row in found:
        atoms = structure(row)
        expected = faulty.is_chosen(atoms, share) and what not in faulty.HARMLESS
        failed += expected
        if expected and (row[0] == "ok" or not row[1]):
            wrong.append(f"a wrong answer was recorded as {row[0]}: {row[1]}")
        if expected and "\n" in row[1]:
            wrong.append(f"a reason of several lines: {row[1][:80]!r}")
        if not expected and row[0] != "ok":
            wrong.append(f"a right answer was recorded as {row[0]}: {row[1]}")
        if row[0] == "ok" and abs(row[2] / len(atoms) - energy(atoms)) > LIMIT:
            wrong.append(f"the ledger has {row[2] / len(atoms):.6f}, the potential {energy(atoms):.6f} eV/atom")
    paid = len(run.with_suffix(".paid").read_text().split())
    # ASE asks a calculator again for a property that is missing, or after the atoms have changed.
    if what not in ("no stress", "moves the atoms") and paid > sum(row[6] for row in found):
        wrong.append(f"{paid} calculations, {sum(row[6] for row in found)} attempts in the ledger")
    if ended.code == 0 and not fatal:
        polymorphs = json.loads(ended.out)["polymorphs"]
        for k, each in enumerate(polymorphs):
            atoms = ase.io.read(sorted((run / "structures").glob("*.cif"))[k])
            if abs(each["energy"] - energy(atoms)) > 1e-3:
                wrong.append(f"polymorph {k + 1} has {each['energy']:.4f}, the potential gives {energy(atoms):.4f} eV/atom")
    if not wrong:
        children.clear(run)
    return wrong, {"calls": len(found), "failed": failed, "calculations": paid}


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = ["| in place of an answer | share | searches | calculations | failed | wrong |", "|---|---|---|---|---|---|"]
    for what in faulty.MISBEHAVIOURS:
        for share in (0.2, 1.0):
            of_kind = [row for row in data["rows"] if row["what"] == what and row["share"] == share]
            if of_kind:
                sums = [sum(row.get(name) or 0 for row in of_kind) for name in ("calculations", "failed", "wrong")]
                lines.append(f"| {what} | {100 * share:.0f} % | {len(of_kind)} | {' | '.join(str(n) for n in sums)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the searches; those in which something was wrong are kept")
    parser.add_argument("--what", action="append", choices=faulty.MISBEHAVIOURS, help="default: all")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    out = a.out.resolve()
    children.with_interposer(out, Path(__file__).resolve().parent)
    result = ResultFile(a.result, {})
    children.preload()
    for what in a.what or faulty.MISBEHAVIOURS:
        # Searches whose calculations all fail are alike.
        for share, seed in [*((0.2, k) for k in range(1, a.seeds + 1)), (1.0, 1)]:
            if result.find(what=what, share=share, seed=seed) is None:
                run = out / "references" / f"{what.replace(' ', '-')}-{share:g}-{seed}"
                wrong, counts = one_search(run, what, share, seed)
                result.add(what=what, share=share, seed=seed, wrong=len(wrong), examples=wrong[:3], **counts)
                for text in wrong[:3]:
                    print(f"{run.name}: {text}", file=sys.stderr)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
