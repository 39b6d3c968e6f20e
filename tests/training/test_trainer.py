"""One trainer for all families: it learns, survives a kill with the very same weights, obeys, and repeats what it was told."""

import json

import numpy as np
import pytest
import torch

from nucleate.crystals import CrystalBatch
from nucleate.errors import BadInput, NucleateError, RunFolderError, StorageFailed
from nucleate.potentials.files import load_potential
from nucleate.training.data import read_data
from nucleate.training.events import OptimiserStep
from nucleate.training.folder import TrainingFolder, add_command, pack, read_events, read_tensors, unpack
from nucleate.training.settings import FitSettings
from nucleate.training.trainer import Trainer

SMALL = {
    "manybody": {"cutoff": 4.5, "radial": 4, "channels": 4, "hidden": 8, "members": 2},
    "a2a": {"radial_bins": 8, "radial_eta": 4.0, "angular_bins": 2, "angle_bins": 2, "hidden": [12], "activation": "tanh"},
    "molcnn": {},
    "schnet": {"features": 8, "interactions": 2, "radial": 12},
    "painn": {"features": 8, "radial": 8, "members": 2},
}


def settings(model="a2a", **given):
    common = {"steps": 30, "evaluate_every": 10, "checkpoint_every": 7, "validation": 0.2, "batch": 6, "dtype": "float64", "ema": 0.9}
    return FitSettings.model_validate({**common, "model": model, "options": SMALL[model], **given})


class Killed(BaseException):
    pass


def fit(path, data, given, kill_at=None, commands=None, **options):
    """Train; `commands`: what is asked once a step is done; returns the trainer."""

    def steer(event):
        if isinstance(event, OptimiserStep):
            for command in (commands or {}).pop(event.done, []):
                add_command(path, command)
            if event.done == kill_at:
                raise Killed

    with TrainingFolder(path, given.model_dump_json()) as folder:
        trainer = Trainer(folder, given, data, progress=steer, **options)
        trainer.run()
    return trainer


def weights(path):
    return read_tensors(path / "checkpoint.safetensors")[1]


def same(one, two):
    assert one.keys() == two.keys()
    return all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture(scope="module")
def data(salt, tmp_path_factory):
    import ase.io

    path = tmp_path_factory.mktemp("data") / "salt.extxyz"
    ase.io.write(path, salt)
    # All compositions are among the first six structures, and nothing here depends on the number of labels.
    return read_data(path)[:18]


@pytest.mark.parametrize("model", SMALL)
def test_every_family_learns(model, data, tmp_path):
    fit(tmp_path / "run", data, settings(model, steps=60, learning_rate=0.01, evaluate_every=30))
    found = [event for event in read_events(tmp_path / "run") if event["event"] == "evaluation"]
    assert [event["step"] for event in found] == [0, 30, 60]
    # 28 weights learn less than thousands.
    assert found[-1]["training"]["loss"] < (0.9 if model == "molcnn" else 0.6) * found[0]["training"]["loss"]
    assert found[-1]["training"]["force_rmse"] < found[0]["training"]["force_rmse"]
    assert sum(found[-1]["validation"]["informants"].values()) == pytest.approx(1.0)
    assert set(found[0]["weights"]) == {name for name, _ in load_potential(tmp_path / "run" / "model.safetensors")[0].named_parameters()}


@pytest.mark.parametrize(("model", "optimiser"), [("a2a", "adamw"), ("painn", "adam"), ("manybody", "adamw"), ("a2a", "lbfgs")])
def test_a_killed_training_ends_with_the_same_weights(model, optimiser, data, tmp_path):
    given = settings(model, optimiser=optimiser, learning_rate=0.01 if optimiser != "lbfgs" else 0.3)
    fit(tmp_path / "whole", data, given)
    for kill_at in (3, 17, 24):
        with pytest.raises(Killed):
            fit(tmp_path / "killed", data, given, kill_at=kill_at)
    fit(tmp_path / "killed", data, given)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))
    ends = [read_events(tmp_path / name)[-1] for name in ("whole", "killed")]
    assert ends[0]["why"] == ends[1]["why"] == "all steps are done"
    kept = [event for event in read_events(tmp_path / "killed") if event["event"] == "evaluation"]
    assert [event["step"] for event in kept] == [0, 10, 20, 30]


ASKED = {
    4: [{"do": "lr", "value": 0.02}],
    9: [{"do": "freeze", "what": "Na"}],
    12: [{"do": "reset", "what": "networks.Cl.layers.1"}],
    15: [{"do": "freeze", "what": "nothing like it"}],
    20: [{"do": "unfreeze", "what": "Na"}],
    22: [{"do": "copy", "from": "Na", "to": "Cl"}],
}


def asked():
    return {step: list(commands) for step, commands in ASKED.items()}


def test_steering_acts_at_the_next_step_and_is_recorded(data, tmp_path):
    fit(tmp_path / "run", data, settings(), commands=asked())
    found = [event for event in read_events(tmp_path / "run") if event["event"] == "steer"]
    assert [event["step"] for event in found] == list(ASKED)
    assert "no part 'nothing like it'" in found[3]["refused"]
    rates = {event["step"]: event["rate"] for event in read_events(tmp_path / "run") if event["event"] == "step"}
    assert rates[4] < 0.006
    assert rates[5] == pytest.approx(0.02)


def test_what_was_asked_is_repeated_after_a_kill_and_from_the_log(data, tmp_path):
    fit(tmp_path / "whole", data, settings(), commands=asked())
    with pytest.raises(Killed):
        fit(tmp_path / "killed", data, settings(), kill_at=13, commands=asked())
    # The checkpoint is of step 7: what was asked at 9 and 12 is done again without being asked.
    rest = {step: commands for step, commands in asked().items() if step > 13}
    fit(tmp_path / "killed", data, settings(), commands=rest)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))
    fit(tmp_path / "again", data, settings(), replay=read_events(tmp_path / "whole"))
    whole, again = weights(tmp_path / "whole"), weights(tmp_path / "again")
    assert same(whole, again)
    fit(tmp_path / "unasked", data, settings())
    assert not same(whole, weights(tmp_path / "unasked"))


FASTER, SLOWER = {"do": "lr", "value": 0.02}, {"do": "lr", "value": 0.001}
FREEZE, SAVE, STOP = {"do": "freeze", "what": "Na"}, {"do": "save"}, {"do": "stop"}


@pytest.mark.parametrize("between", [FREEZE, SAVE])
def test_what_is_asked_between_two_kills_keeps_its_place(between, data, tmp_path):
    """Asked at 11, killed at 13; from the checkpoint of 7 on something else asked at 9, killed again."""
    fit(tmp_path / "whole", data, settings(), commands={9: [between], 11: [FASTER]})
    for kill_at, commands in ((13, {11: [FASTER]}), (12, {9: [between]})):
        with pytest.raises(Killed):
            fit(tmp_path / "killed", data, settings(), kill_at=kill_at, commands=commands)
    fit(tmp_path / "killed", data, settings())
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))
    fit(tmp_path / "plain", data, settings(), commands={9: [between]})
    assert not same(weights(tmp_path / "whole"), weights(tmp_path / "plain"))


def test_a_replay_is_done_once_and_before_the_user_also_after_a_kill(data, tmp_path):
    fit(tmp_path / "source", data, settings(), commands={5: [FREEZE], 10: [FASTER], 25: [SLOWER]})
    events = read_events(tmp_path / "source")
    fit(tmp_path / "whole", data, settings(), commands={10: [SLOWER]}, replay=events)
    with pytest.raises(Killed):
        fit(tmp_path / "killed", data, settings(), kill_at=12, commands={10: [SLOWER]}, replay=events)
    fit(tmp_path / "killed", data, settings(), replay=events)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))
    for name in ("whole", "killed"):
        found = [(event["step"], event["replayed"]) for event in read_events(tmp_path / name) if event["event"] == "steer"]
        assert sorted(found) == [(5, True), (10, False), (10, True), (25, True)]
    short = settings(steps=8)
    fit(tmp_path / "short", data, short, replay=events)
    assert "2 commands of the replay are for later steps" in read_events(tmp_path / "short")[-1]["why"]


def test_a_stop_survives_a_kill_before_the_end_is_written(data, tmp_path, monkeypatch):
    def die(*_):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_save_model", die)
        with pytest.raises(Killed):
            fit(tmp_path / "run", data, settings(), commands={12: [STOP]})
    fit(tmp_path / "run", data, settings())
    end = read_events(tmp_path / "run")[-1]
    assert (end["step"], end["why"]) == (12, "stopped on request")


def test_frozen_parts_stay(data, tmp_path):
    for model, what, name, index in [("a2a", "Na", "networks.Na.layers.0.weight", None), ("manybody", "Cl", "weight1", 1)]:
        given = settings(model, freeze=[what])
        path = tmp_path / model
        fit(path, data, given)
        before = Trainer(TrainingFolder(tmp_path / f"{model}0", "x"), given, data).fitting.parameters[name]
        after = weights(path)[f"weight.{name}"]
        chosen = (slice(None),) if index is None else (index,)
        other = "networks.Cl.layers.0.weight" if index is None else name
        assert torch.equal(before[chosen], after[chosen])
        moved = weights(path)[f"weight.{other}"]
        start = Trainer(TrainingFolder(tmp_path / f"{model}1", "x"), given, data).fitting.parameters[other]
        assert not torch.equal(moved, start)


def test_stages_move_what_they_name(data, tmp_path):
    stages = [
        {"steps": 8, "train": ["bond_weight", "bond_energy"]},
        {"steps": 8, "train": ["angle_weight", "angle_energy"]},
        {"steps": 8, "learning_rate": 0.001},
    ]
    seen = {}

    def look(event):
        if isinstance(event, OptimiserStep):
            seen[event.done] = {name: p.detach().clone() for name, p in trainer.fitting.parameters.items()}

    given = settings("molcnn", stages=stages)
    with TrainingFolder(tmp_path / "run", given.model_dump_json()) as folder:
        trainer = Trainer(folder, given, data, progress=look)
        trainer.run()
    for name in ("angle_weight", "bond_centres"):
        assert torch.equal(seen[1][name], seen[8][name])
    assert not torch.equal(seen[1]["bond_weight"], seen[8]["bond_weight"])
    assert torch.equal(seen[8]["bond_weight"], seen[16]["bond_weight"])
    assert not torch.equal(seen[8]["angle_weight"], seen[16]["angle_weight"])
    assert not torch.equal(seen[16]["bond_centres"], seen[24]["bond_centres"])
    assert len(seen) == 24


def test_stop_and_save(data, tmp_path):
    fit(tmp_path / "run", data, settings(), commands={5: [{"do": "save"}], 11: [{"do": "stop"}]})
    last = read_events(tmp_path / "run")[-1]
    assert (last["event"], last["step"], last["why"]) == ("finished", 11, "stopped on request")
    with pytest.raises(BadInput, match="has ended; only a running one can be steered"):
        add_command(tmp_path / "run", {"do": "lr", "value": 1e-4})


def test_early_stopping_keeps_the_best(data, tmp_path):
    given = settings(steps=400, learning_rate=0.05, evaluate_every=5, patience=3, schedule="constant")
    fit(tmp_path / "run", data, given)
    events = read_events(tmp_path / "run")
    assert "no better validation loss in 3 evaluations" in events[-1]["why"]
    found = [event for event in events if event["event"] == "evaluation"]
    best = min(found, key=lambda event: event["validation"]["loss"])
    assert best["step"] == found[-1]["step"] - 15
    model, _ = load_potential(tmp_path / "run" / "model.safetensors")
    trainer = Trainer(TrainingFolder(tmp_path / "other", "x"), given, data)
    held = [item.atoms for item in trainer.valid_set.data]
    energy = model.energy_forces_stress(CrystalBatch.from_atoms(held)).energy[0]
    wrong = [(float(e) - item.energy) / len(item.atoms) for e, item in zip(energy, trainer.valid_set.data, strict=True)]
    assert np.sqrt(np.mean(np.square(wrong))) == pytest.approx(best["validation"]["energy_rmse"], rel=1e-6)


def test_energies_alone_can_be_trained(data, tmp_path):
    from dataclasses import replace

    bare = [replace(item, forces=None, stress=None) for item in data]
    fit(tmp_path / "run", bare, settings("schnet", steps=60, learning_rate=0.01))
    events = read_events(tmp_path / "run")
    assert "structures have no forces" in " ".join(events[0]["notes"])
    found = [event["training"] for event in events if event["event"] == "evaluation"]
    assert found[-1]["force_rmse"] is None
    assert found[-1]["energy_rmse"] < found[0]["energy_rmse"]


def test_members_differ_by_bootstrap_alone_where_they_begin_alike(data, tmp_path):
    trainer = Trainer(TrainingFolder(tmp_path / "a", "x"), settings("painn"), data)
    assert trainer.train_set.weight.shape == (2, len(trainer.train_set))
    assert not torch.equal(trainer.train_set.weight[0], trainer.train_set.weight[1])
    alike = Trainer(TrainingFolder(tmp_path / "b", "x"), settings("painn", bootstrap=False), data)
    assert torch.equal(alike.train_set.weight[0], alike.train_set.weight[1])


def test_two_trainings_in_one_folder_and_other_settings(data, tmp_path):
    with TrainingFolder(tmp_path / "run", "a"):
        with pytest.raises(RunFolderError, match="another process is training"):
            TrainingFolder(tmp_path / "run", "a")
        # Whoever asks second changes nothing, with other settings either.
        with pytest.raises(RunFolderError, match="another process"):
            TrainingFolder(tmp_path / "run", "b")
    with pytest.raises(RunFolderError, match="other settings or data"):
        TrainingFolder(tmp_path / "run", "b")
    assert (tmp_path / "run" / "fit.toml").read_text() == "a"


def test_a_full_disk_leaves_the_last_checkpoint(data, tmp_path, monkeypatch):
    fit(tmp_path / "run", data, settings(steps=7))
    before = (tmp_path / "run" / "checkpoint.safetensors").read_bytes()
    with TrainingFolder(tmp_path / "run", settings(steps=7).model_dump_json()) as folder:
        trainer = Trainer(folder, settings(steps=7), data)

        def full(descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(StorageFailed, match="free some disk space"):
            trainer._checkpoint()
    assert (tmp_path / "run" / "checkpoint.safetensors").read_bytes() == before


def test_a_loss_that_explodes_says_what_to_do(data, tmp_path):
    with pytest.raises(NucleateError, match="lower the learning rate"):
        fit(tmp_path / "run", data, settings("schnet", optimiser="lbfgs", learning_rate=1e200))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"model": "gnn", "options": {}}, "model 'gnn'"),
        ({"options": {"hiden": [3]}}, "settings of a2a: unknown key hiden; did you mean hidden"),
        ({"freeze": ["H"]}, "no part 'H'"),
        ({"device": "tpu9"}, "device 'tpu9' cannot be used"),
        ({"copy_species": {"Na": "H"}}, "no network of H"),
    ],
)
def test_what_cannot_be_trained(given, says, data, tmp_path):
    wrong = FitSettings.model_validate({**settings().model_dump(), **given})
    with pytest.raises(BadInput, match=says):
        Trainer(TrainingFolder(tmp_path / "run", "x"), wrong, data)


def test_pack_is_reversible():
    state = {0: {"step": torch.tensor(3.0), "dirs": [torch.ones(2), torch.zeros(1)], "n": 4, "none": None}}
    tensors = {}
    content = json.loads(json.dumps(pack(state, tensors, "s")))
    again = unpack(content, tensors, "cpu")
    assert again[0]["n"] == 4
    assert again[0]["none"] is None
    assert torch.equal(again[0]["dirs"][0], torch.ones(2))
