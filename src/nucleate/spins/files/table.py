"""CSV table of couplings with a header that states the convention.

The header is TOML after "# ": pairs ("once" or "twice"), sign ("minus": H = - sum e J e, or "plus"), spins ("unit", or "moment" for vectors
of the length of the moments), unit, cell and sites. The columns are i, j, a, b, c and either J, or J, Dx, Dy, Dz, or Jxx ... Jzz.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tomli_w
from pydantic import BaseModel, ConfigDict, Field

from nucleate.errors import BadInput, quoted
from nucleate.persist.text import from_toml, read_text, stated
from nucleate.spins.couplings import FURTHEST, Couplings, counted_once, tensor
from nucleate.units import K_B, RYDBERG

FORMAT = "nucleate couplings 1"
UNITS = {"meV": 1.0, "eV": 1e3, "mRy": RYDBERG, "K": K_B}
"""Supported units in meV."""
CHOICES: dict[str, tuple[str, ...]] = {
    "pairs": ("once", "twice"),
    "sign": ("minus", "plus"),
    "spins": ("unit", "moment"),
    "unit": tuple(UNITS),
}
LARGEST_HEADER = 2**24
"""Bytes."""
LARGEST_NUMBER = 1e12
"""Largest coupling in any unit; sums of larger numbers could overflow."""
TENSOR = tuple(f"J{a}{b}" for a in "xyz" for b in "xyz")
VECTOR = ("J", "Dx", "Dy", "Dz")


Number = Annotated[float, Field(allow_inf_nan=False)]
Vector = tuple[Number, Number, Number]


class _Site(BaseModel):
    model_config = ConfigDict(extra="forbid")

    symbol: str = Field(max_length=40)
    position: Vector
    moment: Number
    anisotropy: tuple[Vector, Vector, Vector] | None = None


class _Header(BaseModel):
    """Header of a table; unknown keys are rejected, because they may change the meaning of the numbers."""

    model_config = ConfigDict(extra="forbid")

    format: str = FORMAT
    pairs: Literal["once", "twice"]
    sign: Literal["minus", "plus"]
    spins: Literal["unit", "moment"]
    unit: str
    cell: tuple[Vector, Vector, Vector]
    site: list[_Site] = Field(min_length=1, max_length=10**5)


def table_text(couplings: Couplings) -> str:
    """Return the table in the package's convention; numbers are written without loss of precision."""
    sites: list[dict[str, Any]] = []
    for symbol, position, moment, onsite in zip(
        couplings.symbols, couplings.positions.tolist(), couplings.moments.tolist(), couplings.anisotropy, strict=True
    ):
        site: dict[str, Any] = {"symbol": symbol, "position": position, "moment": moment}
        if np.abs(onsite).max() > 0:
            site["anisotropy"] = onsite.tolist()
        sites.append(site)
    header = {
        "format": FORMAT,
        "pairs": "once",
        "sign": "minus",
        "spins": "unit",
        "unit": "meV",
        "cell": couplings.cell.tolist(),
        "site": sites,
    }
    text = io.StringIO()
    for line in tomli_w.dumps(header).splitlines():
        text.write(f"# {line}".rstrip() + "\n")
    symmetric = np.abs(couplings.tensors - tensor(couplings.isotropic, couplings.dm)).max(initial=0) < 1e-12
    plain = symmetric and np.abs(couplings.dm).max(initial=0) < 1e-12
    columns = ("J",) if plain else VECTOR if symmetric else TENSOR
    values = (
        couplings.isotropic[:, None]
        if plain
        else np.column_stack([couplings.isotropic, couplings.dm])
        if symmetric
        else couplings.tensors.reshape(-1, 9)
    )
    with_errors = bool(np.isfinite(couplings.errors).any())
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["i", "j", "a", "b", "c", *columns, *(["error"] if with_errors else [])])
    for p in range(len(couplings.first)):
        error = [repr(float(couplings.errors[p]))] if with_errors else []
        writer.writerow([couplings.first[p], couplings.second[p], *couplings.shifts[p], *(repr(float(v)) for v in values[p]), *error])
    return text.getvalue()


def read_table(path: str | Path) -> Couplings:
    """Read couplings from a table in the convention given by its header.

    Raises:
        BadInput: The file does not exist, the header lacks the convention, an entry is not a number, or a list that counts pairs
            twice is not symmetric.
    """
    path = Path(path)
    lines = read_text(path).splitlines()
    head = [line[1:].strip() for line in lines if line.startswith("#")]
    if sum(map(len, head)) > LARGEST_HEADER:
        raise BadInput(f"{path}: the header is longer than {LARGEST_HEADER // 2**20} MiB")
    given = from_toml("\n".join(head), f"{path}: its header behind '# '")
    if given.get("format", FORMAT) != FORMAT:
        raise BadInput(f"{path}: format {quoted(given['format'], 40)}; this version reads {FORMAT!r}")
    for key, known in CHOICES.items():
        if not isinstance(given.get(key), str) or given[key] not in known:
            raise BadInput(f"{path}: unknown convention; add '# {key} = \"...\"' with one of {', '.join(known)} to the header")
    header = stated(_Header, given, f"{path}: its header")
    sites = header.site
    cell = np.array(header.cell)
    positions, moments = np.array([site.position for site in sites]), np.array([site.moment for site in sites])
    symbols = tuple(site.symbol for site in sites)
    anisotropy = np.array([np.zeros((3, 3)) if site.anisotropy is None else site.anisotropy for site in sites])
    body = [line for line in lines if line.strip() and not line.startswith("#")]
    try:
        rows = list(csv.reader(body))
    except csv.Error as error:
        raise BadInput(f"{path}: cannot be read as a table: {error}") from None
    if len(rows) < 2:
        raise BadInput(f"{path}: the table contains no pairs")
    names = [name.strip() for name in rows[0]]
    columns = next((c for c in (TENSOR, VECTOR, ("J",)) if set(c) <= set(names)), None)
    if columns is None or not {"i", "j", "a", "b", "c"} <= set(names):
        raise BadInput(f"{path}: the columns must be i, j, a, b, c and J, or J, Dx, Dy, Dz, or Jxx ... Jzz")
    strange = set(names) - {"i", "j", "a", "b", "c", *columns, "error"}
    if strange or len(set(names)) < len(names):
        raise BadInput(f"{path}: column {quoted(min(strange) if strange else max(names, key=names.count), 40)} is unknown or occurs twice")
    for k, row in enumerate(rows[1:], start=1):
        if len(row) != len(names):
            raise BadInput(f"{path}: pair {k} has {len(row)} entries for {len(names)} columns")
    column = {name: [row[at].strip() for row in rows[1:]] for at, name in enumerate(names)}
    place = np.array(
        [[_whole(text, f"{path}: pair {k}, {name}") for k, text in enumerate(column[name], 1)] for name in ("i", "j", "a", "b", "c")]
    ).T
    values = np.array([[_number(text, f"{path}: pair {k}, {name}") for k, text in enumerate(column[name], 1)] for name in columns]).T
    spreads = column.get("error", [""] * len(place))
    errors = np.array([_number(text, f"{path}: pair {k}, error") if text else np.nan for k, text in enumerate(spreads, 1)])
    if place[:, :2].min() < 0 or place[:, :2].max() >= len(sites):
        raise BadInput(f"{path}: a pair refers to a site beyond the {len(sites)} sites of the header")
    tensors = values.reshape(-1, 3, 3) if columns == TENSOR else tensor(values[:, 0], values[:, 1:] if columns == VECTOR else None)
    first, second, shifts = place[:, 0], place[:, 1], place[:, 2:]
    factor = UNITS[header.unit] * (1 if header.sign == "minus" else -1)
    tensors, errors, anisotropy = tensors * factor, errors * abs(factor), anisotropy * factor
    if header.spins == "moment":
        tensors = tensors * (moments[first] * moments[second])[:, None, None]
        errors = errors * moments[first] * moments[second]
        anisotropy = anisotropy * (moments**2)[:, None, None]
    notes: tuple[str, ...] = ()
    if header.pairs == "twice":
        # Both directions of a pair contribute: e_i J e_j + e_j J e_i.
        kept = {tuple(map(int, row)): k for k, row in enumerate(place)}
        first, second, shifts, tensors, notes = counted_once(first, second, shifts, 2 * tensors, str(path))
        errors = 2 * np.array([errors[kept[(int(i), int(j), *map(int, r))]] for i, j, r in zip(first, second, shifts, strict=True)])
    try:
        return Couplings(cell, positions, symbols, moments, first, second, shifts, tensors, anisotropy, errors, notes)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def _whole(text: str, where: str) -> int:
    """Parse a site or cell index; out-of-range values are rejected before they overflow an array."""
    if not (text.removeprefix("-").isascii() and text.removeprefix("-").isdigit() and len(text) < 20 and abs(int(text)) <= FURTHEST):
        raise BadInput(f"{where}: {quoted(text, 40)} is not a site or cell index; give an integer up to {FURTHEST}")
    return int(text)


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise BadInput(f"{where}: {quoted(text, 40)} is not a number") from None
    if not abs(value) <= LARGEST_NUMBER:
        raise BadInput(f"{where}: {quoted(text, 40)} is not a finite number below {LARGEST_NUMBER:g}")
    return value
