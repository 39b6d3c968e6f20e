"""Computations on uploaded structures: each in its own process, with limits of time, memory and file size."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nucleate.errors import quoted
from nucleate.persist.json_data import finite
from nucleate.web.models import Kind
from nucleate.web.refused import Refused

SUFFIXES = (".cif", ".mcif", ".xyz", ".extxyz", ".vasp", ".poscar", ".res")
"""Formats of uploaded structures: text, which nucleate's own readers parse."""
MOST_ATOMS = 2000
"""Largest number of atoms of an uploaded structure."""
SECONDS = 60
"""Time limit of one computation, s."""
MEMORY = 6 * 1024**3
"""Limit of the address space of one computation, bytes; libraries of torch alone map several GB."""
AT_ONCE = 2
"""Largest number of simultaneous computations."""

_places = threading.BoundedSemaphore(AT_ONCE)


def suffix_of(name: str | None) -> str:
    """Return the suffix that tells the format of an uploaded file; nothing else of its name is used.

    Raises:
        Refused: (415) the suffix is not one of `SUFFIXES`.
    """
    base = (name or "").replace("\\", "/").rpartition("/")[2].lower()
    if base.startswith(("poscar", "contcar")) and "." not in base:
        return ".vasp"
    suffix = f".{base.rpartition('.')[2]}" if "." in base else ""
    if suffix not in SUFFIXES:
        raise Refused(f"'{quoted(base, 60)}': files of this type are not read; upload one of {', '.join(SUFFIXES)}", 415)
    return suffix


def compute(
    content: bytes, suffix: str, model: Path | None = None, kind: Kind = "potential", options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Read an uploaded structure, and predict its properties if a model is given.

    Args:
        content: content of the file.
        suffix: one of `SUFFIXES`.
        model: model file or folder; None: the structure is only read.
        kind: kind of the model.
        options: options of the prediction, see `bodies.ElectronOptions` and `bodies.CouplingOptions`.

    Returns:
        The result of `nucleate.web.child`.

    Raises:
        Refused: the file cannot be read (400), or the computation exceeds its limits (413), or too many are running (429).
    """
    if not _places.acquire(blocking=False):
        raise Refused(f"{AT_ONCE} computations are running; repeat the request in a few seconds", 429)
    try:
        with tempfile.TemporaryDirectory(prefix="nucleate-serve-") as folder:
            path = Path(folder, f"structure{suffix}")
            path.write_bytes(content)
            request = {
                "file": str(path),
                "model": None if model is None else str(model),
                "kind": kind,
                "options": dict(options or {}),
                "most": MOST_ATOMS,
                "seconds": SECONDS,
                "memory": MEMORY,
            }
            return _run(request, folder)
    finally:
        _places.release()


def _run(request: dict[str, Any], folder: str) -> dict[str, Any]:
    """Run the child process and return its result."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "nucleate.web.child"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        cwd=folder, start_new_session=True, env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TMPDIR": folder},
    )  # fmt: skip
    try:
        # The child has a limit of processor time; the wall time is limited here, with time to import the packages.
        output, _ = process.communicate(json.dumps(request).encode(), timeout=2 * SECONDS)
    except subprocess.TimeoutExpired:
        raise Refused(f"the computation took longer than {2 * SECONDS} s; upload a smaller structure", 413) from None
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    try:
        result = json.loads(output)
    except ValueError:
        limits = f"{SECONDS} s of processor time and {MEMORY // 1024**3} GiB of memory"
        raise Refused(f"the computation was ended, probably by its limits of {limits}; upload a smaller structure", 413) from None
    if "error" in result:
        raise Refused(str(result["error"]), 400)
    answer: dict[str, Any] = finite(result)
    return answer
