"""Generator of candidates from structures of the user."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from nucleate.crystals.checks import check_structure, refuse_constraints, refuse_moments
from nucleate.crystals.formula import formula_text, scale_formula
from nucleate.crystals.io import read_structures
from nucleate.errors import BadInput, GenerationFailed
from nucleate.generate.base import Candidate
from nucleate.generate.lattices import compact, hermite_forms

SYMPREC = 0.01
"""Tolerance of the symmetry of a structure for its primitive cell, Å."""


class SeedGenerator:
    """Generator that proposes each structure of the user's files once.

    A structure with another number of atoms is replaced by its primitive cell, or by a supercell of it.

    Args:
        sources: a structure or a file (of which all frames are used), or several of them.
        counts: number of atoms of each species in the cell.
        primitive: whether primitive cells are proposed, whatever their number of atoms.

    Raises:
        BadInput: a file cannot be read, or a structure does not have this composition; the message names file and frame.
    """

    name = "seed"

    def __init__(self, sources: str | Path | Atoms | Sequence[str | Path | Atoms], counts: dict[str, int], primitive: bool = False):
        self.counts = dict(counts)
        fit = _in_primitive_cell if primitive else in_cell_of
        self.candidates = [Candidate(fit(atoms, self.counts, where), "seed", -1, details) for atoms, where, details in read_seeds(sources)]
        self.handed_out = 0

    @property
    def left(self) -> int:
        """Number of structures that have not been proposed yet."""
        return len(self.candidates) - self.handed_out

    def propose(self, n: int, rng: np.random.Generator) -> list[Candidate]:
        """Return the next `n` structures; raise `GenerationFailed` if fewer are left."""
        if n > self.left:
            raise GenerationFailed(
                f"{n} seed structures of {formula_text(self.counts)} were requested, but only {self.left} of "
                f"{len(self.candidates)} are left; add files or use random generators for the rest"
            )
        chosen = self.candidates[self.handed_out : self.handed_out + n]
        self.handed_out += n
        return [Candidate(c.atoms.copy(), c.origin, c.seed, dict(c.details)) for c in chosen]


def read_seeds(sources: str | Path | Atoms | Sequence[str | Path | Atoms], open_directions: bool = False) -> list[tuple[Atoms, str, dict]]:
    """Return all structures with their place for error messages and their details; `open_directions` is that of `read_structures`."""
    if isinstance(sources, str | Path | Atoms):
        sources = [sources]
    structures: list[tuple[Atoms, str, dict]] = []
    for number, source in enumerate(sources):
        if isinstance(source, Atoms):
            structures.append((source, f"seed structure {number}", {"structure": number}))
            continue
        path = Path(source)
        for frame, atoms in enumerate(read_structures(path, open_directions)):
            structures.append((atoms, f"{path}, frame {frame}", {"file": str(path), "frame": frame}))
    if not structures:
        raise BadInput("no seed structures are given; name at least one file")
    return structures


def in_cell_of(atoms: Atoms, counts: dict[str, int], where: str) -> Atoms:
    """Return a structure in a cell with exactly these atoms: its own, its primitive cell, or the most compact supercell of it.

    Args:
        atoms: the structure.
        counts: number of atoms of each species in the cell.
        where: origin of the structure, for the error.

    Raises:
        BadInput: no such cell exists.
    """
    bare = _bare(atoms, where)
    own = _counts(bare)
    if scale_formula(own, 1) != {s: scale_formula(counts, 1).get(s) for s in own} or len(own) != len(counts):
        raise BadInput(
            f"{where}: the composition {formula_text(own)} is not that of {formula_text(counts)}; give structures of the same compound"
        )
    wanted = sum(counts.values())
    if wanted % len(bare):
        bare = primitive_cell(bare)
    if wanted % len(bare):
        raise BadInput(
            f"{where}: the primitive cell has {len(bare)} atoms, which does not divide the "
            f"{wanted} atoms of {formula_text(counts)}; search in a cell with a multiple of {len(bare)} atoms"
        )
    bare = _on_short_vectors(bare)
    if wanted > len(bare):
        # Every process would wait for this module.
        from ase.build import make_supercell

        repeats = _most_compact(np.array(bare.cell), wanted // len(bare))
        bare = _on_short_vectors(make_supercell(bare, repeats))
    return _in_order(bare, counts)


def _in_primitive_cell(atoms: Atoms, counts: dict[str, int], where: str) -> Atoms:
    """Return the structure in its primitive cell; raise `BadInput` if it cannot be searched."""
    return _in_order(searchable(atoms, where), counts)


def searchable(atoms: Atoms, where: str) -> Atoms:
    """Return a structure in its primitive cell on short lattice vectors; raise `BadInput` if it cannot be searched."""
    return _on_short_vectors(primitive_cell(_bare(atoms, where)))


def refuse_what_is_not_used(atoms: Atoms, where: str) -> None:
    """Raise `BadInput` if a structure has constraints or starting moments, which a search does not use."""
    refuse_constraints(atoms, where)
    refuse_moments(atoms, where, "a search starts every calculation from reference.magnetic_moments")


def _bare(atoms: Atoms, where: str) -> Atoms:
    """Return the atoms and the cell alone; raise `BadInput` for what a search does not use."""
    check_structure(atoms, where)
    refuse_what_is_not_used(atoms, where)
    return Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)


def _in_order(atoms: Atoms, counts: dict[str, int]) -> Atoms:
    """Return the structure with its atoms in the order of the species in `counts`."""
    rank = {symbol: i for i, symbol in enumerate(counts)}
    return atoms[np.argsort([rank[s] for s in atoms.get_chemical_symbols()], kind="stable")]


def _on_short_vectors(atoms: Atoms) -> Atoms:
    """Return the crystal with its shortest lattice vectors."""
    scaled, cell = compact(atoms.get_scaled_positions(), np.array(atoms.cell))
    return Atoms(numbers=atoms.numbers, scaled_positions=scaled, cell=cell, pbc=True)


def _counts(atoms: Atoms) -> dict[str, int]:
    symbols, numbers = np.unique(atoms.get_chemical_symbols(), return_counts=True)
    return {str(s): int(n) for s, n in zip(symbols, numbers, strict=True)}


def primitive_cell(atoms: Atoms) -> Atoms:
    """Return the primitive cell; the structure itself if spglib fails."""
    import spglib

    cell = (atoms.cell.tolist(), atoms.get_scaled_positions().tolist(), atoms.numbers.tolist())
    try:
        primitive = spglib.standardize_cell(cell, to_primitive=True, no_idealize=True, symprec=SYMPREC)
    except Exception:  # spglib 2.7 and later raise an exception where older versions return None
        primitive = None
    if primitive is None:
        return atoms
    lattice, scaled, numbers = primitive
    return Atoms(numbers=numbers, scaled_positions=scaled, cell=lattice, pbc=True)


def _most_compact(cell: np.ndarray, copies: int) -> np.ndarray:
    """Return the supercell matrix in Hermite form that minimises the longest vector of the reduced cell."""
    best, shortest = np.eye(3, dtype=int), np.inf
    for matrix in hermite_forms(copies):
        _, reduced = compact(np.zeros((1, 3)), matrix @ cell)
        longest = float(np.linalg.norm(reduced, axis=1).max())
        if longest < shortest - 1e-6:
            best, shortest = matrix, longest
    return best
