"""A search as an archive of AiiDA, written without a profile or service of the user.

S. P. Huber et al., Sci. Data 7, 300 (2020), doi 10.1038/s41597-020-00638-4. Every row of the ledger is a calculation with its structure,
the settings of the reference and the k-points, if it has any, as inputs and the label as output. A round is a calculation with its labels
and the round before as inputs, and the ranking one that makes the polymorphs from the last round, so that every label is an ancestor of
every polymorph.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from nucleate.csp.run_data import RunData, read_run, structure_name
from nucleate.errors import MissingDependency, NucleateError, quoted
from nucleate.export.labels import k_points_of, row_of
from nucleate.persist.json_data import finite
from nucleate.reference.ledger import RETRY

LABEL, ROUND, RANKING = "nucleate.label", "nucleate.round", "nucleate.ranking"
"""Process labels of a reference calculation, of a round and of the ranking."""
FAILED = 400
"""Exit status of a failed calculation."""


def write_aiida(run: RunData, target: Path) -> str:
    """Write an archive for `verdi archive import`.

    Raises:
        MissingDependency: aiida-core is not installed.
        NucleateError: AiiDA reports an error.
    """
    if importlib.util.find_spec("aiida") is None:
        raise MissingDependency("--to aiida needs aiida-core: pip install 'nucleate[aiida]'")
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    # AiiDA keeps a profile for a whole process and makes a folder in the user's home when it is imported.
    with tempfile.TemporaryDirectory(prefix="nucleate-aiida-") as folder:
        command = [sys.executable, "-W", "ignore", "-m", __name__, str(run.path), str(part)]
        done = subprocess.run(command, env={**os.environ, "AIIDA_PATH": folder}, capture_output=True, text=True, check=False)
    try:
        if done.returncode:
            raise NucleateError(
                f"{target}: AiiDA could not write it ({quoted(done.stderr.strip().splitlines()[-1:] or ['no message'], 200)})"
            )
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)
    return f"{len(run.rows)} calculations, {len(run.state.polymorphs)} polymorphs; read it with: verdi archive import {target}"


def main(source: str, target: str) -> None:
    """Write an archive in a process of its own, with an empty profile in a temporary file."""
    from aiida.manage import get_manager
    from aiida.storage.sqlite_temp import SqliteTempBackend
    from aiida.tools.archive import create_archive

    logging.disable(logging.WARNING)
    get_manager().load_profile(SqliteTempBackend.create_profile("nucleate"), allow_switch=True)
    _store(read_run(source))
    create_archive(None, filename=Path(target))


def _store(run: RunData) -> None:
    """Store the nodes of a run in the loaded profile."""
    from aiida.common.links import LinkType
    from aiida.orm import CalcFunctionNode, Dict, KpointsData, StructureData

    reference = Dict({"name": run.reference, "surrogate": run.surrogate, "settings": run.reference_settings}, label="reference").store()
    settings = Dict({"run_toml": run.toml, "versions": run.versions, "seed": run.settings.seed}, label="settings").store()
    results: dict[int, list[Any]] = {}
    # Calculations without a result are repeated when the search goes on.
    for row in (row for row in run.rows if row.status not in RETRY):
        structure = StructureData(ase=row.atoms, label=f"calculation {row.number}")
        moments = row.atoms.get_initial_magnetic_moments()
        structure.base.extras.set("hash", row.hash)
        if np.abs(moments).max(initial=0) > 0:
            structure.base.extras.set("starting_moments", moments.tolist())
        node = CalcFunctionNode(label=f"calculation {row.number}, {row.purpose} of round {row.round}")
        node.base.links.add_incoming(structure.store(), link_type=LinkType.INPUT_CALC, link_label="structure")
        node.base.links.add_incoming(reference, link_type=LinkType.INPUT_CALC, link_label="reference")
        if (grid := k_points_of(row)) is not None:
            kpoints = KpointsData(label=f"k-points of calculation {row.number}")
            kpoints.set_cell(grid.cell.tolist())
            kpoints.set_kpoints_mesh(list(grid.size), offset=list(grid.shift))
            node.base.links.add_incoming(kpoints.store(), link_type=LinkType.INPUT_CALC, link_label="kpoints")
        _finish(node, LABEL, 0 if row.label is not None else FAILED, row.reason)
        node.store()
        data: dict[str, Any] = {
            "status": row.status, "purpose": row.purpose, "round": row.round, "attempts": row.attempts,
            "core_seconds": row.core_seconds, "wall_seconds": row.wall_seconds, "hash": row.hash,
        }  # fmt: skip
        if row.label is not None:
            data |= {
                "energy": row.label.energy, "energy_units": "eV", "forces": np.asarray(row.label.forces).tolist(),
                "forces_units": "eV/angstrom", "stress": np.asarray(row.label.stress).tolist(), "stress_units": "eV/angstrom^3",
                "stress_order": "xx, yy, zz, yz, xz, xy", "details": finite(row.label.details),
            }  # fmt: skip
        else:
            data["reason"] = row.reason
        result = Dict(data, label=f"label {row.number}")
        result.base.links.add_incoming(node, link_type=LinkType.CREATE, link_label="label")
        results.setdefault(row.round, []).append(result.store())
        node.seal()
    before = settings
    records = {record.round: record.as_dict() for record in run.state.records}
    for number, labels in sorted(results.items()):
        round_ = CalcFunctionNode(label=f"round {number}")
        round_.base.links.add_incoming(before, link_type=LinkType.INPUT_CALC, link_label="before")
        for k, result in enumerate(labels):
            round_.base.links.add_incoming(result, link_type=LinkType.INPUT_CALC, link_label=f"label_{k + 1}")
        _finish(round_, ROUND, 0, None)
        round_.store()
        before = Dict(finite(records.get(number, {})), label=f"after round {number}")
        before.base.links.add_incoming(round_, link_type=LinkType.CREATE, link_label="record")
        before.store()
        round_.seal()
    ranking = CalcFunctionNode(label=f"ranking of {run.settings.name}")
    ranking.base.links.add_incoming(before, link_type=LinkType.INPUT_CALC, link_label="record")
    _finish(ranking, RANKING, 0, run.state.finished)
    ranking.store()
    for k, polymorph in enumerate(run.state.ranking()):
        final = StructureData(ase=polymorph.atoms, label=structure_name(k + 1, polymorph))
        final.base.links.add_incoming(ranking, link_type=LinkType.CREATE, link_label=f"polymorph_{k + 1}")
        row_below = row_of(polymorph, run.rows, run.settings.pressure)
        facts = {
            "rank": k + 1, "space_group": polymorph.space_group, "enthalpy_per_atom": float(polymorph.energy),
            "pressure_GPa": run.settings.pressure, "check": polymorph.check, "calculation": None if row_below is None else row_below.number,
        }  # fmt: skip
        for name, value in facts.items():
            final.base.extras.set(name, value)
        final.store()
    ranking.seal()


def _finish(node: Any, process: str, status: int, message: str | None) -> None:
    """Mark a process node as finished."""
    from aiida.engine import ProcessState

    node.set_process_label(process)
    node.set_process_state(ProcessState.FINISHED)
    node.set_exit_status(status)
    if message:
        node.set_exit_message(message[:1000])


if __name__ == "__main__":
    main(*sys.argv[1:])
