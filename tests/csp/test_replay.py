"""A search is decided again from its ledger: no calculation is made, and what was changed is named."""

import json
import shutil
import sqlite3
import zlib

import numpy as np
import pytest
from ase.calculators.emt import EMT
from typer.testing import CliRunner

from nucleate import api
from nucleate.cli.app import app
from nucleate.csp.events import RoundDone
from nucleate.csp.replay import replay
from nucleate.errors import BadInput, RunFolderError
from nucleate.reference import make_reference
from nucleate.reference.settings import ReferenceSettings

SEED = 4
SETTINGS = {
    "reference": {"engine": "ase", "calculator": "ase.calculators.emt:EMT", "workers": 0},
    "search": {"pool": 12, "first_batch": 4, "batch": 3, "max_rounds": 6},
    "generate": {"workers": 1},
    "model": {"members": 2, "radial": 6, "channels": 4, "hidden": 8},
    "training": {"steps": 24, "warm_steps": 12},
    "relax": {"max_steps": 40, "workers": 1},
}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replay") / "run"
    api.search("Cu2", settings=SETTINGS, seed=SEED, out=folder)
    return folder


@pytest.fixture
def copied(searched, tmp_path):
    """A copy that may be changed."""
    return shutil.copytree(searched, tmp_path / "copy")


def changed(folder, statement, *values):
    with sqlite3.connect(folder / "run.db") as database:
        assert database.execute(statement, values).rowcount == 1


def test_a_search_is_repeated_without_a_calculation(searched, monkeypatch):
    def calculates(*unused, **more):
        raise AssertionError("the engine was called")

    monkeypatch.setattr(EMT, "calculate", calculates)
    before = {path: path.read_bytes() for path in searched.rglob("*") if path.is_file()}
    result = replay(searched)
    assert (result.divergence, result.numbers) == (None, None)
    data = api.show(searched)
    assert result.calls == result.recorded == data["calls"]
    assert result.rounds == len(data["rounds"])
    assert {path: path.read_bytes() for path in searched.rglob("*") if path.is_file()} == before


def test_a_changed_energy_is_noticed(copied):
    """Labels decide: where one of them was written by hand, the search does not follow from its ledger."""
    changed(copied, "UPDATE ledger SET energy = energy + 0.5 WHERE id = 2")
    result = replay(copied)
    assert result.divergence is not None or result.numbers is not None


def test_a_changed_proof_is_noticed(copied):
    """The last calculations decide nothing, but their energies are results."""
    assert api.show(copied)["proof"] is not None
    changed(copied, "UPDATE ledger SET energy = energy - 0.02 WHERE id = (SELECT MAX(id) FROM ledger WHERE purpose = 'proof')")
    result = replay(copied)
    assert "proof" in (result.divergence or result.numbers)


def test_a_missing_calculation_is_named(copied):
    changed(copied, "DELETE FROM ledger WHERE id = 3")
    result = replay(copied)
    assert "round 0 asks for a calculation (train)" in result.divergence
    assert "Å" in result.divergence
    shown = CliRunner().invoke(app, ["replay", str(copied), "--json"])
    assert shown.exit_code == 1
    assert json.loads(shown.stdout)["divergence"] == result.divergence


def test_a_calculation_that_nobody_asked_for_is_named(copied):
    blob = np.array([[1.0, 0, 0], [0, 30.0, 0], [0, 0, 2.0]]).tobytes()
    changed(
        copied,
        "INSERT INTO ledger (hash, asked, reference, settings, numbers, cell, positions, status, reason, purpose, round)"
        " SELECT 'other', asked, reference, settings, numbers, ?, positions, 'failed', 'none', 'explore', 1 FROM ledger WHERE id = 1",
        blob,
    )
    assert "is not asked for" in replay(copied).divergence


def test_a_stopped_search_is_repeated_to_its_last_round(tmp_path):
    def stops(event, /):
        if isinstance(event, RoundDone) and event.record.round == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        api.search("Cu2", settings=SETTINGS, seed=4, out=tmp_path / "run", progress=stops)
    result = replay(tmp_path / "run")
    # The interrupt came before the second round was saved.
    assert result.rounds == 1
    assert (result.divergence, result.numbers) == (None, None)


def test_a_search_with_a_raised_budget_is_repeated_under_both(tmp_path):
    api.search("Cu2", settings=SETTINGS, seed=3, budget=7, out=tmp_path / "run")
    api.resume(tmp_path / "run", budget=40)
    assert api.show(tmp_path / "run")["calls"] > 7
    result = replay(tmp_path / "run")
    assert (result.divergence, result.numbers) == (None, None)
    assert result.calls == result.recorded == api.show(tmp_path / "run")["calls"]


def test_a_search_that_stopped_in_its_last_stages_is_repeated_without_them(copied):
    with sqlite3.connect(copied / "run.db") as database:
        round_, blob = database.execute("SELECT round, data FROM state ORDER BY round DESC").fetchone()
        state = json.loads(zlib.decompress(blob))
        assert state["proof"] is not None
        state["proof"] = None
        database.execute("UPDATE state SET data = ? WHERE round = ?", (zlib.compress(json.dumps(state).encode()), round_))
        database.execute("DELETE FROM ledger WHERE id = (SELECT MAX(id) FROM ledger WHERE purpose = 'proof')")
    result = replay(copied)
    assert (result.divergence, result.numbers) == (None, None)


def test_the_search_on_a_teacher_is_repeated_as_well(tmp_path):
    settings = {**SETTINGS, "teacher": {"name": "ase:ase.calculators.morse:MorsePotential", "budget": 8, "max_rounds": 1}}
    api.search("Cu2", settings=settings, seed=3, out=tmp_path / "run")
    result = replay(tmp_path / "run")
    assert (result.divergence, result.numbers) == (None, None)
    with sqlite3.connect(tmp_path / "run" / "teacher" / "run.db") as database:
        database.execute("DELETE FROM ledger WHERE id = 2")
    assert "the ledger of the teacher does not contain" in replay(tmp_path / "run").divergence
    shutil.rmtree(tmp_path / "run" / "teacher")
    with pytest.raises(BadInput, match="teacher"):
        replay(tmp_path / "run")


def test_what_cannot_be_replayed_is_refused(tmp_path, copied):
    with pytest.raises(RunFolderError, match="is not a run folder"):
        replay(tmp_path)
    (tmp_path / "empty").mkdir()
    shutil.copy(copied / "run.toml", tmp_path / "empty")
    with pytest.raises(RunFolderError, match="no finished round"):
        replay(tmp_path / "empty")

    class Own:
        """A reference of the user's program."""

        name, surrogate = "own", True

        def __init__(self):
            self._emt = make_reference(ReferenceSettings(engine="ase", calculator="ase.calculators.emt:EMT"))

        def settings(self):
            return {"mine": 1}

        def k_points(self, atoms):
            return None

        def label(self, atoms):
            return self._emt.label(atoms)

    api.search("Cu2", settings=SETTINGS, reference=Own(), budget=5, out=tmp_path / "own")
    with pytest.raises(BadInput, match="given in Python"):
        replay(tmp_path / "own")


def test_what_was_found_in_a_shared_ledger_is_found_again(searched, tmp_path):
    """The same search with a ledger that contains half of its calculations makes the other half, and a replay tells them apart."""
    from nucleate.csp.run_data import read_run
    from nucleate.reference.shared.ledger import SharedLedger

    run = read_run(searched)
    address = str(tmp_path / "shared.db")
    with SharedLedger(address) as shared:
        for row in run.rows[::2]:
            shared.publish(row.hash, row.atoms, run.reference, run.reference_settings, row.answer(), 1.0, 1)
    api.search("Cu2", settings=SETTINGS, seed=SEED, out=tmp_path / "again", ledger=address)
    data = api.show(tmp_path / "again")
    assert data["found_labels"] == len(run.rows[::2])
    assert data["calls"] == len(run.rows) - data["found_labels"]
    assert [p["energy"] for p in data["polymorphs"]] == [p["energy"] for p in api.show(searched)["polymorphs"]]
    result = replay(tmp_path / "again")
    assert (result.divergence, result.numbers) == (None, None)
    with SharedLedger(address) as shared:
        assert {row.hash for row in shared.rows()} == {row.hash for row in run.rows}
