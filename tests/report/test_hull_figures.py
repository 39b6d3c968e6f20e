"""The triangle of a ternary system; the diagram of a binary one is part of the page of a search in tests/csp."""

import xml.etree.ElementTree as ET

import numpy as np
from ase import Atoms

from nucleate.crystals.compositions import parse_system
from nucleate.csp.records import Polymorph
from nucleate.csp.systems.phases import phases
from nucleate.report.hull_figures import _triangle
from nucleate.report.svg import draw_svg

FOUND = {
    "Li": -1.9, "Li2": -1.85, "Fe": -8.0, "O2": -4.9, "Li2O": -4.75, "FeO": -7.1, "Fe2O3": -6.8, "LiFeO2": -6.3, "Li5FeO4": -5.5,
    "Fe3O4": -7.0,
}  # fmt: skip


def polymorph(formula, energy):
    atoms = Atoms(formula, cell=np.eye(3) * 9, pbc=True)
    return Polymorph(atoms, atoms, energy, 0.0, 0.0, "P1", 1, 0.0, "p1", 1, 1, 0)


def test_a_ternary_system_is_drawn_as_a_triangle():
    placed = phases(parse_system("Li-Fe-O"), [polymorph(*item) for item in FOUND.items()], 0.003)
    assert {phase.formula for phase in placed if phase.above == 0} == {"Li", "Fe", "O", "Li2O", "LiFeO2", "Li5FeO4", "Fe3O4"}
    # FeO and Fe3O4 have the same elements; only the second is stable.
    feo = next(phase for phase in placed if phase.formula == "FeO")
    assert feo.reaction == "4 FeO -> Fe3O4 + Fe"
    drawn = draw_svg(_triangle(placed, ["Li", "Fe", "O"]), "hull")
    ET.fromstring(drawn)
    for name in ("Li5FeO4", "LiFeO2", "above the hull"):
        assert name in drawn
    # Phases above the hull are not named.
    assert "Fe2O3" not in drawn


def test_a_ternary_system_of_end_members_alone():
    placed = phases(parse_system("Li-Fe-O"), [polymorph(name, FOUND[name]) for name in ("Li", "Fe", "O2")], 0.003)
    ET.fromstring(draw_svg(_triangle(placed, ["Li", "Fe", "O"]), "hull"))
