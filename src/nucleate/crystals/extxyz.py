"""Reader of extended XYZ files, which checks each line before ASE parses the file.

ASE's reader allocates memory for the number of atoms and columns that a file states, which may be billions in a damaged file, so both are
compared with the content first. Common spellings of species are accepted: `NA` is sodium, `D` and `T` are hydrogen.
"""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from nucleate.errors import BadInput, InputNote, quoted

LONGEST_COMMENT = 100_000
"""Largest length of a comment line, in characters."""
MOST_COLUMNS = 100
"""Largest number of columns of one property."""
_PROPERTY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*:[SIRL]:[0-9]{1,4}")
ISOTOPES = {"D": "H", "T": "H"}


def read_extxyz(path: Path, text: str) -> list[Atoms]:
    """Read all frames of an extended XYZ file.

    Args:
        path: path of the file, for error messages.
        text: content of the file.

    Raises:
        BadInput: a line cannot be read, or the file is incomplete; the message names the line.
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
        raise BadInput(f"{path}: the file is empty")
    if isotopes:
        warnings.warn(InputNote(f"{path}: {' and '.join(sorted(isotopes))} read as hydrogen"), stacklevel=2)
    # Workers, which read no files, would wait a quarter of a second for this module.
    import ase.io

    try:
        frames = ase.io.read(io.StringIO("\n".join(lines) + "\n"), index=":", format="extxyz")
    except Exception as error:  # ASE's reader raises exceptions of many types for damaged lines
        raise BadInput(f"{path}: cannot be read as extended XYZ ({quoted(' '.join(str(error).split()))})") from error
    return frames if isinstance(frames, list) else [frames]


def _count(path: Path, lines: list[str], start: int, number: int) -> int:
    """Return the number of atoms of a frame; raise `BadInput` unless the file has that many lines left."""
    stated = lines[start].strip()
    if not re.fullmatch(r"[0-9]{1,12}", stated):
        raise BadInput(f"{path}: line {start + 1} is {quoted(stated)!r}; structure {number} must begin with its number of atoms")
    count, there = int(stated), max(0, len(lines) - start - 2)
    if count > there:
        raise BadInput(f"{path}: structure {number} states {count} atoms but has {there}; is the file complete?")
    if count == 0:
        raise BadInput(f"{path}: structure {number} has no atoms")
    return count


def _with_matrices(comment: str) -> str:
    """Return the comment with stresses and virials of six numbers (xx yy zz yz xz xy) expanded to the nine that ASE's reader needs."""

    def matrix(match: re.Match[str]) -> str:
        words = match[3].replace(",", " ").split()
        if len(words) != 6:
            return match[0]
        xx, yy, zz, yz, xz, xy = words
        warnings.warn(InputNote(f"{match[2]}: six numbers are read in the order xx yy zz yz xz xy"), stacklevel=2)
        return f'{match[1]}{match[2]}="{xx} {xy} {xz} {xy} {yy} {yz} {xz} {yz} {zz}"'

    return re.sub(r"(^|\s)(stress|virial)\s*=\s*[\"\[{]([^\"\]}]{1,400})[\"\]}]", matrix, comment)


def _check_comment(path: Path, comment: str, line: int) -> list[tuple[str, int]]:
    """Raise `BadInput` for a comment line that ASE cannot parse; return names and widths of the columns of the atom lines."""
    where = f"{path}: line {line}"
    if len(comment) > LONGEST_COMMENT:
        raise BadInput(f"{where}: the comment has {len(comment)} characters; at most {LONGEST_COMMENT} can be read")
    from ase.io.extxyz import key_val_str_to_dict

    try:
        facts = key_val_str_to_dict(comment)
    except Exception as error:  # ASE's parser raises exceptions of many types
        raise BadInput(f"{where}: cannot be read ({quoted(' '.join(str(error).split()))})") from None
    cell = facts.get("Lattice")
    if cell is not None and np.asarray(cell).dtype.kind not in "if":
        raise BadInput(f"{where}: Lattice is not nine numbers; give three cell vectors in Å")
    periodic = facts.get("pbc")
    if periodic is not None and (len(np.atleast_1d(periodic)) != 3 or not all(flag in (True, False) for flag in np.atleast_1d(periodic))):
        raise BadInput(f"{where}: pbc is {quoted(periodic)!r}; give three values T or F")
    return _columns(where, str(facts["Properties"])) if "Properties" in facts else [("species", 1), ("pos", 3)]


def _columns(where: str, properties: str) -> list[tuple[str, int]]:
    """Return names and widths of the columns that `Properties` lists; raise `BadInput` if it lacks species or positions."""
    words = properties.split(":")
    triples = [":".join(words[k : k + 3]) for k in range(0, len(words), 3)]
    columns = []
    for triple in triples:
        if not _PROPERTY.fullmatch(triple) or not 0 < int(triple.split(":")[2]) <= MOST_COLUMNS:
            raise BadInput(f"{where}: Properties: {quoted(triple)!r} does not have the form name:type:columns, such as pos:R:3")
        name, _, width = triple.split(":")
        columns.append((name, int(width)))
    names = [name for name, _ in columns]
    if "pos" not in names or not {"species", "Z"} & set(names) or dict(columns)["pos"] != 3:
        raise BadInput(f"{where}: Properties: species and positions are missing; write species:S:1:pos:R:3")
    return columns


def _with_symbol(line: str, columns: list[tuple[str, int]], isotopes: set[str]) -> str:
    """Return an atom line with its species as an element symbol; D and T are added to `isotopes`."""
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
