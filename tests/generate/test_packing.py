import numpy as np
import pytest
from pydantic import ValidationError

from nucleate.errors import BadInput
from nucleate.generate import GenerateSettings, make_packing


@pytest.mark.parametrize(
    ("counts", "measured", "model"),
    [
        ({"Si": 8}, 20.0, "covalent"),
        ({"Na": 4, "Cl": 4}, 22.4, "ionic"),
        ({"Ga": 4, "As": 4}, 22.6, "covalent"),
        ({"Al": 4, "O": 6}, 8.5, "ionic"),
        ({"Mg": 4, "O": 4}, 9.3, "ionic"),
        ({"Al": 4, "N": 4}, 10.4, "ionic"),
        ({"Ca": 4, "F": 8}, 13.6, "ionic"),
        ({"Mg": 2, "Al": 4, "O": 8}, 9.4, "ionic"),
        ({"B": 12}, 7.3, "covalent"),
        ({"Al": 4}, 16.6, "metallic"),
        ({"Cu": 3, "Au": 1}, 13.2, "metallic"),
        ({"Ba": 1, "Ti": 1, "O": 3}, 12.9, "ionic"),
    ],
)
def test_volume_per_atom_is_near_the_measured_one(counts, measured, model):
    packing = make_packing(counts)
    assert packing.model == model
    assert packing.volume_per_atom == pytest.approx(measured, rel=0.15)


@pytest.mark.parametrize(
    ("counts", "pair", "measured"),
    [
        ({"Al": 4, "O": 6}, ("Al", "O"), 1.86),
        ({"Al": 4, "O": 6}, ("O", "O"), 2.52),
        ({"Al": 4, "O": 6}, ("Al", "Al"), 2.65),
        ({"Na": 1, "Cl": 1}, ("Cl", "Cl"), 3.99),
        ({"Si": 2}, ("Si", "Si"), 2.35),
        ({"Ca": 1, "O": 2, "H": 2}, ("H", "O"), 0.97),
    ],
)
def test_real_crystals_keep_the_smallest_distances_but_not_by_far(counts, pair, measured):
    packing = make_packing(counts)
    i, j = (packing.symbols.index(s) for s in pair)
    assert 0.6 * measured < packing.min_distances[i, j] < 0.95 * measured


def test_like_ions_keep_further_apart_than_unlike_ones():
    distances = make_packing({"Mg": 1, "O": 1}).min_distances
    assert distances[0, 1] < distances[0, 0]
    assert distances[0, 1] < distances[1, 1]
    assert np.allclose(distances, distances.T)


def test_user_distances_and_volume_override_the_estimate():
    settings = GenerateSettings(min_distance={"O-Al": 1.7}, volume_per_atom=11.0)
    packing = make_packing({"Al": 4, "O": 6}, settings)
    assert packing.min_distances[0, 1] == packing.min_distances[1, 0] == 1.7
    assert packing.volume_per_atom == 11.0


def test_a_volume_too_small_says_so_in_one_line():
    with pytest.raises(BadInput, match=r"volume_per_atom") as caught:
        make_packing({"Al": 4, "O": 6}, GenerateSettings(volume_per_atom=2.0))
    assert "\n" not in str(caught.value)


def test_a_pair_that_is_not_there_is_refused():
    with pytest.raises(BadInput, match="no such pair"):
        make_packing({"Si": 8}, GenerateSettings(min_distance={"Si-O": 1.5}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_distance": {"AlO": 1.5}},
        {"min_distance": {"Al-Xx": 1.5}},
        {"min_distance": {"Al-O": 1.5, "O-Al": 1.6}},
        {"min_distance": {"Al-O": -1.0}},
        {"volume_range": (1.4, 0.9)},
        {"space_groups": (0,)},
        {"space_groups": ()},
        {"symmetric_share": 1.5},
        {"unknown": 1},
    ],
)
def test_settings_refuse_nonsense(wrong):
    with pytest.raises(ValidationError):
        GenerateSettings(**wrong)


def test_every_setting_has_a_description():
    assert all(field.description for field in GenerateSettings.model_fields.values())
