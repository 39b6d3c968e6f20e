"""Space of a search with one generator and structures of the user: layers and clusters."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ase import Atoms

from nucleate.crystals.formula import formula_text
from nucleate.csp.run_settings import RunSettings
from nucleate.csp.space import FormulaSpace
from nucleate.errors import BadInput
from nucleate.generate.base import Candidate, Generator
from nucleate.generate.mixture import MixtureGenerator
from nucleate.generate.seeds import read_seeds, refuse_what_is_not_used


class SeededSpace(FormulaSpace):
    """Structures of one formula from one generator, after those of the user.

    Args:
        settings: settings of the search.
        made: the generator.
    """

    def __init__(self, settings: RunSettings, made: Generator):
        super().__init__(settings)
        self._made = made
        self._seeds: list[Candidate] = []

    def given(self, source: str, what: str, open_directions: bool = False) -> Iterator[tuple[Atoms, str, dict]]:
        """Read structures of the user with the elements in the order of the search; yield each with its place and details.

        Args:
            source: the file.
            what: name of the structures, for messages.
            open_directions: see `read_structures`.

        Raises:
            BadInput: a structure has other atoms than the search, or constraints or moments.
        """
        for atoms, where, details in read_seeds(source, open_directions):
            refuse_what_is_not_used(atoms, where)
            symbols = atoms.get_chemical_symbols()
            if {s: symbols.count(s) for s in self.counts} != self.counts or len(atoms) != sum(self.counts.values()):
                found = atoms.get_chemical_formula()
                raise BadInput(f"{where}: contains {found} and not {formula_text(self.counts)}; give {what} with the atoms of the search")
            yield atoms[np.argsort([list(self.counts).index(symbol) for symbol in symbols], kind="stable")], where, details

    @property
    def seeds(self) -> int:
        """Number of structures of the user."""
        return len(self._seeds)

    def propose(self, n: int, rng: np.random.Generator, with_seeds: bool) -> list[Candidate]:
        """Return `n` candidates."""
        own = [Candidate(c.atoms.copy(), c.origin, c.seed, dict(c.details)) for c in self._seeds[:n]] if with_seeds else []
        return own + (MixtureGenerator([(self._made, 1.0)]).propose(n - len(own), rng) if n > len(own) else [])
