"""Rankings of several searches of one compound side by side, such as those on different references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from nucleate.crystals.formula import formula_text, scale_formula
from nucleate.csp.records import Polymorph
from nucleate.csp.run_data import RunData, difference, read_run
from nucleate.errors import BadInput
from nucleate.fingerprints.matching import same_crystal


@dataclass(frozen=True)
class Row:
    """A polymorph in several searches.

    Attributes:
        space_group: symbol of the space, layer or point group in the first search that has it.
        atoms: number of atoms in the cell of that search.
        ranks: rank in each search; None where it was not found.
        above: energy above the lowest polymorph of each search, meV/atom; None where it was not found.
    """

    space_group: str
    atoms: int
    ranks: list[int | None]
    above: list[float | None]


def side_by_side(folders: Sequence[str | PathLike[str]]) -> dict[str, Any]:
    """Return the polymorphs of several run folders as JSON data, matched by structure.

    Energies of different references have different zeros, so each search is compared with its own lowest polymorph.

    Args:
        folders: run folders of searches of one compound, in the order of the columns.

    Returns:
        `runs`, a list with `folder`, `formula`, `reference`, `surrogate` and `pressure`; and `polymorphs`, a list of the attributes of
        `Row`, in the order of the first search, then of those that only later ones have found.

    Raises:
        BadInput: the searches are of different compounds, dimensions or pressures, or of a chemical system.
        RunFolderError: a folder contains no search.
    """
    runs = [read_run(Path(folder)) for folder in folders]
    first = runs[0]
    for run in runs:
        if run.settings.system is not None:
            raise BadInput(f"{run.path}: a search of the chemical system {run.settings.name} has no single ranking; show it alone")
        mine, theirs = _compound(run), _compound(first)
        if mine != theirs:
            raise BadInput(f"{run.path}: is a search of {mine}, but {first.path} is one of {theirs}; show searches of one compound")
        for name, unit in (("dimensions", ""), ("pressure", " GPa")):
            one, other = getattr(run.settings, name), getattr(first.settings, name)
            if one != other:
                raise BadInput(f"{run.path}: has {name} {one:g}{unit}, but {first.path} has {other:g}{unit}; show searches with the same")
    found: list[tuple[Polymorph, list[tuple[int, Polymorph] | None]]] = []
    for column, run in enumerate(runs):
        for rank, polymorph in enumerate(run.state.ranking(), start=1):
            row = next((cells for one, cells in found if cells[column] is None and same_crystal(one.atoms, polymorph.atoms)), None)
            if row is None:
                row = [None] * len(runs)
                found.append((polymorph, row))
            row[column] = (rank, polymorph)
    lowest = [next(iter(run.state.ranking()), None) for run in runs]
    rows = [
        Row(
            one.space_group,
            len(one.atoms),
            [None if cell is None else cell[0] for cell in cells],
            [_above(cell, best) for cell, best in zip(cells, lowest, strict=True)],
        )
        for one, cells in found
    ]
    return {
        "runs": [
            {
                "folder": str(run.path), "formula": run.settings.name, "reference": run.reference, "surrogate": run.surrogate,
                "pressure": run.settings.pressure,
            }
            for run in runs
        ],
        "polymorphs": [row.__dict__ for row in rows],
    }  # fmt: skip


def _compound(run: RunData) -> str:
    """Return the reduced formula."""
    return formula_text(dict(sorted(scale_formula(run.settings.counts, 1).items())))


def _above(cell: tuple[int, Polymorph] | None, best: Polymorph | None) -> float | None:
    """Return the energy above the lowest polymorph, meV/atom."""
    return None if cell is None or best is None else 1e3 * difference(cell[1], best)
