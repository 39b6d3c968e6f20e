"""Couplings as a CSV table whose header states the convention.

The header is TOML behind "# ": pairs ("once" or "twice"), sign ("minus": H = - sum e J e, or "plus"), spins ("unit", or "moment": vectors
as long as the moments), unit, cell and sites; then the columns i, j, a, b, c and either J, or J, Dx, Dy, Dz, or the nine Jxx ... Jzz.
"""

from __future__ import annotations

import csv
import io
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from nucleate.errors import BadInput
from nucleate.spins.couplings import Couplings, counted_once, tensor

FORMAT = "nucleate couplings 1"
UNITS = {"meV": 1.0, "eV": 1e3, "mRy": 13.605693122990, "K": 8.617333262e-2}
"""In meV."""
CHOICES: dict[str, tuple[str, ...]] = {
    "pairs": ("once", "twice"),
    "sign": ("minus", "plus"),
    "spins": ("unit", "moment"),
    "unit": tuple(UNITS),
}
TENSOR = tuple(f"J{a}{b}" for a in "xyz" for b in "xyz")
VECTOR = ("J", "Dx", "Dy", "Dz")


def table_text(couplings: Couplings) -> str:
    """The table in the stored convention; numbers read back exactly."""
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
    """Couplings of a table in any convention that its header states.

    Raises:
        BadInput: no such file, a header without its convention, cells that are not numbers, a list of pairs counted twice that is not
            symmetric.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read: {error}") from None
    head = [line[1:].strip() for line in lines if line.startswith("#")]
    try:
        header = tomllib.loads("\n".join(head))
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path}: its header is not TOML behind '# ' ({error})") from None
    if header.get("format", FORMAT) != FORMAT:
        raise BadInput(f"{path}: format {header['format']!r}; this version reads {FORMAT!r}")
    for key, known in CHOICES.items():
        if header.get(key) not in known:
            raise BadInput(f"{path}: unknown convention; write '# {key} = \"...\"' with one of {', '.join(known)} into its header")
    try:
        sites = header["site"]
        cell = np.array(header["cell"], dtype=float)
        positions = np.array([site["position"] for site in sites], dtype=float)
        moments = np.array([site["moment"] for site in sites], dtype=float)
        symbols = tuple(str(site["symbol"]) for site in sites)
        anisotropy = np.array([site.get("anisotropy", np.zeros((3, 3))) for site in sites], dtype=float)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{path}: its header needs cell = [[...], ...] and [[site]] tables with symbol, position, moment ({error})"
        ) from None
    rows = list(csv.DictReader(line for line in lines if line.strip() and not line.startswith("#")))
    if not rows:
        raise BadInput(f"{path}: holds no pairs")
    names = set(rows[0])
    columns = next((c for c in (TENSOR, VECTOR, ("J",)) if set(c) <= names), None)
    if columns is None or not {"i", "j", "a", "b", "c"} <= names:
        raise BadInput(f"{path}: columns are i, j, a, b, c and J, or J, Dx, Dy, Dz, or Jxx ... Jzz")
    try:
        place = np.array([[int(row[name]) for name in ("i", "j", "a", "b", "c")] for row in rows])
        values = np.array([[float(row[name]) for name in columns] for row in rows])
        errors = np.array([float(row["error"]) if row.get("error") else np.nan for row in rows])
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInput(f"{path}: a cell of the table is no number ({error})") from None
    if not np.isfinite(values).all():
        raise BadInput(
            f"{path}: a coupling is not a finite number (line {1 + len(head) + 1 + int(np.argwhere(~np.isfinite(values))[0, 0])})"
        )
    if place.size and (place[:, :2].min() < 0 or place[:, :2].max() >= len(sites)):
        raise BadInput(f"{path}: a pair names a site beyond the {len(sites)} of the header")
    tensors = values.reshape(-1, 3, 3) if columns == TENSOR else tensor(values[:, 0], values[:, 1:] if columns == VECTOR else None)
    first, second, shifts = place[:, 0], place[:, 1], place[:, 2:]
    factor = UNITS[header["unit"]] * (1 if header["sign"] == "minus" else -1)
    tensors, errors, anisotropy = tensors * factor, errors * abs(factor), anisotropy * factor
    if header["spins"] == "moment":
        tensors = tensors * (moments[first] * moments[second])[:, None, None]
        errors = errors * moments[first] * moments[second]
        anisotropy = anisotropy * (moments**2)[:, None, None]
    if header["pairs"] == "twice":
        # Both halves of a pair count: e_i J e_j + e_j J e_i.
        kept = {tuple(map(int, row)): k for k, row in enumerate(place)}
        first, second, shifts, tensors = counted_once(first, second, shifts, 2 * tensors, str(path))
        errors = 2 * np.array([errors[kept[(int(i), int(j), *map(int, r))]] for i, j, r in zip(first, second, shifts, strict=True)])
    try:
        return Couplings(cell, positions, symbols, moments, first, second, shifts, tensors, anisotropy, errors)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
