"""Grids of k-points: those of the lattice, whichever vectors and supercell describe it; kept along a relaxation."""

import itertools

import numpy as np
import pytest
import spglib
from ase import Atoms
from ase.build import bulk, make_supercell

from nucleate.crystals.batch import CrystalBatch
from nucleate.errors import ReferenceFailed
from nucleate.reference import Dispatcher, Label, Ledger, ReferenceSettings, content_hash, make_reference
from nucleate.reference.base import K_POINTS, asked_of_engine, with_k_points
from nucleate.reference.kpoints import OWN_VECTORS, KGrid, k_grid, niggli_basis, plain_grid
from nucleate.relax.reference_surface import ReferencePotential


def anatase():
    cell = np.array([[3.78, 0, 0], [0, 3.78, 0], [1.89, 1.89, 4.75]])
    scaled = [[0, 0, 0], [0.25, 0.75, 0.5], [0.208, 0.208, 0.584], [0.792, 0.792, 0.416], [0.458, 0.958, 0.084], [0.042, 0.542, 0.916]]
    return Atoms("Ti2O4", scaled_positions=scaled, cell=cell, pbc=True)


def triclinic():
    rng = np.random.default_rng(4)
    return Atoms("Si3", scaled_positions=rng.random((3, 3)), cell=4.2 * np.eye(3) + rng.normal(size=(3, 3)), pbc=True)


CRYSTALS = {
    "fcc": bulk("Al", a=4.05), "bcc": bulk("Fe", a=2.87), "hcp": bulk("Ti"), "diamond": bulk("Si", a=5.43),
    "rocksalt": bulk("MgO", "rocksalt", 4.2),
    "anatase": anatase(), "triclinic": triclinic(),
}  # fmt: skip


def other_vectors(atoms, rng):
    """The same crystal on other primitive vectors, atoms moved by lattice translations."""
    matrix = np.eye(3, dtype=int)
    for _ in range(4):
        i, j = rng.choice(3, 2, replace=False)
        matrix[i] += rng.integers(-2, 3) * matrix[j]
    if rng.random() < 0.5:
        matrix = matrix[[1, 0, 2]]
    found = atoms.copy()
    found.set_cell(matrix @ atoms.cell.array, scale_atoms=False)
    found.positions += rng.integers(-2, 3, (len(atoms), 3)) @ atoms.cell.array
    return found


@pytest.mark.parametrize("name", CRYSTALS)
def test_a_crystal_has_one_grid_whatever_vectors_describe_it(name):
    rng = np.random.default_rng(0)
    atoms = CRYSTALS[name]
    for spacing in (0.6, 0.3, 0.2):
        expected = k_grid(atoms, spacing)
        own = expected.described(atoms)[0]
        for _ in range(6):
            other = other_vectors(atoms, rng)
            grid = k_grid(other, spacing)
            described = grid.described(other)[0]
            assert (grid.size, grid.shift) == (expected.size, expected.shift)
            np.testing.assert_allclose(described.cell.cellpar(), own.cell.cellpar(), atol=1e-6)
            assert np.linalg.det(described.cell.array) > 0
            # Cartesian positions, and with them forces and stress, are the same.
            np.testing.assert_array_equal(described.positions, other.positions)


@pytest.mark.parametrize("name", ["fcc", "diamond", "anatase"])
@pytest.mark.parametrize(
    "matrix", [np.diag([2, 1, 1]), np.diag([1, 3, 1]), np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]), np.diag([2, 2, 2])]
)
def test_a_supercell_is_calculated_as_its_primitive_cell(name, matrix):
    atoms = CRYSTALS[name]
    cells = round(abs(np.linalg.det(matrix)))
    supercell = make_supercell(atoms, matrix)
    one, many = k_grid(atoms, 0.3), k_grid(supercell, 0.3)
    assert (many.size, many.shift, many.cells) == (one.size, one.shift, cells)
    described, repeats = many.described(supercell)
    assert len(described) == len(atoms)
    np.testing.assert_array_equal(described.numbers[repeats], supercell.numbers)
    apart = (supercell.positions - described.positions[repeats]) @ np.linalg.inv(described.cell.array)
    np.testing.assert_allclose(apart, np.round(apart), atol=1e-6)


def test_what_tells_cells_apart_keeps_the_supercell():
    atoms = bulk("Fe", a=2.87, cubic=True)
    assert k_grid(atoms, 0.5).cells == 2
    for change in ("moments", "rattled", "element"):
        other = atoms.copy()
        if change == "moments":
            other.set_initial_magnetic_moments([2.0, -2.0])
        elif change == "rattled":
            other.positions[1, 0] += 0.01
        else:
            other.numbers[1] = 27
        assert k_grid(other, 0.5).cells == 1, change


def shortest(vectors):
    """Length of the shortest vector of a lattice, by trying all small sums."""
    sums = np.array([n for n in itertools.product(range(-4, 5), repeat=3) if any(n)])
    return np.linalg.norm(sums @ vectors, axis=1).min()


@pytest.mark.parametrize("name", CRYSTALS)
def test_no_vector_of_the_superlattice_is_shorter_than_the_spacing_asks(name):
    atoms = CRYSTALS[name]
    for spacing in (0.8, 0.45, 0.3):
        grid = k_grid(atoms, spacing)
        cell = grid.described(atoms)[0].cell.array
        assert shortest(np.diag(grid.size) @ cell) >= 2 * np.pi / spacing * (1 - 1e-5)


def test_orthogonal_cells_are_divided_by_the_spacing():
    cell = Atoms("Si", cell=[3.5, 4.5, 5.5], pbc=True)
    assert k_grid(cell, 0.30).size == tuple(np.ceil(2 * np.pi / 0.30 / np.array([3.5, 4.5, 5.5])).astype(int))
    assert k_grid(cell, 1.9).size == (1, 1, 1)
    assert plain_grid(cell, 0.30).size == k_grid(cell, 0.30).size


def test_shifted_grids_are_as_symmetric_as_the_crystal():
    shifted = 0
    for atoms, spacing in itertools.product(CRYSTALS.values(), (0.7, 0.42, 0.3, 0.24)):
        grid = k_grid(atoms, spacing)
        if not any(grid.shift):
            continue
        shifted += 1
        described = grid.described(atoms)[0]
        points = KGrid(OWN_VECTORS, grid.size, grid.shift).points()
        cell = (described.cell.array, described.get_scaled_positions(), described.numbers)
        for rotation in spglib.get_symmetry(cell, symprec=1e-4)["rotations"]:
            turned = points @ np.linalg.inv(rotation)
            apart = turned[:, None] - points[None]
            assert np.abs(apart - np.round(apart)).max(axis=2).min(axis=1).max() < 1e-6
    assert shifted > 3


def test_points_are_the_same_in_the_structures_own_vectors():
    atoms = other_vectors(bulk("Si"), np.random.default_rng(3))
    grid = k_grid(atoms, 0.5, primitive=False)
    own = grid.points() @ np.linalg.inv(atoms.cell.array).T
    described = KGrid(OWN_VECTORS, grid.size, grid.shift).points() @ np.linalg.inv(grid.described(atoms)[0].cell.array).T
    apart = (own[:, None] - described[None]) @ atoms.cell.array.T
    assert np.abs(apart - np.round(apart)).max(axis=2).min(axis=1).max() < 1e-6


def test_niggli_vectors_are_right_handed_and_a_basis():
    rng = np.random.default_rng(2)
    for _ in range(20):
        cell = 3 * np.eye(3) + rng.normal(size=(3, 3))
        basis = niggli_basis(cell)
        assert abs(round(np.linalg.det(basis))) == 1
        assert np.linalg.det(basis @ cell) > 0


class Sampling:
    """A harmonic crystal whose energy tells of its k-points: another grid is another energy, as in a real calculation."""

    name = "sampling"
    surrogate = True

    def settings(self):
        return {"engine": "sampling"}

    def k_points(self, atoms):
        return k_grid(atoms, 0.45)

    def label(self, atoms):
        asked = asked_of_engine(atoms, self)
        cell, grid = asked.atoms, asked.grid
        away = cell.get_volume() / len(cell) - 16.0
        energy = len(cell) * (0.01 * away**2 + 0.5 / np.prod(grid.size))
        stress = np.array([0.02 * away] * 3 + [0.0] * 3)
        return asked.label(Label(energy, np.zeros((len(cell), 3)), stress, details={"cells": len(cell)}))


def test_a_label_of_a_supercell_is_its_own(tmp_path):
    atoms = bulk("Al", a=4.05)
    with Dispatcher(Sampling(), Ledger(tmp_path / "run.db")) as dispatcher:
        one, many = dispatcher.label_many([atoms, atoms.repeat((2, 2, 1))], "train", 0)
    assert many.energy == pytest.approx(4 * one.energy, rel=1e-12)
    assert many.forces.shape == (4, 3)
    assert many.details["cells"] == 1
    assert many.details[K_POINTS]["cells"] == 4
    assert many.details[K_POINTS]["size"] == one.details[K_POINTS]["size"]


def test_a_relaxation_keeps_the_grid_it_began_with(tmp_path):
    """A strain that would change the grid does not: energies along a relaxation are of one kind."""
    dispatcher = Dispatcher(Sampling(), Ledger(tmp_path / "run.db"))
    first, other = bulk("Al", a=4.05), bulk("Cu", a=3.6)
    potential = ReferencePotential(dispatcher, "relax", 0)
    potential.energy_forces_stress(CrystalBatch.from_atoms([first, other]))
    strained = first.copy()
    strained.set_cell(0.85 * first.cell.array, scale_atoms=True)
    assert k_grid(strained, 0.45).size != k_grid(first, 0.45).size
    # The structure is followed though it has moved to another place of the batch.
    moved = CrystalBatch.from_atoms([other, strained])
    moved.ids[:] = moved.ids.flip(0)
    potential.energy_forces_stress(moved)
    sizes = [row.label.details[K_POINTS]["size"] for row in dispatcher.ledger.rows()]
    assert sizes[-1] == sizes[0] == list(k_grid(first, 0.45).size)


def test_the_grid_is_part_of_the_question():
    reference, atoms = Sampling(), bulk("Al", a=4.05)
    strained = atoms.copy()
    strained.set_cell(0.85 * atoms.cell.array, scale_atoms=True)
    own, kept = with_k_points(strained, reference), with_k_points(strained, reference, like=atoms)
    assert content_hash(own, {}) != content_hash(kept, {})
    assert content_hash(own, {}) == content_hash(with_k_points(strained, reference), {})
    assert KGrid.from_dict(kept.info[K_POINTS]) == k_grid(atoms, 0.45)


def test_a_displacement_that_breaks_the_translations_gets_a_grid_of_its_own(tmp_path):
    dispatcher = Dispatcher(Sampling(), Ledger(tmp_path / "run.db"))
    supercell = bulk("Al", a=4.05).repeat((2, 1, 1))
    displaced = supercell.copy()
    displaced.positions[0, 0] += 0.1
    (label,) = dispatcher.label_many([displaced], "check", 0, like=[supercell])
    assert not isinstance(label, ReferenceFailed)
    assert label.details["cells"] == 2


def test_the_users_own_k_points_decide():
    pytest.importorskip("gpaw")
    reference = make_reference(ReferenceSettings(parameters={"kpts": [2, 2, 2]}))
    assert reference.k_points(bulk("Al")) is None
    assert K_POINTS not in with_k_points(bulk("Al"), reference).info


def test_gpaw_gives_a_crystal_one_energy(tmp_path):
    """Two choices of primitive vectors and a left-handed one; the calculation is the same, to rounding."""
    pytest.importorskip("gpaw")
    reference = make_reference(ReferenceSettings(preset="fast", cutoff=200, k_spacing=0.8))
    atoms = bulk("Al", a=4.05)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.02 * np.array([[1, 0.5, 0], [0.5, -1, 0.2], [0, 0.2, 0.3]])), scale_atoms=True)
    expected = reference.label(atoms)
    for matrix in ([[1, 0, 0], [1, 1, 0], [0, -1, 1]], [[0, 1, 0], [1, 0, 0], [0, 0, 1]]):
        other = atoms.copy()
        other.set_cell(np.array(matrix) @ atoms.cell.array, scale_atoms=False)
        label = reference.label(other)
        assert label.energy == pytest.approx(expected.energy, abs=1e-5)
        np.testing.assert_allclose(label.stress, expected.stress, atol=1e-5)
    supercell = reference.label(atoms.repeat((1, 2, 1)))
    assert supercell.energy == pytest.approx(2 * expected.energy, abs=2e-5)
    np.testing.assert_allclose(supercell.stress, expected.stress, atol=1e-5)


@pytest.mark.parametrize("name", ["fcc", "diamond", "anatase"])
def test_a_displaced_supercell_keeps_the_k_points_of_the_perfect_one(name):
    """Points of the primitive cell, folded: other points would exert forces on atoms of the perfect crystal, and phonons contain them."""
    atoms = CRYSTALS[name]
    perfect = make_supercell(atoms, np.diag([2, 2, 2]))
    perfect_grid = k_grid(perfect, 0.3)
    whole = perfect_grid.of_whole_cell()
    if any(n % 2 for n in perfect_grid.size):
        # An odd number of points does not fold into a doubled cell.
        assert whole is None
        return
    assert whole.cells == 1
    small, _ = perfect_grid.described(perfect)
    large, _ = whole.described(perfect)

    def cartesian(grid, cell):
        axes = [(np.arange(n) + 0.5 * s) / n for n, s in zip(grid.size, grid.shift, strict=True)]
        return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3) @ np.linalg.inv(cell).T

    folded = cartesian(perfect_grid, small.cell.array) @ large.cell.array.T
    own = cartesian(whole, large.cell.array) @ large.cell.array.T
    grid = {tuple(point) for point in np.round((own % 1 + 1e-6) % 1, 4)}
    assert {tuple(point) for point in np.round((folded % 1 + 1e-6) % 1, 4)} == grid
    assert len(grid) * 8 == len(folded)


def test_displaced_cells_have_no_shifted_points_that_the_perfect_one_refuses():
    """A displacement lowers the symmetry, which would allow shifted points; in face-centred cells these break the symmetry."""
    from nucleate.reference.base import asked_of_engine, with_k_points

    class Points:
        name, surrogate = "points", False

        def k_points(self, atoms):
            return k_grid(atoms, 0.22)

    atoms = CRYSTALS["diamond"]
    for multiple in (2, 3):
        perfect = make_supercell(atoms, np.diag([multiple] * 3))
        displaced = perfect.copy()
        displaced.positions[0] += 0.02
        asked = asked_of_engine(with_k_points(displaced, Points(), perfect), Points())
        assert not any(with_k_points(perfect, Points()).info["k_points"]["shift"])
        assert not any(asked.grid.shift)
        assert len(asked.atoms) == len(perfect)
