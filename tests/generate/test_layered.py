"""Layers: exact counts, distances, the requested layer group, vacuum and thickness."""

import numpy as np
import pytest
import spglib

from nucleate.generate.distances import closest_fit
from nucleate.generate.layered import LayerGenerator, layer_groups, random_plane, reduced_plane
from nucleate.generate.settings import GenerateSettings

ONE = GenerateSettings(workers=1)


@pytest.mark.parametrize("counts", [{"C": 2}, {"Mo": 1, "S": 2}, {"P": 4}, {"Cr": 2, "I": 6}])
def test_properties_of_every_candidate(counts):
    generator = LayerGenerator(counts, 5.0, 12.0, ONE)
    groups = layer_groups(max(counts.values()))
    for candidate in generator.propose(40, np.random.default_rng(0)):
        atoms = candidate.atoms
        symbols = atoms.get_chemical_symbols()
        assert {s: symbols.count(s) for s in counts} == counts
        assert atoms.pbc.tolist() == [True, True, False]
        cell = atoms.cell.array
        assert cell[2] == pytest.approx([0, 0, 17.0])
        assert cell[:2, 2] == pytest.approx(0)
        assert np.linalg.det(cell) > 0
        assert np.ptp(atoms.positions[:, 2]) <= 5.0 + 1e-9
        species = np.array([list(counts).index(s) for s in symbols])
        limits = generator.builder.packing.min_distances[np.ix_(species, species)]
        assert closest_fit(atoms.get_scaled_positions(), cell, limits) >= 1 - 1e-6
        found = spglib.get_layergroup((cell, atoms.get_scaled_positions(), atoms.numbers), aperiodic_dir=2, symprec=1e-3)
        wanted = groups[candidate.details["layer_group"] - 1]
        # All operations of the requested group are there; a cell that is not primitive has more.
        assert len(found.rotations) >= len(wanted.rotations)


def test_all_eighty_groups():
    groups = layer_groups(24)
    assert [group.number for group in groups] == list(range(1, 81))
    assert groups[79].symbol == "p6/mmm"
    assert len(groups[79].rotations) == 24
    for group in groups:
        # A group: the product of two operations is one of them, up to translations in the plane.
        keys = {_key(w, t) for w, t in zip(group.rotations, group.translations, strict=True)}
        assert len(keys) == len(group.rotations)
        for a, s in zip(group.rotations, group.translations, strict=True):
            for b, t in zip(group.rotations, group.translations, strict=True):
                assert _key(a @ b, a @ t + s) in keys


def _key(rotation, translation):
    shift = translation.copy()
    shift[:2] %= 1.0
    return tuple(np.round(rotation.ravel()).astype(int)) + tuple(np.round(np.where(shift > 1 - 1e-6, 0.0, shift) * 24).astype(int))


def test_lattices_have_the_shape_of_their_system():
    rng = np.random.default_rng(1)
    for number, angle, equal in ((20, 90, False), (55, 90, True), (75, 120, True)):
        cell = random_plane(number, 10.0, 3.0, rng)
        lengths = np.linalg.norm(cell, axis=1)
        assert abs(np.linalg.det(cell)) == pytest.approx(10.0)
        assert np.degrees(np.arccos(cell[0] @ cell[1] / lengths.prod())) == pytest.approx(angle)
        assert (abs(lengths[0] - lengths[1]) < 1e-9) == equal


def test_reduced_vectors_are_the_shortest():
    rng = np.random.default_rng(2)
    for _ in range(50):
        cell = np.diag([1.0, 1.0, 9.0])
        cell[:2, :2] = rng.normal(size=(2, 2)) + 1e-3
        reduced = reduced_plane(cell)
        steps = reduced @ np.linalg.inv(cell)
        assert steps == pytest.approx(np.round(steps), abs=1e-6)
        assert abs(np.linalg.det(reduced)) == pytest.approx(abs(np.linalg.det(cell)))
        a, b = reduced[0, :2], reduced[1, :2]
        assert abs(a @ b) <= 0.5 * min(a @ a, b @ b) + 1e-9
