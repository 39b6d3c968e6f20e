"""Which pairs to compute next.

Variance takes the pair whose coupling the model knows least; diversity the pair farthest from all that are known; observable the pair whose
uncertainty moves an observable most, |dO/dJ| times the standard deviation. The variance of a Gaussian process does not depend on the values
it was told, so that a batch is chosen one by one, each as if the ones before were known (N. Srinivas et al., doi 10.1109/TIT.2011.2182033).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nucleate.errors import BadInput
from nucleate.spins.models.data import Pairs
from nucleate.spins.models.kernel import PairGaussianProcess

STRATEGIES = ("random", "variance", "diversity", "observable")
Label = Callable[[int], float | None]


@dataclass(frozen=True)
class ActiveSettings:
    """How a pool is learned.

    Attributes:
        strategy: random, variance, diversity or observable.
        first: pairs drawn at random to begin with; batch: asked between fits; budget: labels in all, failures included.
        components: of the surroundings in the kernel.
        seed: of the first pairs, of random choice, of the fits.
    """

    strategy: str = "variance"
    first: int = 10
    batch: int = 5
    budget: int = 50
    components: int = 2
    seed: int = 0


@dataclass(frozen=True)
class ActiveStep:
    """The state after a batch.

    Attributes:
        asked: rows of the pool in the order they were asked; known: those that have a coupling.
        model: fitted to the known ones.
    """

    asked: tuple[int, ...]
    known: tuple[int, ...]
    model: PairGaussianProcess


def choose(
    pool: Pairs, known: list[int], rest: list[int], count: int, model: PairGaussianProcess, strategy: str, rng: np.random.Generator,
    slopes: np.ndarray | None = None,
) -> list[int]:  # fmt: skip
    """Rows of `rest` to ask next.

    Args:
        pool: all pairs; their couplings are not looked at.
        known, rest: rows with and without a label.
        count: of rows.
        model: fitted to the known ones.
        strategy: one of `STRATEGIES`.
        rng: of random choice.
        slopes: (n,) how an observable changes with each pair's coupling; of the strategy "observable".

    Raises:
        BadInput: an unknown strategy, or no slopes for "observable".
    """
    if strategy not in STRATEGIES:
        raise BadInput(f"unknown strategy {strategy}; known: {', '.join(STRATEGIES)}")
    if strategy == "observable" and slopes is None:
        raise BadInput("strategy observable: give how the observable changes with each coupling")
    count = min(count, len(rest))
    if strategy == "random":
        return [rest[k] for k in rng.choice(len(rest), count, replace=False)]
    covariance = model.covariance(pool.take(rest))
    weight = np.abs(slopes[rest]) if strategy == "observable" and slopes is not None else np.ones(len(rest))
    if strategy == "diversity":
        # Distance in the kernel's own measure, as far as what is known: the prior's correlation with the nearest known pair.
        return _farthest(
            model.correlation(pool.take(rest), pool.take(known)), model.correlation(pool.take(rest), pool.take(rest)), rest, count
        )
    noise = model.noise**2
    chosen: list[int] = []
    for _ in range(count):
        variance = np.clip(np.diagonal(covariance), 0, None)
        gain = weight * np.sqrt(variance)
        gain[[rest.index(k) for k in chosen]] = -1.0
        pick = int(gain.argmax())
        chosen.append(rest[pick])
        column = covariance[:, pick]
        covariance = covariance - np.outer(column, column) / (covariance[pick, pick] + noise)
    return chosen


def _farthest(to_known: np.ndarray, among: np.ndarray, rest: list[int], count: int) -> list[int]:
    nearest = to_known.max(axis=1)
    chosen: list[int] = []
    for _ in range(count):
        pick = int(nearest.argmin())
        chosen.append(rest[pick])
        nearest = np.maximum(nearest, among[:, pick])
        nearest[pick] = np.inf
    return chosen


def learn_actively(
    pool: Pairs,
    label: Label,
    settings: ActiveSettings,
    slopes: np.ndarray | None = None,
    progress: Callable[[ActiveStep], None] = lambda step: None,
) -> ActiveStep:
    """Ask for labels batch by batch until the budget is spent or the pool is empty.

    Args:
        pool: candidates; their couplings are not looked at.
        label: the coupling of a row, meV, from a table or from first principles; None if it failed, which costs as much.
        settings: strategy and budget.
        slopes: see `choose`.
        told: is called after every fit.

    Raises:
        BadInput: a budget below the first batch, or fewer than four labels that succeeded.
    """
    if not 4 <= settings.first <= min(settings.budget, len(pool)):
        raise BadInput(
            f"first batch of {settings.first}: give at least 4, at most the budget ({settings.budget}) and the pool ({len(pool)})"
        )
    rng = np.random.default_rng(settings.seed)
    queue = [int(k) for k in rng.choice(len(pool), settings.first, replace=False)]
    asked: list[int] = []
    values: dict[int, float] = {}
    while True:
        for row in queue:
            asked.append(row)
            value = label(row)
            if value is not None:
                values[row] = value
        known = list(values)
        if len(known) < 4:
            raise BadInput(f"{len(known)} of {len(asked)} labels succeeded: too few to learn from; look at the failures")
        told_pairs = pool.take(known).with_couplings(np.array([values[k] for k in known]))
        model = PairGaussianProcess(settings.components, 1, settings.seed).fit(told_pairs)
        step = ActiveStep(tuple(asked), tuple(known), model)
        progress(step)
        done = set(asked)
        rest = [k for k in range(len(pool)) if k not in done]
        left = settings.budget - len(asked)
        if left <= 0 or not rest:
            return step
        queue = choose(pool, known, rest, min(settings.batch, left), model, settings.strategy, rng, slopes)
