"""Follow labelled minima to convergence on the reference with as few calls as possible.

Each step relaxes on the committee shifted to agree with the last label, and labels the end: typically 2-4 calls where a relaxation on the
reference alone takes dozens.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nucleate.crystals.batch import CrystalBatch
from nucleate.errors import ReferenceFailed
from nucleate.polymorphs.fingerprint import fingerprints, nearest
from nucleate.polymorphs.matching import same_crystal, space_group
from nucleate.potentials.base import Potential
from nucleate.reference.dispatch import Dispatcher
from nucleate.relax.batched import COLLAPSED, EXPLODED, relax
from nucleate.relax.settings import RelaxSettings
from nucleate.search.corrected import CorrectedPotential
from nucleate.search.records import Lead, LoopState, Polymorph
from nucleate.search.settings import SearchSettings

MOST_CALLS = 14
"""Calls after which a lead that will not settle is dropped."""
DUPLICATE_ENERGY = 0.005
"""eV/atom within which two matching minima are one polymorph."""


class LeadFollower:
    """Confirms leads.

    Args:
        dispatcher: the way to the reference.
        settings: of the search.
        relax_settings: of the pool; tightened here.
        pressure: GPa.
        species: atomic numbers of the search.
        on_polymorph: called with each newly confirmed polymorph; returning True ends the following.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        settings: SearchSettings,
        relax_settings: RelaxSettings,
        pressure: float,
        species: tuple[int, ...],
        on_polymorph: Callable[[Polymorph], bool | None],
    ):
        self.dispatcher = dispatcher
        self.settings = settings
        self.pressure = pressure
        self.species = species
        self.on_polymorph = on_polymorph
        self.tight = relax_settings.model_copy(
            update={
                # The committee's minimum must lie well within the reference's own tolerance.
                "fmax": 0.2 * settings.fmax,
                "smax": 0.2 * settings.smax,
                "max_steps": 120,
                "patience": 120,
                "sigma_stop": None,
                "pressure": pressure,
            }
        )

    def settled(self, lead: Lead) -> bool:
        """Whether the last label fulfils the reference's convergence."""
        return lead.fmax <= self.settings.fmax and lead.smax <= self.settings.smax

    def follow(self, state: LoopState, model: Potential, round: int, count: int, steps: int) -> bool:
        """Spend up to `steps` calls on each of the `count` most promising leads.

        Returns:
            True when `on_polymorph` asked to end.
        """
        chosen = self.promising(state)[:count]
        for step in range(steps + 1):
            for lead in chosen:
                if lead.status == "open" and self.settled(lead) and self._confirm(state, lead, model, round):
                    return True
            chosen = [lead for lead in chosen if lead.status == "open" and lead.calls < MOST_CALLS]
            if step == steps or not self._step(state, chosen, model, round):
                break
            chosen = [lead for lead in chosen if lead in self.promising(state)]
        for lead in state.leads:
            if lead.status == "open" and lead.calls >= MOST_CALLS:
                lead.status = "dropped"
        return False

    def promising(self, state: LoopState) -> list[Lead]:
        """Open leads within the window, lowest estimate first; those above it are dropped."""
        best = min((p.energy for p in state.polymorphs), default=np.inf)
        for lead in state.leads:
            if lead.status == "open" and lead.estimate > best + self.settings.window:
                lead.status = "dropped"
        return sorted((lead for lead in state.leads if lead.status == "open"), key=lambda lead: lead.estimate)

    def _step(self, state: LoopState, leads: list[Lead], model: Potential, round: int) -> bool:
        """One corrected relaxation and one label for each lead; False when there was nothing to ask."""
        asked: list[Lead] = []
        ends = []
        for lead in leads:
            surface = CorrectedPotential(model, lead.atoms, lead.forces, lead.stress)
            (end,) = relax([lead.atoms], surface, self.tight)
            moved = abs(end.atoms.get_volume() / lead.atoms.get_volume() - 1)
            if end.stop in (EXPLODED, COLLAPSED) or not np.isfinite(end.fmax) or moved > 0.25:
                # The correction is no longer small: a better model must bring it back.
                lead.status = "dropped"
                continue
            if self._known(state, end.atoms, lead):
                lead.status = "duplicate"
                continue
            asked.append(lead)
            ends.append(end.atoms)
        left = self.dispatcher.remaining()
        if left is not None:
            # Under a budget the most promising go first; those left over stay open.
            asked, ends = asked[:left], ends[:left]
        if not asked:
            return False
        before = [(lead.energy, lead.fmax) for lead in asked]
        for lead, atoms, answer, (energy, fmax) in zip(
            asked, ends, self.dispatcher.label_many(ends, "confirm", round), before, strict=True
        ):
            if isinstance(answer, ReferenceFailed):
                lead.status = "dropped"
                continue
            lead.update(atoms, answer, self.pressure)
            if lead.calls > 2 and lead.energy > energy + 0.005 and lead.fmax > fmax:
                lead.status = "dropped"
        return True

    def _known(self, state: LoopState, atoms: object, lead: Lead) -> bool:
        """Whether a confirmed polymorph is about to be found again."""
        if not state.polymorphs:
            return False
        mine = fingerprints([atoms], self.species)
        theirs = fingerprints([p.atoms for p in state.polymorphs], self.species)
        close = np.flatnonzero(np.linalg.norm(theirs - mine[0], axis=1) < self.settings.cluster_tolerance)
        for k in close:
            polymorph = state.polymorphs[int(k)]
            if abs(lead.estimate - polymorph.energy) < 4 * DUPLICATE_ENERGY and same_crystal(atoms, polymorph.atoms):
                polymorph.found += 1
                return True
        return False

    def _confirm(self, state: LoopState, lead: Lead, model: Potential, round: int) -> bool:
        lead.status = "confirmed"
        for polymorph in state.polymorphs:
            if abs(polymorph.energy - lead.energy) < DUPLICATE_ENERGY and same_crystal(polymorph.atoms, lead.atoms):
                polymorph.found += 1
                lead.status = "duplicate"
                return False
        symbol, number = space_group(lead.atoms)
        batch = CrystalBatch.from_atoms([lead.atoms])
        sigma = state.sigma_factor * float(model.energy_forces_stress(batch).energy_sigma(batch)[0])
        polymorph = Polymorph(
            lead.atoms, lead.start, lead.energy, lead.fmax, lead.smax, symbol, number, sigma, lead.origin,
            self.dispatcher.ledger.count(), lead.calls, round,
        )  # fmt: skip
        state.polymorphs.append(polymorph)
        return bool(self.on_polymorph(polymorph))


def new_leads(
    state: LoopState, labelled: list[Lead], settings: SearchSettings, species: tuple[int, ...]
) -> None:
    """Add labelled end points to the leads: near enough to a minimum, and not one that is followed already."""
    for lead in labelled:
        if lead.fmax > settings.lead_fmax or lead.smax > 15.0:
            continue
        mine = fingerprints([lead.atoms], species)
        open_leads = [other for other in state.leads if other.status == "open"]
        theirs = fingerprints([other.atoms for other in open_leads], species)
        if nearest(mine, theirs)[0] < settings.cluster_tolerance:
            continue
        state.leads.append(lead)
