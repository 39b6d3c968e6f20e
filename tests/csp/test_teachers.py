"""Searches that know something before the first reference call: a teacher, labels or a model from elsewhere."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from nucleate import api
from nucleate.crystals import CrystalBatch
from nucleate.csp.events import LabelDone, TeacherDone, TeacherJudged
from nucleate.csp.known import deviation
from nucleate.csp.resolve import resolve_settings
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.stages import teacher_settings
from nucleate.errors import BadInput
from nucleate.potentials.corrected import CorrectedPotential
from nucleate.potentials.files import load_potential, save_committee
from nucleate.potentials.manybody import ManyBodyCommittee
from nucleate.potentials.settings import ModelSettings
from nucleate.potentials.validate import validate_potential
from nucleate.reference.base import Label
from nucleate.reference.ledger import Ledger

TEACHER = "ase:ase.calculators.emt:EMT"


class Shifted:
    """EMT with another zero of energy and a pressure: another method with nearly the same surface."""

    name, surrogate = "shifted", True

    def __init__(self, shift=-3.0, pressure=0.01, sign=1.0):
        self.shift, self.pressure, self.sign = shift, pressure, sign

    def settings(self):
        return {"shift": self.shift, "pressure": self.pressure, "sign": self.sign}

    def k_points(self, atoms):
        return None

    def label(self, atoms):
        atoms.calc = EMT()
        energy = self.sign * atoms.get_potential_energy() + self.shift * len(atoms) + self.pressure * atoms.get_volume()
        stress = self.sign * atoms.get_stress() + self.pressure * np.array([1, 1, 1, 0, 0, 0])
        return Label(energy, self.sign * atoms.get_forces(), stress)


def settings(**changes):
    given = {
        "search": {"pool": 16, "first_batch": 8, "batch": 4, "max_rounds": 3, "top": 1, "check": False, "proof": False},
        "generate": {"workers": 1, "prototype_share": 0.0},
        "model": {"members": 2, "radial": 5, "channels": 4, "hidden": 16},
        "training": {"steps": 60, "warm_steps": 25},
        "relax": {"max_steps": 60, "workers": 1},
        "teacher": {"budget": 60, "first_batch": 16, "batch": 8, "max_rounds": 2, "first_labels": 3},
    }
    for table, values in changes.items():
        given[table] = {**given[table], **values}
    return given


LONG = {"steps": 150, "warm_steps": 60}
"""Training after which the committee of the teacher has its minima and its pressure."""


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A search with a teacher that is almost right, and its events."""
    events = []
    with pytest.MonkeyPatch.context() as patch:
        # With so few labels, a committee that learns from the reference alone can be better by chance, and would replace the teacher's.
        patch.setattr("nucleate.csp.base_judge.MUCH_BETTER", 0.0)
        result = api.search(
            "Cu4",
            settings=settings(training=LONG),
            reference=Shifted(),
            teacher=TEACHER,
            out=tmp_path_factory.mktemp("taught") / "run",
            progress=events.append,
        )
    return result, events


def test_a_teacher_is_asked_first_and_its_minima_are_labelled_first(taught):
    result, events = taught
    judged = next(event for event in events if isinstance(event, TeacherJudged))
    assert judged.kept
    # The labels differ by the pressure: 0.01 eV/Å³ times some 12 Å³ an atom.
    assert judged.stress == pytest.approx(0.01 * 12 / 2**0.5, rel=0.5)
    # The energies of the close packings differ by a few meV/atom.
    assert result.polymorphs[0].space_group in ("Fm-3m", "P6_3/mmc")
    assert "known" in {polymorph.origin for polymorph in result.polymorphs}
    first = [row for row in Ledger(result.folder / "run.db").rows() if row.round == 0]
    assert sum(row.purpose == "train" for row in first) == 3


def test_a_teacher_of_a_chemical_system(tmp_path):
    """The phases on the hull of the teacher are labelled first, whatever their composition."""
    given = settings(search={"max_rounds": 1}, teacher={"budget": 90, "first_labels": 5}, training=LONG)
    result = api.search("Cu-Au", settings=given, reference=Shifted(), teacher=TEACHER, max_atoms=2, out=tmp_path / "run")
    with RunFolder.open(tmp_path / "run" / "teacher") as folder:
        taught = folder.loop_state().minima()
    first = [row.atoms for row in Ledger(result.folder / "run.db").rows() if row.purpose == "train"]
    assert len(first) == 5
    lowest = {tuple(np.bincount(p.atoms.numbers, minlength=80)[[29, 79]] > 0) for p in taught[:5]}
    assert {tuple(np.bincount(atoms.numbers, minlength=80)[[29, 79]] > 0) for atoms in first} >= lowest


def test_evaluations_of_the_teacher_are_counted_apart(taught):
    result, events = taught
    done = next(event for event in events if isinstance(event, TeacherDone))
    data = api.show(result.folder)
    assert done.evaluations == Ledger(result.folder / "teacher" / "run.db").count() == data["teacher"]["evaluations"] > 16
    assert data["calls"] == result.calls == Ledger(result.folder / "run.db").count()
    assert len([event for event in events if isinstance(event, LabelDone)]) <= result.calls
    # Polymorphs are those of the reference alone: its zero of energy is 3 eV lower.
    assert all(polymorph["energy"] < -2 for polymorph in data["polymorphs"])
    assert "teacher" in (result.folder / "report.html").read_text()


def test_the_model_of_a_round_contains_the_committee_of_the_teacher(taught):
    result, _ = taught
    model, _ = load_potential(sorted((result.folder / "models").glob("*.safetensors"))[-1])
    assert isinstance(model, CorrectedPotential)
    cell = bulk("Cu", "fcc", 3.7)
    found = float(model.energy_forces_stress(CrystalBatch.from_atoms([cell])).energy.mean())
    assert found == pytest.approx(Shifted().label(cell).energy, abs=0.15)


def test_a_wrong_teacher_is_dropped(tmp_path):
    events = []
    result = api.search(
        "Cu2", settings=settings(search={"max_rounds": 2}), reference=Shifted(sign=-0.2, pressure=0.3), teacher=TEACHER,
        out=tmp_path / "run", progress=events.append,
    )  # fmt: skip
    judged = next(event for event in events if isinstance(event, TeacherJudged))
    assert not judged.kept
    # Two labels show it; no further minimum of the teacher is labelled.
    assert judged.labels == 2
    model, _ = load_potential(sorted((tmp_path / "run" / "models").glob("*.safetensors"))[-1])
    assert not isinstance(model, CorrectedPotential)
    first = [row for row in Ledger(result.folder / "run.db").rows() if row.round == 0 and row.purpose == "train"]
    # The labels of its minima are part of the usual first batch, not added to it.
    assert len(first) == 8


def test_a_search_stopped_during_the_search_on_the_teacher(tmp_path):
    class Stop(Exception):
        pass

    given = settings(
        search={"max_rounds": 2, "pool": 10}, training={"steps": 60, "warm_steps": 30}, teacher={"budget": 30, "first_batch": 8}
    )
    whole = api.search("Cu2", settings=given, reference=Shifted(), teacher=TEACHER, out=tmp_path / "whole")
    trained = 0

    def stop(event):
        nonlocal trained
        trained += getattr(event, "phase", "").endswith("training the committee") and event.done == event.total
        if trained == 2:
            raise Stop

    with pytest.raises(Stop):
        api.search("Cu2", settings=given, reference=Shifted(), teacher=TEACHER, out=tmp_path / "stopped", progress=stop)
    with RunFolder.open(tmp_path / "stopped") as folder:
        assert folder.ledger.count() == 0
    again = api.resume(tmp_path / "stopped", reference=Shifted())
    assert again.calls == whole.calls
    assert [p.energy for p in again.polymorphs] == [p.energy for p in whole.polymorphs]


def test_labels_of_a_run_with_the_same_settings(taught, tmp_path):
    result, _ = taught
    again = api.search(
        "Cu2",
        settings=settings(search={"max_rounds": 1, "lead_steps": 3}),
        reference=Shifted(),
        labels_from=[result.folder],
        out=tmp_path / "run",
    )
    first = [row for row in Ledger(again.folder / "run.db").rows() if row.round == 0]
    # Eight labels or more are at hand, so that no structure is chosen at random.
    assert not [row for row in first if row.purpose == "train"]
    assert again.polymorphs[0].space_group in ("Fm-3m", "P6_3/mmc")
    with pytest.raises(BadInput, match="pressure"):
        api.search("Cu2", settings=settings(), reference=Shifted(pressure=0.02), labels_from=[result.folder], out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_labels_of_a_file_are_another_method(tmp_path):
    rng = np.random.default_rng(4)
    frames = []
    for k in range(24):
        atoms = bulk("Cu", ("fcc", "bcc", "hcp")[k % 3], 3.6 if k % 3 == 0 else 2.9, **({"cubic": True} if k % 3 < 2 else {}))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.06, (3, 3))), scale_atoms=True)
        atoms.rattle(0.1, seed=k)
        atoms.calc = EMT()
        atoms.get_potential_energy(), atoms.get_stress()
        frames.append(atoms)
    write(tmp_path / "labels.extxyz", frames)
    events = []
    result = api.search(
        "Cu2", settings=settings(search={"max_rounds": 8}), reference=Shifted(), labels_from=[tmp_path / "labels.extxyz"],
        out=tmp_path / "run", progress=events.append,
    )  # fmt: skip
    judged = next(event for event in events if isinstance(event, TeacherJudged))
    assert judged.source.endswith("labels.extxyz")
    assert result.polymorphs
    (tmp_path / "stated.toml").write_text('[reference]\nengine = "ase"\ncalculator = "ase.calculators.emt:EMT"\n')
    same = settings(search={"max_rounds": 1}) | {"reference": {"engine": "ase", "calculator": "ase.calculators.emt:EMT", "workers": 0}}
    stated = api.search(
        "Cu2", settings=same, labels_from=[tmp_path / "labels.extxyz"], labels_settings=tmp_path / "stated.toml", out=tmp_path / "stated"
    )
    assert not [row for row in Ledger(stated.folder / "run.db").rows() if row.purpose == "train"]


def test_a_model_of_an_earlier_search(tmp_path, taught):
    own = settings(search={"max_rounds": 2})
    api.search(
        "Cu2", settings=own | {"reference": {"engine": "ase", "calculator": "ase.calculators.emt:EMT", "workers": 0}}, out=tmp_path / "a"
    )
    file = sorted((tmp_path / "a" / "models").glob("*.safetensors"))[-1]
    events = []
    api.search("Cu2", settings=own, reference=Shifted(), model_from=file, out=tmp_path / "b", progress=events.append)
    judged = next(event for event in events if isinstance(event, TeacherJudged))
    assert judged.source == str(file)
    assert judged.labels <= 3
    with pytest.raises(BadInput, match="Au"):
        api.search("AuCu", settings=own, reference=Shifted(), model_from=file, out=tmp_path / "c")
    corrected = sorted((taught[0].folder / "models").glob("*.safetensors"))[-1]
    with pytest.raises(BadInput, match="correction"):
        api.search("Cu2", settings=own, reference=Shifted(), model_from=corrected, out=tmp_path / "d")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"teacher": "ase:ase.calculators.emt:EMT", "prior": "chgnet"}, "prior"),
        ({"teacher": "no-such"}, "no-such"),
        ({"teacher": "mace:missing.model"}, "missing.model|mace"),
        ({"labels_from": ["missing.extxyz"]}, "missing.extxyz"),
        ({"labels_settings": "x.toml"}, "labels_from"),
        ({"model_from": "missing.safetensors"}, "missing.safetensors"),
        ({"model_from": "x.safetensors", "teacher": "chgnet"}, "model_from"),
    ],
)
def test_what_contradicts_itself_is_refused_before_anything_starts(given, said, tmp_path):
    from nucleate.errors import NucleateError

    with pytest.raises(NucleateError, match=said) as caught:
        api.search("Cu2", settings=settings(), reference=Shifted(), out=tmp_path / "run", **given)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_teacher_that_is_the_reference(tmp_path):
    same = settings() | {"reference": {"engine": "ase", "calculator": "ase.calculators.emt:EMT", "workers": 0}}
    with pytest.raises(BadInput, match="both"):
        api.search("Cu2", settings=same, teacher=TEACHER, out=tmp_path / "run")


@pytest.fixture
def sum_of_two():
    options = ModelSettings(members=2, radial=4, channels=4, hidden=8)
    base, correction = (ManyBodyCommittee.in_dtype((11, 17), options, seed, torch.float64) for seed in (1, 2))
    for model in (base, correction):
        model.energy_scale.fill_(0.3)
    return CorrectedPotential(base, correction)


def test_the_sum_of_two_committees_keeps_the_contract(sum_of_two, tmp_path, make_crystal):
    rng = np.random.default_rng(2)
    structures = [make_crystal(rng, symbols, volume=20, closest=2.2) for symbols in (["Na", "Cl"], ["Na", "Cl", "Na"])]
    validate_potential(sum_of_two, structures)
    batch = CrystalBatch.from_atoms(structures)
    parts = [model.energy_forces_stress(batch).energy for model in (sum_of_two.base, sum_of_two.correction)]
    assert torch.equal(sum_of_two.energy_forces_stress(batch).energy, parts[0] + parts[1])
    save_committee(tmp_path / "m.safetensors", sum_of_two.correction, 2.0, base=sum_of_two.base)
    again, factor = load_potential(tmp_path / "m.safetensors")
    assert factor == 2.0
    assert torch.equal(again.energy_forces_stress(batch).forces, sum_of_two.energy_forces_stress(batch).forces)


def test_a_deviation_ignores_a_constant_and_one_bad_structure():
    potential = ManyBodyCommittee.in_dtype((29,), ModelSettings(members=1, radial=4, channels=4, hidden=8), 3, torch.float64)
    cells = [bulk("Cu", "fcc", a) for a in (3.4, 3.5, 3.6, 3.7, 3.8)]
    mean = potential.energy_forces_stress(CrystalBatch.from_atoms(cells))
    labels = [
        Label(float(mean.energy[0, k]) + 0.7, np.zeros((1, 3)), mean.stress[0, k].numpy()[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]])
        for k in range(5)
    ]
    labels[2] = Label(labels[2].energy + 9.0, np.ones((1, 3)), labels[2].stress + 1.0)
    found = deviation(potential, cells, labels)
    assert found.shift == pytest.approx(0.7)
    assert found.loss == pytest.approx(0.0, abs=1e-9)
    assert deviation(potential, [Atoms("Cu", cell=[3, 3, 3], pbc=True)], [labels[2]]).energy == 0.0


def test_the_first_batch_is_no_larger_than_asked_with_many_structures_of_the_user(tmp_path):
    cells = [bulk("Cu", "fcc", 3.3 + 0.05 * k).repeat((2, 1, 1)) for k in range(12)]
    write(tmp_path / "own.extxyz", cells)
    given = settings(search={"max_rounds": 1, "first_batch": 5})
    result = api.search("Cu2", settings=given, reference=Shifted(), seeds_from=tmp_path / "own.extxyz", out=tmp_path / "run")
    assert sum(row.purpose == "train" for row in Ledger(result.folder / "run.db").rows()) == 5


def test_structures_with_other_elements_are_said_to_be_left_out(tmp_path):
    from nucleate.csp.labels_from import labels_known
    from nucleate.csp.run_settings import settings_from_dict
    from nucleate.progress import Note

    frames = []
    for symbols in ("CuCu", "CuAu"):
        atoms = Atoms(symbols, positions=[[0, 0, 0], [1.9, 1.9, 1.9]], cell=[3.8] * 3, pbc=True)
        atoms.calc = EMT()
        atoms.get_potential_energy(), atoms.get_stress()
        frames.append(atoms)
    write(tmp_path / "labels.extxyz", frames)
    notes = []
    given = settings_from_dict({"formula": "Cu2", "teacher": {"labels_from": [str(tmp_path / "labels.extxyz")]}})
    _, others = labels_known(given, Shifted(), notes.append)
    assert len(others) == 1
    assert [type(note) for note in notes] == [Note]


@pytest.mark.parametrize(("top", "of_the_teacher"), [(1, 5), (5, 5), (7, 7)])
def test_the_search_on_the_teacher_waits_for_several_minima(top, of_the_teacher):
    """Several of them are labelled first, and its evaluations cost little."""
    given = resolve_settings("Cu2", {"search": {"top": top}, "teacher": {"name": TEACHER}})
    assert teacher_settings(given).search.top == of_the_teacher
