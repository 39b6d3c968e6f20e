"""What follows the last round of a search: magnetic orders, accurate energies, and the proof of the winners."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from nucleate.csp.accurate import candidates, rank_accurately
from nucleate.csp.events import MagneticDone, ProofDone, RankedAccurately
from nucleate.csp.magnetic.stage import MagneticStage
from nucleate.csp.plan import Plan
from nucleate.csp.proof import on_reference, prove, worst
from nucleate.csp.records import LoopState, round_seconds
from nucleate.csp.run_folder import RunFolder
from nucleate.progress import LoggedEvent
from nucleate.reference.dispatch import Dispatcher
from nucleate.reference.ledger import MAGNETIC, ledger_file

STAGES = ("magnetic", "accurate", "proof")
"""Names of the stages, which are those of their results in the state."""


@dataclass(frozen=True)
class Until:
    """Where a search stops before its end, as a replay of a search that was stopped does.

    Attributes:
        round: last round; None: the one that ends the search.
        stages: stages that follow a search that has ended.
    """

    round: int | None = None
    stages: tuple[str, ...] = STAGES


class FinalStages:
    """The stages after the last round; each is made once, and its result is a part of the state.

    Args:
        folder: open run folder.
        plan: settings and the objects that follow from them.
        dispatcher: dispatcher of the search.
        executor: executor on which reference calculations run, instead of local processes.
        log: writes an event to the run folder and passes it on.
    """

    def __init__(
        self, folder: RunFolder, plan: Plan, dispatcher: Dispatcher, executor: Executor | None, log: Callable[[LoggedEvent], None]
    ):
        self._folder, self._plan, self._settings, self._space = folder, plan, plan.settings, plan.space
        self._dispatcher, self._executor, self._log = dispatcher, executor, log

    def run(self, state: LoopState, commit: Callable[[], None], stages: Sequence[str] = STAGES) -> None:
        """Run the stages that are missing in a finished search; a search whose proof is done calculates nothing.

        Args:
            state: state of the search, which receives the results.
            commit: called after each stage to save the state.
            stages: stages to run.
        """
        if state.proof is not None:
            return
        if "magnetic" in stages and state.accurate is None and state.magnetic is None and self._try_orders(state):
            commit()
        if "accurate" in stages and state.accurate is None and self._rank_accurately(state):
            commit()
        if "proof" in stages and self._settings.search.proof and self._space.winners(state):
            self._prove(state)
            commit()

    def _try_orders(self, state: LoopState) -> bool:
        """Calculate magnetic orders of the lowest polymorphs; return whether the reference has moments."""
        settings = self._settings
        if not settings.reference.magnetic_moments or not state.polymorphs:
            return False
        # Compositions, molecules and measured patterns have rankings of their own, in which only the final moments are reported.
        plain = settings.system is None and not settings.molecules.molecule and settings.measured.xrd is None
        self._dispatcher.begin_round(state.round + 1)
        stage = MagneticStage(self._dispatcher, settings.reference.magnetic_moments, on_reference(settings), state.round + 1, self._log)
        state.magnetic = stage.run(state.polymorphs, state.minima() if plain and settings.search.magnetic else [])
        self._log(MagneticDone(**state.magnetic))
        return True

    def _rank_accurately(self, state: LoopState) -> bool:
        """Calculate the accurate energies of the lowest polymorphs; return whether there was anything to calculate."""
        accurate, settings = self._plan.accurate, self._settings
        polymorphs = candidates(state.minima())
        if accurate is None or not settings.search.accurate or not polymorphs or settings.system is not None:
            return False
        with (
            ledger_file(self._folder.path / "accurate.db") as ledger,
            Dispatcher(
                accurate, ledger, self._dispatcher.workers, self._executor, settings.reference.timeout, shared=self._plan.shared
            ) as dispatcher,
        ):
            state.accurate = rank_accurately(polymorphs, dispatcher, on_reference(settings), settings.search.resolution * 1e-3)
        self._log(RankedAccurately(**state.accurate))
        return True

    def _prove(self, state: LoopState) -> None:
        """Relax the winners anew from their first labels."""
        self._dispatcher.begin_round(state.round + 1, settled=(MAGNETIC,))
        started = time.monotonic()
        winners = self._space.winners(state)
        results = [prove(winner, self._dispatcher, on_reference(self._settings), state.round + 1) for winner in winners]
        state.proof = {**worst(results), "phases": len(winners), "seconds": round_seconds(time.monotonic() - started)}
        self._log(ProofDone(**state.proof))
