"""Space of a search of clusters: the atoms of one formula in a cubic box with vacuum."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce

from nucleate.crystals.clusters import extent, gathered, image_distance, in_box
from nucleate.crystals.formula import formula_text
from nucleate.csp.run_settings import RunSettings
from nucleate.csp.space import FormulaSpace
from nucleate.errors import BadInput
from nucleate.generate.base import Candidate
from nucleate.generate.clusters import SWELLING, ClusterGenerator
from nucleate.generate.mixture import MixtureGenerator
from nucleate.generate.seeds import read_seeds, refuse_what_is_not_used

NEAREST = 5.0
"""Smallest distance of a cluster of the user from its periodic images in the file, Å."""


class ClusterSpace(FormulaSpace):
    """Clusters of one formula.

    Args:
        settings: settings of the search, without periodic directions.

    Raises:
        BadInput: the atoms do not fit the diameter, or a structure of the user is not a cluster of this formula.
    """

    def __init__(self, settings: RunSettings):
        super().__init__(settings)
        own = settings.clusters
        self._made = ClusterGenerator(self.counts, own.diameter, own.vacuum, settings.generate)
        self.diameter = self._made.diameter
        self.box = self.diameter + own.vacuum
        self._seeds = [] if settings.seeds_from is None else self._read(settings.seeds_from)

    def _read(self, source: str) -> list[Candidate]:
        """Return the structures of the user in the middle of the box of the search."""
        made = []
        for atoms, where, details in read_seeds(source, open_directions=True):
            refuse_what_is_not_used(atoms, where)
            counts = {s: atoms.get_chemical_symbols().count(s) for s in self.counts}
            if counts != self.counts or len(atoms) != sum(counts.values()):
                found = atoms.get_chemical_formula()
                raise BadInput(f"{where}: contains {found} and not {formula_text(self.counts)}; give clusters with the atoms of the search")
            positions = gathered(atoms)
            gap = image_distance(positions, minkowski_reduce(atoms.cell.array)[0])
            if gap < NEAREST:
                raise BadInput(f"{where}: is not a cluster: its periodic images are {gap:.1f} Å apart; give isolated clusters only")
            if extent(positions) > self.diameter + SWELLING:
                largest = f"clusters.diameter = {self.diameter:.1f}"
                raise BadInput(f"{where}: two atoms are {extent(positions):.1f} Å apart, more than {largest}; increase it")
            order = np.argsort([list(self.counts).index(symbol) for symbol in atoms.get_chemical_symbols()], kind="stable")
            made.append(Candidate(in_box(Atoms(atoms.numbers, positions), self.box)[order], "seed", -1, details))
        return made

    @property
    def seeds(self) -> int:
        """Number of structures of the user."""
        return len(self._seeds)

    def holds(self, atoms: Atoms) -> bool:
        """Return whether a structure has the atoms of the search and is not larger than the search allows."""
        return super().holds(atoms) and extent(atoms.positions) <= self.diameter + SWELLING

    def propose(self, n: int, rng: np.random.Generator, with_seeds: bool) -> list[Candidate]:
        """Return `n` candidates."""
        own = [Candidate(c.atoms.copy(), c.origin, c.seed, dict(c.details)) for c in self._seeds[:n]] if with_seeds else []
        return own + (MixtureGenerator([(self._made, 1.0)]).propose(n - len(own), rng) if n > len(own) else [])
