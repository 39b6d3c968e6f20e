"""Couplings as an input file of Spirit, and back.

Spirit's Hamiltonian is ours: unit vectors, each pair once, minus signs, meV, Bohr magnetons, tesla; it has no symmetric anisotropic part
of a pair. G. P. Müller et al., Phys. Rev. B 99, 224414 (2019), doi 10.1103/PhysRevB.99.224414.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase.data import atomic_numbers

from nucleate.errors import BadInput
from nucleate.spins.couplings import Couplings, tensor, uniaxial


def spirit_text(
    couplings: Couplings,
    size: tuple[int, int, int],
    field: tuple[float, float, float] = (0.0, 0.0, 0.0),
    periodic: tuple[bool, bool, bool] = (True,) * 3,
) -> str:
    """A cfg file: geometry, couplings, one anisotropy axis a site, a field in tesla.

    Raises:
        BadInput: what Spirit cannot hold: symmetric anisotropic couplings, or an on-site tensor with more than one axis.
    """
    rest = couplings.tensors - tensor(couplings.isotropic, couplings.dm)
    if np.abs(rest).max(initial=0) > 1e-9:
        raise BadInput("Spirit has no symmetric anisotropic couplings; these have some")
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
    """Strength and axis of K n n^T + c 1; the constant changes no direction."""
    values, vectors = np.linalg.eigh(value)
    gaps = np.diff(values)
    if gaps.max() < 1e-12:
        return 0.0, np.array([0.0, 0.0, 1.0])
    if gaps.min() > 1e-4 * gaps.max():
        raise BadInput(f"site {site}: Spirit takes one axis of anisotropy a site; this tensor has three different values")
    k = 0 if gaps[0] > gaps[1] else 2
    return float(values[k] - values[2 - k]), vectors[:, k]


def _refuse(path: Path, lines: list[list[str]], at: dict[str, int]) -> None:
    """Raise `BadInput` for what a table of couplings would lose."""
    head = lines[at["n_interaction_pairs"] + 1]
    known = {"i", "j", "da", "db", "dc", "Jij", "Dij", "Dijx", "Dijy", "Dijz"}
    if not set(head) <= known or not {"i", "j", "da", "db", "dc"} <= set(head) or not {"Jij", "Dijx"} & set(head):
        raise BadInput(f"{path}: columns of the pairs: {' '.join(head)}; known: {' '.join(sorted(known))}")
    if "n_anisotropy" in at and lines[at["n_anisotropy"] + 1] != ["i", "K", "Kx", "Ky", "Kz"]:
        raise BadInput(f"{path}: columns of the anisotropy: {' '.join(lines[at['n_anisotropy'] + 1])}; known: i K Kx Ky Kz")
    for word, harmless in {"external_field_magnitude": "0", "n_interaction_quadruplets": "0", "ddi_method": "none"}.items():
        value = lines[at[word]][1:2] if word in at else []
        if value and value[0] != harmless and not (harmless == "0" and value[0].replace(".", "").strip("0") == ""):
            raise BadInput(f"{path}: {word} {value[0]}: couplings alone can be read; take it out and give it to the simulation")


def read_spirit(path: str | Path, symbols: tuple[str, ...] | None = None) -> Couplings:
    """Couplings of a cfg file with bravais_vectors, basis, mu_s and a table of interaction pairs.

    Args:
        path: the file.
        symbols: elements of the sites, of which Spirit knows nothing; X if left out.

    Raises:
        BadInput: no such file, keywords that are missing or of another kind, numbers that cannot be read.
    """
    path = Path(path)
    try:
        lines = [line.split("#")[0].split() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read: {error}") from None
    lines = [words for words in lines if words]
    at = {words[0]: k for k, words in enumerate(lines)}
    for word in ("bravais_vectors", "basis", "mu_s", "n_interaction_pairs"):
        if word not in at:
            raise BadInput(
                f"{path}: keyword {word} is missing; give geometry and pairs by bravais_vectors, basis, mu_s, n_interaction_pairs"
            )
    if "hamiltonian" in at and lines[at["hamiltonian"]][1:] != ["heisenberg_pairs"]:
        raise BadInput(f"{path}: hamiltonian {' '.join(lines[at['hamiltonian']][1:])}; only heisenberg_pairs can be read")
    _refuse(path, lines, at)
    try:
        scale = float(lines[at["lattice_constant"]][1]) if "lattice_constant" in at else 1.0
        cell = scale * np.array(lines[at["bravais_vectors"] + 1 : at["bravais_vectors"] + 4], dtype=float).reshape(3, 3)
        n = int(lines[at["basis"] + 1][0])
        scaled = np.array(lines[at["basis"] + 2 : at["basis"] + 2 + n], dtype=float).reshape(n, 3)
        moments = np.array(lines[at["mu_s"]][1 : n + 1], dtype=float)
        count = int(lines[at["n_interaction_pairs"]][1])
        head = lines[at["n_interaction_pairs"] + 1]
        rows = [
            dict(zip(head, words, strict=True)) for words in lines[at["n_interaction_pairs"] + 2 : at["n_interaction_pairs"] + 2 + count]
        ]
        if len(rows) < count:
            raise ValueError(f"{len(rows)} of {count} pairs")
        place = np.array([[int(row[k]) for k in ("i", "j", "da", "db", "dc")] for row in rows]).reshape(-1, 5)
        strengths = np.array([float(row.get("Jij", 0.0)) for row in rows])
        vectors = np.array([[float(row.get(k, 0.0)) for k in ("Dijx", "Dijy", "Dijz")] for row in rows]).reshape(-1, 3)
        if "Dij" in head:
            lengths = np.maximum(np.linalg.norm(vectors, axis=1), 1e-300)
            vectors = vectors * (np.array([float(row["Dij"]) for row in rows]) / lengths)[:, None]
        onsite = np.zeros((n, 3, 3))
        if "n_anisotropy" in at:
            table = np.array(lines[at["n_anisotropy"] + 2 : at["n_anisotropy"] + 2 + int(lines[at["n_anisotropy"]][1])], dtype=float)
            for site, k, *axis in table.tolist():
                onsite[int(site)] += uniaxial(k, np.array(axis)) if k else 0.0
        elif "anisotropy_magnitude" in at and float(lines[at["anisotropy_magnitude"]][1]):
            onsite += uniaxial(float(lines[at["anisotropy_magnitude"]][1]), np.array(lines[at["anisotropy_normal"]][1:4], dtype=float))
    except (KeyError, ValueError, IndexError) as error:
        raise BadInput(f"{path}: cannot be read as a Spirit input ({error})") from None
    if symbols is not None and (len(symbols) != n or not all(atomic_numbers.get(s) for s in symbols)):
        raise BadInput(f"{path}: give {n} elements")
    try:
        return Couplings(
            cell, scaled @ cell, symbols or ("X",) * n, moments, place[:, 0], place[:, 1], place[:, 2:], tensor(strengths, vectors), onsite
        )
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
