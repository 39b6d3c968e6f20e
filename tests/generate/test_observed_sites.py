import pickle
from collections import Counter

import numpy as np
import pytest
import spglib
from ase.data import atomic_numbers

from nucleate.crystals.formula import parse_formula
from nucleate.errors import BadInput
from nucleate.generate import GenerateSettings, SymmetricGenerator
from nucleate.generate.distances import closest_fit
from nucleate.generate.observed_sites import ObservedSitesGenerator
from nucleate.generate.wyckoff import SiteFilling, space_group_sites
from nucleate.generate.wyckoff_statistics import ObservedFilling, observed_fillings, observed_sites
from tests.generate.conftest import same
from tests.generate.test_symmetric import centrings, spglib_hall

ONE = GenerateSettings(workers=1)


def labels(filling: ObservedFilling) -> list[str]:
    """Labels of the occupied sites."""
    return sorted(filling.group.sites[site].label for site, orbits in filling.sites for _ in range(orbits))


def drawn_sites(candidate) -> tuple[int, list[tuple[str, str]]]:
    """Space group, and pairs of element and site, of a candidate."""
    return candidate.details["space_group"], sorted((site["element"], site["site"]) for site in candidate.details["sites"])


def test_the_table_counts_crystals_and_its_atoms_are_those_of_the_conventional_cell():
    rows = observed_sites()
    assert len(rows) == 12593
    assert sum(row.crystals for row in rows) == 88678
    # Sites with up to 16 atoms in the primitive cell are sufficient for almost all rows.
    multiplicities = [{site.index: site.multiplicity for site in group.sites} for group in space_group_sites(16)]
    checked = [row for row in rows if set(row.positions) <= set(multiplicities[row.group - 1])]
    assert len(checked) > 11000
    for row in checked:
        assert sum(multiplicities[row.group - 1][k] for k in row.positions) == row.atoms


@pytest.mark.parametrize(
    ("formula", "group", "sites", "crystals"),
    [
        ("Al4O6", 167, ["12c", "18e"], 27),
        ("Ca2C2O6", 167, ["18e", "6a", "6b"], 28),
        ("Mg2Al4O8", 227, ["16d", "32e", "8a"], 104),
    ],
)
def test_corundum_calcite_and_spinel_are_in_the_table(formula, group, sites, crystals):
    fillings = observed_fillings(tuple(parse_formula(formula).values()))
    (filling,) = [f for f in fillings if f.group.number == group and labels(f) == sorted(sites)]
    assert filling.crystals == crystals
    # Al has four, Ca and C two atoms each: calcite has two assignments, the other two have one.
    assert filling.number() == (2 if "Ca" in formula else 1)


@pytest.mark.parametrize("counts", [(4, 6), (2, 2, 4), (8,)])
def test_assignments_are_counted_exactly(counts):
    groups = {number: SiteFilling(space_group_sites(max(counts))[number - 1], counts) for number in (2, 12, 47, 167, 227)}
    for number, every in groups.items():
        # All combinations of the composition, by the sites that they occupy.
        combinations = Counter(tuple(sorted(site for _, site in combination)) for combination in every.every()) if number > 47 else None
        for filling in observed_fillings(counts, (number,)):
            occupied = tuple(sorted(site for site, orbits in filling.sites for _ in range(orbits)))
            if combinations is not None:
                assert filling.number() == combinations[occupied]
            rng = np.random.default_rng(0)
            seen = {filling.draw(rng) for _ in range(20 * min(filling.number(), 20))}
            assert all(tuple(sorted(site for _, site in combination)) == occupied for combination in seen)
            if filling.number() <= 20:
                assert len(seen) == filling.number()


def test_assignments_are_equally_likely():
    filling = max((f for f in observed_fillings((4, 6)) if 3 <= f.number() <= 6), key=lambda f: f.crystals)
    rng = np.random.default_rng(0)
    times = Counter(filling.draw(rng) for _ in range(600))
    assert len(times) == filling.number()
    assert min(times.values()) > 0.7 * 600 / filling.number()


def test_frequencies_are_those_of_species_put_on_known_crystals_at_random():
    # The four orbits of Fm-3m 4a 4b 8c 24e have sizes 1, 1, 2 and 6; of the 16 ways to put two species on them one gives Al4O6.
    (filling,) = [f for f in observed_fillings((4, 6), (225,)) if labels(f) == ["24e", "4a", "4b", "8c"]]
    assert filling.number() == 1
    assert filling.weight() == pytest.approx(filling.crystals / 16)
    # Two orbits of 4i are equal, so that two species occupy them in three ways.
    (filling,) = [f for f in observed_fillings((2, 2), (12,)) if labels(f) == ["4i", "4i"]]
    assert filling.weight() == pytest.approx(filling.crystals / 3)


@pytest.fixture(scope="module")
def alumina():
    return ObservedSitesGenerator({"Al": 4, "O": 6}, ONE)


@pytest.fixture(scope="module")
def made(alumina):
    return alumina.propose(300, np.random.default_rng(0))


def test_exact_atoms_distances_and_symmetry(alumina, made):
    packing = alumina.builder.symmetric.packing
    kinds = np.repeat([0, 1], [4, 6])
    limits = packing.min_distances[np.ix_(kinds, kinds)]
    for candidate in made[:100]:
        atoms = candidate.atoms
        assert candidate.origin == "wyckoff"
        assert candidate.details["known_crystals"] > 0
        assert atoms.get_chemical_symbols() == ["Al"] * 4 + ["O"] * 6
        assert closest_fit(atoms.get_scaled_positions(), np.array(atoms.cell), limits) >= 1.0 - 1e-6
        cell = (atoms.cell.tolist(), atoms.get_scaled_positions().tolist(), atoms.numbers.tolist())
        found = spglib.get_symmetry_dataset(cell, symprec=1e-3)
        asked = candidate.details["space_group"]
        general = max(spglib.get_symmetry_from_database(spglib_hall(asked))["rotations"].shape[0] // centrings(asked), 1)
        assert len(found.rotations) % general == 0


def test_common_space_groups_occur_often(made):
    groups = Counter(candidate.details["space_group"] for candidate in made)
    uniform = SymmetricGenerator({"Al": 4, "O": 6}, ONE).propose(300, np.random.default_rng(0))
    common = {row.group for row in observed_sites() if row.crystals > 200}
    assert sum(groups[g] for g in common) > 1.5 * sum(c.details["space_group"] in common for c in uniform)


@pytest.mark.parametrize(
    ("formula", "n", "wanted"),
    [
        ("Al4O6", 800, (167, [("Al", "12c"), ("O", "18e")])),
        ("Ti2O4", 300, (136, [("O", "4f"), ("Ti", "2a")])),
        ("Mg2Al4O8", 300, (227, [("Al", "16d"), ("Mg", "8a"), ("O", "32e")])),
    ],
)
def test_the_sites_of_known_crystals_are_drawn(formula, n, wanted):
    generator = ObservedSitesGenerator(parse_formula(formula), ONE)
    assert any(drawn_sites(candidate) == wanted for candidate in generator.propose(n, np.random.default_rng(0)))


def test_diamond_is_in_the_table():
    # 8a and 8b of Fd-3m are equal up to a translation.
    assert any(f.group.number == 227 and labels(f) in (["8a"], ["8b"]) for f in observed_fillings((2,)))


@pytest.mark.parametrize("formula", ["H", "Ba1Y2Cu3O7", "Ca3O6H6", "Si12"])
def test_other_compositions(formula):
    counts = parse_formula(formula)
    for candidate in ObservedSitesGenerator(counts, ONE).propose(5, np.random.default_rng(0)):
        numbers = Counter(candidate.atoms.numbers.tolist())
        assert numbers == {atomic_numbers[symbol]: n for symbol, n in counts.items()}


def test_repeats_with_the_same_seed_also_of_a_pickled_builder(alumina, made):
    assert same(alumina.builder(made[17].seed).atoms, made[17].atoms)
    sent = pickle.loads(pickle.dumps(alumina.builder))
    assert all(same(sent(c.seed).atoms, c.atoms) and sent(c.seed).details == c.details for c in made[:20])
    again = ObservedSitesGenerator({"Al": 4, "O": 6}, ONE).propose(300, np.random.default_rng(0))
    assert all(same(a.atoms, b.atoms) for a, b in zip(made, again, strict=True))


def test_only_the_space_groups_of_the_settings():
    generator = ObservedSitesGenerator({"Al": 4, "O": 6}, GenerateSettings(workers=1, space_groups=(167, 12)))
    assert {c.details["space_group"] for c in generator.propose(40, np.random.default_rng(0))} <= {12, 167}


def test_a_composition_without_known_crystals_is_refused():
    # No crystal of the table has 115 atoms in its primitive cell.
    counts = {"Al": 16, "O": 16, "Si": 16, "Mg": 16, "Ca": 16, "Ti": 16, "Na": 16, "K": 3}
    with pytest.raises(BadInput, match=r"no Wyckoff positions of known crystals give .* leave prototypes out with --no-prototypes"):
        ObservedSitesGenerator(counts, ONE)
    with pytest.raises(BadInput, match="with these space_groups"):
        ObservedSitesGenerator({"Si": 3}, GenerateSettings(space_groups=(228,)))
