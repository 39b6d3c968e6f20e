"""The formulas of a campaign, and the order in which they are searched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nucleate.crystals.compositions import is_system, parse_system
from nucleate.crystals.formula import parse_formula
from nucleate.csp.resolve import resolve_settings
from nucleate.csp.run_settings import RunSettings
from nucleate.errors import BadInput, quoted

LONGEST = 1_000_000
"""Largest size of a file of formulas, bytes."""


@dataclass(frozen=True)
class Member:
    """One search of a campaign.

    Attributes:
        name: formula of the search cell, or chemical system; the name of its run folder.
        species: atomic numbers, ascending.
        size: number of atoms in the cell; for a chemical system, the largest one.
        settings: settings of its search.
    """

    name: str
    species: tuple[int, ...]
    size: int
    settings: RunSettings


def read_formulas(path: Path) -> list[str]:
    """Return the formulas of a file, one in each line; text after `#` and empty lines are ignored.

    Raises:
        BadInput: the file cannot be read, is no text, or has no formula; or a line is not a formula, or names one again.
    """
    try:
        if path.stat().st_size > LONGEST:
            raise BadInput(f"{path}: is larger than {LONGEST // 1000} kB; give a text file with one formula in each line")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "is not a text file"
        raise BadInput(f"{quoted(str(path), 200)}: cannot be read: {reason}; give a text file with one formula in each line") from None
    first: dict[frozenset[Any], int] = {}
    formulas = []
    for number, line in enumerate(lines, 1):
        formula = line.partition("#")[0].strip()
        if not formula:
            continue
        try:
            content = frozenset(parse_system(formula).name.split("-") if is_system(formula) else parse_formula(formula).items())
        except BadInput as error:
            raise BadInput(f"{path}: line {number}: {error}") from None
        if content in first:
            raise BadInput(f"{path}: line {number}: {quoted(formula, 60)} is in line {first[content]} already; remove one of them")
        first[content] = number
        formulas.append(formula)
    if not formulas:
        raise BadInput(f"{path}: contains no formula; write one such as Al4O6 in each line")
    return formulas


def members_of(formulas: list[str], settings: Any, **options: Any) -> list[Member]:
    """Return the searches of a campaign in the order in which they are made.

    Those with fewer elements come first, and of these the smaller ones, because a committee can learn from the labels of another search
    only if it knows all of its elements.

    Args:
        formulas: formulas of search cells, or chemical systems.
        settings: settings of all searches, as for `resolve_settings`.
        options: further settings.

    Raises:
        BadInput: a formula or a setting is wrong, or two formulas are the same.
    """
    found: dict[Any, Member] = {}
    for formula in formulas:
        try:
            # The largest cell is a setting of chemical systems alone.
            own = {name: value for name, value in options.items() if name != "hull__max_atoms" or is_system(formula)}
            resolved = resolve_settings(formula, settings, **own)
        except BadInput as error:
            raise BadInput(f"formula {quoted(formula, 60)}: {error}") from None
        if resolved.molecules.molecule:
            raise BadInput("the settings name molecules; a campaign searches formulas and chemical systems")
        content = frozenset(resolved.counts.items() if resolved.system is None else resolved.name.split("-"))
        if content in found:
            raise BadInput(f"formula {quoted(formula, 60)}: is given twice; remove one of them")
        found[content] = Member(resolved.name, resolved.species, _size(resolved), resolved)
    return sorted(found.values(), key=lambda member: (len(member.species), member.size))


def _size(settings: RunSettings) -> int:
    return settings.hull.max_atoms if settings.system is not None else sum(settings.counts.values())
