"""What a search covers: the cell of one formula, or the compositions of a chemical system.

The loop compares structures by their *level-corrected* enthalpy: the enthalpy per atom minus a level that depends on the composition alone.
For one formula the level is zero. For a chemical system it is the convex hull of everything calculated so far, so that structures of
different compositions are compared by their height above the hull.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from ase import Atoms

from nucleate.csp.evolution.pool import Pool
from nucleate.csp.records import Lead, LoopState, Polymorph, enthalpy_per_atom
from nucleate.csp.run_settings import RunSettings
from nucleate.fingerprints.selection import fingerprints, same_as
from nucleate.generate.base import Candidate
from nucleate.generate.mixture import MixtureGenerator, make_generator
from nucleate.reference.asking import Answer
from nucleate.reference.base import Label
from nucleate.reference.ledger import LedgerRow
from nucleate.relax.batched import Relaxed


class Space(Protocol):
    """Compositions and cells that a search covers."""

    @property
    def seeds(self) -> int:
        """Number of structures of the user."""
        ...

    @property
    def anchors(self) -> list[str]:
        """Compositions of which the first batch must contain labels."""
        ...

    def holds(self, atoms: Atoms) -> bool:
        """Return whether a structure is searched for; others are training data only."""
        ...

    def compound(self, atoms: Atoms) -> str | None:
        """Return of what a structure consists if it is another compound than the one searched for; else None."""
        ...

    def propose(self, n: int, rng: np.random.Generator, with_seeds: bool) -> list[Candidate]:
        """Return `n` candidates."""
        ...

    def begin(self, rows: Iterable[LedgerRow], state: LoopState) -> None:
        """Forget all labels except those of `rows`, and update the levels."""
        ...

    def add(self, structures: Sequence[Atoms], answers: Sequence[Answer]) -> None:
        """Enter new labels."""
        ...

    def update(self, state: LoopState) -> None:
        """Update the levels, also those of the polymorphs."""
        ...

    def levels(self, structures: Sequence[Atoms]) -> np.ndarray:
        """Return the (n,) levels of structures, eV/atom."""
        ...

    def coverage(self, ends: Sequence[Relaxed]) -> np.ndarray | None:
        """Return (n,) numbers by which the simplest relaxed candidates are ranked, lower is better; None: their energies."""
        ...

    def spare(self, leads: Sequence[Lead], state: LoopState) -> list[Lead]:
        """Return the leads that are relaxed where none is urgent."""
        ...

    def merits(self, ends: Sequence[Relaxed]) -> np.ndarray | None:
        """Return (n,) numbers by which relaxed candidates are ranked, lower is better; None: their scores and energies."""
        ...

    def groups(self, structures: Sequence[Atoms]) -> list[str] | None:
        """Return the composition of each structure, or None if there is only one."""
        ...

    def best(self, state: LoopState) -> float | None:
        """Return the lowest level-corrected enthalpy of a polymorph, eV/atom; None if there is none."""
        ...

    def urgent(self, leads: Sequence[Lead], state: LoopState) -> list[Lead]:
        """Return the leads that may change the lowest polymorphs, in their order."""
        ...

    def lowest(self, state: LoopState) -> list[Polymorph]:
        """Return the polymorphs whose change resets the stop rule."""
        ...

    def winners(self, state: LoopState) -> list[Polymorph]:
        """Return the polymorphs that are relaxed on the reference alone at the end."""
        ...

    def pending(self, state: LoopState) -> bool:
        """Return whether an open lead or a label may change these polymorphs."""
        ...

    def shown(self, count: int) -> str:
        """Return a description of `count` such polymorphs, for the reason of the end of a search."""
        ...

    @property
    def most_chance(self) -> float:
        """Largest result of `chance` at which the search may end."""
        ...

    def finds(self, pool: Pool, places: Sequence[int]) -> list[int]:
        """Return how many random candidates of the round ended in the minima at `places`, as far as the stop rule uses it."""
        ...

    def chance(self, pool: Pool, left: Sequence[int], state: LoopState) -> float:
        """Return the probability that these polymorphs will change, as far as the stop rule uses it.

        Args:
            pool: the pool of a round, relaxed.
            left: heads of clusters that have no label.
            state: state of the loop.
        """
        ...

    def clear(self, pool: Pool, left: Sequence[int], state: LoopState) -> bool:
        """Return whether the round shows that nothing near these polymorphs has been missed, so that it counts twice.

        Args:
            pool: the pool of a round, relaxed.
            left: heads of clusters that have no label.
            state: state of the loop.
        """
        ...


class FormulaSpace:
    """The search cell of one formula.

    Args:
        settings: settings of the search.
    """

    def __init__(self, settings: RunSettings):
        self.settings, self.counts = settings, settings.counts
        self._size = sum(self.counts.values())
        self._lowest = np.inf

    def _generator(self, with_seeds: bool) -> MixtureGenerator:
        return make_generator(self.counts, self.settings.generate, self.settings.seeds_from if with_seeds else None)

    @property
    def seeds(self) -> int:
        """Number of structures of the user."""
        seeds = self._generator(with_seeds=True).seeds
        return 0 if seeds is None else seeds.left

    @property
    def anchors(self) -> list[str]:
        """Compositions of which the first batch must contain labels: any label has the right one."""
        return []

    def holds(self, atoms: Atoms) -> bool:
        """Return whether a structure has the size of the search cell; smaller cells are training data only."""
        return len(atoms) == self._size

    def compound(self, atoms: Atoms) -> str | None:
        """Return None: every structure of the cell is searched for."""
        return None

    def propose(self, n: int, rng: np.random.Generator, with_seeds: bool) -> list[Candidate]:
        """Return `n` candidates."""
        return self._generator(with_seeds).propose(n, rng)

    def begin(self, rows: Iterable[LedgerRow], state: LoopState) -> None:
        """Forget all labels except those of `rows`."""
        self._lowest = np.inf
        rows = list(rows)
        self.add([row.atoms for row in rows], [row.answer() for row in rows])

    def add(self, structures: Sequence[Atoms], answers: Sequence[Answer]) -> None:
        """Enter new labels."""
        for atoms, answer in zip(structures, answers, strict=True):
            if isinstance(answer, Label) and self.holds(atoms):
                self._lowest = min(self._lowest, enthalpy_per_atom(atoms, answer, self.settings.pressure))

    def update(self, state: LoopState) -> None:
        """Do nothing: the level is zero."""

    def levels(self, structures: Sequence[Atoms]) -> np.ndarray:
        """Return (n,) zeros."""
        return np.zeros(len(structures))

    def coverage(self, ends: Sequence[Relaxed]) -> np.ndarray | None:
        """Return None: the simplest candidates of one composition are ranked by their energies."""
        return None

    def spare(self, leads: Sequence[Lead], state: LoopState) -> list[Lead]:
        """Return the lowest lead."""
        return list(leads[:1])

    def merits(self, ends: Sequence[Relaxed]) -> np.ndarray | None:
        """Return None: candidates of one composition are ranked by their scores and energies."""
        return None

    def groups(self, structures: Sequence[Atoms]) -> list[str] | None:
        """Return None: there is one composition."""
        return None

    def best(self, state: LoopState) -> float | None:
        """Return the lowest enthalpy of a polymorph, eV/atom."""
        return min((polymorph.energy for polymorph in state.minima()), default=None)

    def urgent(self, leads: Sequence[Lead], state: LoopState) -> list[Lead]:
        """Return the leads that may end below the best polymorph, or at the same energy."""
        best = self.best(state)
        return [] if best is None else [lead for lead in leads if lead.estimate < best + self.settings.search.resolution * 1e-3]

    def lowest(self, state: LoopState) -> list[Polymorph]:
        """Return the `top` lowest polymorphs."""
        return state.minima()[: self.settings.search.top]

    def winners(self, state: LoopState) -> list[Polymorph]:
        """Return the best polymorph."""
        return state.minima()[:1]

    def pending(self, state: LoopState) -> bool:
        """Return whether an open lead may become one of the lowest polymorphs, or a label is below the best one."""
        search, top = self.settings.search, self.lowest(state)
        threshold = top[-1].energy if len(top) == search.top else np.inf
        if any(lead.estimate < threshold for lead in state.leads if lead.status == "open"):
            return True
        return len(top) > 0 and self._lowest < top[0].energy - search.resolution * 1e-3

    def shown(self, count: int) -> str:
        """Return a description of the lowest `count` polymorphs."""
        return "the lowest polymorph" if count == 1 else f"the lowest {count} polymorphs"

    @property
    def most_chance(self) -> float:
        """Largest result of `chance` at which the search may end."""
        return 0.0

    def finds(self, pool: Pool, places: Sequence[int]) -> list[int]:
        """Return zeros: the stop rule does not count finds."""
        return [0] * len(places)

    def chance(self, pool: Pool, left: Sequence[int], state: LoopState) -> float:
        """Return zero: the stop rule of one formula uses labels only."""
        return 0.0

    def fresh(self, pool: Pool) -> list[int]:
        """Return the new candidates of the round that are neither children nor structures of the user."""
        births = [pool.record.births[item.birth] for item in pool.items]
        return [k for k, own in enumerate(births) if own.round == pool.round and not own.parents and own.origin != "seed"]

    def clear(self, pool: Pool, left: Sequence[int], state: LoopState) -> bool:
        """Return whether random candidates have found the lowest polymorph once more, and nothing without a label near it.

        "Near" is within `search.clear_window` of the lowest `top` polymorphs, on the committee.
        """
        search, lowest = self.settings.search, self.lowest(state)
        if len(lowest) < search.top:
            return False
        energies = [pool.ends[k].energy_per_atom for k in left if pool.ends[k].usable]
        if min(energies, default=np.inf) < lowest[-1].energy + search.clear_window * 1e-3:
            return False
        best, tolerance = [lowest[0].atoms], search.cluster_tolerance
        vector = fingerprints(best, pool.species)
        beside = np.linalg.norm(pool.vectors - vector, axis=1) < tolerance
        found = (same_as(pool.ends[k].atoms, pool.vectors[k], best, vector, tolerance) for k in self.fresh(pool) if beside[k])
        return any(place is not None for place in found)
