"""SNAP bispectrum components of points in space, as computed by LAMMPS's `compute sna/grid`.

Thompson et al., J. Comput. Phys. 285, 316 (2015), doi 10.1016/j.jcp.2014.12.018; Bartók et al., Phys. Rev. Lett. 104, 136403
(2010), doi 10.1103/PhysRevLett.104.136403.

A neighbour is mapped to a point x_k of the unit sphere S³ in four dimensions. The usual method expands the density of these points in
Wigner matrices and couples three of them with Clebsch-Gordan coefficients. Since D^{j1} D^{j2} integrated against D^j over the
sphere is the product of two such coefficients over 2j + 1, a component is equal to the integral,

    B(j1, j2, j) = (2j + 1) < f_{2j1} f_{2j2} f_{2j} >,    f_n(x) = Σ_k c_k U_n(x · x_k),

with the mean over the sphere, Chebyshev polynomials of the second kind U_n and the neighbours' weights c_k. The integrand is an
even polynomial of degree at most 3 twojmax, so a finite set of points yields the exact integral, and all expensive operations are
products of dense matrices. No integral is required if one of the three orders is 0, because f_0 is constant. Orders n = 2j are
integers throughout.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from numpy.polynomial import chebyshev
from scipy.special import eval_jacobi
from torch import Tensor

from nucleate.electrons.descriptors.sphere_rules import sphere_rule
from nucleate.errors import BadInput

LARGEST = 20
"""Largest twojmax; the tables grow with its sixth power."""

COINCIDENT = 1e-10
"""Distance in Å below which atoms are ignored, as in LAMMPS; the features are discontinuous there."""
PAIRS_AT_ONCE = 1 << 22
"""Number of distances held in memory at a time."""


def coupled_orders(twojmax: int) -> list[tuple[int, int, int]]:
    """Return the orders (2 j1, 2 j2, 2 j) of the components in LAMMPS's sequence."""
    return [
        (one, two, both)
        for one in range(twojmax + 1)
        for two in range(one + 1)
        for both in range(one - two, min(twojmax, one + two) + 1, 2)
        if both >= one
    ]


def _powers(x: Tensor, y: Tensor, highest: int) -> Tensor:
    """Return real and imaginary parts of (x + iy)^p, (2 highest + 1, ...): 1, then two rows per power."""
    rows, real, imaginary = [torch.ones_like(x)], x, y
    for power in range(1, highest + 1):
        if power > 1:
            real, imaginary = torch.addcmul(real * x, imaginary, y, value=-1), torch.addcmul(real * y, imaginary, x)
        rows += [real, imaginary]
    return torch.stack(rows)


def _factors(x: Tensor, scale: Tensor, highest: int) -> tuple[Tensor, Tensor]:
    """Return two factors whose products span all polynomials on S³ up to degree `highest`.

    With a = x0 + i x1, b = x2 + i x3 and t = |a|² - |b|²: Chebyshev T_v(t) times powers of a, and powers of b.

    Args:
        x: (4, ...) points of the sphere.
        scale: (...) multiplier of the first factor.

    Returns:
        Tensors (number of functions, ...); the first in blocks of v, each with the powers p <= highest - 2 v.
    """
    left, right = _powers(x[0], x[1], highest), _powers(x[2], x[3], highest)
    t = x[0] * x[0] + x[1] * x[1] - x[2] * x[2] - x[3] * x[3]
    before, now = scale, scale * t
    blocks = []
    for v in range(highest // 2 + 1):
        blocks.append(left[: 2 * (highest - 2 * v) + 1] * before)
        before, now = now, 2 * t * now - before
    return torch.cat(blocks), right


@dataclass(frozen=True)
class _Parity:
    """Tables for the even or the odd orders.

    Attributes:
        orders: Orders, ascending.
        chosen: (n,) indices of the products of the two factors that occur, in the flattened table.
        change: (n, n) transformation from these products to harmonics, with columns in blocks of (order + 1)².
        own: (n,) harmonics of the point itself, which is the pole of S³.
        values: For each order except 0, harmonics times the cube root of the weights, ((order + 1)², quadrature points).
    """

    orders: list[int]
    chosen: Tensor
    change: Tensor
    own: Tensor
    values: list[Tensor]

    def to(self, device: torch.device, dtype: torch.dtype) -> _Parity:
        """Return a copy on another device or in another precision."""
        floats = [x.to(device=device, dtype=dtype) for x in (self.change, self.own, *self.values)]
        return _Parity(self.orders, self.chosen.to(device), floats[0], floats[1], floats[2:])

    def harmonics(self, products: Tensor) -> Tensor:
        """Return the density in harmonics (points, n) from the products of the two factors summed over neighbours."""
        return torch.addmm(self.own, products.index_select(1, self.chosen), self.change)

    def split(self, harmonics: Tensor) -> list[Tensor]:
        """Return the harmonics of each order."""
        return list(harmonics.split([(order + 1) ** 2 for order in self.orders], dim=1))

    def functions(self, harmonics: Tensor, quadrature: int) -> Tensor:
        """Return f_n of every order except 0 at the quadrature points, (points, orders, quadrature)."""
        parts = self.split(harmonics)[len(self.orders) - len(self.values) :]
        values = [(part @ table).unsqueeze(1) for part, table in zip(parts, self.values, strict=True)]
        return torch.cat([harmonics.new_zeros(len(harmonics), 0, quadrature), *values], dim=1)

    def pull(self, gradient: Tensor) -> Tensor:
        """Return the gradient with respect to the harmonics (points, n) from that with respect to the functions."""
        constant = gradient.new_zeros(len(gradient), len(self.orders) - len(self.values))
        return torch.cat([constant, *(part @ table.T for part, table in zip(gradient.unbind(1), self.values, strict=True))], dim=1)


def _parity_tables(twojmax: int, parity: int) -> _Parity:
    orders = list(range(parity, twojmax + 1, 2))
    starts = np.cumsum([0] + [2 * (twojmax - 2 * v) + 1 for v in range(twojmax // 2 + 1)])
    width = 2 * twojmax + 1
    row_of: dict[int, int] = {}
    entries = []
    column = 0
    for order in orders:
        for p, q in itertools.product(range(order + 1), repeat=2):
            if p + q > order or (order - p - q) % 2:
                continue
            m = (order - p - q) // 2
            # |a|^p |b|^q times this Jacobi polynomial are orthogonal for different m.
            jacobi = chebyshev.chebinterpolate(partial(eval_jacobi, m, q, p), m)
            for i, k in itertools.product({max(2 * p - 1, 0), 2 * p}, {max(2 * q - 1, 0), 2 * q}):
                for v, factor in enumerate(jacobi):
                    row = row_of.setdefault((int(starts[v]) + i) * width + k, len(row_of))
                    entries.append((row, column, float(factor)))
                column += 1
    change = np.zeros((len(row_of), column))
    for row, col, factor in entries:
        change[row, col] = factor
    sphere, weights = sphere_rule(3 * twojmax)
    on_sphere = _table_products(torch.from_numpy(np.vstack([[1.0, 0.0, 0.0, 0.0], sphere])), twojmax)[:, list(row_of)].numpy() @ change
    degree = np.repeat(orders, [(order + 1) ** 2 for order in orders])
    # The scale is such that the harmonics of one order obey Σ Y(x) Y(y) = U_order(x · y).
    scale = 1 / np.sqrt((degree + 1) * (weights @ on_sphere[1:] ** 2))
    on_sphere *= scale
    values = torch.from_numpy(on_sphere[1:].T * np.cbrt(weights))
    blocks = [block.contiguous() for order, block in zip(orders, values.split([(n + 1) ** 2 for n in orders]), strict=True) if order]
    return _Parity(
        orders, torch.tensor(list(row_of), dtype=torch.int64), torch.from_numpy(change * scale), torch.from_numpy(on_sphere[0]), blocks
    )


def _table_products(points: Tensor, twojmax: int) -> Tensor:
    """Return the products of the factors (n, products) at points (n, 4) of S³."""
    left, right = _factors(points.T, torch.ones(len(points), dtype=points.dtype), twojmax)
    return (left.unsqueeze(1) * right).flatten(0, 1).T


@dataclass(frozen=True)
class _Tables:
    """Tables that depend only on twojmax.

    Attributes:
        even, odd: Tables for even and odd orders.
        place: (features,) index of each component in the concatenated results of `constants` and `_integrals`.
        multiplicity: (features,) factors 2j + 1.
        integrals: Number of results of `_integrals`.
        quadrature: Number of quadrature points.
    """

    even: _Parity
    odd: _Parity
    place: Tensor
    multiplicity: Tensor
    integrals: int
    quadrature: int

    def to(self, device: torch.device, dtype: torch.dtype) -> _Tables:
        """Return a copy on another device or in another precision."""
        return _Tables(
            self.even.to(device, dtype),
            self.odd.to(device, dtype),
            self.place.to(device),
            self.multiplicity.to(device, dtype),
            self.integrals,
            self.quadrature,
        )

    def functions(self, even: Tensor, odd: Tensor) -> tuple[Tensor, Tensor]:
        """Return the functions of the even and of the odd orders from the harmonics."""
        return self.even.functions(even, self.quadrature), self.odd.functions(odd, self.quadrature)

    def constants(self, even: Tensor, odd: Tensor) -> Tensor:
        """Return f_0 <f_n f_n>, (points, orders), with the even orders first."""
        squares = [
            (part * part).sum(1) / (n + 1)
            for one, x in ((self.even, even), (self.odd, odd))
            for n, part in zip(one.orders, one.split(x), strict=True)
        ]
        return torch.stack(squares, dim=1) * even[:, :1]


@cache
def _tables(twojmax: int) -> _Tables:
    even, odd = _parity_tables(twojmax, 0), _parity_tables(twojmax, 1)
    # Sequence of the results of `constants` and `_integrals`.
    triples = [(0, n, n) for n in even.orders + odd.orders]
    first = len(triples)
    above = even.orders[1:]
    triples += [(n, m, k) for i, n in enumerate(odd.orders) for m in odd.orders[i:] for k in above]
    triples += [(n, m, k) for i, n in enumerate(above) for m in above[i:] for k in above[i:]]
    # The integral is symmetric in the three orders; only the factor 2j + 1 is not.
    where = {tuple(sorted(triple)): index for index, triple in enumerate(triples)}
    orders = coupled_orders(twojmax)
    return _Tables(
        even,
        odd,
        torch.tensor([where[tuple(sorted(order))] for order in orders]),
        torch.tensor([order[2] + 1.0 for order in orders], dtype=torch.float64),
        len(triples) - first,
        len(sphere_rule(3 * twojmax)[0]),
    )


def _integrals(even: Tensor, odd: Tensor) -> Tensor:
    """Return integrals of three functions (points, number) from their values at the quadrature points (points, orders, q).

    An even number of the three orders is odd, so pairs of odd orders combine with even orders, and pairs of even orders with later ones.
    """
    result = []
    for values in (odd, even):
        for i in range(values.shape[1]):
            third = even if values is odd else even[:, i:]
            pairs = values[:, i:] * values[:, i : i + 1]
            result.append(torch.bmm(pairs, third.transpose(1, 2)).flatten(1))
    return torch.cat([even.new_zeros(len(even), 0), *result], dim=1)


def _pull_integrals(even: Tensor, odd: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return gradients with respect to `even` and `odd` from that of the integrals; automatic differentiation would copy every slice."""
    by_even, by_odd = torch.zeros_like(even), torch.zeros_like(odd)
    first = 0
    for values, result in ((odd, by_odd), (even, by_even)):
        for i in range(values.shape[1]):
            start = 0 if values is odd else i
            third, many = even[:, start:], values[:, i:]
            size = many.shape[1] * third.shape[1]
            part = gradient[:, first : first + size].reshape(len(gradient), many.shape[1], third.shape[1])
            first += size
            one = values[:, i : i + 1]
            by_even[:, start:] += torch.bmm(part.transpose(1, 2), many * one)
            by_pairs = torch.bmm(part, third)
            result[:, i] += (by_pairs * many).sum(1)
            result[:, i:] += by_pairs * one
    return by_even, by_odd


class _Chunk(torch.autograd.Function):
    """Features of a chunk; the backward pass recomputes intermediates, which are much larger than the coordinates."""

    @staticmethod
    def forward(ctx: Any, kernel: Bispectrum, centres: Tensor, sites: Tensor, index: Tensor, weight: Tensor, padding: Tensor) -> Tensor:
        ctx.kernel = kernel
        ctx.save_for_backward(centres, sites, index, weight, padding)
        tables = kernel._tables_for(centres)
        even, odd = kernel._harmonics(centres, sites, index, weight, padding)
        values = torch.cat([tables.constants(even, odd), _integrals(*tables.functions(even, odd))], dim=1)
        return values.index_select(1, tables.place) * tables.multiplicity

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        centres, sites, index, weight, padding = ctx.saved_tensors
        kernel: Bispectrum = ctx.kernel
        again = torch.is_grad_enabled()
        tables = kernel._tables_for(centres)
        inputs = [x for x in (centres, sites) if x.requires_grad]
        with torch.enable_grad():
            density = kernel._harmonics(centres, sites, index, weight, padding)
            constants = tables.constants(*density)
        scaled = gradient.new_zeros(len(gradient), constants.shape[1] + tables.integrals)
        scaled = scaled.index_add(1, tables.place, gradient * tables.multiplicity)
        pulled = _pull_integrals(*tables.functions(*density), scaled[:, constants.shape[1] :])
        by_density = tables.even.pull(pulled[0]), tables.odd.pull(pulled[1])
        by_outputs = (*by_density, scaled[:, : constants.shape[1]])
        by_inputs = iter(torch.autograd.grad((*density, constants), inputs, by_outputs, create_graph=again))
        return None, *(next(by_inputs) if x.requires_grad else None for x in (centres, sites)), None, None, None


class Bispectrum:
    """SNAP bispectrum components (see the module docstring) with a weight for each species.

    The point itself counts as an atom of weight 1 (LAMMPS's wself), nothing is subtracted (bzeroflag 0), and contributions decay smoothly
    to zero at the cutoff (switchflag 1).

    Args:
        n_species: Number of species.
        cutoff: Cutoff radius in Å; LAMMPS's rcutfac with all radii 0.5.
        twojmax: Twice the maximum j.
        rfac0: Fraction of the half circle to which distances up to the cutoff are mapped.
        rmin0: Distance in Å that is mapped to angle 0.
        weights: Weight of each species; default: 1.
        chunk: Number of points evaluated at a time, so that intermediates fit the processor cache.
    """

    def __init__(
        self,
        n_species: int = 1,
        cutoff: float = 4.67637,
        twojmax: int = 10,
        rfac0: float = 0.99363,
        rmin0: float = 0.0,
        weights: Sequence[float] | None = None,
        chunk: int = 64,
    ):
        if not 0 <= twojmax <= LARGEST or not 0 <= rmin0 < cutoff:
            raise BadInput(f"twojmax {twojmax} must be from 0 to {LARGEST}, and rmin0 {rmin0} between 0 and the cutoff {cutoff}")
        self.weights = tuple(float(w) for w in weights) if weights is not None else (1.0,) * n_species
        if len(self.weights) != n_species:
            raise BadInput(f"descriptor bispectrum: {len(self.weights)} weights are given for {n_species} species")
        self.cutoff = float(cutoff)
        self.twojmax, self.rfac0, self.rmin0, self.chunk = twojmax, rfac0, rmin0, chunk
        self.features = len(coupled_orders(twojmax))
        self._moved: dict[tuple[torch.device, torch.dtype], _Tables] = {}

    def settings(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            "name": "bispectrum",
            "n_species": len(self.weights),
            "cutoff": self.cutoff,
            "twojmax": self.twojmax,
            "rfac0": self.rfac0,
            "rmin0": self.rmin0,
            "weights": list(self.weights),
        }

    def __call__(self, points: Tensor, atoms: Tensor, species: Tensor) -> Tensor:
        """Return features (blocks, points, features) of points (blocks, points, 3) in Å; see `GridDescriptor`."""
        n_blocks, n_points, _ = points.shape
        row, atom = self._pairs(points, atoms, species)
        counts = torch.bincount(row, minlength=n_blocks * n_points)
        starts = torch.cumsum(counts, 0) - counts
        # Group points with similar numbers of neighbours to minimise padding.
        order = torch.argsort(counts, descending=True, stable=True)
        back = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
        weight = torch.tensor(self.weights, dtype=points.dtype, device=points.device)[species.clamp_min(0)].flatten()
        sites = atoms.to(points.dtype).reshape(-1, 3).T
        widths = counts[order[:: self.chunk]].tolist()
        rows = [points.new_zeros(0, self.features)]
        for centres, chosen, width in zip(
            points.reshape(-1, 3).index_select(0, order).split(self.chunk), order.split(self.chunk), widths, strict=False
        ):
            slot = torch.arange(width, device=order.device)
            padding = slot >= counts[chosen].unsqueeze(1)
            index = atom[(starts[chosen].unsqueeze(1) + slot).masked_fill(padding, 0)]
            rows.append(_Chunk.apply(self, centres, sites, index, weight[index].masked_fill(padding, 0), padding))
        return torch.cat(rows).index_select(0, back).view(n_blocks, n_points, self.features)

    def _pairs(self, points: Tensor, atoms: Tensor, species: Tensor) -> tuple[Tensor, Tensor]:
        """Return flat indices of points, ascending, and of the atoms within their cutoff."""
        n_points, n_atoms = points.shape[1], atoms.shape[1]
        rows, sites = [], []
        with torch.no_grad():
            for block in range(len(points)):
                here = atoms[block].to(points.dtype)
                real = species[block] >= 0
                step = max(1, PAIRS_AT_ONCE // max(1, n_atoms))
                for first in range(0, n_points, step):
                    distance = torch.cdist(points[block, first : first + step], here, compute_mode="donot_use_mm_for_euclid_dist")
                    inside = (distance < self.cutoff) & (distance > COINCIDENT) & real
                    point, atom = inside.nonzero(as_tuple=True)
                    rows.append(point + (block * n_points + first))
                    sites.append(atom + block * n_atoms)
        nothing = torch.zeros(0, dtype=torch.int64, device=points.device)
        return torch.cat([nothing, *rows]), torch.cat([nothing, *sites])

    def _on_sphere(self, arms: Tensor, weight: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        """Return points (4, ...) of S³ and coefficients (...) from vectors to the neighbours (3, ...) in Å."""
        # A padded entry may coincide with its point, where the norm has no gradient.
        arms = arms.masked_fill(padding, self.cutoff)
        distance = (arms * arms).sum(0).sqrt()
        share = (distance - self.rmin0) * (math.pi / (self.cutoff - self.rmin0))
        angle = self.rfac0 * share
        sine, cosine = torch.sin(angle), torch.cos(angle)
        fade = 0.5 * (1 + torch.cos(share.clamp_min(0)))
        sphere = torch.cat([cosine.unsqueeze(0), arms * (sine / distance)])
        if self.rmin0:
            # Below rmin0, LAMMPS maps to the antipode.
            sphere = torch.where(angle < 0, -sphere, sphere)
        return sphere, weight * fade

    def _tables_for(self, x: Tensor) -> _Tables:
        key = (x.device, x.dtype)
        if key not in self._moved:
            self._moved[key] = _tables(self.twojmax).to(*key)
        return self._moved[key]

    def _harmonics(self, centres: Tensor, sites: Tensor, index: Tensor, weight: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        """Return the density on S³ around each point in harmonics of even and odd order.

        Args:
            centres: (n, 3) positions of points in Å.
            sites: (3, all atoms) positions of atoms in Å.
            index: (n, width) neighbour indices.
            weight: (n, width) weights, 0 for padding.
            padding: (n, width) mask, True for padding.
        """
        tables = self._tables_for(centres)
        arms = sites.index_select(1, index.flatten()).view(3, *index.shape) - centres.T.unsqueeze(2)
        left, right = _factors(*self._on_sphere(arms, weight, padding), self.twojmax)
        products = torch.bmm(left.transpose(0, 1), right.permute(1, 2, 0)).flatten(1)
        return tables.even.harmonics(products), tables.odd.harmonics(products)
