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
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

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


@dataclass
class _Places:
    """Terms of all molecules of a batch: indices of atoms, lattice shifts of the vectors between them, and rows of coefficients."""

    atoms: dict[str, list[np.ndarray]] = field(default_factory=dict)
    values: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def add(self, name: str, atoms: np.ndarray, coefficients: np.ndarray, structure: int, **values: np.ndarray) -> None:
        """Append the terms of one molecule, which belongs to a structure."""
        self.atoms.setdefault(name, []).append(atoms)
        owner = np.full(len(atoms), structure)
        for what, value in {"coefficients": coefficients, "owner": owner, **values}.items():
            self.values.setdefault(f"{name} {what}", []).append(value)

    def tensors(self) -> dict[str, Tensor]:
        """Return all indices and values as tensors."""
        return {name: torch.as_tensor(np.concatenate(rows)) for name, rows in {**self.atoms, **self.values}.items()}


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
        places = _Places()
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
                own, offset = self.fields[kind], int(starts[k]) + first
                _enter(places, own, offset, k)
                energies[k] += own.energy
        tensors = places.tensors()
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


def _enter(places: _Places, own: MoleculeField, offset: int, structure: int) -> None:
    """Add the terms of one molecule of a batch, whose first atom is `offset`."""
    terms, coefficients = own.terms, own.coefficients
    count = sum(len(rows) for rows in places.atoms.get("bonds", []))
    split = np.cumsum([3 * len(terms.bonds), 4 * len(terms.angles), len(terms.crossed), 3 * len(terms.torsions)])
    a, b, c, d, e = np.split(coefficients, split)
    # Bonds by their atoms: the other terms name bonds, with a sign, so that each vector is computed once.
    number = {(int(i), int(j)): k for k, (i, j) in enumerate(terms.bonds)}

    def arm(i: int, j: int) -> tuple[int, int]:
        """Return the bond from atom i to atom j and its sign."""
        return (number[i, j], 1) if (i, j) in number else (number[j, i], -1)

    def arms(rows: list[list[tuple[int, int]]], width: int) -> tuple[np.ndarray, np.ndarray]:
        table = np.array(rows, dtype=int).reshape(-1, width, 2)
        return table[..., 0] + count, table[..., 1].astype(float)

    places.add("bonds", terms.bonds + offset, a.reshape(-1, 3), structure, reference=terms.lengths)
    angle, signs = arms([[arm(j, i), arm(j, k)] for i, j, k in terms.angles.tolist()], 2)
    places.add("angles", angle, b.reshape(-1, 4), structure, signs=signs, reference=terms.cosines)
    places.add("crossed", terms.crossed + count, c.reshape(-1, 1), structure)
    torsion, signs = arms([[arm(i, j), arm(j, k), arm(k, m)] for i, j, k, m in terms.torsions.tolist()], 3)
    places.add("torsions", torsion, d.reshape(-1, 3), structure, signs=signs)
    vertex, signs = arms([[arm(j, k) for k in others] for j, *others in terms.vertices.tolist()], 3)
    places.add("vertices", vertex, e.reshape(-1, 1), structure, signs=signs)


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
