"""Textures of films: dipole sums, stationary states, minimum energy paths with closed forms, and the verb."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from nucleate.cli.app import app
from nucleate.errors import BadInput
from nucleate.spins import api
from nucleate.spins.couplings import Couplings, tensor, uniaxial
from nucleate.spins.files.table import table_text
from nucleate.spins.simulate.lattice import SpinLattice
from nucleate.spins.textures.dipoles import STRENGTH, Dipoles
from nucleate.spins.textures.films import film_lattice, film_textures
from nucleate.spins.textures.path import CONVERGED, along_geodesics, geodesic, minimum_energy_path
from nucleate.spins.textures.skyrmion import collapse, find_skyrmion
from nucleate.spins.textures.surface import TORQUE, SpinSurface, unit
from nucleate.units import MU_B

UP = np.array([0.0, 0.0, 1.0])


def film(j=5.0, d=2.0, k=0.5, moment=3.0, triangular=True, a=2.7):
    """Nearest neighbours of a triangular or square film with interfacial D vectors and an easy axis along the normal."""
    cell = np.array([[a, 0, 0], [a / 2, a * 3**0.5 / 2, 0] if triangular else [0, a, 0], [0, 0, 15.0]])
    shifts = np.array([[1, 0, 0], [0, 1, 0], [-1, 1, 0]] if triangular else [[1, 0, 0], [0, 1, 0]])
    bonds = unit(shifts @ cell)
    vectors = d * np.cross(UP, bonds)
    n = len(shifts)
    return Couplings(
        cell, np.zeros((1, 3)), ("Fe",), [moment], [0] * n, [0] * n, shifts, tensor(np.full(n, j), vectors), [uniaxial(k, UP)]
    )  # fmt: skip


def direct_dipoles(lattice, spins):
    """Energy in meV of an open cluster by the sum over pairs."""
    where, m = lattice.positions, np.tile(lattice.couplings.moments, int(np.prod(lattice.size)))
    total = 0.0
    for i in range(len(where)):
        r = where[i + 1 :] - where[i]
        d = np.linalg.norm(r, axis=1)
        u = r / d[:, None]
        pair = 3 * (u @ spins[i]) * (u * spins[i + 1 :]).sum(axis=1) - spins[i + 1 :] @ spins[i]
        total -= STRENGTH * m[i] * (m[i + 1 :] * pair / d**3).sum()
    return total


def test_dipoles_of_an_open_film_are_the_sum_over_pairs():
    couplings = Couplings(
        np.array([[2.5, 0.3, 0], [0, 3.0, 0], [0, 0.1, 4.0]]), [[0, 0, 0], [1.2, 1.4, 1.0]], ("Fe", "Mn"), [2.0, 3.0],
        [0], [1], [[0, 0, 0]], tensor(np.array([1.0])),
    )  # fmt: skip
    lattice = SpinLattice.build(couplings, (3, 4, 2), periodic=(False, False, False))
    dipoles = Dipoles.build(lattice)
    spins = lattice.random(np.random.default_rng(0))
    (field,) = dipoles.fields(spins[None])
    assert -0.5 * np.vdot(spins, field) == pytest.approx(direct_dipoles(lattice, spins), rel=1e-10)


@pytest.mark.parametrize(("triangular", "total"), [(True, 11.03418), (False, 9.03362)])
def test_a_periodic_film_has_the_sum_of_its_infinite_lattice(triangular, total):
    """Sums of 1/r^3 over triangular and square lattices (J. Topping, Proc. R. Soc. A 114, 67 (1927))."""
    couplings = film(triangular=triangular)
    lattice = SpinLattice.build(couplings, (5, 4, 1), periodic=(True, True, False))
    dipoles = Dipoles.build(lattice)
    unit_energy = STRENGTH * 3.0**2 * total / 2.7**3
    for direction, factor in ((UP, -1.0), (np.array([1.0, 0, 0]), 0.5)):
        (field,) = dipoles.fields(lattice.aligned(tuple(direction))[None])
        # Beyond the images the film is continuous, which is wrong by some 3e-4 of the sum.
        assert field @ direction == pytest.approx(np.full(20, factor * unit_energy), rel=6e-4)


def test_dipoles_of_a_bulk_crystal_are_refused():
    with pytest.raises(BadInput, match="open one direction"):
        Dipoles.build(SpinLattice.build(film(), (3, 3, 1)))


def test_fields_are_derivatives_of_the_energy_and_states_are_evaluated_together():
    lattice = SpinLattice.build(film(), (5, 4, 1), (1.0, -2.0, 3.0), (True, True, False))
    surface = SpinSurface(lattice, Dipoles.build(lattice))
    rng = np.random.default_rng(1)
    images = np.array([lattice.random(rng) for _ in range(3)])
    energies, fields = surface.of_images(3)(images)
    for image, energy, field in zip(images, energies, fields, strict=True):
        alone, there = surface.evaluate(image)
        assert energy == pytest.approx(alone, rel=1e-12)
        assert field == pytest.approx(there, abs=1e-11)
        step = 1e-5 * rng.standard_normal(image.shape)
        change = (surface.evaluate(image + step)[0] - surface.evaluate(image - step)[0]) / 2
        assert change == pytest.approx(-np.vdot(field, step), rel=1e-6)


def test_coherent_rotation_has_its_closed_barrier():
    """Strongly coupled spins with an easy axis, from one direction of it to the other: N K; in a field along it (1 - h)^2 of that."""
    for field in (0.0, 2.0):
        couplings = film(j=50.0, d=0.0, k=0.5)
        lattice = SpinLattice.build(couplings, (3, 3, 1), (0.0, 0.0, -field), (True, True, False))
        surface = SpinSurface(lattice)
        path = along_geodesics(lattice.aligned(), lattice.aligned((0, 0, -1.0)), 9, np.random.default_rng(0))
        # Random directions of turning are drawn together by the couplings.
        path[1:-1] = unit(0.5 * path[1:-1] + np.array([1.0, 0, 0]))
        found = minimum_energy_path(surface, path)
        h = MU_B * 3.0 * field / (2 * 0.5)
        assert found.converged
        assert found.barrier == pytest.approx(9 * 0.5 * (1 - h) ** 2, rel=1e-3)
        assert geodesic(found.images[0], found.images[-1]) == pytest.approx(np.full(9, np.pi), abs=1e-6)


@pytest.fixture(scope="module")
def skyrmions():
    """Skyrmions of a film in two fields."""
    found = {}
    for field in (5.0, 8.0):
        surface = SpinSurface(film_lattice(film(), (16, 16), field))
        found[field] = (surface, find_skyrmion(surface, UP, [6.0])[0])
    return found


def test_skyrmions_are_stationary_and_shrink_in_the_field(skyrmions):
    for surface, found in skyrmions.values():
        assert found.charge == pytest.approx(-1, abs=1e-6)
        assert surface.torque(found.spins) < TORQUE
        # Spins turn outwards with this sign of the D vectors, and the middle is against the field.
        assert found.spins[:, 2].min() < -0.5
    radii = [found.radius for _, found in skyrmions.values()]
    assert 1.0 < radii[1] < radii[0] < 10.0
    strong = SpinSurface(film_lattice(film(), (16, 16), 60.0))
    assert find_skyrmion(strong, UP, [6.0]) == (None, 0)


def test_a_skyrmion_collapses_over_a_saddle_point(skyrmions):
    barriers = []
    for surface, found in skyrmions.values():
        path = collapse(surface, found, UP, images=12)
        assert path.converged
        top = int(path.energies.argmax())
        assert 0 < top < 11
        assert surface.torque(path.images[top]) < 1.01 * CONVERGED
        # The way back is from the uniform state, with the energy of the skyrmion as the difference.
        assert path.energies[0] - path.energies[-1] == pytest.approx(found.energy, abs=1e-9)
        barriers.append(path.barrier)
    assert barriers[0] > barriers[1] > 0


def test_the_mirror_image_of_a_film_has_the_mirror_image_of_its_skyrmion(skyrmions):
    """D vectors of the other sign: the same energy and radius, with spins that turn the other way."""
    _, found = skyrmions[8.0]
    mirrored, _ = find_skyrmion(SpinSurface(film_lattice(film(d=-2.0), (16, 16), 8.0)), UP, [6.0])
    assert mirrored.energy == pytest.approx(found.energy, rel=1e-6)
    assert mirrored.radius == pytest.approx(found.radius, rel=1e-4)
    assert mirrored.charge == pytest.approx(found.charge, abs=1e-6)


def test_the_lowest_state_is_a_spiral_without_a_field_and_uniform_in_a_strong_one():
    low, high = film_textures(film(k=0.1), (12, 12), (0.0, 40.0), dipoles=False, barriers=False)
    assert low.lowest in ("spiral", "other")
    assert low.lowest_energy < -0.1
    assert high.lowest == "uniform"
    assert high.lowest_energy == 0
    assert high.tilt == pytest.approx(0, abs=0.1)
    # Dipoles and a weak anisotropy turn the moments of a film without D vectors into its plane.
    (flat,) = film_textures(film(d=0.0, k=0.05), (8, 8), (0.0,), barriers=False)
    assert flat.tilt == pytest.approx(90, abs=0.1)
    assert flat.skyrmion is None


def test_the_verb(tmp_path):
    path = tmp_path / "film.csv"
    path.write_text(table_text(film()))

    def run(*words):
        return CliRunner().invoke(app, ["spins", "textures", *map(str, words)])

    picture = tmp_path / "film.png"
    ended = run(path, "--size", 10, 10, "--fields", "7,60", "--no-barriers", "--no-dipoles", "--plot", picture, "--json")
    assert ended.exit_code == 0, ended.output
    told = json.loads(ended.stdout)["fields"]
    assert told[0]["skyrmion"]["charge"] == pytest.approx(-1, abs=1e-6)
    assert told[0]["skyrmion"]["barrier"] is None
    assert told[1]["skyrmion"] is None
    assert picture.stat().st_size > 1000
    plain = run(path, "--size", 8, 8, "--fields", "60", "--no-dipoles")
    assert "uniform, 0° from the normal" in plain.output
    for words, message in (
        ((path, "--size", 2, 20), "size 2 20: give 8 to 512 cells"),
        ((path, "--fields", "nan"), "--fields nan: give finite numbers in T"),
        ((path, "--plot", tmp_path / "no" / "x.png"), "the folder does not exist"),
        ((tmp_path / "none.csv",), "none.csv"),
    ):
        refused = run(*words)
        assert refused.exit_code == 2, refused.output
        assert message in " ".join(refused.output.split())


def test_crystals_and_chains_are_no_films():
    couplings = film()
    cubic = Couplings(
        3 * np.eye(3), np.zeros((1, 3)), ("Fe",), [2.0], [0] * 3, [0] * 3, np.eye(3, dtype=int), tensor(np.full(3, 5.0))
    )  # fmt: skip
    with pytest.raises(BadInput, match="connect cells along the third lattice vector"):
        api.textures(cubic)
    crossing = Couplings(
        couplings.cell, [[0, 0, 0.5], [0, 0, 14.5]], ("Fe", "Fe"), [3.0, 3.0], [0, 0, 0], [0, 0, 1], [[1, 0, 0], [0, 1, 0], [0, 0, -1]],
        tensor(np.full(3, 5.0)),
    )  # fmt: skip
    with pytest.raises(BadInput, match="pairs cross the boundary of the cell"):
        api.textures(crossing)
    chain = Couplings(couplings.cell, couplings.positions, ("Fe",), [2.0], [0], [0], [[1, 0, 0]], tensor(np.array([5.0])))
    with pytest.raises(BadInput, match="do not connect cells along the first two"):
        api.textures(chain)
