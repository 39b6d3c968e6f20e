"""File of arrangements on a parent lattice, with their energies once they are calculated."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nucleate.errors import BadInput, quoted, quoted_path
from nucleate.lattice.enumeration import Arrangement
from nucleate.lattice.parent import Parent
from nucleate.lattice.supercells import Supercell
from nucleate.persist.files import write_whole

VERSION = 1
LARGEST = 500_000_000
"""Largest size of a file, in bytes."""
MOVED = 0.5
"""Distance from the sites beyond which a relaxed arrangement counts as another one, Å."""
STRAINED = 0.1
"""Strain beyond which a relaxed arrangement counts as one of another lattice; from face- to body-centred cubic it is 0.19."""
_KIND = "nucleate lattice"


@dataclass(frozen=True)
class Labelled:
    """An arrangement and what the reference says of it.

    Attributes:
        arrangement: The arrangement.
        energy: Energy of the supercell in eV; None before it is calculated or if that failed.
        dipole: Dipole moment of the supercell along the normal of a layer in e Å, if it was calculated.
        moved: Largest distance of an atom from its site after relaxation in Å; None without relaxation.
        strain: Largest principal value of the strain of the relaxed cell beside the change of volume; None without relaxation.
        failure: Why there is no energy.
    """

    arrangement: Arrangement
    energy: float | None = None
    dipole: float | None = None
    moved: float | None = None
    strain: float | None = None
    failure: str = ""


@dataclass(frozen=True)
class LatticeData:
    """Arrangements on one parent lattice.

    Attributes:
        parent: The parent lattice.
        labelled: The arrangements, with energies where they are known.
        reference: Settings of the reference that gave the energies; empty without energies.
        mesh: k-point mesh of the parent that all supercells share, or None.
    """

    parent: Parent
    labelled: list[Labelled]
    reference: dict[str, Any] = field(default_factory=dict)
    mesh: tuple[int, int, int] | None = None

    @property
    def on_lattice(self) -> list[Labelled]:
        """The arrangements that have an energy and whose atoms are still on their sites after relaxation."""
        return [entry for entry in self.with_energies if (entry.moved or 0.0) <= MOVED and (entry.strain or 0.0) <= STRAINED]

    @property
    def with_energies(self) -> list[Labelled]:
        """The arrangements that have an energy."""
        return [entry for entry in self.labelled if entry.energy is not None]

    def energies(self) -> np.ndarray:
        """Return the (n,) energies of the arrangements that have one, eV per primitive cell."""
        return np.array([entry.energy / entry.arrangement.supercell.count for entry in self.with_energies if entry.energy is not None])


def write_data(path: Path, data: LatticeData) -> None:
    """Write arrangements and energies as JSON; raise `StorageFailed` if that fails."""
    rows = []
    for entry in data.labelled:
        row: dict[str, Any] = {
            "matrix": entry.arrangement.supercell.matrix.tolist(),
            "occupation": [int(o) for o in entry.arrangement.occupation],
        }
        known = {
            "energy": entry.energy,
            "dipole": entry.dipole,
            "moved": entry.moved,
            "strain": entry.strain,
            "failure": entry.failure or None,
        }
        rows.append(row | {name: value for name, value in known.items() if value is not None})
    head = {"kind": _KIND, "version": VERSION, "parent": data.parent.as_dict(), "mesh": data.mesh, "reference": data.reference}
    # One arrangement a line, so that files can be compared.
    lines = ",\n".join(json.dumps(row) for row in rows)
    write_whole(path, f'{json.dumps(head)[:-1]}, "arrangements": [\n{lines}\n]}}\n')


def read_data(path: Path) -> LatticeData:
    """Read the file of `write_data`.

    Raises:
        BadInput: the file cannot be read, or is not such a file.
    """
    name = quoted_path(path)
    data = read_json(path, _KIND, VERSION)
    try:
        parent = Parent.from_dict(data["parent"])
        cells: dict[bytes, Supercell] = {}
        labelled = []
        for row in data["arrangements"]:
            matrix = np.array(row["matrix"])
            if matrix.shape != (3, 3) or matrix.dtype.kind != "i":
                raise ValueError("a matrix is not (3, 3) integers")
            supercell = cells.setdefault(matrix.tobytes(), Supercell(parent, matrix))
            occupation = np.array(row["occupation"], dtype=int)
            choices = np.array([len(parent.allowed[s]) for s in supercell.sublattice])
            if occupation.shape != choices.shape or (occupation < 0).any() or (occupation >= choices).any():
                raise ValueError("an occupation does not fit its supercell")
            numbers = {key: None if row.get(key) is None else float(row[key]) for key in ("energy", "dipole", "moved", "strain")}
            if any(value is not None and not np.isfinite(value) for value in numbers.values()):
                raise ValueError("an energy is not finite")
            labelled.append(Labelled(Arrangement(supercell, occupation), **numbers, failure=str(row.get("failure") or "")))
        mesh = None if data["mesh"] is None else _mesh_of(data["mesh"])
        return LatticeData(parent, labelled, dict(data["reference"]), mesh)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise BadInput(f"{name}: is damaged ({quoted(str(error), 60)}); write it again with: nucleate lattice enumerate") from None


def _mesh_of(values: Sequence[Any]) -> tuple[int, int, int]:
    a, b, c = (int(n) for n in values)
    return a, b, c


def read_json(path: Path, kind: str, version: int) -> dict[str, Any]:
    """Read a JSON file with the entries `kind` and `version`.

    Raises:
        BadInput: the file cannot be read, or has another kind or a newer version.
    """
    name = quoted_path(path)
    try:
        if path.stat().st_size > LARGEST:
            raise BadInput(f"{name}: is larger than {LARGEST // 1_000_000} MB")
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{name}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or data.get("kind") != kind:
        raise BadInput(f"{name}: is not a file of kind '{kind}'")
    if not isinstance(data.get("version"), int) or data["version"] > version:
        raise BadInput(f"{name}: was written by a newer version of nucleate; install that version")
    return data
