import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from nucleate.crystals import CrystalBatch
from nucleate.errors import BadInput
from nucleate.potentials.files import load_potential, save_committee
from nucleate.potentials.manybody import ManyBodyCommittee
from nucleate.potentials.settings import ModelSettings

SMALL = ModelSettings(cutoff=4.0, radial=4, channels=4, hidden=8, members=3)


@pytest.fixture
def model():
    model = ManyBodyCommittee((11, 17), SMALL, seed=2)
    # Buffers that training sets must travel too.
    model.energy_scale.fill_(1.7)
    model.energy_shift.copy_(torch.tensor([-1.234567890123, -3.3]))
    model.feature_mean.normal_(generator=torch.Generator().manual_seed(0))
    model.feature_std.fill_(0.6)
    return model


def refused(path, says):
    with pytest.raises(BadInput, match=says) as caught:
        load_potential(path)
    assert "\n" not in str(caught.value)


def test_round_trip_is_exact(tmp_path, model, make_crystal):
    rng = np.random.default_rng(0)
    batch = CrystalBatch.from_atoms([make_crystal(rng, ["Na", "Cl"] * n, volume=20, closest=1.5) for n in (1, 3)])
    path = tmp_path / "model.safetensors"
    save_committee(path, model, sigma_factor=1 / 3)
    loaded, factor = load_potential(path)
    assert factor == 1 / 3
    assert loaded.settings == model.settings
    assert loaded.species == model.species
    before, after = model.energy_forces_stress(batch), loaded.energy_forces_stress(batch)
    for name in ("energy", "forces", "stress"):
        assert torch.equal(getattr(before, name), getattr(after, name)), name
    assert not (tmp_path / "model.safetensors.part").exists()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.6, 0.999])
def test_truncated(tmp_path, model, share):
    path = tmp_path / "model.safetensors"
    save_committee(path, model)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    refused(path, "complete")


def test_not_a_model(tmp_path, model):
    refused(tmp_path / "none.safetensors", "no such model file")
    (tmp_path / "noise").write_bytes(np.random.default_rng(0).bytes(500))
    refused(tmp_path / "noise", "complete")
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    refused(tmp_path / "other.safetensors", "potential")


def with_header(path, **changes):
    from safetensors import safe_open

    with safe_open(path, framework="pt") as archive:
        header = {**archive.metadata(), **changes}
    save_file(load_file(path), path, metadata=header)


def test_newer_version(tmp_path, model):
    path = tmp_path / "model.safetensors"
    save_committee(path, model)
    with_header(path, version="99")
    refused(path, "newer nucleate .*99")


def test_a_committee_of_the_first_version_keeps_its_units(tmp_path, make_crystal):
    path = tmp_path / "model.safetensors"
    old = ManyBodyCommittee((11, 17), ModelSettings(radial=5, cutoff=4.0, channels=4, hidden=8, members=2, activation="tanh"))
    save_committee(path, old)
    settings = json.loads(old.settings.model_dump_json())
    settings.pop("activation")
    with_header(path, version="1", settings=json.dumps(settings))
    loaded, _ = load_potential(path)
    batch = CrystalBatch.from_atoms([make_crystal(np.random.default_rng(0), ["Na", "Cl"] * 2, volume=15, closest=1.6)])
    assert torch.equal(loaded.energy_forces_stress(batch).forces, old.energy_forces_stress(batch).forces)
    settings["activation"] = "silu"
    with_header(path, version="2", settings=json.dumps(settings))
    other, _ = load_potential(path)
    assert not torch.allclose(other.energy_forces_stress(batch).forces, old.energy_forces_stress(batch).forces)


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": json.dumps({"radial": 5, "cutoff": 4.0, "channels": 4, "hidden": 8, "members": 3})},
        {"settings": json.dumps({"colour": "blue"})},
        {"species": "[11]"},
        {"species": "no list"},
        {"version": "new"},
        {"sigma_factor": "large"},
    ],
)
def test_header_that_contradicts_the_weights(tmp_path, model, changes):
    path = tmp_path / "model.safetensors"
    save_committee(path, model)
    with_header(path, **changes)
    refused(path, "model.safetensors")


def test_failed_write_leaves_the_old_file(tmp_path, model, monkeypatch):
    path = tmp_path / "model.safetensors"
    save_committee(path, model)
    before = path.read_bytes()

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    from nucleate.errors import NucleateError

    with pytest.raises(NucleateError, match="No space left"):
        save_committee(path, model, sigma_factor=2.0)
    assert path.read_bytes() == before
