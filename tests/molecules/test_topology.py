"""Molecules in crystals: found by order and by distance, reacted ones told apart, whole molecules."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from nucleate.errors import BadInput
from nucleate.generate.molecular import MolecularGenerator
from nucleate.generate.settings import GenerateSettings
from nucleate.molecules.molecule import Molecule
from nucleate.molecules.topology import Topology, crystal_bonds, gathered, unwrapped

WATER, AMMONIA = (Molecule.from_atoms(molecule(name), name) for name in ("H2O", "NH3"))


def crystal(molecules, counts, seed=0):
    # To fit the molecules to the sites of all 230 groups would take longer than the tests.
    settings = GenerateSettings(workers=1, space_groups=(1, 2, 4, 14, 19))
    return MolecularGenerator(molecules, counts, settings).propose(1, np.random.default_rng(seed))[0].atoms


def test_blocks_follow_from_the_order():
    topology = Topology((WATER, AMMONIA))
    numbers = np.concatenate([AMMONIA.numbers, WATER.numbers, AMMONIA.numbers])
    assert topology.blocks(numbers) == ((1, 0), (0, 4), (1, 7))
    assert topology.blocks(numbers[::-1]) is None
    assert topology.fragments(numbers).tolist() == [0] * 4 + [1] * 3 + [2] * 4


def test_blocks_where_one_molecule_begins_like_another():
    oxygen, peroxide = (Molecule.from_atoms(Atoms(s, positions=p), s) for s, p in (
        ("O2", [[0, 0, 0], [1.21, 0, 0]]), ("O2H2", [[0, 0, 0], [1.45, 0, 0], [-0.3, 0.9, 0], [1.75, -0.9, 0]])))  # fmt: skip
    topology = Topology((oxygen, peroxide))
    assert topology.blocks(np.array([8, 8, 8, 8, 1, 1])) == ((0, 0), (1, 2))


@pytest.mark.parametrize("seed", range(4))
def test_molecules_are_recognised_wherever_the_cell_cuts_them(seed):
    topology = Topology((WATER, AMMONIA))
    atoms = crystal([WATER, AMMONIA], [2, 2], seed)
    assert topology.others(atoms) is None
    rng = np.random.default_rng(seed)
    moved = atoms.copy()
    moved.positions += rng.integers(-2, 3, size=(len(atoms), 3)) @ atoms.cell.array + rng.normal(size=3)
    assert topology.others(moved) is None
    # In any order of the atoms, too.
    mixed = moved[rng.permutation(len(moved))]
    assert topology.others(mixed) is None
    assert topology.blocks(topology.ordered(mixed, "here").numbers) is not None


def test_a_proton_that_moves_makes_another_compound():
    atoms = crystal([WATER], [2])
    topology = Topology((WATER,))
    first, second = (np.flatnonzero(topology.fragments(atoms.numbers) == k) for k in (0, 1))
    oxygen = second[atoms.numbers[second] == 8][0]
    proton = first[atoms.numbers[first] == 1][0]
    whole = topology.whole(atoms)
    outside = whole.positions[oxygen] - whole.positions[second].mean(0)
    atoms.positions[proton] = whole.positions[oxygen] + outside / np.linalg.norm(outside)
    assert topology.others(atoms) == "H3O, HO"


def test_networks_are_not_molecules():
    silicon = bulk("Si", cubic=True)
    pair = Molecule.from_atoms(Atoms("Si2", positions=[[0, 0, 0], [2.35, 0, 0]]), "Si2")
    assert Topology((pair,)).others(silicon) == "Si8 chains or networks"
    assert crystal_bonds(silicon).infinite == frozenset(range(8))


def test_other_crystals_of_the_user_are_refused():
    with pytest.raises(BadInput, match=r"ice.cif: contains H3N, which is not a molecule of the search \(H2O\)"):
        Topology((WATER,)).ordered(crystal([AMMONIA], [2]), "ice.cif")


def test_crystals_of_the_user_have_their_molecules_in_the_order_of_the_kinds():
    topology = Topology((WATER, AMMONIA))
    atoms = crystal([WATER, AMMONIA], [2, 2], 3)
    blocks = topology.blocks(atoms.numbers)
    pieces = [np.arange(first, first + len(topology.molecules[kind])) for kind, first in blocks]
    interleaved = atoms[np.concatenate([pieces[k] for k in (2, 0, 3, 1)])]
    assert [kind for kind, _ in topology.blocks(topology.ordered(interleaved, "here").numbers)] == [0, 0, 1, 1]


def test_whole_molecules_are_the_same_crystal():
    topology = Topology((WATER, AMMONIA))
    atoms = crystal([WATER, AMMONIA], [2, 2], 3)
    fragments, bonds = topology.fragments(atoms.numbers), topology.bonds(atoms.numbers)
    positions = gathered(unwrapped(atoms, fragments, bonds), fragments, atoms.cell.array)
    steps = (positions - atoms.positions) @ np.linalg.inv(atoms.cell.array)
    assert steps == pytest.approx(np.round(steps), abs=1e-9)
    assert np.linalg.norm(positions[bonds[:, 0]] - positions[bonds[:, 1]], axis=1).max() < 1.3
    centroids = np.array([positions[fragments == k].mean(0) for k in range(4)]) @ np.linalg.inv(atoms.cell.array)
    assert np.abs(centroids - centroids[0]).max() <= 0.501
