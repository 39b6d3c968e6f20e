"""Every network keeps the contract; symmetry functions are those of TorchANI."""

import math

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

from nucleate.crystals import CrystalBatch, neighbour_edges
from nucleate.errors import BadInput
from nucleate.potentials.manybody import ManyBodyCommittee
from nucleate.potentials.networks.a2a import A2A
from nucleate.potentials.networks.molcnn import MolCNN
from nucleate.potentials.networks.network import Graph
from nucleate.potentials.networks.painn import PaiNN
from nucleate.potentials.networks.schnet import SchNet
from nucleate.potentials.networks.settings import A2ASettings, MolCNNSettings, PaiNNSettings, SchNetSettings
from nucleate.potentials.networks.symmetry_functions import ModifiedAngular, Radial, SymmetryFunctions, triples
from nucleate.potentials.settings import ModelSettings
from nucleate.potentials.validate import validate_potential

SMALL_A2A = {"radial_bins": 6, "angular_bins": 2, "angle_bins": 3, "radial_eta": 4.0, "zeta": 8.0, "hidden": [8, 6]}
FAMILIES = {
    "a2a": (A2A, A2ASettings(members=2, **SMALL_A2A)),
    "a2a original": (A2A, A2ASettings(functions="original", learnable=True, output="gaussian", hidden=[6])),
    "a2a sizes": (A2A, A2ASettings(hidden_of={"Na": [5]}, activation="tanh", **SMALL_A2A)),
    "molcnn": (MolCNN, MolCNNSettings(members=2)),
    "molcnn nearest": (MolCNN, MolCNNSettings(neighbours="nearest", pool="max")),
    "molcnn bonds": (MolCNN, MolCNNSettings(angles=0)),
    "schnet": (SchNet, SchNetSettings(members=2, features=6, interactions=2, radial=10)),
    "painn": (PaiNN, PaiNNSettings(members=2, features=6, radial=8)),
}


@pytest.fixture(scope="module")
def salt(make_crystal):
    rng = np.random.default_rng(1)
    return [make_crystal(rng, s, volume=18, closest=1.6) for s in (["Na", "Cl", "Na"], ["Cl", "Na", "Cl", "Na", "Na"])]


@pytest.mark.parametrize("family", FAMILIES)
def test_contract(family, salt):
    kind, settings = FAMILIES[family]
    validate_potential(kind((11, 17), settings, seed=3), salt, rtol=1e-9)


@pytest.mark.parametrize("family", ["a2a", "schnet", "painn", "molcnn", "manybody"])
def test_mean_forces_are_the_mean_of_the_forces(family, salt):
    kind, settings = {**FAMILIES, "manybody": (ManyBodyCommittee, ModelSettings(cutoff=4, radial=4, channels=4, hidden=8, members=3))}[
        family
    ]
    model = kind((11, 17), settings, seed=3).double()
    batch = CrystalBatch.from_atoms(salt)
    if family == "manybody":
        model.dtype = torch.float64
    every, mean = model.energy_forces_stress(batch), model.energy_forces_stress(batch, mean_forces=True)
    assert len(every.forces) > 1
    assert torch.allclose(mean.energy, every.energy, rtol=1e-12)
    assert torch.allclose(mean.forces, every.forces.mean(0, True), rtol=1e-9, atol=1e-11)
    assert torch.allclose(mean.stress, every.stress.mean(0, True), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("family", ["a2a", "painn"])
def test_single_precision(family, salt):
    kind, settings = FAMILIES[family]
    model = kind((11, 17), settings).in_precision(torch.float32)
    model.energy_shift += 1e4
    validate_potential(model, salt, rtol=1e-4, difference_rtol=5e-3, step=5e-3)
    assert model.energy_shift.dtype == torch.float64


@pytest.mark.parametrize("family", ["a2a", "schnet", "painn", "molcnn"])
def test_each_member_is_a_model_of_its_own(family, salt):
    """A change of one member's weights leaves the others alone."""
    kind, settings = FAMILIES[family]
    model = kind((11, 17), settings, seed=3)
    batch = CrystalBatch.from_atoms(salt)
    before = model.energy_forces_stress(batch)
    assert float((before.energy[0] - before.energy[1]).abs().min()) > 1e-6
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.shape[0] == 2 and parameter.ndim > 1:
                parameter[1] *= 1.1
    after = model.energy_forces_stress(batch)
    assert torch.equal(before.energy[0], after.energy[0])
    assert torch.allclose(before.forces[0], after.forces[0], atol=1e-14)
    assert not torch.allclose(before.forces[1], after.forces[1], atol=1e-6)


@pytest.mark.parametrize("family", ["a2a", "a2a original", "molcnn", "schnet", "painn"])
def test_forces_can_be_trained(family, salt):
    """The derivative of a force error with respect to a weight, against a finite difference."""
    kind, settings = FAMILIES[family]
    model = kind((11, 17), settings, seed=3)
    batch = CrystalBatch.from_atoms(salt)
    parameter = next(p for p in model.parameters() if p.requires_grad and p.ndim > 1 and p.shape[-1] > 1)
    place = tuple(0 for _ in parameter.shape)

    def error():
        prediction = model.energy_forces_stress(batch, create_graph=True)
        return (prediction.forces**2).sum() + (prediction.stress**2).sum() + prediction.energy.sum()

    (slope,) = torch.autograd.grad(error(), parameter)
    step, values = 1e-5, []
    for sign in (1, -1):
        with torch.no_grad():
            parameter[place] += sign * step
        values.append(float(error()))
        with torch.no_grad():
            parameter[place] -= sign * step
    assert float(slope[place]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-4, abs=1e-6)


def ani_functions(n_species):
    """The lecture's bins: 32 radial to 4.6 Å, 8 x 8 angular to 3.1 Å."""
    half = math.pi / 16
    radial = [0.5 + 4.1 * k / 32 for k in range(32)]
    mean = [0.5 + 2.6 * k / 8 for k in range(8)]
    angles = [half + math.pi * k / 8 for k in range(8)]
    return SymmetryFunctions(n_species, Radial(radial, 16.0, 4.6), ModifiedAngular(mean, angles, 8.0, 32.0, 3.1)), radial, mean, angles


KINDS = {1: 0, 6: 1, 7: 2, 8: 3}


def functions_of(atoms):
    functions = ani_functions(4)[0]
    batch = CrystalBatch.from_atoms([atoms])
    edges = neighbour_edges(batch, 4.6)
    kind = torch.tensor([KINDS[z] for z in atoms.numbers.tolist()])
    values = functions(edges.vectors(batch), Graph(kind, edges.centre, edges.neighbour)).detach()
    values[:, :128] *= 0.25  # TorchANI's factor on the radial functions, not in the paper
    return values


@pytest.fixture
def acetamide():
    atoms = molecule("CH3CONH2")
    atoms.set_cell([30, 30, 30])
    atoms.center()
    return atoms


def test_four_species_make_768_functions():
    assert len(ani_functions(4)[0]) == 768


TORCHANI = [
    (
        0,
        [15, 16, 20, 21, 37, 38, 226, 481],
        [0.18597001, 0.20798625, 0.15332754, 0.15655815, 0.18487188, 0.20298249, 0.217545, 0.21223554],
        [2.893334632922529, 2.277996439878948],
    ),
    (
        1,
        [12, 13, 225, 356, 357, 541, 661, 669],
        [0.62717001, 0.65030295, 0.66428301, 0.5737488, 0.6374326, 0.61936231, 0.63172558, 0.59239606],
        [4.501585069354922, 22.086359300426945],
    ),
    (
        4,
        [17, 68, 273, 281, 282, 473, 474, 481],
        [0.17602826, 0.22141453, 0.42439114, 0.56472928, 0.21544024, 0.33977442, 0.19084113, 0.21213676],
        [3.1521034236096983, 5.217475688133188],
    ),
]


@pytest.mark.parametrize(("atom", "places", "expected", "sums"), TORCHANI)
def test_functions_are_those_of_torchani(acetamide, atom, places, expected, sums):
    """Values made with TorchANI 2.9.0 from the same parameters."""
    values = functions_of(acetamide)[atom]
    np.testing.assert_allclose(values[places], expected, atol=1e-5)
    np.testing.assert_allclose([values[:128].sum(), values[128:].sum()], sums, rtol=1e-5)


def test_functions_against_torchani_itself(acetamide):
    aev = pytest.importorskip("torchani.aev")
    from torchani.aev import ANIAngular, ANIRadial

    _, radial, mean, angles = ani_functions(4)
    computer = aev.AEVComputer(ANIRadial(16.0, radial, 4.6), ANIAngular(8.0, 32.0, mean, angles, 3.1), 4).double()
    crystal = bulk("C", cubic=True)
    crystal.numbers = [1, 6, 7, 8, 6, 1, 8, 7]
    crystal.set_cell([[6.5, 0, 0], [1, 7, 0], [0.5, -1, 8]], scale_atoms=True)
    crystal.rattle(0.2, seed=0)
    for atoms in (acetamide, crystal):
        kind = torch.tensor([[KINDS[z] for z in atoms.numbers.tolist()]])
        theirs = computer(kind, torch.tensor(atoms.positions)[None], torch.tensor(atoms.cell.array), torch.tensor([True] * 3))
        assert float((functions_of(atoms) - theirs[0]).abs().max()) < 1e-5


def test_triples_are_all_pairs_of_edges_at_one_atom():
    centre = torch.tensor([0, 0, 0, 2, 2, 3])
    one, two = triples(centre, 5)
    found = {frozenset(pair) for pair in zip(one.tolist(), two.tolist(), strict=True)}
    assert found == {frozenset(pair) for pair in [(0, 1), (0, 2), (1, 2), (3, 4)]}
    assert len(one) == 4


def test_molcnn_has_the_lecture_s_weights():
    model = MolCNN((1, 6, 7, 8))
    assert model.bond_weight.numel() == 64
    assert model.angle_weight.numel() == 256


def test_the_nearest_neighbours_jump_and_a_smooth_cutoff_does_not():
    """An atom that overtakes another as the sixth neighbour: energy before and after."""
    from ase import Atoms

    ring = [[2, 0, 0], [-2, 0, 0], [0, 2, 0], [0, -2, 0], [0, 0, 2]]

    def step(settings):
        model = MolCNN((11, 17), settings, seed=1)
        energies = []
        for shift in (-1e-6, 1e-6):
            places = [[0, 0, 0], *ring, [0, 0, -2.5], [1.5, 1.5, 1.3 + shift]]
            places[6][2] = -float(np.linalg.norm(places[7])) - shift
            atoms = Atoms("NaCl6Na", positions=places, cell=[15] * 3, pbc=True)
            energies.append(float(model.energy_forces_stress(CrystalBatch.from_atoms([atoms])).energy[0, 0]))
        return abs(energies[1] - energies[0])

    assert step(MolCNNSettings(neighbours="nearest", wall_strength=0.0)) > 1e-3
    assert step(MolCNNSettings(wall_strength=0.0)) < 1e-4


def test_sizes_of_a_species_that_is_not_there():
    with pytest.raises(BadInput, match="hidden_of"):
        A2A((11, 17), A2ASettings(hidden_of={"K": [4]}))
