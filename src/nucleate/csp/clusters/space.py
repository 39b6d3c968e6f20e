"""Space of a search of clusters: the atoms of one formula in a cubic box with vacuum."""

from __future__ import annotations

from ase import Atoms
from ase.geometry import minkowski_reduce

from nucleate.crystals.clusters import extent, gathered, image_distance, in_cube
from nucleate.csp.run_settings import RunSettings
from nucleate.csp.seeded_space import SeededSpace
from nucleate.errors import BadInput
from nucleate.generate.base import Candidate
from nucleate.generate.clusters import SWELLING, ClusterGenerator

NEAREST = 5.0
"""Smallest distance of a cluster of the user from its periodic images in the file, Å."""


class ClusterSpace(SeededSpace):
    """Clusters of one formula.

    Args:
        settings: settings of the search, without periodic directions.

    Raises:
        BadInput: the atoms do not fit the diameter, or a structure of the user is not a cluster of this formula.
    """

    def __init__(self, settings: RunSettings):
        own = settings.clusters
        made = ClusterGenerator(settings.counts, own.diameter, own.vacuum, settings.generate)
        super().__init__(settings, made)
        self.diameter = made.diameter
        self.box = self.diameter + own.vacuum
        if settings.seeds_from is not None:
            self._seeds = self._read(settings.seeds_from)

    def _read(self, source: str) -> list[Candidate]:
        """Return the structures of the user in the middle of the box of the search."""
        made = []
        for atoms, where, details in self.given(source, "clusters", open_directions=True):
            positions = gathered(atoms)
            gap = image_distance(positions, minkowski_reduce(atoms.cell.array)[0])
            if gap < NEAREST:
                raise BadInput(f"{where}: is not a cluster: its periodic images are {gap:.1f} Å apart; give isolated clusters only")
            if extent(positions) > self.diameter + SWELLING:
                largest = f"clusters.diameter = {self.diameter:.1f}"
                raise BadInput(f"{where}: two atoms are {extent(positions):.1f} Å apart, more than {largest}; increase it")
            made.append(Candidate(in_cube(Atoms(atoms.numbers, positions), self.box), "seed", -1, details))
        return made

    def holds(self, atoms: Atoms) -> bool:
        """Return whether a structure has the atoms of the search and is not larger than the search allows."""
        return super().holds(atoms) and extent(atoms.positions) <= self.diameter + SWELLING
