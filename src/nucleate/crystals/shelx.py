"""Reader of SHELX .res files, as written by AIRSS and by refinement programs, with lattice centring and symmetry.

ASE's reader ignores the symmetry operations. G. M. Sheldrick, Acta Cryst. C 71, 3 (2015), doi 10.1107/S2053229614024218; LATT, SYMM and
SFAC are described in the manual of SHELXL.
"""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path

import gemmi
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from nucleate.crystals.checks import LONGEST_CELL
from nucleate.crystals.cif import SAME_SITE, expanded, whole_group
from nucleate.errors import BadInput, InputNote, quoted

CENTRINGS: dict[int, tuple[tuple[int, int, int], ...]] = {
    1: (), 2: ((12, 12, 12),), 3: ((16, 8, 8), (8, 16, 16)), 4: ((0, 12, 12), (12, 0, 12), (12, 12, 0)),
    5: ((0, 12, 12),), 6: ((12, 0, 12),), 7: ((12, 12, 0),),
}  # fmt: skip
"""Centring translations in 24ths of the cell vectors for each number of LATT: P, I, R on hexagonal axes, F, A, B, C."""
_SITE = re.compile(r"[A-Za-z][A-Za-z0-9'\"*_]{0,9}")
_Site = tuple[str, np.ndarray, float | None, str]
"""Element, fractional position, occupancy, and file and line for error messages."""
_END = ("END", "HKLF")
_NO_SITES = frozenset(
    """
    TITL ZERR LATT SYMM UNIT REM MORE TIME OMIT SHEL BASF TWIN EXTI SWAT HOPE MERG SPEC RESI MOVE ANIS AFIX HFIX
    FRAG FEND EXYZ EADP EQIV CONN PART BIND FREE DFIX DANG BUMP SAME SADI CHIV FLAT DELU SIMU DEFS ISOR NCSY SUMP
    L.S. CGLS BLOC DAMP STIR WGHT FVAR BOND CONF MPLA RTAB HTAB LIST ACTA SIZE TEMP WPDB FMAP GRID PLAN MOLE RIGU
    XNPD ABIN ANSC ANSR NEUT DISP LAUE PRIG WIGL SPIN
    """.split()  # noqa: SIM905 - a list of a hundred would take a hundred lines
)
"""First four letters of the instructions that are not sites."""


def read_res(path: Path, text: str) -> list[Atoms]:
    """Read all crystals of a .res file.

    AIRSS writes several structures into one file. Peaks that a refinement program lists after END are not atoms and are ignored.

    Raises:
        BadInput: the cell, the lattice type or the elements are missing, a site is partly occupied or cannot be read, or a symmetry
            operation cannot be read.
    """
    parts: list[list[tuple[int, str]]] = [[]]
    for number, line in enumerate(_lines(text), start=1):
        parts[-1].append((number, line))
        if line.split()[:1] and line.split()[0].upper() in _END:
            parts.append([])
    first, *others = parts
    return [
        _crystal(path, first),
        *(_crystal(path, part) for part in others if any(re.match(r"\s*CELL\b", line, re.I) for _, line in part)),
    ]


def _crystal(path: Path, lines: list[tuple[int, str]]) -> Atoms:
    """Read one crystal from numbered lines."""
    cell: gemmi.UnitCell | None = None
    latt: int | None = None
    operations, elements = ["x,y,z"], []
    sites: list[_Site] = []
    for number, line in lines:
        words = line.split("!")[0].split()
        if not words:
            continue
        key, where = words[0].upper(), f"{path}: line {number}"
        if key in _END:
            break
        if key == "CELL":
            values = [_number(word, where) for word in words[1:]]
            if len(values) != 7 or min(values[1:]) <= 0 or max(values[4:]) >= 180:
                raise BadInput(f"{where}: CELL must give a wavelength, three lengths (Å) and three angles (degrees)")
            cell = gemmi.UnitCell(*values[1:])
        elif key == "LATT":
            if len(words) < 2 or not re.fullmatch(r"-?[1-7]", words[1]):
                raise BadInput(f"{where}: LATT must be a number from 1 to 7, negative for crystals without a centre of symmetry")
            latt = int(words[1])
        elif key == "SYMM":
            operations.append(" ".join(words[1:]))
        elif key == "SFAC":
            elements += [word for word in words[1:] if word.isalpha()]
        elif key[:4] not in _NO_SITES and key[:4].split("_")[0] not in _NO_SITES:
            sites.append(_site(words, elements, where))
    if cell is None or not math.isfinite(cell.volume) or cell.volume < 1e-3 or not sites:
        raise BadInput(f"{path}: the file has no {'cell (CELL)' if sites else 'atoms'}; is the file complete?")
    if latt is None:
        raise BadInput(f"{path}: the lattice type (LATT) is missing; write LATT -1 if all atoms of a primitive cell are listed")
    if max(cell.parameters[:3]) > LONGEST_CELL:
        raise BadInput(f"{path}: a cell vector is {max(cell.parameters[:3]):.4g} Å long; at most {LONGEST_CELL:g} Å can be read")
    group = _group(operations, latt, str(path))
    _check_occupancies(cell, sites, group)
    return expanded(cell, [(symbol, position) for symbol, position, _, _ in sites], group, str(path))


def _lines(text: str) -> list[str]:
    """Return the lines of the file, with each line that ends in "=" joined to the next one."""
    lines: list[str] = []
    for line in text.split("\n"):
        before = lines[-1].rstrip() if lines else ""
        if before.endswith("=") and not before.upper().startswith(("TITL", "REM")):
            lines[-1] = before[:-1] + " " + line
            # An empty line keeps the line numbers of error messages right.
            lines.insert(-1, "")
        else:
            lines.append(line)
    return lines


def _site(words: list[str], elements: list[str], where: str) -> _Site:
    """Parse a site; SHELX adds 10 to coordinates and occupancies that are fixed in the refinement, which is subtracted."""
    if len(words) < 5 or not _SITE.fullmatch(words[0]) or not re.fullmatch(r"[0-9]{1,3}", words[1]):
        raise BadInput(
            f"{where}: {quoted(' '.join(words), 40)!r} is neither an instruction nor an atom; write label, element number, x, y, z"
        )
    kind = int(words[1])
    if not 1 <= kind <= len(elements):
        raise BadInput(f"{where}: '{quoted(words[0])}' has element number {kind}, but SFAC names {len(elements)}; correct it or SFAC")
    symbol = elements[kind - 1].capitalize()
    if symbol in ("D", "T"):
        warnings.warn(InputNote(f"{where.partition(': line')[0]}: {symbol} read as hydrogen"), stacklevel=2)
        symbol = "H"
    if atomic_numbers.get(symbol, 0) == 0:
        raise BadInput(f"{where}: the element {quoted(symbol)!r} of '{quoted(words[0])}' is unknown; correct SFAC")
    position = np.array([_fixed(_number(word, where)) for word in words[2:5]])
    if np.abs(position).max() > 5:
        raise BadInput(f"{where}: a coordinate of '{quoted(words[0])}' refers to a free variable; write the coordinate itself")
    return symbol, position, _fixed(_number(words[5], where)) if len(words) > 5 else None, where


def _check_occupancies(cell: gemmi.UnitCell, sites: list[_Site], group: gemmi.GroupOps) -> None:
    """Raise `BadInput` for partly occupied sites.

    The occupancy of an atom on a symmetry element may be given as 1 divided by the number of operations that leave it in place.
    """
    ops = list(group)
    turns = np.array([op.rot for op in ops]) / gemmi.Op.DEN
    shifts = np.array([op.tran for op in ops]) / gemmi.Op.DEN
    matrix = np.array(cell.orth.mat.tolist()).T
    for symbol, position, occupancy, where in sites:
        if occupancy is None or abs(occupancy - 1) < 1e-3:
            continue
        away = turns @ position + shifts - position
        same = int((np.linalg.norm((away - np.round(away)) @ matrix, axis=1) < SAME_SITE).sum())
        if abs(occupancy - 1 / same) > 0.005:
            raise BadInput(f"{where}: {symbol} has occupancy {occupancy * same:g}; give an ordered structure")


def _fixed(value: float) -> float:
    """Return a value without the 10 that SHELX adds to fixed parameters."""
    return value - 10 if 5 < value < 15 else value


def _number(word: str, where: str) -> float:
    """Return a finite number; raise `BadInput` for any other word."""
    try:
        value = float(word) if re.fullmatch(r"[-+0-9.eE]{1,40}", word) else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadInput(f"{where}: {quoted(word, 30)!r} is not a number")
    return value


def _group(listed: list[str], latt: int, where: str) -> gemmi.GroupOps:
    """Return the group of the operations of SYMM with the centring and the inversion of LATT."""
    if len(listed) > 192:
        raise BadInput(f"{where}: the file lists {len(listed)} operations (SYMM); a space group has at most 192")
    try:
        operations = [gemmi.Op(text.lower().replace(" ", "")).wrap() for text in listed]
    except Exception:  # gemmi raises RuntimeError and ValueError
        raise BadInput(f"{where}: a symmetry operation (SYMM) cannot be read; write it as -X, 0.5+Y, 0.5-Z") from None
    if latt > 0:
        operations += [(gemmi.Op("-x,-y,-z") * op).wrap() for op in operations]
    moved = [op.translated(list(shift)).wrap() for op in operations for shift in ((0, 0, 0), *CENTRINGS[abs(latt)])]
    return whole_group([op.triplet() for op in moved], where)
