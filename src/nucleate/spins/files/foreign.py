"""Import of couplings from tables with user-defined columns and conventions."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from nucleate.errors import BadInput, quoted
from nucleate.persist.text import read_text
from nucleate.spins.files.table import UNITS
from nucleate.spins.models.data import LARGEST, Pairs, lengths

NEEDED = ("element_a", "element_b", "J")


def read_foreign(path: Path, columns: dict[str, str], unit: str, pairs: str, sign: str) -> tuple[Pairs, int]:
    """Read pairs from a CSV or whitespace-separated table.

    Args:
        path: Path of the table; the first line that is not a comment contains the column names.
        columns: Column names for `element_a`, `element_b` (symbols or atomic numbers), `J` and optionally `distance` (Å).
        unit: Unit of J, see `files.table.UNITS`.
        pairs: Number of times the Hamiltonian counts a pair, "once" or "twice".
        sign: "minus" for H = - sum J e.e, "plus" for H = + sum J e.e, with unit vectors e.

    Returns:
        Pairs in the package's convention, and the number of rows without a coupling, which are skipped.

    Raises:
        BadInput: The convention is unknown, a column is missing, or an entry cannot be read.
    """
    for name, given, known in (("unit", unit, tuple(UNITS)), ("pairs", pairs, ("once", "twice")), ("sign", sign, ("minus", "plus"))):
        if given not in known:
            raise BadInput(f"{name} {quoted(given, 40)}: unknown value; choose from {', '.join(known)}")
    missing = [name for name in NEEDED if name not in columns]
    strange = sorted(set(columns) - {*NEEDED, "distance"})
    if len(set(columns.values())) < len(columns):
        raise BadInput("columns: a column of the table is assigned twice")
    if missing or strange:
        raise BadInput(f"columns: {', '.join(missing) or 'none'} missing, {quoted(', '.join(strange) or 'none', 60)} unknown")
    lines = [line for line in read_text(path).splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if len(lines) < 2:
        raise BadInput(f"{path}: the table has no rows below the line of column names")
    try:
        table = _split(lines, set(columns.values()))
    except csv.Error as error:
        raise BadInput(f"{path}: cannot be read as a table: {error}") from None
    names = [name.strip() for name in table[0]]
    absent = [name for name in columns.values() if name not in names]
    if absent:
        raise BadInput(f"{path}: column {quoted(', '.join(absent), 60)} is missing; the columns are {quoted(', '.join(names))}")
    place = {name: names.index(column) for name, column in columns.items()}
    scale = UNITS[unit] * (2 if pairs == "twice" else 1) * (1 if sign == "minus" else -1)
    elements, couplings, apart, left = [], [], [], 0
    for k, row in enumerate(table[1:], start=1):
        if len(row) != len(names):
            raise BadInput(f"{path}: row {k} has {len(row)} entries for {len(names)} columns")
        text = row[place["J"]].strip()
        if text.lower() in ("", "nan", "none"):
            left += 1
            continue
        try:
            value = float(text)
        except ValueError:
            raise BadInput(f"{path}: row {k}: {quoted(text, 40)} is not a valid coupling") from None
        if not abs(value * scale) <= LARGEST:
            raise BadInput(f"{path}: row {k}: {quoted(text, 40)} is not a valid coupling")
        elements.append((_element(row[place["element_a"]], path, k), _element(row[place["element_b"]], path, k)))
        couplings.append(value * scale)
        if "distance" in place:
            apart.append(row[place["distance"]])
    if not elements:
        raise BadInput(f"{path}: no row contains a coupling")
    return Pairs.of_elements(elements, np.array(couplings), lengths(apart, path) if "distance" in place else None), left


def _split(lines: list[str], wanted: set[str]) -> list[list[str]]:
    """Split lines by the first separator that yields all wanted columns, or else by the one that yields most of them."""
    tables = [list(csv.reader(lines, delimiter=mark)) for mark in ",;\t"]
    tables.append([line.split() for line in lines])
    shown = [len(wanted & {name.strip() for name in table[0]}) for table in tables]
    best = max(range(len(tables)), key=lambda k: (shown[k], len(tables[k][0])))
    return tables[best]


def _element(text: str, path: Path, row: int) -> str:
    text = text.strip()
    try:
        value = float(text)
        number = int(value) if np.isfinite(value) and value == int(value) else 0
    except ValueError:
        number = atomic_numbers.get(text, 0)
    if not 0 < number < len(chemical_symbols):
        raise BadInput(f"{path}: row {row}: {quoted(text or 'nothing', 40)} is not an element; give symbols or atomic numbers")
    return str(chemical_symbols[number])
