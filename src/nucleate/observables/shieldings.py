"""Shieldings of crystals from magres files, the ShiftML models or CP2K, as `nucleate match --shieldings` names them."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from ase import Atoms

from nucleate.errors import BadInput, MissingDependency, quoted
from nucleate.fingerprints.matching import same_crystal
from nucleate.observables.cp2k_shieldings import cp2k_shieldings, input_text, program
from nucleate.observables.magres import Shieldings, magres_text, read_magres
from nucleate.persist.files import write_whole

MEMBERS = range(8)
"""Members of the ensemble ShiftML3, one file each."""
SHIFTML_ELEMENTS = frozenset({1, 6, 7, 8, 9, 11, 12, 15, 16, 17, 19, 20})
"""Atomic numbers of the elements that ShiftML3 was trained on."""


def shieldings_of(source: str, crystals: Sequence[Atoms]) -> list[Shieldings]:
    """Return the shieldings of crystals.

    Args:
        source: a .magres file, a folder of them, `shiftml:FOLDER` with the model files of ShiftML3, or `cp2k:FOLDER` for shieldings that
            CP2K computes and that are kept in a folder.
        crystals: crystals, periodic in three directions.

    Raises:
        BadInput: the source is none of these, a file cannot be read, or a crystal has no shieldings.
        MissingDependency: ShiftML or CP2K is not installed.
        ReferenceFailed: CP2K failed.
    """
    if source == "cp2k" or source.startswith("cp2k:"):
        return kept_cp2k_shieldings(source.removeprefix("cp2k").removeprefix(":"), crystals)
    if source.startswith("shiftml:"):
        return shiftml_shieldings(Path(source.removeprefix("shiftml:")), crystals)
    return magres_shieldings(Path(source), crystals)


def magres_shieldings(path: Path, crystals: Sequence[Atoms]) -> list[Shieldings]:
    """Return, for each crystal, the shieldings of the magres file whose structure matches it.

    Raises:
        BadInput: the path is no .magres file or folder of them, or a crystal matches no file or several.
    """
    if path.is_dir():
        files = sorted(path.glob("*.magres"))
        if not files:
            raise BadInput(f"{path}: contains no .magres files; give a folder with one for each crystal")
    elif path.suffix.lower() == ".magres":
        files = [path]
    else:
        raise BadInput(f"--shieldings {quoted(str(path), 100)}: give a .magres file, a folder of them, shiftml:FOLDER, or cp2k:FOLDER")
    known = [read_magres(file) for file in files]
    result = []
    for number, crystal in enumerate(crystals, 1):
        matching = [k for k, shieldings in enumerate(known) if _same(shieldings.atoms, crystal)]
        if len(matching) != 1:
            name = f"crystal {number} ({crystal.get_chemical_formula()})"
            if matching:
                raise BadInput(f"{path}: {files[matching[0]].name} and {files[matching[1]].name} both match {name}; remove one")
            raise BadInput(f"{path}: no .magres file matches {name}; add its file, or compare fewer crystals with --top")
        result.append(known[matching[0]])
    return result


def kept_cp2k_shieldings(folder: str, crystals: Sequence[Atoms]) -> list[Shieldings]:
    """Return shieldings by CP2K; those of earlier calls are read from the .magres files of a folder, and new ones are written to it.

    Args:
        folder: name of the folder; it is created.
        crystals: crystals, periodic in three directions.

    Raises:
        BadInput: no folder is given, it cannot be written to, or a crystal has an odd number of electrons.
        MissingDependency: CP2K is not installed.
        ReferenceFailed: a calculation failed.
    """
    if not folder:
        raise BadInput("--shieldings cp2k: give the folder in which shieldings are kept, as in cp2k:FOLDER")
    program()
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{path}: cannot be created: {error.strerror}; give another folder, as in cp2k:FOLDER") from None
    for crystal in crystals:
        input_text(crystal)
    known = [read_magres(file) for file in sorted(path.glob("*.magres"))]
    result = []
    for crystal in crystals:
        found = next((shieldings for shieldings in known if _same(shieldings.atoms, crystal)), None)
        if found is None:
            found = cp2k_shieldings(crystal)
            known.append(found)
            write_whole(path / f"{crystal.get_chemical_formula()}-{len(known)}.magres", magres_text(found, "CP2K"))
        result.append(found)
    return result


def _same(one: Atoms, other: Atoms) -> bool:
    """Return whether two crystals match; crystals of other compositions are not compared."""
    return one.symbols.formula.reduce()[0].count() == other.symbols.formula.reduce()[0].count() and same_crystal(one, other)


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for the duration of a block."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def shiftml_shieldings(folder: Path, crystals: Sequence[Atoms]) -> list[Shieldings]:
    """Return the shieldings that the ensemble ShiftML3 predicts.

    M. Kellner et al., J. Phys. Chem. Lett. (2025), doi 10.1021/acs.jpclett.5c01819. The model files are programs in the format of
    TorchScript, which are executed when they are read.

    Args:
        folder: folder of the model files model_0.pt to model_7.pt of the release.
        crystals: crystals, periodic in three directions.

    Raises:
        BadInput: a model file is missing, or a crystal contains an element that the model was not trained on.
        MissingDependency: ShiftML is not installed.
    """
    missing = [f"model_{k}.pt" for k in MEMBERS if not (folder / f"model_{k}.pt").is_file()]
    if missing:
        raise BadInput(f"{folder}: contains no {missing[0]}; give the folder with the files model_0.pt to model_7.pt of ShiftML3")
    for crystal in crystals:
        foreign = sorted({symbol for symbol, z in zip(crystal.symbols, crystal.numbers, strict=True) if int(z) not in SHIFTML_ELEMENTS})
        if foreign:
            raise BadInput(f"{crystal.get_chemical_formula()}: ShiftML3 was not trained on {', '.join(foreign)}; give .magres files")
    if find_spec("shiftml") is None:
        raise MissingDependency("--shieldings shiftml requires ShiftML: pip install shiftml")
    from shiftml.ase import ShiftML

    # ShiftML reads its models from a cache, whose place this variable sets, and would download files that are not there.
    with tempfile.TemporaryDirectory() as cache, _variable("XDG_CACHE_HOME", cache):
        for k in MEMBERS:
            place = Path(cache) / "shiftml" / f"ShiftML3{k}"
            place.mkdir(parents=True)
            (place / f"ShiftML3{k}.pt").symlink_to((folder / f"model_{k}.pt").resolve())
        model = ShiftML("ShiftML3", device="cpu")
    return [Shieldings(crystal, np.asarray(model.get_cs_tensor(crystal)).reshape(-1, 3, 3)) for crystal in crystals]
