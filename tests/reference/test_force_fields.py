"""mcGFN-FF and SO3LR as surrogates: stress, molecules wherever the cell cuts them, molecules by order and by distance."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from nucleate.generate.molecular import MolecularGenerator
from nucleate.generate.settings import GenerateSettings
from nucleate.molecules.molecule import Molecule
from nucleate.molecules.topology import Topology
from nucleate.reference.surrogates import pretrained_reference

pytest.importorskip("gfnff")
ACID = Molecule.from_atoms(molecule("HCOOH"), "formic acid")
TOPOLOGY = Topology((ACID,))


def crystal(seed=1):
    return MolecularGenerator([ACID], [2], GenerateSettings(workers=1)).propose(1, np.random.default_rng(seed))[0].atoms


def test_energies_do_not_depend_on_the_images_of_the_molecules():
    reference = pretrained_reference("gfnff", TOPOLOGY)
    atoms = crystal()
    label = reference.label(atoms)
    moved = atoms.copy()
    moved.positions += np.random.default_rng(0).integers(-1, 2, size=(len(moved), 3)) @ moved.cell.array
    other = reference.label(moved)
    assert other.energy == pytest.approx(label.energy, abs=1e-6)
    assert other.forces == pytest.approx(label.forces, abs=1e-5)
    by_distance = pretrained_reference("gfnff").label(atoms)
    assert by_distance.energy == pytest.approx(label.energy, abs=1e-6)


@pytest.mark.parametrize("name", ["gfnff", "so3lr"])
def test_stress_is_the_derivative_of_the_energy(name):
    if name == "so3lr":
        pytest.importorskip("so3krates_torch")
    reference = pretrained_reference(name, TOPOLOGY)
    atoms = crystal()
    step = 1e-4

    def energy(strain):
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        return reference.label(strained).energy

    stress = reference.label(atoms).stress
    for voigt, (i, j) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        strain = np.zeros((3, 3))
        strain[i, j] += step / 2
        strain[j, i] += step / 2
        slope = (energy(strain) - energy(-strain)) / (2 * step * atoms.get_volume())
        # The parameters change a little with the geometry at which they are set up, so differences agree to a per cent or so.
        assert stress[voigt] == pytest.approx(slope, abs=0.03 * np.abs(stress).max())


def test_so3lr_leaves_the_default_type_of_torch():
    pytest.importorskip("so3krates_torch")
    pretrained_reference("so3lr").label(crystal())
    assert torch.get_default_dtype() == torch.float32


def test_left_handed_cells_have_the_same_stress():
    reference = pretrained_reference("gfnff", TOPOLOGY)
    atoms = crystal()
    swapped = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell.array[[1, 0, 2]], pbc=True)
    assert np.linalg.det(swapped.cell.array) < 0
    one, other = reference.label(atoms), reference.label(swapped)
    assert other.stress == pytest.approx(one.stress, abs=0.02 * np.abs(one.stress).max())


def test_the_molecules_are_part_of_the_settings():
    other = Topology((Molecule.from_atoms(molecule("H2O"), "water"),))
    assert pretrained_reference("gfnff", TOPOLOGY).settings() != pretrained_reference("gfnff", other).settings()
    assert "molecules" not in pretrained_reference("gfnff").settings()


@pytest.mark.parametrize("name", ["chgnet", "7net-0", "gfnff", "so3lr"])
@pytest.mark.parametrize("pbc", [(True, True, False), (False, False, False)])
def test_stress_refers_to_the_whole_cell(name, pbc):
    """Packages that know of open directions would divide by another volume than the rest of the program."""
    if name == "so3lr":
        pytest.importorskip("so3krates_torch")
    water = molecule("H2O")
    water.set_cell([9.0, 9.5, 10.0])
    water.center()
    water.positions[0] += [0.1, 0.05, 0.0]
    whole = water.copy()
    whole.pbc, water.pbc = True, pbc
    reference = pretrained_reference(name)
    one, other = reference.label(water), reference.label(whole)
    assert one.energy == pytest.approx(other.energy, abs=1e-6)
    assert one.stress == pytest.approx(other.stress, abs=1e-8)
    assert np.abs(other.stress).max() > 1e-5
