"""Pretrained potentials behind the contract, alone and under a learned correction."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from nucleate.crystals import CrystalBatch
from nucleate.errors import BadInput, MissingDependency
from nucleate.potentials.corrected import CorrectedPotential
from nucleate.potentials.files import load_potential, save_committee
from nucleate.potentials.networks.schnet import SchNet
from nucleate.potentials.networks.settings import SchNetSettings
from nucleate.potentials.prior import PriorPotential, pretrained_potential
from nucleate.potentials.validate import validate_potential
from nucleate.pretrained import PRETRAINED, check_name, same_model
from nucleate.reference.surrogates import SurrogateReference
from nucleate.training.data import read_data
from nucleate.training.run import evaluate, fit


@pytest.fixture(scope="module")
def salt(make_crystal):
    rng = np.random.default_rng(1)
    return [make_crystal(rng, s, volume=20, closest=2.2) for s in (["Na", "Cl"], ["Cl", "Na", "Na"])]


def needs(name):
    pytest.importorskip(PRETRAINED[name].package)


@pytest.mark.parametrize(
    ("name", "rtol"),
    [
        ("chgnet", 2e-4),
        pytest.param("chgnet:r2scan", 2e-4, marks=pytest.mark.slow),
        ("sevennet", 5e-3),
        pytest.param("7net-mf-0:R2SCAN", 2e-2, marks=pytest.mark.slow),
    ],
)
def test_priors_keep_the_contract(name, rtol, salt):
    """7net was trained without parity: its forces on a crystal and its mirror image differ by some meV/Å."""
    needs(name)
    # Single precision: its noise is divided by the step of the differences.
    validate_potential(PriorPotential(name), salt, rtol=rtol, difference_rtol=2e-2, step=2e-2)


def test_a_corrected_prior_is_the_sum(salt):
    needs("chgnet")
    correction = SchNet((11, 17), SchNetSettings(members=2, features=6, interactions=1, radial=8))
    potential = CorrectedPotential(PriorPotential("chgnet"), correction)
    batch = CrystalBatch.from_atoms(salt)
    said = potential.energy_forces_stress(batch)
    assert said.energy.shape == (2, 2)
    label = SurrogateReference("chgnet").label(salt[0])
    learned = correction.energy_forces_stress(batch)
    assert torch.allclose(said.energy[:, 0], learned.energy[:, 0] + label.energy, atol=1e-4)
    np.testing.assert_allclose((said.forces - learned.forces)[1, :2].detach(), label.forces, atol=1e-3)


def shifted(path, salt, amount=0.3):
    """Labels that are CHGNet's, but for `amount` (eV) on every sodium atom."""
    reference = SurrogateReference("chgnet")
    frames = []
    for k in range(12):
        atoms = salt[k % 2].copy()
        atoms.rattle(0.05, seed=k)
        label = reference.label(atoms)
        energy = label.energy + amount * np.count_nonzero(atoms.numbers == 11)
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=label.forces, stress=label.stress)
        frames.append(atoms)
    write(path, frames)
    return path


def test_a_correction_learns_the_difference_alone(salt, tmp_path):
    needs("chgnet")
    data = shifted(tmp_path / "data.extxyz", salt)
    options = {"model": "schnet", "options": {"features": 8, "interactions": 1, "radial": 8}, "steps": 20, "validation": 0.0}
    fit(data, tmp_path / "with", options, prior="chgnet")
    fit(data, tmp_path / "without", options)
    corrected, alone = evaluate(tmp_path / "with", data), evaluate(tmp_path / "without", data)
    assert corrected["prior"] == "chgnet"
    # A shift of each species is all there is to learn.
    assert corrected["energy_rmse"] < 0.02
    assert corrected["force_rmse"] < 0.1 * alone["force_rmse"]
    potential, _ = load_potential(tmp_path / "with" / "model.safetensors")
    assert isinstance(potential, CorrectedPotential)
    # The prior's answers are kept, one line each: a killed training asks only for the rest.
    assert len((tmp_path / "with" / "prior.jsonl").read_text().splitlines()) == len(read_data(data))


def test_a_prior_is_not_measured_against_itself(tmp_path):
    needs("chgnet")
    atoms = bulk("Si")
    atoms.calc = SinglePointCalculator(atoms, energy=-10.0, forces=np.zeros((2, 3)))
    atoms.info["reference"] = "chgnet"
    write(tmp_path / "data.extxyz", [atoms])
    with pytest.raises(BadInput, match="choose another prior"):
        fit(tmp_path / "data.extxyz", tmp_path / "fit", {"validation": 0.0}, prior="chgnet")


@pytest.fixture(scope="module")
def mace_file(tmp_path_factory):
    """A MACE of random weights for sodium and chlorine, saved as MACE saves them."""
    modules = pytest.importorskip("mace.modules")
    from e3nn import o3

    torch.manual_seed(0)
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    model = modules.ScaleShiftMACE(
        r_max=4.0, num_bessel=4, num_polynomial_cutoff=5, max_ell=1, interaction_cls=block, interaction_cls_first=block,
        num_interactions=2, num_elements=2, hidden_irreps=o3.Irreps("4x0e"), MLP_irreps=o3.Irreps("4x0e"),
        atomic_energies=np.array([-1.0, -2.0]), avg_num_neighbors=8.0, atomic_numbers=[11, 17], correlation=2,
        gate=torch.nn.functional.silu, atomic_inter_scale=1.0, atomic_inter_shift=0.0,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("mace") / "salt.model"
    torch.save(model.double(), path)
    return path


def test_a_mace_model_keeps_the_contract_and_is_learned_on(mace_file, salt, tmp_path):
    prior = PriorPotential(f"mace:{mace_file}")
    assert (prior.cutoff, prior.species) == (4.0, (11, 17))
    validate_potential(prior, salt, rtol=1e-8)
    frames = []
    for atoms in salt:
        said = prior.energy_forces_stress(CrystalBatch.from_atoms([atoms]))
        labelled = atoms.copy()
        labelled.calc = SinglePointCalculator(labelled, energy=float(said.energy[0, 0]) + len(atoms), forces=said.forces[0].numpy())
        frames.append(labelled)
    write(tmp_path / "data.extxyz", frames)
    options = {"model": "schnet", "options": {"features": 4, "interactions": 1, "radial": 6}, "steps": 5, "validation": 0.0}
    fit(tmp_path / "data.extxyz", tmp_path / "fit", options, prior=f"mace:{mace_file}")
    found = evaluate(tmp_path / "fit", tmp_path / "data.extxyz")
    assert found["prior"] == f"mace:{mace_file}"
    assert found["energy_rmse"] < 0.05
    # Another model at the same place is another prior.
    other = tmp_path / "moved.model"
    other.write_bytes(mace_file.read_bytes())
    fit(tmp_path / "data.extxyz", tmp_path / "second", options, prior=f"mace:{other}")
    other.write_bytes(mace_file.read_bytes() + b" ")
    with pytest.raises(BadInput, match="changed"):
        evaluate(tmp_path / "second", tmp_path / "data.extxyz")


def test_what_is_no_mace_model(tmp_path):
    with pytest.raises(BadInput, match="mace:FILE"):
        PriorPotential("mace")
    if find_spec("mace") is None:
        with pytest.raises(MissingDependency, match=r"pip install 'nucleate\[mace\]'"):
            PriorPotential(f"mace:{tmp_path / 'none'}")
        return
    with pytest.raises(BadInput, match="no such model file"):
        PriorPotential(f"mace:{tmp_path / 'none'}")
    (tmp_path / "noise").write_bytes(b"noise")
    with pytest.raises(BadInput, match="not a MACE model"):
        PriorPotential(f"mace:{tmp_path / 'noise'}")


@pytest.mark.parametrize(
    ("given", "recorded"),
    [
        ("CHGNet", "chgnet"),
        ("CHGNET:R2SCAN", "chgnet:r2scan"),
        ("7net-0", "sevennet"),
        ("7Net-L3i5", "7net-l3i5"),
        ("7net-mf-0:pbe", "7net-mf-0:PBE"),
        ("MACE:Model.model", "mace:Model.model"),
    ],
)
def test_names_are_read_without_case(given, recorded):
    assert check_name(given) == recorded


@pytest.mark.parametrize("name", ["chgnet:0.2", "7net-mf-0", "7net-mf-0:SCAN", "mace", "mace:", "ase:ase.calculators.lj:LennardJones", ""])
def test_other_names_are_refused_with_the_list(name):
    with pytest.raises(BadInput, match="7net-l3i5") as caught:
        check_name(name, "prior")
    assert "\n" not in str(caught.value)


def test_the_same_model_under_two_names():
    assert same_model("7net-0", "sevennet")
    assert same_model("ase:sevenn.calculator:SevenNetCalculator", "7net-l3i5")
    assert not same_model("chgnet", "chgnet:r2scan")
    assert not same_model("7net-mf-0:PBE", "7net-mf-0:R2SCAN")
    assert not same_model("ase:ase.calculators.emt:EMT", "chgnet")


def test_a_teacher_is_checked_before_it_is_used():
    with pytest.raises(BadInput, match="teacher"):
        pretrained_potential("gpaw", (14,))
    needs("sevennet")
    with pytest.raises(BadInput, match="both '7net-0'"):
        pretrained_potential("7net-0", (14,), "sevennet")
    with pytest.raises(BadInput, match="Yb"):
        pretrained_potential("7net-mf-0:r2scan", (8, 70))
    assert pretrained_potential("7net-mf-0:pbe", (8, 70), "7net-mf-0:R2SCAN").name == "7net-mf-0:PBE"


def test_a_calculator_is_a_teacher_and_not_a_prior(tmp_path):
    """A model file records its prior, and opening one must not import what it names."""
    teacher = pretrained_potential("ASE:ase.calculators.emt:EMT", (29,), "chgnet")
    crystals = [bulk("Cu", cubic=True), bulk("Cu", a=3.7)]
    for seed, atoms in enumerate(crystals):
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
    said = teacher.energy_forces_stress(CrystalBatch.from_atoms(crystals))
    np.testing.assert_allclose(said.energy[0], [atoms.get_potential_energy() for atoms in crystals])
    np.testing.assert_allclose(said.forces[0], np.concatenate([atoms.get_forces() for atoms in crystals]), atol=1e-9)
    np.testing.assert_allclose(said.stress[0], [atoms.get_stress(voigt=False) for atoms in crystals], atol=1e-9)
    # EMT has no parameters of silicon.
    with pytest.raises(BadInput, match="cannot evaluate crystals of Si"):
        pretrained_potential("ase:ase.calculators.emt:EMT", (14,))
    with pytest.raises(BadInput, match="no class"):
        pretrained_potential("ase:ase.calculators.emt:ETM", (29,))
    with pytest.raises(BadInput, match="unknown prior"):
        fit(tmp_path / "none.extxyz", tmp_path / "fit", prior="ase:ase.calculators.emt:EMT")
    model = SchNet((29,), SchNetSettings(members=1, features=4, interactions=1, radial=4))
    save_committee(tmp_path / "model.safetensors", model, prior="ase:ase.calculators.emt:EMT")
    with pytest.raises(BadInput, match="unknown prior"):
        load_potential(tmp_path / "model.safetensors")


def test_a_model_file_of_an_earlier_version_knows_7net_0_as_sevennet(tmp_path):
    needs("sevennet")
    model = SchNet((11, 17), SchNetSettings(members=1, features=4, interactions=1, radial=4))
    save_committee(tmp_path / "model.safetensors", model, prior="sevennet")
    potential, _ = load_potential(tmp_path / "model.safetensors")
    assert potential.prior_name == PriorPotential("7net-0").name
