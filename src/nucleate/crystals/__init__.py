"""Structures as data: batches, neighbour lists, strain, formulas and files."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
_MODULES = {
    "CrystalBatch": "batch", "Edges": "neighbours", "SkinNeighbours": "neighbours", "neighbour_edges": "neighbours",
    "formula_text": "formula", "formula_units": "formula", "parse_formula": "formula", "scale_formula": "formula",
    "read_structures": "io",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: workers that run an engine need no torch."""
    if name in _MODULES:
        return getattr(import_module(f"nucleate.crystals.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'nucleate.crystals' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
