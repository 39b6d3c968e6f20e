"""Training data of couplings between pairs, and cross-validation splits without leakage.

A pair a-b and its reverse b-a are equivalent: a split with one in the training set and the other in the test set leaks information.
Splits keep all pairs of the same two elements together unless another grouping is requested.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import ase.io
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from pydantic import BaseModel, ConfigDict, Field

from nucleate.crystals.checks import check_structure
from nucleate.crystals.extxyz import read_extxyz
from nucleate.errors import BadInput, quoted
from nucleate.persist.text import read_text, stated

GROUPINGS = ("elements", "ungrouped")
JOINED = 0.02
"""Tolerance in Å for the end point of a pair vector."""


LARGEST = 1e7
"""Largest accepted coupling in meV."""
Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e7, le=1e7)]


@dataclass(frozen=True)
class Pairs:
    """Pairs of magnetic atoms.

    Attributes:
        elements: (n) pairs of element symbols.
        couplings: (n,) couplings in meV; NaN if unknown.
        atoms: (n) crystal of each pair, or None if only the elements are known.
        sites: (n, 2) indices of the two atoms.
        vectors: (n, 3) vectors from the first to the second atom in Å; along x if only the distance is known, NaN if it is unknown.
        dm: (n, 3) Dzyaloshinskii-Moriya vectors in meV; NaN if unknown.
    """

    elements: tuple[tuple[str, str], ...]
    couplings: np.ndarray
    atoms: tuple[Atoms, ...] | None
    sites: np.ndarray
    vectors: np.ndarray
    dm: np.ndarray

    def __len__(self) -> int:
        return len(self.elements)

    @property
    def distances(self) -> np.ndarray:
        """Pair distances (n,) in Å."""
        return np.linalg.norm(self.vectors, axis=1)

    @property
    def kind(self) -> str:
        """Kind of information available for all pairs; a model is trained on pairs of one kind."""
        if self.atoms is not None:
            return "crystals"
        return "elements and distances" if np.isfinite(self.vectors).all() else "elements alone"

    def take(self, rows: np.ndarray | Sequence[int]) -> Pairs:
        """Return a selection of the pairs."""
        rows = np.asarray(rows, dtype=int)
        atoms = None if self.atoms is None else tuple(self.atoms[k] for k in rows)
        return Pairs(
            tuple(self.elements[k] for k in rows), self.couplings[rows], atoms, self.sites[rows], self.vectors[rows], self.dm[rows]
        )

    def groups(self) -> np.ndarray:
        """Return group indices (n,), equal for pairs of the same two elements in either order."""
        names = ["-".join(sorted(pair)) for pair in self.elements]
        return np.unique(names, return_inverse=True)[1]

    @classmethod
    def of_elements(cls, elements: Sequence[tuple[str, str]], couplings: np.ndarray, distances: np.ndarray | None = None) -> Pairs:
        """Build pairs from elements and optional distances (n,) in Å."""
        n = len(elements)
        vectors = np.full((n, 3), np.nan)
        if distances is not None:
            vectors = np.asarray(distances, dtype=float)[:, None] * np.array([1.0, 0.0, 0.0])
        return cls(tuple(elements), np.asarray(couplings, dtype=float), None, np.zeros((n, 2), dtype=int), vectors, np.full((n, 3), np.nan))

    @classmethod
    def of_crystals(
        cls, atoms: Sequence[Atoms], sites: np.ndarray, vectors: np.ndarray, couplings: np.ndarray, dm: np.ndarray | None = None
    ) -> Pairs:
        """Build pairs in crystals."""
        sites = np.asarray(sites, dtype=int).reshape(-1, 2)
        elements = tuple((a[int(i)].symbol, a[int(j)].symbol) for a, (i, j) in zip(atoms, sites, strict=True))
        unknown = np.full((len(sites), 3), np.nan)
        return cls(
            elements,
            np.asarray(couplings, dtype=float),
            tuple(atoms),
            sites,
            np.asarray(vectors, dtype=float),
            unknown if dm is None else np.asarray(dm),
        )

    def with_couplings(self, couplings: np.ndarray) -> Pairs:
        """Return the pairs with other couplings."""
        return replace(self, couplings=np.asarray(couplings, dtype=float))

    @classmethod
    def joined(cls, parts: Sequence[Pairs]) -> Pairs:
        """Concatenate several sets of pairs.

        Raises:
            BadInput: The sets are of different kinds.
        """
        kinds = {part.kind for part in parts}
        if len(kinds) != 1:
            raise BadInput(f"pairs of different kinds cannot be combined in one training set: {'; '.join(sorted(kinds))}")
        atoms = tuple(a for part in parts for a in part.atoms or ()) if kinds == {"crystals"} else None
        return cls(
            tuple(e for part in parts for e in part.elements),
            *(np.concatenate([part.couplings for part in parts]),),
            atoms,
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ("sites", "vectors", "dm")),
        )


def read_pairs(path: str | Path, labelled: bool = True) -> Pairs:
    """Read pairs from a CSV table or an extended XYZ file.

    A table has columns element_a, element_b, J_meV and optionally distance (Å); extended XYZ frames have the keys `sites`, `vector`,
    `J_meV` and optionally `D_meV`.

    Args:
        path: Path of the file.
        labelled: Whether every pair must have a coupling.

    Raises:
        BadInput: The file does not exist, columns or keys are missing, an element is unknown, couplings are not finite, or sites and
            vectors do not match the crystal.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path}: no such file; give a .csv of element pairs or an extended XYZ of crystals with pairs")
    if path.suffix == ".csv":
        found = _of_table(path, labelled)
    elif path.suffix in (".xyz", ".extxyz"):
        found = _of_frames(path, labelled)
    else:
        raise BadInput(f"{path}: unknown file format; the suffix must be .csv or .extxyz")
    unknown = sorted({e for pair in found.elements for e in pair if not atomic_numbers.get(e)})
    if unknown:
        raise BadInput(f"{path}: {quoted(', '.join(unknown), 60)}: unknown element")
    if labelled and not np.isfinite(found.couplings).all():
        raise BadInput(f"{path}: a coupling is not a finite number (row {1 + int(np.argmin(np.isfinite(found.couplings)))})")
    if (np.abs(found.couplings) > LARGEST).any():
        raise BadInput(
            f"{path}: row {1 + int(np.argmax(np.abs(found.couplings) > LARGEST))}: the coupling exceeds {LARGEST:g} meV; check the unit"
        )
    return found


def _of_table(path: Path, labelled: bool) -> Pairs:
    try:
        rows = list(csv.reader(line for line in read_text(path).splitlines() if line.strip() and not line.startswith("#")))
    except csv.Error as error:
        raise BadInput(f"{path}: cannot be read as a table: {error}") from None
    needed = {"element_a", "element_b"} | ({"J_meV"} if labelled else set())
    if len(rows) < 2 or not needed <= set(rows[0]):
        raise BadInput(f"{path}: the columns {', '.join(sorted(needed))} are required")
    for k, row in enumerate(rows[1:], start=1):
        if len(row) != len(rows[0]):
            raise BadInput(f"{path}: row {k} has {len(row)} entries for {len(rows[0])} columns")
    column = {name: [row[at] for row in rows[1:]] for at, name in enumerate(rows[0])}
    values = np.full(len(rows) - 1, np.nan)
    for k, text in enumerate(column.get("J_meV", [])):
        try:
            values[k] = float(text) if labelled or text.strip() else np.nan
        except ValueError:
            raise BadInput(f"{path}: row {k + 1}: coupling {quoted(text, 40)} is not a number; remove pairs without a coupling") from None
    elements = list(zip(column["element_a"], column["element_b"], strict=True))
    return Pairs.of_elements(elements, values, lengths(column["distance"], path) if "distance" in column else None)


def lengths(texts: Sequence[str | None], path: Path) -> np.ndarray:
    """Parse a column of distances (n,) in Å.

    Raises:
        BadInput: An entry is not a positive length.
    """
    found = []
    for k, text in enumerate(texts):
        try:
            found.append(float(text or ""))
        except ValueError:
            found.append(float("nan"))
        if not 0 < found[-1] < 1e6:
            raise BadInput(f"{path}: row {k + 1}: distance {quoted(text or 'nothing', 40)}: give a length in Å for every pair or for none")
    return np.array(found)


class _Frame(BaseModel):
    """Keys of a frame that describe its pair; other extended XYZ keys are ignored."""

    model_config = ConfigDict(extra="ignore")

    sites: tuple[Annotated[int, Field(strict=True)], Annotated[int, Field(strict=True)]]
    vector: tuple[Number, Number, Number]
    J_meV: Annotated[float, Field(strict=True)] = float("nan")
    D_meV: tuple[Number, Number, Number] | None = None


def _of_frames(path: Path, labelled: bool) -> Pairs:
    read = []
    frames = read_extxyz(path, read_text(path))
    for k, atoms in enumerate(frames):
        where = f"{path}, structure {k + 1}"
        if "occupancy" in atoms.info:
            raise BadInput(f"{where}: partial occupancies are not supported; remove the key occupancy if all sites are fully occupied")
        check_structure(atoms, where)
        missing = {"sites", "vector", *(["J_meV"] if labelled else [])} - set(atoms.info)
        if missing:
            raise BadInput(f"{where}: {', '.join(sorted(missing))} missing; each frame must specify its pair and coupling")
        if not atoms.pbc.all():
            raise BadInput(f"{where}: the structure must be periodic in three directions")
        said = {key: value.tolist() if isinstance(value, np.ndarray | np.generic) else value for key, value in atoms.info.items()}
        read.append(stated(_Frame, said, where))
        _check_pair(atoms, read[-1], where)
    unknown = (float("nan"),) * 3
    return Pairs.of_crystals(
        frames,
        np.array([frame.sites for frame in read]),
        np.array([frame.vector for frame in read]),
        np.array([frame.J_meV for frame in read]),
        np.array([frame.D_meV or unknown for frame in read]),
    )


def _check_pair(atoms: Atoms, frame: _Frame, where: str) -> None:
    i, j = frame.sites
    if min(i, j) < 0 or max(i, j) >= len(atoms) or i == j:
        raise BadInput(f"{where}: sites {i} {j}: give the indices of two atoms, starting from 0")
    away = (np.array(frame.vector) - (atoms.positions[j] - atoms.positions[i])) @ np.linalg.inv(atoms.cell.array)
    if np.abs((away - away.round()) @ atoms.cell.array).max() > JOINED:
        raise BadInput(f"{where}: the vector does not connect atom {i} with an image of atom {j}")


def write_pairs(path: Path, pairs: Pairs) -> None:
    """Write pairs in crystals as extended XYZ and other pairs as CSV."""
    if pairs.atoms is None:
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            apart = pairs.kind == "elements and distances"
            writer.writerow(["element_a", "element_b", "J_meV", *(["distance"] if apart else [])])
            for pair, j, distance in zip(pairs.elements, pairs.couplings.tolist(), pairs.distances.tolist(), strict=True):
                writer.writerow([*pair, repr(j), *([repr(distance)] if apart else [])])
        return
    frames = []
    for k, atoms in enumerate(pairs.atoms):
        frame = atoms.copy()
        frame.info = {"sites": pairs.sites[k], "vector": pairs.vectors[k], "J_meV": float(pairs.couplings[k])}
        if np.isfinite(pairs.dm[k]).all():
            frame.info["D_meV"] = pairs.dm[k]
        frames.append(frame)
    ase.io.write(path, frames, format="extxyz")


def folds(pairs: Pairs, count: int, rng: np.random.Generator, grouping: str = "elements") -> list[np.ndarray]:
    """Return the rows of each cross-validation fold.

    Args:
        pairs: Pairs to split.
        count: Number of folds.
        rng: Random generator.
        grouping: "elements" keeps pairs of the same two elements in one fold, in either order; "ungrouped" does not and leaks information.

    Raises:
        BadInput: There are more folds than groups, or the grouping is unknown.
    """
    if grouping not in GROUPINGS:
        raise BadInput(f"unknown grouping {grouping}; choose from {', '.join(GROUPINGS)}")
    groups = pairs.groups() if grouping == "elements" else np.arange(len(pairs))
    names = rng.permutation(groups.max() + 1)
    if len(names) < count:
        raise BadInput(f"{count} folds exceed the {len(names)} groups of pairs; use fewer folds or more pairs")
    sizes = np.bincount(groups)
    filled = np.zeros(count)
    fold_of = np.zeros(len(names), dtype=int)
    for name in names:
        fold_of[name] = int(filled.argmin())
        filled[fold_of[name]] += sizes[name]
    return [np.flatnonzero(fold_of[groups] == k) for k in range(count)]
