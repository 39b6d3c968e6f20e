import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import spglib

from nucleate.generate.lattices import PRIMITIVE, random_conventional
from nucleate.generate.wyckoff import GroupSites, Site, SiteFilling, read_groups, space_group_sites


def toy(*sizes_and_freedoms: tuple[int, int]) -> GroupSites:
    sites = tuple(
        Site(letter, size, "1", freedom, np.zeros((size, 3, 3)), np.zeros((size, 3)))
        for letter, (size, freedom) in zip("abcdefgh", sizes_and_freedoms, strict=False)
    )
    return GroupSites(1, "P1", sites, np.eye(3)[None], np.zeros((1, 3)))


def test_the_number_of_ways_is_that_of_the_enumeration():
    filling = SiteFilling(toy((1, 0), (1, 0), (2, 0), (2, 1), (4, 3)), (4, 6))
    ways = list(filling.every())
    assert len(ways) == len(set(ways)) == filling.number()
    for way in ways:
        assert sum(filling.group.sites[site].size for kind, site in way if kind == 0) == 4
        assert sum(filling.group.sites[site].size for kind, site in way if kind == 1) == 6
        fixed = Counter(site for _, site in way if filling.group.sites[site].freedom == 0)
        assert all(number == 1 for number in fixed.values())


def test_small_enumeration_by_hand():
    # Two fixed points and one line of two atoms, filled with A2: both points, or the line.
    assert sorted(SiteFilling(toy((1, 0), (1, 0), (2, 1)), (2,)).every()) == [((0, 0), (0, 1)), ((0, 2),)]


def test_draws_are_uniform():
    filling = SiteFilling(toy((1, 0), (1, 0), (2, 0), (2, 1)), (2, 4))
    ways = list(filling.every())
    rng = np.random.default_rng(0)
    drawn = Counter(filling.draw(rng) for _ in range(200 * len(ways)))
    assert set(drawn) == set(ways)
    # Poisson counts about 200: seven standard deviations
    assert all(100 < number < 300 for number in drawn.values())


def test_a_large_composition_is_drawn_species_by_species():
    filling = SiteFilling(space_group_sites(100)[61], (100, 100, 100))
    assert filling.large
    assert filling.number() == 1
    combination = filling.draw(np.random.default_rng(0))
    assert combination is not None
    for kind in range(3):
        assert sum(filling.group.sites[site].size for k, site in combination if k == kind) == 100


def test_impossible_counts_have_no_way():
    assert SiteFilling(space_group_sites(4)[226 - 1], (3,)).number() == 0


@pytest.mark.parametrize("first", range(1, 231, 46))
def test_general_positions_have_exactly_the_group_asked_for(first):
    """Three species on general positions leave no more symmetry than the table put in (all 230 groups)."""
    rng = np.random.default_rng(first)
    for group in space_group_sites(48)[first - 1 : first + 45]:
        primitive = PRIMITIVE[group.centring]
        conventional = random_conventional(group.system, group.centring, 4000.0, 2.0, rng)
        general = group.sites[-1]
        points = rng.random((3, 3))
        scaled = np.concatenate([general.rotations @ p + general.translations for p in points])
        cell = (
            (primitive @ conventional).tolist(),
            scaled.tolist(),
            np.repeat([1, 2, 3], general.size).tolist(),
        )
        found = spglib.get_symmetry_dataset(cell, symprec=1e-5)
        assert found is not None
        assert found.number == group.number
        assert len(found.rotations) == general.size


def test_orbits_do_not_depend_on_which_atom_is_first():
    rng = np.random.default_rng(1)
    for group in space_group_sites(12)[1::7]:
        general = space_group_sites(48)[group.number - 1].sites[-1]
        for site in group.sites:
            orbit = site.rotations @ rng.random(3) + site.translations
            # The group's operations act on primitive coordinates once the rotation is taken there too.
            to_conventional = PRIMITIVE[group.centring].T
            moved = np.einsum("gij,jk,mk->gmi", general.rotations, to_conventional, orbit)
            moved += general.translations[:, None]
            difference = moved[:, :, None] - orbit[None, None]
            difference -= np.round(difference)
            assert (np.abs(difference).max(axis=-1).min(axis=-1) < 1e-6).all()


@pytest.mark.parametrize(("periodic", "numbers"), [(3, range(1, 231, 17)), (2, range(1, 81, 13))])
def test_the_tables_are_those_of_pyxtal(periodic, numbers):
    tool = Path(__file__).parents[2] / "tools" / "wyckoff_tables.py"
    spec = importlib.util.spec_from_file_location("wyckoff_tables", tool)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    wanted = module.tables(periodic, numbers)
    ends = np.cumsum(wanted["size"])[:-1]
    operations = zip(np.split(wanted["rotations"], ends), np.split(wanted["translations"], ends), strict=True)
    rows = zip(*(wanted[name].tolist() for name in ("group", "index", "letter", "multiplicity", "symmetry", "freedom")), strict=True)
    groups = read_groups(192, periodic)
    assert wanted["symbols"].tolist() == [groups[number - 1].symbol for number in numbers]
    assert len(wanted["size"]) == sum(len(groups[number - 1].sites) for number in numbers)
    for (number, index, *row), (rotations, translations) in zip(rows, operations, strict=True):
        (site,) = (site for site in groups[number - 1].sites if site.index == index)
        assert row == [site.letter, site.multiplicity, site.symmetry, site.freedom]
        np.testing.assert_allclose(site.rotations, rotations, atol=1e-9)
        np.testing.assert_allclose(site.translations, translations, atol=1e-9)
