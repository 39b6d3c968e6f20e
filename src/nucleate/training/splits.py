"""Splits by group, which keep the frames of a trajectory or composition on one side.

Shuffled frames of a trajectory are nearly the same structure twice: an error measured on them says how well a model remembers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.spatial.distance import cdist

from nucleate.errors import BadInput, quoted
from nucleate.fingerprints.power_spectrum import fingerprints, leaders
from nucleate.training.labelled import LabelledStructure

KEYS = ("group", "parent", "config_type")
"""Names under which files say where a structure comes from, in this order."""
ALONE = 8.0
"""Å between a single atom and its images beyond which it is an isolated atom."""
FEW = 5
"""Groups below which a finer division is sought."""
ALIKE = 0.15
"""Distance of pooled fingerprints within which structures belong together."""


def groups(data: Sequence[LabelledStructure], by: str = "auto") -> tuple[np.ndarray, str]:
    """Return the (n,) group of each structure, and a description of the grouping.

    Args:
        data: labelled structures.
        by: `composition`, `similarity`, the name of an entry of the file, or `auto`: the first that makes at least five groups.

    Raises:
        BadInput: no structure has such an entry.
    """
    if by not in ("auto", "composition", "similarity"):
        names = [item.info.get(by) for item in data]
        missing = next((item for item, name in zip(data, names, strict=True) if name is None), None)
        if missing is not None:
            raise BadInput(f"{missing.where}: has no entry '{quoted(by)}' to split by")
        return _numbered([str(name) for name in names]), f"the entry '{quoted(by)}'"
    if by == "auto":
        for key in KEYS:
            if all(key in item.info for item in data) and len({str(item.info[key]) for item in data}) >= FEW:
                return groups(data, key)
    if by in ("auto", "composition"):
        formulas = [item.formula for item in data]
        if by == "composition" or len(set(formulas)) >= FEW:
            return _numbered(formulas), "composition"
    species = tuple(sorted({int(z) for item in data for z in item.atoms.numbers}))
    vectors = fingerprints([item.atoms for item in data], species)
    heads = leaders(vectors, np.arange(len(data)), ALIKE)
    return cdist(vectors, vectors[heads]).argmin(1), f"similarity (pooled fingerprints closer than {ALIKE})"


def isolated_atoms(data: Sequence[LabelledStructure]) -> np.ndarray:
    """(n,) which structures are single atoms in large empty cells."""
    return np.array([len(item.atoms) == 1 and bool(item.atoms.cell.lengths().min() > ALONE) for item in data])


def _numbered(names: Sequence[str]) -> np.ndarray:
    return np.unique(names, return_inverse=True)[1]


def split(group: np.ndarray, share: float, seed: int, kept: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Indices for training and for validation: whole groups, drawn at random until validation holds `share` of the structures.

    Args:
        group: (n,) the group of each structure.
        share: of the structures.
        seed: of the draw.
        kept: (n,) structures that are trained on in any case, such as isolated atoms: nothing else says what zero binding is.

    Raises:
        BadInput: one group alone.
    """
    if share == 0:
        return np.arange(len(group)), np.arange(0)
    if kept is not None and kept.any():
        free = np.flatnonzero(~kept)
        train, valid = split(group[free], share, seed)
        return np.sort(np.concatenate([free[train], np.flatnonzero(kept)])), free[valid]
    sizes = Counter(group.tolist())
    if len(sizes) < 2:
        raise BadInput(
            "all structures belong to one group, so none can be held back for validation; split by another entry, or set validation = 0"
        )
    order = np.random.default_rng([seed, 5]).permutation(sorted(sizes))
    held: set[int] = set()
    count = 0
    for name in order[:-1]:
        if count >= share * len(group):
            break
        # A group that would leave less for training than for validation is passed over.
        if count + sizes[name] <= 0.5 * len(group):
            held.add(int(name))
            count += sizes[name]
    if not held:
        smallest = min(sizes, key=lambda name: sizes[name])
        held.add(int(smallest))
    chosen = np.isin(group, sorted(held))
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
