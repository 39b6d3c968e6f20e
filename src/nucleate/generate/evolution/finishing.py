"""The last step of every operator for crystals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from nucleate.generate.distances import closest_fit, image_shifts
from nucleate.generate.evolution.base import limits
from nucleate.generate.evolution.sites import Sites, numbers_of
from nucleate.generate.evolution.symmetry import averaged, operations
from nucleate.generate.lattices import compact
from nucleate.generate.packing import Packing
from nucleate.generate.soft_spheres import TARGET, push_apart
from nucleate.generate.tries import NotPlaced

ROUNDING = 1e-9
"""Relative error of a distance that is as large as its limit."""
EXACT = 1e-5
"""Tolerance of the symmetry that a child keeps while atoms are pushed apart, Å."""


def finished(packing: Packing, sites: Sites, parents: Sequence[Atoms], volume: float | None = None) -> Atoms:
    """Return the child of an operator: sorted by species, in a compact cell, with all distances within the limits.

    Atoms that are too close are pushed apart. A child that is symmetric before remains so.

    Args:
        packing: species and numbers of atoms of the search.
        sites: atoms of the child, in any order and in any cell.
        parents: structures of which the child was made; they determine the smallest distances together with `packing`.
        volume: volume to which the child is scaled, Å³; None for that of `sites`.

    Raises:
        NotPlaced: the child has other atoms than the search, its cell is flat or too thin for an atom and its image, or atoms cannot be
            pushed apart.
    """
    if not np.array_equal(np.bincount(sites.species, minlength=len(packing.symbols)), packing.counts):
        raise NotPlaced("the child does not have the composition of the search")
    if not np.isfinite(sites.scaled).all() or not np.isfinite(sites.cell).all() or sites.volume < 1e-3 * packing.n_atoms:
        raise NotPlaced("the cell of the child is flat")
    order = np.argsort(sites.species, kind="stable")
    species = sites.species[order]
    factor = 1.0 if volume is None else (volume / sites.volume) ** (1 / 3)
    try:
        scaled, cell = compact(sites.scaled[order], sites.cell * factor)
    except RuntimeError:  # the reduction of very skewed cells may not converge
        raise NotPlaced("the cell of the child is flat") from None
    smallest = limits(packing, parents)[np.ix_(species, species)]
    if np.linalg.norm(cell, axis=1).min() < smallest.diagonal().max():
        raise NotPlaced("a lattice vector of the child is shorter than the smallest distance")
    if closest_fit(scaled, cell, smallest) < 1.0:
        exact = operations(Sites(scaled, cell, species), EXACT)
        # The steps are symmetric as well, but they multiply rounding errors.
        project = (lambda moved: averaged(moved, exact)) if len(exact) else None
        apart = push_apart(scaled, smallest, cell, image_shifts(cell, TARGET * float(smallest.max())), project)
        if apart is None:
            raise NotPlaced("the atoms of the child could not be pushed apart")
        scaled = apart % 1.0 % 1.0
        if closest_fit(scaled, cell, smallest) < 1.0 - ROUNDING:
            raise NotPlaced("atoms of the child are too close")
    return Atoms(numbers=numbers_of(packing, species), scaled_positions=scaled, cell=cell, pbc=True)
