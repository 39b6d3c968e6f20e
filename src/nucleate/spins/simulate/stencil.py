"""Couplings of a supercell as offsets in an array with margins, so that fields are sums over contiguous rows of spins.

Every cell has the same couplings. The spins of one site of the cell form three arrays, one for each component, over the cells, with margins
as wide as the longest coupling that repeat the spins of the opposite side (and are zero along open directions). A neighbour is then at a
constant offset, tables of neighbours are not needed, and a loop over a row of cells uses vector instructions. The longest direction of the
supercell is that of the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from nucleate.spins.couplings import Couplings
from nucleate.spins.simulate.vector_math import INLINE, KERNEL
from nucleate.units import MU_B


class Stencil(NamedTuple):
    """Arguments of the kernels. Arrays of spins are (n, 3, t), with t the number of cells including margins.

    Attributes:
        rows: (r,) place of the first cell of each row within an array of t cells.
        length: Number of cells in a row.
        margin: Number of margin cells at either end of a row.
        closed: Whether the margins at the ends of a row repeat its cells.
        repeats: (length, 2) first and last cell, relative to the start of a row, at which each cell of the row is repeated.
        image_start: (r + 1,) offset of the images of each row in `images`.
        images: Places of the rows in the margins that repeat a row.
        start: (n + 1,) offset of the neighbours of each site in the next arrays.
        places: Place of each neighbour's first component in the flat array of spins, relative to the place of the cell.
        strengths: Isotropic couplings in meV.
        tensors: (k, 3, 3) coupling tensors in meV; empty if all couplings are isotropic.
        onsite: (n, 3, 3) on-site tensors in meV; empty if they have no anisotropic part.
        zeeman: (n, 3) Zeeman fields mu_B m B in meV.
        moments: (n,) moments in Bohr magnetons.
        classes: (n, 2) numbers of classes of each site across and along the rows of a plane: spins of a class do not interact.
        across: Number of rows in a plane.
        block: Number of rows of a plane whose fields are computed at once, with those of the margins between them.
    """

    rows: np.ndarray
    length: int
    margin: int
    closed: bool
    repeats: np.ndarray
    image_start: np.ndarray
    images: np.ndarray
    start: np.ndarray
    places: np.ndarray
    strengths: np.ndarray
    tensors: np.ndarray
    onsite: np.ndarray
    zeeman: np.ndarray
    moments: np.ndarray
    classes: np.ndarray
    across: int
    block: int


BLOCK = 256
"""Largest number of cells, including margins, in a block of rows: its fields stay in the cache."""


def make_stencil(
    couplings: Couplings,
    size: Sequence[int],
    periodic: Sequence[bool],
    onsite: np.ndarray,
    field: Sequence[float],
    axes: tuple[int, int, int],
    margins: tuple[int, int, int],
) -> Stencil:
    """Return the kernel arguments of a supercell.

    Args:
        couplings: Couplings of one cell.
        size: (3,) number of cells along each vector.
        periodic: (3,) periodicity along each vector.
        onsite: (n, 3, 3) on-site tensors in meV, with the couplings of a spin with its own images.
        field: Magnetic field in T.
        axes: Lattice vectors in the order of the arrays; the last is that of the rows.
        margins: Margins along these axes.
    """
    first, second, shifts, tensors = couplings.both_ways()
    sizes, closed = np.array(size)[list(axes)], np.array(periodic)[list(axes)]
    shifts = shifts[:, list(axes)]
    kept = _kept(first, second, shifts, sizes, closed)
    order = np.argsort(first[kept], kind="stable")
    first, second, shifts, tensors = (each[kept][order] for each in (first, second, shifts, tensors))
    padded = sizes + 2 * np.array(margins)
    strides = np.array([padded[1] * padded[2], padded[2], 1])
    strengths = np.trace(tensors, axis1=1, axis2=2) / 3
    scalar = bool(np.abs(tensors - strengths[:, None, None] * np.eye(3)).max(initial=0) < 1e-12)
    quadratic = onsite - np.trace(onsite, axis1=1, axis2=2)[:, None, None] / 3 * np.eye(3)
    inside = np.stack(np.meshgrid(np.arange(sizes[0]), np.arange(sizes[1]), indexing="ij"), -1).reshape(-1, 2)
    rows = (inside + margins[:2]) @ strides[:2] + margins[2]
    image_start, images = _images(sizes, closed, np.array(margins), strides)
    n = len(couplings.positions)
    length, margin = int(sizes[2]), margins[2]
    cells = np.arange(length)
    repeats = np.stack([cells - (cells + margin) // length * length, cells + (length + margin - 1 - cells) // length * length], axis=1)
    return Stencil(
        rows=rows.astype(np.int64), length=length, margin=margin, closed=bool(closed[2]),
        repeats=(repeats if closed[2] else np.stack([cells, cells], axis=1)).astype(np.int64), image_start=image_start,
        images=images, start=np.searchsorted(first, np.arange(n + 1)).astype(np.int64),
        places=(second * 3 * int(np.prod(padded)) + shifts @ strides).astype(np.int64), strengths=np.ascontiguousarray(strengths),
        tensors=np.empty((0, 3, 3)) if scalar else np.ascontiguousarray(tensors),
        onsite=np.ascontiguousarray(onsite) if np.abs(quadratic).max(initial=0) > 1e-12 else np.empty((0, 3, 3)),
        zeeman=MU_B * couplings.moments[:, None] * np.asarray(field, dtype=float), moments=couplings.moments,
        classes=np.array([_classes(shifts[(first == s) & (second == s)], sizes) for s in range(n)]), across=int(sizes[1]),
        block=min(int(sizes[1]), max(1, BLOCK // int(padded[2]))),
    )  # fmt: skip


def reach(couplings: Couplings, size: Sequence[int], periodic: Sequence[bool]) -> np.ndarray:
    """Return the largest displacement (3,) of the pairs that a supercell contains."""
    first, second, shifts, _ = couplings.both_ways()
    kept = _kept(first, second, shifts, np.array(size), np.array(periodic))
    found: np.ndarray = np.abs(shifts[kept]).max(axis=0, initial=0)
    return found


def _kept(first: np.ndarray, second: np.ndarray, shifts: np.ndarray, sizes: np.ndarray, closed: np.ndarray) -> np.ndarray:
    """Return which pairs couple different spins of the supercell."""
    leaves = (~closed & (np.abs(shifts) >= sizes)).any(axis=1)
    same = (first == second) & (shifts % sizes == 0).all(axis=1)
    kept: np.ndarray = ~leaves & ~same
    return kept


def _images(sizes: np.ndarray, closed: np.ndarray, margins: np.ndarray, strides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `image_start` and `images` of a stencil."""
    places = [np.arange(-m, k + m) for m, k in zip(margins[:2], sizes[:2], strict=True)]
    a, b = (each.ravel() for each in np.meshgrid(*places, indexing="ij"))
    outside = [(each < 0) | (each >= k) for each, k in zip((a, b), sizes, strict=False)]
    real = (outside[0] | outside[1]) & (closed[0] | ~outside[0]) & (closed[1] | ~outside[1])
    a, b = a[real], b[real]
    source = (a % sizes[0]) * sizes[1] + b % sizes[1]
    target = (a + margins[0]) * strides[0] + (b + margins[1]) * strides[1]
    order = np.argsort(source, kind="stable")
    start = np.searchsorted(source[order], np.arange(sizes[0] * sizes[1] + 1))
    return start.astype(np.int64), target[order].astype(np.int64)


def _classes(shifts: np.ndarray, sizes: np.ndarray) -> tuple[int, int]:
    """Return the smallest numbers of classes across and along rows such that spins of one site and class do not interact.

    Classes are residues; they divide the size, so that the order is the same across a periodic boundary.
    """
    within = shifts[shifts[:, 0] % sizes[0] == 0]
    choices = [(b, c) for b in _divisors(int(sizes[1])) for c in _divisors(int(sizes[2]))]
    for b, c in sorted(choices, key=lambda each: (each[0] * each[1], each[1])):
        if not ((within[:, 1] % b == 0) & (within[:, 2] % c == 0)).any():
            return b, c
    return int(sizes[1]), int(sizes[2])


def _divisors(n: int) -> list[int]:
    return [k for k in range(1, n + 1) if n % k == 0]


@njit(**INLINE)
def repeat_row(r, site, spins, stencil: Any):
    """Copy a row of a site to its images in the margins."""
    length, margin, o = stencil.length, stencil.margin, stencil.rows[r]
    for k in range(3):
        line = spins[site, k]
        if stencil.closed:
            # Outwards, so that a margin longer than the row repeats it several times.
            for m in range(1, margin + 1):
                line[o - m] = line[o - m + length]
                line[o + length - 1 + m] = line[o - 1 + m]
        for i in range(stencil.image_start[r], stencil.image_start[r + 1]):
            image = stencil.images[i] + margin - o
            for c in range(o - margin, o + length + margin):
                line[c + image] = line[c]


@njit(**KERNEL)
def repeat_all(spins, stencil: Any):
    """Copy all rows to their images in the margins."""
    for site in range(spins.shape[0]):
        for r in range(len(stencil.rows)):
            repeat_row(r, site, spins, stencil)


@njit(**INLINE)
def _add(h, flat, place, factor, count, stride):
    """Add `factor` times every `stride`th of the flat spins from a place on to h (c,)."""
    # Unsigned indices cannot be negative, and the strides written out are vectorised.
    p, n = np.uintp(place), np.uintp(count)
    if stride == 1:
        for c in range(n):
            h[c] += factor * flat[p + c]
    elif stride == 2:
        for c in range(n):
            h[c] += factor * flat[p + np.uintp(2) * c]
    else:
        for c in range(n):
            h[c] += factor * flat[p + np.uintp(stride) * c]


@njit(**INLINE)
def add_fields(field, site, o, stride, spins, stencil: Any):
    """Set `field` (3, c) to the fields in meV of neighbours and external field on c cells of a site, every `stride`th from place o on."""
    # Arrays are taken out of the stencil once: each access in a loop would count references.
    places, strengths, tensors, zeeman = stencil.places, stencil.strengths, stencil.tensors, stencil.zeeman
    first, last = stencil.start[site], stencil.start[site + 1]
    flat, size, count = spins.reshape(-1), spins.shape[2], field.shape[1]
    for a in range(3):
        h = field[a]
        h[:] = zeeman[site, a]
        if tensors.shape[0] == 0:
            for k in range(first, last):
                _add(h, flat, o + places[k] + a * size, strengths[k], count, stride)
        else:
            for k in range(first, last):
                for b in range(3):
                    _add(h, flat, o + places[k] + b * size, tensors[k, a, b], count, stride)


@njit(**INLINE)
def place_in_block(r, stencil: Any):
    """Return the place of a row's first cell in the fields of its block, and the number of cells of the block."""
    rows = stencil.rows
    within = r % stencil.across % stencil.block
    last = min(r - within + stencil.block, r - r % stencil.across + stencil.across) - 1
    return rows[r] - rows[r - within], rows[last] - rows[r - within] + stencil.length


@njit(**KERNEL)
def all_fields(found, spins, stencil: Any):
    """Set `found` (n, 3, r, c) to the fields in meV of neighbours and external field."""
    for site in range(spins.shape[0]):
        for r in range(len(stencil.rows)):
            add_fields(found[site, :, r], site, stencil.rows[r], 1, spins, stencil)


@njit(**INLINE)
def field_at(flat, size, p, first, last, zeeman, places, strengths, tensors):
    """Return the field in meV on a spin from the field `zeeman` (3,) and the neighbours `first` to `last`.

    `flat` are the spins, `size` the number of cells including margins, and p the place of the spin's cell.
    """
    x, y, z = zeeman[0], zeeman[1], zeeman[2]
    for k in range(first, last):
        q = np.uintp(p + places[k])
        a, b, c = flat[q], flat[q + size], flat[q + size + size]
        if tensors.shape[0] == 0:
            j = strengths[k]
            x += j * a
            y += j * b
            z += j * c
        else:
            x += tensors[k, 0, 0] * a + tensors[k, 0, 1] * b + tensors[k, 0, 2] * c
            y += tensors[k, 1, 0] * a + tensors[k, 1, 1] * b + tensors[k, 1, 2] * c
            z += tensors[k, 2, 0] * a + tensors[k, 2, 1] * b + tensors[k, 2, 2] * c
    return x, y, z


@njit(**INLINE)
def add_class_fields(field, site, first, rows_apart, cell, cells_apart, spins, stencil: Any):
    """Set the first elements of `field` (3, c) to the fields in meV on a class of spins of one site in a plane.

    The class contains the cells `cell`, `cell + cells_apart`, ... of the rows `first`, `first + rows_apart`, ... of the plane.
    """
    each = stencil.length // cells_apart
    for n in range(stencil.across // rows_apart):
        o = stencil.rows[first + n * rows_apart] + cell
        add_fields(field[:, n * each : (n + 1) * each], site, o, cells_apart, spins, stencil)


@njit(**INLINE)
def copy_class(values, site, first, rows_apart, cell, cells_apart, spins, stencil: Any, back):
    """Copy the spins of a class (see `add_class_fields`) to `values` (3, c), or with `back` from there."""
    each = stencil.length // cells_apart
    for n in range(stencil.across // rows_apart):
        p = stencil.rows[first + n * rows_apart] + cell
        for a in range(3):
            line, own = spins[site, a, p : p + (each - 1) * cells_apart + 1], values[a, n * each : (n + 1) * each]
            if back:
                for c in range(each):
                    line[cells_apart * c] = own[c]
            else:
                for c in range(each):
                    own[c] = line[cells_apart * c]
