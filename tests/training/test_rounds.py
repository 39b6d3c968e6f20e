import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.emt import EMT

from nucleate.crystals import CrystalBatch
from nucleate.errors import BadInput
from nucleate.potentials.manybody import ManyBodyCommittee
from nucleate.potentials.settings import ModelSettings
from nucleate.progress import Step, silent
from nucleate.reference.base import Label
from nucleate.training.data import from_labels
from nucleate.training.fitting import fit_model, structure_weights
from nucleate.training.settings import TrainingSettings

SMALL = ModelSettings(cutoff=4.5, radial=6, channels=8, hidden=16, members=2)
SHORT = TrainingSettings(steps=150, warm_steps=60, batch_structures=10)


def train(model, structures, labels, settings, seed, warm, progress=silent):
    """One round's training, as a search does it."""
    return fit_model(model, from_labels(structures, labels), settings.of_round(seed, warm), warm, progress)


def copper(rng, count, strain=0.08, rattle=0.15, lattice=3.6):
    """Strained, rattled copper with EMT labels."""
    structures, labels = [], []
    for _ in range(count):
        atoms = bulk("Cu", a=lattice, cubic=True)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.positions += rattle * rng.normal(size=(4, 3))
        atoms.calc = EMT()
        labels.append(Label(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()))
        atoms.calc = None
        structures.append(atoms)
    return structures, labels


def errors(model, structures, labels):
    """Energy error per atom and force error of the mean, root mean square."""
    batch = CrystalBatch.from_atoms(structures)
    mean = model.energy_forces_stress(batch).mean()
    energy = (mean.energy[0].numpy() - [label.energy for label in labels]) / batch.counts.numpy()
    force = mean.forces[0].numpy() - np.concatenate([label.forces for label in labels])
    return np.sqrt(np.mean(energy**2)), np.sqrt(np.mean(force**2))


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return copper(rng, 40), copper(rng, 20)


@pytest.fixture(scope="module")
def trained(data):
    model = ManyBodyCommittee((29,), SMALL, seed=1)
    report = train(model, *data[0], SHORT, seed=1, warm=False)
    return model, report


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_learns_what_it_has_not_seen(data, trained):
    model, report = trained
    energies = np.array([label.energy for label in data[1][1]]) / 4
    forces = np.concatenate([label.forces for label in data[1][1]])
    energy_error, force_error = errors(model, *data[1])
    assert energy_error < 0.25 * energies.std()
    assert force_error < 0.35 * np.sqrt(np.mean(forces**2))
    on_training = errors(model, *data[0])
    assert report.energy_rmse == pytest.approx(on_training[0], rel=1e-4)
    assert report.force_rmse == pytest.approx(on_training[1], rel=1e-4)


def test_stress_is_learned(data, trained):
    prediction = trained[0].energy_forces_stress(CrystalBatch.from_atoms(data[1][0])).mean()
    found = prediction.stress[0].diagonal(dim1=1, dim2=2).sum(1).numpy()
    expected = [label.stress[:3].sum() for label in data[1][1]]
    assert np.corrcoef(found, expected)[0, 1] > 0.95


def test_same_seed_same_weights(data):
    few = [part[:12] for part in data[0]]
    made = []
    for seed in (3, 3, 4):
        model = ManyBodyCommittee((29,), SMALL, seed=1)
        train(model, *few, SHORT.model_copy(update={"steps": 12}), seed=seed, warm=False)
        made.append(weights(model))
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])
    assert any(not torch.equal(made[0][name], made[2][name]) for name in made[0])


def test_members_differ_by_their_labels(data):
    """With bootstrap off and equal starts two members stay equal; with it on they part."""
    few = [part[:12] for part in data[0]]
    for bootstrap in (False, True):
        model = ManyBodyCommittee((29,), SMALL, seed=1, dtype=torch.float64)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                axis = 2 if name == "mixing" else 1
                parameter.copy_(parameter.select(axis, 0).unsqueeze(axis).expand_as(parameter))
        settings = SHORT.model_copy(update={"steps": 20, "bootstrap": bootstrap})
        train(model, *few, settings, seed=0, warm=False)
        batch = CrystalBatch.from_atoms(few[0])
        sigma = model.energy_forces_stress(batch).energy_sigma(batch)
        assert bool((sigma > 1e-4).any()) == bootstrap
        assert bool((sigma < 1e-9).all()) != bootstrap


def test_warm_start_keeps_what_it_knew(data, trained):
    """More labels of another kind do not cost the old ones, and the scale of energies stays."""
    model, _ = trained
    before = errors(model, *data[1])
    again = ManyBodyCommittee((29,), SMALL, seed=1)
    again.load_state_dict(weights(model))
    more = copper(np.random.default_rng(7), 15, lattice=4.2)
    new_before = errors(again, *more)
    together = [old + new for old, new in zip(data[0], more, strict=True)]
    steps = []
    train(again, *together, SHORT, seed=1, warm=True, progress=steps.append)
    assert (steps[-1].done, steps[-1].total) == (SHORT.warm_steps, SHORT.warm_steps)
    assert errors(again, *data[1])[0] < 1.3 * before[0] + 0.002
    assert errors(again, *data[1])[1] < 1.3 * before[1]
    assert errors(again, *more)[1] < 0.8 * new_before[1]
    for name in ("energy_shift", "energy_scale", "feature_mean", "feature_std"):
        assert torch.equal(getattr(again, name), getattr(model, name)), name
    cold = ManyBodyCommittee((29,), SMALL, seed=1)
    train(cold, *together, SHORT.model_copy(update={"steps": SHORT.warm_steps}), seed=1, warm=False)
    assert errors(again, *data[1])[1] < errors(cold, *data[1])[1]


def test_a_label_keeps_its_bootstrap_weight_when_more_follow(data):
    settings = SHORT.of_round(5, warm=False).model_copy(update={"soften_force": 0.0, "soften_energy": 0.0})
    few, all_ = (structure_weights(from_labels(data[0][0][:n], data[0][1][:n]), 4, settings) for n in (10, 40))
    ratio = all_[:, :10] / few
    assert torch.allclose(ratio, ratio[0, 0].expand_as(ratio), rtol=1e-4)


@pytest.mark.parametrize("field", ["energy", "forces", "stress"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_refuses_labels_that_are_not_finite(data, field, value):
    structures, labels = (part[:3] for part in data[0])
    spoilt = {"energy": labels[1].energy, "forces": labels[1].forces.copy(), "stress": labels[1].stress.copy()}
    if field == "energy":
        spoilt["energy"] = value
    else:
        spoilt[field].flat[2] = value
    model = ManyBodyCommittee((29,), SMALL)
    before = weights(model)
    with pytest.raises(BadInput, match=r"label 2: (energy|forces|stress) .*not finite"):
        train(model, structures, [labels[0], Label(**spoilt), labels[2]], SHORT, seed=0, warm=False)
    assert all(torch.equal(before[name], value) for name, value in weights(model).items())


def test_refuses_no_labels():
    with pytest.raises(BadInput, match="no labelled structures"):
        train(ManyBodyCommittee((29,), SMALL), [], [], SHORT, seed=0, warm=False)


def test_crushed_labels_do_not_spoil_the_others(data):
    """A handful of labels with forces of hundreds of eV/Å leaves the good ones learned."""
    crushed = copper(np.random.default_rng(8), 4, strain=0.0, rattle=0.9)
    assert max(np.abs(label.forces).max() for label in crushed[1]) > 20
    together = [old + new for old, new in zip(data[0], crushed, strict=True)]
    model = ManyBodyCommittee((29,), SMALL, seed=1)
    train(model, *together, SHORT, seed=1, warm=False)
    forces = np.concatenate([label.forces for label in data[1][1]])
    assert errors(model, *data[1])[1] < 0.45 * np.sqrt(np.mean(forces**2))


def test_every_step_is_reported(data):
    events = []
    few = [part[:4] for part in data[0]]
    model = ManyBodyCommittee((29,), SMALL)
    train(model, *few, SHORT.model_copy(update={"steps": 3}), seed=0, warm=False, progress=events.append)
    assert events == [Step("training", k, 3) for k in (1, 2, 3)]
