"""Results of one search in the formats of other programs, read back by those programs or by what they document."""

import json
import shutil
import sqlite3
from dataclasses import replace

import ase.db
import numpy as np
import pytest
from typer.testing import CliRunner

from nucleate import api
from nucleate.cli.app import app
from nucleate.crystals.io import read_structures
from nucleate.csp.run_data import read_run
from nucleate.errors import BadInput, RunFolderError
from nucleate.export.formats import FORMATS, export
from nucleate.export.labels import row_of
from nucleate.export.res import res_text
from nucleate.fingerprints.matching import same_crystal, space_group
from nucleate.units import GPA

pytestmark = pytest.mark.usefixtures("undrawn")


def test_airss_reads_what_it_documents(searched, tmp_path):
    run = read_run(searched)
    path, _ = export(searched, "res", tmp_path / "res")
    files = sorted(path.glob("*.res"))
    assert len(files) == len(run.state.ranking())
    for file, polymorph in zip(files, run.state.ranking(), strict=True):
        title = file.read_text().splitlines()[0].split()
        assert (title[0], title[1]) == ("TITL", file.stem)
        assert float(title[2]) == 2.0
        assert float(title[3]) == pytest.approx(polymorph.atoms.get_volume())
        assert float(title[4]) == pytest.approx(polymorph.energy * len(polymorph.atoms))
        assert (int(title[7]), title[8], title[9:11]) == (len(polymorph.atoms), f"({polymorph.space_group})", ["n", "-"])
        (atoms,) = read_structures(file)
        assert same_crystal(atoms, polymorph.atoms)
        assert space_group(atoms)[1] == polymorph.number
        assert atoms.get_volume() == pytest.approx(polymorph.atoms.get_volume(), rel=1e-6)


def test_moments_and_labels_are_those_of_the_polymorph(searched):
    run = read_run(searched)
    polymorph = run.state.ranking()[0]
    title = res_text(polymorph, "name", 2.0, [], np.array([2.0, -0.5])).splitlines()[0].split()
    assert (float(title[5]), float(title[6])) == (1.5, 2.5)
    row = row_of(polymorph, run.rows, 2.0)
    # The same structure with another energy, as in another magnetic order, is another calculation.
    other = replace(row, number=row.number + 1, label=replace(row.label, energy=row.label.energy + 0.1))
    assert row_of(polymorph, [*run.rows, other], 2.0) == row
    assert row_of(polymorph, [other], 2.0) is None


def test_an_interrupted_export_leaves_nothing(searched, tmp_path, monkeypatch):
    def interrupted(*unused):
        raise KeyboardInterrupt

    for module, name in (("res", "write_whole"), ("ro_crate", "_graph")):
        with monkeypatch.context() as patch:
            patch.setattr(f"nucleate.export.{module}.{name}", interrupted)
            with pytest.raises(KeyboardInterrupt):
                export(searched, module.replace("_", "-"), tmp_path / module)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BadInput, match="in the run folder"):
        export(searched, "json", searched / "entries.json")


def test_entries_are_read_by_pymatgen(searched, tmp_path):
    from monty.serialization import loadfn

    path, _ = export(searched, "json", tmp_path / "entries.json")
    entries, run = loadfn(path), read_run(searched)
    assert len(entries) == len(run.state.ranking())
    for entry, polymorph in zip(entries, run.state.ranking(), strict=True):
        enthalpy = entry.energy + 2.0 * GPA * entry.structure.volume
        assert enthalpy / len(entry.structure) == pytest.approx(polymorph.energy)
        assert entry.data["seed"] == 3
        assert entry.data["surrogate"] is False or entry.data["reference"]


def test_every_calculation_is_in_the_database_of_ase(searched, tmp_path):
    path, _ = export(searched, "ase-db", tmp_path / "run.db")
    run = read_run(searched)
    with ase.db.connect(path) as database:
        rows = list(database.select())
        assert len(rows) == len(run.rows)
        for row, own in zip(rows, run.rows, strict=True):
            assert (row.calculation, row.purpose, row.round, row.status) == (own.number, own.purpose, own.round, own.status)
            np.testing.assert_allclose(row.positions, own.atoms.positions)
            if own.label is not None:
                assert row.energy == own.label.energy
                np.testing.assert_array_equal(row.forces, own.label.forces)
                np.testing.assert_array_equal(row.stress, own.label.stress)
        # The label on which the best polymorph stands.
        (best,) = database.select(polymorph=1)
        polymorph = run.state.ranking()[0]
        assert (best.energy + 2.0 * GPA * best.volume) / best.natoms == pytest.approx(polymorph.energy)
        assert database.metadata["seed"] == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.db"]


def test_a_crate_describes_every_file(searched, tmp_path):
    crate, _ = export(searched, "ro-crate", tmp_path / "crate")
    graph = {entity["@id"]: entity for entity in json.loads((crate / "ro-crate-metadata.json").read_text())["@graph"]}
    parts = {part["@id"] for part in graph["./"]["hasPart"]}
    files = {path.relative_to(crate).as_posix() for path in crate.rglob("*") if path.is_file()} - {"ro-crate-metadata.json"}
    assert parts == files
    assert {"run.toml", "run.db", "events.jsonl", "table.csv", "report.html"} <= files
    action = graph["#search"]
    references = [item["@id"] for key in ("instrument", "object", "result", "additionalProperty") for item in action[key]]
    assert set(references) <= set(graph)
    assert graph["#seed"]["value"] == 3
    assert any(entity.get("name") == "nucleate" and entity.get("version") for entity in graph.values())
    # The copy is a run folder that can be read and resumed.
    assert api.show(crate)["calls"] == api.show(searched)["calls"]
    with sqlite3.connect(crate / "run.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_links_and_keys_stay_at_home(searched, tmp_path):
    own = shutil.copytree(searched, tmp_path / "own")
    (tmp_path / "secret").write_text("mine")
    (own / "notes").symlink_to(tmp_path / "secret")
    (own / "blocks" / "certificates").mkdir(parents=True)
    (own / "blocks" / "certificates" / "server.key").write_text("key")
    crate, _ = export(own, "ro-crate", tmp_path / "crate")
    assert not (crate / "notes").exists()
    assert not (crate / "blocks").exists()


def test_a_crate_is_read_by_rocrate(searched, tmp_path):
    rocrate = pytest.importorskip("rocrate.rocrate")
    path, _ = export(searched, "ro-crate", tmp_path / "crate")
    crate = rocrate.ROCrate(path)
    (action,) = [entity for entity in crate.get_entities() if entity.type == "CreateAction"]
    assert len(action["result"]) + 1 == len([entity for entity in crate.get_entities() if entity.type == "File"])
    assert crate.root_dataset["name"].startswith("Crystal structure search of Cu2")


def test_bad_requests_are_one_line(searched, tmp_path):
    with pytest.raises(BadInput, match="choose res, json"):
        export(searched, "pdf")
    (tmp_path / "there.json").write_text("")
    with pytest.raises(BadInput, match="exists already"):
        export(searched, "json", tmp_path / "there.json")
    with pytest.raises(RunFolderError, match="is not a run folder"):
        export(tmp_path, "json")
    with pytest.raises(BadInput, match="cannot be written"):
        export(searched, "json", tmp_path / "there.json" / "below.json")
    (tmp_path / "empty").mkdir()
    shutil.copy(searched / "run.toml", tmp_path / "empty")
    for name in FORMATS:
        with pytest.raises(RunFolderError, match="would be empty"):
            export(tmp_path / "empty", name, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    shown = CliRunner().invoke(app, ["export", str(searched), "--to", "json", "--out", str(tmp_path / "ok.json")])
    assert (shown.exit_code, shown.stdout.count("\n")) == (0, 1)
