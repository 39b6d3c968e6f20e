"""TB2J's `exchange.out`, read and written.

TB2J's Hamiltonian is H = -sum_i e_i A_i e_i - sum_{i != j} [J e_i . e_j + e_i J_ani e_j + D . (e_i x e_j)] over unit vectors and every pair
twice, so a pair of ours holds twice its numbers; single-ion anisotropy is the same in both. The text has four decimals of a meV.
X. He, N. Helbig, M. J. Verstraete, E. Bousquet, Comput. Phys. Commun. 264, 107938 (2021), doi 10.1016/j.cpc.2021.107938.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np

from nucleate.errors import BadInput
from nucleate.spins.couplings import Couplings, counted_once, tensor

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+|nan|inf)(?:[eE][-+]?\d+)?"
_PAIR = re.compile(rf"^\s*(\S+)\s+(\S+)\s+\(\s*(-?\d+),\s*(-?\d+),\s*(-?\d+)\)\s*({_NUMBER})\s+\(")
_ROUNDING = 1e-3
"""meV; what the text's decimals can hide."""


def read_tb2j(path: str | Path) -> Couplings:
    """Couplings of an `exchange.out`; sites are the atoms that appear in pairs.

    Raises:
        BadInput: no such file, not TB2J's, cut short, couplings that are not finite, pairs without a partner.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read: {error}") from None
    heads = {line.strip(): k for k, line in enumerate(lines)}
    cell_at = next((k for text, k in heads.items() if text.startswith("Cell (Angstrom)")), None)
    atoms_at = next((k for text, k in heads.items() if text.startswith("Atoms:")), None)
    pairs_at = next((k for text, k in heads.items() if text.startswith("Exchange:")), None)
    if cell_at is None or atoms_at is None or pairs_at is None:
        raise BadInput(f"{path}: not an exchange.out of TB2J: sections Cell, Atoms and Exchange are missing")
    try:
        cell = np.array([[float(x) for x in line.split()] for line in lines[cell_at + 1 : cell_at + 4]]).reshape(3, 3)
        labels, positions, moments = _atoms(lines[atoms_at + 1 : pairs_at])
        onsite = _anisotropies(lines[atoms_at:pairs_at])
    except ValueError as error:
        raise BadInput(f"{path}: sections Cell and Atoms cannot be read ({error})") from None
    number = {label: k for k, label in enumerate(labels)}
    found: dict[tuple[int, ...], np.ndarray] = {}
    key: tuple[int, ...] | None = None
    body = lines[pairs_at + 1 :]
    for k, line in enumerate(body):
        if match := _PAIR.match(line):
            i, j = match.group(1), match.group(2)
            if i not in number or j not in number:
                raise BadInput(f"{path}: pair {i} {j}: no such atom in the section Atoms")
            key = (number[i], number[j], *(int(x) for x in match.group(3, 4, 5)))
            if key in found:
                raise BadInput(f"{path}: pair {i} {j} {key[2:]} stands there twice")
            found[key] = tensor(float(match.group(6)))
        elif key is not None and line.startswith("[Testing!] DMI:"):
            vector = np.array([float(x) for x in re.findall(_NUMBER, line.partition("(")[2])])
            found[key] = found[key] + tensor(0.0, vector)
        elif key is not None and line.startswith("[Testing!]J_ani:"):
            rows = [re.findall(_NUMBER, text) for text in body[k + 1 : k + 4]]
            if [len(row) for row in rows] != [3, 3, 3]:
                raise BadInput(f"{path}: the anisotropic tensor of pair {key} is cut short")
            found[key] = found[key] + np.array(rows, dtype=float)
    if not found:
        raise BadInput(f"{path}: holds no pairs")
    keys, tensors = np.array(list(found)), np.array(list(found.values()))
    if not np.isfinite(tensors).all():
        bad = keys[np.argwhere(~np.isfinite(tensors))[0, 0]]
        raise BadInput(f"{path}: the coupling of pair {labels[bad[0]]} {labels[bad[1]]} {tuple(bad[2:].tolist())} is not a finite number")
    tensors = _made_exact(keys, 2 * tensors)
    first, second, shifts, tensors = counted_once(keys[:, 0], keys[:, 1], keys[:, 2:], tensors, str(path))
    used = np.unique(np.concatenate([first, second]))
    place = {int(site): k for k, site in enumerate(used)}
    try:
        return Couplings(
            cell, positions[used], tuple(re.sub(r"\d+$", "", labels[k]) for k in used), np.abs(moments[used]),
            np.array([place[int(i)] for i in first]), np.array([place[int(j)] for j in second]), shifts, tensors,
            np.array([onsite.get(labels[k], np.zeros((3, 3))) for k in used]),
        ).in_order()  # fmt: skip
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def _atoms(lines: list[str]) -> tuple[list[str], np.ndarray, np.ndarray]:
    labels: list[str] = []
    positions: list[list[float]] = []
    moments: list[float] = []
    for line in lines:
        words = line.split()
        if not words or words[0] == "Total" or words[0].startswith("="):
            if labels:
                break
            continue
        if len(words) not in (6, 8) or not re.fullmatch(_NUMBER, words[1]):
            continue
        values = [float(x) for x in words[1:]]
        labels.append(words[0])
        positions.append(values[:3])
        moments.append(values[4] if len(values) == 5 else float(np.linalg.norm(values[4:])))
    if not labels:
        raise ValueError("no atoms")
    return labels, np.array(positions), np.array(moments)


def _anisotropies(lines: list[str]) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    at = next((k for k, line in enumerate(lines) if line.startswith("Single Ion Anisotropy")), None)
    for k in range(at + 1 if at is not None else len(lines), len(lines) - 2):
        words = lines[k].split()
        if len(words) == 4 and re.fullmatch(_NUMBER, words[1]):
            rows = [words[1:], lines[k + 1].split(), lines[k + 2].split()]
            value = np.array(rows, dtype=float)
            found[words[0]] = (value + value.T) / 2
    return found


def _made_exact(keys: np.ndarray, tensors: np.ndarray) -> np.ndarray:
    """Partners that differ by no more than rounding, made each other's transpose; others are left for `counted_once` to refuse."""
    place = {tuple(key): k for k, key in enumerate(keys.tolist())}
    found = tensors.copy()
    for k, (i, j, *r) in enumerate(keys.tolist()):
        partner = place.get((j, i, -r[0], -r[1], -r[2]))
        if partner is not None and np.abs(tensors[k] - tensors[partner].T).max() <= 2 * _ROUNDING:
            found[k] = (tensors[k] + tensors[partner].T) / 2
    return found


def tb2j_text(couplings: Couplings) -> str:
    """An `exchange.out` of these couplings; what its decimals cannot hold is lost."""
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
