"""fit, learning_curve and the command line: what is refused, what is kept, what the rows say."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import nucleate
from nucleate.cli.app import app
from nucleate.errors import BadInput, NucleateError
from nucleate.potentials.files import load_potential
from nucleate.training.data import heights, read_data
from nucleate.training.fitting import structure_weights
from nucleate.training.run import evaluate, fit, learning_curve
from nucleate.training.settings import FitSettings
from nucleate.training.trainer import Trainer

SMALL = {"model": "schnet", "options": {"features": 4, "interactions": 1, "radial": 6}, "steps": 6}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"options": {"fatures": 3}}, "unknown key fatures; did you mean features"),
        ({"freeze": ["nothing"]}, "no part 'nothing'"),
        ({"steps": None, "stages": [{"steps": 3}, {"steps": 3, "train": ["nothing"]}]}, "no part 'nothing'"),
        ({"stages": [{"steps": 3}]}, "exclude each other"),
        ({"device": "tpu9"}, "device 'tpu9' cannot be used"),
        ({"prior": "foo"}, "prior 'foo'"),
        ({"prior": "mace:/none"}, "model file|nucleate\\[mace\\]"),
        ({"split_by": "nothing"}, "no entry 'nothing'"),
    ],
)
def test_what_cannot_work_leaves_no_folder(given, says, salt_file, tmp_path):
    """The mended call may use the same name."""
    wrong = {key: value for key, value in {**SMALL, **given}.items() if value is not None}
    with pytest.raises(NucleateError, match=says):
        fit(salt_file, tmp_path / "fit", wrong)
    assert not (tmp_path / "fit").exists()
    fit(salt_file, tmp_path / "fit", SMALL)


def test_a_replay_belongs_to_its_folder(salt_file, tmp_path):
    fit(salt_file, tmp_path / "source", SMALL)
    fit(salt_file, tmp_path / "fit", SMALL, replay=tmp_path / "source")
    with pytest.raises(NucleateError, match="other settings or data"):
        fit(salt_file, tmp_path / "fit", SMALL)
    with pytest.raises(BadInput, match="no training to replay"):
        fit(salt_file, tmp_path / "other", SMALL, replay=tmp_path / "nowhere")
    with pytest.raises(BadInput, match="no effect on soap-krr"):
        fit(salt_file, tmp_path / "other", {"model": "soap-krr"}, replay=tmp_path / "source")


def test_a_stopped_training_has_a_page_with_its_last_evaluation(salt_file, tmp_path, monkeypatch):
    settings, plain = tmp_path / "t.toml", Trainer._one_step
    settings.write_text('model = "schnet"\nsteps = 6\nevaluate_every = 2\n[options]\nfeatures = 4\ninteractions = 1\nradial = 6\n')

    def stopped(trainer):
        if trainer.fitting.step == 5:
            raise KeyboardInterrupt
        plain(trainer)

    monkeypatch.setattr(Trainer, "_one_step", stopped)
    result = CliRunner().invoke(app, ["train", str(salt_file), "--settings", str(settings), "--out", str(tmp_path / "fit")])
    assert result.exit_code == 130, result.output
    assert "<dt>Step</dt><dd>4</dd>" in (tmp_path / "fit" / "monitor.html").read_text(encoding="utf-8")


def test_heights_are_those_above_the_same_stoichiometry(salt_file):
    data = read_data(salt_file)
    found = heights(data)
    ratios = [np.count_nonzero(item.atoms.numbers == 11) / len(item.atoms) for item in data]
    for ratio in set(ratios):
        mine = [k for k, other in enumerate(ratios) if other == ratio]
        energies = np.array([data[k].energy / len(data[k].atoms) for k in mine])
        assert np.allclose(found[mine], energies - energies.min())
    # Softening by energy does not take one stoichiometry for a bad structure of another.
    weights = structure_weights(data, 1, FitSettings(soften_energy=0.05))[0].numpy()
    assert all(weights[[k for k, other in enumerate(ratios) if other == ratio]].max() > 0.99 * weights.max() for ratio in set(ratios))
    assert weights.min() < 0.5 * weights.max()


def test_the_rows_of_a_learning_curve_are_errors_of_the_models_kept(salt_file, tmp_path):
    rows = learning_curve(salt_file, ["schnet", "soap-krr"], [8, 16], tmp_path / "curve", {"steps": 6})
    assert [(row["model"], row["labels"]) for row in rows] == [("schnet", 8), ("schnet", 16), ("soap-krr", 8), ("soap-krr", 16)]
    lines = (tmp_path / "curve" / "rows.jsonl").read_text().splitlines()
    # A line cut by a kill is computed anew; the others are not.
    (tmp_path / "curve" / "rows.jsonl").write_text("\n".join(lines[:3]) + "\n" + lines[3][:40])
    again = learning_curve(salt_file, ["schnet", "soap-krr"], [8, 16], tmp_path / "curve", {"steps": 6})
    assert again == rows
    for row in rows:
        assert 0 < row["low"] <= row["held_back"]
        assert row["low_energy_rmse"] > 0
        assert row["cpu_seconds"] >= 0
    with pytest.raises(BadInput, match="patience"):
        learning_curve(salt_file, ["schnet"], [8], tmp_path / "curve", {"steps": 6, "patience": 2})
    with pytest.raises(BadInput, match="at least one label"):
        learning_curve(salt_file, ["schnet"], [0], tmp_path / "curve")
    with pytest.raises(BadInput, match="cannot be created"):
        learning_curve(salt_file, ["schnet"], [8], salt_file)


def test_settings_of_one_family_go_before_those_of_all(salt_file, tmp_path):
    (tmp_path / "own.toml").write_text("steps = 3\n[options]\nfeatures = 5\n")
    rows = learning_curve(salt_file, [f"schnet:{tmp_path / 'own.toml'}"], [8], tmp_path / "curve", {"steps": 6, "learning_rate": 0.002})
    (folder,) = (path for path in (tmp_path / "curve").iterdir() if path.is_dir())
    text = (folder / "fit.toml").read_text()
    assert "steps = 3" in text
    assert "learning_rate = 0.002" in text
    model, _ = load_potential(folder / "model.safetensors")
    assert model.settings.features == 5
    (tmp_path / "own.toml").write_text("stesp = 3\n")
    with pytest.raises(BadInput, match=r"own.toml: unknown key stesp; did you mean steps"):
        learning_curve(salt_file, [f"schnet:{tmp_path / 'own.toml'}"], [8], tmp_path / "curve")
    assert rows[0]["labels"] == 8


def test_training_on_the_command_line(salt_file, tmp_path):
    runner = CliRunner()
    (tmp_path / "t.toml").write_text('model = "schnet"\nsteps = 6\n[options]\nfeatures = 4\ninteractions = 1\nradial = 6\n')
    out = tmp_path / "fit"
    done = runner.invoke(app, ["train", str(salt_file), "--settings", str(tmp_path / "t.toml"), "--out", str(out), "--quiet"])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("model: ")
    said = runner.invoke(app, ["evaluate", str(out), str(salt_file), "--json"])
    timeless = {key: value for key, value in json.loads(said.output).items() if key not in ("schema", "cpu_seconds")}
    assert timeless == {key: value for key, value in evaluate(out, salt_file).items() if key != "cpu_seconds"}
    missing = runner.invoke(app, ["train", str(salt_file), "--settings", str(tmp_path / "none.toml"), "--out", str(tmp_path / "x")])
    assert missing.exit_code != 0
    assert "docs/training.md" in str(missing.exception) + missing.output


def test_the_committee_of_a_search_is_evaluated_from_its_run_folder(tmp_path):
    settings = {
        "reference": {"engine": "ase", "calculator": "ase.calculators.emt:EMT", "workers": 0},
        "search": {"pool": 8, "first_batch": 4, "batch": 2, "max_rounds": 1, "budget": 8, "proof": False},
        "model": {"members": 2, "channels": 4, "hidden": 8},
        "training": {"steps": 20, "warm_steps": 10},
        "generate": {"workers": 1, "prototype_share": 0.0},
    }
    nucleate.search("Cu2", settings=settings, out=tmp_path / "run")
    errors = evaluate(tmp_path / "run", tmp_path / "run")
    assert errors["family"] == "manybody"
    assert errors["structures"] >= 4
    with pytest.raises(BadInput, match="no such model"):
        evaluate(tmp_path, tmp_path / "run")
