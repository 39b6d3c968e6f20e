"""Snapshots on disk: one zarr group each, written beside and renamed when whole, so that a kill leaves none half done.

The local density of states lies in chunks of planes of the grid: what is read of it is what is used.
"""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from ase import Atoms

from nucleate.electrons.ground_state import Snapshot
from nucleate.electrons.species import Ion
from nucleate.errors import BadInput, RunFolderError, StorageFailed

VERSION = 1
CHUNK_BYTES = 2**22


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write one snapshot.

    Raises:
        StorageFailed: the disk is full or fails; nothing is left at `path`.
    """
    part = path.with_name(path.name + ".part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        group = zarr.open_group(part, mode="w")
        plane = snapshot.ldos[0].nbytes
        planes = max(1, min(len(snapshot.ldos), CHUNK_BYTES // plane))
        group.create_array("ldos", data=snapshot.ldos, chunks=(planes, *snapshot.ldos.shape[1:]))
        group.create_array("energies", data=snapshot.energies)
        group.create_array("numbers", data=snapshot.atoms.numbers.astype(np.int64))
        group.create_array("positions", data=snapshot.atoms.positions)
        group.create_array("cell", data=snapshot.atoms.cell.array)
        if snapshot.density is not None:
            group.create_array("density", data=snapshot.density)
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
            }
        )
        part.replace(path)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        hint = "free some disk space; " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise StorageFailed(f"{path}: {error.strerror or error}; {hint}the snapshots before it are whole") from error


def read_snapshot(path: Path, ldos: bool = True) -> Snapshot:
    """Read one snapshot.

    Args:
        path: its zarr group.
        ldos: read the local density of states; otherwise it has no energies in its last axis.

    Raises:
        BadInput: no snapshot, a damaged one, or one of a newer version.
    """
    try:
        group = zarr.open_group(path, mode="r")
        said: dict[str, Any] = dict(group.attrs)
        if said["version"] > VERSION:
            raise BadInput(f"{path}: written by a newer version of nucleate (format {said['version']}, this one reads {VERSION}); upgrade")
        array: dict[str, Any] = {name: group[name] for name in ("ldos", "energies", "numbers", "positions", "cell")}
        if "density" in group:
            array["density"] = group["density"]
        shape = array["ldos"].shape
        return Snapshot(
            atoms=Atoms(array["numbers"][:], array["positions"][:], cell=array["cell"][:], pbc=True),
            energies=array["energies"][:],
            ldos=array["ldos"][:] if ldos else np.zeros((*shape[:3], 0), dtype=np.float32),
            density=array["density"][:] if "density" in array else None,
            sigma=said["sigma"],
            temperature=said["temperature"],
            fermi_level=said["fermi_level"],
            terms=said["terms"],
            ions={ion["symbol"]: Ion(**ion) for ion in said["ions"]},
            engine=said["engine"],
            details=said["details"],
        )
    except BadInput:
        raise
    except Exception as error:  # zarr raises errors of many kinds on what is damaged
        raise BadInput(f"{path}: no snapshot that can be read ({type(error).__name__}); sample it again") from error


def make_folder(path: Path) -> None:
    """Make a folder; raise `RunFolderError` if there cannot be one."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be made: {error.strerror}; choose another --out") from error


def snapshot_paths(data: Path) -> list[Path]:
    """The snapshots of a folder of data, in order.

    Raises:
        BadInput: no folder, or none in it.
    """
    if not data.is_dir():
        raise BadInput(f"{data}: no such folder; make one with: nucleate electrons sample")
    found = [data] if data.suffix == ".zarr" else sorted(data.glob("snapshots/*.zarr"))
    if not found:
        raise BadInput(f"{data}: holds no finished snapshots; make some with: nucleate electrons sample")
    return found
