"""Process that reads one uploaded structure and predicts its properties; `jobs.py` starts it with a request on its input.

The limits are set before any package is imported that reads the file.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from typing import Any


def main() -> None:
    """Answer the request on the standard input with one JSON object on the standard output."""
    request = json.load(sys.stdin)
    # What packages print must not mix with the answer.
    answer_to = os.dup(1)
    os.dup2(2, 1)
    limit(request["seconds"], request["memory"])
    from nucleate.errors import NucleateError

    try:
        result = answer(request)
    except NucleateError as error:
        # The file has a name of the server's, which tells the user nothing.
        result = {"error": " ".join(str(error).replace(request["file"], "the file").replace(str(request["model"]), "the model").split())}
    except MemoryError:
        result = {"error": f"the computation needs more than {request['memory'] // 1024**3} GiB of memory; upload a smaller structure"}
    except RecursionError:
        result = {"error": "the file is nested too deeply"}
    except Exception as error:
        result = {"error": f"the file cannot be used ({type(error).__name__})"}
    with os.fdopen(answer_to, "w", encoding="utf-8") as stream:
        json.dump(result, stream)


def limit(seconds: int, memory: int) -> None:
    """Limit processor time (s), address space (bytes), size of written files and core dumps of this process."""
    for what, value in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 10_000_000),
        (resource.RLIMIT_CORE, 0),
    ):
        _, most = resource.getrlimit(what)
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(what, (value, value))


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return the structure of the file as data, with the prediction of the model if one is named.

    Returns:
        `structure` (see `scenes.scene`), `symbols`, `positions` (Å), `space_group`, `kind` (that of the model, or null), `prediction` (see
        `predictions.predicted`; null without a model), `powder` (see `patterns.powder_pattern`; null with models other than potentials, and
        if there is none) and `powder_missing` (why there is none).

    Raises:
        BadInput: the file cannot be read, has several structures or too many atoms, or the model does not support it.
    """
    import warnings

    from nucleate.crystals.io import read_structures
    from nucleate.errors import BadInput

    warnings.simplefilter("ignore")
    frames = read_structures(request["file"])
    if len(frames) > 1:
        raise BadInput(f"the file contains {len(frames)} structures; upload a file with one")
    atoms = frames[0]
    if len(atoms) > request["most"]:
        raise BadInput(f"the structure has {len(atoms)} atoms; at most {request['most']} are accepted")
    from nucleate.fingerprints.matching import space_group
    from nucleate.web.scenes import scene

    kind = None if request["model"] is None else request.get("kind", "potential")
    result: dict[str, Any] = {
        "structure": scene(atoms),
        "symbols": atoms.get_chemical_symbols(),
        "positions": atoms.positions.tolist(),
        "space_group": space_group(atoms)[0],
        "powder": None,
        "powder_missing": None,
        "kind": kind,
        "prediction": None,
    }
    if kind is not None:
        from nucleate.web.predictions import predicted

        result["prediction"] = predicted(atoms, request["model"], kind, request.get("options") or {})
    if kind in (None, "potential"):
        result |= _powder(atoms)
    return result


def _powder(atoms: Any) -> dict[str, Any]:
    """Return the powder pattern of a structure, or why there is none."""
    from nucleate.errors import BadInput
    from nucleate.web.patterns import powder_pattern

    try:
        return {"powder": powder_pattern(atoms), "powder_missing": None}
    except BadInput as error:
        return {"powder": None, "powder_missing": str(error)}


if __name__ == "__main__":
    main()
