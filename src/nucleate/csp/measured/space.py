"""Space of a search with a measured powder pattern: candidates similar to the pattern are preferred.

The score of a candidate is E + w ln(1 - s²) with its energy E per atom and the similarity s of its calculated pattern, after a fit of its
cell, to the measured one. ln(1 - s²) is, up to a factor, the logarithm of the likelihood of `polymorphs.posterior`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from nucleate.csp.evolution.pool import Pool
from nucleate.csp.measured.settings import MeasuredSettings
from nucleate.csp.records import Lead, LoopState
from nucleate.csp.run_settings import RunSettings
from nucleate.csp.select import score
from nucleate.csp.settings import SearchSettings
from nucleate.csp.space import FormulaSpace
from nucleate.errors import BadInput
from nucleate.observables.data_files import read_pattern
from nucleate.observables.powder import PowderData, PowderSettings, fit_powder, powder_data, similarity
from nucleate.observables.radiation import radiation
from nucleate.relax.batched import Relaxed

FITTED = 40
"""Number of candidates of a round whose cells are fitted to the pattern."""
REMEMBERED = 10_000
"""Number of fits that are remembered."""
LARGEST = 0.999
"""Similarity that is not exceeded in the score, whose logarithm diverges."""


def check_measured(settings: RunSettings) -> None:
    """Refuse settings of a measured pattern that are incomplete, have no effect, or belong to another kind of search.

    Raises:
        BadInput: such a setting is given; the message names it.
    """
    own, plain = settings.measured, MeasuredSettings()
    if own.xrd is None:
        for name in MeasuredSettings.model_fields:
            if getattr(own, name) != getattr(plain, name):
                raise BadInput(f"measured.{name} has no effect without a powder pattern; give --fit-xrd, or remove it")
        return
    if own.wavelength is None:
        raise BadInput("--fit-xrd needs the wavelength; give --wavelength in Å or as the name of a line, such as CuKa")
    if own.deuterated and not own.neutron:
        raise BadInput("--deuterated has no effect without --neutron; remove it or give --neutron")
    kind = "a chemical system" if settings.system is not None else "molecular crystals" if settings.molecules.molecule else None
    if settings.dimensions != 3:
        kind = "layers" if settings.dimensions == 2 else "clusters"
    if settings.search.clear_window != SearchSettings().clear_window:
        raise BadInput("search.clear_window has no effect with --fit-xrd: the measured crystal may be above this window; remove it")
    if kind is not None:
        raise BadInput(f"--fit-xrd has no effect on a search of {kind}; give a formula of a crystal, or remove it")


def pattern(settings: MeasuredSettings) -> PowderData:
    """Return the measured pattern, prepared for comparison.

    Raises:
        BadInput: the file is not a powder pattern, or the wavelength is unknown.
    """
    assert settings.xrd is not None
    assert settings.wavelength is not None
    curve = read_pattern(Path(settings.xrd))
    source = radiation(settings.wavelength, settings.neutron, settings.deuterated)
    return powder_data(curve.x, curve.y, source, PowderSettings(strain=settings.strain))


class MeasuredSpace(FormulaSpace):
    """The search cell of one formula, whose powder pattern is known.

    Args:
        settings: settings of the search.

    Raises:
        BadInput: the file is not a powder pattern, or an element has no form factor.
    """

    def __init__(self, settings: RunSettings):
        super().__init__(settings)
        self._data = pattern(settings.measured)
        self._known: dict[bytes, float] = {}
        for number in settings.species:
            self._data.radiation.amplitudes(number, np.zeros(1))

    def gain(self, structures: Sequence[Atoms]) -> np.ndarray:
        """Return the (n,) terms w ln(1 - s²) of structures, eV/atom, at most 0."""
        return self._term(np.array([self._fitted(atoms) for atoms in structures]))

    def _term(self, similar: np.ndarray) -> np.ndarray:
        result: np.ndarray = self.settings.measured.weight * np.log1p(-(np.clip(similar, 0.0, LARGEST) ** 2))
        return result

    def _plain(self, atoms: Atoms) -> float:
        """Return the similarity of a structure in its own cell; 0 if it has more reflections than can be compared."""
        try:
            return float(similarity([atoms], self._data)[0])
        except BadInput:
            return 0.0

    def _fitted(self, atoms: Atoms) -> float:
        """Return the similarity of a structure with a fitted cell, which is remembered, since carried structures come again."""
        key = atoms.numbers.tobytes() + atoms.cell.array.tobytes() + atoms.positions.tobytes()
        if key not in self._known:
            if len(self._known) > REMEMBERED:
                self._known.clear()
            try:
                self._known[key] = fit_powder(atoms, self._data).fitted
            except BadInput:
                self._known[key] = 0.0
        return self._known[key]

    def merits(self, ends: Sequence[Relaxed]) -> np.ndarray | None:
        """Return the (n,) scores of relaxed candidates with the terms of their patterns, eV/atom; infinity for those without a score.

        The fit of a cell without symmetry takes ten times as long as the pattern, so the cells of the `FITTED` candidates with the best
        scores before a fit are fitted; the others keep these scores.
        """
        scores = score(ends, self.settings.search)
        usable = np.flatnonzero(np.isfinite(scores))
        plain = self._term(np.array([self._plain(ends[int(k)].atoms) for k in usable]))
        best = np.argsort(scores[usable] + plain, kind="stable")[:FITTED]
        plain[best] = self.gain([ends[int(k)].atoms for k in usable[best]])
        scores[usable] += plain
        return scores

    def levels(self, structures: Sequence[Atoms]) -> np.ndarray:
        """Return the (n,) numbers that are subtracted from the energies of leads, so that similar ones are converged first, eV/atom."""
        return -self.gain(structures)

    def urgent(self, leads: Sequence[Lead], state: LoopState) -> list[Lead]:
        """Return the leads that may end below the best polymorph, and those with a better score than every polymorph."""
        low = super().urgent(leads, state)
        minima = state.minima()
        if not minima or not leads:
            return low
        best = float((np.array([p.energy for p in minima]) + self.gain([p.atoms for p in minima])).min())
        scores = np.array([lead.estimate for lead in leads]) + self.gain([lead.atoms for lead in leads])
        better = [lead for lead, value in zip(leads, scores, strict=True) if value < best]
        return low + [lead for lead in better if lead not in low]

    def clear(self, pool: Pool, left: Sequence[int], state: LoopState) -> bool:
        """Return False: the crystal with the pattern may be far above the lowest polymorph."""
        return False
