import numpy as np
import pytest
from ase.build import bulk

from nucleate.errors import BadInput
from nucleate.lattice.correlations import correlations, design_matrix
from nucleate.lattice.dipoles import DipoleTerm, inverse_cube_sums, plain_charges
from nucleate.lattice.enumeration import Arrangement, enumerate_arrangements
from nucleate.lattice.figures import find_orbits
from nucleate.lattice.parent import make_parent
from nucleate.lattice.supercells import Supercell


def test_pairs_of_fcc_have_the_numbers_of_neighbours(fcc):
    orbits = find_orbits(fcc, [5.8, 2.9, 2.9])
    pairs = [(round(orbit.longest / 4.05, 3), 2 * orbit.multiplicity) for orbit in orbits if orbit.points == 2]
    assert pairs == [(0.707, 12), (1.0, 6), (1.225, 24), (1.414, 12)]
    assert [orbit.multiplicity for orbit in orbits if orbit.points == 3] == [8]
    assert [orbit.multiplicity for orbit in orbits if orbit.points == 4] == [2]


def test_figures_of_a_larger_set_are_not_longer_than_their_cutoff(fcc):
    orbits = find_orbits(fcc, [6.0, 5.0, 4.1])
    limits = {2: 6.0, 3: 5.0, 4: 4.1}
    assert all(orbit.longest <= limits[orbit.points] for orbit in orbits if orbit.points > 1)


@pytest.mark.parametrize("cutoffs", [[-1.0], [3.0, 4.0], [0.0], [3.0] * 6])
def test_bad_cutoffs(fcc, cutoffs):
    with pytest.raises(BadInput, match="cutoffs"):
        find_orbits(fcc, cutoffs)


def test_correlations_do_not_depend_on_the_description(honeycomb):
    orbits = find_orbits(honeycomb, [5.0, 4.3])
    term = DipoleTerm(5.0, plain_charges(honeycomb))
    small = Supercell(honeycomb, np.array([[2, 1, 0], [-1, 1, 0], [0, 0, 1]]))
    occupation = np.array([0, 1, 1])
    large = Supercell(honeycomb, np.array([[6, 0, 0], [0, 3, 0], [0, 0, 1]]))
    index = small.cell_index(large.cells)
    pair = [Arrangement(small, occupation), Arrangement(large, occupation[index])]
    a, b = design_matrix(pair, orbits, term)
    assert np.allclose(a, b, atol=1e-10)


def test_correlations_are_invariant_under_symmetry(fcc):
    orbits = find_orbits(fcc, [5.0, 4.1, 2.9])
    supercell = Supercell(fcc, np.diag([2, 2, 3]))
    occupation = np.random.default_rng(1).integers(0, 2, supercell.sites)
    images = occupation[supercell.permutations[::5]]
    table = correlations(supercell, images, orbits)
    assert np.allclose(table, table[0], atol=1e-12)


def test_point_and_pair_sums_of_a_row(square):
    # A row of atoms along x, every second row: half of the sites are filled, one pair per filled site along x, none along y.
    supercell = Supercell(square, np.diag([1, 2, 1]))
    table = correlations(supercell, np.array([[0, 1]]), find_orbits(square, [2.9]))
    assert table[0].tolist() == [1.0, 0.5, 0.5, 0.0]


def test_sums_of_dipoles_of_lattices():
    # J. Topping, Proc. R. Soc. A 114, 67 (1927).
    triangular = np.array([[1, 0], [0.5, np.sqrt(3) / 2]])
    assert inverse_cube_sums(triangular, np.zeros((1, 2)))[0] == pytest.approx(11.03418, abs=2e-5)
    assert inverse_cube_sums(np.eye(2), np.zeros((1, 2)))[0] == pytest.approx(9.03362, abs=2e-5)


def test_sum_around_a_displacement_equals_the_direct_sum():
    vectors = np.array([[1.3, 0.2], [-0.4, 0.9]])
    displacement = np.array([[0.31, 0.17]])
    n = np.arange(-400, 401)
    points = np.stack(np.meshgrid(n, n), -1).reshape(-1, 2) @ vectors + displacement
    r = np.linalg.norm(points, axis=1)
    cutoff = 250.0
    area = abs(np.linalg.det(vectors))
    # Beyond the cutoff the sum is an integral; the edge of the circle leaves an error of 1e-6.
    direct = (r[r < cutoff] ** -3.0).sum() + 2 * np.pi / (area * cutoff)
    assert inverse_cube_sums(vectors, displacement)[0] == pytest.approx(direct, abs=3e-6)


def test_dipole_energy_of_a_full_layer(honeycomb):
    arrangement = Arrangement(Supercell(honeycomb, np.diag([2, 3, 1])), np.zeros(6, dtype=int))
    a = 2.466
    nearest = DipoleTerm(0.5 * a, plain_charges(honeycomb)).sums(arrangement.supercell, arrangement.occupation[None])[0]
    assert nearest == pytest.approx(11.03418 / 2 / a**3, rel=1e-5)
    beyond = DipoleTerm(1.01 * a, plain_charges(honeycomb)).sums(arrangement.supercell, arrangement.occupation[None])[0]
    assert nearest - beyond == pytest.approx(3 / a**3, rel=1e-9)


def test_dipoles_need_one_plane(fcc):
    with pytest.raises(BadInput, match="layers"):
        DipoleTerm(3.0, plain_charges(fcc)).interactions(Supercell(fcc, np.eye(3, dtype=int)))


def test_same_energies_as_icet():
    icet = pytest.importorskip("icet")
    atoms, cutoffs = bulk("Mg", "hcp", a=3.2, c=5.2), [6.0, 4.6]
    parent = make_parent(atoms, {"Mg": ["Mg", "Al"]})
    arrangements = list(enumerate_arrangements(parent, 3))
    space = icet.ClusterSpace(atoms, cutoffs=cutoffs, chemical_symbols=[list(names) for names in parent.species])
    theirs = np.array([space.get_cluster_vector(a.supercell.atoms(a.occupation)) for a in arrangements])
    ours = design_matrix(arrangements, find_orbits(parent, cutoffs))
    energies = np.random.default_rng(0).normal(size=len(arrangements))
    fits = [x @ np.linalg.lstsq(x, energies, rcond=1e-12)[0] for x in (ours, theirs)]
    assert ours.shape == theirs.shape
    assert np.abs(fits[0] - fits[1]).max() < 1e-6
