"""Convex hulls, in parity with pymatgen, and what is said of the phases on them."""

import numpy as np
import pytest
from ase import Atoms
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition

from nucleate.crystals.compositions import parse_system
from nucleate.csp.records import Polymorph
from nucleate.csp.systems.hull import Hull
from nucleate.csp.systems.phases import phases, warnings_on


def cell(counts):
    return Atoms([s for s, n in counts.items() for _ in range(n)], cell=np.eye(3) * 20, pbc=True)


def polymorph(formula, energy, check="minimum"):
    atoms = Atoms(formula, cell=np.eye(3) * 9, pbc=True)
    return Polymorph(atoms, atoms, energy, 0.0, 0.0, "P1", 1, 0.0, "p1", 1, 1, 0, check=check)


@pytest.mark.parametrize(("name", "size"), [("Mg-Si", 8), ("Li-Fe-O", 6), ("Li-Fe-O-P", 4)])
@pytest.mark.parametrize("seed", range(4))
def test_heights_are_those_of_pymatgen(name, size, seed):
    system = parse_system(name)
    cells = system.cells(size)
    energies = np.random.default_rng(seed).normal(-3, 0.3, len(cells))
    fractions = system.fractions(system.counts([cell(c) for c in cells]))
    hull = Hull(fractions, energies)
    entries = [PDEntry(Composition(c), e * sum(c.values())) for c, e in zip(cells, energies, strict=True)]
    diagram = PhaseDiagram(entries)
    assert np.allclose(hull.above(fractions, energies), [diagram.get_e_above_hull(entry) for entry in entries], atol=1e-9)
    assert np.allclose(hull.formation(fractions, energies), [diagram.get_form_energy_per_atom(entry) for entry in entries], atol=1e-9)
    assert {Composition(cells[n]).reduced_formula for n in hull.vertices} == {e.composition.reduced_formula for e in diagram.stable_entries}
    for x in fractions:
        parts = hull.decomposition(x)
        assert sum(share for _, share in parts) == pytest.approx(1)
        assert sum(share * fractions[n] for n, share in parts) == pytest.approx(x)
        assert sum(share * energies[n] for n, share in parts) == pytest.approx(hull.energy(x[None])[0])


def test_end_members_alone():
    hull = Hull(np.eye(3), [-1.0, -2.0, -3.0])
    assert hull.vertices == [0, 1, 2]
    assert hull.energy(np.full((1, 3), 1 / 3)) == pytest.approx(-2.0)
    with pytest.raises(ValueError, match="end member 1"):
        Hull(np.array([[1.0, 0.0], [0.5, 0.5]]), [-1.0, -2.0])


def test_a_mixture_on_the_line_between_others_changes_nothing():
    """Three phases on one line: the middle one is neither above nor below the hull."""
    fractions = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    assert Hull(fractions, [-1.0, -1.5, -2.0]).above(fractions, [-1.0, -1.5, -2.0]) == pytest.approx(np.zeros(3), abs=1e-12)


def test_reactions_and_errors():
    system = parse_system("Mg-Si")
    found = phases(
        system,
        [
            polymorph("Mg2", -1.6),
            polymorph("Si2", -5.3),
            polymorph("Mg4Si2", -3.0),
            polymorph("Mg3Si", -2.5),
            polymorph("MgSi", -9.0, "saddle"),
        ],
        0.003,
    )
    assert [phase.formula for phase in found] == ["Mg", "Si", "Mg2Si", "Mg3Si", "MgSi"]
    assert [phase.reaction for phase in found[:4]] == ["", "", "Mg2Si -> 2 Mg + Si", "Mg3Si -> Mg2Si + Mg"]
    # Mg2Si: -3.0 against (2 * -1.6 - 5.3) / 3.
    assert found[2].formation == pytest.approx(-3.0 + 8.5 / 3)
    assert found[2].gain == pytest.approx(-found[2].formation)
    assert found[2].above == 0
    assert found[3].above == pytest.approx(-2.5 - (3 * -3.0 + -1.6) / 4)
    # Three quarters of the atoms of Mg3Si are in Mg2Si.
    assert found[3].error == pytest.approx(0.003 * np.sqrt(1 + 0.75**2 + 0.25**2))
    # A saddle is not a phase, however low it is.
    assert found[4].gain is None
    assert phases(system, [polymorph("Mg2", -1.6), polymorph("Mg2Si", -3.0)], 0.003) is None


def test_what_must_be_known_about_a_hull():
    assert warnings_on(parse_system("Mg-Si"), {}) == []
    gas, magnetic = warnings_on(parse_system("Fe-O"), {})
    assert "O2" in gas
    assert "Fe and O2" in magnetic
    # One element with a moment does not make the other spin-polarised.
    assert warnings_on(parse_system("Fe-O"), {"Fe": 4.0, "O": 0.0})[1].startswith("O2 may be")
    assert len(warnings_on(parse_system("Fe-O"), {"Fe": 4.0, "O": 1.0})) == 1
    # A compound as end member contains no gas, and no molecule of oxygen.
    assert warnings_on(parse_system("MgO-Al2O3"), None) == []
    assert warnings_on(parse_system("MgO-Al2O3"), {}) == []


def test_what_must_be_known_about_one_formula():
    assert warnings_on({"Si": 8}, {}) == []
    assert warnings_on({"Mg": 2, "O": 2}, {}) == []
    for symbol in ("Cr", "Mn", "Fe", "Co", "Ni"):
        assert warnings_on({symbol: 2, "O": 3}, {"Si": 1.0}) == [
            f"{symbol} may be magnetic, but starts without a moment; set reference.magnetic_moments"
        ]
    assert warnings_on({"O": 4}, {})[0].startswith("O2 may be magnetic")
    assert warnings_on({"Fe": 2}, {"Fe": 2.5}) == []
    assert warnings_on({"Fe": 2}, None) == []
