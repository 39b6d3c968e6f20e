"""Chemical systems: which compositions belong to them, and their coordinates."""

import numpy as np
import pytest
from ase import Atoms

from nucleate.crystals.compositions import between, is_system, parse_system
from nucleate.errors import BadInput


def atoms(formula):
    return Atoms(formula, cell=np.eye(3) * 9, pbc=True)


def test_cells_of_a_binary_system():
    system = parse_system("Mg-Si")
    cells = system.cells(4)
    assert {(c.get("Mg", 0), c.get("Si", 0)) for c in cells} == {(a, b) for a in range(5) for b in range(5) if 0 < a + b <= 4}
    sizes = [sum(c.values()) for c in cells]
    assert sizes == sorted(sizes)


def test_a_pseudo_binary_contains_only_mixtures_of_its_compounds():
    system = parse_system("MgO-Al2O3")
    assert {system.formula(c) for c in system.cells(7)} == {"MgO", "Al2O3", "MgAl2O4"}
    for counts in system.cells(14):
        # Charges balance in every mixture of the two.
        assert 2 * counts.get("Mg", 0) + 3 * counts.get("Al", 0) == 2 * counts["O"]
    assert system.contains(atoms("MgAl2O4"))
    assert not system.contains(atoms("MgAlO4"))
    assert not system.contains(atoms("MgSiO3"))


@pytest.mark.parametrize("name", ["Mg-Si", "MgO-Al2O3", "Li-Fe-O", "Li2O-Fe2O3-P2O5"])
def test_fractions_give_back_the_composition(name):
    """The atoms that come from the end members are those of the cell."""
    system = parse_system(name)
    cells = system.cells(10)
    counts = system.counts([Atoms([s for s, n in c.items() for _ in range(n)]) for c in cells])
    fractions = system.fractions(counts)
    assert fractions.min() >= 0
    assert np.allclose(fractions.sum(1), 1)
    members = system.counts([Atoms([s for s, n in m.items() for _ in range(n)]) for m in system.end_members]).astype(float)
    shares = members / members.sum(1, keepdims=True)
    assert np.allclose(fractions @ shares * counts.sum(1, keepdims=True), counts)


def test_formulas_have_the_order_of_electronegativity():
    for name in ("O-Li", "Li-O"):
        assert parse_system(name).formula({"O": 2, "Li": 4}) == "Li2O"
    assert parse_system("MgO-Al2O3").formula({"Mg": 2, "O": 8, "Al": 4}) == "MgAl2O4"
    assert parse_system("Xe-F").formula({"Xe": 1, "F": 2}) == "XeF2"
    # Neon has no electronegativity.
    assert set(parse_system("Ne-F").symbols) == {"Ne", "F"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Mg-", "with a hyphen between"),
        ("-Mg", "with a hyphen between"),
        ("Mg--Si", "with a hyphen between"),
        ("Mg-Xx", "not an element"),
        ("Mg-Mg2", "not independent"),
        ("Mg-Si-Mg2Si", "not independent"),
        ("Li-Na-K-Rb-Cs", "5 end members"),
        ("Mg-Si0", "zero"),
    ],
)
def test_what_is_no_system(text, says):
    with pytest.raises(BadInput, match=says) as caught:
        parse_system(text)
    assert "\n" not in str(caught.value)


def test_end_members_that_do_not_fit():
    with pytest.raises(BadInput, match="Al2O3 has 5 atoms"):
        parse_system("MgO-Al2O3").cells(4)
    with pytest.raises(BadInput, match="cells, more than"):
        parse_system("Li-Fe-O-P").cells(30)


def test_reactants():
    assert between(["MgO", "Al4O6"]) == "MgO-Al2O3"
    assert between(["MgO", "Al2O3"], "Mg-Al-O") == "MgO-Al2O3"
    with pytest.raises(BadInput, match="elements"):
        between(["MgO", "Al2O3"], "Mg-Si-O")
    assert is_system("Mg-Si")
    assert not is_system("Cl-")
    assert not is_system("Si8")
