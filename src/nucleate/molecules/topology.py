"""Molecules of a crystal: which atoms belong together by their order, and which by their distances."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from nucleate.errors import BadInput
from nucleate.molecules.molecule import BOND, Molecule, connected, same_pairs

# Every start of nucleate would wait a third of a second for networkx, which only searches of molecules use.
if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True, eq=False)
class Topology:
    """The molecules of which crystals are built, whose atoms follow one another.

    Attributes:
        molecules: distinct molecules.
    """

    molecules: tuple[Molecule, ...]

    def blocks(self, numbers: np.ndarray) -> tuple[tuple[int, int], ...] | None:
        """Return the molecules of a structure as pairs (molecule, first atom); None if the order of its atoms is another one.

        Args:
            numbers: (n,) atomic numbers.
        """
        kinds = tuple(tuple(int(z) for z in molecule.numbers) for molecule in self.molecules)
        return _blocks(kinds, tuple(int(z) for z in numbers))

    @property
    def digest(self) -> str:
        """Hash of the elements and bonds of the molecules."""
        text = repr([molecule.graph_key for molecule in self.molecules])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def bonds(self, numbers: np.ndarray) -> np.ndarray | None:
        """Return the (n_bonds, 2) pairs of bonded atoms of a structure by the order of its atoms; None if that is another one."""
        blocks = self.blocks(numbers)
        if blocks is None:
            return None
        return np.concatenate([self.molecules[kind].bonds + first for kind, first in blocks]).reshape(-1, 2)

    def fragments(self, numbers: np.ndarray) -> np.ndarray | None:
        """Return the (n,) number of the molecule of each atom; None if the order of the atoms is another one."""
        blocks = self.blocks(numbers)
        if blocks is None:
            return None
        return np.concatenate([np.full(len(self.molecules[kind]), k) for k, (kind, _) in enumerate(blocks)])

    def whole(self, atoms: Atoms) -> Atoms:
        """Return a crystal with its molecules in one piece and together; a copy if the order of its atoms is another one."""
        result: Atoms = atoms.copy()
        fragments, bonds = self.fragments(atoms.numbers), self.bonds(atoms.numbers)
        if fragments is not None and bonds is not None:
            result.positions = gathered(unwrapped(atoms, fragments, bonds), fragments, atoms.cell.array)
        return result

    def in_own_geometry(self, atoms: Atoms) -> Atoms:
        """Return a crystal in which each molecule, or its mirror image, has the geometry of the topology, at the same place.

        Molecules whose shape is another one by more than `SHAPE`, such as other conformers, keep theirs, as does a crystal with another
        order of its atoms.
        """
        result = self.whole(atoms)
        blocks = self.blocks(atoms.numbers)
        for kind, first in blocks or ():
            own = self.molecules[kind].positions
            here = slice(first, first + len(own))
            found = result.positions[here]
            centre = found.mean(0)
            fitted = min(
                (_laid_on(mirrored, found - centre) for mirrored in (own, -own)), key=lambda x: float(((x - found + centre) ** 2).sum())
            )
            if np.sqrt(((fitted - found + centre) ** 2).sum(1).mean()) < SHAPE:
                result.positions[here] = fitted + centre
        return result

    def others(self, atoms: Atoms) -> str | None:
        """Return the molecules of a crystal, such as `CO2, 2 H2O`, if they are not those of the topology; else None.

        Molecules are compared by elements and bonds, so that conformers and mirror images are the same molecule.
        """
        found = crystal_bonds(atoms)
        expected = self.bonds(atoms.numbers)
        if expected is not None and found.is_finite and same_pairs(found.pairs, expected):
            return None
        import networkx as nx

        graphs = [_graph(molecule.numbers, molecule.bonds) for molecule in self.molecules]
        names: Counter[str] = Counter()
        strange = False
        for part in connected(len(atoms), found.pairs):
            mine = found.pairs[np.isin(found.pairs[:, 0], part)]
            finite = part[0] not in found.infinite
            name = Atoms(atoms.numbers[part]).get_chemical_formula()
            own = _graph(atoms.numbers[part], np.searchsorted(part, mine))
            known = finite and any(nx.is_isomorphic(own, graph, node_match=_same_element) for graph in graphs)
            names[name if finite else f"{name} chains or networks"] += 1
            strange |= not known
        if not strange:
            return None
        return ", ".join(name if count == 1 else f"{count} {name}" for name, count in sorted(names.items()))

    def ordered(self, atoms: Atoms, where: str) -> Atoms:
        """Return a crystal of the user with its molecules in the order of their kinds, each with the atoms in the order of the topology.

        Generated crystals have this order as well, so that all structures of a search consist of the same molecules at the same places.

        Raises:
            BadInput: the crystal consists of other molecules; the message begins with `where`.
        """
        import networkx as nx

        found = crystal_bonds(atoms)
        order: list[list[int]] = [[] for _ in self.molecules]
        for part in connected(len(atoms), found.pairs):
            mine = found.pairs[np.isin(found.pairs[:, 0], part)]
            own = _graph(atoms.numbers[part], np.searchsorted(part, mine))
            for kind, molecule in enumerate(self.molecules):
                match = nx.algorithms.isomorphism.GraphMatcher(_graph(molecule.numbers, molecule.bonds), own, node_match=_same_element)
                if part[0] not in found.infinite and match.is_isomorphic():
                    order[kind] += [int(part[match.mapping[k]]) for k in range(len(molecule))]
                    break
            else:
                names = " and ".join(molecule.formula for molecule in self.molecules)
                other = Atoms(atoms.numbers[part]).get_chemical_formula()
                raise BadInput(f"{where}: contains {other}, which is not a molecule of the search ({names}); remove the structure")
        return atoms[[atom for own in order for atom in own]]


SHAPE = 0.3
"""Largest root mean square distance of the atoms of two geometries of one conformer, Å."""


def _laid_on(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return (n, 3) positions rotated onto others, both with the centroid at the origin.

    W. Kabsch, Acta Cryst. A 32, 922 (1976), doi 10.1107/S0567739476001873.
    """
    u, _, vt = np.linalg.svd(start.T @ end)
    turn = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    return np.asarray(start @ turn)


@lru_cache(maxsize=4096)
def _blocks(kinds: tuple[tuple[int, ...], ...], numbers: tuple[int, ...]) -> tuple[tuple[int, int], ...] | None:
    """Return the molecules of a sequence of atomic numbers, by depth-first search."""
    longest = sorted(range(len(kinds)), key=lambda k: -len(kinds[k]))
    stack: list[tuple[int, tuple[tuple[int, int], ...]]] = [(0, ())]
    while stack:
        first, taken = stack.pop()
        if first == len(numbers):
            return taken
        for kind in reversed(longest):
            if numbers[first : first + len(kinds[kind])] == kinds[kind]:
                stack.append((first + len(kinds[kind]), (*taken, (kind, first))))
    return None


@dataclass(frozen=True, eq=False)
class CrystalBonds:
    """Bonds of a crystal by distance.

    Attributes:
        pairs: (n_bonds, 2) pairs of bonded atoms, i <= j; a pair that is bonded through several images occurs once for each.
        infinite: atoms of chains, layers and networks, which have no end.
    """

    pairs: np.ndarray
    infinite: frozenset[int]

    @property
    def is_finite(self) -> bool:
        """Whether all molecules are finite."""
        return not self.infinite


def crystal_bonds(atoms: Atoms) -> CrystalBonds:
    """Return the bonds of a periodic structure, by the same distances as those of isolated molecules."""
    radii = covalent_radii[atoms.numbers]
    # These import torch, which programs that only read molecules or settings do not need.
    from nucleate.crystals.batch import CrystalBatch
    from nucleate.crystals.neighbours import neighbour_edges

    batch = CrystalBatch.from_atoms([atoms])
    edges = neighbour_edges(batch, 2 * BOND * float(radii.max()))
    first, second = edges.centre.numpy(), edges.neighbour.numpy()
    shifts = edges.shift.numpy().astype(int)
    lengths = edges.vectors(batch).norm(dim=1).numpy()
    # Edges are directed; each bond is kept in one direction.
    forward = (first < second) | ((first == second) & (shifts @ np.array([10_000, 100, 1]) > 0))
    close = forward & (lengths < BOND * (radii[first] + radii[second]))
    first, second, shifts = first[close], second[close], shifts[close]
    pairs = np.stack([first, second], axis=1)
    infinite: set[int] = set()
    for part in connected(len(atoms), pairs):
        if _winds(part, pairs, shifts):
            infinite |= {int(k) for k in part}
    return CrystalBonds(pairs, frozenset(infinite))


def part_numbers(n: int, bonds: np.ndarray) -> np.ndarray:
    """Return the (n,) number of the connected part of each of n atoms."""
    numbers = np.zeros(n, dtype=int)
    for k, part in enumerate(connected(n, bonds)):
        numbers[part] = k
    return numbers


def _winds(part: np.ndarray, pairs: np.ndarray, shifts: np.ndarray) -> bool:
    """Return whether the bonds of a connected part lead from an atom to one of its own periodic images."""
    mine = np.isin(pairs[:, 0], part)
    neighbours: dict[int, list[tuple[int, np.ndarray]]] = {int(k): [] for k in part}
    for (i, j), shift in zip(pairs[mine], shifts[mine], strict=True):
        neighbours[int(i)].append((int(j), shift))
        neighbours[int(j)].append((int(i), -shift))
    cells = {int(part[0]): np.zeros(3, dtype=int)}
    waiting = [int(part[0])]
    while waiting:
        i = waiting.pop()
        for j, shift in neighbours[i]:
            if j not in cells:
                cells[j] = cells[i] + shift
                waiting.append(j)
            elif (cells[j] != cells[i] + shift).any():
                return True
    return False


def _graph(numbers: np.ndarray, bonds: np.ndarray) -> nx.Graph:
    import networkx as nx

    graph = nx.Graph()
    graph.add_nodes_from((k, {"element": int(z)}) for k, z in enumerate(numbers))
    graph.add_edges_from((int(i), int(j)) for i, j in bonds)
    return graph


def _same_element(one: dict[str, int], other: dict[str, int]) -> bool:
    return one["element"] == other["element"]


def unwrapped(atoms: Atoms, fragments: np.ndarray, bonds: np.ndarray) -> np.ndarray:
    """Return (n, 3) positions in which each molecule is in one piece, Å.

    Args:
        atoms: the crystal.
        fragments: (n,) number of the molecule of each atom.
        bonds: (n_bonds, 2) pairs of bonded atoms.
    """
    positions = np.array(atoms.positions)
    cell, inverse = atoms.cell.array, np.linalg.inv(atoms.cell.array)
    neighbours: dict[int, list[int]] = {}
    for i, j in bonds:
        neighbours.setdefault(int(i), []).append(int(j))
        neighbours.setdefault(int(j), []).append(int(i))
    seen: set[int] = set()
    for root in np.unique(fragments, return_index=True)[1]:
        waiting = [int(root)]
        seen.add(int(root))
        while waiting:
            i = waiting.pop()
            for j in neighbours.get(i, []):
                if j not in seen:
                    step = positions[j] - positions[i]
                    positions[j] -= np.round(step @ inverse) @ cell
                    seen.add(j)
                    waiting.append(j)
    return positions


TIE = 1e-3
"""Fractional distance by which molecules may pass half a cell before another image of them is taken; symmetry often puts them there."""


def gathered(positions: np.ndarray, fragments: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Return (n, 3) positions in which the centroid of every molecule is within half a cell of that of the first one.

    Args:
        positions: (n, 3) positions with each molecule in one piece, Å.
        fragments: (n,) number of the molecule of each atom, from 0.
        cell: (3, 3) lattice vectors as rows, Å.
    """
    places = centres(positions, fragments) @ np.linalg.inv(cell)
    moves = np.ceil(places - places[0] - 0.5 - TIE)
    return np.asarray(positions - (moves @ cell)[fragments])


def centres(positions: np.ndarray, fragments: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return the (n_molecules, 3) centroids of molecules in one piece."""
    fragments = np.asarray(fragments)
    count = np.bincount(fragments)
    return np.stack([np.bincount(fragments, positions[:, k]) / count for k in range(3)], axis=1)
