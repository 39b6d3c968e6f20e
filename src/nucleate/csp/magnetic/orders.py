"""Symmetric collinear orders of a crystal: ferromagnetic, and antiferromagnetic in its primitive cell and the doublings of it.

An order gives each magnetic atom a sign. The antiferromagnetic orders are those with one propagation vector q and without a net moment
on each set of equivalent atoms, for which the operations of the crystal that keep all signs, or reverse all of them, still connect all
atoms of the set. Without spin-orbit coupling every operation may be combined with a reversal of all spins, so that the moments of the set
then have one magnitude.

A doubling of the cell is the lattice of the translations n, integers in units of the primitive vectors, with an even sum h . n, where each
component of h is 0 or 1 and q = h / 2. There are seven, and the point group of the crystal makes some of them equivalent. The sign of
atom a in the cell n is s(a) (-1)^(h . n).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import spglib
from ase import Atoms
from ase.geometry import minkowski_reduce

from nucleate.fingerprints.matching import idealised

TOLERANCE = 1e-3
"""Tolerance of the symmetry of a symmetrised crystal, Å."""
MOST_SITES = 14
"""Largest number of magnetic atoms in a primitive cell for which antiferromagnetic orders are enumerated."""


@dataclass(frozen=True)
class Order:
    """A magnetic order of a crystal.

    Attributes:
        name: `FM`, `FiM` (starting moments of both signs without reversal of an element), `AFM type I` or `AFM type II` on face-centred
            cubic lattices, or the propagation vector in units of the conventional reciprocal vectors, such as `AFM q=(1/2 0 0)`.
        atoms: the smallest cell of the order, with starting moments in Bohr magnetons.
    """

    name: str
    atoms: Atoms


@dataclass(frozen=True)
class _Crystal:
    """Primitive cell with its operations on the magnetic atoms.

    Attributes:
        atoms: primitive cell.
        sites: (M,) indices of its magnetic atoms.
        rotations: (G, 3, 3) integer rotations of fractional coordinates.
        images: (G, M) place of the site on which each operation puts a site.
        shifts: (G, M, 3) lattice translation that leads from that site to the image.
        orbits: (M,) number of the set of equivalent sites.
        standard: (3, 3) transformation of fractional coordinates to those of the conventional cell.
    """

    atoms: Atoms
    sites: np.ndarray
    rotations: np.ndarray
    images: np.ndarray
    shifts: np.ndarray
    orbits: np.ndarray
    standard: np.ndarray


def magnetic_orders(atoms: Atoms, moments: dict[str, float]) -> list[Order]:
    """Return the orders of a crystal, the ferromagnetic one first; none without a magnetic atom or if spglib fails.

    Args:
        atoms: the crystal, whose symmetry within 0.1 Å is made exact.
        moments: starting moment of each element, Bohr magnetons.
    """
    crystal = _crystal(atoms, moments)
    if crystal is None:
        return []
    start = np.array([moments.get(symbol, 0.0) for symbol in crystal.atoms.get_chemical_symbols()])
    signs = np.sign(start[crystal.sites])
    plain = crystal.atoms.copy()
    plain.set_initial_magnetic_moments(start)
    orders = [Order("FM" if (signs == signs[0]).all() else "FiM", plain)]
    if len(crystal.sites) <= MOST_SITES:
        for h in _doublings(crystal):
            orders += [Order(_name(crystal, h), _ordered(crystal, h, signs, start)) for signs in _sign_patterns(crystal, h)]
    return [Order(name, order.atoms) for name, order in zip(_distinct([order.name for order in orders]), orders, strict=True)]


def _crystal(atoms: Atoms, moments: dict[str, float]) -> _Crystal | None:
    """Return the primitive cell of a crystal with its operations; None without a magnetic atom or if spglib fails."""
    exact = idealised(atoms)
    primitive = spglib.standardize_cell(_cell(exact), to_primitive=True, no_idealize=True, symprec=TOLERANCE)
    if primitive is None:
        return None
    cell, scaled, numbers = primitive
    plain = Atoms(numbers=numbers, scaled_positions=scaled, cell=cell, pbc=True)
    sites = np.flatnonzero([abs(moments.get(symbol, 0.0)) > 0 for symbol in plain.get_chemical_symbols()])
    dataset = spglib.get_symmetry_dataset(_cell(plain), symprec=TOLERANCE)
    if dataset is None or not len(sites):
        return None
    places = plain.get_scaled_positions(wrap=False)[sites]
    moved = np.einsum("gij,aj->gai", dataset.rotations, places) + dataset.translations[:, None]
    apart = moved[:, :, None] - places
    away = np.linalg.norm((apart - np.round(apart)) @ plain.cell.array, axis=-1)
    # Sites of different elements are never on one another.
    images = away.argmin(axis=2)
    shifts = np.round(np.take_along_axis(apart, images[:, :, None, None], axis=2)[:, :, 0]).astype(int)
    return _Crystal(plain, sites, dataset.rotations, images, shifts, images.min(axis=0), dataset.transformation_matrix)


def _cell(atoms: Atoms) -> tuple[list[list[float]], list[list[float]], list[int]]:
    """Return a structure in the form of spglib."""
    return atoms.cell.tolist(), atoms.get_scaled_positions().tolist(), atoms.numbers.tolist()


def _doublings(crystal: _Crystal) -> list[np.ndarray]:
    """Return one vector h of each set of equivalent doublings, the primitive cell (h = 0) first."""
    found: list[np.ndarray] = []
    seen: set[tuple[int, ...]] = set()
    for h in itertools.product((0, 1), repeat=3):
        if h not in seen:
            found.append(np.array(h))
            seen |= _star(np.array(h), crystal.rotations)
    return found


def _star(h: np.ndarray, rotations: np.ndarray) -> set[tuple[int, ...]]:
    """Return the vectors h on which rotations put a doubling."""
    turned = np.round(np.linalg.inv(rotations).transpose(0, 2, 1) @ h).astype(int) % 2
    return {tuple(int(x) for x in row) for row in turned}


def _sign_patterns(crystal: _Crystal, h: np.ndarray) -> list[np.ndarray]:
    """Return the (M,) signs s(a) of the inequivalent orders of a doubling."""
    kept = ((crystal.rotations.transpose(0, 2, 1) @ h - h) % 2 == 0).all(axis=1)
    images = crystal.images[kept]
    factors = 1 - 2 * ((crystal.shifts[kept] @ h) % 2)
    found: list[np.ndarray] = []
    seen: set[tuple[int, ...]] = set()
    for rest in itertools.product((1, -1), repeat=len(crystal.sites) - 1):
        signs = np.array((1, *rest))
        if tuple(signs.tolist()) in seen:
            continue
        if not h.any() and any(signs[crystal.orbits == orbit].sum() for orbit in set(crystal.orbits.tolist())):
            continue
        # Row g contains the signs of the pattern that operation g turns into this one.
        turned = signs[images] * factors
        turned = turned * turned[:, :1]
        seen |= {tuple(row) for row in turned.tolist()}
        if _connects(images[(turned == signs).all(axis=1)], crystal.orbits):
            found.append(signs)
    return found


def _connects(images: np.ndarray, orbits: np.ndarray) -> bool:
    """Return whether operations (K, M) connect all sites of each orbit."""
    return all(set(images[:, first].tolist()) == set(np.flatnonzero(orbits == orbit).tolist()) for orbit, first in _firsts(orbits))


def _firsts(orbits: np.ndarray) -> list[tuple[int, int]]:
    numbers, firsts = np.unique(orbits, return_index=True)
    return list(zip(numbers.tolist(), firsts.tolist(), strict=True))


def _ordered(crystal: _Crystal, h: np.ndarray, signs: np.ndarray, start: np.ndarray) -> Atoms:
    """Return the cell of an order with its starting moments."""
    plain = crystal.atoms.copy()
    moments = np.zeros(len(plain))
    moments[crystal.sites] = signs * np.abs(start[crystal.sites])
    plain.set_initial_magnetic_moments(moments)
    if not h.any():
        return plain
    odd = int(np.flatnonzero(h)[0])
    second = plain.copy()
    second.positions += plain.cell.array[odd]
    second.set_initial_magnetic_moments(0.0 - moments)
    both = plain + second
    basis = np.eye(3, dtype=int)
    basis[:, odd] += h
    # Rows: twice the odd vector, and the other vectors plus the odd one where their own component of h is odd.
    basis[odd] = 2 * np.eye(3, dtype=int)[odd]
    reduced = minkowski_reduce(basis @ plain.cell.array)[0]
    both.set_cell(reduced if np.linalg.det(reduced) > 0 else -reduced, scale_atoms=False)
    both.wrap()
    return both


def _name(crystal: _Crystal, h: np.ndarray) -> str:
    """Return the name of an antiferromagnetic order by its propagation vector."""
    if h.any() and len(crystal.sites) == 1:
        lattice = Atoms(numbers=[1], scaled_positions=[[0, 0, 0]], cell=crystal.atoms.cell, pbc=True)
        own = spglib.get_symmetry_dataset(_cell(lattice), symprec=TOLERANCE)
        if own is not None and own.number == 225:
            return "AFM type I" if len(_star(h, own.rotations)) == 3 else "AFM type II"
    return f"AFM q=({' '.join(str(Fraction(float(x)).limit_denominator(12)) for x in _shown_vector(crystal, h))})"


def _shown_vector(crystal: _Crystal, h: np.ndarray) -> np.ndarray:
    """Return q in units of the conventional reciprocal vectors: of all equivalent ones a shortest, with large first components."""
    reciprocal, to_standard = crystal.atoms.cell.reciprocal().array, np.linalg.inv(crystal.standard)
    steps = np.array(list(itertools.product(range(-2, 3), repeat=3)))
    all_q = np.concatenate([np.array(other) / 2 + steps for other in sorted(_star(h, crystal.rotations))])
    lengths = np.linalg.norm(all_q @ reciprocal, axis=1)
    shortest = np.round(all_q[lengths < lengths.min() + 1e-6] @ to_standard, 6) + 0.0
    result: np.ndarray = max(shortest, key=lambda q: (-int((q < 0).sum()), *q.tolist()))
    return result


def _distinct(names: Sequence[str]) -> list[str]:
    """Return names in which those that occur several times are followed by letters."""
    many = {name for name in names if names.count(name) > 1}
    count: dict[str, int] = {}
    shown = []
    for name in names:
        count[name] = count.get(name, 0) + 1
        shown.append(f"{name} {chr(ord('a') + (count[name] - 1) % 26)}" if name in many else name)
    return shown
