"""Second readers: what another program reads from the same file.

Each returns None if both agree, a difference as text, or raises an exception if it cannot read the file. nucleate's documented conventions
are taken into account: deuterium is hydrogen, and paths in settings are made absolute.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import gemmi
import numpy as np
from pymatgen.core import Composition
from pymatgen.io.vasp import Poscar

Second = Callable[[Path, str, Any], "str | None"]


def formula(folder: Path, name: str, found: Any) -> str | None:
    """Compare a formula with pymatgen's composition."""
    text = (folder / name).read_text(encoding="utf-8").strip()
    if found.system is not None or not re.fullmatch(r"[A-Za-z0-9()]+", text):
        raise ValueError("not a formula that pymatgen reads")
    other = {symbol: round(count) for symbol, count in Composition(text).as_dict().items()}
    return None if other == found.counts else f"{found.counts} and {other}"


def cif(folder: Path, name: str, frames: Any) -> str | None:
    """Compare the ratio of elements and the volume with those of gemmi."""
    document = gemmi.cif.read(str(folder / name))
    if len(document) != 1 or len(frames) != 1:
        raise ValueError("several blocks")
    small = gemmi.make_small_structure_from_block(document.sole_block())
    if small.spacegroup is None:
        raise ValueError("gemmi finds no space group")
    sites = small.get_all_unit_cell_sites()
    if not sites:
        raise ValueError("no sites")
    other = Counter("H" if site.element.name == "D" else site.element.name for site in sites)
    mine = Counter(frames[0].get_chemical_symbols())
    a, b = (np.array([count[symbol] for symbol in sorted({*mine, *other})], dtype=float) for count in (mine, other))
    if not np.allclose(a / a.sum(), b / b.sum(), atol=1e-9):
        return f"{dict(mine)} and {dict(other)}"
    volumes = frames[0].get_volume() / a.sum(), small.cell.volume / b.sum()
    # gemmi lists atoms several times that a file gives beside their images.
    ratio = volumes[0] / volumes[1]
    return None if ratio > 0.5 and abs(ratio - round(ratio)) < 1e-3 * ratio else f"{volumes[0]:.4f} and {volumes[1]:.4f} Å³/atom"


def poscar(folder: Path, name: str, frames: Any) -> str | None:
    """Compare cell and positions with those of pymatgen."""
    other = Poscar.from_str((folder / name).read_text(encoding="utf-8-sig")).structure
    mine = frames[0]
    symbols = [site.specie.symbol for site in other]
    if symbols[0] == "H" and "H" not in mine.symbols:
        raise ValueError("pymatgen invents elements of files that name none")
    if ["H" if symbol in ("D", "T") else symbol for symbol in symbols] != mine.get_chemical_symbols():
        return f"{mine.get_chemical_formula()} and {other.composition}"
    if not np.allclose(other.lattice.matrix, mine.cell.array, atol=1e-4):
        return "the cells differ"
    away = other.frac_coords - mine.get_scaled_positions(wrap=False)
    return None if np.abs((away - np.rint(away)) @ mine.cell.array).max() < 1e-3 else "the positions differ"


def extxyz(folder: Path, name: str, frames: Any) -> str | None:
    """Compare elements, cells and positions with those of ASE."""
    others = ase.io.read(folder / name, index=":", format="extxyz")
    if len(others) != len(frames):
        return f"{len(frames)} and {len(others)} structures"
    for mine, other in zip(frames, others, strict=True):
        mine = getattr(mine, "atoms", mine)
        if (mine.numbers != other.numbers).any():
            return f"{mine.symbols} and {other.symbols}"
        if other.cell.rank == 3 and not (
            np.allclose(mine.cell.array, other.cell.array, atol=1e-6) and np.allclose(mine.positions, other.positions, atol=1e-6)
        ):
            return "cells or positions differ"
    return None


def toml(folder: Path, name: str, found: Any) -> str | None:
    """Compare every value of the file with that of the settings."""
    said = tomllib.loads((folder / name).read_text(encoding="utf-8-sig"))
    return _different(said, found.model_dump(mode="json"), "")


def _different(said: dict[str, Any], held: dict[str, Any], where: str) -> str | None:
    for key, value in said.items():
        other = held.get(key, "nothing")
        if isinstance(value, dict) and isinstance(other, dict):
            problem = _different(value, other, f"{where}{key}.")
            if problem is not None:
                return problem
        elif not _same(value, other):
            return f"{where}{key}: {str(value)[:60]} and {str(other)[:60]}"
    return None


def _same(value: Any, other: Any) -> bool:
    """Return whether a setting holds the value of a file; paths become absolute, and names of engines are written small."""
    if isinstance(value, int | float) and isinstance(other, int | float):
        return abs(value - other) <= 1e-12 * abs(value)
    absolute = isinstance(value, str) and "/" in str(other)
    return absolute or value in ("unset", other) or str(value).lower() == str(other).lower()


def mala(folder: Path, name: str, snapshot: Any) -> str | None:
    """Compare the array with that of NumPy."""
    other = np.load(folder / "al.npy", allow_pickle=False)
    same = other.shape == snapshot.ldos.shape and np.allclose(other, snapshot.ldos, rtol=1e-3, atol=1e-6)
    return None if same else "the arrays differ"


def run(folder: Path, name: str, data: Any) -> str | None:
    """Compare the formula of the settings with that of run.toml."""
    said = tomllib.loads((folder / "run" / "run.toml").read_text(encoding="utf-8-sig"))
    return None if data.settings.formula == said["formula"] else f"{data.settings.formula} and {said['formula']}"


SECOND: dict[str, Second] = {
    "formula": formula, "cif": cif, "poscar": poscar, "extxyz": extxyz, "labelled": extxyz, "toml": toml, "executor": toml, "mala": mala,
    "run": run,
}  # fmt: skip
