"""Children of the relaxed candidates of a round.

Parents are the lowest distinct minima of the pool, with at most a few from each niche of similar ones. Their weights fall with their rank,
with their age, and with the number of children that have ended in them, which would yield the same minimum once more. The last rule serves
the purpose of the antiseeds of USPEX (manual of USPEX, section on antiseed settings), Gaussians that are added to the enthalpies of minima
that were found before. The operator of each child is drawn with weights that follow the success of its former children.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nucleate.csp.evolution.pool import Pool
from nucleate.csp.evolution.records import Credit, EvolutionRecord
from nucleate.csp.evolution.settings import SHARES, EvolutionSettings
from nucleate.fingerprints.selection import leaders
from nucleate.generate.base import Candidate
from nucleate.generate.evolution.base import Operator
from nucleate.generate.evolution.doubling import AddUnits
from nucleate.generate.evolution.registry import starting_shares
from nucleate.generate.tries import NotPlaced

SELECTION = 3.0
"""Decrease of the logarithm of the weight from the first to the last parent."""
RAREST = -12.0
"""Smallest logarithm of the weight of a parent relative to the most likely one, so that each can be drawn."""
FADING = 0.7
"""Factor of the credit of the operators, and of the numbers of relaxations that ended in a minimum, from round to round."""
LEAST = 0.25
"""Smallest weight of an operator relative to its starting share, so that no operator is given up."""
TRIES = 10
"""Largest number of attempts per requested child."""

Modes = Callable[[Atoms], np.ndarray]
"""Returns the (k, n, 3) softest modes of a structure, unit vectors, softest first."""


@dataclass(frozen=True)
class Population:
    """Parents of one generation.

    Attributes:
        places: indices in the pool, best first.
        weights: (n,) probabilities to be chosen.
    """

    places: np.ndarray
    weights: np.ndarray


class Breeding:
    """Makes the children of a search.

    Args:
        settings: settings of the evolution.
        operators: operators.
        tolerance: distance of fingerprints below which two minima may be one.
    """

    def __init__(self, settings: EvolutionSettings, operators: Sequence[Operator], tolerance: float):
        self.settings, self.operators, self.tolerance = settings, list(operators), tolerance

    def numbers(self, room: int) -> list[int]:
        """Return the number of children of each generation that has any, of `room` new candidates in a round."""
        generations = self.settings.generations
        children = int(SHARES[self.settings.strategy] * room) if self.operators else 0
        numbers = [children * (k + 1) // generations - children * k // generations for k in range(generations)]
        return [number for number in numbers if number]

    def population(self, pool: Pool, scores: np.ndarray) -> Population:
        """Return the parents among relaxed candidates.

        Args:
            pool: the pool, all of it relaxed.
            scores: (n,) scores, lower is better; infinity for candidates that cannot be parents.
        """
        usable = np.flatnonzero(np.isfinite(scores))
        order = usable[np.argsort(scores[usable], kind="stable")]
        heads = leaders(pool.vectors, order, self.tolerance, [end.atoms for end in pool.ends])
        chosen: list[int] = []
        for k in heads:
            near = np.linalg.norm(pool.vectors[chosen] - pool.vectors[k], axis=1) < self.settings.niche
            if near.sum() < self.settings.niche_members:
                chosen.append(k)
            if len(chosen) == self.settings.parents:
                break
        if not chosen:
            return Population(np.zeros(0, dtype=int), np.zeros(0))
        births, met = pool.record.births, pool.record.met
        age, often = np.zeros(len(chosen)), np.zeros(len(chosen))
        for place, k in enumerate(chosen):
            # A minimum is as old as the first candidate that ended in it, also where another one represents it now.
            same = usable[np.linalg.norm(pool.vectors[usable] - pool.vectors[k], axis=1) <= self.tolerance]
            names = [pool.items[int(other)].birth for other in same]
            age[place] = max(pool.round - births[name].round for name in names)
            often[place] = sum(met.get(name, 0.0) for name in names)
        rank = np.arange(len(chosen)) / max(len(chosen) - 1, 1)
        logarithms = -SELECTION * rank - np.log(2.0) * age / self.settings.half_life - 0.5 * np.log1p(often)
        weights = np.exp(np.maximum(logarithms - logarithms.max(), RAREST))
        return Population(np.array(chosen, dtype=int), weights / weights.sum())

    def shares(self, pool: Pool) -> np.ndarray:
        """Return the (o,) probabilities of the operators; that of `add-units` is zero without smaller cells."""
        start = starting_shares(operator.name for operator in self.operators)
        weights = []
        for operator in self.operators:
            # The rate without any credit is one half.
            rate = pool.record.credit.get(operator.name, Credit()).rate
            applies = bool(pool.smaller) if operator.name == AddUnits.name else bool(pool.ends)
            weights.append(start[operator.name] * max(2.0 * rate, LEAST) * applies)
        total = sum(weights)
        return np.array(weights) / total if total else np.array(weights)

    def breed(self, pool: Pool, population: Population, count: int, rng: np.random.Generator) -> int:
        """Add up to `count` children to the pool; return their number.

        It is smaller if there are no parents, or if `TRIES` attempts per child fail.
        """
        made: list[Candidate] = []
        families: list[tuple[str, ...]] = []
        shares = self.shares(pool)
        smaller = np.exp(-SELECTION * np.arange(len(pool.smaller)) / max(len(pool.smaller) - 1, 1))
        for _ in range(TRIES * count if shares.any() else 0):
            if len(made) == count:
                break
            operator = self.operators[int(rng.choice(len(shares), p=shares))]
            if operator.name == AddUnits.name:
                parents = [pool.smaller[int(rng.choice(len(smaller), p=smaller / smaller.sum()))]]
            elif len(population.places) >= operator.parents:
                places = rng.choice(population.places, size=operator.parents, replace=False, p=population.weights)
                parents = [(pool.items[int(k)].birth, pool.ends[int(k)].atoms) for k in places]
            else:
                continue
            try:
                atoms = operator([atoms for _, atoms in parents], rng)
            except NotPlaced:
                continue
            made.append(Candidate(atoms, operator.name))
            families.append(tuple(name for name, _ in parents))
        pool.enter(made, families)
        return len(made)

    def reward(self, pool: Pool, scores: np.ndarray, before: int, lowest: int) -> None:
        """Credit the operators with the children of a generation, and count those that ended in known minima.

        A child is a success if its minimum is new in the pool and among the `lowest`.

        Args:
            pool: the pool, all of it relaxed; candidates from index `before` on are the children.
            scores: (n,) scores of the relaxed candidates, lower is better; infinity for useless ones.
            before: number of candidates before this generation.
            lowest: number of minima that are carried to the next round.
        """
        usable = np.flatnonzero(np.isfinite(scores))
        heads = leaders(pool.vectors, usable[np.argsort(scores[usable], kind="stable")], self.tolerance)
        limit = np.inf if len(heads) <= lowest else float(scores[heads[max(lowest, 1) - 1]])
        earlier = usable[usable < before]
        names, met = {operator.name for operator in self.operators}, pool.record.met
        for k in range(before, len(pool.items)):
            item = pool.items[k]
            if item.origin not in names:
                continue
            credit = pool.record.credit.setdefault(item.origin, Credit())
            credit.children += 1.0
            if not np.isfinite(scores[k]):
                continue
            close = earlier[np.linalg.norm(pool.vectors[earlier] - pool.vectors[k], axis=1) <= self.tolerance]
            if len(close):
                best = pool.items[int(close[np.argmin(scores[close])])].birth
                met[best] = met.get(best, 0.0) + 1.0
            elif scores[k] <= limit:
                credit.successes += 1.0
            earlier = np.append(earlier, k)


def fade(record: EvolutionRecord) -> None:
    """Reduce the weight of what happened in earlier rounds; called at the beginning of each round."""
    for credit in record.credit.values():
        credit.children *= FADING
        credit.successes *= FADING
    record.met = {name: FADING * count for name, count in record.met.items() if count > 0.05}
