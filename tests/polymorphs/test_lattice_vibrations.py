"""Phonons against ASE, curvatures and the sum rule; supercells; imaginary modes."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.phonons import Phonons as AsePhonons

from nucleate.errors import BadInput
from nucleate.polymorphs.stability.modes import directions, imaginary_modes, wave_cell
from nucleate.polymorphs.stability.phonons import Displacements, density_of_states
from nucleate.polymorphs.stability.supercells import composition, primitive_cell, shortest_translation, supercell_matrix
from nucleate.polymorphs.stability.surface import CommitteeForces
from nucleate.relax.batched import relax
from nucleate.relax.settings import RelaxSettings
from tests.conftest import PairPotential, PotentialCalculator

TO_THZ = 241.79893
"""Frequency in THz of one eV."""
TIGHT = RelaxSettings(fmax=1e-5, smax=1e-5, max_steps=500, patience=500)


def at_rest(atoms, potential):
    """Return the primitive cell at the minimum that has its symmetry."""
    return primitive_cell(relax([primitive_cell(atoms)], potential, TIGHT)[0].atoms, 1e-3)


def phonons_of(atoms, potential, matrix, distance=0.01):
    sets = Displacements(atoms, np.asarray(matrix), distance)
    return sets.phonons(CommitteeForces(potential, "pairs").evaluate(sets.structures, "test"))


@pytest.fixture(scope="module")
def rock_salt():
    potential = PairPotential(species=(11, 17), depth=(0.3,), bond=3.2, mixed=0.85)
    return at_rest(bulk("NaCl", "rocksalt", a=5.4), potential), potential


def test_frequencies_are_those_of_ase(rock_salt, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    atoms, potential = rock_salt
    ours = phonons_of(atoms, potential, np.diag([4, 4, 4]))
    theirs = AsePhonons(atoms, PotentialCalculator(potential), supercell=(4, 4, 4), delta=0.01)
    theirs.run()
    theirs.read(acoustic=True)
    # At commensurate points nothing depends on how force constants are shared among images.
    points = np.array([[0.5, 0.5, 0.0], [0.25, 0.0, 0.0], [0.5, 0.25, 0.75], [0.0, 0.0, 0.0]])
    expected = theirs.band_structure(points, verbose=False) * TO_THZ
    assert ours.frequencies(points).mean == pytest.approx(np.sort(expected.real, axis=1), abs=0.02)


def test_translations_have_no_restoring_force(rock_salt):
    atoms, potential = rock_salt
    phonons = phonons_of(atoms, potential, np.diag([3, 3, 3]))
    assert np.abs(phonons.constants.sum(axis=2)).max() < 1e-6
    assert np.abs(phonons.frequencies([[0, 0, 0]]).mean[0, :3]).max() < 1e-3


def test_members_have_their_own_frequencies(rock_salt):
    atoms, _ = rock_salt
    committee = PairPotential(species=(11, 17), depth=(0.3, 0.48), bond=3.2, mixed=0.85)
    found = phonons_of(atoms, committee, np.diag([2, 2, 2])).frequencies([[0.5, 0.5, 0.0]])
    # Frequencies grow as the square root of the depth, and force constants of the mean are the mean ones.
    assert found.members[1] == pytest.approx(found.members[0] * np.sqrt(0.48 / 0.3), rel=1e-6)
    assert found.mean == pytest.approx(found.members[0] * np.sqrt(0.39 / 0.3), rel=1e-6)
    assert found.spread == pytest.approx(np.abs(found.members[1] - found.members[0]) / np.sqrt(2), rel=1e-6)


def test_the_density_of_states_counts_the_modes(rock_salt):
    atoms, potential = rock_salt
    weights, found = phonons_of(atoms, potential, np.diag([2, 2, 2])).mesh(20.0)
    axis = np.linspace(found.mean.min() - 1, found.mean.max() + 1, 500)
    density = density_of_states(weights, found.mean, axis)
    assert np.trapezoid(density, axis) == pytest.approx(6, rel=1e-3)


def test_a_mode_is_displaced_with_its_own_curvature():
    """The energy along the displacement of a mode has the curvature that its frequency gives, for complex waves too."""
    potential = PairPotential(depth=(0.3,))
    atoms = at_rest(bulk("Ar", "sc", a=2.9), potential)
    surface = CommitteeForces(potential, "pairs")
    phonons = phonons_of(atoms, potential, np.diag([4, 4, 4]))
    modes = imaginary_modes(phonons)
    assert len(modes) > 1
    for mode in modes[:3]:
        cell, chosen = directions(phonons, mode, np.random.default_rng(1))
        for direction in chosen[:2]:
            structures = [cell.copy() for _ in range(3)]
            for sign, structure in zip((-1, 0, 1), structures, strict=True):
                structure.positions += sign * 0.01 * direction
            low, middle, high = surface.evaluate(structures, "test").energy[0]
            curvature = (low + high - 2 * middle) / 0.01**2 / (cell.get_masses()[:, None] * direction**2).sum()
            frequency = np.sign(curvature) * np.sqrt(abs(curvature)) * 15.633302
            assert frequency == pytest.approx(mode.frequency, rel=0.01)


@pytest.mark.parametrize(
    ("point", "size"),
    [((0, 0, 0), 1), ((0.5, 0, 0), 2), ((0.5, 0.5, 0), 2), ((-0.25, 0.25, 0.25), 4), ((1 / 3, 1 / 3, 0), 3)],
)
def test_the_cell_of_a_wave_is_the_smallest(point, size):
    cell = bulk("Si").cell.array
    matrix = wave_cell(np.array(point), cell)
    assert round(np.linalg.det(matrix)) == size
    phase = matrix @ np.array(point)
    assert phase == pytest.approx(np.rint(phase), abs=1e-9)


@pytest.mark.parametrize(
    "atoms",
    [
        bulk("Si"), bulk("Fe"), bulk("Mg"), bulk("NaCl", "rocksalt", a=5.6), bulk("Sn", "bct", a=5.8, c=3.2),
        Atoms("C2", cell=[[2.46, 0, 0], [-1.23, 2.13, 0], [0.3, 0.2, 6.7]], scaled_positions=[[0, 0, 0], [1 / 3, 2 / 3, 0.5]], pbc=True),
    ],
)  # fmt: skip
def test_a_supercell_keeps_images_apart(atoms):
    cell = primitive_cell(atoms)
    matrix = supercell_matrix(cell, 9.0)
    assert shortest_translation(matrix @ cell.cell.array) >= 9.0 - 1e-3
    supercell = make_supercell(cell, matrix)
    assert len(supercell) == round(abs(np.linalg.det(matrix))) * len(cell)
    # The smallest sphere that fits bounds the volume from below; a cell much larger than a cube would be wasteful.
    assert supercell.get_volume() < 3 * 12.0**3


def test_a_supercell_beyond_memory_is_refused():
    with pytest.raises(BadInput, match="smaller --length"):
        supercell_matrix(primitive_cell(bulk("Si")), 60.0)


def test_polymorphs_of_one_compound_have_one_composition():
    assert composition(bulk("NaCl", "rocksalt", a=5.6)) == composition(bulk("NaCl", "cesiumchloride", a=3.5) * (2, 1, 1))
