import pickle
import warnings
from collections import Counter

import numpy as np
import pytest
from ase.spacegroup import crystal
from typer.testing import CliRunner

from nucleate.cli.app import app
from nucleate.crystals.compositions import parse_system
from nucleate.crystals.formula import parse_formula
from nucleate.csp.dimensions import check_dimensions
from nucleate.csp.run_settings import settings_from_dict
from nucleate.errors import BadInput, GenerationFailed
from nucleate.fingerprints.matching import same_crystal, space_group
from nucleate.generate import GenerateSettings, SymmetricGenerator, make_generator
from nucleate.generate.aflow import read_prototypes
from nucleate.generate.distances import closest_fit
from nucleate.generate.mixture import WithFallback, known_crystal_generators
from nucleate.generate.prototype_entries import assignments, matching_entries
from nucleate.generate.prototypes import PrototypeGenerator, entries
from nucleate.generate.substitution import ion_name, log_substitution
from nucleate.generate.system import SystemGenerator
from tests.generate.conftest import same

ONE = GenerateSettings(workers=1)


def test_the_library_is_that_of_pymatgen():
    library = read_prototypes()
    assert len(library) == 288
    corundum = next(p for p in library if p.name == "Corundum")
    assert (corundum.label, corundum.strukturbericht, corundum.space_group) == ("A2B3_hR10_167_c_e", "D5_1", 167)
    assert corundum.counts == {"Al": 4, "O": 6}
    assert space_group(corundum.atoms)[1] == 167
    assert all(1 <= p.space_group <= 230 and "None" not in p.name for p in library)


def known(formula: str):
    """The crystal that a prototype is expected to give, with experimental coordinates."""
    if formula == "Al4O6":
        return crystal("AlO", [(0, 0, 0.352), (0.306, 0, 0.25)], spacegroup=167, cellpar=[4.76, 4.76, 12.99, 90, 90, 120])
    if formula == "Ti2O4":
        return crystal("TiO", [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136, cellpar=[4.59, 4.59, 2.96, 90, 90, 90])
    if formula == "Mg2Al4O8":
        sites = [(0.125, 0.125, 0.125), (0.5, 0.5, 0.5), (0.263, 0.263, 0.263)]
        return crystal(["Mg", "Al", "O"], sites, spacegroup=227, setting=2, cellpar=[8.08, 8.08, 8.08, 90, 90, 90])
    return crystal("Si", [(0, 0, 0)], spacegroup=227, cellpar=[5.43, 5.43, 5.43, 90, 90, 90])


@pytest.mark.parametrize("formula", ["Al4O6", "Ti2O4", "Mg2Al4O8", "Si2", "Si8"])
def test_known_crystals_are_drawn(formula):
    counts = parse_formula(formula)
    generator = PrototypeGenerator(counts, ONE)
    wanted = known(formula)
    density = wanted.get_volume() / len(wanted)
    for candidate in generator.propose(400, np.random.default_rng(0)):
        atoms = candidate.atoms.copy()
        atoms.set_cell(atoms.cell.array * (density * len(atoms) / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
        if candidate.details["strain"] == 0 and same_crystal(atoms, wanted):
            assert space_group(atoms)[1] == candidate.details["space_group"]
            break
    else:
        pytest.fail(f"no candidate of {formula} is the known crystal")


@pytest.mark.parametrize("formula", ["Al4O6", "Mg2Al4O8", "Ca2Ti2O6", "Si8", "Fe4S8", "Na2Cl2"])
def test_exact_atoms_and_distances(formula):
    counts = parse_formula(formula)
    generator = PrototypeGenerator(counts, ONE)
    by_name = {(f.entry.prototype.label, f.entry.prototype.name, f.entry.assignment): f for f in generator.builder.fitted}
    for candidate in generator.propose(60, np.random.default_rng(0)):
        atoms, details = candidate.atoms, candidate.details
        assert candidate.origin == "prototype"
        assert atoms.get_chemical_symbols() == [symbol for symbol, n in counts.items() for _ in range(n)]
        fitted = by_name[details["label"], details["prototype"], tuple(details["assignment"].items())]
        species = np.repeat(np.arange(len(counts)), list(counts.values()))
        assert closest_fit(atoms.get_scaled_positions(), atoms.cell.array, fitted.limits[np.ix_(species, species)]) >= 1 - 1e-6
        assert details["volume"] == pytest.approx(atoms.get_volume())
        assert details["volume_factor"] >= 0.9 - 1e-9
        if not details["strain"]:
            assert space_group(atoms)[1] >= details["space_group"]


def test_draws_differ_and_repeat_with_their_seed():
    generator = PrototypeGenerator({"Al": 4, "O": 6}, ONE)
    made = generator.propose(40, np.random.default_rng(3))
    again = PrototypeGenerator({"Al": 4, "O": 6}, ONE).propose(40, np.random.default_rng(3))
    assert all(same(a.atoms, b.atoms) and a.details == b.details for a, b in zip(made, again, strict=True))
    sent = pickle.loads(pickle.dumps(generator.builder))
    assert same(sent(made[7].seed).atoms, made[7].atoms)
    assert len({candidate.details["volume"] for candidate in made}) == 40
    assert 10 <= sum(candidate.details["strain"] == 0 for candidate in made) <= 30


def test_every_assignment_of_equal_stoichiometry():
    assert list(assignments({"Na": 4, "Cl": 4}, {"Mg": 1, "O": 1})) == [(("Na", "Mg"), ("Cl", "O")), (("Na", "O"), ("Cl", "Mg"))]
    assert list(assignments({"O": 4, "Ti": 2}, {"Mg": 2, "Si": 1})) == [(("O", "Mg"), ("Ti", "Si"))]
    assert list(assignments({"O": 4, "Ti": 2}, {"Mg": 1, "Si": 1})) == []
    assert len(list(assignments({"A": 2, "B": 2, "C": 6}, {"Ca": 1, "Ti": 1, "O": 3}))) == 2
    zincblende = [e.assignment for e in matching_entries({"Ga": 1, "As": 1}) if e.prototype.name.startswith("Zincblende")]
    assert sorted(zincblende) == [(("S", "As"), ("Zn", "Ga")), (("S", "Ga"), ("Zn", "As"))]


def test_supercells_divide_the_cell():
    copies = {entry.prototype.name: entry.copies for entry in matching_entries({"Si": 8})}
    assert copies["alpha Np"] == 1
    assert copies["Magnesium"] == 4
    assert all(len(entry.prototype.numbers) * entry.copies == 8 for entry in matching_entries({"Si": 8}))
    rutile = next(e for e in matching_entries({"Ti": 4, "O": 8}) if e.prototype.name == "Rutile")
    assert rutile.copies == 2
    assert space_group(rutile.atoms(("O", "Ti")))[1] == 136
    assert rutile.atoms(("O", "Ti")).get_chemical_symbols() == ["O"] * 8 + ["Ti"] * 4


def test_the_smallest_volume_is_that_at_which_the_prototype_respects_the_distances():
    generator = PrototypeGenerator({"Fe": 4, "S": 8}, ONE)
    species = np.repeat([0, 1], [4, 8])
    for fitted in generator.builder.fitted:
        atoms = fitted.entry.atoms(("Fe", "S"))
        volume = fitted.smallest_factor * 12 * generator.builder.packing.volume_per_atom
        atoms.set_cell(atoms.cell.array * (volume / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
        assert closest_fit(atoms.get_scaled_positions(), atoms.cell.array, fitted.limits[np.ix_(species, species)]) == pytest.approx(1)


def test_a_prototype_with_overlapping_atoms_is_left_out():
    assert any(p.label == "ABC_cP12_198_a_a_a" for p in read_prototypes())
    assert "ABC_cP12_198_a_a_a" not in {entry.prototype.label for entry in matching_entries({"Ni": 4, "Sb": 4, "S": 4})}


def test_names_and_numbers_of_entries():
    names = entries({"Al": 4, "O": 6})
    assert "Corundum, A2B3_hR10_167_c_e, Al: Al, O: O" in names
    assert len(PrototypeGenerator({"Al": 4, "O": 6}, ONE)) == len(names)
    assert PrototypeGenerator.applicable({"Si": 8})
    assert not PrototypeGenerator.applicable({"Al": 5, "O": 7})
    with pytest.raises(BadInput, match=r"Al5O7: no prototype has this composition; leave prototypes out with --no-prototypes"):
        PrototypeGenerator({"Al": 5, "O": 7})


def test_the_distances_of_the_user_are_kept():
    given = GenerateSettings(workers=1, min_distance={"S-S": 2.8})
    for candidate in PrototypeGenerator({"Fe": 4, "S": 8}, given).propose(40, np.random.default_rng(0)):
        sulfur = candidate.atoms[4:]
        assert closest_fit(sulfur.get_scaled_positions(), sulfur.cell.array, np.full((8, 8), 2.8)) >= 1 - 1e-6
    free = PrototypeGenerator({"Fe": 4, "S": 8}, ONE)
    assert any(f.entry.prototype.name == "Pyrite" and f.limits[-1, -1] < 2.2 for f in free.builder.fitted)


def test_only_the_space_groups_of_the_settings():
    generator = PrototypeGenerator({"Al": 4, "O": 6}, GenerateSettings(workers=1, space_groups=(167,)))
    assert {c.details["prototype"] for c in generator.propose(10, np.random.default_rng(0))} == {"Corundum"}


def test_likely_substitutions_are_preferred():
    generator = PrototypeGenerator({"Al": 4, "O": 6}, ONE)
    times = Counter(c.details["prototype"] for c in generator.propose(200, np.random.default_rng(0)))
    assert times["Corundum"] > 100
    assert len(times) == 5


def test_substitution_probabilities_are_those_of_pymatgen():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from pymatgen.core.structure_prediction.substitution_probability import SubstitutionProbability
        except ImportError:
            from pymatgen.analysis.structure_prediction.substitution_probability import SubstitutionProbability
    theirs = SubstitutionProbability()
    for new, old in (("Al3+", "Fe3+"), ("O2-", "O2-"), ("Ti4+", "Si4+"), ("Na1+", "Cl1-")):
        assert np.exp(log_substitution(new, old)) == pytest.approx(theirs.cond_prob(new.replace("1", ""), old.replace("1", "")))
    assert ion_name("Al", 3.0) == "Al3+"
    assert ion_name("Fe", 8 / 3) is None
    assert log_substitution("Xe4+", "O2-") is None


# The mixture of a search


def test_shares_of_a_mixture():
    settings = GenerateSettings(workers=1, prototype_share=0.4, symmetric_share=0.5)
    made = make_generator({"Al": 4, "O": 6}, settings).propose(50, np.random.default_rng(0))
    assert Counter(c.origin for c in made) == {"prototype": 10, "wyckoff": 10, "symmetric": 15, "p1": 15}
    only = make_generator({"Al": 4, "O": 6}, GenerateSettings(workers=1, prototype_share=1.0))
    assert Counter(c.origin for c in only.propose(10, np.random.default_rng(0))) == {"prototype": 5, "wyckoff": 5}


def test_without_a_share_the_candidates_are_those_of_before():
    plain = make_generator({"Al": 4, "O": 6}, ONE)
    assert [generator.name for generator, _ in plain.parts] == ["symmetric", "p1"]


def test_a_composition_without_prototypes_gets_the_observed_sites_alone():
    made = make_generator({"Al": 5, "O": 7}, GenerateSettings(workers=1, prototype_share=0.5)).propose(20, np.random.default_rng(0))
    assert Counter(c.origin for c in made)["wyckoff"] == 10


NOTHING = {"Al": 5, "O": 7}
TIGHT = {"space_groups": (16, 22)}
"""Settings for which no known crystal has the atoms of `NOTHING`."""


def test_known_crystals_are_left_out_where_there_are_none(caplog):
    with caplog.at_level("INFO"):
        generator = make_generator(NOTHING, GenerateSettings(workers=1, prototype_share=0.2, **TIGHT))
    assert [part.name for part, _ in generator.parts] == ["symmetric", "p1"]
    assert "no Wyckoff positions of known crystals" in caplog.text
    for refused in (
        lambda: make_generator(NOTHING, GenerateSettings(prototype_share=1.0, **TIGHT)),
        lambda: known_crystal_generators(NOTHING, GenerateSettings(**TIGHT)),
    ):
        with pytest.raises(BadInput, match="leave prototypes out with --no-prototypes"):
            refused()


def test_candidates_that_cannot_be_generated_are_replaced(caplog):
    class Failing:
        name = "failing"

        def propose(self, n, rng):
            raise GenerationFailed("only 0 of 5 could be generated")

    caplog.set_level("INFO")
    made = WithFallback(Failing(), SymmetricGenerator({"Si": 2}, ONE)).propose(5, np.random.default_rng(0))
    assert [c.origin for c in made] == ["symmetric"] * 5
    assert "other random candidates take their place" in caplog.text


def test_a_chemical_system():
    generator = SystemGenerator(parse_system("Mg-Si"), 6, GenerateSettings(workers=1, prototype_share=0.5))
    origins = Counter(c.origin for c in generator.propose(60, np.random.default_rng(0)))
    assert origins["prototype"] >= 5
    assert origins["wyckoff"] >= 5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"formula": "Si8", "dimensions": 2}, "generate.prototype_share has no effect on layers, which are not drawn from known crystals"),
        ({"formula": "Si8", "dimensions": 0}, "generate.prototype_share has no effect on clusters"),
    ],
)
def test_searches_without_prototypes_refuse_the_setting(given, message):
    with pytest.raises(BadInput, match=message):
        check_dimensions(settings_from_dict({**given, "generate": {"prototype_share": 0.2}}))


@pytest.mark.parametrize(("flags", "share"), [(["--prototypes"], 0.2), (["--no-prototypes"], 0.0), ([], 0.2)])
def test_the_flag(monkeypatch, flags, share):
    given = []

    def stop(settings, reference):
        given.append(settings)
        raise BadInput("the search is not needed")

    monkeypatch.setattr("nucleate.api.prepare", stop)
    CliRunner().invoke(app, ["search", "Al4O6", *flags])
    assert given[0].generate.prototype_share == share
