"""Every potential keeps the contract, and the check itself notices potentials that do not."""

import numpy as np
import pytest
import torch

from nucleate.crystals import CrystalBatch, neighbour_edges
from nucleate.errors import BadInput
from nucleate.potentials.base import Prediction
from nucleate.potentials.families import SETTINGS, family_settings
from nucleate.potentials.manybody import ManyBodyCommittee
from nucleate.potentials.registry import CLASSES, make_model
from nucleate.potentials.settings import ModelSettings
from nucleate.potentials.soap_krr import SoapKrr
from nucleate.potentials.validate import validate_potential
from nucleate.training.data import from_labels
from nucleate.training.fitting import fit_model
from nucleate.training.settings import FitSettings

SMALL = ModelSettings(cutoff=4.5, radial=5, channels=6, hidden=8, members=3)


@pytest.fixture(scope="module")
def argon(make_crystal):
    rng = np.random.default_rng(0)
    # One atom in a small cell: an atom is its own neighbour many times.
    return [make_crystal(rng, ["Ar"] * n, volume=20, closest=1.8) for n in (1, 2, 5)]


@pytest.fixture(scope="module")
def salt(make_crystal):
    rng = np.random.default_rng(1)
    return [make_crystal(rng, s, volume=18, closest=1.6) for s in (["Na", "Cl"], ["Cl", "Na", "Cl", "Na", "Na"])]


@pytest.fixture(scope="module")
def squeezed(make_crystal):
    """Atoms so close that the wall is at work."""
    rng = np.random.default_rng(2)
    return [make_crystal(rng, s, volume=9, closest=1.0) for s in (["Na", "Cl"], ["Cl", "Na", "Cl"])]


def test_analytic(pair_potential, argon, salt):
    validate_potential(pair_potential(), argon, rtol=1e-10)
    validate_potential(pair_potential((11, 17), depth=(0.3, 0.4)), salt, rtol=1e-10)


def test_untrained_committee(argon, salt, squeezed):
    validate_potential(ManyBodyCommittee((18,), SMALL, dtype=torch.float64), argon, rtol=1e-10)
    two = ManyBodyCommittee((17, 11), SMALL, seed=3, dtype=torch.float64)
    validate_potential(two, salt, rtol=1e-10)
    batch = CrystalBatch.from_atoms(squeezed)
    without = ManyBodyCommittee((11, 17), SMALL.model_copy(update={"wall_strength": 0.0}), 3, torch.float64)
    strong = two.energy_forces_stress(batch).energy - without.energy_forces_stress(batch).energy
    assert bool((strong > 0.1).all())
    validate_potential(two, squeezed, rtol=1e-10)


def test_trained_committee(pair_potential, make_crystal, make_label, salt):
    rng = np.random.default_rng(4)
    teacher = pair_potential((11, 17))
    structures = [make_crystal(rng, ["Na", "Na", "Cl", "Cl"], volume=18, closest=1.9) for _ in range(8)]
    model = ManyBodyCommittee((11, 17), SMALL, dtype=torch.float64)
    labels = [make_label(teacher, atoms) for atoms in structures]
    fit_model(model, from_labels(structures, labels), FitSettings(steps=15, batch=4))
    validate_potential(model, salt, rtol=1e-10)


def test_single_precision_committee(argon):
    validate_potential(ManyBodyCommittee((18,), SMALL), argon, rtol=2e-5, difference_rtol=5e-3, step=5e-3)


class Broken:
    """The analytic potential with one fault."""

    def __init__(self, potential, fault):
        self.good = potential
        self.fault = fault
        self.cutoff = potential.cutoff
        self.species = potential.species

    def layout(self, batch, edges):
        return None

    def energy_forces_stress(self, batch, edges=None, layout=None, mean_forces=False):
        if self.fault == "unknown element":
            batch = CrystalBatch(batch.positions, batch.cells, torch.full_like(batch.numbers, self.species[0]), batch.structure)
        p = self.good.energy_forces_stress(batch, edges)
        energy, forces, stress = p.energy.clone(), p.forces.clone(), p.stress.clone()
        if self.fault == "committee axis":
            energy = energy[0]
        elif self.fault == "shape of forces":
            forces = forces[0]
        elif self.fault == "not finite":
            forces[0, 0, 0] = torch.nan
        elif self.fault == "symmetry of the stress":
            stress[:, :, 0, 1] += 0.01
        elif self.fault == "forces against finite differences":
            forces = forces * 1.001
        elif self.fault == "stress against finite differences":
            stress = stress * 1.001
        elif self.fault == "mean forces" and mean_forces:
            forces = forces * 1.001
        elif self.fault == "with the batch":
            energy = energy + 0.01 * energy.mean()
        elif self.fault == "longer than the cutoff":
            reach = 0 if edges is None else int((edges.vectors(batch).norm(dim=1) > self.cutoff).sum())
            energy = energy + 1e-4 * reach
        elif self.fault == "translation":
            energy = energy + 1e-3 * torch.zeros(len(batch), dtype=energy.dtype).index_add(0, batch.structure, batch.positions[:, 0])
        elif self.fault == "rotation":
            energy = energy + 1e-3 * batch.cells[:, 0, 0].abs()
        elif self.fault == "permutation":
            first = torch.cumsum(batch.counts, 0) - batch.counts
            forces[:, first] = forces[:, first] * 1.01
        elif self.fault == "supercell":
            energy = energy + 0.01
        return Prediction(energy, forces, stress)


@pytest.mark.parametrize(
    "fault",
    [
        "committee axis", "shape of forces", "not finite", "symmetry of the stress",
        "forces against finite differences", "stress against finite differences", "with the batch",
        "longer than the cutoff", "mean forces", "translation", "rotation", "permutation", "supercell", "unknown element",
    ],
)  # fmt: skip
def test_faults_are_named(pair_potential, argon, fault):
    with pytest.raises(AssertionError, match=fault):
        validate_potential(Broken(pair_potential(), fault), argon)


def test_equal_sizes_are_refused(pair_potential, argon):
    with pytest.raises(ValueError, match="two sizes"):
        validate_potential(pair_potential(), [argon[0], argon[0]])


def test_unknown_species_is_one_line_that_names_it(salt):
    model = ManyBodyCommittee((11,), SMALL)
    with pytest.raises(BadInput, match="Na but not Cl") as caught:
        model.energy_forces_stress(CrystalBatch.from_atoms(salt))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", ["manybody", "a2a", "painn", "soap-krr"])
def test_a_list_of_pairs_that_ends_before_the_cutoff_is_refused(family, salt):
    settings = family_settings(family, {"points": 4} if family == "soap-krr" else {})
    model = SoapKrr((11, 17), settings) if family == "soap-krr" else make_model(family, (11, 17), settings, 0, torch.float64)
    batch = CrystalBatch.from_atoms(salt)
    model.energy_forces_stress(batch, neighbour_edges(batch, model.cutoff + 0.5))
    with pytest.raises(BadInput, match="neighbour list"):
        model.energy_forces_stress(batch, neighbour_edges(batch, model.cutoff - 0.5))


@pytest.mark.parametrize("family", SETTINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_is_made_for_the_tensors_of_a_file(family, dtype):
    kind, settings = CLASSES[family], family_settings(family, {"points": 4} if family == "soap-krr" else {})
    assert kind.family == family
    assert kind.closed_form == (family == "soap-krr")
    one = SoapKrr((11, 17), settings, 3) if kind.closed_form else make_model(family, (11, 17), settings, 5, dtype)
    other = kind.for_tensors((11, 17), settings, one.state_dict(), "file")
    shapes = [{name: (t.shape, t.dtype) for name, t in m.state_dict().items()} for m in (one, other)]
    assert shapes[0] == shapes[1]
    integers = {name for name, t in one.state_dict().items() if not t.is_floating_point()}
    assert set(kind.chosen_tensors) <= integers
    other.check_tensors("file")
    if not kind.closed_form:
        with pytest.raises(BadInput, match=r"^file: tensor 'energy_scale'"):
            kind.for_tensors((11, 17), settings, {}, "file")


def test_kinds_beyond_the_species_are_refused():
    model = SoapKrr((11, 17), None, 3)
    model.sparse_kind[1] = 2
    with pytest.raises(BadInput, match=r"^file: tensor 'sparse_kind'"):
        model.check_tensors("file")
