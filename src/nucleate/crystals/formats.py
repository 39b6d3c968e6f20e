"""Readers of file formats, chosen by the suffix first and the name second: `POSCAR.cif` is a CIF file."""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms
from ase.data import atomic_numbers
from ase.io.formats import UnknownFileTypeError, filetype

from nucleate.crystals.cif import read_cif
from nucleate.crystals.extxyz import read_extxyz
from nucleate.crystals.magnetic_cif import along_one_axis
from nucleate.crystals.shelx import read_res
from nucleate.errors import BadInput, InputNote, quoted

BY_SUFFIX = {
    ".cif": "cif", ".mcif": "cif", ".xyz": "extxyz", ".extxyz": "extxyz", ".exyz": "extxyz", ".vasp": "vasp", ".poscar": "vasp",
    ".contcar": "vasp", ".res": "res", ".cell": "castep-cell", ".json": "json", ".pwi": "espresso-in", ".pwo": "espresso-out",
}  # fmt: skip
"""What a suffix means here; other names are left to ASE."""
PACKED = {".gz": "gunzip", ".bz2": "bunzip2", ".xz": "unxz"}
"""What unpacks a file: its name says nothing of what is in it, and little can become much."""
LONGEST_INPUT = 150_000
"""Characters of an input of pw.x: its reader takes time that grows with their square."""
LARGEST = 512 * 1024 * 1024
"""Bytes of a structure file."""


def format_of(path: Path) -> str | None:
    """Return the format of a file by its suffix, or by names such as POSCAR; None if ASE has to determine it."""
    suffix = BY_SUFFIX.get(path.suffix.lower())
    if suffix is not None:
        return suffix
    return "vasp" if re.match(r"(POSCAR|CONTCAR)", path.name, re.I) else None


def read_frames(path: Path) -> list[Atoms]:
    """Read all structures of a file without checking them further.

    Raises:
        BadInput: no such file, too large, or a file that its reader refuses.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such file; give a CIF, extxyz or POSCAR file")
    if path.stat().st_size > LARGEST:
        raise BadInput(f"{path}: holds {path.stat().st_size / 2**20:.0f} MiB; structures of up to {LARGEST // 2**20} MiB can be read")
    if path.suffix.lower() in PACKED:
        raise BadInput(f"{path}: is packed; unpack it first ({PACKED[path.suffix.lower()]})")
    kind = format_of(path)
    if kind is None and _guess(path) in _TEXT:
        kind = _guess(path)
    if kind in _TEXT:
        return _TEXT[kind](path, _text(path))
    return _by_ase(path, path, kind)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        # Comments in other encodings do no harm; symbols and numbers are ASCII.
        return path.read_text(encoding="latin-1")
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None


def _by_ase(path: Path, source: Path | io.StringIO, kind: str | None) -> list[Atoms]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # A name is a name: no part of it chooses frames or a server.
            place = str(source.resolve()) if isinstance(source, Path) else source
            frames = ase.io.read(place, index=":", format=kind, do_not_split_by_at_sign=True)
    except UnknownFileTypeError:
        raise BadInput(f"{path}: of no known format; give CIF, extended XYZ or POSCAR (.cif, .extxyz or .vasp)") from None
    except Exception as error:  # ASE raises whatever its readers meet in a damaged file.
        words = quoted(" ".join(str(error).split()) or type(error).__name__)
        raise BadInput(f"{path}: cannot be read as {kind or _guess(path)} ({words})") from error
    return frames if isinstance(frames, list) else [frames]


def _guess(path: Path) -> str:
    try:
        return filetype(str(path))
    except Exception:  # whatever sniffing meets
        return "a structure"


def _read_vasp(path: Path, text: str) -> list[Atoms]:
    """POSCAR; species may carry the hashes of newer versions, and atoms must be as many as stated."""
    lines = text.splitlines()
    if len(lines) < 8:
        raise BadInput(f"{path}: has {len(lines)} lines, a POSCAR at least 8; is the file complete?")
    counts_at = next((k for k in (5, 6) if re.fullmatch(r"\s*[0-9]{1,7}(\s+[0-9]{1,7})*\s*", lines[k], re.A)), None)
    if counts_at is None:
        raise BadInput(f"{path}: line 6 or 7 holds the numbers of atoms; found {quoted(lines[6].strip())!r}")
    if counts_at == 5 and not _symbols(lines[0], len(lines[5].split())):
        raise BadInput(f"{path}: names no elements; write their symbols as line 6, above the numbers of atoms")
    atoms = sum(int(word) for word in lines[counts_at].split())
    first = counts_at + 2 + (lines[counts_at + 1].strip()[:1].lower() == "s")
    there = sum(1 for line in lines[first : first + atoms] if len(line.split()) >= 3)
    if there < atoms:
        raise BadInput(f"{path}: states {atoms} atoms and holds {there}; is the file complete?")
    frames = _by_ase(path, io.StringIO(text), "vasp")
    for frame in frames:
        _moments_of_incar(path, frame)
    return frames


def _symbols(line: str, count: int) -> bool:
    """Whether a comment line names the elements, as VASP 4 wrote them."""
    words = [re.split(r"[_/]", word)[0] for word in line.split()]
    return len(words) >= count and all(word in atomic_numbers for word in words[:count])


def _moments_of_incar(path: Path, atoms: Atoms) -> None:
    """Take MAGMOM from an INCAR beside a POSCAR: VASP reads the two together."""
    incar = path.with_name("INCAR")
    if not incar.is_file() or incar.stat().st_size > 2**20:
        return
    found = re.search(r"(?:^|;)[ \t]*MAGMOM[ \t]*=[ \t]*([^#!;\n]*)", incar.read_text(encoding="latin-1").replace("\\\n", " "), re.M | re.I)
    if found is None:
        return
    moments: list[float] = []
    try:
        for word in found[1].split():
            count, _, value = word.rpartition("*")
            repeat = int(count or 1)
            if not 0 < repeat <= 3 * len(atoms):
                raise ValueError
            moments += [float(value)] * repeat
    except ValueError:
        raise BadInput(f"{incar}: MAGMOM {quoted(found[1].strip())!r} cannot be read; move it away or correct it") from None
    if len(moments) == 3 * len(atoms):
        moments = along_one_axis(np.array(moments).reshape(-1, 3), str(incar)).tolist()
    if len(moments) != len(atoms):
        raise BadInput(f"{incar}: MAGMOM gives {len(moments)} moments, {path.name} has {len(atoms)} atoms; correct it or move it away")
    atoms.set_initial_magnetic_moments(moments)
    warnings.warn(InputNote(f"{path}: starting moments are those of MAGMOM in {incar.name}"), stacklevel=2)


def _read_json(path: Path, text: str) -> list[Atoms]:
    """A structure as pymatgen writes it; other JSON is ASE's."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: is not JSON ({quoted(str(error))})") from None
    if not isinstance(data, dict) or "lattice" not in data:
        return _by_ase(path, path, "json")
    from pymatgen.core import Structure

    try:
        structure = Structure.from_dict(data)
    except Exception as error:  # pymatgen raises whatever a wrong dictionary leads it to
        raise BadInput(f"{path}: is no structure of pymatgen ({type(error).__name__}: {quoted(' '.join(str(error).split()))})") from None
    if not structure.is_ordered:
        raise BadInput(f"{path}: partly occupied sites; give an ordered structure")
    atoms = Atoms([site.specie.symbol for site in structure], scaled_positions=structure.frac_coords, cell=structure.lattice.matrix)
    atoms.pbc = structure.lattice.pbc
    moments = structure.site_properties.get("magmom")
    if moments is None:
        moments = [getattr(site.specie, "spin", None) for site in structure]
    free = structure.site_properties.get("selective_dynamics")
    fixed = [k for k, axes in enumerate(free or []) if axes is not None and not np.all(axes)]
    if fixed:
        atoms.set_constraint(FixAtoms(fixed))
    if moments and any(moment is not None for moment in moments):
        try:
            atoms.set_initial_magnetic_moments([float(moment or 0.0) for moment in moments])
        except (TypeError, ValueError):
            raise BadInput(f"{path}: moments (magmom) are not one number an atom") from None
    return [atoms]


def _read_espresso(path: Path, text: str) -> list[Atoms]:
    """Input of pw.x, Bravais lattices (ibrav) among them, which ASE's reader does not know."""
    from qe_tools.parsers import PwInputFile

    if re.search(r"^[^!#\n]*starting_magnetization\s*\(", text, re.M | re.I):
        raise BadInput(f"{path}: starting_magnetization is a share of valence electrons; give moments in Bohr magnetons, as extended XYZ")
    if len(text) > LONGEST_INPUT:
        raise BadInput(f"{path}: holds {len(text)} characters; input of pw.x is read up to {LONGEST_INPUT}: convert it to extended XYZ")
    try:
        file = PwInputFile(text, validate_species_names=False)
        found = file.structure
        symbols = [re.sub(r"[\d_-].*$", "", name) for name in found["atom_names"]]
        atoms = Atoms(symbols, positions=found["positions"], cell=found["cell"], pbc=True)
        fixed = [k for k, free in enumerate(file.atomic_positions["fixed_coords"]) if any(free)]
    except Exception as error:  # the reader raises exceptions of many kinds
        words = quoted(" ".join(str(error).split()) or type(error).__name__)
        raise BadInput(f"{path}: cannot be read as input of pw.x ({words})") from None
    if fixed:
        atoms.set_constraint(FixAtoms(fixed))
    return [atoms]


_TEXT: dict[str | None, Callable[[Path, str], list[Atoms]]] = {
    "cif": read_cif,
    "extxyz": read_extxyz,
    "vasp": _read_vasp,
    "json": _read_json,
    "espresso-in": _read_espresso,
    "res": read_res,
}
