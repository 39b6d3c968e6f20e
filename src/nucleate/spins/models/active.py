"""Active learning: selection of the pairs to compute next.

The strategy "variance" selects the pair with the largest predicted variance, "diversity" the pair farthest from all labelled pairs, and
"observable" the pair whose uncertainty affects an observable most, |dO/dJ| times the standard deviation. The variance of a Gaussian process
does not depend on the labels, so a batch is selected sequentially, each pair as if the previous ones were labelled (N. Srinivas et al.,
doi 10.1109/TIT.2011.2182033).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nucleate.errors import BadInput
from nucleate.progress import Event, Progress, silent
from nucleate.spins.models.data import Pairs
from nucleate.spins.models.kernel import PairGaussianProcess

STRATEGIES = ("random", "variance", "diversity", "observable")
Label = Callable[[int], float | None]


@dataclass(frozen=True)
class ActiveSettings:
    """Settings of active learning.

    Attributes:
        strategy: Selection strategy: random, variance, diversity or observable.
        first: Number of initial random pairs.
        batch: Number of pairs labelled between fits.
        budget: Total number of labels, including failures.
        components: Number of principal components of the environments in the kernel.
        seed: Random seed of the initial pairs, random selection and fits.
    """

    strategy: str = "variance"
    first: int = 10
    batch: int = 5
    budget: int = 50
    components: int = 2
    seed: int = 0


@dataclass(frozen=True)
class ActiveStep(Event):
    """State after a batch.

    Attributes:
        asked: Rows of the pool in the order of their labelling.
        known: Rows with a coupling.
        model: Model fitted to the known rows.
    """

    asked: tuple[int, ...]
    known: tuple[int, ...]
    model: PairGaussianProcess


def choose(
    pool: Pairs, known: list[int], rest: list[int], count: int, model: PairGaussianProcess, strategy: str, rng: np.random.Generator,
    slopes: np.ndarray | None = None,
) -> list[int]:  # fmt: skip
    """Select the rows of `rest` to label next.

    Args:
        pool: All pairs; their couplings are not used.
        known, rest: Rows with and without a label.
        count: Number of rows to select.
        model: Model fitted to the known rows.
        strategy: One of `STRATEGIES`.
        rng: Random generator.
        slopes: (n,) derivatives of the observable with respect to each coupling, for the strategy "observable".

    Raises:
        BadInput: The strategy is unknown, or slopes are missing for "observable".
    """
    if strategy not in STRATEGIES:
        raise BadInput(f"unknown strategy {strategy}; choose from {', '.join(STRATEGIES)}")
    if strategy == "observable" and slopes is None:
        raise BadInput("strategy observable: give the derivative of the observable with respect to each coupling as slopes")
    count = min(count, len(rest))
    if strategy == "random":
        return [rest[k] for k in rng.choice(len(rest), count, replace=False)]
    covariance = model.covariance(pool.take(rest))
    weight = np.abs(slopes[rest]) if strategy == "observable" and slopes is not None else np.ones(len(rest))
    if strategy == "diversity":
        # Distance in terms of the kernel: the prior correlation with the nearest known pair.
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
    progress: Progress = silent,
) -> ActiveStep:
    """Label pairs batch by batch until the budget is spent or the pool is empty.

    Args:
        pool: Candidate pairs; their couplings are not used.
        label: Function that returns the coupling of a row in meV, or None for a failure, which counts towards the budget.
        settings: Strategy and budget.
        slopes: See `choose`.
        progress: Called with the `ActiveStep` after each fit.

    Raises:
        BadInput: The budget is smaller than the first batch, or fewer than four labels succeeded.
    """
    if not 4 <= settings.first <= min(settings.budget, len(pool)):
        raise BadInput(
            f"first batch of {settings.first} pairs: give at least 4, and at most the budget ({settings.budget}) and pool ({len(pool)})"
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
            raise BadInput(f"{len(known)} of {len(asked)} labels succeeded, but at least 4 are required; check the failures")
        labelled = pool.take(known).with_couplings(np.array([values[k] for k in known]))
        model = PairGaussianProcess(settings.components, 1, settings.seed).fit(labelled)
        step = ActiveStep(tuple(asked), tuple(known), model)
        progress(step)
        done = set(asked)
        rest = [k for k in range(len(pool)) if k not in done]
        left = settings.budget - len(asked)
        if left <= 0 or not rest:
            return step
        queue = choose(pool, known, rest, min(settings.batch, left), model, settings.strategy, rng, slopes)
