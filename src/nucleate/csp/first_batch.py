"""Choice of the first structures that are labelled, before there is a committee."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nucleate.csp.known import Known
from nucleate.csp.records import Carried
from nucleate.csp.run_settings import RunSettings
from nucleate.csp.select import first_candidates
from nucleate.csp.space import Space
from nucleate.fingerprints.matching import idealised
from nucleate.fingerprints.selection import distinct, fingerprints
from nucleate.generate.base import Candidate

KNOWN = "known"
"""Origin of structures that were minima of the teacher or of a given model."""
EARLIER = "earlier"
"""Origin of structures that were minima of an earlier search on the same reference, and of supercells of these."""


class FirstBatch:
    """Chooses structures of the first pool.

    Args:
        settings: settings of the search.
        space: compositions of the search.
        known: what is known before the first call.
        pool: candidates.
        rng: returns a random generator for each integer.
        left: returns the number of reference calls that are left, or None without a limit.
    """

    def __init__(
        self,
        settings: RunSettings,
        space: Space,
        known: Known,
        pool: list[Candidate],
        rng: Callable[[int], np.random.Generator],
        left: Callable[[], int | None],
    ):
        self.settings, self.space, self.known, self.rng, self.left = settings, space, known, rng, left
        self.own = [candidate for candidate in pool if candidate.origin == "seed"]
        self.random = [candidate for candidate in pool if candidate.origin != "seed"]

    def promising(self, carried: list[Carried]) -> list[Candidate]:
        """Return the structures that are not chosen at random: those of the user, and the lowest known minima.

        Args:
            carried: relaxed candidates of the base, the best first.
        """
        own = self.known.own_minima
        found = [Candidate(atoms, EARLIER) for atoms in self.known.minima[:own]]
        found += [Candidate(atoms, KNOWN) for atoms in [*self.known.minima[own:], *(item.atoms for item in carried)]]
        places = distinct([candidate.atoms for candidate in found], self.settings.species) if found else []
        lowest = [found[k] for k in places[: self.settings.teacher.first_labels]]
        batch = self.own[: self.settings.search.first_batch] + [
            Candidate(idealised(candidate.atoms), candidate.origin) for candidate in lowest
        ]
        return self._affordable(batch, 0)

    def of_the_anchors(self, pending: int) -> list[Candidate]:
        """Return candidates of the compositions of which there must be labels: for each one of the simplest, then others.

        Args:
            pending: number of structures that are chosen but not labelled yet.
        """
        groups = self.space.groups([candidate.atoms for candidate in self.random]) or []
        chosen: list[Candidate] = []
        for formula in self.space.anchors:
            mine = [candidate for candidate, group in zip(self.random, groups, strict=True) if group == formula]
            structures = [candidate.atoms for candidate in mine]
            vectors = fingerprints(structures, self.settings.species)
            places = first_candidates(structures, vectors, self.settings.hull.end_labels, 1, (self.rng(4), self.rng(5)))
            chosen += [mine[k] for k in places]
        return self._affordable(chosen, pending)

    def far_apart(self, small: list[Candidate], count: int, chosen: list[Candidate], pending: int) -> list[Candidate]:
        """Return up to `count` candidates: some of the simplest, then any others; in each part they differ as much as possible.

        Args:
            small: smaller cells that are training data.
            count: number of structures.
            chosen: structures that are in the batch already.
            pending: number of structures that are chosen but not labelled yet.
        """
        taken = {id(candidate) for candidate in chosen}
        pool = [candidate for candidate in self.random if id(candidate) not in taken] + small
        structures = [candidate.atoms for candidate in pool]
        vectors = fingerprints(structures, self.settings.species)
        rngs = self.rng(2), self.rng(3)
        places = first_candidates(structures, vectors, max(count, 0), self.settings.search.first_symmetric, rngs)
        return self._affordable([pool[k] for k in places], pending)

    def _affordable(self, batch: list[Candidate], pending: int) -> list[Candidate]:
        left = self.left()
        return batch if left is None else batch[: max(left - pending, 0)]
