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
from ase.data import chemical_symbols
from scipy.special import ndtr

from nucleate.crystals.compositions import reduced
from nucleate.crystals.formula import parse_formula
from nucleate.csp.hull import Hull
from nucleate.csp.hull_settings import HullSettings
from nucleate.csp.records import Lead, LoopState, Polymorph, enthalpy_per_atom
from nucleate.csp.run_settings import RunSettings
from nucleate.errors import BadInput
from nucleate.generate.base import Candidate
from nucleate.generate.mixture import MixtureGenerator, make_generator
from nucleate.generate.packing import oxidation_states
from nucleate.generate.system import SystemGenerator
from nucleate.reference.base import Label
from nucleate.reference.dispatch import Answer
from nucleate.reference.ledger import LedgerRow
from nucleate.relax.batched import Relaxed

NEAR = 0.1
"""Height above the hull at which the frequency of a composition among the promising candidates has fallen to 1/e, eV/atom."""
END_WEIGHT = 3.0
"""Frequency of end members relative to other compositions: every formation energy depends on them."""
NEUTRAL_WEIGHT = 2.0
"""Frequency of charge-neutral compositions of ionic systems."""
SMALLEST_SIGMA = 0.002
"""Smallest uncertainty of a predicted enthalpy, eV/atom."""


class Space(Protocol):
    """Compositions and cells that a search covers."""

    @property
    def seeds(self) -> int:
        """Number of structures of the user."""
        ...

    @property
    def ends(self) -> list[str]:
        """Compositions of which the first batch must contain labels."""
        ...

    def holds(self, atoms: Atoms) -> bool:
        """Return whether a structure is searched for; others are training data only."""
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

    def predicted_levels(self, ends: Sequence[Relaxed]) -> np.ndarray:
        """Return the (n,) levels of relaxed candidates before anything is calculated, eV/atom."""
        ...

    def groups(self, structures: Sequence[Atoms]) -> list[str] | None:
        """Return the composition of each structure, or None if there is only one."""
        ...

    def best(self, state: LoopState) -> float | None:
        """Return the lowest level-corrected enthalpy of a polymorph, eV/atom; None if there is none."""
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

    def chance(self, ends: Sequence[Relaxed]) -> float:
        """Return the largest probability of relaxed candidates to change these polymorphs, as far as the stop rule uses it."""
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
    def ends(self) -> list[str]:
        """Compositions of which the first batch must contain labels: any label has the right one."""
        return []

    def holds(self, atoms: Atoms) -> bool:
        """Return whether a structure has the size of the search cell; smaller cells are training data only."""
        return len(atoms) == self._size

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

    def predicted_levels(self, ends: Sequence[Relaxed]) -> np.ndarray:
        """Return (n,) zeros."""
        return np.zeros(len(ends))

    def groups(self, structures: Sequence[Atoms]) -> list[str] | None:
        """Return None: there is one composition."""
        return None

    def best(self, state: LoopState) -> float | None:
        """Return the lowest enthalpy of a polymorph, eV/atom."""
        return min((polymorph.energy for polymorph in state.minima()), default=None)

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

    def chance(self, ends: Sequence[Relaxed]) -> float:
        """Return zero: the stop rule of one formula uses labels only."""
        return 0.0


class SystemSpace:
    """The compositions of a chemical system.

    Args:
        settings: settings of the search, whose formula is a chemical system.
    """

    def __init__(self, settings: RunSettings):
        assert settings.system is not None
        self.settings, self.system = settings, settings.system
        self.hull_settings: HullSettings = settings.hull
        self.generator = SystemGenerator(self.system, settings.hull.max_atoms, settings.generate, settings.seeds_from)
        self._weights = self._composition_weights()
        self._labels: dict[str, tuple[np.ndarray, float]] = {}
        self._hull: Hull | None = None
        self._confirmed: Hull | None = None
        self._plane = np.zeros(len(self.system.end_members))

    @property
    def seeds(self) -> int:
        """Number of structures of the user."""
        return len(self.generator.seeds)

    @property
    def ends(self) -> list[str]:
        """Formulas of the end members."""
        return [self.system.formula(member) for member in self.system.end_members]

    def holds(self, atoms: Atoms) -> bool:
        """Return whether the composition of a structure belongs to the system and its cell is not too large."""
        return len(atoms) <= self.hull_settings.max_atoms and self.system.contains(atoms)

    def propose(self, n: int, rng: np.random.Generator, with_seeds: bool) -> list[Candidate]:
        """Return `n` candidates, more of compositions near the hull."""
        return self.generator.propose(n, rng, self._frequencies(), with_seeds)

    def _composition_weights(self) -> np.ndarray:
        """Return the (n,) relative frequencies of compositions before anything is calculated."""
        ends = [reduced(member) for member in self.system.end_members]
        weights = []
        for formula in self.generator.compositions:
            counts = parse_formula(formula)
            neutral = len(counts) > 1 and bool(oxidation_states(counts))
            weights.append(END_WEIGHT if counts in ends else NEUTRAL_WEIGHT if neutral else 1.0)
        return np.array(weights) / sum(weights)

    def _frequencies(self) -> np.ndarray:
        """Return the (n,) frequencies of compositions among the candidates."""
        share, weights = self.hull_settings.promising_share, self._weights
        if self._hull is None or not share:
            return weights
        heights = np.zeros(len(weights))
        for k, formula in enumerate(self.generator.compositions):
            if formula in self._labels:
                fractions, energy = self._labels[formula]
                heights[k] = max(0.0, float(self._hull.above(fractions[None], np.array([energy]))[0]))
        near = weights * np.exp(-heights / NEAR)
        result: np.ndarray = (1 - share) * weights + share * near / near.sum()
        return result

    # -- levels -----------------------------------------------------------------------------------------------

    def begin(self, rows: Iterable[LedgerRow], state: LoopState) -> None:
        """Forget all labels except those of `rows`, and update the levels."""
        self._labels = {}
        rows = list(rows)
        self.add([row.atoms for row in rows], [row.answer() for row in rows])
        self.update(state)

    def add(self, structures: Sequence[Atoms], answers: Sequence[Answer]) -> None:
        """Enter new labels; the lowest of each composition counts."""
        for atoms, answer in zip(structures, answers, strict=True):
            if isinstance(answer, Label) and self.system.contains(atoms):
                self._enter(atoms, enthalpy_per_atom(atoms, answer, self.settings.pressure))

    def _enter(self, atoms: Atoms, energy: float) -> None:
        formula = self.groups([atoms])[0]
        if formula not in self._labels or energy < self._labels[formula][1]:
            self._labels[formula] = (self._fractions([atoms])[0], energy)

    def _fractions(self, structures: Sequence[Atoms]) -> np.ndarray:
        return self.system.fractions(self.system.counts(structures))

    def update(self, state: LoopState) -> None:
        """Update the hulls and the levels of the polymorphs."""
        minima = [polymorph for polymorph in state.polymorphs if polymorph.check != "saddle"]
        for polymorph in minima:
            self._enter(polymorph.atoms, polymorph.energy)
        fractions = np.array([item[0] for item in self._labels.values()]).reshape(-1, len(self.system.end_members))
        energies = np.array([item[1] for item in self._labels.values()])
        self._hull = _hull(fractions, energies)
        if self._hull is None and len(energies):
            # Without a label of each end member, a linear fit takes the place of the hull.
            self._plane = np.linalg.lstsq(fractions, energies, rcond=None)[0]
        self._confirmed = _hull(self._fractions([p.atoms for p in minima]), np.array([p.energy for p in minima])) if minima else None
        for polymorph in state.polymorphs:
            mine = self._fractions([polymorph.atoms])
            hull = self._confirmed or self._hull
            polymorph.level = float(hull.energy(mine)[0] if hull is not None else (mine @ self._plane)[0])

    def levels(self, structures: Sequence[Atoms]) -> np.ndarray:
        """Return the (n,) energies of the hull of all labels and polymorphs at the compositions of structures, eV/atom."""
        fractions = self._fractions(structures)
        result: np.ndarray = fractions @ self._plane if self._hull is None else self._hull.energy(fractions)
        return result

    def predicted_levels(self, ends: Sequence[Relaxed]) -> np.ndarray:
        """Return the (n,) energies of the hull of the candidates themselves at their compositions, eV/atom."""
        fractions = self._fractions([end.atoms for end in ends])
        usable = np.array([end.usable for end in ends])
        hull = _hull(fractions[usable], np.array([end.energy_per_atom for end in ends])[usable])
        return np.zeros(len(ends)) if hull is None else hull.energy(fractions)

    def groups(self, structures: Sequence[Atoms]) -> list[str]:
        """Return the reduced formulas of structures."""
        symbols = [chemical_symbols[z] for z in self.system.species]
        return [
            self.system.formula({symbol: int(n) for symbol, n in zip(symbols, row, strict=True) if n})
            for row in self.system.counts(structures)
        ]

    def best(self, state: LoopState) -> float | None:
        """Return zero, the height of the hull."""
        return 0.0

    def lowest(self, state: LoopState) -> list[Polymorph]:
        """Return the phases on the hull of the confirmed polymorphs; none if an end member is not confirmed."""
        if self._confirmed is None:
            return []
        on = [polymorph for polymorph in state.minima() if polymorph.energy < polymorph.level + 1e-7]
        places = self._fractions([polymorph.atoms for polymorph in on])
        return [on[k] for k in np.lexsort(places.T)]

    def winners(self, state: LoopState) -> list[Polymorph]:
        """Return the phases on the hull that this search has found; the others were relaxed on the reference alone already."""
        return [polymorph for polymorph in self.lowest(state) if polymorph.own] or [p for p in state.minima() if p.own][:1]

    def pending(self, state: LoopState) -> bool:
        """Return whether a lead or a label is below the hull of the confirmed polymorphs."""
        if self._confirmed is None:
            return True
        tolerance = self.settings.search.resolution * 1e-3
        leads: list[Lead] = [lead for lead in state.leads if lead.status == "open"]
        if leads:
            heights = self._confirmed.above(self._fractions([lead.atoms for lead in leads]), np.array([lead.estimate for lead in leads]))
            if (heights < 0).any():
                return True
        fractions = np.array([item[0] for item in self._labels.values()])
        heights = self._confirmed.above(fractions, np.array([item[1] for item in self._labels.values()]))
        return bool((heights < -tolerance).any())

    def shown(self, count: int) -> str:
        """Return a description of `count` phases on the hull."""
        return f"the {count} phases on the hull"

    def chance(self, ends: Sequence[Relaxed]) -> float:
        """Return the largest probability of candidates to lie below the hull by more than the resolution."""
        hull = self._confirmed or self._hull
        if hull is None or not ends:
            return 0.0 if hull is not None else 1.0
        heights = hull.above(self._fractions([end.atoms for end in ends]), np.array([end.energy_per_atom for end in ends]))
        sigma = np.maximum([end.sigma for end in ends], SMALLEST_SIGMA)
        return float(ndtr((-self.settings.search.resolution * 1e-3 - heights) / sigma).max())


def _hull(fractions: np.ndarray, energies: np.ndarray) -> Hull | None:
    """Return the hull of phases, or None if an end member has none."""
    try:
        return Hull(fractions, energies)
    except ValueError:
        return None


def make_space(settings: RunSettings) -> FormulaSpace | SystemSpace:
    """Return what a search covers.

    Raises:
        BadInput: the settings do not fit the compositions.
    """
    if settings.system is None:
        return FormulaSpace(settings)
    if settings.search.train_units:
        raise BadInput("search.train_units has no effect on a chemical system, whose cells have all sizes; remove it")
    return SystemSpace(settings)
