"""Structures as data: batches, neighbour lists, strain, formulas and files."""

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.formula import formula_text, formula_units, parse_formula, scale_formula
from nucleate.crystals.io import read_structures
from nucleate.crystals.neighbours import Edges, SkinNeighbours, neighbour_edges

__all__ = [
    "CrystalBatch",
    "Edges",
    "SkinNeighbours",
    "formula_text",
    "formula_units",
    "neighbour_edges",
    "parse_formula",
    "read_structures",
    "scale_formula",
]
