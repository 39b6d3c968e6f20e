"""Splits of data by group, which keep the frames of a trajectory or of a composition together.

Neighbouring frames of a trajectory are almost equal, so a random split of frames would measure how well a model reproduces its training
data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from nucleate.errors import BadInput, quoted
from nucleate.fingerprints.selection import fingerprints, leaders
from nucleate.training.labelled import LabelledStructure

KEYS = ("group", "parent", "config_type")
"""Entries of data files that name the origin of a structure, in order of preference."""
ALONE = 8.0
"""Smallest distance between a single atom and its images at which it is an isolated atom, Å."""
FEW = 5
"""Smallest number of groups for which `auto` accepts a grouping."""
ALIKE = 0.15
"""Largest distance of pooled fingerprints of structures in one group."""


def groups(data: Sequence[LabelledStructure], by: str = "auto") -> tuple[np.ndarray, str]:
    """Return the (n,) group of each structure, and a description of the grouping.

    Args:
        data: labelled structures.
        by: `composition`, `similarity`, the name of an entry of the file, or `auto`, which chooses the first with at least five groups.

    Raises:
        BadInput: a structure does not have the entry.
    """
    if by not in ("auto", "composition", "similarity"):
        names = [item.info.get(by) for item in data]
        missing = next((item for item, name in zip(data, names, strict=True) if name is None), None)
        if missing is not None:
            raise BadInput(f"{missing.where}: has no entry '{quoted(by)}'; add it, or choose another split_by")
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
    from scipy.spatial.distance import cdist

    return cdist(vectors, vectors[heads]).argmin(1), f"similarity (pooled fingerprints closer than {ALIKE})"


def isolated_atoms(data: Sequence[LabelledStructure]) -> np.ndarray:
    """Return the (n,) mask of structures that are single atoms in large empty cells."""
    return np.array([len(item.atoms) == 1 and bool(item.atoms.cell.lengths().min() > ALONE) for item in data])


def _numbered(names: Sequence[str]) -> np.ndarray:
    """Return an integer for each name."""
    return np.unique(names, return_inverse=True)[1]


def split(group: np.ndarray, share: float, seed: int, kept: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices for training and for validation.

    Groups are drawn at random for validation until they contain a fraction `share` of the structures.

    Args:
        group: (n,) group of each structure.
        share: fraction of the structures for validation.
        seed: random seed.
        kept: (n,) mask of structures that are always used for training, such as isolated atoms, which define zero binding energy.

    Raises:
        BadInput: there is only one group.
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
            "all structures belong to one group, so none can be used for validation; choose another split_by, or set validation = 0"
        )
    order = np.random.default_rng([seed, 5]).permutation(sorted(sizes))
    held: set[int] = set()
    count = 0
    for name in order[:-1]:
        if count >= share * len(group):
            break
        # A group with which validation would contain more than half of the structures is skipped.
        if count + sizes[name] <= 0.5 * len(group):
            held.add(int(name))
            count += sizes[name]
    if not held:
        smallest = min(sizes, key=lambda name: sizes[name])
        held.add(int(smallest))
    chosen = np.isin(group, sorted(held))
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
