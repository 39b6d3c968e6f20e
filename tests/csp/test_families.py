"""A search learns with any family, and on a prior; what contradicts itself is refused before anything is computed."""

import json

import pytest
from ase import Atoms
from ase.build import bulk

from nucleate import api
from nucleate.crystals import CrystalBatch
from nucleate.csp.events import RoundDone
from nucleate.csp.run_folder import RunFolder
from nucleate.errors import BadInput
from nucleate.potentials.corrected import CorrectedPotential
from nucleate.potentials.files import load_potential
from nucleate.potentials.prior import PriorPotential

SMALL = {
    "a2a": {"hidden": [8], "radial_bins": 6, "angular_bins": 2, "angle_bins": 2},
    "molcnn": {"cutoff": 3.5},
    "schnet": {"features": 4, "interactions": 1, "radial": 5},
    "painn": {"features": 4, "radial": 5, "cutoff": 4.0},
    "soap-krr": {"radial": 4, "points": 20, "cutoff": 4.0},
}


def settings(**model):
    return {
        "reference": {"engine": "ase", "calculator": "ase.calculators.emt:EMT", "workers": 0},
        "search": {"pool": 8, "first_batch": 5, "first_symmetric": 0, "batch": 3, "max_rounds": 2, "lead_fmax": 5.0, "proof": False},
        "generate": {"workers": 1, "prototype_share": 0.0},
        "model": model,
        "training": {} if model.get("family") == "soap-krr" else {"steps": 30, "warm_steps": 10},
        "relax": {"max_steps": 20},
    }


@pytest.mark.parametrize("family", SMALL)
def test_a_search_with_each_family(family, tmp_path):
    members = {} if family == "soap-krr" else {"members": 2}
    result = api.search("Cu2", settings=settings(family=family, options=SMALL[family], **members), out=tmp_path / "run")
    assert result.calls > 8
    model, _ = load_potential(sorted((tmp_path / "run" / "models").glob("*.safetensors"))[-1])
    assert model.family == family
    cells = [bulk("Cu", "fcc", a) for a in (3.4, 3.6, 4.4)]
    batch = CrystalBatch.from_atoms(cells)
    sigma = model.energy_forces_stress(batch).energy_sigma(batch)
    assert bool((sigma > 0).all())
    # A committee whose members agree up to a constant has the same sigma everywhere.
    assert float(sigma.max()) > 1.01 * float(sigma.min())
    with RunFolder.open(tmp_path / "run") as folder:
        rounds = [event for event in folder.events() if event["event"] == "round"]
    assert rounds[-1]["round"] == 2
    assert rounds[1]["calibration"]["labels"] == 3


def test_a_stopped_search_goes_on_to_the_same_end(tmp_path):
    given = settings(family="a2a", options=SMALL["a2a"], members=2)
    whole = api.search("Cu2", settings=given, out=tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop(event):
        if isinstance(event, RoundDone) and event.record.round == 1:
            raise Stop

    with pytest.raises(Stop):
        api.search("Cu2", settings=given, out=tmp_path / "stopped", progress=stop)
    again = api.resume(tmp_path / "stopped")
    assert again.calls == whole.calls
    assert [p.energy for p in again.polymorphs] == [p.energy for p in whole.polymorphs]


def test_a_search_on_a_prior(tmp_path):
    pytest.importorskip("chgnet")
    # Each step of a relaxation asks the prior, which takes nearly all of the time.
    given = {**settings(prior="chgnet", members=2, radial=4, channels=4, hidden=8), "relax": {"max_steps": 6}}
    result = api.search("Cu2", settings=given, out=tmp_path / "run")
    model, _ = load_potential(sorted((tmp_path / "run" / "models").glob("*.safetensors"))[-1])
    assert isinstance(model, CorrectedPotential)
    assert model.base.name == "chgnet"
    # The prior is evaluated once for each structure that a committee was trained on.
    lines = [json.loads(line)["structure"] for line in (tmp_path / "run" / "prior.jsonl").read_text().splitlines()]
    with RunFolder.open(tmp_path / "run") as folder:
        trained = [event["training"].get("labels", 0) for event in folder.events() if event["event"] == "round"]
    assert len(lines) == len(set(lines)) == max(trained)
    assert result.calls >= len(lines) > 8


def test_options_of_a_search_reach_it(tmp_path):
    pytest.importorskip("chgnet")
    given = {**settings(options=SMALL["schnet"], members=2), "relax": {"max_steps": 6}}
    api.search("Cu2", settings=given, model="schnet", prior="chgnet", out=tmp_path / "run", budget=7)
    model, _ = load_potential(sorted((tmp_path / "run" / "models").glob("*.safetensors"))[-1])
    assert isinstance(model, CorrectedPotential)
    assert model.learned.family == "schnet"
    with pytest.raises(BadInput, match="choose another prior"):
        api.search("Cu2", reference="chgnet", prior="chgnet", out=tmp_path / "other")
    with pytest.raises(BadInput, match="hidden_of"):
        api.search("Cu2", settings=settings(family="a2a", options={"hidden_of": {"H": [4]}}), out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_cell_the_prior_cannot_answer_is_no_end_of_the_search():
    pytest.importorskip("chgnet")
    crushed = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 0]], cell=[3, 3, 3], pbc=True)
    batch = CrystalBatch.from_atoms([crushed, bulk("Cu")])
    energy = PriorPotential("chgnet").energy_forces_stress(batch).energy[0]
    assert not bool(energy[0].isfinite())
    assert bool(energy[1].isfinite())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"model": {"prior": "chgnet"}, "reference": {"engine": "chgnet"}}, "choose another prior"),
        (
            {"model": {"prior": "chgnet"}, "reference": {"engine": "ase", "calculator": "chgnet.model.dynamics:CHGNetCalculator"}},
            "choose another prior",
        ),
        ({"model": {"prior": "nothing"}}, "prior 'nothing'"),
        ({"model": {"family": "gnn"}}, "model 'gnn'"),
        ({"model": {"family": "a2a", "channels": 8}}, "model.channels has no effect"),
        ({"model": {"family": "soap-krr", "members": 8}}, "model.members"),
        ({"model": {"options": {"cutoff": 4.0}}}, "model.options has no effect"),
        ({"model": {"family": "a2a", "options": {"hiden": [3]}}}, "unknown key hiden; did you mean hidden"),
        ({"model": {"family": "a2a", "members": 3, "options": {"members": 2}}}, "members is given in both"),
        ({"model": {"family": "soap-krr"}, "training": {"steps": 9}}, "training.steps has no effect"),
    ],
)
def test_what_contradicts_itself(given, says, tmp_path):
    with pytest.raises(BadInput, match=says):
        api.search("Si2", settings=given, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
