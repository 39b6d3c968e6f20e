"""Searches of a chemical system on a pair potential: the hull that they find, known phases, and what is refused before they start."""

import csv
import json
import shutil

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.io import write
from pymatgen.io.ase import AseAtomsAdaptor

from nucleate import api
from nucleate.csp.plan import prepare
from nucleate.csp.records import Polymorph
from nucleate.csp.run_data import read_run
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.run_settings import settings_from_dict
from nucleate.csp.stages import teacher_settings
from nucleate.csp.systems.known_phases import enter
from nucleate.errors import BadInput, MissingDependency, NucleateError
from tests.conftest import PairPotential, label

CAESIUM_CHLORIDE = Atoms("CuAu", scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], cell=2.6 * np.eye(3), pbc=True)


class Pairs:
    """Lennard-Jones; unlike atoms sit closer and bind more strongly."""

    name, surrogate = "pairs", True

    def __init__(self, bond=2.6):
        self.bond = bond
        self.potential = PairPotential((29, 79), bond=bond, depth=(0.4,), cutoff=6.0)

    def settings(self):
        return {"bond": self.bond}

    def k_points(self, atoms):
        return None

    def label(self, atoms):
        return label(self.potential, atoms)


def settings(**hull):
    return {
        "search": {
            "pool": 30, "first_batch": 6, "batch": 4, "max_rounds": 5, "leads": 4, "lead_steps": 4, "lead_fmax": 3.0, "fmax": 0.05,
            "smax": 0.5, "budget": 300,
        },
        "generate": {"workers": 1, "prototype_share": 0.0},
        "model": {"cutoff": 4.5, "members": 2, "radial": 5, "channels": 4, "hidden": 16},
        "training": {"steps": 60, "warm_steps": 24},
        "relax": {"max_steps": 60, "workers": 1},
        "hull": {"max_atoms": 2, **hull},
    }  # fmt: skip


@pytest.fixture(scope="module")
def known_file(tmp_path_factory):
    """The CsCl structure as pymatgen JSON, and gold in a cell that is larger than those of the search."""
    path = tmp_path_factory.mktemp("known") / "known.json"
    distorted = make_supercell(bulk("Au", a=4.0), np.diag([2, 2, 1]))
    distorted.rattle(0.15, seed=1)
    path.write_text(json.dumps([AseAtomsAdaptor.get_structure(atoms).as_dict() for atoms in (CAESIUM_CHLORIDE, distorted)]))
    return path


@pytest.fixture(scope="module")
def searched(tmp_path_factory, known_file):
    """A search of Cu-Au with known phases."""
    folder = tmp_path_factory.mktemp("system") / "run"
    result = api.search("Cu-Au", settings=settings(), reference=Pairs(), known=[known_file], out=folder)
    return result, api.show(folder)


def test_the_hull_is_made_of_confirmed_phases(searched):
    _, data = searched
    assert data["formula"] == "Cu-Au"
    hull = data["hull"]
    assert hull["end_members"] == ["Cu", "Au"]
    assert hull["missing"] == []
    on = [data["polymorphs"][rank - 1]["hull"] for rank in hull["phases"]]
    assert [p["formula"] for p in on if p["gain"] is None] in (["Cu", "Au"], ["Au", "Cu"])
    # Unlike pairs bind 1.5 times as strongly, so that CuAu is far below the line between the elements.
    (compound,) = [p for p in on if p["formula"] == "CuAu"]
    assert compound["formation_energy"] < -100
    assert compound["gain"] == pytest.approx(-compound["formation_energy"])
    assert compound["reaction"] == "CuAu -> Au + Cu"
    # The ranking is by height, and nothing is below the hull.
    heights = [p["above_best"] for p in data["polymorphs"] if p["check"] != "saddle"]
    assert heights == sorted(heights)
    assert heights[0] == 0


def test_known_phases_are_relaxed_and_counted(searched):
    result, data = searched
    purposes = data["calls_by_purpose"]
    assert purposes["known"] > 1
    known = [p for p in data["polymorphs"] if p["known"]]
    assert {p["known"].split()[0] for p in known} <= {"CuAu", "Au"}
    assert any(p["known"].startswith("CuAu") for p in known)
    assert sum(purposes.values()) == data["calls"] == len(read_run(result.folder).rows)


def test_reports_show_the_hull(searched, capsys):
    result, data = searched
    page = (result.folder / "report.html").read_text()
    assert "Convex hull" in page
    assert "formation energy" in page
    from nucleate.report.run_text import show_run
    from nucleate.report.terminal import make_console

    show_run(data, make_console())
    printed = capsys.readouterr().out
    assert "CuAu" in printed
    assert "is on the hull: formation" in printed
    assert "against Au + Cu" in printed


def test_the_table_has_the_reactions(searched):
    result, data = searched
    with (result.folder / "table.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["reaction"] for row in rows] == [p["hull"]["reaction"] for p in data["polymorphs"]]
    assert [float(row["formation_energy (meV/atom)"]) for row in rows] == pytest.approx(
        [p["hull"]["formation_energy"] for p in data["polymorphs"]], abs=1e-5
    )


def test_the_proof_is_of_the_phases_that_the_search_found(searched):
    result, data = searched
    own = [p for p in result.polymorphs if p.own and p.height < 1e-7]
    # At least copper is not among the known phases.
    assert own
    assert data["proof"]["phases"] == len(own)
    assert abs(data["proof"]["difference"]) < 0.02


def test_a_search_killed_before_its_proof_proves_all_phases(tmp_path, searched):
    result, data = searched
    folder = shutil.copytree(result.folder, tmp_path / "run")
    with RunFolder.open(folder) as opened:
        round, state = opened.load_state()
        opened.save_state(round, {**state, "proof": None})
    api.resume(folder, reference=Pairs())
    again = api.show(folder)["proof"]
    assert {name: again[name] for name in ("phases", "difference", "steps")} == {
        name: data["proof"][name] for name in ("phases", "difference", "steps")
    }


def test_one_phase_given_twice_is_entered_once_and_keeps_its_name():
    def phase(energy, **more):
        return Polymorph(CAESIUM_CHLORIDE, CAESIUM_CHLORIDE, energy, 0.0, 0.0, "Pm-3m", 221, 0.0, "given", 0, 0, 0, **more)

    phases = []
    assert enter(phase(-3.0), phases)
    assert not enter(phase(-3.00001, known="CuAu (Pm-3m)"), phases)
    assert enter(phase(-2.9, known="CuAu (high)"), phases)
    assert [(p.energy, p.known, p.found) for p in phases] == [(-3.0, "CuAu (Pm-3m)", 2), (-2.9, "CuAu (high)", 1)]


def test_a_teacher_does_not_read_the_phases_of_earlier_searches(searched):
    result, _ = searched
    hull = {"elements_from": [str(result.folder)], "known": ["x.cif"]}
    given = settings_from_dict({"formula": "Cu-Au", "teacher": {"name": "ase:ase.calculators.emt:EMT"}, "hull": hull})
    assert teacher_settings(given).hull.elements_from == teacher_settings(given).hull.known == []


def test_phases_of_earlier_searches_cost_no_call(tmp_path, searched):
    result, _ = searched
    short = settings()
    short["search"]["max_rounds"] = 1
    second = api.search("Cu-Au", settings=short, reference=Pairs(), elements_from=[result.folder], out=tmp_path / "second")
    given = [p for p in second.polymorphs if p.origin == "given"]
    assert len(given) == len([p for p in result.polymorphs if p.check != "saddle"])
    assert all(p.calls == 0 and p.accurate is None and p.known is None for p in given)
    with pytest.raises(BadInput, match="bond"):
        api.search("Cu-Au", settings=short, reference=Pairs(2.7), elements_from=[result.folder], out=tmp_path / "third")
    assert not (tmp_path / "third").exists()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"formula": "Cu-Xx"}, "Xx"),
        ({"formula": "Cu-"}, "charge|hyphen"),
        ({"formula": "Cu-Au", "max_atoms": 0}, "max_atoms"),
        ({"formula": "Cu3Au-Au", "max_atoms": 3}, "Cu3Au has 4 atoms"),
        ({"formula": "Cu4", "max_atoms": 3}, "max_atoms has no effect on the formula Cu4"),
        ({"formula": "Cu-Au", "settings": {"search": {"train_units": [1]}}}, "train_units"),
        ({"formula": "Cu-Au", "top": 3}, "search.top has no effect"),
        ({"formula": "Cu-Au", "settings": {"search": {"clear_window": 0}}}, "search.clear_window has no effect"),
        ({"formula": "Cu-Au", "known": ["missing.cif"]}, "missing.cif"),
        ({"formula": "Cu-Au", "elements_from": ["missing"]}, "missing"),
        ({"formula": "Cu-Ag", "reactants": ["Cu", "Au"]}, "elements"),
        ({"reactants": ["Cu"]}, "end members"),
    ],
)
def test_refused_before_anything_starts(tmp_path, given, says):
    with pytest.raises(NucleateError, match=says) as caught:
        api.search(given.pop("formula", None), reference=Pairs(), out=tmp_path / "run", **given)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_known_phase_outside_the_system(tmp_path):
    write(tmp_path / "k.extxyz", bulk("NaCl", "rocksalt", a=5.6))
    with pytest.raises(BadInput, match="not a composition of Cu-Au"):
        api.search("Cu-Au", settings=settings(), reference=Pairs(), known=[tmp_path / "k.extxyz"], out=tmp_path / "run")


def test_all_phases_of_a_system_have_one_cutoff():
    """GPAW's presets have a lower cutoff for lithium than for its oxides, whose energies would not be comparable."""
    pytest.importorskip("gpaw")
    try:
        mixed, soft, own = (
            prepare(settings_from_dict({"formula": formula, "reference": {} if cutoff is None else {"cutoff": cutoff}})).reference
            for formula, cutoff in (("Li-O", None), ("Li-Si", None), ("Li-O", 800.0))
        )
    except MissingDependency as error:
        pytest.skip(str(error))
    assert mixed.cutoff(bulk("Li")) == mixed.cutoff(bulk("MgO", "rocksalt", a=4.2)) == 700
    assert soft.cutoff(bulk("Li")) == soft.cutoff(bulk("Si")) == 350
    assert own.cutoff(bulk("Li")) == 800


def test_settings_of_a_system_go_through_toml(tmp_path):
    given = settings_from_dict({"formula": "Mg2Si - Mg", "hull": {"max_atoms": 6}})
    assert given.name == "Mg2Si-Mg"
    assert given.species == (12, 14)
