"""Spin Hamiltonian in the convention used throughout the package.

    H = - sum_<ij> e_i . J_ij . e_j - sum_i e_i . K_i . e_i - mu_B sum_i m_i B . e_i

with each pair <ij> counted once, unit vectors e, J and K in meV, m in Bohr magnetons and B in tesla. The 3x3 tensor J of a
pair contains the isotropic coupling J = trace / 3, the Dzyaloshinskii-Moriya vector D (energy -D . (e_i x e_j)) as its
antisymmetric part, and a symmetric traceless part. Positive J is ferromagnetic.
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
"""Minimum distance between sites in Å."""
ANTISYMMETRY = 1e-6
"""Difference in meV between J_ij and the transpose of J_ji that is ignored without a note."""
NOISE = 0.02
"""Largest difference between J_ij and the transpose of J_ji that is averaged, relative to the largest coupling."""
SMALL_VECTOR = 1e-3
"""Difference between D vectors that is always treated as noise, relative to the largest coupling."""
LARGEST = {"cell": (1e6, "Å"), "positions": (1e6, "Å"), "moments": (1e3, "Bohr magnetons"), "tensors": (1e7, "meV"),
           "anisotropy": (1e7, "meV")}  # fmt: skip
"""Upper limits of input values; larger values indicate wrong units and could overflow in sums."""
FURTHEST = 10**6
"""Largest cell displacement of a pair along a lattice vector."""


def tensor(isotropic: np.ndarray | float, dm: np.ndarray | None = None) -> np.ndarray:
    """Return tensors (..., 3, 3) from isotropic couplings (...) and Dzyaloshinskii-Moriya vectors (..., 3), in meV."""
    found = np.asarray(isotropic, dtype=float)[..., None, None] * np.eye(3)
    if dm is None:
        return found
    x, y, z = np.moveaxis(np.asarray(dm, dtype=float), -1, 0)
    o = np.zeros_like(x)
    return found + np.stack([np.stack([o, z, -y], -1), np.stack([-z, o, x], -1), np.stack([y, -x, o], -1)], -2)


def uniaxial(strength: float, axis: np.ndarray) -> np.ndarray:
    """Return the on-site tensor (3, 3) of -K (e . n)^2 in meV."""
    n = np.asarray(axis, dtype=float)
    length = np.linalg.norm(n)
    if not length > 0:
        raise BadInput("anisotropy: the axis has zero length; give a non-zero vector")
    return strength * np.outer(n, n) / length**2


@dataclass(frozen=True)
class Couplings:
    """Exchange couplings between magnetic sites, in the convention of the module docstring.

    Attributes:
        cell: (3, 3) lattice vectors as rows, in Å.
        positions: (n, 3) positions of the magnetic sites in Å.
        symbols: Elements of the sites.
        moments: (n,) positive magnetic moments in Bohr magnetons.
        first, second: (p,) site indices of each pair; the second site lies in the cell displaced by `shifts`.
        shifts: (p, 3) integer cell displacements.
        tensors: (p, 3, 3) coupling tensors in meV.
        anisotropy: (n, 3, 3) symmetric on-site tensors in meV.
        errors: (p,) errors in meV: spread over equivalent pairs or standard deviation of a model; NaN if unknown.
        notes: Remarks of the file reader for the user, one sentence each.

    Raises:
        BadInput: Shapes do not match, numbers are not finite or too large, symbols are not elements (X: unknown), or a pair occurs
            twice or couples a site with itself.
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
                raise BadInput(f"couplings: {name} contains a value that is not finite")
            if name in LARGEST and np.abs(value).max(initial=0) > LARGEST[name][0]:
                most, unit = LARGEST[name]
                raise BadInput(f"couplings: {name}: {np.abs(value).max():.3g} {unit} exceeds the limit of {most:g}; check the units")
            object.__setattr__(self, name, value)
        for name, shape in {"first": (p,), "second": (p,), "shifts": (p, 3)}.items():
            value = np.array(getattr(self, name), dtype=np.int64).reshape(shape)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "symbols", tuple(self.symbols))
        object.__setattr__(self, "notes", tuple(self.notes))
        if n == 0:
            raise BadInput("couplings: there are no magnetic sites")
        if len(self.symbols) != n:
            raise BadInput(f"couplings: {len(self.symbols)} symbols for {n} sites")
        strange = [symbol for symbol in self.symbols if symbol not in atomic_numbers]
        if strange:
            raise BadInput(f"couplings: {quoted(strange[0], 30)} is not an element; give the element of each site, or X if it is unknown")
        if not (self.moments > 0).all():
            raise BadInput("couplings: a site has no positive magnetic moment; remove the site or give it a moment")
        if abs(np.linalg.det(self.cell)) < 1e-6:
            raise BadInput("couplings: the cell has zero volume")
        if p and (min(self.first.min(), self.second.min()) < 0 or max(self.first.max(), self.second.max()) >= n):
            raise BadInput(f"couplings: a pair refers to a site beyond the {n} sites given")
        if np.abs(self.shifts).max(initial=0) > FURTHEST:
            raise BadInput(f"couplings: a pair is displaced by more than {FURTHEST} cells")
        if ((self.first == self.second) & (self.shifts == 0).all(axis=1)).any():
            raise BadInput("couplings: a site is coupled with itself; give an on-site term as anisotropy")
        if p and self.distances.min() < CLOSEST:
            raise BadInput(f"couplings: two magnetic sites are only {self.distances.min():.2f} Å apart")
        if len(np.unique(self._keys(), axis=0)) < p:
            raise BadInput("couplings: a pair occurs twice; each pair must be listed once")
        if np.abs(self.anisotropy - self.anisotropy.transpose(0, 2, 1)).max() > ANTISYMMETRY:
            raise BadInput("couplings: an anisotropy tensor is not symmetric")

    def _keys(self) -> np.ndarray:
        """Return keys (p, 5) that are equal for a pair (i, j, R) and its reverse (j, i, -R)."""
        keys = np.column_stack([self.first, self.second, self.shifts])
        mirror = np.column_stack([self.second, self.first, -self.shifts])
        differ = keys != mirror
        column = differ.argmax(axis=1)
        rows = np.arange(len(keys))
        swap = differ.any(axis=1) & (mirror[rows, column] < keys[rows, column])
        return np.where(swap[:, None], mirror, keys)

    @classmethod
    def from_atoms(cls, atoms: Atoms, sites: np.ndarray, moments: np.ndarray, **pairs: Any) -> Couplings:
        """Build couplings between atoms of a crystal; `sites` (n,) are atom indices, `first` and `second` index into `sites`."""
        symbols = tuple(atoms[int(i)].symbol for i in sites)
        return cls(atoms.cell.array, atoms.positions[sites], symbols, np.abs(moments), **pairs)

    @property
    def isotropic(self) -> np.ndarray:
        """Isotropic couplings (p,) in meV."""
        return np.trace(self.tensors, axis1=1, axis2=2) / 3

    @property
    def dm(self) -> np.ndarray:
        """Dzyaloshinskii-Moriya vectors (p, 3) in meV."""
        odd = (self.tensors - self.tensors.transpose(0, 2, 1)) / 2
        return np.stack([odd[:, 1, 2], odd[:, 2, 0], odd[:, 0, 1]], axis=1)

    @property
    def vectors(self) -> np.ndarray:
        """Vectors (p, 3) from the first to the second site of each pair in Å."""
        return self.positions[self.second] - self.positions[self.first] + self.shifts @ self.cell

    @property
    def distances(self) -> np.ndarray:
        """Pair distances (p,) in Å."""
        return np.linalg.norm(self.vectors, axis=1)

    @property
    def loops(self) -> np.ndarray:
        """Net lattice translations (p, 3) of each pair relative to a spanning tree of connected sites; zero in a cluster."""
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
        """Return first, second, shifts and tensors with each pair listed in both directions."""
        return (
            np.concatenate([self.first, self.second]),
            np.concatenate([self.second, self.first]),
            np.concatenate([self.shifts, -self.shifts]),
            np.concatenate([self.tensors, self.tensors.transpose(0, 2, 1)]),
        )

    def in_order(self) -> Couplings:
        """Return the couplings with pairs sorted by distance."""
        order = np.lexsort((*self.shifts.T[::-1], self.second, self.first, self.distances.round(6)))
        names = ("first", "second", "shifts", "tensors", "errors")
        return replace(self, **{name: getattr(self, name)[order] for name in names})

    def energy(self, spins: np.ndarray, field: np.ndarray | tuple[float, float, float] = (0.0, 0.0, 0.0)) -> float:
        """Return the energy per cell in meV for periodically repeated unit spins (n, 3) and a field in tesla."""
        e = np.asarray(spins, dtype=float)
        return float(
            -np.einsum("pa,pab,pb->", e[self.first], self.tensors, e[self.second])
            - np.einsum("na,nab,nb->", e, self.anisotropy, e)
            - MU_B * (self.moments * (e @ np.asarray(field, dtype=float))).sum()
        )


def counted_once(
    first: np.ndarray, second: np.ndarray, shifts: np.ndarray, tensors: np.ndarray, where: str, rounding: float = ANTISYMMETRY
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Reduce a list that contains each pair in both directions to one entry per pair with the mean tensor.

    J_ij and the transpose of J_ji differ by numerical noise of the underlying calculation. Differences up to `NOISE` times the
    largest coupling are averaged and reported in a note. D vectors are compared with the largest D vector instead, because a wrong sign
    could pass for noise next to large couplings; differences below `SMALL_VECTOR` times the largest coupling are always accepted.

    Args:
        first, second: (p,) site indices.
        shifts: (p, 3) integer cell displacements.
        tensors: (p, 3, 3) coupling tensors in meV.
        where: File name used in messages.
        rounding: Rounding error of the file in meV; smaller differences are not reported.

    Returns:
        First and second sites, shifts and tensors of the pairs counted once, and notes on the size of the noise.

    Raises:
        BadInput: A pair has no reverse pair, or the isotropic parts differ, or D is not odd under exchange of the sites.
    """
    place = {(int(i), int(j), *map(int, r)): k for k, (i, j, r) in enumerate(zip(first, second, shifts, strict=True))}
    if len(place) < len(first):
        raise BadInput(f"{where}: a pair occurs more than twice")
    largest = float(np.abs(tensors).max(initial=0))
    vectors = float(np.abs(tensors - tensors.transpose(0, 2, 1)).max(initial=0)) / 2
    allowed = max(rounding, NOISE * largest)
    allowed_odd = max(rounding, NOISE * vectors, SMALL_VECTOR * largest)
    kept, found, noise = [], [], 0.0
    for (i, j, *r), k in place.items():
        partner = place.get((j, i, -r[0], -r[1], -r[2]))
        if partner is None:
            raise BadInput(
                f"{where}: pair {i} {j} {tuple(r)} has no reverse pair {j} {i}; a list that counts pairs twice must contain both"
            )
        if partner < k:
            continue
        difference = tensors[k] - tensors[partner].T
        odd, even = (float(np.abs(difference - sign * difference.T).max()) / 2 for sign in (1, -1))
        if odd > allowed_odd:
            raise BadInput(f"{where}: pair {i} {j} {tuple(r)}: its D vector is not minus that of the reverse pair")
        if even > allowed:
            share = f"{100 * even / largest:.2g} % of the largest; at most {100 * NOISE:g} % is accepted as noise"
            raise BadInput(
                f"{where}: pair {i} {j} {tuple(r)}: its coupling differs from that of the reverse pair by {even:.3g} meV, {share}"
            )
        noise = max(noise, odd, even)
        kept.append(k)
        found.append((tensors[k] + tensors[partner].T) / 2)
    notes: tuple[str, ...] = ()
    if noise > max(rounding, ANTISYMMETRY):
        notes = (
            f"J_ij and J_ji differ by up to {noise:.2g} meV, {100 * noise / largest:.2g} % of the largest coupling; the means are used",
        )
    return first[kept], second[kept], shifts[kept], np.array(found).reshape(-1, 3, 3), notes
