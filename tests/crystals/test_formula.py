import pytest

from nucleate.crystals import formula_text, formula_units, parse_formula, scale_formula
from nucleate.errors import BadInput


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("Si8", {"Si": 8}),
        ("NaCl", {"Na": 1, "Cl": 1}),
        (" Al4O6 ", {"Al": 4, "O": 6}),
        ("Ca(OH)2", {"Ca": 1, "O": 2, "H": 2}),
        ("Mg3(Si2O5(OH)2)2", {"Mg": 3, "Si": 4, "O": 14, "H": 4}),
        ("CoCO3", {"Co": 1, "C": 1, "O": 3}),
        ("HHe", {"H": 1, "He": 1}),
        ("C2H5OH", {"C": 2, "H": 6, "O": 1}),
    ],
)
def test_good(text, counts):
    assert parse_formula(text) == counts
    assert list(parse_formula(text)) == list(counts)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("Si0", "zero"),
        ("Al1.5O", "whole"),
        ("Al-2", "whole"),
        ("Ca(OH2", "not closed"),
        ("CaOH)2", "no partner"),
        ("Xx2", "'Xx' is not an element"),
        ("X2", "not an element"),
        ("Sj4", "Si"),
        ("si8", "cannot read 's'"),
        ("8Si", "cannot read '8'"),
        ("Na Cl", "cannot read ' '"),
        ("Si€", "cannot read"),
        ("()", "no atoms"),
        ("Si501", "501 atoms"),
        ("Si99999999999999999999", "at most"),
    ],
)
def test_bad_is_one_line_that_says_why(text, says):
    with pytest.raises(BadInput, match=says) as caught:
        parse_formula(text)
    assert "\n" not in str(caught.value)


def test_there_and_back():
    assert formula_text(parse_formula("Al4O6")) == "Al4O6"
    assert formula_text({"Na": 1, "Cl": 1}) == "NaCl"
    assert formula_units({"Al": 4, "O": 6}) == 2
    assert scale_formula({"Al": 4, "O": 6}, 3) == {"Al": 6, "O": 9}
