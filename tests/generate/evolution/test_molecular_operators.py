"""Operators on crystals of molecules: molecules stay whole and rigid, contacts are respected, symmetric parents have symmetric children."""

import numpy as np
import pytest
import spglib
from ase import Atoms
from ase.build import molecule
from scipy.spatial.transform import Rotation

from nucleate.generate.evolution.molecular.bodies import Bodies, Contents, atoms_of, bodies_of, orthogonal_between
from nucleate.generate.evolution.molecular.conformer import Conformer, changed
from nucleate.generate.evolution.molecular.contacts import finished_molecules
from nucleate.generate.evolution.molecular.exchange import MoleculeExchange
from nucleate.generate.evolution.molecular.heredity import MoleculeHeredity
from nucleate.generate.evolution.molecular.rotation import rotated
from nucleate.generate.evolution.molecular.strain import MoleculeStrain
from nucleate.generate.evolution.molecular.symmetrise import MoleculeSymmetrise
from nucleate.generate.evolution.registry import make_molecular_operators
from nucleate.generate.molecular import MolecularGenerator
from nucleate.generate.settings import GenerateSettings
from nucleate.generate.tries import NotPlaced
from nucleate.molecules.molecule import Molecule
from nucleate.molecules.torsions import rotatable_bonds
from tests.generate.conftest import same

MOLECULES = {name: Molecule.from_atoms(molecule(name), name) for name in ("H2O", "CO2", "CH3CH2OH", "H2O2", "NH3")}
CRYSTALS = [(("H2O",), (4,)), (("CO2",), (1,)), (("CH3CH2OH",), (2,)), (("H2O", "NH3"), (2, 3))]


def contents_of(names, counts):
    return Contents(tuple(MOLECULES[name] for name in names), counts)


def pool(contents, n=6, seed=0, **settings):
    generator = MolecularGenerator(contents.molecules, contents.counts, GenerateSettings(workers=1, **settings))
    return [candidate.atoms for candidate in generator.propose(n, np.random.default_rng(seed))]


def closest_contact(contents, atoms):
    """Return the smallest ratio of the distance of two atoms of different molecules to its limit, by all images of the atoms."""
    bodies = bodies_of(contents, atoms)
    shifts = (np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)) @ bodies.cell
    smallest = np.inf
    places = bodies.centres @ bodies.cell
    for i, one in enumerate(bodies.shapes):
        for j, other in enumerate(bodies.shapes):
            limits = contents.limits[bodies.kinds[i]][bodies.kinds[j]]
            apart = (places[i] + one)[None, :, None] - (places[j] + other)[None, None] - shifts[:, None, None]
            ratios = np.linalg.norm(apart, axis=-1) / limits
            if i == j:
                ratios = ratios[np.linalg.norm(shifts, axis=1) > 1e-6]
            smallest = min(smallest, float(ratios.min()))
    return smallest


def inner_distances(bodies):
    """Return the sorted distances within each molecule, with its kind."""
    return [(int(kind), np.linalg.norm(shape[:, None] - shape, axis=2)) for kind, shape in zip(bodies.kinds, bodies.shapes, strict=True)]


@pytest.mark.parametrize(("names", "counts"), CRYSTALS)
def test_children_are_crystals_of_the_same_rigid_molecules(names, counts):
    contents = contents_of(names, counts)
    parents_of = pool(contents)
    operators = make_molecular_operators(contents, flexible=False)
    assert ("molecule-exchange" in operators) == (len(names) > 1)
    assert ("molecule-heredity" in operators) == (sum(counts) > 1)
    rng = np.random.default_rng(1)
    for name, operator in operators.items():
        made = 0
        for seed in range(8):
            parents = [parents_of[k] for k in rng.integers(6, size=operator.parents)]
            before = [atoms.copy() for atoms in parents]
            try:
                child = operator(parents, np.random.default_rng(seed))
            except NotPlaced:
                continue
            made += 1
            assert same(child, operator(parents, np.random.default_rng(seed)))
            assert all(same(atoms, start) for atoms, start in zip(parents, before, strict=True))
            assert child.pbc.all()
            blocks = contents.topology.blocks(child.numbers)
            assert [kind for kind, _ in blocks] == [k for k, count in enumerate(counts) for _ in range(count)]
            assert contents.topology.others(child) is None
            assert closest_contact(contents, child) >= 1.0 - 1e-9
            # All molecules of a kind have the geometry of the generator here.
            for kind, distances in inner_distances(bodies_of(contents, child)):
                shape = contents.molecules[kind].positions
                assert np.allclose(distances, np.linalg.norm(shape[:, None] - shape, axis=2), atol=1e-8)
        assert made >= 7 or name == "molecule-symmetrise"


def test_a_crystal_is_read_whatever_the_images_and_the_order_of_its_molecules():
    contents = contents_of(("H2O", "NH3"), (2, 3))
    (atoms,) = pool(contents, 1)
    bodies = bodies_of(contents, atoms)
    # Ammonia first, and every atom in the cell.
    order = np.concatenate([np.arange(6, 18), np.arange(6)])
    other = atoms[order]
    other.wrap()
    again = bodies_of(contents, other)
    assert again.kinds.tolist() == [0, 0, 1, 1, 1]
    for one, two in zip(bodies.shapes, again.shapes, strict=True):
        assert np.allclose(one, two, atol=1e-8)
    difference = bodies.centres - again.centres
    assert np.allclose(difference, np.round(difference), atol=1e-8)
    assert same(atoms_of(contents, bodies), atoms_of(contents, bodies))


def test_other_and_broken_molecules_are_refused():
    contents = contents_of(("H2O",), (4,))
    (atoms,) = pool(contents, 1)
    with pytest.raises(NotPlaced, match="does not consist of the molecules"):
        bodies_of(contents_of(("NH3",), (4,)), atoms)
    with pytest.raises(NotPlaced, match="does not have the molecules"):
        bodies_of(contents_of(("H2O",), (2,)), atoms)
    atoms.positions[1] += 0.5 * (atoms.positions[1] - atoms.positions[0])
    broken = atoms.copy()
    broken.positions[1] = atoms.positions[0] + [0.0, 0.0, 1.6]
    with pytest.raises(NotPlaced, match="broken"):
        bodies_of(contents, broken)


def test_overlapping_molecules_are_moved_apart_and_flat_cells_refused():
    contents = contents_of(("CO2",), (2,))
    shape = MOLECULES["CO2"].positions
    cell = 6.0 * np.eye(3)
    bodies = Bodies(np.array([[0.0, 0, 0], [0.05, 0.2, 0.1]]), (shape, shape[:, [2, 0, 1]]), np.zeros(2, dtype=int), cell)
    assert closest_contact(contents, atoms_of(contents, bodies)) < 0.7
    assert closest_contact(contents, finished_molecules(contents, bodies)) >= 1.0
    with pytest.raises(NotPlaced, match="could not be moved apart"):
        finished_molecules(contents, bodies, volume=40.0)
    with pytest.raises(NotPlaced, match="flat"):
        finished_molecules(contents, bodies._replace(cell=np.diag([6.0, 6.0, 0.1])))


def test_heredity_takes_molecules_of_both_parents():
    """Parents whose molecules have different bond lengths: the children have some of each."""
    contents = contents_of(("H2O",), (4,))
    one, other = pool(contents, 2)
    bodies = bodies_of(contents, other)
    other = atoms_of(contents, bodies._replace(shapes=tuple(1.02 * shape for shape in bodies.shapes), cell=1.02 * bodies.cell))
    operator = MoleculeHeredity(contents)
    longest = [np.linalg.norm(np.diff(MOLECULES["H2O"].positions[:2], axis=0)) * factor for factor in (1.0, 1.02)]
    for seed in range(8):
        child = bodies_of(contents, operator([one, other], np.random.default_rng(seed)))
        lengths = np.array([np.linalg.norm(shape[1] - shape[0]) for shape in child.shapes])
        first = np.isclose(lengths, longest[0], atol=1e-8)
        assert (first | np.isclose(lengths, longest[1], atol=1e-8)).all()
        assert 0 < first.sum() < 4


def test_heredity_of_aligned_parents_keeps_an_operation():
    contents = contents_of(("CH3CH2OH",), (4,))
    parents = pool(contents, 4, space_groups=[14])
    shares = []
    for alignment in (1.0, 0.0):
        operator = MoleculeHeredity(contents, alignment)
        numbers = []
        for seed in range(6):
            child = operator([parents[seed % 4], parents[(seed + 1) % 4]], np.random.default_rng(seed))
            numbers.append(spglib.get_symmetry_dataset((child.cell.array, child.get_scaled_positions(), child.numbers), 1e-4).number)
            for _, distances in inner_distances(bodies_of(contents, child)):
                shape = MOLECULES["CH3CH2OH"].positions
                assert np.allclose(distances, np.linalg.norm(shape[:, None] - shape, axis=2), atol=1e-8)
        shares.append(np.mean(np.array(numbers) > 1))
    assert shares[0] > shares[1]
    assert shares[0] >= 0.8


def test_children_do_not_depend_on_the_orientation_of_their_parents():
    contents = contents_of(("CH3CH2OH",), (2,))
    parents = pool(contents, 2, space_groups=[2])
    turn = Rotation.from_rotvec([0.3, -0.8, 0.5]).as_matrix()
    turned = [Atoms(atoms.numbers, atoms.positions @ turn, cell=atoms.cell.array @ turn, pbc=True) for atoms in parents]
    operator = MoleculeHeredity(contents, alignment=0.0)
    for seed in range(4):
        one, other = (operator(pair, np.random.default_rng(seed)) for pair in (parents, turned))
        assert np.allclose(one.cell.array, other.cell.array, atol=1e-6)
        assert np.allclose(one.positions, other.positions, atol=1e-5)


def test_a_common_rotation_keeps_the_space_group():
    """Molecules of a crystal with operations that rotate alike are still mapped onto each other."""
    contents = contents_of(("CH3CH2OH",), (4,))
    kept = 0
    for atoms in pool(contents, 4, space_groups=[14]):
        bodies = bodies_of(contents, atoms)
        for seed in range(20):
            moved = rotated(bodies, np.random.default_rng(seed))
            if all(not np.allclose(one, two) for one, two in zip(bodies.shapes, moved.shapes, strict=True)):
                child = atoms_of(contents, moved)
                found = spglib.get_symmetry_dataset((child.cell.array, child.get_scaled_positions(), child.numbers), 1e-4)
                kept += found is not None and found.number == 14
    assert kept >= 20


def test_strains_keep_the_space_group_or_the_molecules_move():
    contents = contents_of(("H2O",), (4,))
    operator, rng = MoleculeStrain(contents), np.random.default_rng(0)
    numbers = []
    for atoms in pool(contents, 3, space_groups=[14]):
        for _ in range(8):
            child = operator([atoms], rng)
            found = spglib.get_symmetry_dataset((child.cell.array, child.get_scaled_positions(), child.numbers), 1e-4)
            numbers.append(found.number)
            assert not np.allclose(child.cell.lengths(), atoms.cell.lengths(), atol=1e-3)
    assert set(numbers) == {1, 14}


def test_molecules_of_one_kind_are_not_exchanged():
    with pytest.raises(NotPlaced, match="one kind"):
        MoleculeExchange(contents_of(("H2O",), (4,)))(pool(contents_of(("H2O",), (4,)), 1), np.random.default_rng(0))


def test_exchange_swaps_the_places():
    contents = contents_of(("H2O", "NH3"), (1, 1))
    (atoms,) = pool(contents, 1)
    centres = bodies_of(contents, atoms).centres
    child = bodies_of(contents, MoleculeExchange(contents)([atoms], np.random.default_rng(0)))
    before, after = (x[1] - x[0] for x in (centres, child.centres))
    apart = (before + after) - np.round(before + after)
    assert np.linalg.norm(apart @ child.cell) < 0.5


def test_a_nearly_symmetric_crystal_is_made_symmetric():
    contents = contents_of(("CH3CH2OH",), (4,))
    (atoms,) = pool(contents, 1, space_groups=[14])
    bodies = bodies_of(contents, atoms)
    rng = np.random.default_rng(0)
    shifted = atoms_of(contents, bodies._replace(centres=bodies.centres + rng.normal(scale=0.01, size=(4, 3))))
    number = [
        spglib.get_symmetry_dataset((each.cell.array, each.get_scaled_positions(), each.numbers), 1e-2).number
        for each in (shifted, MoleculeSymmetrise(contents)([shifted], rng))
    ]
    assert number == [1, 14]


def test_conformers_keep_bonds_and_angles():
    contents = contents_of(("H2O2",), (2,))
    parents = pool(contents, 3)
    operator = Conformer(contents)
    assert "conformer" not in make_molecular_operators(contents, flexible=False)
    assert "conformer" in make_molecular_operators(contents, flexible=True)
    assert not Conformer.applicable(contents_of(("H2O",), (4,)))
    torsions = set()
    for seed in range(12):
        child = operator([parents[seed % 3]], np.random.default_rng(seed))
        assert contents.topology.others(child) is None
        assert closest_contact(contents, child) >= 1.0 - 1e-9
        for _, distances in inner_distances(bodies_of(contents, child)):
            own = MOLECULES["H2O2"].positions
            start = np.linalg.norm(own[:, None] - own, axis=2)
            # Only the distance of the two hydrogen atoms depends on the torsion.
            ends = np.argwhere(np.triu(np.abs(distances - start) > 1e-8))
            assert all(MOLECULES["H2O2"].numbers[pair].tolist() == [1, 1] for pair in ends)
            torsions.add(round(float(distances[MOLECULES["H2O2"].numbers == 1][:, MOLECULES["H2O2"].numbers == 1].max()), 3))
    assert len(torsions) > 4


def test_mirror_images_change_by_the_opposite_angle():
    contents = contents_of(("CH3CH2OH",), (2,))
    shape = MOLECULES["CH3CH2OH"].positions.copy()
    for bond in rotatable_bonds(MOLECULES["CH3CH2OH"]):
        assert len(bond[2]) < len(shape)
    # A chiral conformer and its mirror image.
    (atoms,) = pool(contents, 1, conformers="flexible", space_groups=[2])
    bodies = bodies_of(contents, atoms)
    together = 0
    for seed in range(20):
        try:
            moved = changed(contents, bodies, np.random.default_rng(seed))
        except NotPlaced:
            continue
        distances = [d for _, d in inner_distances(moved)]
        start = [d for _, d in inner_distances(bodies)]
        if all(not np.allclose(one, two) for one, two in zip(distances, start, strict=True)):
            together += 1
            mirrored = moved.shapes[0] @ orthogonal_between(moved.shapes[0], moved.shapes[1], -1.0)
            assert np.allclose(mirrored, moved.shapes[1], atol=1e-6)
    assert together >= 3


def test_children_without_atoms_of_the_search():
    contents = contents_of(("H2O",), (4,))
    with pytest.raises(NotPlaced):
        MoleculeHeredity(contents)([Atoms("H2", cell=[5, 5, 5], pbc=True)] * 2, np.random.default_rng(0))
