"""Space of a search of every minimum of one formula within an energy window."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nucleate.csp.evolution.pool import Pool
from nucleate.csp.minima.coverage import unseen_probability
from nucleate.csp.minima.settings import MinimaSettings
from nucleate.csp.records import Lead, LoopState, Polymorph
from nucleate.csp.run_settings import RunSettings
from nucleate.csp.settings import UNSTATED_TOPS, SearchSettings
from nucleate.csp.space import FormulaSpace
from nucleate.errors import BadInput
from nucleate.fingerprints.selection import fingerprints, same_as
from nucleate.relax.batched import CONVERGED


def check_minima(settings: RunSettings) -> None:
    """Refuse settings of the window that have no effect, or that contradict others.

    Raises:
        BadInput: such a setting is given; the message names it.
    """
    own = settings.minima
    if own.window is None:
        if own.unseen != MinimaSettings().unseen:
            raise BadInput("minima.unseen has no effect without a window; give --goal minima, or remove it")
        return
    kind = "a chemical system" if settings.system is not None else "molecular crystals" if settings.molecules.molecule else None
    if settings.dimensions != 3:
        kind = "layers" if settings.dimensions == 2 else "clusters"
    if settings.measured.xrd is not None:
        kind = "a crystal with a measured pattern"
    if kind is not None:
        raise BadInput(f"the goal minima is for crystals of one formula, not for {kind}; remove --goal")
    if settings.search.top not in UNSTATED_TOPS:
        raise BadInput("search.top has no effect on the goal minima, whose stop rule watches all minima in the window; remove it")
    if settings.search.clear_window != SearchSettings().clear_window:
        raise BadInput("search.clear_window has no effect on the goal minima, whose stop rule has a probability, minima.unseen; remove it")
    if own.window * 1e-3 > settings.search.window:
        raise BadInput(
            f"minima.window = {own.window:g} meV/atom is above search.window = {settings.search.window:g} eV/atom, at which leads are "
            "dropped; increase search.window"
        )


class MinimaSpace(FormulaSpace):
    """The search cell of one formula, of which every minimum within a window is sought.

    Args:
        settings: settings of the search.
    """

    def __init__(self, settings: RunSettings):
        super().__init__(settings)
        assert settings.minima.window is not None
        self.window = settings.minima.window * 1e-3

    def urgent(self, leads: Sequence[Lead], state: LoopState) -> list[Lead]:
        """Return the leads that may end within the window."""
        best = self.best(state)
        return list(leads) if best is None else [lead for lead in leads if lead.estimate < best + self.window]

    def lowest(self, state: LoopState) -> list[Polymorph]:
        """Return the polymorphs within the window."""
        minima = state.minima()
        return [polymorph for polymorph in minima if polymorph.energy <= minima[0].energy + self.window]

    def pending(self, state: LoopState) -> bool:
        """Return whether an open lead may end within the window, or a label is below the best polymorph."""
        best = self.best(state)
        if best is None:
            return True
        if any(lead.estimate < best + self.window for lead in state.leads if lead.status == "open"):
            return True
        return self._lowest < best - self.settings.search.resolution * 1e-3

    def shown(self, count: int) -> str:
        """Return a description of the `count` polymorphs within the window."""
        return f"the {count} polymorph{'' if count == 1 else 's'} within {1e3 * self.window:g} meV/atom"

    @property
    def most_chance(self) -> float:
        """Largest result of `chance` at which the search may end."""
        return self.settings.minima.unseen

    def finds(self, pool: Pool, places: Sequence[int]) -> list[int]:
        """Return how many random candidates of the round ended in the minima at `places`, those themselves included."""
        heads = [pool.ends[k].atoms for k in places]
        counts = [0] * len(places)
        for k in self._random(pool):
            place = same_as(pool.ends[k].atoms, pool.vectors[k], heads, pool.vectors[list(places)], self._tolerance) if places else None
            if place is not None:
                counts[place] += 1
        return counts

    def _random(self, pool: Pool) -> list[int]:
        """Return the new converged candidates in the window that are neither children nor structures of the user."""
        low = self._low(pool)
        return [k for k in self.fresh(pool) if low[k]]

    def _low(self, pool: Pool) -> np.ndarray:
        """Return (n,) whether each candidate converged within the window on the committee."""
        energies = np.array([end.energy_per_atom if end.usable and end.stop == CONVERGED else np.inf for end in pool.ends])
        result: np.ndarray = energies < energies.min(initial=np.inf) + self.window
        return result

    @property
    def _tolerance(self) -> float:
        return self.settings.search.cluster_tolerance

    def chance(self, pool: Pool, left: Sequence[int], state: LoopState) -> float:
        """Count in which minima the random candidates of a round have ended; return the probability that one is still unseen.

        Only random candidates count, because children end near minima that are known. The candidates with which a minimum was discovered
        are counted by `finds`. Those that end in a minimum which is not a polymorph, such as one whose calculation failed, count as minima
        found once. While the committee has a minimum within the window that has no label, the result is 1.

        Args:
            pool: the pool of the round, relaxed.
            left: heads of clusters that have no label.
            state: state of the loop; `met` of its polymorphs is increased.
        """
        window, low = self.lowest(state), self._low(pool)
        if not window or not low.any():
            return 1.0
        structures = [polymorph.atoms for polymorph in window]
        vectors = fingerprints(structures, pool.species)
        others = 0
        for k in self._random(pool):
            place = same_as(pool.ends[k].atoms, pool.vectors[k], structures, vectors, self._tolerance)
            if place is None:
                others += 1
            else:
                window[place].met += 1
        return 1.0 if any(low[k] for k in left) else unseen_probability([polymorph.met for polymorph in window] + [1] * others)

    def clear(self, pool: Pool, left: Sequence[int], state: LoopState) -> bool:
        """Return False: the stop rule has the probability that a minimum is unseen."""
        return False
