import numpy as np
import pytest
import torch
from ase.build import bulk, make_supercell
from ase.neighborlist import neighbor_list
from scipy.spatial.transform import Rotation
from scipy.special import sph_harm_y

from nucleate.crystals.batch import CrystalBatch
from nucleate.fingerprints.nearest_distances import NearestDistances
from nucleate.fingerprints.power_spectrum import power_spectra
from nucleate.fingerprints.selection import farthest_points, fingerprints, leaders, nearest
from nucleate.potentials.basis import radial


def crystals(make_crystal):
    rng = np.random.default_rng(0)
    return [make_crystal(rng, ["Na", "Cl"] * n, volume=20, closest=1.8) for n in (1, 2, 3)]


def test_same_crystal_in_other_clothes(make_crystal):
    """Rotated, mirrored, translated, permuted, doubled, another cell: one fingerprint."""
    for atoms in crystals(make_crystal):
        plain = fingerprints([atoms], [11, 17])[0]
        others = [atoms.copy() for _ in range(4)]
        turn = Rotation.random(random_state=1).as_matrix()
        others[0].set_cell(atoms.cell.array @ turn, scale_atoms=True)
        others[1].set_cell(-atoms.cell.array, scale_atoms=True)
        others[2].positions += [0.3, 1.1, -7.0]
        others[3] = others[3][np.random.default_rng(2).permutation(len(atoms))]
        others += [atoms.repeat((1, 2, 1)), make_supercell(atoms, [[1, 1, 0], [0, 1, 0], [0, -2, 1]])]
        for other in others:
            assert np.linalg.norm(fingerprints([other], [17, 11])[0] - plain) < 1e-4


def test_unit_length_and_width(make_crystal):
    found = fingerprints(crystals(make_crystal), [11, 17])
    assert found.shape == (3, 2 * 4 * 8 * 4)
    assert np.allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)
    assert fingerprints([], [11, 17]).shape == (0, 2 * 4 * 8 * 4)


def nearest_distances(structures, species):
    return NearestDistances(species).describe(CrystalBatch.from_atoms(structures)).numpy()


def test_nearest_distances_of_a_perfect_crystal():
    """Simple cubic with 2 Å: six neighbours at 2 Å, twelve at 2.83 Å; no deviation; their distance is the root mean square."""
    found = nearest_distances([bulk("Cu", "sc", 2.0), bulk("Cu", "sc", 2.02)], [29])
    depth = (6 - found[0, :60] * 60**0.5).astype(float)
    assert depth[:18] == pytest.approx(np.repeat([2.0, 8**0.5], [6, 12]), abs=1e-5)
    assert np.abs(found[:, 60:]).max() < 1e-6
    grown = np.minimum(1.01 * depth, 6) - np.minimum(depth, 6)
    assert np.linalg.norm(found[0] - found[1]) == pytest.approx(np.sqrt((grown**2).mean()), rel=1e-3)


def test_missing_neighbours_are_zeros():
    alone = bulk("Cu", "sc", 20.0)
    assert np.abs(nearest_distances([alone], [29])).max() == 0


def test_structures_do_not_influence_each_other(make_crystal):
    structures = crystals(make_crystal)
    together = fingerprints(structures, [11, 17])
    apart = np.concatenate([fingerprints([atoms], [11, 17]) for atoms in structures])
    assert np.allclose(together, apart, atol=1e-5)


def test_jitter_is_nearer_than_another_crystal():
    phases = [bulk("Cu", "fcc", 3.6), bulk("Cu", "bcc", 2.87), bulk("Cu", "hcp", 2.55, c=4.2), bulk("Cu", "sc", 2.4)]
    shaken = []
    for k, atoms in enumerate(phases):
        atoms = atoms.repeat((2, 2, 2))
        atoms.rattle(0.005, seed=k)
        shaken.append(atoms)
    vectors, shaken_vectors = fingerprints(phases, [29]), fingerprints(shaken, [29])
    distance = np.linalg.norm(vectors[:, None] - shaken_vectors[None], axis=2)
    other = np.where(np.eye(4, dtype=bool), np.inf, distance)
    assert (distance.diagonal() < 0.5 * other.min(1)).all(), distance


def test_exchanged_species_differ():
    salt = bulk("NaCl", "rocksalt", 5.6)
    blende = bulk("NaCl", "zincblende", 5.6)
    a, b = fingerprints([salt, blende], [11, 17])
    assert np.linalg.norm(a - b) > 0.1


def test_leaders_walk_in_order():
    vectors = np.array([[0.0], [0.05], [1.0], [1.04], [0.12]])
    assert leaders(vectors, np.arange(5), 0.1) == [0, 2, 4]
    assert leaders(vectors, np.array([3, 4, 2, 1, 0]), 0.1) == [3, 4, 0]
    assert leaders(vectors, np.array([], dtype=int), 0.1) == []


def test_nearest():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(6, 4)), rng.normal(size=(3, 4))
    expected = np.linalg.norm(a[:, None] - b[None], axis=2).min(1)
    assert nearest(a, b) == pytest.approx(expected)
    assert nearest(a, a) == pytest.approx(np.zeros(6), abs=1e-6)
    assert np.isinf(nearest(a, b[:0])).all()


def test_farthest_points():
    vectors = np.array([[0.0], [1.0], [5.0], [5.1], [9.0]])
    assert farthest_points(vectors, 3, first=0) == [0, 4, 2]
    assert sorted(farthest_points(vectors, 50, first=2)) == [0, 1, 2, 3, 4]


def test_power_spectra_agree_with_plain_sums_over_neighbours(make_crystal):
    for atoms in crystals(make_crystal)[:2]:
        i, j, d, D = neighbor_list("ijdD", atoms, 5.0)
        radius = radial(torch.tensor(d)[:, None], 6, 5.0)[0][:, :, 0].numpy()
        theta, phi = np.arccos(D[:, 2] / d), np.arctan2(D[:, 1], D[:, 0])
        wanted = np.zeros((len(atoms), 2, 4, 6))
        for s, number in enumerate((17, 11)):
            for atom in range(len(atoms)):
                mine = (i == atom) & (atoms.numbers[j] == number)
                for l in range(4):
                    for m in range(-l, l + 1):
                        # The sum of squares over m is the same for complex and real harmonics.
                        y = sph_harm_y(l, m, theta[mine], phi[mine])
                        wanted[atom, s, l] += np.abs(y @ radius[mine]) ** 2
        found = power_spectra(CrystalBatch.from_atoms([atoms]), (17, 11), 6, 5.0).numpy()
        assert np.allclose(found, wanted.reshape(len(atoms), -1), rtol=1e-4, atol=1e-5 * wanted.max())


def test_power_spectra_do_not_change_under_rotation(make_crystal):
    atoms = crystals(make_crystal)[2]
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ Rotation.random(random_state=3).as_matrix(), scale_atoms=True)
    one, two = (power_spectra(CrystalBatch.from_atoms([a]), (11, 17), 4, 4.5) for a in (atoms, turned))
    assert torch.allclose(one, two, rtol=1e-4, atol=1e-5 * float(one.max()))
