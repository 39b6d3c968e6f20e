"""Saved answers of OPTIMADE databases, good and odd ones."""

import json

import numpy as np
import pytest

from nucleate.crystals.io import read_structures
from nucleate.errors import BadInput, InputNote


def entry(**changes):
    attributes = {
        "lattice_vectors": [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]],
        "cartesian_site_positions": [[0, 0, 0], [2.8, 2.8, 2.8]],
        "species_at_sites": ["Na", "Cl1"],
        "species": [
            {"name": "Na", "chemical_symbols": ["Na"], "concentration": [1.0]},
            {"name": "Cl1", "chemical_symbols": ["Cl"], "concentration": [1.0]},
        ],
        "dimension_types": [1, 1, 1],
    }
    return {"type": "structures", "id": "x-1", "attributes": {**attributes, **changes}}


def answered(tmp_path, data):
    path = tmp_path / "answer.json"
    path.write_text(json.dumps(data))
    return path


def test_structures_of_an_answer(tmp_path):
    two = answered(tmp_path, {"data": [entry(), {"type": "references", "id": "r", "attributes": {"title": "t"}}, entry()], "meta": {}})
    structures = read_structures(two)
    assert [atoms.get_chemical_formula() for atoms in structures] == ["ClNa", "ClNa"]
    assert structures[0].pbc.all()
    assert structures[0].get_volume() == pytest.approx(2 * 2.8**3)
    assert np.allclose(structures[0].get_scaled_positions()[1], 0.5)
    (one,) = read_structures(answered(tmp_path, {"data": entry()}))
    assert len(one) == 2
    # Without a list of species, the names are symbols.
    (plain,) = read_structures(answered(tmp_path, {"data": [entry(species=None, species_at_sites=["Na", "Cl"])]}))
    assert plain.get_chemical_formula() == "ClNa"


@pytest.mark.parametrize("more", [{"meta": {"more_data_available": True}}, {"links": {"next": "https://example.org/page2"}}])
def test_further_pages_are_reported(tmp_path, more):
    with pytest.warns(InputNote, match="next page"):
        read_structures(answered(tmp_path, {"data": [entry()], **more}))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"data": []}, "no structures"),
        ({"data": [entry(), None]}, "entry 2 is not"),
        ({"data": [{"type": "structures", "id": "x", "attributes": None}, entry()]}, "no attributes"),
        ({"data": [entry(lattice_vectors=None)]}, "lattice_vectors"),
        ({"data": [entry(species=["Na", "Cl"])]}, "cannot be read"),
        ({"data": [entry(species={"name": "Na"})]}, "cannot be read"),
        ({"data": [entry(species=[{"name": "Na", "chemical_symbols": None}])]}, "cannot be read"),
        ({"data": [entry(species=[{"name": ["Na"], "chemical_symbols": ["Na"]}])]}, "cannot be read"),
        ({"data": [entry(species=[{"name": "Na", "chemical_symbols": ["Na", "K"]}])]}, "disordered"),
        ({"data": [entry(species=[{"name": "Na", "chemical_symbols": ["Na"], "concentration": [0.5]}])]}, "disordered"),
        ({"data": [entry(species=[{"name": "Na", "chemical_symbols": ["vacancy"]}])]}, "disordered"),
        ({"data": [entry(dimension_types=[1, 1, 0])]}, "three dimensions"),
        ({"data": [entry(cartesian_site_positions=[[0, 0, 0]])]}, "cannot be read"),
        ({"data": [entry(species_at_sites=["Qq", "Cl1"])]}, "cannot be read"),
    ],
)
def test_odd_answers_are_refused_in_one_line(tmp_path, data, says):
    with pytest.raises(BadInput, match=says) as caught:
        read_structures(answered(tmp_path, data))
    assert "\n" not in str(caught.value)


def test_a_list_of_pymatgen_structures_and_entries(tmp_path):
    from ase.build import bulk
    from pymatgen.io.ase import AseAtomsAdaptor

    structure = AseAtomsAdaptor.get_structure(bulk("NaCl", "rocksalt", a=5.6)).as_dict()
    both = read_structures(answered(tmp_path, [structure, {"energy": -3.0, "structure": structure}]))
    assert [atoms.get_chemical_formula() for atoms in both] == ["ClNa", "ClNa"]
