"""Readers of measured curves: powder patterns (.xy, .xye, .csv, .dat, .txt) and pair distribution functions (.gr)."""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nucleate.errors import BadInput, InputNote, quoted
from nucleate.persist.text import read_text

LARGEST = 64 * 1024 * 1024
"""Largest size of a data file, in bytes."""
FEWEST, MOST = 20, 2_000_000
"""Fewest and most data points of a file."""
LARGEST_VALUE = 1e30
"""Largest absolute value of a data point."""
PATTERN_SUFFIXES = (".xy", ".xye", ".csv", ".dat", ".txt")
COMMENT = re.compile(r"\s*(?:[#!;'\"%/*]|$)")
ENTRY = re.compile(r"^\s*#?\s*(?P<key>q_?max|q_?damp)\s*=\s*(?P<value>\S+)", re.I)
RADIATION = re.compile(r"^\s*#?\s*(?:stype|mode)\s*=\s*(?P<kind>n\w*|x\w*)\s*$", re.I)
"""Line of the header that names the radiation: `stype=N` of PDFgui, `mode = xray` of PDFgetX3."""


@dataclass(frozen=True)
class Curve:
    """Data points of a file.

    Attributes:
        x: (n,) increasing positions.
        y: (n,) values.
        header: numbers that the header names: `qmax` and `qdamp`, 1/Å, and `neutron`, which is 1 for neutrons and 0 for X-rays.
    """

    x: np.ndarray
    y: np.ndarray
    header: dict[str, float]


def read_pattern(path: Path) -> Curve:
    """Read a powder pattern: 2 theta in degrees, intensity, and optionally its error, which is not used.

    Raises:
        BadInput: the file does not exist, has another suffix, is not a table of numbers, or its angles do not increase within 0 to 180.
    """
    if path.suffix.lower() not in PATTERN_SUFFIXES:
        raise BadInput(
            f"{path}: is not a known kind of powder pattern; give columns of 2 theta and intensity in {', '.join(PATTERN_SUFFIXES)}"
        )
    curve = _read(path, 3, "2 theta and intensity")
    if not (curve.x[0] > 0 and curve.x[-1] < 180):
        raise BadInput(f"{path}: 2 theta ranges from {curve.x[0]:g} to {curve.x[-1]:g}; angles must be between 0 and 180 degrees")
    if not curve.y.max() > curve.y.min():
        raise BadInput(f"{path}: all intensities are {curve.y[0]:g}; is the second column the intensity?")
    return curve


def read_gr(path: Path) -> Curve:
    """Read a pair distribution function: r in Å, G(r) in 1/Å², and optionally their errors, which are not used.

    Headers of PDFgetX3 and of PDFgui are skipped, except for `qmax`, `qdamp` and the radiation.

    Raises:
        BadInput: the file does not exist, has another suffix, is not a table of numbers, or its distances do not increase from 0.
    """
    if path.suffix.lower() != ".gr":
        raise BadInput(f"{path}: is not a pair distribution function; give columns of r and G(r) in a .gr file")
    curve = _read(path, 4, "r and G(r)")
    if curve.x[0] < 0:
        raise BadInput(f"{path}: r starts at {curve.x[0]:g} Å; distances must not be negative")
    if not curve.y.max() > curve.y.min():
        raise BadInput(f"{path}: G(r) is {curve.y[0]:g} everywhere; is the second column G(r)?")
    return curve


def _read(path: Path, columns: int, names: str) -> Curve:
    """Read a table of numbers with 2 to `columns` columns below a header."""
    if not path.is_file():
        raise BadInput(f"{path}: no such file; give a file with columns of {names}")
    lines = read_text(path, LARGEST).splitlines()
    start = max((number + 1 for number, line in enumerate(lines[:2000]) if "start data" in line.lower()), default=0)
    header = _header(path, lines[:start] or [line for line in lines if "=" in line])
    rows: list[list[float]] = []
    width = 0
    for number, line in enumerate(lines[start:], start + 1):
        if COMMENT.match(line):
            continue
        words = re.split(r"[,;\s]+", line.strip().rstrip(",;"))
        try:
            row = [float(word) for word in words]
        except ValueError:
            # One line of column names may stand above the numbers.
            if not rows and number <= start + 20:
                continue
            raise BadInput(f"{path}: line {number} is {quoted(line.strip(), 40)!r}, not numbers; give columns of {names}") from None
        width = width or len(row)
        if len(row) != width or not 2 <= width <= columns:
            hint = "; write numbers with decimal points" if "," in line and (";" in line or "\t" in line) else ""
            raise BadInput(f"{path}: line {number} has {len(row)} columns; give {names}, and at most {columns} columns{hint}")
        if not all(math.isfinite(value) and abs(value) < LARGEST_VALUE for value in row[:2]):
            raise BadInput(f"{path}: line {number} contains {quoted(line.strip(), 40)!r}; remove points that are not finite numbers")
        if rows and row[0] <= rows[-1][0]:
            raise BadInput(f"{path}: line {number}: {row[0]:g} follows {rows[-1][0]:g}; the first column must increase")
        rows.append(row)
        if len(rows) > MOST:
            raise BadInput(f"{path}: has more than {MOST} points; average neighbouring points")
    if len(rows) < FEWEST:
        raise BadInput(f"{path}: has {len(rows)} points; at least {FEWEST} lines of {names} are needed")
    if width > 2:
        warnings.warn(InputNote(f"{path}: only the first two of {width} columns are used"), stacklevel=3)
    table = np.array([row[:2] for row in rows])
    return Curve(table[:, 0], table[:, 1], header)


def _header(path: Path, lines: list[str]) -> dict[str, float]:
    """Return `qmax`, `qdamp` and `neutron` of a header."""
    values = {}
    for line in lines:
        kind = RADIATION.match(line)
        if kind is not None:
            values["neutron"] = float(kind["kind"].lower().startswith("n"))
        match = ENTRY.match(line)
        if match is None:
            continue
        key = match["key"].lower().replace("_", "")
        try:
            value = float(match["value"])
        except ValueError:
            value = math.nan
        if not 0 <= value < 1000:
            raise BadInput(f"{path}: the header gives {key} = {quoted(match['value'], 30)}; it must be a number in 1/Å")
        values[key] = value
    return values
