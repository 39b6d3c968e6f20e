"""Combination of several generators."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from nucleate.generate.base import Candidate, Generator
from nucleate.generate.p1 import P1Generator
from nucleate.generate.seeds import SeedGenerator
from nucleate.generate.settings import GenerateSettings
from nucleate.generate.symmetric import SymmetricGenerator


class MixtureGenerator:
    """Generator that proposes the user's structures first, then random ones in fixed fractions.

    Args:
        parts: generators with the share of each (shares add up to 1).
        seeds: structures to hand out before anything else, once each.
    """

    name = "mixture"

    def __init__(self, parts: Sequence[tuple[Generator, float]], seeds: SeedGenerator | None = None):
        self.parts = list(parts)
        self.seeds = seeds

    def propose(self, n: int, rng: np.random.Generator) -> list[Candidate]:
        """Exactly `n` candidates: seeds not handed out yet, then each part's share.

        Shares that are not whole numbers are rounded at random, so that small batches keep them on average.

        Raises:
            GenerationFailed: a part could not make its share.
        """
        made: list[Candidate] = []
        if self.seeds is not None and self.seeds.left:
            made += self.seeds.propose(min(n, self.seeds.left), rng)
        left = n - len(made)
        # One random offset for all: part i gets the whole numbers between its cumulated shares.
        edges = np.concatenate([[0.0], np.cumsum([share for _, share in self.parts])]) * left
        edges[-1] = left
        marks = np.floor(edges + rng.random())
        marks[0], marks[-1] = 0, left
        for (generator, _), number in zip(self.parts, np.diff(marks).astype(int), strict=True):
            if number:
                made += generator.propose(int(number), rng)
        return made


def make_generator(
    counts: dict[str, int],
    settings: GenerateSettings | None = None,
    seeds: str | Path | Atoms | Sequence[str | Path | Atoms] | None = None,
) -> MixtureGenerator:
    """Return the generator of a search.

    Args:
        counts: atoms of each species in the cell.
        settings: shares, volumes, distances, time limit and workers.
        seeds: the user's own structures, or files with them.

    Raises:
        BadInput: settings or seeds that cannot work for this composition.
    """
    settings = settings or GenerateSettings()
    parts: list[tuple[Generator, float]] = []
    if settings.symmetric_share > 0.0:
        parts.append((SymmetricGenerator(counts, settings), settings.symmetric_share))
    if settings.symmetric_share < 1.0:
        parts.append((P1Generator(counts, settings), 1.0 - settings.symmetric_share))
    own = SeedGenerator(seeds, counts) if seeds is not None else None
    return MixtureGenerator(parts, own)
