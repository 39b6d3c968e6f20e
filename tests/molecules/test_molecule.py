"""Molecules: bonds, point groups, orientations on sites, files and SMILES."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write

from nucleate.errors import BadInput
from nucleate.molecules.molecule import Molecule
from nucleate.molecules.reading import read_molecule
from nucleate.molecules.symmetry import SiteOrientations, mapping, point_group, random_rotation
from nucleate.molecules.torsions import rotatable_bonds, turn_bonds

ORDERS = {"C6H6": 24, "CH4": 24, "H2O": 4, "NH3": 6, "C2H4": 8, "CH3CH2OH": 2, "C60": 120}
"""Orders of the point groups D6h, Td, C2v, C3v, D2h, Cs, Ih."""


@pytest.mark.parametrize(("name", "order"), ORDERS.items())
def test_orders_of_point_groups(name, order):
    group = point_group(Molecule.from_atoms(molecule(name), name))
    assert len(group) == order
    assert np.allclose(group @ group.transpose(0, 2, 1), np.eye(3), atol=1e-8)
    # A group contains the products of its elements.
    products = group[:, None] @ group[None]
    nearest = np.abs(products[:, :, None] - group).max((3, 4)).min(2)
    assert nearest.max() < 0.05


@pytest.mark.parametrize(("name", "bonds"), [("C6H6", 12), ("CH3CH2OH", 8), ("CO2", 2), ("C60", 90)])
def test_bonds(name, bonds):
    assert len(Molecule.from_atoms(molecule(name), name).bonds) == bonds


INVERSION, TURN, MIRROR = -np.eye(3), np.diag([1.0, -1.0, -1.0]), np.diag([1.0, 1.0, -1.0])
CUBE = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize(
    ("name", "operations", "fits"),
    [
        ("H2O", [TURN], True), ("H2O", [MIRROR], True), ("H2O", [INVERSION], False),
        ("C6H6", [INVERSION], True), ("C6H6", [TURN, MIRROR, TURN @ MIRROR], True), ("CH4", [CUBE, CUBE @ CUBE], True),
        ("CH4", [INVERSION], False), ("CO2", [INVERSION], True), ("CO2", [CUBE, CUBE @ CUBE, -np.eye(3), -CUBE, -CUBE @ CUBE], True),
        ("CH3CH2OH", [TURN], False), ("CH3CH2OH", [MIRROR], True), ("HCN", [INVERSION], False), ("HCN", [TURN], True),
    ],
)  # fmt: skip
def test_orientations_have_the_symmetry_of_the_site(name, operations, fits):
    own = Molecule.from_atoms(molecule(name), name)
    site = np.array([np.eye(3), *operations])
    orientations = SiteOrientations(own, point_group(own), site)
    assert orientations.possible == fits
    rng = np.random.default_rng(0)
    for _ in range(5 if fits else 0):
        rotation = orientations.draw(rng)
        assert np.linalg.det(rotation) == pytest.approx(1.0)
        positions = orientations.symmetrised(rotation)
        for op in site:
            found = mapping(own.numbers, positions, positions @ op.T)
            assert np.abs(positions[found] - positions @ op.T).max() < 1e-8


def test_a_linear_molecule_does_not_fit_the_centre_of_a_cube():
    axes = [CUBE, CUBE @ CUBE, TURN, CUBE @ TURN @ CUBE.T]
    own = Molecule.from_atoms(molecule("CO2"), "CO2")
    assert not SiteOrientations(own, point_group(own), np.array([np.eye(3), *axes])).possible


def test_random_rotations_are_uniform():
    rng = np.random.default_rng(1)
    rotations = np.array([random_rotation(rng) for _ in range(4000)])
    assert np.allclose(rotations @ rotations.transpose(0, 2, 1), np.eye(3), atol=1e-12)
    # The mean of the trace of a uniform rotation is zero with variance one; five standard errors.
    assert abs(np.trace(rotations, axis1=1, axis2=2).mean()) < 5 / np.sqrt(4000)
    assert np.abs(rotations.mean(0)).max() < 5 / np.sqrt(3 * 4000)


def test_conformers_keep_bonds_and_angles():
    pytest.importorskip("rdkit")
    own = read_molecule("CCCO")
    assert len(rotatable_bonds(own)) == 2 + 1  # C-C, C-C and C-O; methyl groups turn as well.
    rng = np.random.default_rng(0)
    i, j = own.bonds.T
    lengths = np.linalg.norm(own.positions[i] - own.positions[j], axis=1)
    shapes = [turn_bonds(own, rng) for _ in range(10)]
    for shape in shapes:
        assert np.linalg.norm(shape[i] - shape[j], axis=1) == pytest.approx(lengths, abs=1e-9)
    assert np.ptp([np.linalg.norm(shape[0] - shape[3]) for shape in shapes]) > 0.3


def test_amides_and_rings_do_not_turn():
    pytest.importorskip("rdkit")
    assert rotatable_bonds(read_molecule("NC(=O)N")) == []
    assert rotatable_bonds(read_molecule("c1ccccc1")) == []


@pytest.mark.parametrize("text", ["NC(=O)N", "[NH3+]CC(=O)[O-]", "O=C=O"])
def test_smiles(text):
    pytest.importorskip("rdkit")
    own, again = read_molecule(text), read_molecule(text)
    assert np.array_equal(own.positions, again.positions)
    assert own.positions.mean(0) == pytest.approx(0, abs=1e-9)


def test_files_are_read_like_smiles(tmp_path):
    write(tmp_path / "water.xyz", molecule("H2O"))
    own = read_molecule(tmp_path / "water.xyz")
    assert own.formula == "H2O"
    assert len(own.bonds) == 2


def two_waters():
    atoms = molecule("H2O")
    other = atoms.copy()
    other.translate([4, 0, 0])
    return atoms + other


@pytest.mark.parametrize(
    ("atoms", "words"),
    [
        (two_waters(), "2 separate molecules (H2O, H2O)"),
        (bulk("Si"), "periodic cell"),
        (Atoms("H2", positions=np.zeros((2, 3))), "0.00 Å apart"),
    ],
)
def test_files_that_are_no_molecule(tmp_path, atoms, words):
    write(tmp_path / "odd.xyz", atoms, format="extxyz")
    with pytest.raises(BadInput, match=r"odd\.xyz") as error:
        read_molecule(tmp_path / "odd.xyz")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nowhere.xyz", "no such file"),
        ("C(", "neither a file nor a SMILES"),
        ("O.O", "several molecules"),
        ("[NH4+]", "is an ion"),
        ("*C", "placeholder"),
        ("[Ar]", "single atom"),
        ("ClP(Cl)(Cl)(Cl)Cl", "not those by distance"),
        ("C" * 300 + "(", "neither a file nor a SMILES"),
    ],
)
def test_texts_that_are_no_molecule(text, words):
    pytest.importorskip("rdkit")
    with pytest.raises(BadInput, match=words):
        read_molecule(text)
