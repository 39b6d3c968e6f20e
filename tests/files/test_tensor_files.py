"""Files of tensors: what the header says must be what the file holds, and is looked at before anything is made."""

import json
import resource

import pytest
import torch
from ase import Atoms
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from nucleate.electrons.descriptors.power_spectrum import PowerSpectrum
from nucleate.electrons.emulator.emulator import Emulator
from nucleate.electrons.model.model import ElectronModel
from nucleate.electrons.model.network import LdosNetwork
from nucleate.electrons.species import Ion
from nucleate.errors import BadInput
from nucleate.potentials.families import SETTINGS, family_settings
from nucleate.potentials.files import load_potential, save_committee
from nucleate.potentials.registry import make_model
from nucleate.potentials.soap_krr import SoapKrr
from nucleate.training.folder import TrainingFolder, pack, read_tensors, unpack

ENGINE = {"engine": "gpaw", "functional": "LDA", "pseudopotential": "hgh", "cutoff": 200.0}


def electrons(path):
    descriptor = PowerSpectrum(2, 4.0, 3, 2)
    network = LdosNetwork(descriptor.features, 5, (6,), 2)
    ions = {"Al": Ion("Al", 3.0, 0.2), "O": Ion("O", 6.0, 0.1, -1.0)}
    energies = torch.linspace(-5, 5, 5, dtype=torch.float64).numpy()
    ElectronModel(descriptor, network, energies, 0.5, ions, 0.3, ENGINE, {"temperature": 300.0}).save(path)


def emulator(path):
    descriptor = PowerSpectrum(1, 4.0, 2, 1, cubic=False)
    n = descriptor.features
    numbers = [torch.ones(n, dtype=torch.float64) for _ in range(3)]
    facts = {"residual": 0.1, "atoms_error": [0.2], "left_out_error": [0.1]}
    Emulator(descriptor, ["Al"], *numbers, torch.eye(n, dtype=torch.float64), ENGINE, facts, 0.2).save(path)


def damaged(path, key=None, tensors=None, **changes):
    """The same file with other metadata, other values of the JSON under `key`, other tensors; None takes one out."""
    with safe_open(path, framework="pt") as archive:
        metadata = archive.metadata()
    if key is None:
        metadata |= {name: text for name, text in changes.items() if text is not None}
        metadata = {name: text for name, text in metadata.items() if changes.get(name, "") is not None}
    else:
        said = json.loads(metadata[key]) | changes
        metadata[key] = json.dumps({name: value for name, value in said.items() if value is not None})
    held = load_file(path) | (tensors or {})
    save_file({name: tensor for name, tensor in held.items() if tensor is not None}, path, metadata=metadata)


def refused(load, path, word):
    with pytest.raises(BadInput, match=word) as caught:
        load(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    assert len(text) - len(str(path)) < 200


def test_models_come_back_as_they_were(tmp_path):
    for save, load in ((electrons, ElectronModel.load), (emulator, Emulator.load)):
        save(tmp_path / "first.safetensors")
        load(tmp_path / "first.safetensors").save(tmp_path / "second.safetensors")
        assert (tmp_path / "first.safetensors").read_bytes() == (tmp_path / "second.safetensors").read_bytes()


NESTED = json.loads("[" * 900 + "]" * 900)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"version": None}, "version"),
        ({"version": True}, "version"),
        ({"version": 99}, "newer"),
        ({"sigma": "wide"}, "sigma"),
        ({"sigma": float("nan")}, "sigma"),
        ({"network": -1}, "network"),
        ({"network": {"features": 10**9, "outputs": 10**9, "hidden": [10**9], "members": 2}}, "network"),
        ({"network": {"features": 80, "outputs": 5, "hidden": [10**6, 10**6], "members": 2}}, "larger"),
        ({"ions": [{}]}, "ions"),
        ({"ions": [{"symbol": "Al", "charge": 3.0, "radius": 0.2}]}, "species"),
        ({"ions": [{"symbol": "Xx", "charge": 3.0, "radius": 0.2}] * 2}, "element"),
        ({"descriptor": {"name": "power", "n_species": 2, "cutoff": 4.0, "radial": 200, "degree": 2, "cubic": True}}, "features"),
        ({"descriptor": {"name": "power", "n_species": 2, "cutoff": 4.0, "radial": 3, "degree": True, "cubic": True}}, "degree"),
        ({"descriptor": {"name": "wave"}}, "descriptor"),
        ({"engine": {"engine": "gpaw"}}, "engine"),
        ({"facts": {"temperature": "hot"}}, "temperature"),
        ({"facts": {"deep": NESTED}}, "deep"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_models_of_electrons_with_headers_that_cannot_be(tmp_path, changes, word):
    path = tmp_path / "m.safetensors"
    electrons(path)
    damaged(path, "nucleate_electrons", **changes)
    refused(ElectronModel.load, path, word)


@pytest.mark.parametrize(
    ("tensors", "word"),
    [
        ({"last": torch.zeros(2, 6, 4)}, "last"),
        ({"last": torch.zeros(2, 6, 5, dtype=torch.float64)}, "last"),
        ({"last": torch.full((2, 6, 5), torch.inf)}, "finite"),
        ({"last": None}, "missing"),
        ({"more": torch.zeros(1)}, "more"),
        ({"energies": None}, "energies"),
        ({"energies": torch.zeros(5, dtype=torch.float64)}, "increase"),
        ({"energies": torch.zeros(7, dtype=torch.float64)}, "energies"),
    ],
)
def test_models_of_electrons_with_tensors_that_do_not_fit(tmp_path, tensors, word):
    path = tmp_path / "m.safetensors"
    electrons(path)
    damaged(path, tensors=tensors)
    refused(ElectronModel.load, path, word)


@pytest.mark.parametrize(
    ("changes", "tensors", "word"),
    [
        ({"species": ["Al", "O"]}, {}, "species"),
        ({"species": []}, {}, "species"),
        ({"facts": {}}, {}, "residual"),
        ({"engine": {key: value for key, value in ENGINE.items() if key != "cutoff"}}, {}, "cutoff"),
        ({}, {"covariance": torch.zeros(3, 4, dtype=torch.float64)}, "covariance"),
        ({}, {"mean": None}, "mean"),
        ({"version": None}, {}, "version"),
    ],
)
def test_emulators_that_contradict_themselves(tmp_path, changes, tensors, word):
    path = tmp_path / "e.safetensors"
    emulator(path)
    damaged(path, "nucleate_emulator", tensors, **changes)
    refused(Emulator.load, path, word)


@pytest.mark.parametrize("family", SETTINGS)
def test_potentials_of_every_family_come_back(tmp_path, family):
    settings = family_settings(family, {})
    model = SoapKrr((13,), settings, 7) if family == "soap-krr" else make_model(family, (13,), settings, 0, torch.float64)
    save_committee(tmp_path / "p.safetensors", model)
    back, _ = load_potential(tmp_path / "p.safetensors")
    assert all(torch.equal(back.state_dict()[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "tensors", "word"),
    [
        ({"species": "[]"}, {}, "species"),
        ({"species": "[13, 13]"}, {}, "ascend"),
        ({"species": "[130]"}, {}, "species"),
        ({"species": "[14]"}, {}, "tensor"),
        ({"settings": json.dumps({"hidden": [10**9, 10**9]})}, {}, "8192"),
        ({"settings": json.dumps({"hidden": [4] * 10**5})}, {}, "at most"),
        ({"settings": "[" * 5000}, {}, "nested"),
        ({"settings": "3"}, {}, "settings"),
        ({"sigma_factor": "nan"}, {}, "sigma_factor"),
        ({"version": "²"}, {}, "version"),
        ({"version": "-1"}, {}, "version"),
        ({"version": None}, {}, "version"),
        ({"family": "x" * 5000}, {}, "family|model"),
        ({}, {"species_index": torch.zeros(120)}, "species_index"),
        ({}, {"species_index": torch.full((120,), 7)}, "species_index"),
        ({}, {"energy_scale": torch.tensor(1)}, "energy_scale"),
    ],
)
def test_potentials_that_contradict_themselves(tmp_path, changes, tensors, word):
    path = tmp_path / "p.safetensors"
    settings = family_settings("a2a", {"hidden": [4], "radial_bins": 3, "angular_bins": 2, "angle_bins": 2})
    save_committee(path, make_model("a2a", (13,), settings, 0, torch.float32))
    damaged(path, tensors=tensors, **changes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(load_potential, path, word)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


def test_sparse_points_of_no_species(tmp_path):
    path = tmp_path / "p.safetensors"
    model = SoapKrr((13,), family_settings("soap-krr", {"radial": 2}), 3)
    save_committee(path, model)
    damaged(path, tensors={"sparse_kind": torch.tensor([0, 5, 0])})
    refused(load_potential, path, "sparse_kind")


def test_checkpoints_are_whole(tmp_path):
    with TrainingFolder(tmp_path / "t", "") as folder:
        tensors = {"a": torch.ones(2)}
        folder.save("c.safetensors", {"state": pack({0: {"m": torch.ones(3), "steps": [1, 2]}}, tensors, "s")}, tensors)
        header, back = folder.load("c.safetensors")
    assert unpack(header["state"], back, "cpu")[0]["steps"] == [1, 2]
    path = tmp_path / "t" / "c.safetensors"
    for content in ({"tensor": "absent"}, {"dict": 3}, {"dict": [[[], 1]]}, 7, {}):
        with pytest.raises(BadInput, match="damaged"):
            unpack(content, back, "cpu")
    damaged(path, header="[]")
    refused(read_tensors, path, "header")
    damaged(path, version="x")
    refused(read_tensors, path, "version")


def test_an_electron_model_still_predicts_after_the_way_through_a_file(tmp_path):
    electrons(tmp_path / "m.safetensors")
    model = ElectronModel.load(tmp_path / "m.safetensors")
    atoms = Atoms("AlO", [[0, 0, 0], [2, 2, 2]], cell=[4, 4, 4], pbc=True)
    assert model.electrons(atoms) == 9
    assert model.species(atoms).tolist() == [0, 1]
