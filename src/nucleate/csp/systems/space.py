"""The compositions of a chemical system as the space of a search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from scipy.special import ndtr

from nucleate.crystals.formula import parse_formula
from nucleate.csp.evolution.pool import Pool
from nucleate.csp.records import Lead, LoopState, Polymorph, enthalpy_per_atom
from nucleate.csp.run_settings import RunSettings
from nucleate.csp.settings import UNSTATED_TOPS, SearchSettings
from nucleate.csp.space import FormulaSpace
from nucleate.csp.systems.hull import Hull
from nucleate.csp.systems.known_phases import PURPOSE
from nucleate.csp.systems.settings import HullSettings
from nucleate.errors import BadInput
from nucleate.generate.base import Candidate
from nucleate.generate.packing import oxidation_states
from nucleate.generate.system import SystemGenerator
from nucleate.reference.asking import Answer
from nucleate.reference.base import Label
from nucleate.reference.ledger import LedgerRow
from nucleate.relax.batched import Relaxed

UNUSABLE = 1e3
"""Energy that stands for a relaxation that exploded or collapsed, eV/atom."""
NEAR = 0.1
"""Height above the hull at which the frequency of a composition among the promising candidates has fallen to 1/e, eV/atom."""
PREFERRED = 3.0
"""Frequency of end members that are not confirmed, and of charge-neutral compositions of ionic systems, relative to other compositions."""
FIRST_CANDIDATES = 10
"""Smallest number of candidates of each composition of which the first batch must contain labels."""
MOST_NEUTRAL = 3
"""Largest number of charge-neutral compositions that the first batch must contain."""
SMALLEST_SIGMA, LARGEST_SIGMA = 0.002, 0.1
"""Range to which the uncertainty of a predicted enthalpy is limited, eV/atom; those of structures unlike all labels are not reliable."""


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
        compositions = [(formula, parse_formula(formula)) for formula in self.generator.compositions]
        neutral = [(sum(counts.values()), formula) for formula, counts in compositions if len(counts) > 1 and oxidation_states(counts)]
        self._neutral = [formula for _, formula in sorted(neutral) if formula not in self.ends]
        self._labels: dict[str, tuple[np.ndarray, float]] = {}
        self._counts: Counter[str] = Counter()
        self._missing = set(self.ends)
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

    @property
    def anchors(self) -> list[str]:
        """Compositions of which the first batch must contain labels: the end members, and the simplest charge-neutral compositions."""
        return list(dict.fromkeys(self.ends + self._neutral[:MOST_NEUTRAL]))

    def holds(self, atoms: Atoms) -> bool:
        """Return whether the composition of a structure belongs to the system and its cell is not too large."""
        return len(atoms) <= self.hull_settings.max_atoms and self.system.contains(atoms)

    def compound(self, atoms: Atoms) -> str | None:
        """Return None: all compounds of the system are searched for."""
        return None

    def propose(self, n: int, rng: np.random.Generator, with_seeds: bool) -> list[Candidate]:
        """Return `n` candidates, more of compositions near the hull."""
        return self.generator.propose(n, rng, self._frequencies(n), with_seeds)

    def _frequencies(self, n: int) -> np.ndarray:
        """Return the relative frequencies of compositions among `n` candidates."""
        share = self.hull_settings.promising_share
        preferred = self._missing | set(self._neutral)
        weights = np.array([PREFERRED if formula in preferred else 1.0 for formula in self.generator.compositions])
        weights /= weights.sum()
        if self._hull is None:
            # The first batch takes labels of the anchors.
            rare = [k for k, formula in enumerate(self.generator.compositions) if formula in self.anchors]
            weights[rare] = np.maximum(weights[rare], FIRST_CANDIDATES / n)
            return weights
        if not share:
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
        self._labels, self._counts = {}, Counter()
        # Steps of the relaxations of known phases are not structures of the search; their end points are polymorphs.
        rows = [row for row in rows if row.purpose != PURPOSE]
        self.add([row.atoms for row in rows], [row.answer() for row in rows])
        self.update(state)

    def add(self, structures: Sequence[Atoms], answers: Sequence[Answer]) -> None:
        """Enter new labels; the lowest of each composition counts."""
        for atoms, answer in zip(structures, answers, strict=True):
            if isinstance(answer, Label) and self.system.contains(atoms):
                self._counts[self.groups([atoms])[0]] += 1
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
        self._missing = set(self.ends) - set(self.groups([polymorph.atoms for polymorph in minima]))
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

    def merits(self, ends: Sequence[Relaxed]) -> np.ndarray:
        """Return minus the (n,) expected lowering of the hull by relaxed candidates, eV/atom."""
        depths, sigma = self._predicted(ends)
        z = depths / sigma
        # Where the expected improvement underflows, the depth in units of sigma decides.
        result: np.ndarray = -sigma * (np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi) + z * ndtr(z)) - 1e-9 * z
        return result

    def coverage(self, ends: Sequence[Relaxed]) -> np.ndarray:
        """Return the (n,) numbers of labels of the compositions of candidates, multiplied by exp(height / NEAR).

        A committee trained on few labels predicts simple structures far above others, so that their expected improvement is no guide.
        """
        depths, _ = self._predicted(ends)
        heights = np.clip(-depths, 0.0, 10 * NEAR)
        counts = np.array([self._counts[formula] for formula in self.groups([end.atoms for end in ends])])
        result: np.ndarray = (counts + 1.0) * np.exp(heights / NEAR)
        return result

    def _predicted(self, ends: Sequence[Relaxed]) -> tuple[np.ndarray, np.ndarray]:
        """Return by how much relaxed candidates are below the hull minus the resolution, and the uncertainty, (n,) each, eV/atom.

        Before anything is calculated, the hull is that of the candidates.
        """
        fractions = self._fractions([end.atoms for end in ends])
        usable = np.array([end.usable for end in ends])
        # What is left of a relaxation that did not converge, by a force constant of 8 eV/Å².
        energies = np.array([end.energy_per_atom - min(end.fmax, 1.0) ** 2 / 16.0 if end.usable else UNUSABLE for end in ends])
        hull = self._confirmed or self._hull or _hull(fractions[usable], energies[usable])
        levels = fractions @ self._plane if hull is None else hull.energy(fractions)
        sigma = np.clip([end.sigma if end.usable else LARGEST_SIGMA for end in ends], SMALLEST_SIGMA, LARGEST_SIGMA)
        return levels - self.settings.search.resolution * 1e-3 - energies, sigma

    def groups(self, structures: Sequence[Atoms]) -> list[str]:
        """Return the reduced formulas of structures."""
        symbols = [chemical_symbols[z] for z in self.system.species]
        return [
            self.system.formula({symbol: int(n) for symbol, n in zip(symbols, row, strict=True) if n})
            for row in self.system.counts(structures)
        ]

    def best(self, state: LoopState) -> float | None:
        """Return zero, the height of the hull, or None as long as an end member has no label."""
        return None if self._hull is None else 0.0

    def urgent(self, leads: Sequence[Lead], state: LoopState) -> list[Lead]:
        """Return the lowest lead of each composition that may end below the hull of the confirmed phases by more than the resolution.

        Until each end member is confirmed, those that are not come first.
        """
        if not leads:
            return []
        formulas, heights = self.groups([lead.atoms for lead in leads]), self._heights(leads)
        order = sorted(range(len(leads)), key=lambda k: (formulas[k] not in self._missing, heights[k]))
        chosen: dict[str, Lead] = {}
        for k in order:
            if heights[k] < -self.settings.search.resolution * 1e-3:
                chosen.setdefault(formulas[k], leads[k])
        return list(chosen.values())

    def spare(self, leads: Sequence[Lead], state: LoopState) -> list[Lead]:
        """Return the lowest lead of a composition of which no polymorph is confirmed; further polymorphs do not change the hull."""
        known = set(self.groups([polymorph.atoms for polymorph in state.polymorphs]))
        return [lead for lead, formula in zip(leads, self.groups([lead.atoms for lead in leads]), strict=True) if formula not in known][:1]

    def _heights(self, leads: Sequence[Lead]) -> np.ndarray:
        """Return the (n,) estimated heights of leads above the hull of the confirmed phases, eV/atom; -infinity without a hull."""
        if self._confirmed is None or not leads:
            return np.full(len(leads), -np.inf)
        return self._confirmed.above(self._fractions([lead.atoms for lead in leads]), np.array([lead.estimate for lead in leads]))

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
        if (self._heights([lead for lead in state.leads if lead.status == "open"]) < -tolerance).any():
            return True
        fractions = np.array([item[0] for item in self._labels.values()])
        heights = self._confirmed.above(fractions, np.array([item[1] for item in self._labels.values()]))
        return bool((heights < -tolerance).any())

    def shown(self, count: int) -> str:
        """Return a description of `count` phases on the hull."""
        return f"the {count} phases on the hull"

    @property
    def most_chance(self) -> float:
        """Largest result of `chance` at which the search may end."""
        return self.hull_settings.probability

    def finds(self, pool: Pool, places: Sequence[int]) -> list[int]:
        """Return zeros: the stop rule does not count finds."""
        return [0] * len(places)

    def chance(self, pool: Pool, left: Sequence[int], state: LoopState) -> float:
        """Return the largest probability of candidates without a label to lie below the hull; see `chance_below`."""
        return self.chance_below([pool.ends[k] for k in left])

    def clear(self, pool: Pool, left: Sequence[int], state: LoopState) -> bool:
        """Return False: the stop rule of a chemical system has the probability."""
        return False

    def chance_below(self, ends: Sequence[Relaxed]) -> float:
        """Return the largest probability of candidates to lie below the hull by more than the resolution."""
        if not ends:
            return 0.0
        depths, sigma = self._predicted(ends)
        return float(ndtr(depths / sigma).max())


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
    ranked = "whose candidates are ranked by the expected lowering of the hull"
    for name, why in (
        ("train_units", "whose cells have all sizes"),
        ("top", "whose stop rule watches the phases on the hull"),
        ("clear_window", "whose stop rule has a probability, hull.probability"),
        ("score", ranked),
        ("score_weight", ranked),
    ):
        unstated = UNSTATED_TOPS if name == "top" else (SearchSettings.model_fields[name].get_default(call_default_factory=True),)
        if getattr(settings.search, name) not in unstated:
            raise BadInput(f"search.{name} has no effect on the chemical system {settings.name}, {why}; remove it")
    return SystemSpace(settings)
