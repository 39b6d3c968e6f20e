"""Enumeration of the distinct arrangements of atoms on a parent lattice, up to a number of primitive cells.

G. L. W. Hart and R. W. Forcade, Phys. Rev. B 77, 224115 (2008), doi 10.1103/PhysRevB.77.224115: supercells are Hermite normal forms, one of
each class under the point group; arrangements that a translation or rotation maps to one another are counted once, and those that are
repetitions of a smaller cell are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nucleate.errors import BadInput
from nucleate.lattice.parent import VACANCY, Parent
from nucleate.lattice.supercells import Supercell, compact, hermite_forms, row_hermite

MOST_ARRANGEMENTS = 2**20
"""Largest number of arrangements of one supercell that are looked through."""


@dataclass(frozen=True)
class Arrangement:
    """An arrangement of atoms on the sites of a supercell.

    Attributes:
        supercell: The supercell.
        occupation: (sites,) index of the species of each site in the list of its sublattice.
    """

    supercell: Supercell
    occupation: np.ndarray

    def fractions(self) -> dict[str, float]:
        """Return the share of the active sites that holds each species."""
        parent = self.supercell.parent
        names = [parent.allowed[s][o] for s, o in zip(self.supercell.sublattice, self.occupation, strict=True)]
        return {name: names.count(name) / len(names) for name in parent.names}


def distinct_supercells(parent: Parent, cells: int) -> list[Supercell]:
    """Return one supercell of each class under the point group of the parent, with short vectors."""
    seen: set[bytes] = set()
    result = []
    rotations = [rotation for rotation, _, _ in parent.operations]
    for form in hermite_forms(cells, parent.periodic):
        images = [row_hermite(form @ rotation.T).tobytes() for rotation in rotations]
        if min(images) not in seen:
            seen.add(min(images))
            result.append(compact(parent, form))
    return result


def distinct_arrangements(supercell: Supercell) -> np.ndarray:
    """Return the (n, sites) distinct arrangements of a supercell that are not repetitions of a smaller cell.

    Raises:
        BadInput: the supercell has more than `MOST_ARRANGEMENTS` arrangements.
    """
    choices = np.array([len(supercell.parent.allowed[s]) for s in supercell.sublattice])
    total = float(np.prod(choices.astype(float)))
    if total > MOST_ARRANGEMENTS:
        raise BadInput(f"{supercell.count} cells have {total:.3g} arrangements, more than {MOST_ARRANGEMENTS}; lower --max-cells")
    weights = np.concatenate([np.cumprod(choices[::-1])[::-1][1:], [1]])
    codes = np.arange(int(total))
    digits = codes[:, None] // weights % choices
    first = np.ones(len(codes), dtype=bool)
    for permutation in supercell.permutations:
        # The arrangement with the smallest code of each class stands for it.
        first &= digits @ weights[permutation] >= codes
    for permutation in supercell.translations[1:]:
        first &= digits @ weights[permutation] != codes
    result: np.ndarray = digits[first]
    return result


def enumerate_arrangements(
    parent: Parent, max_cells: int, min_cells: int = 1, mesh: tuple[int, int, int] | None = None
) -> Iterator[Arrangement]:
    """Yield all distinct arrangements of `min_cells` to `max_cells` primitive cells, small cells first.

    Args:
        parent: The parent lattice.
        max_cells: Largest number of primitive cells.
        min_cells: Smallest number of primitive cells.
        mesh: k-point mesh of the parent; supercells to which it does not fold are left out.
    """
    for cells in range(min_cells, max_cells + 1):
        for supercell in distinct_supercells(parent, cells):
            if mesh is not None and supercell.folded(mesh) is None:
                continue
            for occupation in distinct_arrangements(supercell):
                yield Arrangement(supercell, occupation)


def canonical_key(arrangement: Arrangement) -> bytes:
    """Return a key that all descriptions of one arrangement share: supercells, rotations and translations of it."""
    supercell = arrangement.supercell
    occupation = np.asarray(arrangement.occupation)
    parent = supercell.parent
    m = len(parent.active)
    kept = [k for k, moved in enumerate(supercell.translations) if np.array_equal(occupation[moved], occupation)]
    small = Supercell(parent, row_hermite(np.concatenate([supercell.hermite, supercell.cells[kept]])))
    occupation = occupation.reshape(-1, m)[supercell.cell_index(small.cells)]
    images: dict[bytes, list[bytes]] = {}
    for rotation, image, shift in parent.operations:
        turned = Supercell(parent, row_hermite(small.hermite @ rotation.T))
        cells = (small.cells @ rotation.T)[:, None] + shift
        moved = np.empty(turned.sites, dtype=np.uint8)
        moved[turned.site_index(cells, np.broadcast_to(image, (small.count, m)))] = occupation
        images.setdefault(turned.hermite.tobytes(), []).extend(row.tobytes() for row in moved[turned.translations])
    form = min(images)
    return form + min(images[form])


def is_bare(arrangement: Arrangement) -> bool:
    """Return whether the structure would have no atom at all, as that of an empty lattice without fixed sites."""
    parent = arrangement.supercell.parent
    if any(len(names) == 1 for names in parent.species):
        return False
    return all(parent.allowed[s][o] == VACANCY for s, o in zip(arrangement.supercell.sublattice, arrangement.occupation, strict=True))
