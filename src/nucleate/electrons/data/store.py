"""Storage of snapshots as zarr groups, written to a temporary path and renamed when complete.

The local density of states is stored in chunks of grid planes, so that it can be read in parts.
"""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import zarr
from ase import Atoms
from ase.data import atomic_numbers
from pydantic import BaseModel, ConfigDict, Field

from nucleate.electrons.data.ground_state import Snapshot
from nucleate.electrons.species import Ion, IonHeader
from nucleate.errors import BadInput, RunFolderError, StorageFailed, quoted
from nucleate.persist.text import stated

VERSION = 1
CHUNK_BYTES = 2**22
ARRAYS = ("ldos", "energies", "numbers", "positions", "cell")
OPTIONAL = ("density", "forces", "stress", "spin_density")
LARGE = ("ldos", "spin_ldos", "occupied_ldos")
"""Arrays that are stored in chunks of planes, and read on request."""
LARGEST = 2.0**38
"""Maximum number of values in a local density of states; zarr would fill missing chunks of a larger array in memory."""


class _Attributes(BaseModel):
    """Attributes stored with the arrays."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    version: Annotated[int, Field(strict=True, ge=1)]
    sigma: float = Field(gt=0)
    temperature: float = Field(gt=0)
    fermi_level: float | None
    terms: dict[str, float]
    ions: list[IonHeader] = Field(min_length=1, max_length=118)
    engine: dict[str, Any]
    details: dict[str, Any]
    band_edges: tuple[float, float] | None = None


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write one snapshot.

    Raises:
        StorageFailed: The disk is full or fails; nothing remains at `path`.
    """
    part = path.with_name(path.name + ".part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        group = zarr.open_group(part, mode="w")
        planes = max(1, min(len(snapshot.ldos), CHUNK_BYTES // snapshot.ldos[0].nbytes))
        for name in LARGE:
            if getattr(snapshot, name) is not None:
                group.create_array(name, data=getattr(snapshot, name), chunks=(planes, *snapshot.ldos.shape[1:]))
        group.create_array("energies", data=snapshot.energies)
        group.create_array("numbers", data=snapshot.atoms.numbers.astype(np.int64))
        group.create_array("positions", data=snapshot.atoms.positions)
        group.create_array("cell", data=snapshot.atoms.cell.array)
        for name in OPTIONAL:
            if getattr(snapshot, name) is not None:
                group.create_array(name, data=getattr(snapshot, name))
        group.attrs.update(
            {
                "version": VERSION,
                "sigma": snapshot.sigma,
                "temperature": snapshot.temperature,
                "fermi_level": snapshot.fermi_level,
                "terms": snapshot.terms,
                "ions": [ion.as_dict() for ion in snapshot.ions.values()],
                "engine": snapshot.engine,
                "details": snapshot.details,
                **({} if snapshot.band_edges is None else {"band_edges": list(snapshot.band_edges)}),
            }
        )
        part.replace(path)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        hint = "free some disk space; " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise StorageFailed(f"{path}: {error.strerror or error}; {hint}earlier snapshots are complete") from error


def read_snapshot(path: Path, ldos: bool = True) -> Snapshot:
    """Read one snapshot.

    Args:
        path: Path of the zarr group.
        ldos: Whether to read the local density of states; otherwise its last axis is empty.

    Raises:
        BadInput: The path is not a snapshot, or the snapshot is damaged or of a newer version.
    """
    try:
        group = zarr.open_group(path, mode="r")
        attributes: dict[str, Any] = dict(group.attrs)
        held: dict[str, Any] = {name: group[name] for name in dict.fromkeys((*ARRAYS, *OPTIONAL, *LARGE)) if name in group}
        if set(ARRAYS) <= set(held):
            _check_shapes(path, {name: (tuple(one.shape), one.dtype.kind) for name, one in held.items()})
            array = {name: one[:] for name, one in held.items() if name not in LARGE or ldos}
    except BadInput:
        raise
    except Exception as error:  # zarr raises various exceptions for damaged data
        raise BadInput(f"{path}: the snapshot cannot be read ({type(error).__name__}); sample it again") from error
    if not set(ARRAYS) <= set(held):
        raise BadInput(f"{path}: the snapshot cannot be read: {min(set(ARRAYS) - set(held))} is missing; sample it again")
    version = attributes.get("version")
    if isinstance(version, int) and version > VERSION:
        raise BadInput(f"{path}: written by a newer version of nucleate (format {version}, this one reads {VERSION}); upgrade")
    said = stated(_Attributes, attributes, f"{path}: the attributes")
    for name, values in array.items():
        if not np.isfinite(values).all():
            raise BadInput(f"{path}: array {name} contains values that are not finite; sample it again")
    numbers = array["numbers"]
    ions = {ion.symbol: Ion(**ion.model_dump()) for ion in said.ions}
    known = [atomic_numbers[symbol] for symbol in ions]
    if not np.isin(numbers, known).all() or not (np.diff(array["energies"]) > 0).all() or not abs(np.linalg.det(array["cell"])) > 1e-3:
        raise BadInput(
            f"{path}: the snapshot is invalid: an ion is missing, energies do not increase, or the cell has no volume; sample it again"
        )
    found = Snapshot(
        atoms=Atoms(numbers, array["positions"], cell=array["cell"], pbc=True),
        energies=array["energies"],
        ldos=array["ldos"] if ldos else np.zeros((*held["ldos"].shape[:3], 0), dtype=np.float32),
        density=array.get("density"),
        sigma=said.sigma,
        temperature=said.temperature,
        fermi_level=said.fermi_level,
        terms=said.terms,
        ions=ions,
        engine=said.engine,
        details=said.details,
        forces=array.get("forces"),
        # Earlier versions stored the stress at a fixed number of plane waves.
        stress=array.get("stress") if "pulay_stress" in said.details else None,
        spin_ldos=array.get("spin_ldos"),
        spin_density=array.get("spin_density"),
        occupied_ldos=array.get("occupied_ldos"),
        band_edges=said.band_edges,
    )
    if found.insulating != ("occupied_ldos" in held):
        raise BadInput(f"{path}: occupied_ldos and the band gap do not belong together; sample it again")
    return found


def _check_shapes(path: Path, found: dict[str, tuple[tuple[int, ...], str]]) -> None:
    """Raise `BadInput` unless the array shapes match; shapes are checked before any allocation."""
    grid, n = found["ldos"][0], found["numbers"][0]
    wanted = {"ldos": (grid, "f"), "energies": (grid[3:], "f"), "numbers": (n, "i"), "positions": ((*n, 3), "f"), "cell": ((3, 3), "f")}
    wanted |= {"density": (grid[:3], "f"), "forces": ((*n, 3), "f"), "stress": ((3, 3), "f")}
    wanted |= {"spin_ldos": (grid, "f"), "spin_density": (grid[:3], "f"), "occupied_ldos": (grid, "f")}
    for name, (shape, kind) in found.items():
        if (shape, kind) != wanted[name] or len(grid) != 4 or len(n) != 1 or 0 in shape:
            raise BadInput(
                f"{path}: array {name}, {quoted(shape, 60)}, does not match a local density of states {quoted(grid, 60)}; sample it again"
            )
    if ("spin_ldos" in found) != ("spin_density" in found):
        raise BadInput(f"{path}: the snapshot has only one of spin_ldos and spin_density; sample it again")
    if np.prod([float(length) for length in grid]) > LARGEST:
        raise BadInput(f"{path}: the shape {quoted(grid, 60)} of the local density of states exceeds the limit; sample it again")


def make_folder(path: Path) -> None:
    """Create a folder; raise `RunFolderError` if this fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"{path}: the folder cannot be created: {error.strerror}; choose another --out") from error


def snapshot_paths(data: Path) -> list[Path]:
    """Return the snapshots of a data folder in order.

    Raises:
        BadInput: The folder does not exist or contains no snapshots.
    """
    if not data.is_dir():
        raise BadInput(f"{data}: the folder does not exist; create it with: nucleate electrons sample")
    found = [data] if data.suffix == ".zarr" else sorted(data.glob("snapshots/*.zarr"))
    if not found:
        raise BadInput(f"{data}: the folder contains no finished snapshots; create them with: nucleate electrons sample")
    return found
