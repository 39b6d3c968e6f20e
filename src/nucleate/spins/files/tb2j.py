"""Reading and writing of TB2J's `exchange.out`.

TB2J's Hamiltonian is H = -sum_i e_i A_i e_i - sum_{i != j} [J e_i . e_j + e_i J_ani e_j + D . (e_i x e_j)] with unit vectors. It counts
every pair twice, so couplings are doubled on reading; single-ion anisotropy is the same in both conventions, and k1 with direction n
means A = k1 n n^T. The text has four decimals of a meV.
X. He, N. Helbig, M. J. Verstraete, E. Bousquet, Comput. Phys. Commun. 264, 107938 (2021), doi 10.1016/j.cpc.2021.107938.

Every line is read, reported in a note as skipped, or rejected. J_ani from a single calculation is undefined along the moments; J_ani
that TB2J merges from several calculations is traceless, which distinguishes the two.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np

from nucleate.errors import BadInput, quoted
from nucleate.persist.text import read_text
from nucleate.spins.couplings import Couplings, counted_once, tensor, uniaxial

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+|nan|inf)(?:[eE][-+]?\d+)?"
_VECTOR = rf"\(\s*({_NUMBER})[\s,]+({_NUMBER})[\s,]+({_NUMBER})\s*\)"
_CELLS = r"\(\s*(-?\d{1,7}),\s*(-?\d{1,7}),\s*(-?\d{1,7})\)"
_PAIR = re.compile(rf"(\S+)\s+(\S+)\s+{_CELLS}\s*({_NUMBER})\s+{_VECTOR}\s*{_NUMBER}")
_ISOTROPIC = re.compile(rf"J_iso:\s*({_NUMBER})")
_DM = re.compile(rf"(?:\[Testing!\])?\s*DMI:\s*{_VECTOR}")
_J_ANI = re.compile(r"(?:\[Testing!\])?\s*J_ani:")
_COMBINED = re.compile(r"Combined J tensor\b.*:")
_K1 = re.compile(rf"(\S+)\s+({_NUMBER})\s*{_VECTOR}")
_LEFT_OUT = {
    "biquadratic couplings (Jprime, B)": re.compile(r"(?:\[Testing!\])?\s*Jprime:.*B:.*"),
    "derivatives of J (dJ/dx)": re.compile(r"d2?J/dx2?:.*"),
    "a second estimate of D (DMI2, DMI_NJt)": re.compile(r"\[(?:Debug|Experimental)!\]\s*(?:DMI2|DMI_NJt)\b.*"),
    "a second estimate of J_ani (Jani_NJt)": re.compile(r"\[Testing!\]\s*Jani_NJt:.*"),
    "orbital contributions": re.compile(r"Orbital contributions:|isotropic J:|DMI [xyz]:|Jani [xyz]{2}:"),
}
"""Lines that repeat a pair in parts or by another method; they are skipped with a note."""
_MATRIX_ROW = re.compile(r"\[{0,2}[-+\d.eE\s]+\]{0,2}")
ANISOTROPY = ("Single Ion Anisotropy", "Single Ion Anisotropy (meV)")
"""Section titles of single-ion anisotropy, with a tensor or with k1 for each atom."""
LARGEST_NUMBER = 1e9
"""Largest value in meV or of a direction component; sums of larger numbers could overflow."""
_LONGEST_LINE = 10_000
_ROUNDING = 1e-3
"""Rounding error of the text in meV."""
_TRACE = 5e-3
"""Largest trace in meV that rounding of three numbers with three decimals can cause."""


def read_tb2j(path: str | Path) -> Couplings:
    """Read couplings from an `exchange.out`; the sites are the atoms that occur in pairs.

    Raises:
        BadInput: The file does not exist, is not from TB2J or is truncated, a section or line is unknown, couplings are not finite, a
            pair has no reverse pair, or anisotropic couplings are not merged.
    """
    path = Path(path)
    lines = read_text(path).splitlines()
    if max(map(len, lines), default=0) > _LONGEST_LINE:
        raise BadInput(f"{path}: not an exchange.out of TB2J: a line is longer than {_LONGEST_LINE} characters")
    sections = _sections(lines, path)
    absent = [name for name in ("Cell (Angstrom)", "Atoms", "Exchange") if name not in sections]
    if absent:
        raise BadInput(
            f"{path}: not a complete exchange.out of TB2J: sections Cell, Atoms and Exchange are required; missing: {', '.join(absent)}"
        )
    try:
        start, end = sections["Cell (Angstrom)"]
        cell = np.array([[float(x) for x in line.split()] for line in lines[start:end] if line.strip()]).reshape(3, 3)
    except ValueError:
        raise BadInput(f"{path}: the section Cell cannot be read: it needs three vectors of three numbers in Å") from None
    labels, positions, moments, listed = _atoms(lines, *sections["Atoms"], path)
    number = {label: k for k, label in enumerate(labels)}
    if len(number) < len(labels):
        raise BadInput(f"{path}: two atoms in the section Atoms have the same name")
    onsite: dict[str, np.ndarray] = {}
    for label, value in [*listed, *(pair for name in ANISOTROPY for pair in _anisotropies(lines, *sections.get(name, (0, 0)), path))]:
        if label in onsite or label not in number:
            problem = "it occurs twice" if label in onsite else "the section Atoms has no such atom"
            raise BadInput(f"{path}: single-ion anisotropy of {quoted(label, 20)}: {problem}")
        onsite[label] = value
    found, left_out = _pairs(lines, *sections["Exchange"], number, path)
    if "Orbitals used in decomposition" in sections:
        left_out.append("orbital contributions")
    keys, tensors = np.array(list(found)), np.array(list(found.values()))
    notes = [f"skipped in {path.name}: {name}" for name in dict.fromkeys(left_out)]
    first, second, shifts, tensors, noise = counted_once(keys[:, 0], keys[:, 1], keys[:, 2:], 2 * tensors, str(path), 2 * _ROUNDING)
    used = np.unique(np.concatenate([first, second]))
    place = {int(site): k for k, site in enumerate(used)}
    unused = [label for k, label in enumerate(labels) if label in onsite and k not in place]
    if unused:
        notes.append(f"skipped in {path.name}: single-ion anisotropy of {quoted(', '.join(unused), 40)}, which occurs in no pair")
    try:
        return Couplings(
            cell, positions[used], tuple(re.sub(r"\d+$", "", labels[k]) for k in used), np.abs(moments[used]),
            np.array([place[int(i)] for i in first]), np.array([place[int(j)] for j in second]), shifts, tensors,
            np.array([onsite.get(labels[k], np.zeros((3, 3))) for k in used]), notes=(*notes, *noise),
        ).in_order()  # fmt: skip
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def _sections(lines: list[str], path: Path) -> dict[str, tuple[int, int]]:
    """Return the first line and the line after the last of each section; a title follows a line of equals signs."""
    known = ("Information", "Cell (Angstrom)", "Atoms", "Orbitals used in decomposition", *ANISOTROPY, "Exchange")
    titles: list[tuple[str, int]] = []
    for k, line in enumerate(lines):
        if k and line.strip() and set(lines[k - 1].strip()) == {"="} and len(lines[k - 1].strip()) > 20:
            # User comments on the calculation may contain lines of equals signs.
            title = next((name for name in known if line.strip().rstrip(":").strip() == name), None)
            if title is None and titles and titles[-1][0] != "Information":
                raise BadInput(
                    f"{path}: line {k + 1}: section {quoted(line.strip(), 40)} is unknown; remove it if the couplings are valid without it"
                )
            if title in [name for name, _ in titles]:
                raise BadInput(f"{path}: line {k + 1}: section {title} occurs twice")
            if title is not None:
                titles.append((title, k))
    ends = [*(at - 1 for _, at in titles[1:]), len(lines)]
    return {name: (at + 1, end) for (name, at), end in zip(titles, ends, strict=False)}


def _atoms(lines: list[str], start: int, end: int, path: Path) -> tuple[list[str], np.ndarray, np.ndarray, list[tuple[str, np.ndarray]]]:
    """Return labels, positions, moments and the single-ion anisotropies listed below them."""
    labels: list[str] = []
    positions: list[list[float]] = []
    moments: list[float] = []
    onsite: list[tuple[str, np.ndarray]] = []
    for k in range(start, end):
        line, words = lines[k].strip(), lines[k].split()
        if not words or words[0] == "Total" or line.startswith(("(Note", "Atom number", "Atom_number")) or set(line) == {"-"}:
            continue
        if line.rstrip(":").strip() in ANISOTROPY:
            onsite = _anisotropies(lines, k + 1, end, path)
            break
        if len(words) not in (6, 8) or not all(re.fullmatch(_NUMBER, word) for word in words[1:]):
            raise BadInput(f"{path}: line {k + 1} of the section Atoms cannot be read: {quoted(line, 60)}")
        values = [float(x) for x in words[1:]]
        labels.append(words[0])
        positions.append(values[:3])
        moments.append(values[4] if len(values) == 5 else float(np.linalg.norm(values[4:])))
    if not labels:
        raise BadInput(f"{path}: the section Atoms contains no atoms")
    return labels, np.array(positions), np.array(moments), onsite


def _anisotropies(lines: list[str], start: int, end: int, path: Path) -> list[tuple[str, np.ndarray]]:
    """Return on-site tensors (3, 3): an atom with its first row followed by two rows, or an atom with k1 and its direction."""
    found: list[tuple[str, np.ndarray]] = []
    k = start
    while k < end:
        line, words = lines[k].strip(), lines[k].split()
        where, k = f"{path}: line {k + 1}", k + 1
        if not words or set(line) == {"-"} or line.startswith(("(k1 is", "Atom number", "Atom_number", "A_yx", "A_zx")):
            continue
        if match := _K1.fullmatch(line):
            strength, axis = float(match[2]), np.array([float(x) for x in match.group(3, 4, 5)])
            if not (np.abs([strength, *axis]) <= LARGEST_NUMBER).all():
                raise BadInput(f"{where}: single-ion anisotropy of {quoted(match[1], 20)} is not finite")
            if strength and not np.linalg.norm(axis) > 0:
                raise BadInput(f"{where}: the direction of k1 of {quoted(match[1], 20)} has zero length")
            value = uniaxial(strength, axis) if strength else np.zeros((3, 3))
        else:
            numbers = [words[1:], *(lines[at].split() for at in range(k, min(k + 2, end)))]
            if [len(row) for row in numbers] != [3, 3, 3] or not all(re.fullmatch(_NUMBER, x) for row in numbers for x in row):
                raise BadInput(
                    f"{where}: single-ion anisotropy needs an atom with three rows of three numbers, or with k1 and its direction"
                )
            value, k = np.array(numbers, dtype=float), k + 2
        if not (np.abs(value) <= LARGEST_NUMBER).all():
            raise BadInput(f"{where}: single-ion anisotropy of {quoted(words[0], 20)} is not finite")
        found.append((words[0], (value + value.T) / 2))
    return found


def _pairs(
    lines: list[str], start: int, end: int, number: dict[str, int], path: Path
) -> tuple[dict[tuple[int, ...], np.ndarray], list[str]]:
    """Return tensors (3, 3) by sites and cell (i, j, a, b, c), and the names of skipped contents."""
    found: dict[tuple[int, ...], np.ndarray] = {}
    left_out: list[str] = []
    key: tuple[int, ...] | None = None
    isotropic = 0.0
    rows_of_parts = opened = False
    k = start
    while k < end:
        line = lines[k].strip()
        where, k = f"{path}: line {k + 1}", k + 1
        if not line:
            continue
        if set(line) == {"-"}:
            opened = True
        elif match := _PAIR.fullmatch(line):
            i, j = match[1], match[2]
            if i not in number or j not in number:
                raise BadInput(f"{where}: pair {quoted(i, 20)} {quoted(j, 20)}: no such atom in the section Atoms")
            key = (number[i], number[j], *(int(x) for x in match.group(3, 4, 5)))
            if key in found:
                raise BadInput(f"{where}: pair {quoted(i, 20)} {quoted(j, 20)} {key[2:]} occurs twice")
            isotropic, opened, rows_of_parts = float(match[6]), False, False
            if not abs(isotropic) <= LARGEST_NUMBER:
                raise BadInput(f"{where}: the coupling of pair {quoted(i, 20)} {quoted(j, 20)} {key[2:]} is not a finite number")
            found[key] = tensor(isotropic)
        elif key is None and line.split()[:2] == ["i", "j"]:
            continue
        elif key is None or opened:
            raise BadInput(f"{where}: the line is not a pair: {quoted(line, 60)}")
        elif match := _ISOTROPIC.fullmatch(line):
            if abs(float(match[1]) - isotropic) > _ROUNDING:
                raise BadInput(f"{where}: J_iso {quoted(match[1], 40)} differs from {isotropic:g} in the line of the pair")
        elif match := _DM.fullmatch(line):
            vector = np.array([float(x) for x in match.groups()])
            if not (np.abs(vector) <= LARGEST_NUMBER).all():
                raise BadInput(f"{where}: a D vector is not finite")
            found[key] = found[key] + tensor(0.0, vector)
        elif _J_ANI.fullmatch(line) or _COMBINED.fullmatch(line):
            rows = [re.findall(_NUMBER, text) for text in lines[k : min(k + 3, end)]]
            if [len(row) for row in rows] != [3, 3, 3]:
                raise BadInput(f"{where}: the tensor is truncated; it needs three rows of three numbers")
            k += 3
            if _COMBINED.fullmatch(line):
                # This tensor is the sum of the parts above.
                continue
            value = np.array(rows, dtype=float)
            if not (np.abs(value) <= LARGEST_NUMBER).all():
                raise BadInput(f"{where}: J_ani is not finite")
            if abs(np.trace(value)) > _TRACE:
                raise BadInput(
                    f"{where}: J_ani has a trace, {np.trace(value):.4g} meV: with one moment direction it is undefined along "
                    "the moments; merge several calculations with TB2J_merge.py, or remove it"
                )
            found[key] = found[key] + value
        elif name := next((name for name, pattern in _LEFT_OUT.items() if pattern.fullmatch(line)), None):
            left_out.append(name)
            rows_of_parts = name == "orbital contributions"
        elif not (rows_of_parts and _MATRIX_ROW.fullmatch(line)):
            raise BadInput(f"{where} is unknown: {quoted(line, 60)}; remove it if the couplings are valid without it")
    if not found:
        raise BadInput(f"{path}: the file contains no pairs")
    if opened:
        raise BadInput(f"{path}: the file is truncated: no pair follows the last line of dashes")
    return found, left_out


def tb2j_text(couplings: Couplings) -> str:
    """Return the text of an `exchange.out`; precision beyond its decimals is lost."""
    line, dashes = "=" * 90, "-" * 88
    counts: Counter[str] = Counter()
    labels = []
    for symbol in couplings.symbols:
        counts[symbol] += 1
        labels.append(f"{symbol}{counts[symbol]}")
    out = [line, "Information: ", "Couplings written by nucleate in TB2J's convention: every pair twice, unit vectors, H = - sum", "", line]
    out += ["Cell (Angstrom):", *("  ".join(f"{x:10.8f}" for x in row) for row in couplings.cell), "", line, "Atoms:  "]
    out += ["(Note: charge and magmoms only count the wannier functions.)"]
    out += ["Atom number        x             y             z       w_charge      magmom   "]
    for label, position, moment in zip(labels, couplings.positions, couplings.moments, strict=True):
        out.append(f"{label:<12s} {position[0]:13.8f} {position[1]:13.8f} {position[2]:13.8f} {0.0:9.4f} {moment:9.4f}")
    out += [f"{'Total':<54s} {0.0:9.4f} {couplings.moments.sum():9.4f}", "", ""]
    if np.abs(couplings.anisotropy).max() > 0:
        out += [line, "Single Ion Anisotropy: ",
                "Atom_number      A_xx          A_xy          A_xz     ", "                 A_yx          A_yy          A_yz     ",
                "                 A_zx          A_zy          A_zz     "]  # fmt: skip
        for label, value in zip(labels, couplings.anisotropy, strict=True):
            out += [f"{label if k == 0 else '':<12s} " + " ".join(f"{x:13.8f}" for x in row) for k, row in enumerate(value)]
            out.append(dashes)
    out += [line, "Exchange: ", "    i      j          R        J_iso(meV)          vector          distance(A) "]
    first, second, shifts, tensors = couplings.both_ways()
    tensors = tensors / 2
    vectors = couplings.positions[second] - couplings.positions[first] + shifts @ couplings.cell
    distances = np.linalg.norm(vectors, axis=1)
    isotropic = np.trace(tensors, axis1=1, axis2=2) / 3
    odd = (tensors - tensors.transpose(0, 2, 1)) / 2
    even = (tensors + tensors.transpose(0, 2, 1)) / 2 - isotropic[:, None, None] * np.eye(3)
    full = np.abs(odd).max(initial=0) > 0 or np.abs(even).max(initial=0) > 1e-9
    for p in np.argsort(distances.round(6), kind="stable"):
        r, v = shifts[p], vectors[p]
        out += [dashes, f"   {labels[first[p]]:5s} {labels[second[p]]:5s} ({r[0]:3d}, {r[1]:3d}, {r[2]:3d}) {isotropic[p]:7.4f}   "
                f"({v[0]:6.3f}, {v[1]:6.3f}, {v[2]:6.3f}) {distances[p]:6.3f} ", f"J_iso: {isotropic[p]:7.4f} "]  # fmt: skip
        if full:
            d = (odd[p, 1, 2], odd[p, 2, 0], odd[p, 0, 1])
            out += [f"[Testing!] DMI: ({d[0]:7.4f} {d[1]:7.4f} {d[2]:7.4f})", "[Testing!]J_ani:"]
            out += [
                f"{'[[' if k == 0 else ' ['}{row[0]:.6f} {row[1]:.6f} {row[2]:.6f}{']]' if k == 2 else ']'}"
                for k, row in enumerate(even[p])
            ]
    return "\n".join(out) + "\n"
