"""Judgement of the committee of a teacher by the labels of the reference: it is corrected only where it helps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
from ase import Atoms

from nucleate.crystals.batch import CrystalBatch
from nucleate.csp.events import TeacherJudged
from nucleate.csp.known import Deviation, deviation
from nucleate.csp.learner import Learner
from nucleate.csp.plan import Plan
from nucleate.csp.records import LoopState
from nucleate.potentials.calibration import calibrate
from nucleate.progress import LoggedEvent
from nucleate.reference.asking import Answer
from nucleate.reference.base import Label
from nucleate.reference.ledger import LedgerRow
from nucleate.training.data import from_labels

ENOUGH = 4
"""Smallest number of new labels on which two potentials are compared."""
MUCH_BETTER = 0.5
"""Ratio of losses below which a committee without the base replaces the one with it."""


class BaseJudge:
    """Compares the base of a learner, the committee of a teacher, with labels of the reference.

    Args:
        plan: settings and the objects that follow from them.
        learner: learner of the search; a useless base is removed from it.
        source: name of the teacher; empty in a resumed search, whose saved state contains it.
        log: writes an event to the run folder and passes it on.
    """

    def __init__(self, plan: Plan, learner: Learner, source: str, log: Callable[[LoggedEvent], None]):
        self._plan, self._learner, self._source, self._log = plan, learner, source, log
        self._most_error = plan.settings.teacher.most_error

    def useless(self, chosen: Sequence[Atoms], answers: Sequence[Answer]) -> bool:
        """Return whether the base is too far from the labels; there may be fewer answers than structures."""
        pairs = _labelled(chosen, answers)
        return bool(pairs) and deviation(self._learner.base_potential, *zip(*pairs, strict=True)).loss > self._most_error

    def judge(self, state: LoopState, chosen: Sequence[Atoms], answers: Sequence[Answer]) -> None:
        """Compare the base with the first labels; drop it if it is too far from them, else set the first calibration factor."""
        pairs = _labelled(chosen, answers)
        if not pairs:
            return
        base = self._learner.base_potential
        found = deviation(base, *zip(*pairs, strict=True))
        self._keep(state, found.loss <= self._most_error, found, 0)
        if self._learner.base is not None:
            batch = CrystalBatch.from_atoms([atoms for atoms, _ in pairs])
            prediction = base.energy_forces_stress(batch)
            energies = np.array([label.energy for _, label in pairs])
            errors = (energies - prediction.energy.mean(0).numpy()) / batch.counts.numpy() - found.shift
            state.sigma_factor = calibrate(errors, prediction.energy_sigma(batch).numpy(), 1.0, found.force).factor

    def compare(
        self, state: LoopState, chosen: Sequence[Atoms], answers: Sequence[Answer], crystals: Sequence[LedgerRow], round: int
    ) -> None:
        """Drop the base if a committee that learned from the reference alone predicts the new labels much better.

        Args:
            state: state of the search.
            chosen: structures that have been labelled in this round.
            answers: their labels and failures.
            crystals: rows of the ledger; those of earlier rounds train the other committee.
            round: number of the round.
        """
        rows = [row for row in crystals if row.round < round and row.label is not None]
        pairs = _labelled(chosen, answers)
        if len(rows) < self._plan.settings.search.first_batch or len(pairs) < ENOUGH:
            return
        rival = self._plan.learner()
        rival.molecules = self._learner.molecules
        rival.fit(from_labels([row.atoms for row in rows], [cast(Label, row.label) for row in rows]))
        mine, other = (deviation(potential, *zip(*pairs, strict=True)) for potential in (self._learner.potential, rival.potential))
        if other.loss < MUCH_BETTER * mine.loss:
            self._keep(state, False, mine, round)

    def _keep(self, state: LoopState, kept: bool, found: Deviation, round: int) -> None:
        """Record whether the search keeps the base; without it, nothing of the teacher remains in the search."""
        source = self._source or (state.base or {}).get("source", "")
        event = TeacherJudged(source, kept, found.labels, found.energy, found.force, found.stress, round)
        state.base = {**event.facts()}
        self._log(event)
        if not kept:
            self._learner.set_base(None)
            state.carried = []


def _labelled(chosen: Sequence[Atoms], answers: Sequence[Answer]) -> list[tuple[Atoms, Label]]:
    """Return the structures whose calculation succeeded, with their labels."""
    return [(atoms, answer) for atoms, answer in zip(chosen, answers, strict=False) if isinstance(answer, Label)]
