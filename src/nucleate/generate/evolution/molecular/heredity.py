"""Cut and splice of two crystals of whole molecules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nucleate.generate.evolution.attempts import first_placed
from nucleate.generate.evolution.heredity import CUTS, THICKNESS, mean_cell, similar_vectors
from nucleate.generate.evolution.lattice_choices import cell_of
from nucleate.generate.evolution.molecular.bodies import Bodies, Contents, bodies_of
from nucleate.generate.evolution.molecular.contacts import finished_molecules
from nucleate.generate.evolution.splicing import Spliced, depth_in_slab, mismatch, repaired
from nucleate.generate.tries import NotPlaced


@dataclass(frozen=True, eq=False)
class MoleculeHeredity:
    """Cut and splice of two crystals, whose molecules stay whole.

    Lattice vectors, slabs and the cell are chosen as in `Heredity` without alignment, by the centroids of the molecules. Surplus molecules
    of a kind are removed and missing ones are taken from the discarded slabs, those closest to the cuts first. Each molecule keeps its
    geometry and is rotated with the lattice vectors of its parent; a choice of lattice vectors of negative determinant gives its mirror
    image.

    Whole molecules in heredity: Q. Zhu, A. R. Oganov, C. W. Glass and H. T. Stokes, Acta Cryst. B 68, 215 (2012),
    doi:10.1107/S0108768112017466.

    Attributes:
        contents: molecules of the search.
    """

    contents: Contents

    name = "molecule-heredity"
    parents = 2

    def __call__(self, parents: Sequence[Atoms], rng: np.random.Generator) -> Atoms:
        """Return a child of slabs of both parents.

        Raises:
            NotPlaced: a parent has other molecules than the search, or molecules of all children tried are too close.
        """
        pair = [bodies_of(self.contents, atoms) for atoms in parents]
        if rng.random() < 0.5:
            pair.reverse()
        return first_placed(lambda: finished_molecules(self.contents, self._spliced(pair[0], pair[1], rng)))

    def _spliced(self, first: Bodies, second: Bodies, rng: np.random.Generator) -> Bodies:
        """Return the molecules of two slabs."""
        points = similar_vectors(first.points, second.points, rng)
        counts = np.array(self.contents.counts)
        thickness = rng.uniform(*THICKNESS, size=(CUTS, 1))
        shifts = rng.random((2, CUTS, 3))
        along = [sites.scaled[:, 0] + shift[:, :1] for sites, shift in zip(points, shifts, strict=True)]
        depth = np.concatenate([depth_in_slab(along[0], thickness), -depth_in_slab(along[1], thickness)], axis=1)
        kinds = np.concatenate([first.kinds, second.kinds])
        # A slab that holds no molecule, or all of them, would make a copy of one parent.
        wrong = mismatch(depth > 0.0, kinds, counts).astype(float)
        own = (depth[:, : len(first.kinds)] > 0.0).sum(axis=1)
        wrong[(own == 0) | (own == len(first.kinds))] += counts.sum()
        best = int(np.argmin(wrong))
        scaled = np.concatenate([sites.scaled + shift[best] for sites, shift in zip(points, shifts, strict=True)])
        cell = cell_of(*mean_cell(points[0], points[1], float(thickness[best, 0]), rng))
        kept = repaired(Spliced(scaled, kinds, depth[best], np.arange(len(kinds))), counts, cell, self.contents.distances)
        if kept is None:
            raise NotPlaced("the molecules of the child could not be repaired")
        turned = [
            shape @ _rotation(sites.cell, cell)
            for sites, bodies in zip(points, (first, second), strict=True)
            for shape in bodies.shapes
        ]  # fmt: skip
        return Bodies(scaled[kept], tuple(turned[k] for k in kept), kinds[kept], cell)


def _rotation(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the orthogonal part R of the deformation of one cell into another, for which positions become `positions @ R`."""
    u, _, vt = np.linalg.svd(np.linalg.inv(start) @ end)
    return np.asarray(u @ vt)
