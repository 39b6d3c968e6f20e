"""Generator of candidates from the user's structures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import make_supercell

from nucleate.crystals.checks import check_structure, refuse_constraints, refuse_moments
from nucleate.crystals.formula import formula_text, scale_formula
from nucleate.crystals.io import read_structures
from nucleate.errors import BadInput, GenerationFailed
from nucleate.generate.base import Candidate
from nucleate.generate.lattices import compact

SYMPREC = 0.01  # Å


class SeedGenerator:
    """Generator that proposes each structure of the user's files once.

    A structure is brought to the exact atom count: by its primitive cell, or by repeating it.

    Args:
        sources: a file that ASE can read (all its frames are taken), several, or structures.
        counts: atoms of each species in the cell.

    Raises:
        BadInput: a file cannot be read, or a structure does not have this composition; names file and frame.
    """

    name = "seed"

    def __init__(self, sources: str | Path | Atoms | Sequence[str | Path | Atoms], counts: dict[str, int]):
        self.counts = dict(counts)
        self.candidates = [Candidate(_fit(atoms, self.counts, where), "seed", -1, details) for atoms, where, details in _read_all(sources)]
        self.handed_out = 0

    @property
    def left(self) -> int:
        """Structures not handed out yet."""
        return len(self.candidates) - self.handed_out

    def propose(self, n: int, rng: np.random.Generator) -> list[Candidate]:
        """The next `n` structures; raises `GenerationFailed` if fewer are left."""
        if n > self.left:
            raise GenerationFailed(
                f"asked for {n} seed structures of {formula_text(self.counts)}, {self.left} left of the "
                f"{len(self.candidates)} given; add files or let random generators make the rest"
            )
        chosen = self.candidates[self.handed_out : self.handed_out + n]
        self.handed_out += n
        return [Candidate(c.atoms.copy(), c.origin, c.seed, dict(c.details)) for c in chosen]


def _read_all(sources) -> list[tuple[Atoms, str, dict]]:
    if isinstance(sources, str | Path | Atoms):
        sources = [sources]
    found: list[tuple[Atoms, str, dict]] = []
    for number, source in enumerate(sources):
        if isinstance(source, Atoms):
            found.append((source, f"seed structure {number}", {"structure": number}))
            continue
        path = Path(source)
        for frame, atoms in enumerate(read_structures(path)):
            found.append((atoms, f"{path}, frame {frame}", {"file": str(path), "frame": frame}))
    if not found:
        raise BadInput("no seed structures given; name at least one file")
    return found


def _fit(atoms: Atoms, counts: dict[str, int], where: str) -> Atoms:
    """The structure with exactly `counts` atoms, or `BadInput` saying what is wrong where."""
    check_structure(atoms, where)
    refuse_constraints(atoms, where)
    refuse_moments(atoms, where, "a search starts every calculation from reference.magnetic_moments")
    bare = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
    own = _counts(bare)
    if scale_formula(own, 1) != {s: scale_formula(counts, 1).get(s) for s in own} or len(own) != len(counts):
        raise BadInput(
            f"{where}: its composition is {formula_text(own)}, not that of {formula_text(counts)}; give structures of the same compound"
        )
    wanted = sum(counts.values())
    if wanted % len(bare):
        bare = _primitive(bare)
    if wanted % len(bare):
        raise BadInput(
            f"{where}: its primitive cell holds {len(bare)} atoms, of which no whole number makes the "
            f"{wanted} of {formula_text(counts)}; search in a cell with a multiple of {len(bare)} atoms"
        )
    bare = _on_short_vectors(bare)
    if wanted > len(bare):
        repeats = _most_compact(np.array(bare.cell), wanted // len(bare))
        bare = _on_short_vectors(make_supercell(bare, repeats))
    rank = {symbol: i for i, symbol in enumerate(counts)}
    return bare[np.argsort([rank[s] for s in bare.get_chemical_symbols()], kind="stable")]


def _on_short_vectors(atoms: Atoms) -> Atoms:
    scaled, cell = compact(atoms.get_scaled_positions(), np.array(atoms.cell))
    return Atoms(numbers=atoms.numbers, scaled_positions=scaled, cell=cell, pbc=True)


def _counts(atoms: Atoms) -> dict[str, int]:
    symbols, numbers = np.unique(atoms.get_chemical_symbols(), return_counts=True)
    return {str(s): int(n) for s, n in zip(symbols, numbers, strict=True)}


def _primitive(atoms: Atoms) -> Atoms:
    import spglib

    cell = (atoms.cell.tolist(), atoms.get_scaled_positions().tolist(), atoms.numbers.tolist())
    try:
        found = spglib.standardize_cell(cell, to_primitive=True, no_idealize=True, symprec=SYMPREC)
    except Exception:  # spglib 2.7 and later raise where older ones return None; either way no smaller cell is known
        found = None
    if found is None:
        return atoms
    lattice, scaled, numbers = found
    return Atoms(numbers=numbers, scaled_positions=scaled, cell=lattice, pbc=True)


def _most_compact(cell: np.ndarray, copies: int) -> np.ndarray:
    """Supercell matrix (Hermite form) whose reduced cell has the shortest longest vector."""
    best, shortest = np.eye(3, dtype=int), np.inf
    for matrix in _hermite(copies):
        _, reduced = compact(np.zeros((1, 3)), matrix @ cell)
        longest = float(np.linalg.norm(reduced, axis=1).max())
        if longest < shortest - 1e-6:
            best, shortest = matrix, longest
    return best


def _hermite(copies: int) -> list[np.ndarray]:
    """Hermite normal forms of this determinant; diagonal ones only beyond 16 copies (there are thousands)."""
    found = []
    for a in (d for d in range(1, copies + 1) if copies % d == 0):
        for b in (d for d in range(1, copies // a + 1) if (copies // a) % d == 0):
            c = copies // a // b
            offsets = [(x, y, z) for x in range(b) for y in range(c) for z in range(c)] if copies <= 16 else [(0, 0, 0)]
            found += [np.array([[a, x, y], [0, b, z], [0, 0, c]]) for x, y, z in offsets]
    return found
