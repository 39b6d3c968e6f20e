"""Selection of candidates for reference calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nucleate.csp.settings import SearchSettings
from nucleate.fingerprints.matching import symmetry
from nucleate.fingerprints.selection import farthest_points, leaders, nearest, unlike
from nucleate.relax.batched import CONVERGED, UNCERTAIN, Relaxed

CLOSELY = 6
"""Number of candidates that are relaxed further for each choice, at most."""


@dataclass(frozen=True)
class Choice:
    """Index of a relaxed candidate chosen for a label, and the reason: `score`, `symmetric`, `uncertain` or `diverse`."""

    index: int
    why: str


@dataclass(frozen=True)
class Selection:
    """Statistics of a selection.

    Attributes:
        choices: relaxed candidates to label.
        heads: indices of the cluster heads, best score first.
        left: heads of clusters without a label that were not chosen.
    """

    choices: list[Choice]
    heads: list[int]
    left: list[int]


def score(relaxed: Sequence[Relaxed], settings: SearchSettings) -> np.ndarray:
    """Return the (n,) scores of relaxed candidates, eV/atom; lower is better.

    The score `published` is E/atom - w max|F| (S. Hessmann et al., npj Comput. Mater. 2025, doi 10.1038/s41524-025-01523-7), since the
    energy of a relaxation that stopped with residual forces can still decrease. The score `lcb` is E/atom - kappa sigma.
    """
    values = np.full(len(relaxed), np.inf)
    for k, end in enumerate(relaxed):
        if not end.usable:
            continue
        if settings.score == "published":
            values[k] = end.energy_per_atom - settings.score_weight * min(end.fmax, 1.0)
        else:
            values[k] = end.energy_per_atom - settings.score_weight * end.sigma
    return values


def select(
    relaxed: list[Relaxed],
    vectors: np.ndarray,
    labelled: Sequence[Atoms],
    known: np.ndarray,
    settings: SearchSettings,
    count: int,
    merits: np.ndarray | None = None,
    groups: Sequence[str] | None = None,
    coverage: np.ndarray | None = None,
    closely: Callable[[list[int]], None] | None = None,
) -> Selection:
    """Choose relaxed candidates, at most one from each cluster and none from clusters with a label.

    The last rule also prevents a stalled candidate from being chosen in every round. Of several compositions, each is chosen once before
    any is chosen again. In a shallow valley, candidates are converged within the thresholds of the pool far from the minimum. Those that
    are chosen are therefore relaxed further, and others take their places if they are known then.

    Args:
        relaxed: relaxed candidates of the round.
        vectors: (n, d) fingerprints of the candidates.
        labelled: k labelled structures and polymorphs.
        known: (k, d) their fingerprints.
        settings: slots and tolerance.
        count: largest number of candidates to choose.
        merits: (n,) numbers by which candidates are ranked instead of their scores and energies, lower is better; None: those.
        groups: compositions of the candidates; None: all have the same.
        coverage: (n,) numbers by which the simplest candidates are ranked, lower is better; None: their energies.
        closely: relaxes the candidates at some places further, and replaces them and their fingerprints; None: they remain as they are.
    """
    usable = np.array([end.usable for end in relaxed])
    scores = score(relaxed, settings) if merits is None else np.where(usable, merits, np.inf)
    heads = _heads(relaxed, scores, vectors, settings)
    fresh = _unseen(relaxed, heads, vectors, labelled, known, settings)
    simple = [fresh[k] for k in simplest([relaxed[k].atoms for k in fresh])] if settings.symmetric_slots else []
    close: list[int] = []
    while True:
        choices = _choose(relaxed, fresh, simple, vectors, known, settings, count, merits, groups, coverage)
        loose = [choice.index for choice in choices if relaxed[choice.index].stop == CONVERGED and choice.index not in close]
        if closely is None or not loose or len(close) >= CLOSELY * count:
            break
        closely(loose)
        for k in loose:
            beside = [other for other in close if other in fresh]
            others = [*labelled, *(relaxed[other].atoms for other in beside)]
            theirs = np.concatenate([known, vectors[beside]]) if others else known
            if not unlike([relaxed[k].atoms], vectors[[k]], others, theirs, settings.cluster_tolerance)[0]:
                fresh.remove(k)
            close.append(k)
    taken = {choice.index for choice in choices}
    return Selection(choices, heads, [k for k in fresh if k not in taken])


def _choose(
    relaxed: Sequence[Relaxed],
    fresh: Sequence[int],
    simple: Sequence[int],
    vectors: np.ndarray,
    known: np.ndarray,
    settings: SearchSettings,
    count: int,
    merits: np.ndarray | None,
    groups: Sequence[str] | None,
    coverage: np.ndarray | None,
) -> list[Choice]:
    """Return the choices among the heads of clusters without a label, best score first, of which some are simple; see `select`."""
    energy = np.array([end.energy_per_atom for end in relaxed]) if merits is None else merits
    choices: list[Choice] = []
    taken: set[int] = set()
    used: set[str] = set()

    def take(candidates: Sequence[int], slots: int, why: str, again: bool = groups is None) -> None:
        for k in candidates:
            if slots <= 0 or len(choices) >= count:
                return
            if k in taken or (not again and groups is not None and groups[k] in used):
                continue
            taken.add(k)
            if groups is not None:
                used.add(groups[k])
            choices.append(Choice(int(k), why))
            slots -= 1

    order = energy if coverage is None else coverage
    take(sorted(set(fresh).intersection(simple), key=lambda k: order[k]), settings.symmetric_slots, "symmetric")
    take([k for k in fresh if relaxed[k].stop == UNCERTAIN], settings.uncertain_slots, "uncertain")
    left = [k for k in fresh if k not in taken]
    take(_far_apart(left, energy, vectors, known, settings.diverse_slots), settings.diverse_slots, "diverse")
    take(fresh, count, "score")
    take(fresh, count, "score", again=True)
    return choices


def lowest_unknown(
    relaxed: Sequence[Relaxed], vectors: np.ndarray, labelled: Sequence[Atoms], known: np.ndarray, settings: SearchSettings
) -> list[int]:
    """Return the heads of clusters without a label, best score first."""
    heads = _heads(relaxed, score(relaxed, settings), vectors, settings)
    return _unseen(relaxed, heads, vectors, labelled, known, settings)


def _heads(relaxed: Sequence[Relaxed], scores: np.ndarray, vectors: np.ndarray, settings: SearchSettings) -> list[int]:
    """Return the candidate with the best score of each cluster, best score first."""
    usable = np.flatnonzero(np.isfinite(scores))
    order = usable[np.argsort(scores[usable], kind="stable")]
    return leaders(vectors, order, settings.cluster_tolerance, [end.atoms for end in relaxed])


def _unseen(
    relaxed: Sequence[Relaxed],
    heads: list[int],
    vectors: np.ndarray,
    labelled: Sequence[Atoms],
    known: np.ndarray,
    settings: SearchSettings,
) -> list[int]:
    """Return the heads of clusters without a label."""
    new = unlike([relaxed[k].atoms for k in heads], vectors[heads], labelled, known, settings.cluster_tolerance)
    return [k for k, is_new in zip(heads, new, strict=True) if is_new]


def _far_apart(heads: Sequence[int], energy: np.ndarray, vectors: np.ndarray, known: np.ndarray, count: int) -> list[int]:
    """Choose cluster heads from the lower half by energy that are furthest from all labelled structures and from each other.

    A model trained on few labels ranks structures unlike its training data at random, and the search would stay near its first structures.
    """
    lower = sorted(heads, key=lambda k: energy[k])[: max(count, len(heads) // 2)]
    chosen: list[int] = []
    distance = nearest(vectors[lower], known)
    for _ in range(min(count, len(heads))):
        best = int(np.argmax(distance))
        chosen.append(lower[best])
        distance = np.minimum(distance, np.linalg.norm(vectors[lower] - vectors[lower[best]], axis=1))
    return chosen


def first_candidates(
    structures: Sequence[Atoms], vectors: np.ndarray, count: int, symmetric: int, rngs: tuple[np.random.Generator, np.random.Generator]
) -> list[int]:
    """Choose unrelaxed candidates for the first batch: some of the simplest, then any others; each part by farthest-point sampling.

    Args:
        structures: candidates.
        vectors: (n, d) fingerprints of the candidates.
        count: number of candidates to choose.
        symmetric: largest number of them from the simplest candidates.
        rngs: generators for the first point of each part.
    """
    chosen: list[int] = []
    for places, most, rng in zip((simplest(structures), range(len(structures))), (symmetric, count), rngs, strict=True):
        left = [place for place in places if place not in chosen]
        slots = min(most, count - len(chosen))
        if slots > 0 and left:
            chosen += [left[k] for k in farthest_points(vectors[left], slots, int(rng.integers(len(left))))]
    return chosen


def simplest(structures: Sequence[Atoms]) -> list[int]:
    """Return the tenth of the structures with the fewest inequivalent atoms beyond one of each element, and the highest symmetry.

    Structures without symmetry are left out. Most ground states are among the simplest, whereas a committee trained on few labels often
    predicts them far above disordered structures.
    """
    symmetries = [symmetry(atoms) for atoms in structures]
    symmetric = [k for k, item in enumerate(symmetries) if item.order > 1]
    # At least one inequivalent atom of each element is necessary.
    more = [item.sites - len(set(atoms.numbers.tolist())) for item, atoms in zip(symmetries, structures, strict=True)]
    symmetric.sort(key=lambda k: (more[k], -symmetries[k].order))
    return symmetric[: -(-len(structures) // 10)]
