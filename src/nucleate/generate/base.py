"""Protocol of generators, and their candidates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from ase import Atoms


@dataclass
class Candidate:
    """A structure with its origin.

    Attributes:
        atoms: the periodic structure as generated.
        origin: name of the generator: `symmetric`, `p1`, `diatomic`, `prototype`, `wyckoff` or `seed`.
        seed: random seed that reproduces this structure (-1 for structures of the user).
        details: JSON-serialisable data, such as the requested space group and Wyckoff letters, or the file.
    """

    atoms: Atoms
    origin: str
    seed: int = -1
    details: dict[str, Any] = field(default_factory=dict)


class Generator(Protocol):
    """Generator of candidates; it respects its time limits and never returns fewer candidates than requested."""

    name: str

    def propose(self, n: int, rng: np.random.Generator) -> list[Candidate]:
        """Return exactly `n` candidates.

        Raises:
            GenerationFailed: fewer candidates could be generated.
        """
        ...
