"""Force field of bonds, angles and torsions: derivatives, invariances, fits, files."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress

from nucleate.crystals.batch import CrystalBatch
from nucleate.errors import BadInput
from nucleate.molecules.molecule import Molecule
from nucleate.potentials.bonded import BondedPotential, MoleculeField, Terms, fit_field, shared
from nucleate.potentials.calculator import NucleateCalculator
from nucleate.potentials.corrected import CorrectedPotential
from nucleate.potentials.families import family_settings
from nucleate.potentials.files import load_potential, save_committee
from nucleate.potentials.registry import make_model
from nucleate.reference.base import Label

NAMES = ("H2O", "CO2", "C6H6", "CH3CH2OH", "NH3")


def field_of(name, seed=0, energy=-3.0):
    own = Molecule.from_atoms(molecule(name), name)
    terms = Terms.of(own)
    spread = shared(own, terms)
    return MoleculeField(own, energy, spread @ np.random.default_rng(seed).normal(size=spread.shape[1]))


def distorted(own, rng, cell=12.0, by=0.08):
    return Atoms(own.numbers, positions=own.positions + rng.normal(scale=by, size=own.positions.shape), cell=[cell] * 3, pbc=True)


def crystal(names, seed=0):
    """Distorted molecules in a skewed cell, cut by its faces."""
    rng = np.random.default_rng(seed)
    parts = [distorted(field_of(name).molecule, rng) for name in names]
    atoms = Atoms(cell=[[7, 0, 0], [1.5, 8, 0], [-1, 2, 9]], pbc=True)
    for k, part in enumerate(parts):
        part.positions += [2.0 * k, 3.0 * k, 7.5 * k]
        atoms += part
    atoms.wrap()
    return atoms


def energies(potential, *structures):
    return potential.energy_forces_stress(CrystalBatch.from_atoms(structures)).energy[0].numpy()


@pytest.mark.parametrize("name", NAMES)
def test_forces_and_stress_are_derivatives(name):
    potential = BondedPotential([field_of(name)])
    atoms = crystal([name, name])
    prediction = potential.energy_forces_stress(CrystalBatch.from_atoms([atoms]))
    atoms.calc = NucleateCalculator(potential)
    # Central differences with a step of 1e-4 Å have errors of some 1e-7 for energies that vary over 0.1 Å.
    assert prediction.forces[0].numpy() == pytest.approx(calculate_numerical_forces(atoms, eps=1e-4), abs=1e-5)
    voigt = prediction.stress[0, 0].numpy()[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    assert voigt == pytest.approx(calculate_numerical_stress(atoms, eps=1e-5), abs=1e-6)


def test_energies_do_not_depend_on_rotation_mirror_image_and_cell():
    potential = BondedPotential([field_of("CH3CH2OH")])
    atoms = crystal(["CH3CH2OH"])
    (energy,) = energies(potential, atoms)
    turned = Atoms(atoms.numbers, cell=atoms.cell.array @ np.diag([1, 1, -1]), positions=atoms.positions @ np.diag([1, 1, -1]), pbc=True)
    assert energies(potential, turned)[0] == pytest.approx(energy, abs=1e-9)
    rotated = atoms.copy()
    rotated.rotate(37, (1, 2, 3), rotate_cell=True)
    assert energies(potential, rotated)[0] == pytest.approx(energy, abs=1e-9)
    moved = atoms.copy()
    moved.positions += np.random.default_rng(0).integers(-2, 3, size=(len(moved), 3)) @ moved.cell.array
    assert energies(potential, moved)[0] == pytest.approx(energy, abs=1e-9)


def test_molecules_do_not_interact():
    potential = BondedPotential([field_of("H2O"), field_of("NH3", 1, -5.0)])
    both, water, ammonia = crystal(["H2O", "NH3"]), crystal(["H2O"]), crystal(["H2O", "NH3"])[3:]
    together = energies(potential, both, water, ammonia)
    assert together[0] == pytest.approx(together[1] + together[2], abs=1e-9)


def test_the_relaxed_molecule_has_its_energy():
    own = field_of("H2O", energy=-7.25)
    atoms = Atoms(own.molecule.numbers, positions=own.molecule.positions, cell=[9] * 3, pbc=True)
    only_bonds = MoleculeField(own.molecule, -7.25, np.concatenate([own.coefficients[:10], np.zeros(len(own.coefficients) - 10)]))
    assert energies(BondedPotential([only_bonds]), atoms)[0] == pytest.approx(-7.25, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_recovers_the_field_of_its_labels(name):
    truth = BondedPotential([field_of(name)])
    rng = np.random.default_rng(2)
    structures = [distorted(truth.fields[0].molecule, rng) for _ in range(24)]
    prediction = truth.energy_forces_stress(CrystalBatch.from_atoms(structures))
    forces = np.split(prediction.forces[0].numpy(), len(structures))
    labels = [Label(float(e), f, np.zeros(6)) for e, f in zip(prediction.energy[0], forces, strict=True)]
    field, error = fit_field(truth.fields[0].molecule, structures, labels, truth.fields[0].energy)
    scale = np.sqrt(np.mean(np.concatenate(forces) ** 2))
    # Regularisation leaves a little of the terms that the labels hardly determine.
    assert error < 0.02 * scale
    others = [distorted(truth.fields[0].molecule, rng) for _ in range(10)]
    batch = CrystalBatch.from_atoms(others)
    difference = BondedPotential([field]).energy_forces_stress(batch).forces - truth.energy_forces_stress(batch).forces
    assert float(difference.pow(2).mean().sqrt()) < 0.1 * scale


def test_equivalent_atoms_share_coefficients():
    benzene = Molecule.from_atoms(molecule("C6H6"), "C6H6")
    terms = Terms.of(benzene)
    # Two kinds of bonds with three terms; two kinds of angles with two terms and their arms; pairs of bonds; torsions; vertices.
    types = shared(benzene, terms).shape[1]
    assert types == 2 * 3 + 2 * 2 + 3 + 2 + 3 * 3 + 1
    assert types < terms.size / 5


def test_other_molecules_are_refused():
    with pytest.raises(BadInput, match="structure 0 does not consist of H2O"):
        energies(BondedPotential([field_of("H2O")]), crystal(["NH3"]))


def test_model_files_contain_the_field(tmp_path):
    field = field_of("H2O")
    model = make_model("manybody", (1, 8), family_settings("manybody", {}), 0, torch.float32)
    whole = CorrectedPotential(None, model, BondedPotential([field]))
    save_committee(tmp_path / "m.safetensors", model, molecules=whole.molecules)
    loaded, _ = load_potential(tmp_path / "m.safetensors")
    atoms = crystal(["H2O", "H2O"])
    assert energies(loaded, atoms) == pytest.approx(energies(whole, atoms), abs=1e-9)
    difference = energies(whole, atoms) - energies(model, atoms)
    assert difference == pytest.approx(energies(BondedPotential([field]), atoms), abs=1e-4)
