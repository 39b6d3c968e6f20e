"""Contract of a generator, and its candidates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from ase import Atoms


@dataclass
class Candidate:
    """Structure with its origin.

    Attributes:
        atoms: the periodic structure as generated.
        origin: generator name: `symmetric`, `p1`, `seed`.
        seed: the integer from which this one structure can be made again (-1 for the user's own).
        details: JSON-serialisable facts, such as space group and Wyckoff letters asked for, or the file read.
    """

    atoms: Atoms
    origin: str
    seed: int = -1
    details: dict[str, Any] = field(default_factory=dict)


class Generator(Protocol):
    """Generator of candidates; it ends within its time limits and raises `GenerationFailed` rather than return fewer."""

    name: str

    def propose(self, n: int, rng: np.random.Generator) -> list[Candidate]:
        """Exactly `n` candidates."""
        ...
