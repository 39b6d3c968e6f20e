"""Readers of structure files. The suffix decides the format, then the name: `POSCAR.cif` is a CIF file."""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from nucleate.crystals.cif import read_cif
from nucleate.crystals.extxyz import read_extxyz
from nucleate.crystals.magnetic_cif import along_one_axis
from nucleate.crystals.optimade import is_optimade, read_exchange, read_optimade
from nucleate.crystals.shelx import read_res
from nucleate.errors import BadInput, InputNote, quoted

BY_SUFFIX = {
    ".cif": "cif", ".mcif": "cif", ".xyz": "extxyz", ".extxyz": "extxyz", ".exyz": "extxyz", ".vasp": "vasp", ".poscar": "vasp",
    ".contcar": "vasp", ".res": "res", ".cell": "castep-cell", ".json": "json", ".jsonl": "optimade",
    ".pwi": "espresso-in", ".pwo": "espresso-out",
}  # fmt: skip
"""Format of each suffix; ASE determines the format of other files."""
PACKED = {".gz": "gunzip", ".bz2": "bunzip2", ".xz": "unxz"}
"""Program that unpacks a compressed file. Compressed files are refused: neither their format nor their unpacked size is known."""
LONGEST_INPUT = 150_000
"""Largest length of a pw.x input, in characters; the time of its parser is quadratic in the length."""
LARGEST = 512 * 1024 * 1024
"""Largest size of a structure file, in bytes."""


def format_of(path: Path) -> str | None:
    """Return the format of a file by its suffix, or by names such as POSCAR; None if ASE has to determine it."""
    suffix = BY_SUFFIX.get(path.suffix.lower())
    if suffix is not None:
        return suffix
    return "vasp" if re.match(r"(POSCAR|CONTCAR)", path.name, re.I) else None


def read_frames(path: Path) -> list[Atoms]:
    """Read all structures of a file without checks of the structures.

    Raises:
        BadInput: the file does not exist, is too large or compressed, or cannot be parsed.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such file; give a CIF, extxyz or POSCAR file")
    if path.stat().st_size > LARGEST:
        raise BadInput(f"{path}: the file has {path.stat().st_size / 2**20:.0f} MiB; at most {LARGEST // 2**20} MiB can be read")
    if path.suffix.lower() in PACKED:
        raise BadInput(f"{path}: the file is compressed; unpack it first ({PACKED[path.suffix.lower()]})")
    kind = format_of(path)
    if kind is None and _guess(path) in _TEXT:
        kind = _guess(path)
    if kind in _TEXT:
        return _TEXT[kind](path, _text(path))
    return _by_ase(path, path, kind)


def _text(path: Path) -> str:
    """Return the content of a file as text, in UTF-8 or Latin-1."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        # Only comments can be in another encoding, since symbols and numbers are ASCII.
        return path.read_text(encoding="latin-1")
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None


def _by_ase(path: Path, source: Path | io.StringIO, kind: str | None) -> list[Atoms]:
    """Read all frames with ASE; `path` is the name for error messages."""
    # Workers, which read no files, would wait a quarter of a second for the readers of ASE.
    import ase.io
    from ase.io.formats import UnknownFileTypeError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # ASE would read "@" in a name as a choice of frames, and "postgresql://" as the address of a database.
            place = str(source.resolve()) if isinstance(source, Path) else source
            frames = ase.io.read(place, index=":", format=kind, do_not_split_by_at_sign=True)
    except UnknownFileTypeError:
        raise BadInput(f"{path}: unknown file format; give CIF, extended XYZ or POSCAR (.cif, .extxyz or .vasp)") from None
    except Exception as error:  # ASE's readers raise exceptions of many types for damaged files
        reason = quoted(" ".join(str(error).split()) or type(error).__name__)
        raise BadInput(f"{path}: cannot be read as {kind or _guess(path)} ({reason})") from error
    return frames if isinstance(frames, list) else [frames]


def _guess(path: Path) -> str:
    """Return the format that ASE recognises."""
    from ase.io.formats import filetype

    try:
        return filetype(str(path))
    except Exception:  # the recognition of formats raises exceptions of many types
        return "a structure"


def _read_vasp(path: Path, text: str) -> list[Atoms]:
    """Read a POSCAR file, after checking that it names the elements and is complete; MAGMOM is taken from an INCAR beside it."""
    lines = text.splitlines()
    if len(lines) < 8:
        raise BadInput(f"{path}: the file has {len(lines)} lines, but a POSCAR has at least 8; is the file complete?")
    counts_at = next((k for k in (5, 6) if re.fullmatch(r"\s*[0-9]{1,7}(\s+[0-9]{1,7})*\s*", lines[k], re.A)), None)
    if counts_at is None:
        raise BadInput(f"{path}: line 7 is {quoted(lines[6].strip())!r}; line 6 or 7 must give the numbers of atoms")
    if counts_at == 5 and not _symbols(lines[0], len(lines[5].split())):
        raise BadInput(f"{path}: the elements are not named; write their symbols in line 6, above the numbers of atoms")
    atoms = sum(int(word) for word in lines[counts_at].split())
    first = counts_at + 2 + (lines[counts_at + 1].strip()[:1].lower() == "s")
    there = sum(1 for line in lines[first : first + atoms] if len(line.split()) >= 3)
    if there < atoms:
        raise BadInput(f"{path}: the file states {atoms} atoms but has {there}; is the file complete?")
    frames = _by_ase(path, io.StringIO(text), "vasp")
    for frame in frames:
        _moments_of_incar(path, frame)
    return frames


def _symbols(line: str, count: int) -> bool:
    """Return whether a comment line names `count` elements, as VASP 4 writes it."""
    words = [re.split(r"[_/]", word)[0] for word in line.split()]
    return len(words) >= count and all(word in atomic_numbers for word in words[:count])


def _moments_of_incar(path: Path, atoms: Atoms) -> None:
    """Set starting moments from MAGMOM of an INCAR in the same folder, which VASP reads together with the POSCAR."""
    incar = path.with_name("INCAR")
    if not incar.is_file() or incar.stat().st_size > 2**20:
        return
    match = re.search(r"(?:^|;)[ \t]*MAGMOM[ \t]*=[ \t]*([^#!;\n]*)", incar.read_text(encoding="latin-1").replace("\\\n", " "), re.M | re.I)
    if match is None:
        return
    moments: list[float] = []
    try:
        for word in match[1].split():
            count, _, value = word.rpartition("*")
            repeat = int(count or 1)
            if not 0 < repeat <= 3 * len(atoms):
                raise ValueError
            moments += [float(value)] * repeat
    except ValueError:
        raise BadInput(f"{incar}: MAGMOM {quoted(match[1].strip())!r} cannot be read; correct or remove it") from None
    if len(moments) == 3 * len(atoms):
        moments = along_one_axis(np.array(moments).reshape(-1, 3), str(incar)).tolist()
    if len(moments) != len(atoms):
        raise BadInput(f"{incar}: MAGMOM gives {len(moments)} moments, but {path.name} has {len(atoms)} atoms; correct or remove it")
    atoms.set_initial_magnetic_moments(moments)
    warnings.warn(InputNote(f"{path}: starting moments are taken from MAGMOM in {incar.name}"), stacklevel=2)


def _read_json(path: Path, text: str) -> list[Atoms]:
    """Read JSON of a pymatgen `Structure` or entry, a list of them, a saved OPTIMADE answer, or JSON of ASE."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: is not valid JSON ({quoted(str(error))})") from None
    if is_optimade(data):
        return read_optimade(path, data)
    parts = data if isinstance(data, list) else [data]
    # Entries of the Materials Project contain the structure beside its energy, which is that of other settings.
    parts = [part["structure"] if isinstance(part, dict) and isinstance(part.get("structure"), dict) else part for part in parts]
    if not parts or not all(isinstance(part, dict) and "lattice" in part for part in parts):
        return _by_ase(path, path, "json")
    return [_from_pymatgen(path if len(parts) == 1 else f"{path}, structure {number + 1}", part) for number, part in enumerate(parts)]


def _from_pymatgen(path: Path | str, data: dict[str, Any]) -> Atoms:
    """Convert a pymatgen `Structure` as a dictionary; `path` is the name for error messages."""
    from pymatgen.core import Structure

    try:
        structure = Structure.from_dict(data)
    except Exception as error:  # pymatgen raises exceptions of many types for wrong dictionaries
        reason = f"{type(error).__name__}: {quoted(' '.join(str(error).split()))}"
        raise BadInput(f"{path}: is not a pymatgen structure ({reason})") from None
    if not structure.is_ordered:
        raise BadInput(f"{path}: sites are partly occupied; give an ordered structure")
    atoms = Atoms([site.specie.symbol for site in structure], scaled_positions=structure.frac_coords, cell=structure.lattice.matrix)
    atoms.pbc = structure.lattice.pbc
    moments = structure.site_properties.get("magmom")
    if moments is None:
        moments = [getattr(site.specie, "spin", None) for site in structure]
    free = structure.site_properties.get("selective_dynamics")
    fixed = [k for k, axes in enumerate(free or []) if axes is not None and not np.all(axes)]
    if fixed:
        _hold(atoms, fixed)
    if moments and any(moment is not None for moment in moments):
        try:
            atoms.set_initial_magnetic_moments([float(moment or 0.0) for moment in moments])
        except (TypeError, ValueError):
            raise BadInput(f"{path}: moments (magmom) are not numbers; give one number per atom (collinear moments)") from None
    return atoms


def _hold(atoms: Atoms, fixed: list[int]) -> None:
    """Constrain atoms to their places."""
    from ase.constraints import FixAtoms

    atoms.set_constraint(FixAtoms(fixed))


def _read_espresso(path: Path, text: str) -> list[Atoms]:
    """Read a pw.x input with qe-tools, which supports Bravais lattices (ibrav); ASE's reader does not."""
    from qe_tools.parsers import PwInputFile

    if re.search(r"^[^!#\n]*starting_magnetization\s*\(", text, re.M | re.I):
        raise BadInput(f"{path}: starting_magnetization cannot be converted to moments; give them in an extended XYZ file, Bohr magnetons")
    if len(text) > LONGEST_INPUT:
        raise BadInput(f"{path}: pw.x input has {len(text)} characters, at most {LONGEST_INPUT} can be read; convert it to extended XYZ")
    try:
        file = PwInputFile(text, validate_species_names=False)
        structure = file.structure
        symbols = [re.sub(r"[\d_-].*$", "", name) for name in structure["atom_names"]]
        atoms = Atoms(symbols, positions=structure["positions"], cell=structure["cell"], pbc=True)
        fixed = [k for k, free in enumerate(file.atomic_positions["fixed_coords"]) if any(free)]
    except Exception as error:  # qe-tools raises exceptions of many types
        reason = quoted(" ".join(str(error).split()) or type(error).__name__)
        raise BadInput(f"{path}: cannot be read as pw.x input ({reason})") from None
    if fixed:
        _hold(atoms, fixed)
    return [atoms]


_TEXT: dict[str | None, Callable[[Path, str], list[Atoms]]] = {
    "cif": read_cif,
    "extxyz": read_extxyz,
    "vasp": _read_vasp,
    "json": _read_json,
    "optimade": read_exchange,
    "espresso-in": _read_espresso,
    "res": read_res,
}
