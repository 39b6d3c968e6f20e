import itertools

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from nucleate.errors import BadInput
from nucleate.lattice.enumeration import Arrangement, canonical_key, distinct_arrangements, distinct_supercells, enumerate_arrangements
from nucleate.lattice.parent import make_parent, read_sites
from nucleate.lattice.supercells import Supercell, row_hermite


def counts(parent, most):
    found = [arrangement.supercell.count for arrangement in enumerate_arrangements(parent, most)]
    return [found.count(n) for n in range(1, most + 1)]


def test_published_numbers_of_arrangements_on_fcc(fcc):
    # G. L. W. Hart and R. W. Forcade, Phys. Rev. B 77, 224115 (2008): 631 arrangements of two species with up to eight atoms, the two
    # pure crystals included.
    assert counts(fcc, 7) == [2, 2, 6, 19, 28, 80, 104]


def test_body_centred_cubic_has_as_many_as_fcc():
    assert counts(make_parent(bulk("Fe", "bcc", a=2.87), {"Fe": ["Fe", "Al"]}), 5) == [2, 2, 6, 19, 28]


def test_every_arrangement_of_a_supercell_is_the_image_of_one_distinct_arrangement(square):
    supercell = Supercell(square, np.array([[2, 0, 0], [0, 3, 0], [0, 0, 1]]))
    kept = {tuple(row) for row in distinct_arrangements(supercell).tolist()}
    for occupation in itertools.product((0, 1), repeat=supercell.sites):
        images = {tuple(np.array(occupation)[permutation].tolist()) for permutation in supercell.permutations}
        repeats = any(np.array_equal(np.array(occupation)[t], occupation) for t in supercell.translations[1:])
        assert len(images & kept) == (0 if repeats else 1)


def test_permutations_are_a_group_that_keeps_distances(honeycomb):
    supercell = Supercell(honeycomb, np.diag([3, 2, 1]))
    known = {tuple(p) for p in supercell.permutations.tolist()}
    for a, b in itertools.product(supercell.permutations[:12], repeat=2):
        assert tuple(a[b].tolist()) in known
    atoms = Atoms(["Li"] * supercell.sites, positions=supercell.positions, cell=supercell.cell, pbc=honeycomb.periodic)
    distances = np.sort(atoms.get_all_distances(mic=True), axis=1)
    for permutation in supercell.permutations:
        assert np.allclose(
            atoms.get_all_distances(mic=True)[np.ix_(permutation, permutation)], atoms.get_all_distances(mic=True), atol=1e-6
        )
    assert np.allclose(distances, distances[0])


def test_all_descriptions_of_an_arrangement_have_one_key(honeycomb):
    found = list(enumerate_arrangements(honeycomb, 4))
    keys = [canonical_key(arrangement) for arrangement in found]
    assert len(set(keys)) == len(keys)
    for arrangement, key in zip(found, keys, strict=True):
        large = Supercell(honeycomb, np.array([[2, 1, 0], [0, 2, 0], [0, 0, 1]]) @ arrangement.supercell.matrix)
        occupation = np.asarray(arrangement.occupation)[arrangement.supercell.cell_index(large.cells)]
        for permutation in large.permutations[::3]:
            assert canonical_key(Arrangement(large, occupation[permutation])) == key


def test_sublattices_of_different_species():
    parent = make_parent(bulk("NaCl", "rocksalt", a=5.6), {"Na": ["Na", "K"], "Cl": ["Cl", "Br"]})
    assert counts(parent, 1) == [4]
    ends = list(enumerate_arrangements(parent, 1))
    assert {a.supercell.atoms(a.occupation).get_chemical_formula() for a in ends} == {"ClNa", "BrNa", "ClK", "BrK"}


def test_structures_have_the_vacancies_left_out(honeycomb):
    supercell = Supercell(honeycomb, np.diag([2, 2, 1]))
    atoms = supercell.atoms(np.array([0, 1, 1, 1]))
    assert atoms.get_chemical_formula() == "C8Li"
    assert atoms.pbc.tolist() == [True, True, False]
    assert atoms.get_volume() == pytest.approx(4 * honeycomb.atoms.get_volume())


def test_hermite_forms_describe_the_lattice():
    generator = np.random.default_rng(3)
    for _ in range(50):
        matrix = generator.integers(-4, 5, (3, 3))
        if round(abs(np.linalg.det(matrix))) == 0:
            continue
        form = row_hermite(matrix)
        change = form @ np.linalg.inv(matrix)
        assert np.allclose(change, np.rint(change), atol=1e-6)
        assert abs(np.linalg.det(change)) == pytest.approx(1)
        assert (np.tril(form, -1) == 0).all()


@pytest.mark.parametrize("cells", range(1, 10))
def test_folded_k_points_are_those_of_the_primitive_mesh(honeycomb, cells):
    mesh = (12, 12, 1)
    reciprocal = np.linalg.inv(honeycomb.cell).T
    fine = np.array(list(itertools.product(range(12), range(12), [0]))) / mesh @ reciprocal
    found = 0
    for supercell in distinct_supercells(honeycomb, cells):
        grid = supercell.folded(mesh)
        if grid is None:
            continue
        found += 1
        coarse = grid.points() @ np.linalg.inv(supercell.cell).T
        assert len(coarse) * cells == 144
        # Each point of the primitive mesh is a point of the supercell plus one of its reciprocal vectors.
        for point in fine:
            apart = (coarse - point) @ supercell.cell.T
            assert (np.abs(apart - np.rint(apart)).max(axis=1) < 1e-8).sum() == 1
    assert found or cells in (5, 7)


def test_mesh_that_does_not_fold(honeycomb):
    assert Supercell(honeycomb, np.diag([5, 1, 1])).folded((12, 12, 1)) is None


@pytest.mark.parametrize(
    ("entries", "text"),
    [(["Li"], "ELEMENT=SPECIES"), (["Li=Li,X", "Li=Li,Na"], "twice"), (["=Li,X"], "ELEMENT=SPECIES"), (["Li="], "ELEMENT=SPECIES")],
)
def test_bad_sites(entries, text):
    with pytest.raises(BadInput, match=text):
        read_sites(entries)


@pytest.mark.parametrize(
    ("sites", "text"),
    [
        ({}, "no site may hold"),
        ({"Na": ["Na", "X"]}, "there is no Na"),
        ({"Al": ["Al"]}, "between 2 and"),
        ({"Al": ["Al", "Al"]}, "different"),
        ({"Al": ["Al", "Qq"]}, "is no element"),
    ],
)
def test_bad_parents(sites, text):
    with pytest.raises(BadInput, match=text):
        make_parent(bulk("Al", "fcc", a=4.05), sites)


def test_cell_that_is_not_primitive():
    parent = make_parent(bulk("Al", "fcc", a=4.05, cubic=True), {"Al": ["Al", "Li"]})
    with pytest.raises(BadInput, match="give a primitive one"):
        parent.operations  # noqa: B018


def test_molecule_is_no_parent():
    with pytest.raises(BadInput, match="not periodic"):
        make_parent(Atoms("LiH", positions=[[0, 0, 0], [0, 0, 1.6]]), {"Li": ["Li", "X"]})


def test_too_many_arrangements(square):
    with pytest.raises(BadInput, match="lower --max-cells"):
        distinct_arrangements(Supercell(square, np.diag([5, 5, 1])))
