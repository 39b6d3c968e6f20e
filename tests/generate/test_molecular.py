"""Crystals of molecules: exact counts, intact molecules, no contacts, the requested symmetry, and groups as often as in nature."""

import numpy as np
import pytest
import spglib
from ase import Atoms
from ase.build import molecule
from ase.neighborlist import neighbor_list

from nucleate.errors import BadInput
from nucleate.generate.molecular import MolecularGenerator, holding_groups
from nucleate.generate.molecular_packing import BRIDGE, contact_distances, molecular_volume
from nucleate.generate.settings import GenerateSettings
from nucleate.generate.space_group_shares import shares_in_nature
from nucleate.generate.wyckoff import space_group_sites
from nucleate.molecules.molecule import Molecule
from nucleate.molecules.reading import read_molecule
from nucleate.molecules.symmetry import SiteOrientations, point_group
from nucleate.molecules.topology import Topology

ONE = GenerateSettings(workers=1)
MOLECULES = {name: Molecule.from_atoms(molecule(name), name) for name in ("H2O", "CO2", "C6H6", "CH3CH2OH", "CH4", "NH3")}


def made(names, counts, n=12, seed=0, **settings):
    molecules = [MOLECULES[name] for name in names]
    generator = MolecularGenerator(molecules, counts, ONE.model_copy(update=settings))
    return generator.propose(n, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("names", "counts"),
    [(["H2O"], [4]), (["CO2"], [4]), (["C6H6"], [2]), (["CH3CH2OH"], [4]), (["CH4"], [1]), (["CH4"], [3]), (["H2O", "NH3"], [2, 4])],
)
def test_properties_of_every_candidate(names, counts):
    topology = Topology(tuple(MOLECULES[name] for name in names))
    limits = contact_distances(topology.molecules)
    # Rare groups are drawn as often as others.
    for candidate in made(names, counts, space_group_weights="uniform"):
        atoms = candidate.atoms
        blocks = topology.blocks(atoms.numbers)
        assert [kind for kind, _ in blocks] == [k for k, count in enumerate(counts) for _ in range(count)]
        assert topology.others(atoms) is None
        # Distances between molecules, and those of a molecule to its own images.
        fragments = topology.fragments(atoms.numbers)
        place = np.concatenate([np.arange(len(topology.molecules[kind])) for kind, _ in blocks])
        kinds = np.concatenate([np.full(len(topology.molecules[kind]), kind) for kind, _ in blocks])
        i, j, d = neighbor_list("ijd", atoms, 4.0)
        inside = np.array([np.linalg.norm(x.positions[:, None] - x.positions[None], axis=2).max() for x in topology.molecules])
        for a, b, distance in zip(i, j, d, strict=True):
            if fragments[a] != fragments[b]:
                assert distance > limits[kinds[a]][kinds[b]][place[a], place[b]] - 1e-6
            elif distance > inside[kinds[a]] + 1e-6:
                assert distance > limits[kinds[a]][kinds[a]][place[a], place[b]] - 1e-6
        # All operations of the requested group are there.
        group = space_group_sites(sum(counts))[candidate.details["space_group"] - 1]
        found = spglib.get_symmetry_dataset((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), 1e-3)
        assert len(found.rotations) >= len(group.rotations)
        assert atoms.get_volume() == pytest.approx(candidate.details["volume"])


def test_the_same_seed_gives_the_same_crystals():
    for one, other in zip(made(["H2O"], [4], seed=3), made(["H2O"], [4], seed=3), strict=True):
        assert np.array_equal(one.atoms.positions, other.atoms.positions)


def test_a_candidate_does_not_depend_on_those_before_it():
    """A search that is resumed begins with an empty generator in the middle of its candidates."""
    whole = MolecularGenerator([MOLECULES["CO2"]], [4], ONE.model_copy(update={"space_group_weights": "uniform"}))
    whole.propose(10, np.random.default_rng(1))
    fresh = MolecularGenerator([MOLECULES["CO2"]], [4], ONE.model_copy(update={"space_group_weights": "uniform"}))
    for one, other in zip(whole.propose(8, np.random.default_rng(2)), fresh.propose(8, np.random.default_rng(2)), strict=True):
        assert np.array_equal(one.atoms.positions, other.atoms.positions)


def test_conventional_cells_are_not_counted():
    # Cc has two lattice points in its conventional cell of four molecules.
    candidate = made(["CH3CH2OH"], [2], n=1, space_groups=(9,))[0]
    assert len(candidate.atoms) == 2 * 9


def test_special_positions_need_the_symmetry():
    numbers = {group.number for group in holding_groups([MOLECULES["CH3CH2OH"]], [1])}
    # Ethanol has a mirror plane, which P m and P m m 2 can use; it has no inversion centre and no twofold axis.
    assert 6 in numbers
    assert not {2, 3, 16} & numbers
    assert 1 in numbers
    assert {group.number for group in holding_groups([MOLECULES["C6H6"]], [1], (2, 47, 225))} == {2, 47}


def test_dry_ice_is_on_inversion_centres_with_threefold_axes():
    candidate = made(["CO2"], [4], n=1, space_groups=(205,))[0]
    assert [site["symmetry"] for site in candidate.details["sites"]] == [".-3."]


def test_no_group_can_hold_the_molecules():
    with pytest.raises(BadInput, match=r"P-1 \(2\).*1 molecules of C2H6O"):
        holding_groups([MOLECULES["CH3CH2OH"]], [1], (2,))


def test_shares_in_nature():
    shares = shares_in_nature()
    assert shares.sum() == pytest.approx(1.0)
    assert shares[1:].min() > 0
    assert int(np.argmax(shares)) == 14
    drawn = [candidate.details["space_group"] for candidate in made(["CH3CH2OH"], [4], n=40)]
    other = [candidate.details["space_group"] for candidate in made(["CH3CH2OH"], [4], n=40, space_group_weights="uniform")]
    # P2_1/c has half of nature's share, and more among the groups that hold four molecules; five standard deviations of a fair coin are 16.
    assert drawn.count(14) > 20 - 16
    assert other.count(14) < 8
    assert drawn.count(14) > 2 * other.count(14)


def test_flexible_molecules_keep_their_distance():
    """Conformers may be longer than the molecule as it was given."""
    pytest.importorskip("rdkit")
    folded = read_molecule("OC(=O)CCCC(=O)O")
    topology = Topology((folded,))
    generator = MolecularGenerator([folded], [2], ONE.model_copy(update={"conformers": "flexible", "space_groups": (1, 2, 4)}))
    limits = contact_distances([folded])[0][0]
    shapes = []
    for candidate in generator.propose(15, np.random.default_rng(1)):
        atoms = candidate.atoms
        assert topology.others(atoms) is None
        whole = topology.whole(atoms)
        shapes.append(np.linalg.norm(whole.positions[0] - whole.positions[8]))
        fragments = topology.fragments(atoms.numbers)
        i, j, d = neighbor_list("ijd", atoms, 4.0)
        apart = fragments[i] != fragments[j]
        assert (d[apart] > limits[i[apart] % len(folded), j[apart] % len(folded)] - 1e-6).all()
    assert np.ptp(shapes) > 0.3


def test_polar_linear_molecules_point_both_ways():
    cyanide = Molecule.from_atoms(molecule("HCN"), "HCN")
    turn = np.diag([-1.0, -1.0, 1.0])
    orientations = SiteOrientations(cyanide, point_group(cyanide), np.array([np.eye(3), turn]))
    rng = np.random.default_rng(0)
    heights = {round(float((orientations.draw(rng) @ (cyanide.positions[0] - cyanide.positions[1]))[2]), 3) for _ in range(30)}
    assert len(heights) == 2
    assert sum(heights) == pytest.approx(0)


def test_volume_increments():
    # Ice Ih has 32.5 Å^3 a molecule, more than the average of water in crystals of molecules.
    assert molecular_volume(MOLECULES["H2O"]) == pytest.approx(2 * 5.08 + 11.39)
    with pytest.raises(BadInput, match="volume of Xe"):
        molecular_volume(Molecule.from_atoms(Atoms("Xe2", positions=[[0, 0, 0], [0, 0, 2.5]]), "xenon"))


def test_hydrogen_bonds_may_be_short():
    limits = contact_distances([MOLECULES["H2O"]])[0][0]
    oxygen, proton = (int(np.flatnonzero(MOLECULES["H2O"].numbers == z)[0]) for z in (8, 1))
    assert limits[oxygen, proton] == pytest.approx(BRIDGE * (1.52 + 1.2), abs=0.1)
    assert limits[proton, proton] > 0.75 * 2.4
