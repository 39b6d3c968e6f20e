"""Barriers: mappings of known crystals, bands on pair potentials, and the graph of minima."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, make_supercell
from scipy.spatial.transform import Rotation

from nucleate.crystals.batch import CrystalBatch
from nucleate.errors import BadInput
from nucleate.polymorphs.barriers.band import bands
from nucleate.polymorphs.barriers.mapping import common_sizes, mappings
from nucleate.polymorphs.barriers.network import intermediates
from nucleate.polymorphs.barriers.path import CLOSEST, pushed_apart, rattled, straight
from nucleate.polymorphs.barriers.settings import BarrierSettings
from nucleate.polymorphs.barriers.tree import disconnectivity
from nucleate.polymorphs.stability.supercells import primitive_cell
from nucleate.relax.batched import relax
from nucleate.relax.settings import RelaxSettings
from tests.conftest import PairPotential

SETTINGS = BarrierSettings(fmax=5e-3)
PAIRS = PairPotential()


def minimum(atoms):
    (end,) = relax([atoms], PAIRS, RelaxSettings(fmax=1e-5, smax=1e-4, max_steps=500, patience=500))
    return primitive_cell(end.atoms)


@pytest.fixture(scope="module")
def fcc():
    return minimum(bulk("Ar", "fcc", a=4.2))


@pytest.fixture(scope="module")
def hcp():
    return minimum(bulk("Ar", "hcp", a=3.0, c=4.9))


def band_of(start, end, settings=SETTINGS, seed=0):
    path = rattled(straight(start, end, settings.images), settings.rattle, np.random.default_rng(seed))
    (band,) = bands([pushed_apart(path)], PAIRS, settings)
    return band


def barrier_of(first, second):
    mapping = mappings(first, second, 2, 1)[0]
    band = band_of(mapping.start, mapping.end)
    assert band.converged
    return band.height - band.enthalpy[0]


@pytest.mark.parametrize("matrix", [[[1, 1, 0], [0, 1, 0], [0, 0, 1]], [[1, 1, -1], [1, -1, 1], [-1, 1, 1]]])
def test_a_crystal_in_another_description_costs_nothing(matrix):
    rng = np.random.default_rng(3)
    crystal = bulk("NaCl", "cesiumchloride", a=4.1)
    crystal.set_cell(crystal.cell.array @ (np.eye(3) + 0.1 * rng.normal(size=(3, 3))), scale_atoms=True)
    other = make_supercell(crystal, matrix)
    other = other[rng.permutation(len(other))]
    other.positions += rng.normal(size=3)
    other.rotate(40, (1, 2, 3), rotate_cell=True)
    other.wrap()
    best = mappings(crystal, other, len(other), 1)[0]
    assert best.cost < 1e-6
    assert (best.start.numbers == best.end.numbers).all()
    np.testing.assert_allclose(best.end.cell.array, best.start.cell.array, atol=1e-6)


def test_the_bain_path_is_the_best_mapping_of_bcc_and_fcc():
    bcc, fcc = bulk("Ar", "bcc", a=2.0), bulk("Ar", "fcc", a=2.0 * 2 ** (1 / 3))
    best = mappings(bcc, fcc, 1, 1)[0]
    # bcc is fcc stretched along one axis: the ratio of the axes is the square root of two, at constant volume.
    compressed = np.log(2) * np.array([-1 / 3, 1 / 6, 1 / 6])
    np.testing.assert_allclose(np.sort(best.strain), np.sort(-compressed), atol=1e-9)
    assert best.displacement < 1e-9


def test_the_bain_path_of_pairs_has_no_barrier():
    (end,) = relax([bulk("Ar", "bcc", a=3.4)], PAIRS, RelaxSettings(fmax=1e-5, smax=1e-4, max_steps=300))
    best = mappings(end.atoms, minimum(bulk("Ar", "fcc", a=4.2)), 1, 1)[0]
    band = band_of(best.start, best.end)
    assert band.converged
    assert band.climbing == ()
    assert band.top == 0
    assert (np.diff(band.enthalpy) < 0).all()


def test_the_saddle_has_no_force_and_one_negative_curvature_along_the_path(fcc, hcp):
    mapping = mappings(fcc, hcp, 2, 1)[0]
    band = band_of(mapping.start, mapping.end, BarrierSettings(fmax=1e-3))
    assert band.converged
    assert band.climbing == (band.top,)
    saddle = band.images[band.top]
    here = PAIRS.energy_forces_stress(CrystalBatch.from_atoms([saddle]))
    assert float(here.forces.abs().max()) < 2e-3
    assert float(here.stress.abs().max()) * saddle.get_volume() ** (2 / 3) < 2e-3
    curvatures, modes = hessian(saddle)
    assert (curvatures < -0.05).sum() == 1
    # The path through the neighbouring images follows the mode of negative curvature.
    before, after = (coordinates(saddle, band.images[band.top + k]) for k in (-1, 1))
    along = (after - before) / np.linalg.norm(after - before)
    assert abs(along @ modes[:, 0]) > 0.95


def coordinates(origin, atoms):
    """Atoms without translation, and strain with the Jacobian, relative to a structure."""
    gradient = np.linalg.solve(origin.cell.array, atoms.cell.array)
    strain = 0.5 * (gradient + gradient.T) - np.eye(3)
    shift = atoms.positions @ np.linalg.inv(gradient) - origin.positions
    jacobian = origin.get_volume() ** (1 / 3) * len(origin) ** (1 / 6)
    return np.concatenate([(shift - shift.mean(axis=0)).ravel(), jacobian * strain.ravel()])


def hessian(atoms, step=1e-3):
    """Eigenvalues and modes of second differences of the energy in atoms and symmetric strain."""
    n = 3 * len(atoms)
    jacobian = atoms.get_volume() ** (1 / 3) * len(atoms) ** (1 / 6)

    def moved(q):
        strain = q[n:].reshape(3, 3) / jacobian
        gradient = np.eye(3) + 0.5 * (strain + strain.T)
        copy = atoms.copy()
        copy.set_cell(atoms.cell.array @ gradient)
        copy.positions = (atoms.positions + q[:n].reshape(-1, 3)) @ gradient
        return copy

    units = np.eye(n + 9) * step
    corners = [moved(a * u + b * v) for u in units for v in units for a in (1, -1) for b in (1, -1)]
    energy = PAIRS.energy_forces_stress(CrystalBatch.from_atoms(corners)).energy[0].numpy().reshape(n + 9, n + 9, 4)
    return np.linalg.eigh((energy[..., 0] - energy[..., 1] - energy[..., 2] + energy[..., 3]) / (4 * step**2))


def test_the_barrier_depends_neither_on_the_cell_nor_on_the_order_of_the_ends(fcc, hcp):
    forward = barrier_of(fcc, hcp)
    other = make_supercell(hcp, [[1, 1, 0], [0, 1, 0], [1, 0, 1]])
    other.rotate(Rotation.random(random_state=1).as_rotvec(degrees=True)[0], "z", rotate_cell=True)
    other.positions += 0.3
    other.wrap()
    difference = float(relaxed_energy(hcp) - relaxed_energy(fcc))
    assert forward > 0.02
    assert barrier_of(fcc, other) == pytest.approx(forward, abs=2e-4)
    assert barrier_of(hcp, fcc) + difference == pytest.approx(forward, abs=2e-4)


def relaxed_energy(atoms):
    return PAIRS.energy_forces_stress(CrystalBatch.from_atoms([atoms])).energy[0, 0] / len(atoms)


def test_a_path_in_a_doubled_cell_has_the_same_barrier_for_each_atom(fcc, hcp):
    mapping = mappings(fcc, hcp, 2, 1)[0]
    doubled = [each.repeat((2, 1, 1)) for each in (mapping.start, mapping.end)]
    settings = BarrierSettings(fmax=2e-3, rattle=0.0)
    paths = [straight(mapping.start, mapping.end, 9), straight(*doubled, 9)]
    one, two = bands(paths, PAIRS, settings)
    assert one.converged
    assert two.height == pytest.approx(one.height, abs=1e-4)


def test_an_exchange_of_two_atoms_has_the_same_barrier_both_ways(fcc):
    start = make_supercell(fcc, [[1, 1, -1], [1, -1, 1], [-1, 1, 1]])
    end = start.copy()
    end.positions[[0, 1]] = end.positions[[1, 0]]
    band = band_of(start, end, BarrierSettings(max_steps=300))
    assert band.enthalpy[0] == pytest.approx(band.enthalpy[-1], abs=1e-9)
    assert band.height - band.enthalpy[0] > 0.05


def test_overlapping_atoms_are_pushed_apart(fcc):
    start = make_supercell(fcc, [[1, 1, -1], [1, -1, 1], [-1, 1, 1]])
    end = start.copy()
    end.positions[[0, 1]] = end.positions[[1, 0]]
    path = rattled(straight(start, end, 9), 0.03, np.random.default_rng(0))
    pushed = pushed_apart(path).batch().to_atoms()
    nearest = min(atoms.get_all_distances(mic=True)[~np.eye(4, dtype=bool)].min() for atoms in pushed)
    bond = start.get_all_distances(mic=True)[~np.eye(4, dtype=bool)].min()
    assert min(a.get_all_distances(mic=True)[~np.eye(4, dtype=bool)].min() for a in path.batch().to_atoms()) < 0.5 * bond
    assert nearest > 0.95 * CLOSEST * bond
    np.testing.assert_allclose(pushed[0].positions, path.x[0] @ torch.matrix_exp(path.log_strain[0]))


def test_external_pressure_adds_to_the_enthalpy(fcc, hcp):
    mapping = mappings(fcc, hcp, 2, 1)[0]
    path = [straight(mapping.start, mapping.end, 9)]
    (band,) = bands(path, PAIRS, BarrierSettings(max_steps=60), pressure=0.01)
    (free,) = bands(path, PAIRS, BarrierSettings(max_steps=60))
    volume = mapping.start.get_volume() / len(mapping.start)
    assert band.enthalpy[0] == pytest.approx(free.enthalpy[0] + 0.01 * volume, abs=1e-9)


def test_minima_along_a_band_are_found_by_their_depth():
    assert intermediates(np.array([0.0, 0.05, 0.02, 0.06, 0.01])) == [2]
    assert intermediates(np.array([0.0, 0.05, 0.0495, 0.06, 0.01])) == []
    assert intermediates(np.array([0.0, 0.05, 0.02, 0.04, 0.01, 0.05, 0.0])) == [2, 4]
    assert intermediates(np.array([0.03, 0.02, 0.01, 0.0])) == []


def test_minimax_heights_are_ultrametric_and_the_lowest_over_all_ways():
    rng = np.random.default_rng(5)
    energies = rng.uniform(0, 0.1, 7)
    edges = [(i, j, float(rng.uniform(0.05, 0.4))) for i in range(7) for j in range(i) if rng.uniform() < 0.7]
    tree = disconnectivity(energies, edges)
    heights = tree.heights
    # Floyd's recursion with maxima in place of sums, as an independent solution.
    other = np.full((7, 7), np.inf)
    np.fill_diagonal(other, energies)
    for i, j, height in edges:
        other[i, j] = other[j, i] = min(other[i, j], max(height, energies[i], energies[j]))
    for k in range(7):
        other = np.minimum(other, np.maximum(other[:, k : k + 1], other[k : k + 1]))
    np.testing.assert_allclose(heights, other)
    assert (heights[:, None] <= np.maximum(heights[:, :, None], heights.T[None]).transpose(0, 2, 1) + 1e-12).all()
    assert len(tree.merges) == 6


def test_minima_without_a_path_stay_apart():
    tree = disconnectivity([0.0, 0.1, 0.2], [(0, 1, 0.05)])
    assert tree.heights[0, 1] == 0.1
    assert np.isinf(tree.heights[0, 2])
    assert tree.bottleneck[1, 2] == -1


def test_pairs_without_a_common_cell_are_refused():
    five, seven = (Atoms("C" * n, positions=np.random.default_rng(n).uniform(0, 5, (n, 3)), cell=[5] * 3, pbc=True) for n in (5, 7))
    with pytest.raises(BadInput, match=r"5 and 7 atoms has 35 atoms, more than 24; choose polymorphs"):
        common_sizes(five, seven, 24)
    with pytest.raises(BadInput, match="NaCl and Ar have different compositions"):
        mappings(bulk("NaCl", "rocksalt", a=5.6), bulk("Ar", "fcc", a=4.2), 8, 1)
