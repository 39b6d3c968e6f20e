"""Placing atoms on the orbits of a symmetry group: of a crystal, a layer or a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np

from nucleate.generate.base import Candidate
from nucleate.generate.distances import closest_fit, image_shifts, squared_distances
from nucleate.generate.packing import Packing
from nucleate.generate.tries import NotPlaced
from nucleate.generate.wyckoff import Combination, GroupSites

PICKS = 300
"""Largest number of groups and distributions tried for one structure."""
LATTICES = 4
"""Number of lattices or shapes tried for one distribution."""
POINTS = 24
"""Number of random points tried for one orbit."""


class Distributions(Protocol):
    """Distributions of a composition over the sites of a group."""

    @property
    def group(self) -> GroupSites:
        """The group."""
        ...

    def draw(self, rng: np.random.Generator) -> Combination | None:
        """Return a random distribution; None if none was found."""
        ...


Filling = TypeVar("Filling", bound=Distributions)


def random_placement(
    fillings: Sequence[Filling],
    place: Callable[[Filling, Combination, np.random.Generator], Candidate | None],
    seed: int,
    what: str,
    drawn: Callable[[Filling], None] | None = None,
    weights: np.ndarray | None = None,
) -> Candidate:
    """Return a structure with a random group and random sites.

    Args:
        fillings: distributions over the sites of each group.
        place: places the atoms on a combination of sites; returns None if they are too close.
        seed: random seed of the structure.
        what: kind of the groups, for the error.
        drawn: called with the distributions of each group that is drawn.
        weights: (n_fillings,) relative frequencies of the groups; None: equal.

    Raises:
        NotPlaced: the atoms could not be placed.
    """
    rng = np.random.default_rng(seed)
    shares = None if weights is None else np.asarray(weights, dtype=float) / np.sum(weights)
    for _ in range(PICKS):
        filling = fillings[int(rng.integers(len(fillings))) if shares is None else int(rng.choice(len(fillings), p=shares))]
        if drawn is not None:
            drawn(filling)
        combination = filling.draw(rng)
        if combination is None:
            continue
        for _ in range(LATTICES):
            candidate = place(filling, combination, rng)
            if candidate is not None:
                candidate.seed = seed
                return candidate
    raise NotPlaced(f"the atoms could not be placed in {PICKS} random choices of {what} and sites")


def place_orbits(
    group: GroupSites,
    combination: Combination,
    packing: Packing,
    cell: np.ndarray,
    rng: np.random.Generator,
    draw: Callable[[int], np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Place atoms on a combination of sites, one orbit after another, at random free coordinates.

    Args:
        group: the space group, layer group or point group.
        combination: pairs (species, site).
        packing: smallest distances.
        cell: (3, 3) primitive lattice vectors as rows, Å.
        rng: random number generator.
        draw: returns a number of random points, (n, 3) fractional; None: points of the whole cell.

    Returns:
        (N, 3) fractional positions and (N,) species, sorted by species; None if atoms are too close.
    """
    shifts = image_shifts(cell, float(packing.min_distances.max()))
    placed = np.empty((0, 3))
    species: list[int] = []
    # Orbits without free coordinates are placed first, then the most constrained ones.
    for kind, index in sorted(combination, key=lambda pair: (group.sites[pair[1]].freedom, -group.sites[pair[1]].size)):
        site = group.sites[index]
        wanted = POINTS if site.freedom else 1
        points = rng.random((wanted, 3)) if draw is None else draw(wanted)
        orbits = np.einsum("mij,tj->tmi", site.rotations, points) + site.translations
        kinds = np.array([kind] * site.size + species)
        others = np.concatenate([orbits, np.broadcast_to(placed, (len(points), *placed.shape))], axis=1)
        # All atoms of an orbit have equivalent neighbourhoods, so it is sufficient to check the first one.
        squared = squared_distances(orbits[:, :1], others, cell, shifts)[:, 0]
        squared[:, 0, 0] = np.inf
        good = (squared >= packing.min_distances[kind, kinds][None, :, None] ** 2).all(axis=(1, 2))
        if not good.any():
            return None
        placed = np.concatenate([placed, orbits[int(np.argmax(good))]])
        species += [kind] * site.size
    rank = np.argsort(species, kind="stable")
    return placed[rank], np.array(species)[rank]


def check_placed(what: str, packing: Packing, scaled: np.ndarray, species: np.ndarray, cell: np.ndarray) -> None:
    """Raise `AssertionError` if a structure does not have the atoms of the packing, or some are too close."""
    counts = tuple(int(n) for n in np.bincount(species, minlength=len(packing.symbols)))
    if counts != packing.counts:
        raise AssertionError(f"{what}: {counts} atoms were placed instead of {packing.counts}")
    if closest_fit(scaled, cell, packing.min_distances[np.ix_(species, species)]) < 1.0 - 1e-6:
        raise AssertionError(f"{what}: atoms are too close in the reduced cell")
