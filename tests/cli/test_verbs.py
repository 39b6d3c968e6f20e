"""Every verb through the command line, on EMT in the reference's place."""

import json
import re
import shutil
import tomllib

import ase.io
import pytest
from ase.build import bulk
from typer.testing import CliRunner

import nucleate
from nucleate.benchmark.run import UnitDone
from nucleate.cli.app import app

run = CliRunner()


def line(result):
    """The one line an error leaves on stderr."""
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: ")
    return result.stderr.removeprefix("error: ").strip()


def test_version_is_the_package_s():
    result = run.invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout == f"nucleate {nucleate.__version__}\n"


def test_search_leaves_a_whole_folder(tiny, tmp_path):
    out = tmp_path / "run"
    result = run.invoke(app, ["search", "Cu2", "--settings", str(tiny), "--out", str(out), "--seed", "3"])
    assert result.exit_code == 0, result.output
    assert "round 1" in result.stdout
    assert "searching Cu2 on ase" in result.stdout
    for name in ("run.toml", "run.db", "events.jsonl", "table.csv", "report.html"):
        assert (out / name).stat().st_size > 0
    written = tomllib.loads((out / "run.toml").read_text())
    assert (written["formula"], written["seed"], written["search"]["pool"]) == ("Cu2", 3, 8)


def test_options_go_before_the_settings_file(tiny):
    from nucleate.api import resolve_settings

    settings = resolve_settings("Al4", tiny, search__pool=9, pressure=None)
    assert (settings.formula, settings.search.pool, settings.search.batch, settings.pressure) == ("Al4", 9, 2, 0.0)


def test_json_of_a_search_is_all_that_stdout_holds(tiny, tmp_path):
    out = tmp_path / "run"
    result = run.invoke(app, ["search", "Cu2", "--settings", str(tiny), "--out", str(out), "--json"])
    data = json.loads(result.stdout)
    assert data["status"] == "finished"
    assert data["calls"] == data["calls_by_status"]["ok"]


def test_resuming_what_is_finished_asks_nothing(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "copy")
    (copy / "report.html").unlink()
    result = run.invoke(app, ["resume", str(copy), "--quiet"])
    assert result.exit_code == 0, result.output
    assert (copy / "report.html").exists()
    assert nucleate.show(copy)["calls"] == nucleate.show(finished)["calls"]


def test_a_spent_budget_can_be_raised_but_not_lowered(tiny, tmp_path):
    out = tmp_path / "run"
    assert (
        "budget of reference calls is spent"
        in run.invoke(app, ["search", "Cu2", "--settings", str(tiny), "--out", str(out), "--budget", "4"]).stdout
    )
    assert nucleate.show(out)["calls"] == 4
    result = run.invoke(app, ["resume", str(out), "--budget", "6"])
    assert result.exit_code == 0, result.output
    data = nucleate.show(out)
    assert (data["calls"], data["budget"]) == (6, 6)
    assert data["round"] == 1
    refused = run.invoke(app, ["resume", str(out), "--budget", "5"])
    assert refused.exit_code == 2
    assert "can only be raised" in line(refused)


def test_a_search_at_its_last_round_continues_when_max_rounds_is_raised(tiny, tmp_path):
    text = re.sub(r"max_rounds = \d+", "max_rounds = 1", tiny.read_text())
    settings, out = tmp_path / "short.toml", tmp_path / "run"
    settings.write_text(text)
    assert "limit of 1 rounds" in run.invoke(app, ["search", "Cu2", "--settings", str(settings), "--out", str(out)]).stdout
    saved = out / "run.toml"
    saved.write_text(saved.read_text().replace("max_rounds = 1", "max_rounds = 2"))
    result = run.invoke(app, ["resume", str(out)])
    assert result.exit_code == 0, result.output
    assert nucleate.show(out)["round"] == 2


def test_an_interrupt_says_how_to_go_on_and_leaves_the_files(tiny, tmp_path, monkeypatch):
    from nucleate.csp.loop import Search

    def interrupted(self, round):
        raise KeyboardInterrupt

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Search, "_round", interrupted)
        result = run.invoke(app, ["search", "Cu2", "--settings", str(tiny), "--out", str(out)])
    assert result.exit_code == 130
    assert result.stderr == f"stopped; resume with: nucleate resume {out}\n"
    assert nucleate.show(out)["status"] == "stopped"
    assert (out / "report.html").exists()
    result = run.invoke(app, ["resume", str(out)])
    assert result.exit_code == 0, result.output
    assert nucleate.show(out)["status"] == "finished"


def test_a_full_disk_is_one_line(tiny, tmp_path, monkeypatch):
    from nucleate.csp.loop import Search

    def full(self):
        raise OSError(28, "No space left on device", "model.part")

    monkeypatch.setattr(Search, "_commit", full)
    out = tmp_path / "run"
    result = run.invoke(app, ["search", "Cu2", "--settings", str(tiny), "--out", str(out), "--quiet"])
    assert result.exit_code == 1
    assert line(result) == "model.part: No space left on device"


def test_relax_writes_the_minimum_next_to_its_start(tmp_path, tiny):
    path = tmp_path / "cu.cif"
    ase.io.write(path, bulk("Cu", "fcc", a=3.8, cubic=True))
    result = run.invoke(app, ["relax", str(path), "--settings", str(tiny)])
    assert result.exit_code == 0, result.output
    assert "Fm-3m" in result.stdout
    assert "converged" in result.stdout
    relaxed = ase.io.read(tmp_path / "cu-relaxed.cif")
    assert relaxed.cell.lengths() == pytest.approx(3.59, abs=0.02)


def test_a_ledger_pays_for_a_relaxation_once(tmp_path, tiny):
    path = tmp_path / "two.extxyz"
    ase.io.write(path, [bulk("Cu", "fcc", a=3.7), bulk("Al", "fcc", a=4.2)])
    command = [
        "relax",
        str(path),
        "--settings",
        str(tiny),
        "--ledger",
        str(tmp_path / "l.db"),
        "--json",
        "--out",
        str(tmp_path / "o.extxyz"),
    ]
    first, second = (json.loads(run.invoke(app, command).stdout) for _ in range(2))
    assert first["calls"] > 4
    assert second["calls"] == 0
    assert second["structures"] == first["structures"]


def test_one_structure_that_fails_does_not_take_the_others(tmp_path, tiny):
    path = tmp_path / "two.extxyz"
    ase.io.write(path, [bulk("Cu", "fcc", a=3.7), bulk("Ti", "hcp", a=2.9, c=4.6)])
    result = run.invoke(app, ["relax", str(path), "--settings", str(tiny), "--json"])
    cu, ti = json.loads(result.stdout)["structures"]
    assert cu["stop"] == "converged"
    assert ti["energy"] is None
    assert "Ti" in ti["stop"] or "NotImplementedError" in ti["stop"]
    assert len(ase.io.read(tmp_path / "two-relaxed.extxyz", index=":")) == 1


def test_settings_are_shown_and_written_whole(tmp_path):
    from nucleate.csp.run_settings import RunSettings, settings_from_dict
    from nucleate.persist.toml import read_settings

    result = run.invoke(app, ["settings"])
    assert "search.cluster_tolerance" in result.stdout
    path = tmp_path / "run.toml"
    assert run.invoke(app, ["settings", "--write", str(path)]).exit_code == 0
    assert settings_from_dict(read_settings(path)) == RunSettings()
    assert "exists already" in line(run.invoke(app, ["settings", "--write", str(path)]))


def test_benchmark_hands_its_options_on(monkeypatch, tiny):
    seen = {}

    def benchmark(
        system, reference, seeds, budget, overrides, baseline_cells, ablation, pretrained, workers, out, progress, target_file, lowest
    ):
        seen.update(seeds=seeds, pool=overrides["search"]["pool"], budget=budget, cells=baseline_cells)
        progress(UnitDone("nucleate/4", {"seed": 4, "first": 31, "calls": 31, "seconds": 2.0}))
        return {
            "system": system,
            "reference": reference,
            "target": {"space_group": "Fd-3m", "energy": -5.4, "lowest": -5.4},
            "nucleate": {
                "hits": 1,
                "seeds": 2,
                "ert": 31.0,
                "interval": None,
                "success": {"50": {"share": 0.5, "interval": [0, 1]}},
                "low": {"hits": 2, "ert": 25.0, "ert_at_least": 25.0, "interval": [20.0, 30.0]},
            },
        }

    monkeypatch.setattr("nucleate.benchmark.run.benchmark", benchmark)
    command = [
        "benchmark",
        "search",
        "--system",
        "Si8",
        "--seeds",
        "2",
        "--first-seed",
        "4",
        "--budget",
        "99",
        "--baseline-cells",
        "7",
        "--settings",
    ]
    result = run.invoke(app, [*command, str(tiny)])
    assert result.exit_code == 0, result.output
    assert seen == {"seeds": [4, 5], "pool": 8, "budget": 99, "cells": 7}
    assert "1 of 2" in result.stdout
    assert "within 50 calls: 50 % of seeds" in result.stdout
    assert json.loads(run.invoke(app, [*command, str(tiny), "--json"]).stdout)["schema"] == 1


def test_the_package_itself_is_the_api():
    import nucleate.csp.loop

    # The room of the search is loaded, and `search` is still the function.
    assert nucleate.csp.loop.Search.__name__ == "Search"
    assert nucleate.search.__module__ == "nucleate.api"
    assert nucleate.show.__module__ == "nucleate.api"


def test_a_relaxation_cut_short_is_out_of_steps(tiny, tmp_path):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.write(tmp_path / "rattled.xyz")
    result = run.invoke(app, ["relax", str(tmp_path / "rattled.xyz"), "--settings", str(tiny), "--max-steps", "1"])
    assert result.exit_code == 0, result.output
    assert "out of steps (1 step)" in result.stdout
