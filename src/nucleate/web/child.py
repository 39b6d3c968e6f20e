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
        `structure` (see `scenes.scene`), `symbols`, `positions` (Å), `space_group`, `powder` (see `patterns.powder_pattern`, or null),
        `powder_missing` (why there is none), `prediction` (null without a model): `energy` (eV), `energy_per_atom`, `sigma` (eV/atom),
        `forces` (eV/Å), `forces_sigma`, `stress` (eV/Å³, Voigt order), `members`, `extxyz` (text of a file with the results).

    Raises:
        BadInput: the file cannot be read, has several structures or too many atoms, or the model does not support its elements.
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
    from nucleate.web.patterns import powder_pattern
    from nucleate.web.scenes import scene

    result: dict[str, Any] = {
        "structure": scene(atoms),
        "symbols": atoms.get_chemical_symbols(),
        "positions": atoms.positions.tolist(),
        "space_group": space_group(atoms)[0],
        "powder": None,
        "powder_missing": None,
        "prediction": None,
    }
    try:
        result["powder"] = powder_pattern(atoms)
    except BadInput as error:
        result["powder_missing"] = str(error)
    if request["model"] is not None:
        result["prediction"] = _prediction(atoms, request["model"])
    return result


def _prediction(atoms: Any, model: str) -> dict[str, Any]:
    """Return what a potential predicts for a structure."""
    import io
    from pathlib import Path

    import ase.io
    import torch

    from nucleate.potentials.calculator import NucleateCalculator
    from nucleate.web.places import refuse_model

    torch.set_num_threads(1)
    refuse_model(Path(model))
    atoms = atoms.copy()
    atoms.calc = NucleateCalculator(model)
    atoms.get_potential_energy()
    found = atoms.calc.results
    stream = io.StringIO()
    ase.io.write(stream, atoms, format="extxyz")
    return {
        "energy": found["energy"],
        "energy_per_atom": found["energy"] / len(atoms),
        "sigma": found["sigma"],
        "forces": found["forces"].tolist(),
        "forces_sigma": found["forces_sigma"].tolist(),
        "stress": found["stress"].tolist(),
        "members": len(found["energies_committee"]),
        "extxyz": stream.getvalue(),
    }


if __name__ == "__main__":
    main()
