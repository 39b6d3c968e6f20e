"""An exchange file of OPTIMADE is read by nucleate, and its entries by the models and adapters of optimade-python-tools."""

import json
import shutil

import numpy as np
import pytest
from ase import Atoms

from nucleate.crystals.io import read_structures
from nucleate.csp.run_data import read_run
from nucleate.errors import BadInput
from nucleate.export.formats import export
from nucleate.export.optimade import PROPERTIES, crystal, structures
from nucleate.fingerprints.matching import same_crystal
from nucleate.units import GPA

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def exported(searched, tmp_path_factory):
    folder = tmp_path_factory.mktemp("optimade") / "run"
    shutil.copytree(searched, folder)
    return read_run(folder), export(folder, "optimade")[0]


def test_lines_are_header_provider_descriptions_and_entries(exported):
    run, path = exported
    assert path.name == "run.jsonl"
    header, meta, base, info, *entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert header["x-optimade"]["api_version"] == base["attributes"]["api_version"]
    assert meta["meta"]["data_returned"] == len(entries) == len(run.state.ranking())
    assert (base["id"], info["id"]) == ("/", "structures")
    for entry in entries:
        assert {"id", "type", *entry["attributes"]} == set(info["properties"])
    assert len({entry["id"] for entry in entries}) == len(entries)


def test_properties_are_those_of_the_polymorphs(exported):
    run, _ = exported
    ranking = run.state.ranking()
    for entry, polymorph in zip(structures(run), ranking, strict=True):
        own = {name.removeprefix("_nucleate_"): value for name, value in entry["attributes"].items()}
        per_atom = polymorph.atoms.get_volume() / len(polymorph.atoms)
        assert own["energy_per_atom"] + 2.0 * GPA * per_atom == pytest.approx(own["enthalpy_per_atom"])
        assert own["above_lowest"] == pytest.approx(polymorph.energy - ranking[0].energy)
        assert (own["space_group"], own["check"], own["confirmed"]) == (polymorph.space_group, polymorph.check, polymorph.check != "saddle")
    kinds = {"string": str, "integer": int, "float": float, "boolean": bool, "timestamp": str, "list": list, "dictionary": dict}
    for name, value in structures(run)[0]["attributes"].items():
        assert value is None or isinstance(value, kinds[PROPERTIES[name].type]), name


def test_nucleate_reads_its_file(exported, tmp_path):
    run, path = exported
    found = read_structures(path)
    assert len(found) == len(run.state.ranking())
    for atoms, polymorph in zip(found, run.state.ranking(), strict=True):
        assert np.allclose(atoms.positions, polymorph.atoms.positions)
        assert same_crystal(atoms, polymorph.atoms)
    for text, says in (
        ('{"data": []}\n', "no x-optimade"),
        ('{"x-optimade": {}}\n', "no structures"),
        ('{"x-optimade": {}}\nx\n', "line 2"),
    ):
        (tmp_path / "odd.jsonl").write_text(text)
        with pytest.raises(BadInput, match=says):
            read_structures(tmp_path / "odd.jsonl")


def test_the_models_and_adapters_of_optimade_accept_the_file(exported):
    pytest.importorskip("optimade", reason="optimade is not installed: pip install 'nucleate[optimade]'")
    from optimade.adapters import Structure
    from optimade.models import BaseInfoResource, EntryInfoResource, StructureResource

    run, path = exported
    _, _, base, info, *entries = [json.loads(line) for line in path.read_text().splitlines()]
    BaseInfoResource(**base)
    EntryInfoResource(**info)
    for entry, polymorph in zip(entries, run.state.ranking(), strict=True):
        StructureResource(**entry)
        structure = Structure(entry).as_pymatgen
        assert structure.composition.formula.replace(" ", "") == polymorph.atoms.get_chemical_formula()
        assert structure.volume == pytest.approx(polymorph.atoms.get_volume())
        assert same_crystal(Structure(entry).as_ase, polymorph.atoms)


def test_layers_clusters_and_compounds_of_many_elements_are_valid_entries():
    pytest.importorskip("optimade", reason="optimade is not installed: pip install 'nucleate[optimade]'")
    from ase.build import bulk, molecule, mx2
    from optimade.models import StructureResource
    from optimade.models.utils import anonymize_formula, reduce_formula

    layer = mx2("MoS2", vacuum=8.0)
    layer.pbc = (True, True, False)
    cluster = molecule("CH3CH2OH", vacuum=6.0)
    perovskite = Atoms(
        "CaTiO3", scaled_positions=[[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]], cell=[3.9] * 3, pbc=True
    )
    for atoms, dimensions in ((layer, 2), (cluster, 0), (perovskite.repeat((1, 1, 2)), 3), (bulk("Cu").repeat(2), 3)):
        attributes = crystal(atoms)
        StructureResource(type="structures", id="x", attributes={**attributes, "last_modified": "2026-01-01T00:00:00Z"})
        formula = attributes["chemical_formula_descriptive"]
        assert attributes["chemical_formula_reduced"] == reduce_formula(formula)
        assert attributes["chemical_formula_anonymous"] == anonymize_formula(formula)
        assert (attributes["nperiodic_dimensions"], sum(attributes["elements_ratios"])) == (dimensions, pytest.approx(1.0))
