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
        ("SiO₂", {"Si": 1, "O": 2}),
        ("C₁₂H₂₂", {"C": 12, "H": 22}),
        ("K4[Fe(CN)6]", {"K": 4, "Fe": 1, "C": 6, "N": 6}),
        ("{[(Si)2]2}2", {"Si": 8}),
        ("CuSO4.5H2O", {"Cu": 1, "S": 1, "O": 9, "H": 10}),
        ("CuSO₄·5H₂O", {"Cu": 1, "S": 1, "O": 9, "H": 10}),
        ("Fe2O3·H2O", {"Fe": 2, "O": 4, "H": 2}),
        ("CaSO4.H2O", {"Ca": 1, "S": 1, "O": 5, "H": 2}),
        ("MgCl2·2NH3·12H2O", {"Mg": 1, "Cl": 2, "N": 2, "H": 30, "O": 12}),
        ("CaO·2Al2O3", {"Ca": 1, "O": 7, "Al": 4}),
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
        ("CaOH)2", "opening"),
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
        ("Al1.5O2Si3", "whole"),
        ("Si1.5", "whole"),
        ("CaSO4·0.5H2O", "whole|zero"),
        ("SiO2.", "dot"),
        ("·H2O", "dot"),
        ("Si·0H2O", "zero"),
        ("Ca²⁺", "charge"),
        ("Na+", "charge"),
        ("SO4−", "charge"),
        ("Si²", "charge"),
        ("Si٨", "cannot read"),
        ("Si８", "cannot read"),
        ("Si½", "cannot read"),
        ("Si\n8", "cannot read"),
        ("Si\x008", "cannot read"),
        ("Ca(OH]2", "closed by"),
        ("(" * 5000, "characters"),
        ("(" * 1500, "not closed"),
        (")" * 1500, "opening"),
        ("(Si999)" * 2 + "9" * 1900, "at most"),
    ],
)
def test_bad_is_one_line_that_says_why(text, says):
    with pytest.raises(BadInput, match=says) as caught:
        parse_formula(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 220


def test_there_and_back():
    assert formula_text(parse_formula("Al4O6")) == "Al4O6"
    assert formula_text({"Na": 1, "Cl": 1}) == "NaCl"
    assert formula_units({"Al": 4, "O": 6}) == 2
    assert scale_formula({"Al": 4, "O": 6}, 3) == {"Al": 6, "O": 9}
