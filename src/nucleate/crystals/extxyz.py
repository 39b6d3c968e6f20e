"""Reader of extended XYZ files, which are checked line by line before ASE reads them.

ASE's reader believes the number of atoms and of columns that a file states, and makes room for billions of them. Here both are held
against what is there.
Species are read in the writings people use: `NA` is sodium, `D` and `T` are hydrogen.
"""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.io.extxyz import key_val_str_to_dict

from nucleate.errors import BadInput, InputNote, quoted

LONGEST_COMMENT = 100_000
"""Characters of a comment line; more is no description of a structure."""
MOST_COLUMNS = 100
"""Of one property."""
_PROPERTY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*:[SIRL]:[0-9]{1,4}")
ISOTOPES = {"D": "H", "T": "H"}


def read_extxyz(path: Path, text: str) -> list[Atoms]:
    """Read all frames of an extended XYZ file.

    Args:
        path: for messages.
        text: what the file holds.

    Raises:
        BadInput: names file, line and what is wrong there.
    """
    lines = text.splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    isotopes: set[str] = set()
    start = number = 0
    while start < len(lines):
        number += 1
        count = _count(path, lines, start, number)
        lines[start + 1] = _with_matrices(lines[start + 1])
        columns = _check_comment(path, lines[start + 1], start + 2)
        for k in range(start + 2, start + 2 + count):
            lines[k] = _with_symbol(lines[k], columns, isotopes)
        start += 2 + count
    if not number:
        raise BadInput(f"{path}: is empty")
    if isotopes:
        warnings.warn(InputNote(f"{path}: {' and '.join(sorted(isotopes))} read as hydrogen"), stacklevel=2)
    try:
        frames = ase.io.read(io.StringIO("\n".join(lines) + "\n"), index=":", format="extxyz")
    except Exception as error:  # ASE raises whatever its reader meets in a damaged line.
        raise BadInput(f"{path}: cannot be read as extended XYZ ({quoted(' '.join(str(error).split()))})") from error
    return frames if isinstance(frames, list) else [frames]


def _count(path: Path, lines: list[str], start: int, number: int) -> int:
    """Atoms that a frame states, and holds."""
    stated = lines[start].strip()
    if not re.fullmatch(r"[0-9]{1,12}", stated):
        raise BadInput(f"{path}: line {start + 1} is {quoted(stated)!r}; structure {number} begins with its number of atoms")
    count, there = int(stated), max(0, len(lines) - start - 2)
    if count > there:
        raise BadInput(f"{path}: structure {number} states {count} atoms and holds {there}; is the file complete?")
    if count == 0:
        raise BadInput(f"{path}: structure {number} has no atoms")
    return count


def _with_matrices(comment: str) -> str:
    """Stress and virial of six numbers, in the order xx yy zz yz xz xy, as the nine that ASE's reader wants."""

    def matrix(found: re.Match[str]) -> str:
        words = found[3].replace(",", " ").split()
        if len(words) != 6:
            return found[0]
        xx, yy, zz, yz, xz, xy = words
        warnings.warn(InputNote(f"{found[2]}: six numbers are read in the order xx yy zz yz xz xy"), stacklevel=2)
        return f'{found[1]}{found[2]}="{xx} {xy} {xz} {xy} {yy} {yz} {xz} {yz} {zz}"'

    return re.sub(r"(^|\s)(stress|virial)\s*=\s*[\"\[{]([^\"\]}]{1,400})[\"\]}]", matrix, comment)


def _check_comment(path: Path, comment: str, line: int) -> list[tuple[str, int]]:
    """Refuse what ASE would stumble over; returns names and widths of the columns of an atom's line."""
    where = f"{path}: line {line}"
    if len(comment) > LONGEST_COMMENT:
        raise BadInput(f"{where}: a comment of {len(comment)} characters")
    try:
        facts = key_val_str_to_dict(comment)
    except Exception as error:  # ASE raises whatever an odd comment leads it to
        raise BadInput(f"{where}: cannot be read ({quoted(' '.join(str(error).split()))})") from None
    cell = facts.get("Lattice")
    if cell is not None and np.asarray(cell).dtype.kind not in "if":
        raise BadInput(f"{where}: Lattice is not nine numbers")
    periodic = facts.get("pbc")
    if periodic is not None and (len(np.atleast_1d(periodic)) != 3 or not all(flag in (True, False) for flag in np.atleast_1d(periodic))):
        raise BadInput(f"{where}: pbc is {quoted(periodic)}, not three of T and F")
    return _columns(where, str(facts["Properties"])) if "Properties" in facts else [("species", 1), ("pos", 3)]


def _columns(where: str, properties: str) -> list[tuple[str, int]]:
    words = properties.split(":")
    triples = [":".join(words[k : k + 3]) for k in range(0, len(words), 3)]
    columns = []
    for triple in triples:
        if not _PROPERTY.fullmatch(triple) or not 0 < int(triple.split(":")[2]) <= MOST_COLUMNS:
            raise BadInput(f"{where}: Properties: {quoted(triple)!r} is no name:type:columns, such as pos:R:3")
        name, _, width = triple.split(":")
        columns.append((name, int(width)))
    names = [name for name, _ in columns]
    if "pos" not in names or not {"species", "Z"} & set(names) or dict(columns)["pos"] != 3:
        raise BadInput(f"{where}: Properties: names no species and positions (species:S:1:pos:R:3)")
    return columns


def _with_symbol(line: str, columns: list[tuple[str, int]], isotopes: set[str]) -> str:
    place = 0
    for name, width in columns:
        if name == "species":
            break
        place += width
    else:
        return line
    words = line.split(maxsplit=place + 1)
    if len(words) <= place:
        return line
    symbol = words[place]
    if symbol in atomic_numbers:
        return line
    if symbol in ISOTOPES:
        isotopes.add(symbol)
        words[place] = ISOTOPES[symbol]
    elif symbol.isalpha() and symbol.capitalize() in atomic_numbers:
        words[place] = symbol.capitalize()
    else:
        return line
    return " ".join(words)
