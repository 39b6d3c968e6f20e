"""Reading and writing of Spirit input files.

Spirit uses the same convention as this package (unit vectors, each pair once, minus signs, meV, Bohr magnetons, tesla), without
symmetric anisotropic couplings. G. P. Müller et al., Phys. Rev. B 99, 224414 (2019), doi 10.1103/PhysRevB.99.224414.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers

from nucleate.errors import BadInput, quoted
from nucleate.persist.text import read_text
from nucleate.spins.couplings import Couplings, tensor, uniaxial

LATTICES = {
    "sc": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "fcc": ((0.5, 0, 0.5), (0.5, 0.5, 0), (0, 0.5, 0.5)),
    "bcc": ((0.5, 0.5, -0.5), (-0.5, 0.5, -0.5), (0.5, -0.5, -0.5)),
    "hex2d": ((sqrt(0.75), -0.5, 0), (sqrt(0.75), 0.5, 0), (0, 0, 1)),
    "hex2d60": ((sqrt(0.75), -0.5, 0), (sqrt(0.75), 0.5, 0), (0, 0, 1)),
    "hex2d120": ((0.5, -sqrt(0.75), 0), (0.5, sqrt(0.75), 0), (0, 0, 1)),
}
"""Bravais lattices known to Spirit by name, in lattice constants."""
KEYWORDS = (
    "hamiltonian", "bravais_lattice", "bravais_vectors", "bravais_matrix", "lattice_constant", "basis", "mu_s", "n_basis_cells",
    "boundary_conditions", "external_field_normal", "anisotropy_magnitude", "anisotropy_normal", "anisotropy_file", "n_anisotropy",
    "n_interaction_pairs", "interaction_pairs_file", "ddi_n_periodic_images", "ddi_radius", "ddi_pb_zero_padding", "output_file_tag",
    "n_shells_exchange", "n_shells_dmi", "jij", "dij", "dm_chirality",
)  # fmt: skip
"""Keywords that are read, and keywords without effect on their own: shells without heisenberg_neighbours, dipoles without ddi_method."""
SIMULATION = ("log_", "save_", "llg_", "mc_", "gneb_", "ema_", "mmf_")
"""Prefixes of keywords for simulation methods or output."""
LOSSES = {
    "external_field_magnitude": "a field is not part of the couplings; give it as an option of the simulation",
    "n_interaction_quadruplets": "only pair couplings are supported",
    "interaction_quadruplets_file": "only pair couplings are supported",
    "ddi_method": "dipole interactions are not supported",
    "dd_radius": "dipole interactions are not supported",
    "cubic_anisotropy_magnitude": "cubic anisotropy is not supported",
    "n_defects": "vacancies and defects are not supported",
    "defects_from_file": "vacancies and defects are not supported",
    "atom_types": "disorder is not supported",
    "n_pinned": "pinned spins are not supported",
    "pinned_from_file": "pinned spins are not supported",
    **{f"pin_n{k}{side}": "pinned spins are not supported" for k in "abc" for side in ("", "_left", "_right")},
    "pinning_cell": "pinned spins are not supported",
    "basis_file": "give the basis in the file itself",
}
"""Keywords that are rejected, because the couplings cannot represent them, unless their value is zero."""
LARGEST_NUMBER = 1e12


def spirit_text(
    couplings: Couplings,
    size: tuple[int, int, int],
    field: tuple[float, float, float] = (0.0, 0.0, 0.0),
    periodic: tuple[bool, bool, bool] = (True,) * 3,
) -> str:
    """Return a cfg file with geometry, couplings, one anisotropy axis per site and a field in tesla.

    Raises:
        BadInput: Spirit cannot represent the couplings: symmetric anisotropic couplings, or an on-site tensor with several axes.
    """
    rest = couplings.tensors - tensor(couplings.isotropic, couplings.dm)
    if np.abs(rest).max(initial=0) > 1e-9:
        raise BadInput("Spirit does not support symmetric anisotropic couplings, which these couplings contain")
    scaled = couplings.positions @ np.linalg.inv(couplings.cell)
    out = ["log_to_console 0", "log_to_file 0", "bravais_vectors", *(" ".join(repr(float(x)) for x in row) for row in couplings.cell)]
    out += ["lattice_constant 1.0", "basis", str(len(scaled)), *(" ".join(repr(float(x)) for x in row) for row in scaled)]
    out += ["mu_s " + " ".join(repr(float(m)) for m in couplings.moments), "n_basis_cells " + " ".join(map(str, size))]
    out += ["hamiltonian heisenberg_pairs", "boundary_conditions " + " ".join(str(int(p)) for p in periodic), "ddi_method none"]
    strength = float(np.linalg.norm(field))
    direction = np.asarray(field) / strength if strength > 0 else np.array([0.0, 0.0, 1.0])
    out += [f"external_field_magnitude {strength!r}", "external_field_normal " + " ".join(repr(float(x)) for x in direction)]
    axes = [_axis(k, value) for k, value in enumerate(couplings.anisotropy)]
    if any(strength for strength, _ in axes):
        out += [f"n_anisotropy {len(axes)}", "i K Kx Ky Kz"]
        out += [f"{k} {s!r} " + " ".join(repr(float(x)) for x in n) for k, (s, n) in enumerate(axes)]
    out += [f"n_interaction_pairs {len(couplings.first)}", "i j da db dc Jij Dijx Dijy Dijz"]
    for i, j, r, s, d in zip(couplings.first, couplings.second, couplings.shifts, couplings.isotropic, couplings.dm, strict=True):
        out.append(" ".join(map(str, (i, j, *r))) + " " + " ".join(repr(float(x)) for x in (s, *d)))
    return "\n".join(out) + "\n"


def _axis(site: int, value: np.ndarray) -> tuple[float, np.ndarray]:
    """Return strength K and axis n of a tensor K n n^T + c 1; the constant c has no effect on directions."""
    values, vectors = np.linalg.eigh(value)
    gaps = np.diff(values)
    if gaps.max() < 1e-12:
        return 0.0, np.array([0.0, 0.0, 1.0])
    if gaps.min() > 1e-4 * gaps.max():
        raise BadInput(f"site {site}: Spirit supports one anisotropy axis per site, but this tensor has three different eigenvalues")
    k = 0 if gaps[0] > gaps[1] else 2
    return float(values[k] - values[2 - k]), vectors[:, k]


@dataclass
class _Input:
    """Input file indexed by keyword."""

    path: Path
    lines: list[list[str]]
    at: dict[str, int]

    def words(self, keyword: str, count: int = 0) -> list[str]:
        """Return the values of a keyword, at least `count`; empty if the keyword is absent."""
        found = self.lines[self.at[keyword]][1:] if keyword in self.at else []
        if keyword in self.at and len(found) < count:
            raise BadInput(f"{self.path}: keyword {keyword} needs {count} values, but has {len(found)}")
        return found

    def numbers(self, keyword: str, default: tuple[float, ...]) -> list[float]:
        """Return as many numbers as the default contains."""
        words = self.words(keyword, len(default))[: len(default)]
        return [_number(word, f"{self.path}: keyword {keyword}") for word in words] or list(default)

    def rows(self, keyword: str, first: int, count: int) -> list[list[str]]:
        """Return up to `count` lines below a keyword, starting at the `first`."""
        start = self.at[keyword] + first
        return self.lines[start : start + count]


def _words(path: Path) -> list[list[str]]:
    """Return the words of each non-empty line; comments, bars and plus signs are ignored, as in Spirit."""
    lines = (line.split("#")[0].translate({ord("|"): None, ord("+"): None}).split() for line in read_text(path).splitlines())
    return [words for words in lines if words]


def _opened(path: Path) -> _Input:
    """Index the keywords of a file; every line must belong to a keyword.

    Raises:
        BadInput: A keyword is unknown or occurs twice.
    """
    lines = _words(path)
    found = _Input(path, lines, {})
    k = 0
    while k < len(lines):
        word = lines[k][0].lower()
        if word not in KEYWORDS and not word.startswith(SIMULATION) and word not in LOSSES:
            raise BadInput(f"{path}: keyword {quoted(lines[k][0], 40)} is unknown; remove it if the couplings are valid without it")
        if word in found.at:
            raise BadInput(f"{path}: keyword {word} occurs twice")
        found.at[word] = k
        _refuse_loss(found, word)
        k += 1 + _lines_below(found, word)
    return found


def _lines_below(found: _Input, word: str) -> int:
    """Return the number of lines below a keyword that belong to it."""
    if word in ("bravais_vectors", "bravais_matrix"):
        return 3
    if word == "basis":
        counts = found.rows(word, 1, 1)
        return 1 + _count(counts[0][0] if counts else "", f"{found.path}: keyword basis")
    if word in ("n_interaction_pairs", "n_anisotropy", "n_interaction_quadruplets", "n_defects", "n_pinned"):
        count = _count(found.words(word, 1)[0], f"{found.path}: keyword {word}")
        below = [text.lower() for row in found.rows(word, 1, 1) for text in row]
        # Column names precede the rows and may be present without rows.
        named = "i" in below and (count > 0 or not below[0].isdigit())
        return count + int(named)
    if word == "atom_types":
        return _count(found.words(word, 1)[0], f"{found.path}: keyword {word}")
    return 0


def _refuse_loss(found: _Input, word: str) -> None:
    """Raise `BadInput` for a keyword that changes the meaning of the couplings and cannot be represented."""
    value = found.words(word)[:1]
    if word == "hamiltonian" and value != ["heisenberg_pairs"]:
        hint = ": shells depend on n_basis_cells; list the pairs" if value == ["heisenberg_neighbours"] else ""
        raise BadInput(f"{found.path}: hamiltonian {quoted(' '.join(value), 40)}: only heisenberg_pairs can be read{hint}")
    if word in LOSSES and value != ["none"] and not (value and _is_number(value[0]) and float(value[0]) == 0):
        raise BadInput(
            f"{found.path}: {word} {quoted(' '.join(value), 20)}: {LOSSES[word]}; remove it if the couplings are valid without it"
        )


def _missing(found: _Input) -> list[str]:
    """Return notes on simulation keywords that are not imported; raise `BadInput` for missing keywords."""
    path = found.path
    if sum(word in found.at for word in ("bravais_lattice", "bravais_vectors", "bravais_matrix")) != 1:
        raise BadInput(f"{path}: give one of bravais_vectors, bravais_matrix and bravais_lattice; exactly one is required")
    if "mu_s" not in found.at:
        raise BadInput(f"{path}: keyword mu_s is missing; give the moment of each site")
    if ("n_interaction_pairs" in found.at) == ("interaction_pairs_file" in found.at):
        raise BadInput(f"{path}: give one of n_interaction_pairs and interaction_pairs_file")
    left = [
        word for word in found.at if word == "n_basis_cells" or (word.startswith(SIMULATION) and not word.startswith(("log_", "save_")))
    ]
    return [f"simulation keywords are not imported: {quoted(', '.join(left), 60)}"] if left else []


def _cell(found: _Input) -> np.ndarray:
    """Return the lattice vectors (3, 3) as rows in Å."""
    (scale,) = found.numbers("lattice_constant", (1.0,))
    if "bravais_lattice" in found.at:
        name = found.words("bravais_lattice", 1)[0].lower()
        if name not in LATTICES:
            raise BadInput(f"{found.path}: bravais_lattice {quoted(name, 40)} is unknown; use {', '.join(LATTICES)}, or bravais_vectors")
        return scale * np.array(LATTICES[name])
    keyword = "bravais_vectors" if "bravais_vectors" in found.at else "bravais_matrix"
    rows = found.rows(keyword, 1, 3)
    if [len(row[:3]) for row in rows] != [3, 3, 3]:
        raise BadInput(f"{found.path}: keyword {keyword} needs three rows of three numbers")
    given = np.array([[_number(word, f"{found.path}: keyword {keyword}") for word in row[:3]] for row in rows])
    return scale * (given if keyword == "bravais_vectors" else given.T)


def _basis(found: _Input) -> np.ndarray:
    """Return the scaled positions (n, 3); without a basis there is one atom at the origin."""
    if "basis" not in found.at:
        return np.zeros((1, 3))
    count = _lines_below(found, "basis") - 1
    rows = found.rows("basis", 2, count)
    if len(rows) < count or count < 1 or any(len(row) < 3 for row in rows):
        raise BadInput(f"{found.path}: keyword basis needs the number of atoms and three numbers for each atom")
    return np.array([[_number(word, f"{found.path}: keyword basis") for word in row[:3]] for row in rows])


def _moments(found: _Input, n: int) -> tuple[np.ndarray, list[str]]:
    """Return the moments (n,); as in Spirit, sites without a value receive that of the first site."""
    words = found.words("mu_s", 1)[:n]
    given = [_number(word, f"{found.path}: keyword mu_s") for word in words]
    notes = (
        [f"mu_s: {len(given)} values for {n} sites; the other sites receive the first value, {given[0]:g}, as in Spirit"]
        if len(given) < n
        else []
    )
    return np.array([*given, *given[:1] * (n - len(given))]), notes


def _table(found: _Input, counted: str, file: str, known: tuple[str, ...]) -> list[dict[str, str]]:
    """Return the rows of a table with named columns, from the input or a separate file next to it."""
    if counted not in found.at:
        name = found.words(file, 1)[0]
        path = found.path.parent / name
        # `is_file` raises for invalid file names.
        if len(name.encode()) > 255 or "\0" in name or not path.is_file():
            raise BadInput(f"{found.path}: {file} {quoted(name, 60)}: no such file next to the input")
        lines = _words(path)
        found = _Input(path, lines, {})
        if lines and lines[0][0].lower() == counted:
            found.at[counted] = 0
        else:
            return _named(found, lines, len(lines) - 1, known)
    count = _count(found.words(counted, 1)[0], f"{found.path}: keyword {counted}")
    return _named(found, found.rows(counted, 1, count + 1), count, known)


def _named(found: _Input, lines: list[list[str]], count: int, known: tuple[str, ...]) -> list[dict[str, str]]:
    head = [word.lower() for word in lines[0]] if lines else []
    what = "pairs" if "jij" in known else "anisotropy"
    strange = [word for word in head if word not in known]
    if not lines or strange or len(set(head)) < len(head):
        raise BadInput(
            f"{found.path}: columns of the {what}: {quoted(' '.join(strange or head), 60)}; allowed, each once: {' '.join(known)}"
        )
    rows = lines[1:]
    if len(rows) < count:
        raise BadInput(f"{found.path}: only {len(rows)} of {count} {what} are present; check whether the file is truncated")
    for k, row in enumerate(rows, start=1):
        if len(row) != len(head):
            raise BadInput(f"{found.path}: row {k} of the {what} has {len(row)} entries for {len(head)} columns")
    return [dict(zip(head, row, strict=True)) for row in rows]


def _pairs(found: _Input, n: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return sites and cells (p, 5) and tensors (p, 3, 3) of pairs; as in Spirit, repeated pairs in either direction are summed."""
    rows = _table(
        found, "n_interaction_pairs", "interaction_pairs_file", ("i", "j", "da", "db", "dc", "jij", "dij", "dijx", "dijy", "dijz")
    )
    head = set(rows[0]) if rows else set()
    vector = {"dijx", "dijy", "dijz"} <= head
    if rows and (
        not {"i", "j", "da", "db", "dc"} <= head or not ("jij" in head or vector) or (head & {"dij", "dijx", "dijy", "dijz"} and not vector)
    ):
        raise BadInput(f"{found.path}: the pairs need columns i j da db dc and Jij or Dijx Dijy Dijz, with or without Dij")
    added: dict[tuple[int, ...], np.ndarray] = {}
    again = 0
    for k, row in enumerate(rows, start=1):
        where = f"{found.path}: pair {k}"
        i, j, *r = (_whole(row[name], f"{where}, {name}") for name in ("i", "j", "da", "db", "dc"))
        if not (0 <= i < n and 0 <= j < n):
            raise BadInput(f"{where}: refers to a site beyond the {n} sites of the basis")
        dm = np.array([_number(row[name], where) for name in ("dijx", "dijy", "dijz")]) if vector else np.zeros(3)
        if "dij" in head:
            # With a column for the length, the vector is a direction.
            dm = dm / max(float(np.linalg.norm(dm)), 1e-300) * _number(row["dij"], where)
        value = tensor(_number(row["jij"], where) if "jij" in head else 0.0, dm)
        key, mirror = (i, j, *r), (j, i, -r[0], -r[1], -r[2])
        again += key in added or mirror in added
        if mirror in added and key != mirror:
            added[mirror] = added[mirror] + value.T
        else:
            added[key] = added.get(key, np.zeros((3, 3))) + value
    notes = [f"{again} pairs are repeated in the same or opposite direction; they are summed, as in Spirit"] if again else []
    return np.array(list(added), dtype=np.int64).reshape(-1, 5), np.array(list(added.values())).reshape(-1, 3, 3), notes


def _onsite(found: _Input, n: int, cell: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return the on-site tensors (n, 3, 3) in meV, and notes."""
    value, notes = np.zeros((n, 3, 3)), list[str]()
    single = found.numbers("anisotropy_magnitude", (0.0,))[0]
    if "n_anisotropy" not in found.at and "anisotropy_file" not in found.at:
        if single:
            value += _along(single, np.array(found.numbers("anisotropy_normal", (0.0, 0.0, 1.0))), f"{found.path}: anisotropy_normal")
        return value, notes
    if single:
        notes.append("anisotropy_magnitude has no effect with a table of anisotropies, as in Spirit")
    for k, row in enumerate(
        _table(found, "n_anisotropy", "anisotropy_file", ("i", "k", "kx", "ky", "kz", "ka", "kb", "kc", "k4")), start=1
    ):
        where = f"{found.path}: anisotropy {k}"
        names = ("kx", "ky", "kz") if "kx" in row else ("ka", "kb", "kc")
        if not {"i", *names} <= set(row) or ("kx" in row and set(row) & {"ka", "kb", "kc"}):
            raise BadInput(f"{found.path}: the anisotropy needs columns i and Kx Ky Kz or Ka Kb Kc, and K if these are directions")
        if "k4" in row and _number(row["k4"], where):
            raise BadInput(
                f"{where}: K4 {quoted(row['k4'], 20)}: cubic anisotropy is not supported; remove it if the couplings are valid without it"
            )
        site = _whole(row["i"], f"{where}, i")
        if not 0 <= site < n:
            raise BadInput(f"{where}: refers to a site beyond the {n} sites of the basis")
        axis = np.array([_number(row[name], where) for name in names])
        if names[0] == "ka":
            # Spirit's manual defines a sum of cell vectors, its code projections onto them: accept axes for which both agree.
            axis, projections = axis @ cell, cell @ axis
            if np.linalg.norm(np.cross(axis, projections)) > 1e-6 * np.linalg.norm(axis) * np.linalg.norm(projections):
                raise BadInput(f"{where}: Ka Kb Kc are ambiguous in this cell, because Spirit's manual and code differ; give Kx Ky Kz")
        if "k" not in row and names[0] == "ka":
            raise BadInput(f"{where}: Ka Kb Kc need a column K; give the strength as K in meV")
        strength = _number(row["k"], where) if "k" in row else float(np.linalg.norm(axis))
        if strength:
            value[site] += _along(strength, axis, where)
    return value, notes


def _along(strength: float, axis: np.ndarray, where: str) -> np.ndarray:
    if not np.linalg.norm(axis) > 0:
        raise BadInput(f"{where}: an anisotropy axis has zero length")
    return uniaxial(strength, axis)


def _ends(found: _Input, place: np.ndarray, tensors: np.ndarray) -> list[str]:
    """Return notes on boundary conditions; raise `BadInput` if open boundaries cut pairs."""
    crossing = [bool((place[:, 2 + k][np.abs(tensors).max(axis=(1, 2)) > 0] != 0).any()) for k in range(3)]
    if "boundary_conditions" not in found.at:
        return ["boundary_conditions are missing: Spirit uses open boundaries; read as periodic"] if any(crossing) else []
    periodic = found.numbers("boundary_conditions", (0.0, 0.0, 0.0))
    cut = [name for name, repeats, crosses in zip("abc", periodic, crossing, strict=True) if crosses and not repeats]
    if cut:
        raise BadInput(
            f"{found.path}: boundary_conditions are open along {', '.join(cut)}, but pairs connect to the next cell; couplings describe "
            "periodic crystals: set 1, or remove these pairs"
        )
    return []


def read_spirit(path: str | Path, symbols: tuple[str, ...] | None = None) -> Couplings:
    """Read couplings from a cfg file with a lattice, a basis, mu_s and interaction pairs, in the file or in one next to it.

    Keywords without effect on the couplings are listed in a note; keywords that cannot be represented are rejected.

    Args:
        path: Path of the file.
        symbols: Elements of the sites, which Spirit does not store; default: X.

    Raises:
        BadInput: The file does not exist, keywords are missing, unknown or unsupported, or numbers cannot be read.
    """
    path = Path(path)
    found = _opened(path)
    notes = _missing(found)
    if "hamiltonian" not in found.at:
        notes.append("keyword hamiltonian is missing; read as heisenberg_pairs")
    cell, scaled = _cell(found), _basis(found)
    n = len(scaled)
    if symbols is not None and (len(symbols) != n or not all(atomic_numbers.get(s) for s in symbols)):
        raise BadInput(f"{path}: the basis has {n} sites; give {n} elements")
    moments, moment_notes = _moments(found, n)
    place, tensors, again = _pairs(found, n)
    onsite, ignored = _onsite(found, n, cell)
    notes += [*moment_notes, *again, *ignored, *_ends(found, place, tensors)]
    try:
        return Couplings(
            cell, scaled @ cell, symbols or ("X",) * n, moments, place[:, 0], place[:, 1], place[:, 2:], tensors, onsite,
            notes=tuple(f"{path.name}: {note}" for note in notes),
        )  # fmt: skip
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", text[:60]) is not None


def _number(text: str, where: str) -> float:
    if not _is_number(text) or not abs(float(text)) <= LARGEST_NUMBER:
        raise BadInput(f"{where}: cannot be read: {quoted(text, 40)} is not a number below {LARGEST_NUMBER:g}")
    return float(text)


def _whole(text: str, where: str) -> int:
    if not re.fullmatch(r"[-+]?[0-9]{1,9}", text):
        raise BadInput(f"{where}: cannot be read: {quoted(text, 40)} is not a site or cell index")
    return int(text)


def _count(text: str, where: str) -> int:
    if not re.fullmatch(r"[0-9]{1,8}", text):
        raise BadInput(f"{where}: cannot be read: {quoted(text, 40)} is not a number of lines")
    return int(text)
