"""Combination of several generators."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from nucleate.errors import BadInput, GenerationFailed
from nucleate.generate.base import Candidate, Generator
from nucleate.generate.diatomic import DiatomicGenerator, diatomic_units
from nucleate.generate.observed_sites import ObservedSitesGenerator
from nucleate.generate.p1 import P1Generator
from nucleate.generate.prototypes import PrototypeGenerator
from nucleate.generate.seeds import SeedGenerator
from nucleate.generate.settings import GenerateSettings
from nucleate.generate.symmetric import SymmetricGenerator

log = logging.getLogger(__name__)

DIATOMIC_SHARE = 0.5
"""Fraction of candidates with diatomic units where the composition lets expect them."""


class MixtureGenerator:
    """Generator that proposes structures of the user first, then random ones in fixed fractions.

    Args:
        parts: generators with their fractions, which add up to 1.
        seeds: generator of the structures of the user, each of which is proposed once.
    """

    name = "mixture"

    def __init__(self, parts: Sequence[tuple[Generator, float]], seeds: SeedGenerator | None = None):
        self.parts = list(parts)
        self.seeds = seeds

    def propose(self, n: int, rng: np.random.Generator) -> list[Candidate]:
        """Return exactly `n` candidates: the remaining seeds, then the fraction of each generator.

        Numbers that are not integers are rounded at random, so that the fractions are correct on average also for small batches.

        Raises:
            GenerationFailed: a generator could not generate its candidates.
        """
        made: list[Candidate] = []
        if self.seeds is not None and self.seeds.left:
            made += self.seeds.propose(min(n, self.seeds.left), rng)
        left = n - len(made)
        # With one random offset for all, part i gets as many candidates as there are integers between its cumulative fractions.
        edges = np.concatenate([[0.0], np.cumsum([share for _, share in self.parts])]) * left
        edges[-1] = left
        marks = np.floor(edges + rng.random())
        marks[0], marks[-1] = 0, left
        for (generator, _), number in zip(self.parts, np.diff(marks).astype(int), strict=True):
            if number:
                made += generator.propose(int(number), rng)
        return made


class WithFallback:
    """Generator whose candidates are replaced by those of another one if they cannot be generated.

    Args:
        generator: the generator.
        other: generator of the candidates in its place.
    """

    def __init__(self, generator: Generator, other: Generator):
        self.generator, self.other = generator, other
        self.name = generator.name

    def propose(self, n: int, rng: np.random.Generator) -> list[Candidate]:
        """Return exactly `n` candidates.

        Raises:
            GenerationFailed: neither generator could generate its candidates.
        """
        try:
            return self.generator.propose(n, rng)
        except GenerationFailed as error:
            log.info("%s; other random candidates take their place", error)
            return self.other.propose(n, rng)


def known_crystal_generators(counts: dict[str, int], settings: GenerateSettings) -> list[Generator]:
    """Return the generators of candidates from known crystals: AFLOW prototypes and observed Wyckoff positions.

    Args:
        counts: number of atoms of each species in the cell.
        settings: volumes, distances, space groups, time limit and workers.

    Returns:
        Those that fit the composition.

    Raises:
        BadInput: neither does.
    """
    found: list[Generator] = []
    reasons: list[BadInput] = []
    for kind in (PrototypeGenerator, ObservedSitesGenerator):
        try:
            found.append(kind(counts, settings))
        except BadInput as error:
            reasons.append(error)
            log.info("%s", error)
    if not found:
        raise reasons[-1]
    return found


def has_known_crystals(counts: dict[str, int], settings: GenerateSettings) -> bool:
    """Return whether candidates of a composition can be drawn from known crystals; arguments as for `known_crystal_generators`."""
    try:
        known_crystal_generators(counts, settings)
    except BadInput:
        return False
    return True


def make_generator(
    counts: dict[str, int],
    settings: GenerateSettings | None = None,
    seeds: str | Path | Atoms | Sequence[str | Path | Atoms] | None = None,
) -> MixtureGenerator:
    """Return the generator of a search.

    Args:
        counts: number of atoms of each species in the cell.
        settings: fractions, volumes, distances, time limit and workers; without a `prototype_share`, which a search sets when it starts,
            no candidates are drawn from known crystals.
        seeds: structures of the user, or files that contain them.

    Raises:
        BadInput: settings or seeds do not fit the composition, or all candidates are to be drawn from known crystals and none fits it.
    """
    settings = settings or GenerateSettings()
    parts: list[tuple[Generator, float]] = []
    if settings.symmetric_share > 0.0:
        parts.append((SymmetricGenerator(counts, settings), settings.symmetric_share))
    if settings.symmetric_share < 1.0:
        parts.append((P1Generator(counts, settings), 1.0 - settings.symmetric_share))
    if diatomic_units(counts) and settings.space_groups is None and not settings.min_distance:
        own_units = WithFallback(DiatomicGenerator(counts, settings), MixtureGenerator(parts))
        parts = [*((part, share * (1 - DIATOMIC_SHARE)) for part, share in parts), (own_units, DIATOMIC_SHARE)]
    if settings.prototype_share:
        parts = _with_known_crystals(parts, counts, settings, settings.prototype_share)
    own = SeedGenerator(seeds, counts) if seeds is not None else None
    return MixtureGenerator(parts, own)


def _with_known_crystals(
    parts: list[tuple[Generator, float]], counts: dict[str, int], settings: GenerateSettings, share: float
) -> list[tuple[Generator, float]]:
    """Return the parts of a mixture with those from known crystals, which are left out of it if none fits the composition.

    Args:
        parts: other generators with their fractions, which add up to 1.
        counts: number of atoms of each species in the cell.
        settings: settings of all parts.
        share: fraction from known crystals.
    """
    try:
        known = known_crystal_generators(counts, settings)
    except BadInput:
        if share == 1.0:
            raise
        return parts
    if share < 1.0:
        others = MixtureGenerator(parts)
        known = [WithFallback(generator, others) for generator in known]
    return [*((one, share / len(known)) for one in known), *((part, (1.0 - share) * own) for part, own in parts if share < 1.0)]
