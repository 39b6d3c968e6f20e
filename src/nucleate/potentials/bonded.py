"""Force field of the bonds, angles and torsions of given molecules, which learned potentials of molecular crystals correct.

The energy of a molecule is that of its relaxed geometry plus

    sum over bonds      a1 y + a2 y^2 + a3 y^3,                          y = 1 - exp(-(r - r0) / w), w = 0.5 Å
    sum over angles     b1 u + b2 u^2 + b3 u y + b4 u y',                                    u = cos(theta) - cos(theta0)
    sum over pairs of bonds at one atom     c y y'
    sum over torsions   d1 t + d2 (2 t^2 - s) + d3 (4 t^3 - 3 t s),       t = p cos(phi), s = p^2, p = sin(theta) sin(theta')
    sum over atoms with three neighbours    e v^2,                        v = the triple product of the unit vectors of the bonds

which depends linearly on its coefficients. The terms of torsions are those of a Fourier series in cos(n phi), n = 1, 2, 3, times powers of
the sines of the bond angles, so that they are smooth where three atoms become collinear. All terms are the same for mirror images. The
coefficients follow from energies and forces of the isolated molecule on the reference; interactions of molecules are left to the learned
potential. Bonds after P. M. Morse, Phys. Rev. 34, 57 (1929), doi 10.1103/PhysRev.34.57.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import Edges
from nucleate.errors import BadInput
from nucleate.molecules.molecule import Molecule
from nucleate.molecules.topology import Topology
from nucleate.potentials.base import Prediction
from nucleate.reference.base import Label

WIDTH = 0.5
"""Decay length w of the terms of a bond, Å."""
RIDGE = 1e-4
"""Strength of the ridge regularisation, relative to the mean square of a column of the least-squares problem."""
ENERGY_WEIGHT = 3.0
"""Weight of an energy (eV) relative to that of a force component (eV/Å)."""


@dataclass(frozen=True, eq=False)
class Terms:
    """Internal coordinates of a molecule: indices of atoms, and values in the relaxed geometry.

    Attributes:
        bonds: (b, 2) atoms of each bond.
        angles: (a, 3) atoms of each angle, the vertex second.
        crossed: (c, 2) pairs of bonds that share an atom.
        torsions: (t, 4) atoms of each chain of three bonds.
        vertices: (v, 4) atoms with three neighbours, which follow.
        lengths: (b,) bond lengths r0, Å.
        cosines: (a,) cosines of the angles.
    """

    bonds: np.ndarray
    angles: np.ndarray
    crossed: np.ndarray
    torsions: np.ndarray
    vertices: np.ndarray
    lengths: np.ndarray
    cosines: np.ndarray

    @classmethod
    def of(cls, molecule: Molecule) -> Terms:
        """Return the internal coordinates of a molecule."""
        n, bonds = len(molecule), np.sort(molecule.bonds, axis=1)
        neighbours: list[list[int]] = [[] for _ in range(n)]
        for i, j in bonds:
            neighbours[i].append(int(j))
            neighbours[j].append(int(i))
        angles = [(i, j, k) for j in range(n) for a, i in enumerate(neighbours[j]) for k in neighbours[j][a + 1 :]]
        crossed = [(a, b) for a in range(len(bonds)) for b in range(a + 1, len(bonds)) if set(bonds[a]) & set(bonds[b])]
        torsions = [(i, j, k, m) for j, k in bonds for i in neighbours[j] if i != k for m in neighbours[k] if m not in (i, j)]
        vertices = [(j, *neighbours[j]) for j in range(n) if len(neighbours[j]) == 3]
        x = molecule.positions
        arms = [(x[i] - x[j], x[k] - x[j]) for i, j, k in angles]
        return cls(
            bonds.reshape(-1, 2), _indices(angles, 3), _indices(crossed, 2), _indices(torsions, 4), _indices(vertices, 4),
            np.linalg.norm(x[bonds[:, 1]] - x[bonds[:, 0]], axis=1),
            np.array([u @ v / np.linalg.norm(u) / np.linalg.norm(v) for u, v in arms]),
        )  # fmt: skip

    @property
    def size(self) -> int:
        """Number of coefficients."""
        return 3 * len(self.bonds) + 4 * len(self.angles) + len(self.crossed) + 3 * len(self.torsions) + len(self.vertices)


def shared(molecule: Molecule, terms: Terms) -> np.ndarray:
    """Return the (k, types) matrix that spreads the coefficients of equivalent terms; atoms are equivalent if their surroundings are.

    Atoms are told apart by their elements and, repeatedly, by the kinds of their neighbours (B. Weisfeiler and A. Leman, 1968).
    """
    kinds = [str(z) for z in molecule.numbers]
    for _ in range(len(molecule)):
        around: list[list[str]] = [[] for _ in kinds]
        for i, j in molecule.bonds:
            around[i].append(kinds[j])
            around[j].append(kinds[i])
        refined = [f"{kind}({','.join(sorted(others))})" for kind, others in zip(kinds, around, strict=True)]
        # Numbers replace the texts, which would grow from step to step.
        names = {name: str(k) for k, name in enumerate(sorted(set(refined)))}
        after = [names[name] for name in refined]
        if len(set(after)) == len(set(kinds)):
            break
        kinds = after
    keys: list[tuple[Any, ...]] = []
    bonds = [tuple(sorted((kinds[i], kinds[j]))) for i, j in terms.bonds]
    for bond in bonds:
        keys += [("bond", bond, k) for k in range(3)]
    for i, j, k in terms.angles:
        ends = tuple(sorted((kinds[i], kinds[k])))
        keys += [("angle", ends, kinds[j], 0), ("angle", ends, kinds[j], 1)]
        keys += [("arm", kinds[i], kinds[j], kinds[k]), ("arm", kinds[k], kinds[j], kinds[i])]
    keys += [("crossed", tuple(sorted((bonds[a], bonds[b])))) for a, b in terms.crossed]
    for chain in terms.torsions:
        names_of = tuple(kinds[k] for k in chain)
        keys += [("torsion", min(names_of, names_of[::-1]), k) for k in range(3)]
    keys += [("vertex", kinds[j], tuple(sorted(kinds[k] for k in others))) for j, *others in terms.vertices]
    place = {key: k for k, key in enumerate(dict.fromkeys(keys))}
    matrix = np.zeros((len(keys), len(place)))
    matrix[np.arange(len(keys)), [place[key] for key in keys]] = 1.0
    return matrix


def _indices(rows: Sequence[tuple[int, ...]], width: int) -> np.ndarray:
    return np.array(rows, dtype=int).reshape(-1, width)


class _Table(NamedTuple):
    """Terms of one kind in a molecule: atoms of bonds, or bonds of other terms; coefficients; values with one row a term."""

    places: np.ndarray
    coefficients: np.ndarray
    values: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class MoleculeField:
    """Force field of one molecule.

    Attributes:
        molecule: the molecule in the relaxed geometry.
        energy: energy of the isolated molecule in that geometry, eV.
        coefficients: (k,) coefficients of the terms, eV.
    """

    molecule: Molecule
    energy: float
    coefficients: np.ndarray

    @cached_property
    def terms(self) -> Terms:
        """Internal coordinates."""
        return Terms.of(self.molecule)

    @cached_property
    def tables(self) -> dict[str, _Table]:
        """Terms by name: bonds and crossed bonds by their numbers, the others by the bonds and signs of their arms.

        The terms of angles, torsions and vertices name bonds, so that each vector is computed once.
        """
        terms = self.terms
        split = np.cumsum([3 * len(terms.bonds), 4 * len(terms.angles), len(terms.crossed), 3 * len(terms.torsions)])
        a, b, c, d, e = np.split(self.coefficients, split)
        number = {(int(i), int(j)): k for k, (i, j) in enumerate(terms.bonds)}

        def arms(rows: list[list[tuple[int, int]]], width: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
            """Return the bond from the first to the second atom of each pair, and its sign."""
            table = [[(number[i, j], 1) if (i, j) in number else (number[j, i], -1) for i, j in row] for row in rows]
            pairs = np.array(table, dtype=int).reshape(-1, width, 2)
            return pairs[..., 0], {"signs": pairs[..., 1].astype(float)}

        angles, angle_signs = arms([[(j, i), (j, k)] for i, j, k in terms.angles.tolist()], 2)
        torsions, torsion_signs = arms([[(i, j), (j, k), (k, m)] for i, j, k, m in terms.torsions.tolist()], 3)
        vertices, vertex_signs = arms([[(j, k) for k in others] for j, *others in terms.vertices.tolist()], 3)
        return {
            "bonds": _Table(terms.bonds, a.reshape(-1, 3), {"reference": terms.lengths}),
            "angles": _Table(angles, b.reshape(-1, 4), {**angle_signs, "reference": terms.cosines}),
            "crossed": _Table(terms.crossed, c.reshape(-1, 1), {}),
            "torsions": _Table(torsions, d.reshape(-1, 3), torsion_signs),
            "vertices": _Table(vertices, e.reshape(-1, 1), vertex_signs),
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the force field as a JSON-serialisable dictionary."""
        return {
            "name": self.molecule.name, "numbers": self.molecule.numbers.tolist(), "positions": self.molecule.positions.tolist(),
            "bonds": self.molecule.bonds.tolist(), "energy": self.energy, "coefficients": self.coefficients.tolist(),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> MoleculeField:
        """Create a force field from the result of `as_dict`."""
        molecule = Molecule(
            np.array(data["numbers"], dtype=int), np.array(data["positions"], dtype=float),
            np.array(data["bonds"], dtype=int).reshape(-1, 2), str(data["name"]),
        )  # fmt: skip
        made = cls(molecule, float(data["energy"]), np.array(data["coefficients"], dtype=float))
        if made.coefficients.shape != (made.terms.size,):
            raise ValueError(f"{made.terms.size} coefficients belong to {molecule.formula}, not {made.coefficients.size}")
        return made


class BondedPotential:
    """Force field of the molecules of crystals, as a `Potential`.

    Structures that do not consist of the molecules, in the order of their atoms, are refused.

    Args:
        fields: force field of each molecule.
    """

    cutoff = 1.0

    def __init__(self, fields: Sequence[MoleculeField]):
        self.fields = tuple(fields)
        self.topology = Topology(tuple(field.molecule for field in self.fields))
        self.species = tuple(sorted({int(z) for field in self.fields for z in field.molecule.numbers}))

    def layout(self, batch: CrystalBatch, edges: Edges) -> dict[str, Tensor]:
        """Return the terms of a batch, with the lattice translations that bring the atoms of a bond together.

        Raises:
            BadInput: a structure consists of other molecules.
        """
        found: dict[int, list[tuple[int, int]]] = {kind: [] for kind in range(len(self.fields))}
        numbers, owner = batch.numbers.cpu().numpy(), batch.structure.cpu().numpy()
        starts = np.searchsorted(owner, np.arange(len(batch)))
        ends = np.searchsorted(owner, np.arange(len(batch)), side="right")
        energies = np.zeros(len(batch))
        for k in range(len(batch)):
            blocks = self.topology.blocks(numbers[starts[k] : ends[k]])
            if blocks is None:
                names = " and ".join(molecule.formula for molecule in self.topology.molecules)
                raise BadInput(f"structure {k} does not consist of {names} with their atoms one after another")
            for kind, first in blocks:
                found[kind].append((int(starts[k]) + first, k))
                energies[k] += self.fields[kind].energy
        tensors = _joined([(self.fields[kind], np.array(places).reshape(-1, 2)) for kind, places in found.items()])
        # Bonds are shorter than half a cell, except in cells of small molecules, where the nearest image is that of the bond as well.
        bonded = tensors["bonds"]
        cells = batch.cells[batch.structure[bonded[:, 0]]]
        apart = batch.positions[bonded[:, 1]] - batch.positions[bonded[:, 0]]
        fractional = torch.linalg.solve(cells.transpose(1, 2), apart.unsqueeze(2)).squeeze(2)
        return {**tensors, "shifts": -fractional.round(), "energies": torch.as_tensor(energies)}

    def energy_forces_stress(
        self, batch: CrystalBatch, edges: Edges | None = None, layout: dict[str, Tensor] | None = None, mean_forces: bool = False
    ) -> Prediction:
        """Predict energies, forces and stresses; see `Potential`."""
        tables = self.layout(batch, edges) if layout is None else layout  # type: ignore[arg-type]
        with torch.enable_grad():
            positions = batch.positions.detach().double().requires_grad_(True)
            strain = torch.zeros(len(batch), 3, 3, dtype=torch.float64, device=positions.device, requires_grad=True)
            energy = _energies(positions, batch.cells.double(), strain, batch.structure, tables)
            forces, stress = torch.autograd.grad(energy.sum(), (positions, strain))
        stress = 0.5 * (stress + stress.transpose(1, 2)) / batch.volumes.double().view(-1, 1, 1)
        total = energy.detach() + tables["energies"].to(energy.device)
        return Prediction(total.unsqueeze(0), -forces.unsqueeze(0), stress.unsqueeze(0))


def _joined(copies: Sequence[tuple[MoleculeField, np.ndarray]]) -> dict[str, Tensor]:
    """Return the terms of copies of molecules, those of one kind of molecule after those of another.

    Args:
        copies: each molecule with an (n, 2) array of the first atom of each copy and its structure.
    """
    rows: dict[str, list[np.ndarray]] = {}
    bonds = 0
    for own, places in copies:
        n = len(places)
        bond_offsets = bonds + len(own.terms.bonds) * np.arange(n)
        bonds += n * len(own.terms.bonds)
        for name, table in own.tables.items():
            offsets = places[:, 0] if name == "bonds" else bond_offsets
            moved = table.places[None] + offsets.reshape(-1, *[1] * table.places.ndim)
            rows.setdefault(name, []).append(moved.reshape(-1, *table.places.shape[1:]))
            values = {"coefficients": table.coefficients, **table.values}
            for what, value in values.items():
                rows.setdefault(f"{name} {what}", []).append(np.tile(value, (n, *[1] * (value.ndim - 1))))
            rows.setdefault(f"{name} owner", []).append(np.repeat(places[:, 1], len(table.places)))
    return {name: torch.as_tensor(np.concatenate(parts)) for name, parts in rows.items()}


def _energies(positions: Tensor, cells: Tensor, strain: Tensor, structure: Tensor, tables: dict[str, Tensor]) -> Tensor:
    """Return the (n,) energies of the bonded terms, eV, without the energies of the relaxed molecules."""
    bonded = tables["bonds"]
    owner = structure[bonded[:, 0]]
    vectors = positions[bonded[:, 1]] - positions[bonded[:, 0]] + (tables["shifts"].unsqueeze(1) @ cells[owner]).squeeze(1)
    vectors = vectors + (vectors.unsqueeze(1) @ strain[owner]).squeeze(1)
    terms = _terms(vectors, tables)
    energy = positions.new_zeros(len(cells))
    for name, values in terms.items():
        weights, owners = (tables[f"{name} {what}"] for what in ("coefficients", "owner"))
        energy = energy.index_add(0, owners, (values * weights).sum(1))
    return energy


def _terms(vectors: Tensor, tables: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the values of all terms, (n, number of coefficients of a term) each, from the (b, 3) vectors of the bonds, Å."""
    lengths = vectors.norm(dim=1)
    units = vectors / lengths.unsqueeze(1)
    y = 1 - torch.exp(-(lengths - tables["bonds reference"]) / WIDTH)
    angle = units[tables["angles"]] * tables["angles signs"].unsqueeze(2)
    u = (angle[:, 0] * angle[:, 1]).sum(1) - tables["angles reference"]
    arms, crossed = y[tables["angles"]], y[tables["crossed"]]
    torsion = units[tables["torsions"]] * tables["torsions signs"].unsqueeze(2)
    first = torch.linalg.cross(torsion[:, 0], torsion[:, 1], dim=1)
    second = torch.linalg.cross(torsion[:, 1], torsion[:, 2], dim=1)
    t, s = (first * second).sum(1), (first**2).sum(1) * (second**2).sum(1)
    vertex = units[tables["vertices"]] * tables["vertices signs"].unsqueeze(2)
    v = (vertex[:, 0] * torch.linalg.cross(vertex[:, 1], vertex[:, 2], dim=1)).sum(1)
    return {
        "bonds": torch.stack([y, y**2, y**3], dim=1),
        "angles": torch.stack([u, u**2, u * arms[:, 0], u * arms[:, 1]], dim=1),
        "crossed": (crossed[:, 0] * crossed[:, 1]).unsqueeze(1),
        "torsions": torch.stack([t, 2 * t**2 - s, 4 * t**3 - 3 * t * s], dim=1),
        "vertices": (v**2).unsqueeze(1),
    }


def fit_field(molecule: Molecule, structures: Sequence[Atoms], labels: Sequence[Label], energy: float) -> tuple[MoleculeField, float]:
    """Fit the force field of a molecule to labels of the isolated molecule by linear least squares.

    Args:
        molecule: the molecule in its relaxed geometry.
        structures: distorted molecules in large cells, with the atoms in the same order.
        labels: their labels.
        energy: energy of the relaxed molecule, eV.

    Returns:
        The force field, and the root mean square error of the force components on the labels, eV/Å.
    """
    blank = MoleculeField(molecule, energy, np.zeros(Terms.of(molecule).size))
    rows, targets = [], []
    for atoms, label in zip(structures, labels, strict=True):
        values, slopes = _columns(blank, atoms)
        rows += [ENERGY_WEIGHT * values[None], -slopes]
        targets += [np.array([ENERGY_WEIGHT * (label.energy - energy)]), np.asarray(label.forces).ravel()]
    spread = shared(molecule, blank.terms)
    matrix, target = np.concatenate(rows) @ spread, np.concatenate(targets)
    gram = matrix.T @ matrix
    penalty = RIDGE * max(float(np.mean(np.diag(gram))), 1e-12)
    coefficients = np.linalg.solve(gram + penalty * np.eye(len(gram)), matrix.T @ target)
    errors = (matrix @ coefficients - target).reshape(len(structures), -1)[:, 1:]
    # Rounding removes the last digits, which may differ when a search repeats the fit after a kill.
    return MoleculeField(molecule, energy, np.round(spread @ coefficients, 8)), float(np.sqrt(np.mean(errors**2)))


def _columns(field: MoleculeField, atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Return the (k,) values of all terms of a molecule, and their (3 n, k) derivatives with respect to the positions."""
    batch = CrystalBatch.from_atoms([atoms])
    tables = BondedPotential([field]).layout(batch, None)  # type: ignore[arg-type]
    bonded = tables["bonds"]
    shift = tables["shifts"] @ batch.cells[0]

    def values(positions: Tensor) -> Tensor:
        vectors = positions[bonded[:, 1]] - positions[bonded[:, 0]] + shift
        return torch.cat([term.reshape(-1) for term in _terms(vectors, tables).values()])

    slopes = torch.autograd.functional.jacobian(values, batch.positions)
    return values(batch.positions).numpy(), slopes.reshape(slopes.shape[0], -1).T.numpy()
