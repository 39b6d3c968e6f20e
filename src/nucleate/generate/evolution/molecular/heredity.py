"""Cut and splice of two crystals of whole molecules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nucleate.generate.evolution.alignment import Aligned, aligned, with_origins
from nucleate.generate.evolution.attempts import first_placed
from nucleate.generate.evolution.heredity import CUTS, THICKNESS, mean_cell, similar_vectors
from nucleate.generate.evolution.lattice_choices import cell_of
from nucleate.generate.evolution.molecular.bodies import Bodies, Contents, atomic_sites, bodies_of, orthogonal_between
from nucleate.generate.evolution.molecular.contacts import finished_molecules
from nucleate.generate.evolution.splicing import Spliced, depth_in_slab, mismatch, repaired
from nucleate.generate.evolution.symmetry import symmetric_metric
from nucleate.generate.tries import NotPlaced
from nucleate.molecules.molecule import connected
from nucleate.molecules.topology import centres


@dataclass(frozen=True, eq=False)
class MoleculeHeredity:
    """Cut and splice of two crystals, whose molecules stay whole.

    Lattice vectors, slabs and the cell are chosen as in `Heredity`, by the centroids of the molecules. Surplus molecules of a kind are
    removed and missing ones are taken from the discarded slabs, those closest to the cuts first. Each molecule keeps its geometry and is
    rotated with the lattice vectors of its parent; a choice of lattice vectors of negative determinant gives its mirror image.

    With a probability of 1/2 the parents are aligned by a symmetry operation that both have, as in `Heredity`, and the child has it if
    whole orbits of molecules give the composition, up to the differences between the geometries of their molecules.

    Whole molecules in heredity: Q. Zhu, A. R. Oganov, C. W. Glass and H. T. Stokes, Acta Cryst. B (2012),
    "Constrained evolutionary algorithm for structure prediction of molecular crystals".

    Attributes:
        contents: molecules of the search.
        alignment: probability of the symmetric alignment.
    """

    contents: Contents
    alignment: float = 0.5

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
        if rng.random() < self.alignment:
            try:
                both = aligned(atomic_sites(self.contents, pair[0]), atomic_sites(self.contents, pair[1]), rng)
                return first_placed(lambda: finished_molecules(self.contents, self._aligned(pair, both, rng)))
            except NotPlaced:
                pass  # parents without a common operation have children nevertheless
        return first_placed(lambda: finished_molecules(self.contents, self._free(pair[0], pair[1], rng)))

    def _free(self, first: Bodies, second: Bodies, rng: np.random.Generator) -> Bodies:
        """Return the molecules of freely chosen slabs."""
        points = similar_vectors(first.points, second.points, rng)
        thickness = rng.uniform(*THICKNESS, size=(CUTS, 1))
        shifts = rng.random((2, CUTS, 3))
        along = [sites.scaled[:, 0] + shift[:, :1] for sites, shift in zip(points, shifts, strict=True)]
        depth = np.concatenate([depth_in_slab(along[0], thickness), -depth_in_slab(along[1], thickness)], axis=1)
        kinds = np.concatenate([first.kinds, second.kinds])
        best = int(np.argmin(self._wrong(depth, kinds)))
        scaled = np.concatenate([sites.scaled + shift[best] for sites, shift in zip(points, shifts, strict=True)])
        cell = cell_of(*mean_cell(points[0], points[1], float(thickness[best, 0]), rng))
        shapes = [
            shape @ _rotation(sites.cell, cell)
            for sites, bodies in zip(points, (first, second), strict=True)
            for shape in bodies.shapes
        ]  # fmt: skip
        return self._joined([Spliced(scaled, kinds, depth[best], np.arange(len(kinds)))], shapes, cell)

    def _aligned(self, pair: Sequence[Bodies], both: tuple[Aligned, Aligned], rng: np.random.Generator) -> Bodies:
        """Return the molecules of slabs that the common operation of the parents maps onto themselves.

        Args:
            pair: molecules of the parents.
            both: atoms of the parents in the same order, with the common operation.
            rng: random number generator.
        """
        sizes = [len(shape) for shape in pair[0].shapes]
        parts = np.repeat(np.arange(len(sizes)), sizes)
        labels = [_molecules_of(parent.orbits, parts) for parent in both]
        orbits = np.concatenate([labels[0], labels[1] + len(sizes)])
        members = np.maximum(np.bincount(orbits, minlength=len(orbits)), 1)
        kinds = np.concatenate([bodies.kinds for bodies in pair])
        cuts = []
        for _ in range(CUTS):
            thickness = float(rng.uniform(*THICKNESS))
            scaled = np.concatenate([centres(sites.scaled, parts) for sites in with_origins(both, thickness, rng)])
            depth = depth_in_slab(scaled[:, 0], thickness) * np.repeat([1.0, -1.0], len(sizes))
            # Rounding must not separate molecules of an orbit that lie on the two cuts.
            depth = (np.bincount(orbits, depth, len(orbits)) / members)[orbits]
            cuts.append((thickness, Spliced(scaled, kinds, depth, orbits)))
        wrong = self._wrong(np.array([spliced.depth for _, spliced in cuts]), kinds)
        cuts = [cuts[k] for k in np.argsort(wrong, kind="stable")]
        metric, volume = mean_cell(both[0].sites, both[1].sites, cuts[0][0], rng)
        cell = cell_of(symmetric_metric(metric, both[0].rotation), volume)
        shapes = []
        for bodies, parent in zip(pair, both, strict=True):
            middle = centres(parent.sites.scaled, parts)
            relative = (parent.sites.scaled - middle[parts]) @ parent.sites.cell
            rotation = _rotation(parent.sites.cell, cell)
            # Atoms were averaged over the operation; the molecules keep their geometries.
            shapes += [own @ orthogonal_between(own, relative[parts == k], 1.0) @ rotation for k, own in enumerate(bodies.shapes)]
        return self._joined([spliced for _, spliced in cuts], shapes, cell)

    def _wrong(self, depth: np.ndarray, kinds: np.ndarray) -> np.ndarray:
        """Return for each of (T, M) depths how many molecules are to be added or removed, and more for a copy of one parent."""
        counts = np.array(self.contents.counts)
        inside = depth > 0.0
        wrong = mismatch(inside, kinds, counts).astype(float)
        own = inside[:, : counts.sum()].sum(axis=1)
        wrong[(own == 0) | (own == counts.sum())] += counts.sum()
        return wrong

    def _joined(self, choices: list[Spliced], shapes: list[np.ndarray], cell: np.ndarray) -> Bodies:
        """Return the molecules of the first choice that can be repaired; `shapes` are those of the molecules of both parents."""
        count = sum(self.contents.counts)
        for spliced in choices:
            kept = repaired(spliced, np.array(self.contents.counts), cell, self.contents.distances)
            # The repair may leave the molecules of one parent alone, which are a child only if there is one molecule.
            if kept is not None and (count == 1 or 0 < (kept < count).sum() < count):
                return Bodies(spliced.scaled[kept], tuple(shapes[k] for k in kept), spliced.species[kept], cell)
        raise NotPlaced("the molecules of the child could not be repaired")


def _molecules_of(orbits: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Return the (m,) orbit of each molecule from the (n,) orbits of the atoms and the molecule of each atom."""
    count = int(parts.max()) + 1
    # Molecules are in one orbit if any of their atoms are.
    labels = np.zeros(count, dtype=int)
    for k, linked in enumerate(connected(count + len(orbits), np.stack([parts, count + orbits], axis=1))):
        labels[linked[linked < count]] = k
    return np.unique(labels, return_inverse=True)[1]


def _rotation(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the orthogonal part R of the deformation of one cell into another, for which positions become `positions @ R`."""
    u, _, vt = np.linalg.svd(np.linalg.inv(start) @ end)
    return np.asarray(u @ vt)
