"""Generator of candidates over the compositions of a chemical system."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from nucleate.crystals.compositions import ChemicalSystem
from nucleate.crystals.formula import formula_text
from nucleate.errors import BadInput
from nucleate.generate.base import Candidate
from nucleate.generate.mixture import MixtureGenerator, make_generator
from nucleate.generate.seeds import SeedGenerator, read_seeds
from nucleate.generate.settings import GenerateSettings


class SystemGenerator:
    """Generator of random crystals of many compositions, and of structures of the user.

    Compositions are drawn with given weights, and each cell of a composition (Mg2Si, Mg4Si2, ...) is equally likely. The generators of the
    cells are built when they are first needed.

    Args:
        system: the chemical system.
        max_atoms: largest number of atoms in a cell.
        settings: fractions, volumes, distances, time limit and workers, for all compositions.
        seeds: structures of the user, or files that contain them.

    Attributes:
        compositions: reduced formulas, in the order of the weights.

    Raises:
        BadInput: `min_distance` names an element outside the system, a structure of the user does not fit, or no cell fits the settings.
    """

    name = "system"

    def __init__(
        self,
        system: ChemicalSystem,
        max_atoms: int,
        settings: GenerateSettings | None = None,
        seeds: str | Path | Atoms | Sequence[str | Path | Atoms] | None = None,
    ):
        self.system, self.settings = system, settings or GenerateSettings()
        for key in self.settings.min_distance:
            if not set(key.split("-")) <= set(system.symbols):
                raise BadInput(f"min_distance '{key}': {system.name} has no such pair; name two of {', '.join(system.symbols)}")
        self._cells: dict[str, list[dict[str, int]]] = {}
        for counts in system.cells(max_atoms):
            self._cells.setdefault(system.formula(counts), []).append(counts)
        self.compositions = list(self._cells)
        self.seeds = [] if seeds is None else [_fitted(system, max_atoms, *item) for item in read_seeds(seeds)]
        self._generators: dict[str, MixtureGenerator | None] = {}
        self._refused = ""
        # Settings that no cell of an end member fits are refused before a search starts.
        for formula in (system.formula(member) for member in system.end_members):
            if not self._drawable(formula):
                raise BadInput(f"{formula}: no cell of this end member fits the settings of [generate]: {self._refused}")

    def propose(self, n: int, rng: np.random.Generator, weights: np.ndarray | None = None, with_seeds: bool = False) -> list[Candidate]:
        """Return exactly `n` candidates.

        Args:
            n: number of candidates.
            rng: random number generator.
            weights: (n_compositions,) relative frequencies of the compositions; None: equal.
            with_seeds: whether the structures of the user come first.

        Raises:
            GenerationFailed: a generator could not generate its candidates.
        """
        made = [Candidate(atoms.copy(), "seed", -1, dict(details)) for atoms, details in self.seeds[:n]] if with_seeds else []
        left = n - len(made)
        if left <= 0:
            return made
        share = np.ones(len(self.compositions)) if weights is None else np.asarray(weights, dtype=float)
        share = share / share.sum()
        # Systematic sampling: every composition gets its share of the candidates to within one.
        marks = np.floor(np.append(0.0, np.cumsum(share)) * left + rng.random())
        numbers = np.diff(marks).astype(int)
        numbers[-1] += left - numbers.sum()
        for formula, number in zip(self.compositions, numbers, strict=True):
            made += self._of(formula, int(number), rng)
        # Compositions that the settings do not allow leave their share to the end members.
        ends = [self.system.formula(member) for member in self.system.end_members]
        for k in range(n - len(made)):
            made += self._of(ends[k % len(ends)], 1, rng)
        return made

    def _of(self, formula: str, number: int, rng: np.random.Generator) -> list[Candidate]:
        """Return candidates of one composition, in any of its cells; none if the settings allow none of them."""
        cells = self._drawable(formula) if number else []
        if not cells:
            return []
        made: list[Candidate] = []
        drawn = np.bincount(rng.integers(len(cells), size=number), minlength=len(cells))
        for counts, count in zip(cells, drawn, strict=True):
            generator = self._generator(counts)
            if count and generator is not None:
                made += generator.propose(int(count), rng)
        return made

    def _drawable(self, formula: str) -> list[dict[str, int]]:
        """Return the cells of a composition that the settings allow."""
        return [counts for counts in self._cells[formula] if self._generator(counts) is not None]

    def _generator(self, counts: dict[str, int]) -> MixtureGenerator | None:
        """Return the generator of a cell; None if the settings of the user do not fit it."""
        key = formula_text(counts)
        if key not in self._generators:
            try:
                self._generators[key] = make_generator(counts, settings_of_cell(self.settings, counts))
            except BadInput as error:
                self._generators[key], self._refused = None, str(error)
        return self._generators[key]


def settings_of_cell(settings: GenerateSettings, counts: dict[str, int]) -> GenerateSettings:
    """Return the settings of one cell of a chemical system, with the distances between its own elements."""
    own = {pair: value for pair, value in settings.min_distance.items() if set(pair.split("-")) <= set(counts)}
    return settings.model_copy(update={"min_distance": own})


def _fitted(system: ChemicalSystem, max_atoms: int, atoms: Atoms, where: str, details: dict) -> tuple[Atoms, dict]:
    """Return a structure of the user in a cell with at most `max_atoms` atoms."""
    if not system.contains(atoms):
        raise BadInput(f"{where}: {atoms.get_chemical_formula()} is not a composition of {system.name}; remove the structure")
    counts = {symbol: int(np.count_nonzero(np.array(atoms.get_chemical_symbols()) == symbol)) for symbol in system.symbols}
    counts = {symbol: n for symbol, n in counts.items() if n}
    own = SeedGenerator(atoms, counts, primitive=True).candidates[0].atoms
    if len(own) > max_atoms:
        raise BadInput(f"{where}: the primitive cell has {len(own)} atoms, more than max_atoms = {max_atoms}; increase max_atoms")
    return own, details
