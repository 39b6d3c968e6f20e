"""The k-points of labels in the formats of other programs are those that the reference hands to its engine."""

import json
import shutil
import sqlite3
import subprocess
import sys

import ase.db
import numpy as np
import pytest
from ase.cell import Cell

from nucleate.csp.run_data import read_run
from nucleate.errors import RunFolderError
from nucleate.export.formats import export
from nucleate.export.labels import k_points_of, row_of
from nucleate.reference import ReferenceSettings, make_reference
from nucleate.reference.base import asked_of_engine

READ = """
import json, sys
from aiida.manage import get_manager
from aiida.orm import CalculationNode, QueryBuilder
from aiida.storage.sqlite_zip.backend import SqliteZipBackend

get_manager().load_profile(SqliteZipBackend.create_profile(sys.argv[1]), allow_switch=True)
nodes = QueryBuilder().append(CalculationNode, filters={"attributes.process_label": "nucleate.label"}).all(flat=True)
found = {}
for node in nodes:
    mesh, offset = node.inputs.kpoints.get_kpoints_mesh()
    found[node.label.split(",")[0].split()[1]] = [mesh, offset, node.inputs.kpoints.cell.tolist()]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def calculated(searched, tmp_path_factory):
    """A run whose labels state the k-points of GPAW, and what GPAW is given for each of them."""
    pytest.importorskip("gpaw", reason="gpaw is not installed")
    folder = tmp_path_factory.mktemp("points") / "run"
    shutil.copytree(searched, folder)
    reference = make_reference(ReferenceSettings(engine="gpaw", preset="fast"))
    given = {}
    with sqlite3.connect(folder / "run.db") as database:
        for row in read_run(folder).rows:
            request = asked_of_engine(row.atoms, reference)
            keywords = reference.options(request.atoms, request.grid)["kpts"]
            shifted = not keywords.get("gamma", False)
            # GPAW shifts the grid of Monkhorst and Pack along its even axes.
            shift = [0.5 if shifted and n % 2 == 0 else 0.0 for n in keywords["size"]]
            given[row.number] = (list(keywords["size"]), shift, request.atoms.cell.array)
            database.execute("UPDATE ledger SET details=? WHERE hash=?", (json.dumps(request.record), row.hash))
    return folder, given


def agrees(data, given):
    return data["size"] == given[0] and data["shift"] == given[1] and np.allclose(data["cell"], given[2], atol=1e-9)


def test_a_row_states_what_the_engine_was_given(calculated):
    folder, given = calculated
    rows = read_run(folder).rows
    assert {row.number for row in rows} == set(given)
    assert all(agrees(k_points_of(row).as_dict(), given[row.number]) for row in rows)
    # Both kinds of grids occur.
    assert {any(shift) for _, shift, _ in given.values()} == {True, False}


def test_entries_and_res_files_state_the_grid_of_their_label(calculated, tmp_path):
    folder, given = calculated
    run = read_run(folder)
    numbers = [row_of(polymorph, run.rows, 2.0).number for polymorph in run.state.ranking()]
    entries = json.loads(export(folder, "json", tmp_path / "entries.json")[0].read_text())
    assert all(agrees(entry["data"]["k_points"], given[number]) for entry, number in zip(entries, numbers, strict=True))
    files = sorted(export(folder, "res", tmp_path / "res")[0].glob("*.res"))
    for file, number in zip(files, numbers, strict=True):
        (words,) = [line.split() for line in file.read_text().splitlines() if line.startswith("REM k-points")]
        assert [int(word) for word in words[2:5]] == given[number][0]
        assert [float(word) for word in words[6:9]] == given[number][1]
        assert np.allclose([float(word) for word in words[12:]], Cell(given[number][2]).cellpar(), atol=1e-5)


def test_the_crate_states_the_grids_of_the_polymorphs(calculated, tmp_path):
    folder, given = calculated
    run = read_run(folder)
    crate, _ = export(folder, "ro-crate", tmp_path / "crate")
    graph = {entity["@id"]: entity for entity in json.loads((crate / "ro-crate-metadata.json").read_text())["@graph"]}
    grids = json.loads(graph["#k-points"]["value"])
    assert all((crate / "structures" / f"{name}.cif").is_file() for name in grids)
    for grid, polymorph in zip(grids.values(), run.state.ranking(), strict=True):
        assert agrees(grid, given[row_of(polymorph, run.rows, 2.0).number])


def test_the_database_of_ase_states_the_grid_of_every_label(calculated, tmp_path):
    folder, given = calculated
    with ase.db.connect(export(folder, "ase-db", tmp_path / "run.db")[0]) as database:
        for row in database.select():
            assert agrees(row.data["k_points"], given[row.calculation])
            assert row.k_points == "x".join(map(str, given[row.calculation][0]))


def test_an_archive_of_aiida_has_the_grid_of_every_label(calculated, tmp_path):
    pytest.importorskip("aiida", reason="aiida-core is not installed: pip install 'nucleate[aiida]'")
    folder, given = calculated
    path, _ = export(folder, "aiida", tmp_path / "run.aiida")
    read = subprocess.run([sys.executable, "-W", "ignore", "-c", READ, str(path)], capture_output=True, text=True, check=True)
    found = json.loads(read.stdout)
    assert {int(number) for number in found} == set(given)
    for number, (mesh, offset, cell) in found.items():
        assert agrees({"size": mesh, "shift": offset, "cell": cell}, given[int(number)])


def test_without_k_points_none_are_stated_and_damaged_ones_are_one_line(searched, tmp_path):
    shutil.copytree(searched, tmp_path / "run")
    entries = json.loads(export(tmp_path / "run", "json")[0].read_text())
    assert {entry["data"]["k_points"] for entry in entries} == {None}
    with sqlite3.connect(tmp_path / "run" / "run.db") as database:
        database.execute("UPDATE ledger SET details=?", ('{"k_points": {"basis": 1}}',))
    with pytest.raises(RunFolderError, match="row 1 of the ledger: its k-points are damaged"):
        export(tmp_path / "run", "ase-db")
