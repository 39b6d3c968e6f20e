"""Many formulas, one ledger: each search is what it would be alone, learns from the others, and survives what happens to them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nucleate import api
from nucleate.campaign.members import members_of, read_formulas
from nucleate.campaign.run import MemberEvent, _one_cutoff, campaign, write_summary
from nucleate.cli.app import app
from nucleate.csp.run_data import lower_label_text, read_run
from nucleate.errors import BadInput, RunFolderError
from nucleate.reference.shared.ledger import SharedLedger
from nucleate.report.campaign_page import render_campaign

SETTINGS = {
    "reference": {"engine": "ase", "calculator": "ase.calculators.emt:EMT", "workers": 0},
    "search": {"pool": 8, "first_batch": 4, "batch": 3, "max_rounds": 8, "proof": False, "check": False},
    "generate": {"workers": 1, "prototype_share": 0.0},
    "model": {"members": 2, "radial": 6, "channels": 4, "hidden": 8},
    "training": {"steps": 40, "warm_steps": 20},
    "relax": {"max_steps": 60, "workers": 1},
}
QUICK = {
    **SETTINGS,
    "search": {**SETTINGS["search"], "max_rounds": 1},
    "training": {"steps": 20, "warm_steps": 10},
    "relax": {"max_steps": 20, "workers": 1},
}
TOML = """
[reference]
engine = "ase"
calculator = "ase.calculators.emt:EMT"
workers = 0
[search]
pool = 8
first_batch = 4
batch = 2
max_rounds = {rounds}
proof = false
check = false
[generate]
workers = 1
prototype_share = 0.0
[model]
members = 2
radial = 5
channels = 4
hidden = 8
[training]
steps = 20
warm_steps = 10
[relax]
max_steps = 20
workers = 1
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished campaign, with its events."""
    folder = tmp_path_factory.mktemp("campaign") / "metals"
    events = []
    result = campaign(["CuAl", "Cu2", "Al2"], settings=SETTINGS, out=folder, at_once=2, seed=0, progress=events.append)
    write_summary(result)
    return folder, result, events


def test_elements_come_first_and_compounds_learn_from_them(done):
    folder, result, events = done
    assert [line.name for line in result.lines] == ["Cu2", "Al2", "CuAl"]
    assert all(line.status == "finished" for line in result.lines)
    assert [line.learned for line in result.lines][:2] == [0, 0]
    # It begins when one of the two has ended.
    learned = [Path(name).name for name in read_run(folder / "CuAl").settings.teacher.labels_from]
    words = [(event.name, event.event) for event in events if isinstance(event, MemberEvent) and isinstance(event.event, str)]
    before = {name for name, word in words[: words.index(("CuAl", "begins"))] if word == "done"}
    assert learned
    assert set(learned) == before
    assert dict(words) == dict.fromkeys(["Cu2", "Al2", "CuAl"], "done")


def test_all_calculations_are_in_one_ledger_and_paid_once(done):
    folder, result, _ = done
    rows = {row.hash for line in result.lines for row in read_run(folder / line.name).rows}
    with SharedLedger(str(folder / "ledger.db")) as shared:
        kept = list(shared.rows())
    assert {row.hash for row in kept} == rows
    assert {row.attempts for row in kept} == {1}
    assert sum(line.calls for line in result.lines) == len(rows)


def test_the_hull_is_that_of_all_searches(done):
    _, result, _ = done
    (hull,) = result.hulls
    assert hull.symbols == ("Al", "Cu")
    assert hull.missing == ()
    ends = {phase.formula: phase.above for phase in hull.phases if phase.fractions.max() == 1}
    assert ends == {"Al": 0.0, "Cu": 0.0}
    for line in result.lines:
        if line.polymorphs:
            best = api.show(result.folder / line.name)["polymorphs"][0]
            assert line.energy == pytest.approx(best["energy"])


def test_the_summary_is_a_page_and_a_file(done):
    folder, result, _ = done
    page = (folder / "campaign.html").read_text()
    assert "http" not in page.replace("http://www.w3.org", "")
    data = json.loads((folder / "campaign.json").read_text())
    assert [line["name"] for line in data["searches"]] == ["Cu2", "Al2", "CuAl"]
    assert data["total"]["calls"] == sum(line.calls for line in result.lines)
    hostile = {**data["searches"][0], "name": "<script>alert(1)</script>", "error": "<b>", "status": "failed"}
    assert "<script>alert" not in render_campaign("<i>", [hostile], data["total"], [])
    # Advice of a search that is not final is not lost among many.
    for line in result.lines:
        advice = lower_label_text(api.show(folder / line.name))
        assert (line.advice or "") == advice
        assert advice in page
    told = render_campaign("x", [{**data["searches"][0], "advice": "the ranking is not final"}], data["total"], [])
    assert "finished; the ranking is not final" in told


def test_repeating_a_finished_campaign_calculates_nothing(done):
    folder, result, _ = done
    again = campaign(["CuAl", "Cu2", "Al2"], settings=SETTINGS, out=folder, seed=0)
    assert again.as_dict() == result.as_dict()


def test_other_settings_are_refused(done):
    folder, _, _ = done
    with pytest.raises(RunFolderError, match="other settings"):
        campaign(["Cu"], settings=SETTINGS, out=folder, seed=2)


def test_an_interrupted_and_a_killed_campaign_resume(tmp_path):
    (tmp_path / "formulas.txt").write_text("Cu2\n")
    (tmp_path / "settings.toml").write_text(TOML.format(rounds=2))
    command = [sys.executable, "-m", "nucleate", "campaign", "formulas.txt", "--settings", "settings.toml", "--out", "run"]
    for number in (signal.SIGINT, signal.SIGKILL):
        with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
            for line in process.stderr:
                if "round" in line:
                    break
            # Only the leader is told; the search ends because the leader tells it, or because the leader is gone.
            os.kill(process.pid, number)
            process.stderr.read()
        assert process.returncode == (130 if number == signal.SIGINT else -9)
    end = time.monotonic() + 60
    while subprocess.run(["pgrep", "-s", str(process.pid)], capture_output=True).returncode == 0:
        assert time.monotonic() < end, "the search outlives its campaign"
        time.sleep(0.1)
    done = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert [line["status"] for line in data["searches"]] == ["finished"]
    with SharedLedger(str(tmp_path / "run" / "ledger.db")) as shared:
        kept = list(shared.rows())
    assert {row.status for row in kept} == {"ok"}
    assert len(kept) == data["total"]["calls"]
    # At most one more attempt for each time that the search ended.
    assert sum(row.attempts for row in kept) <= len(kept) + 2


def test_searches_that_fail_do_not_end_the_others(tmp_path):
    """Iron is unknown to the potential, and the folder of a search may be damaged: the table says so."""
    run, settings = tmp_path / "run", tmp_path / "settings.toml"
    settings.write_text(TOML.format(rounds=1))
    # As if the campaign had been killed before its settings were written.
    run.mkdir()
    (run / "lock").touch()

    def table(*formulas):
        (tmp_path / "formulas.txt").write_text("\n".join(formulas))
        done = CliRunner().invoke(app, ["campaign", str(tmp_path / "formulas.txt"), "--settings", str(settings), "--out", str(run)])
        assert done.exit_code == 1
        assert f"{formulas[0]} failed" in done.output
        return {line["name"]: line for line in json.loads((run / "campaign.json").read_text())["searches"]}

    first = table("Fe2", "Cu")
    assert {name: line["status"] for name, line in first.items()} == {"Cu": "finished", "Fe2": "failed"}
    assert "Fe" in first["Fe2"]["error"]
    (run / "Al").mkdir()
    (run / "Al" / "run.toml").write_text("nonsense =")
    assert {name: line["status"] for name, line in table("Al", "Cu").items()} == {"Al": "failed", "Cu": "finished"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "contains no formula"),
        ("# nothing\n\n", "contains no formula"),
        ("Al4O6\nXy3\n", "formula 'Xy3'"),
        ("Al4O6\nO6Al4\n", "already"),
        ("Mg-Si\nSi-Mg\n", "already"),
        ("../x\n", "formula"),
        ("\x00\n", "formula"),
        (b"\xff\xfe\x00", "is not a text file"),
    ],
)
def test_wrong_files_are_refused_in_one_line(text, said, tmp_path):
    path = tmp_path / "formulas.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadInput, match=said) as error:
        members_of(read_formulas(path), SETTINGS)
    assert "\n" not in str(error.value)
    done = CliRunner().invoke(app, ["campaign", str(path), "--out", str(tmp_path / "out")])
    assert done.exit_code != 0
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"x")
    with pytest.raises(RunFolderError, match="contains no campaign"):
        campaign(["Cu"], settings=SETTINGS, out=tmp_path / "photos")
    with pytest.raises(BadInput, match="at_once 0"):
        campaign(["Cu"], settings=SETTINGS, out=tmp_path / "new", at_once=0)
    with pytest.raises(BadInput, match="option 'colour'"):
        campaign(["Cu"], settings=SETTINGS, out=tmp_path / "new", colour="red")
    assert not (tmp_path / "new").exists()


def test_energies_of_all_searches_have_one_cutoff():
    """GPAW's presets have a lower cutoff for silicon than for magnesium."""
    pytest.importorskip("gpaw")
    from nucleate.reference.gpaw import PRESETS

    settings = {"reference": {"engine": "gpaw"}}
    assert _one_cutoff(members_of(["Si8"], settings)) is None
    alone = members_of(["Mg2Si", "Si8", "Mg-Si"], settings, hull__max_atoms=6)
    assert _one_cutoff(alone) == PRESETS["standard"]["hard"]
    own = {"reference": {"engine": "gpaw", "cutoff": 512.0}}
    assert _one_cutoff(members_of(["Mg2Si", "Si8"], own)) == 512.0


def test_ledger_and_labels_of_the_settings_are_used_and_cores_make_no_other_campaign(done, tmp_path):
    address, known = str(tmp_path / "labels.db"), str(done[0] / "Al2")
    quick = {
        **QUICK,
        "relax": {"max_steps": 20},
        "reference": {**QUICK["reference"], "ledger": address},
        "teacher": {"labels_from": [known]},
    }
    result = campaign(["Al"], settings=quick, out=tmp_path / "run")
    assert not (tmp_path / "run" / "ledger.db").exists()
    with SharedLedger(address) as shared:
        assert len(list(shared.rows())) == result.lines[0].calls
    again = campaign(["Al", "AlCu"], settings=quick, out=tmp_path / "run", at_once=2)
    assert again.lines[0].calls == result.lines[0].calls
    assert read_run(tmp_path / "run" / "AlCu").settings.teacher.labels_from == [known, str(tmp_path / "run" / "Al")]
