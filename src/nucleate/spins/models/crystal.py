"""Couplings of a whole crystal from a model of pairs: which pairs there are, and one prediction for each class of equivalent pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nucleate.errors import BadInput, NucleateError
from nucleate.spins.geometry import pairs_within
from nucleate.spins.models.data import Pairs
from nucleate.spins.models.network import LONGEST
from nucleate.spins.models.training import PairModel
from nucleate.spins.symmetry import pair_map

MOST_PAIRS = 20_000
"""Largest number of pairs in the cell."""
MOST_CLASSES = 400
"""Largest number of classes of pairs whose environments are computed."""
SAME = 1e-3
"""Distance tolerance in Å within which pairs of the same elements are equivalent if only elements and distances count."""


@dataclass(frozen=True)
class CrystalCouplings:
    """Predicted couplings of a crystal, one entry for each class of equivalent pairs, nearest first.

    Attributes:
        elements: (n) elements of the two atoms.
        sites: (n, 2) indices of two atoms of the class.
        vectors: (n, 3) vectors from the first to the second atom in Å.
        pairs: (n,) number of pairs in the cell.
        couplings, errors: (n,) couplings and standard deviations of the model in meV; a positive coupling is ferromagnetic.
        dm: (n,) lengths of the Dzyaloshinskii-Moriya vectors in meV, or None for models without D.
        cutoff: Largest distance in Å.
        longest: Largest distance of the training pairs in Å, or None if the model has no distances.
    """

    elements: tuple[tuple[str, str], ...]
    sites: np.ndarray
    vectors: np.ndarray
    pairs: np.ndarray
    couplings: np.ndarray
    errors: np.ndarray
    dm: np.ndarray | None
    cutoff: float
    longest: float | None

    @property
    def distances(self) -> np.ndarray:
        """Pair distances (n,) in Å."""
        return np.linalg.norm(self.vectors, axis=1)


def predict_crystal(model: PairModel, atoms: Atoms, cutoff: float | None = None) -> CrystalCouplings:
    """Predict the couplings of the magnetic atoms of a crystal.

    Atoms of elements in the training pairs are magnetic. The environment of a pair is that of the cell as it is, repeated along one lattice
    vector if the two atoms are images of each other.

    Args:
        model: Trained model.
        atoms: Crystal, periodic in three directions.
        cutoff: Largest distance in Å; None: that of the training pairs, or 6 Å if the model has no distances.

    Raises:
        BadInput: The structure is not a crystal, has no or too many pairs within the cutoff, or has an element that the model does not
            know, or the cutoff exceeds what the model supports.
    """
    if not atoms.pbc.all():
        raise BadInput("couplings need a crystal that is periodic in three directions")
    known = set(model.elements)
    hosts = None
    if model.pairs.atoms is not None:
        hosts = {symbol for each in model.pairs.atoms for symbol in each.get_chemical_symbols()}
        if strange := sorted(set(atoms.get_chemical_symbols()) - hosts):
            raise BadInput(f"{', '.join(strange)}: not in the training data of the model, which contain {', '.join(sorted(hosts))}")
    sites = np.flatnonzero([symbol in known for symbol in atoms.get_chemical_symbols()])
    if not len(sites):
        formula = atoms.get_chemical_formula()
        raise BadInput(f"{formula}: no atom is of an element with couplings in the training data, which are {', '.join(sorted(known))}")
    longest = None if model.pairs.kind == "elements alone" else float(model.pairs.distances.max())
    cutoff = (longest or 6.0) if cutoff is None else cutoff
    if hosts is not None and cutoff > LONGEST:
        raise BadInput(f"a cutoff of {cutoff:g} Å is too long; give at most {LONGEST:g} Å")
    _refuse_many(atoms, sites, cutoff)
    first, second, shifts = pairs_within(atoms, sites, cutoff)
    if len(first) > MOST_PAIRS:
        raise BadInput(f"there are {len(first)} pairs within {cutoff:g} Å, more than {MOST_PAIRS}; give a smaller cutoff")
    places = np.column_stack([sites[first], sites[second]])
    vectors = atoms.positions[places[:, 1]] - atoms.positions[places[:, 0]] + shifts @ atoms.cell.array
    lengths = np.linalg.norm(vectors, axis=1)
    names = [tuple(sorted((atoms[int(i)].symbol, atoms[int(j)].symbol))) for i, j in places]
    if hosts is not None:
        classes = _equivalent(atoms, sites, first, second, shifts)
    else:
        classes = _alike(names, lengths if longest is not None else np.zeros(len(names)))
    # The shortest pair stands for its class, which matters if the model has no distances.
    order = np.lexsort((lengths, classes))
    chosen = order[np.unique(classes[order], return_index=True)[1]]
    chosen = chosen[np.argsort(lengths[chosen], kind="stable")]
    if hosts is not None and len(chosen) > MOST_CLASSES:
        raise BadInput(f"there are {len(chosen)} different pairs within {cutoff:g} Å, more than {MOST_CLASSES}; give a smaller cutoff")
    elements = [(atoms[int(i)].symbol, atoms[int(j)].symbol) for i, j in places[chosen]]
    unknown = np.full(len(chosen), np.nan)
    if hosts is not None:
        frames = [_frame(atoms, int(places[k, 0]), int(places[k, 1]), shifts[k]) for k in chosen]
        asked = Pairs.of_crystals([frame for frame, _ in frames], np.array([own for _, own in frames]), vectors[chosen], unknown)
    else:
        asked = Pairs.of_elements(elements, unknown, lengths[chosen] if longest is not None else None)
    found = model.predict(asked)
    return CrystalCouplings(
        tuple(elements), places[chosen], vectors[chosen], np.bincount(classes)[classes[chosen]], found.couplings, found.errors,
        None if found.dm is None else np.linalg.norm(found.dm, axis=1), cutoff, longest,
    )  # fmt: skip


def _refuse_many(atoms: Atoms, sites: np.ndarray, cutoff: float) -> None:
    """Raise `BadInput` before a list of pairs is made that would be far too long."""
    expected = 2.1 * cutoff**3 * len(sites) ** 2 / atoms.get_volume()
    if expected > 10 * MOST_PAIRS:
        raise BadInput(f"there are about {expected:.1g} pairs within {cutoff:g} Å, more than {MOST_PAIRS}; give a smaller cutoff")


def _equivalent(atoms: Atoms, sites: np.ndarray, first: np.ndarray, second: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Return the class (p,) of each pair under the space group; every pair is its own class if no space group is found."""
    try:
        return pair_map(atoms, sites, first, second, shifts).orbit
    except NucleateError:
        return np.arange(len(first))


def _alike(names: list[tuple[str, ...]], lengths: np.ndarray) -> np.ndarray:
    """Return the class (p,) of each pair by its elements and its distance."""
    order = np.argsort(lengths, kind="stable")
    shell = np.empty(len(lengths), dtype=int)
    shell[order] = np.cumsum(np.diff(lengths[order], prepend=lengths[order[:1]]) > SAME)
    table: dict[tuple[tuple[str, ...], int], int] = {}
    return np.array([table.setdefault((name, int(k)), len(table)) for name, k in zip(names, shell, strict=True)])


def _frame(atoms: Atoms, i: int, j: int, shift: np.ndarray) -> tuple[Atoms, tuple[int, int]]:
    """Return the crystal of a pair and the two atoms in it, which must be distinct; see `predict_crystal`."""
    if i != j:
        return atoms, (i, j)
    axis = int(np.argmax(shift != 0))
    # The two atoms are distinct in a cell repeated n times if n does not divide the displacement.
    count = next(n for n in range(2, 100) if shift[axis] % n)
    repeats = [count if k == axis else 1 for k in range(3)]
    return atoms.repeat(repeats), (i, i + int(shift[axis] % count) * len(atoms))
