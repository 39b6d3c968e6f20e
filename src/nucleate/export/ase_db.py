"""Every calculation of a search as a database of ASE."""

from __future__ import annotations

from pathlib import Path

from ase.calculators.singlepoint import SinglePointCalculator

from nucleate.csp.run_data import RunData, package_version
from nucleate.export.labels import k_points_of, row_of


def write_ase_db(run: RunData, target: Path) -> str:
    """Write an SQLite database for `ase.db.connect` with one row for each row of the ledger; polymorphs are marked by their rank.

    Failed calculations have no energy; their status and message are kept. `data.k_points` is the grid of a label, see `KPoints`, and
    the key `k_points` its divisions, such as `4x4x4`; both are missing where the reference has no k-points.
    """
    from ase.db import connect

    ranks = {}
    for k, polymorph in enumerate(run.state.ranking()):
        if (row := row_of(polymorph, run.rows, run.settings.pressure)) is not None:
            ranks[row.number] = k + 1
    part = target.with_name(target.name + ".part.db")
    part.unlink(missing_ok=True)
    metadata = {
        "title": f"{run.settings.name}, searched by nucleate {package_version()} on {run.reference}",
        "reference": run.reference, "reference_settings": run.reference_settings, "surrogate": run.surrogate,
        "pressure_GPa": run.settings.pressure, "seed": run.settings.seed, "run_toml": run.toml,
    }  # fmt: skip
    try:
        with connect(part, type="db", use_lock_file=False) as database:
            for row in run.rows:
                atoms = row.atoms.copy()
                if row.label is not None:
                    atoms.calc = SinglePointCalculator(atoms, energy=row.label.energy, forces=row.label.forces, stress=row.label.stress)
                keys = {
                    "purpose": row.purpose,
                    "round": row.round,
                    "calculation": row.number,
                    "status": row.status,
                    "hash": f"sha256-{row.hash}",
                }
                keys["attempts"], keys["core_seconds"] = row.attempts, row.core_seconds
                if row.number in ranks:
                    keys["polymorph"] = ranks[row.number]
                data = {"reason": row.reason, "details": row.label.details if row.label is not None else {}}
                if (grid := k_points_of(row)) is not None:
                    keys["k_points"], data["k_points"] = "x".join(map(str, grid.size)), grid.as_dict()
                database.write(atoms, key_value_pairs=keys, data=data)
        database.metadata = metadata
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)
    return f"{len(run.rows)} calculation{'' if len(run.rows) == 1 else 's'}"
