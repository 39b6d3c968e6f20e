"""Calibration of posterior probabilities on synthetic measurements: the library of prototypes, and how often a prediction is right."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from ase import Atoms
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.io.ase import AseAtomsAdaptor
from scipy.linalg import expm
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from nucleate.benchmark.statistics import wilson
from nucleate.generate.aflow import read_prototypes
from nucleate.observables.reflections import allowed_strains, primitive

SPLIT_SEED = 2026
TESTED = 60
"""Number of prototypes of the part `test`; the others are the part `tune`."""
LARGEST_STRAIN = 0.03
"""Largest absolute principal strain of a synthetic crystal."""
BINS = (0.0, 0.5, 0.8, 0.95, 0.99, 1.0)
"""Edges of the predicted probabilities in a table of reliability."""


def library() -> list[Atoms]:
    """Return the primitive cells of the prototypes."""
    return [prototype.atoms for prototype in read_prototypes()]


def part(name: str, size: int) -> np.ndarray:
    """Return the indices of the prototypes of a part, in random order."""
    order = np.random.default_rng(SPLIT_SEED).permutation(size)
    return order[:TESTED] if name == "test" else order[TESTED:]


def duplicates(number: int, crystals: list[Atoms]) -> list[int]:
    """Return the indices of the entries that are the same crystal as an entry, itself included."""
    matcher = StructureMatcher(ltol=0.1, stol=0.1, angle_tol=3.0, primitive_cell=True, scale=False)
    own = crystals[number]
    reduced = own.symbols.formula.reduce()[0].count()
    one = AseAtomsAdaptor.get_structure(own)
    return [
        k
        for k, atoms in enumerate(crystals)
        if k == number or (atoms.symbols.formula.reduce()[0].count() == reduced and matcher.fit(one, AseAtomsAdaptor.get_structure(atoms)))
    ]


def distorted(atoms: Atoms, symmetric: bool, rattle: float, rng: np.random.Generator) -> tuple[Atoms, float]:
    """Return a crystal with a random strain and displaced atoms, and its largest absolute principal strain.

    Args:
        atoms: primitive cell.
        symmetric: whether the strain keeps the symmetry.
        rattle: standard deviation of each coordinate, Å.
        rng: random generator.
    """
    if symmetric:
        # The strains refer to the idealised primitive cell, which may be turned relative to the given one.
        cell, scaled, numbers, dataset = primitive(atoms, True)
        atoms = Atoms(numbers, scaled_positions=scaled, cell=cell, pbc=True)
        basis = allowed_strains(cell, np.eye(3, dtype=int)[None] if dataset is None else dataset.rotations)
    else:
        basis = allowed_strains(atoms.cell.array, np.eye(3, dtype=int)[None])
    strain = np.tensordot(rng.normal(size=len(basis)), basis, 1)
    strain *= LARGEST_STRAIN * rng.uniform(0.1, 1.0) / np.abs(np.linalg.eigvalsh(strain)).max()
    crystal = atoms.copy()
    crystal.set_cell(atoms.cell.array @ expm(strain), scale_atoms=True)
    crystal.positions += rng.normal(scale=rattle, size=crystal.positions.shape)
    return crystal, float(np.abs(np.linalg.eigvalsh(strain)).max())


def first_and_right(logarithm: np.ndarray, right: Sequence[int]) -> tuple[float, float]:
    """Return the posterior probability of the most probable entry and that of all right entries, from logarithms (n,)."""
    posterior = np.exp(logarithm - logsumexp(logarithm))
    return float(posterior.max()), float(posterior[list(right)].sum())


def sharpest(score: Callable[[float], float], low: float, high: float) -> float:
    """Return the positive number between two bounds at which a mean logarithm of probabilities is largest."""
    return float(np.exp(minimize_scalar(lambda x: -score(float(np.exp(x))), bounds=(np.log(low), np.log(high)), method="bounded").x))


def reliability(predictions: Sequence[float], hits: Sequence[bool]) -> list[str]:
    """Return the rows of a table: predicted probability of the first entry, number, mean prediction, how often it is right, 95 %."""
    firsts, right = np.array(predictions), np.array(hits)
    lines = []
    for low_edge, high_edge in itertools.pairwise(BINS):
        inside = (firsts >= low_edge) & ((firsts < high_edge) | (high_edge == 1.0))
        if inside.any():
            low, high = wilson(int(right[inside].sum()), int(inside.sum()))
            lines.append(
                f"| {low_edge:g}-{high_edge:g} | {inside.sum()} | {100 * firsts[inside].mean():.0f} % | {100 * right[inside].mean():.0f} % "
                f"| {100 * low:.0f}-{100 * high:.0f} % |"
            )
    return lines
