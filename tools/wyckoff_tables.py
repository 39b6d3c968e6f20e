"""Writes the Wyckoff positions of PyXtal as arrays, src/nucleate/generate/data/wyckoff-3d.npz and wyckoff-2d.npz.

    python tools/wyckoff_tables.py

PyXtal takes seconds to read them, which every search would wait for. Run this again with a PyXtal whose list of positions differs;
tests/generate/test_wyckoff.py compares them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nucleate.generate.lattices import PRIMITIVE
from nucleate.generate.wyckoff import TABLES


def site_rows(group: Any, number: int, periodic: int) -> list[dict[str, Any]]:
    """Return the Wyckoff positions of a PyXtal group, in its order, with their operations in the primitive cell.

    Args:
        group: the group of PyXtal.
        number: its number.
        periodic: number of periodic directions, 3 or 2; translations along the others are not reduced.
    """
    # Layer groups have lower-case centring letters.
    primitive = PRIMITIVE[group.symbol[0].upper()]
    to_primitive = np.linalg.inv(primitive).T
    copies = round(1.0 / abs(np.linalg.det(primitive)))
    rows = []
    for index, position in enumerate(group.Wyckoff_positions):
        size = position.multiplicity // copies
        matrices = np.array([op.affine_matrix for op in position.ops])
        rotations = to_primitive @ matrices[:, :3, :3]
        translations = np.round(matrices[:, :3, 3] @ to_primitive.T, 8)
        translations[:, :periodic] %= 1.0
        # Operations that differ by a centring vector are equal in the primitive cell.
        keys = np.round(np.concatenate([rotations.reshape(-1, 9), translations], axis=1) * 1e4).astype(int)
        _, first = np.unique(keys, axis=0, return_index=True)
        if len(first) != size:
            raise AssertionError(f"group {number}, site {position.letter}: {len(first)} atoms, not {size}")
        first.sort()
        position.get_site_symmetry()
        rows.append(
            {
                "group": number,
                "index": index,
                "letter": position.letter,
                "multiplicity": position.multiplicity,
                "symmetry": position.site_symm,
                "freedom": int(np.linalg.matrix_rank(matrices[0, :3, :3])),
                "rotations": rotations[first],
                "translations": translations[first],
            }
        )
    return rows


def tables(periodic: int, numbers: range | None = None) -> dict[str, np.ndarray]:
    """Return the arrays of a file: one row for each site, and the operations of all sites one after another."""
    from pyxtal.symmetry import Group

    numbers = numbers or range(1, 231 if periodic == 3 else 81)
    groups = [Group(number, dim=periodic) for number in numbers]
    rows = [row for number, group in zip(numbers, groups, strict=True) for row in site_rows(group, number, periodic)]
    return {
        "symbols": np.array([group.symbol for group in groups]),
        **{name: np.array([row[name] for row in rows]) for name in ("group", "index", "letter", "multiplicity", "symmetry", "freedom")},
        "size": np.array([len(row["translations"]) for row in rows]),
        **{name: np.concatenate([row[name] for row in rows]) for name in ("rotations", "translations")},
    }


if __name__ == "__main__":
    for directions, name in TABLES.items():
        path = Path(__file__).resolve().parents[1] / "src/nucleate/generate/data" / name
        path.parent.mkdir(exist_ok=True)
        np.savez_compressed(path, **tables(directions))
        print(path)
