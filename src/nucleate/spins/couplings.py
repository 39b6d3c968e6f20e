"""The spin Hamiltonian in the one convention that is stored.

    H = - sum_<ij> e_i . J_ij . e_j - sum_i e_i . K_i . e_i - mu_B sum_i m_i B . e_i

over pairs <ij> counted once, e unit vectors, J and K in meV, m in Bohr magnetons, B in tesla. A 3x3 tensor J holds
all of a pair: its isotropic part J = trace / 3, its Dzyaloshinskii-Moriya vector D (energy -D . (e_i x e_j)) in the
antisymmetric part, and the symmetric traceless rest. Positive J is ferromagnetic.
T. Moriya, Phys. Rev. 120, 91 (1960), doi 10.1103/PhysRev.120.91.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from nucleate.errors import BadInput, quoted
from nucleate.units import MU_B

CLOSEST = 0.5
"""Å; nearer sites are one."""
ANTISYMMETRY = 1e-6
"""meV; how far J_ij and the transpose of J_ji may differ in a list that holds both without a word."""
NOISE = 0.02
"""Share of the largest coupling by which the two halves of a pair may differ and still be averaged."""
SMALL_VECTOR = 1e-3
"""Share of the largest coupling below which differences between D vectors are noise, however small the vectors are."""
LARGEST = {"cell": (1e6, "Å"), "positions": (1e6, "Å"), "moments": (1e3, "Bohr magnetons"), "tensors": (1e7, "meV"),
           "anisotropy": (1e7, "meV")}  # fmt: skip
"""What no crystal exceeds; beyond, a file's units or digits are wrong, and sums would overflow."""
FURTHEST = 10**6
"""Cells that a pair may reach along a vector."""


def tensor(isotropic: np.ndarray | float, dm: np.ndarray | None = None) -> np.ndarray:
    """(..., 3, 3) from isotropic couplings (...) and Dzyaloshinskii-Moriya vectors (..., 3), meV."""
    found = np.asarray(isotropic, dtype=float)[..., None, None] * np.eye(3)
    if dm is None:
        return found
    x, y, z = np.moveaxis(np.asarray(dm, dtype=float), -1, 0)
    o = np.zeros_like(x)
    return found + np.stack([np.stack([o, z, -y], -1), np.stack([-z, o, x], -1), np.stack([y, -x, o], -1)], -2)


def uniaxial(strength: float, axis: np.ndarray) -> np.ndarray:
    """(3, 3) on-site tensor of -K (e . n)^2, meV."""
    n = np.asarray(axis, dtype=float)
    length = np.linalg.norm(n)
    if not length > 0:
        raise BadInput("anisotropy: its axis has no length")
    return strength * np.outer(n, n) / length**2


@dataclass(frozen=True)
class Couplings:
    """Magnetic sites and the pairs that couple them; see the head of this file for the convention.

    Attributes:
        cell: (3, 3), Å, a vector a row.
        positions: (n, 3), Å, of the magnetic sites.
        symbols: their elements.
        moments: (n,), Bohr magnetons, above zero.
        first, second: (p,) sites of each pair; the second lies in the cell displaced by `shifts`.
        shifts: (p, 3) whole cell vectors.
        tensors: (p, 3, 3), meV.
        anisotropy: (n, 3, 3), symmetric, meV.
        errors: (p,), meV: spread over equivalent pairs or a model's standard deviation; NaN where unknown.
        notes: what a reader made of its file that its user has to know, a sentence each.

    Raises:
        BadInput: shapes that do not fit, numbers that are not finite or larger than any crystal's, names that are no elements (X: unknown),
            a pair twice or of a site with itself.
    """

    cell: np.ndarray
    positions: np.ndarray
    symbols: tuple[str, ...]
    moments: np.ndarray
    first: np.ndarray
    second: np.ndarray
    shifts: np.ndarray
    tensors: np.ndarray
    anisotropy: np.ndarray = field(default=None)  # type: ignore[arg-type]
    errors: np.ndarray = field(default=None)  # type: ignore[arg-type]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n, p = len(self.positions), len(self.first)
        if self.anisotropy is None:
            object.__setattr__(self, "anisotropy", np.zeros((n, 3, 3)))
        if self.errors is None:
            object.__setattr__(self, "errors", np.full(p, np.nan))
        for name, shape in {
            "cell": (3, 3), "positions": (n, 3), "moments": (n,), "tensors": (p, 3, 3), "anisotropy": (n, 3, 3), "errors": (p,),
        }.items():  # fmt: skip
            value = np.array(getattr(self, name), dtype=float)
            if value.shape != shape:
                raise BadInput(f"couplings: {name} has shape {value.shape}, not {shape}")
            if name != "errors" and not np.isfinite(value).all():
                raise BadInput(f"couplings: {name}: a value is not a finite number")
            if name in LARGEST and np.abs(value).max(initial=0) > LARGEST[name][0]:
                most, unit = LARGEST[name]
                raise BadInput(f"couplings: {name}: {np.abs(value).max():.3g} {unit} is more than {most:g}; check the units")
            object.__setattr__(self, name, value)
        for name, shape in {"first": (p,), "second": (p,), "shifts": (p, 3)}.items():
            value = np.array(getattr(self, name), dtype=np.int64).reshape(shape)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "symbols", tuple(self.symbols))
        object.__setattr__(self, "notes", tuple(self.notes))
        if n == 0:
            raise BadInput("couplings: no magnetic site")
        if len(self.symbols) != n:
            raise BadInput(f"couplings: {len(self.symbols)} symbols for {n} sites")
        strange = [symbol for symbol in self.symbols if symbol not in atomic_numbers]
        if strange:
            raise BadInput(f"couplings: {quoted(strange[0], 30)} is no element; name each site's, or X where it is unknown")
        if not (self.moments > 0).all():
            raise BadInput("couplings: a site has no magnetic moment; leave it out or give it one above zero")
        if abs(np.linalg.det(self.cell)) < 1e-6:
            raise BadInput("couplings: the cell has no volume")
        if p and (min(self.first.min(), self.second.min()) < 0 or max(self.first.max(), self.second.max()) >= n):
            raise BadInput(f"couplings: a pair names a site beyond the {n} there are")
        if np.abs(self.shifts).max(initial=0) > FURTHEST:
            raise BadInput(f"couplings: a pair reaches more than {FURTHEST} cells far")
        if ((self.first == self.second) & (self.shifts == 0).all(axis=1)).any():
            raise BadInput("couplings: a site is coupled with itself; write it as anisotropy")
        if p and self.distances.min() < CLOSEST:
            raise BadInput(f"couplings: two magnetic sites are {self.distances.min():.2f} Å apart")
        if len(np.unique(self._keys(), axis=0)) < p:
            raise BadInput("couplings: a pair stands there twice; each pair is counted once")
        if np.abs(self.anisotropy - self.anisotropy.transpose(0, 2, 1)).max() > ANTISYMMETRY:
            raise BadInput("couplings: an anisotropy tensor is not symmetric")

    def _keys(self) -> np.ndarray:
        """(p, 5): the same for a pair and for its mirror image (j, i, -R)."""
        keys = np.column_stack([self.first, self.second, self.shifts])
        mirror = np.column_stack([self.second, self.first, -self.shifts])
        differ = keys != mirror
        column = differ.argmax(axis=1)
        rows = np.arange(len(keys))
        swap = differ.any(axis=1) & (mirror[rows, column] < keys[rows, column])
        return np.where(swap[:, None], mirror, keys)

    @classmethod
    def from_atoms(cls, atoms: Atoms, sites: np.ndarray, moments: np.ndarray, **pairs: Any) -> Couplings:
        """Couplings between some atoms of a crystal; `sites` (n,) are their numbers, `first` and `second` count along `sites`."""
        symbols = tuple(atoms[int(i)].symbol for i in sites)
        return cls(atoms.cell.array, atoms.positions[sites], symbols, np.abs(moments), **pairs)

    @property
    def isotropic(self) -> np.ndarray:
        """(p,), meV."""
        return np.trace(self.tensors, axis1=1, axis2=2) / 3

    @property
    def dm(self) -> np.ndarray:
        """(p, 3) Dzyaloshinskii-Moriya vectors, meV."""
        odd = (self.tensors - self.tensors.transpose(0, 2, 1)) / 2
        return np.stack([odd[:, 1, 2], odd[:, 2, 0], odd[:, 0, 1]], axis=1)

    @property
    def vectors(self) -> np.ndarray:
        """(p, 3) from the first to the second site of each pair, Å."""
        return self.positions[self.second] - self.positions[self.first] + self.shifts @ self.cell

    @property
    def distances(self) -> np.ndarray:
        """(p,), Å."""
        return np.linalg.norm(self.vectors, axis=1)

    @property
    def loops(self) -> np.ndarray:
        """(p, 3) translations that each pair leads on by when sites are moved to the cells they are connected in: zero in a cluster."""
        moved = np.zeros((len(self.positions), 3), dtype=np.int64)
        seen = np.zeros(len(self.positions), dtype=bool)
        alive = np.abs(self.tensors).max(axis=(1, 2)) > 0
        ends: dict[int, list[tuple[int, np.ndarray]]] = {}
        for i, j, r in zip(self.first[alive], self.second[alive], self.shifts[alive], strict=True):
            ends.setdefault(int(i), []).append((int(j), r))
            ends.setdefault(int(j), []).append((int(i), -r))
        for root in range(len(seen)):
            queue = [] if seen[root] else [root]
            seen[root] = True
            while queue:
                i = queue.pop()
                for j, r in ends.get(i, []):
                    if not seen[j]:
                        seen[j] = True
                        moved[j] = moved[i] + r
                        queue.append(j)
        found = moved[self.first] + self.shifts - moved[self.second]
        return np.where(alive[:, None], found, 0)

    def both_ways(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Each pair twice, as every site sees it: first, second, shifts, tensors."""
        return (
            np.concatenate([self.first, self.second]),
            np.concatenate([self.second, self.first]),
            np.concatenate([self.shifts, -self.shifts]),
            np.concatenate([self.tensors, self.tensors.transpose(0, 2, 1)]),
        )

    def in_order(self) -> Couplings:
        """The same pairs, shortest first."""
        order = np.lexsort((*self.shifts.T[::-1], self.second, self.first, self.distances.round(6)))
        names = ("first", "second", "shifts", "tensors", "errors")
        return replace(self, **{name: getattr(self, name)[order] for name in names})

    def energy(self, spins: np.ndarray, field: np.ndarray | tuple[float, float, float] = (0.0, 0.0, 0.0)) -> float:
        """Of one cell whose neighbours are its copies: spins (n, 3) unit vectors, field in tesla; meV."""
        e = np.asarray(spins, dtype=float)
        return float(
            -np.einsum("pa,pab,pb->", e[self.first], self.tensors, e[self.second])
            - np.einsum("na,nab,nb->", e, self.anisotropy, e)
            - MU_B * (self.moments * (e @ np.asarray(field, dtype=float))).sum()
        )


def counted_once(
    first: np.ndarray, second: np.ndarray, shifts: np.ndarray, tensors: np.ndarray, where: str, rounding: float = ANTISYMMETRY
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Of a list that holds each pair both ways, one of the two; tensors become the mean of both.

    The halves of a pair, J_ij and the transpose of J_ji, differ by the noise of the calculation they come from. Up to `NOISE` of the
    largest coupling that is averaged and told; D vectors are compared with the largest D vector, since a wrong sign would pass for noise
    beside large couplings, down to `SMALL_VECTOR` of the largest coupling.

    Args:
        first, second: (p,) sites.
        shifts: (p, 3) whole cell vectors.
        tensors: (p, 3, 3), meV.
        where: names the file in messages.
        rounding: meV; differences that the file's decimals can hide are not told.

    Returns:
        Sites, shifts and tensors of the pairs counted once, and notes: the size of the noise, if there was any.

    Raises:
        BadInput: a pair has no partner, or the partner is not its transpose: isotropic parts that differ, D that is not odd.
    """
    place = {(int(i), int(j), *map(int, r)): k for k, (i, j, r) in enumerate(zip(first, second, shifts, strict=True))}
    if len(place) < len(first):
        raise BadInput(f"{where}: a pair stands there more than twice")
    largest = float(np.abs(tensors).max(initial=0))
    vectors = float(np.abs(tensors - tensors.transpose(0, 2, 1)).max(initial=0)) / 2
    allowed = max(rounding, NOISE * largest)
    allowed_odd = max(rounding, NOISE * vectors, SMALL_VECTOR * largest)
    kept, found, noise = [], [], 0.0
    for (i, j, *r), k in place.items():
        partner = place.get((j, i, -r[0], -r[1], -r[2]))
        if partner is None:
            raise BadInput(f"{where}: pair {i} {j} {tuple(r)} has no partner {j} {i}; a list of pairs counted twice holds both")
        if partner < k:
            continue
        difference = tensors[k] - tensors[partner].T
        odd, even = (float(np.abs(difference - sign * difference.T).max()) / 2 for sign in (1, -1))
        if odd > allowed_odd:
            raise BadInput(f"{where}: pair {i} {j} {tuple(r)} and its partner: the D vector of one is not minus that of the other")
        if even > allowed:
            share = f"{100 * even / largest:.2g} % of the largest; up to {100 * NOISE:g} % is noise"
            raise BadInput(f"{where}: pair {i} {j} {tuple(r)} and its partner: their couplings differ by {even:.3g} meV, {share}")
        noise = max(noise, odd, even)
        kept.append(k)
        found.append((tensors[k] + tensors[partner].T) / 2)
    notes: tuple[str, ...] = ()
    if noise > max(rounding, ANTISYMMETRY):
        notes = (
            f"J_ij and J_ji differ by up to {noise:.2g} meV, {100 * noise / largest:.2g} % of the largest coupling; their means are used",
        )
    return first[kept], second[kept], shifts[kept], np.array(found).reshape(-1, 3, 3), notes
