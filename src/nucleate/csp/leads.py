"""Relaxation of leads on the reference with few calls; a lead is a labelled minimum of the committee.

Each call is a quasi-Newton step with the gradient of the reference and the curvature of the committee (see `newton`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from ase import Atoms

from nucleate.crystals.batch import CrystalBatch
from nucleate.csp.molecular.space import MoleculeSpace
from nucleate.csp.newton import SOFTEST, SOFTEST_MOLECULES, Frame, bfgs, longest_move, newton_step
from nucleate.csp.records import Lead, LoopState, Polymorph
from nucleate.csp.settings import SearchSettings
from nucleate.csp.space import Space
from nucleate.errors import ReferenceFailed
from nucleate.fingerprints.matching import same_crystal, space_group, symmetrised
from nucleate.fingerprints.selection import fingerprints, same_as
from nucleate.potentials.base import Potential
from nucleate.reference.dispatch import Dispatcher

MOST_CALLS = 14
"""Number of calls after which a lead that has not converged is dropped."""
NEARLY, MORE_STEPS = 4.0, 3
"""Ratio to the thresholds below which a lead has nearly converged, and the number of further steps that such leads take in a round."""
SHORTEST = 0.01
"""Smallest trust radius, Å; a lead whose trust radius is smaller is dropped."""
NEARLY_SYMMETRIC = 0.3
"""Tolerance for symmetrised geometries, Å. They are tried because soft cells converge while they are still sheared by a few percent."""
DUPLICATE_ENERGY = 0.005
"""Largest energy difference of two matching minima that are one polymorph, eV/atom."""


class Step(NamedTuple):
    """Quasi-Newton step: new coordinates, their frame, and the largest displacement in Å."""

    there: np.ndarray
    frame: Frame
    longest: float


class LeadFollower:
    """Relaxes leads on the reference until they are confirmed or dropped.

    Args:
        dispatcher: runs the reference calculations.
        settings: settings of the search.
        pressure: external pressure, GPa.
        species: atomic numbers of the search.
        space: compositions of the search, whose levels are updated.
        on_polymorph: called with each newly confirmed polymorph; the relaxation of leads ends if it returns True.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        settings: SearchSettings,
        pressure: float,
        species: tuple[int, ...],
        space: Space,
        on_polymorph: Callable[[Polymorph], bool],
    ):
        self.dispatcher = dispatcher
        self.settings = settings
        self.pressure = pressure
        self.species = species
        self.space = space
        self.on_polymorph = on_polymorph

    def settled(self, lead: Lead) -> bool:
        """Return whether the best label meets the convergence criteria."""
        return lead.fmax <= self.settings.fmax and lead.smax <= self.settings.smax

    def _nearly_settled(self, lead: Lead) -> bool:
        return lead.fmax <= NEARLY * self.settings.fmax and lead.smax <= NEARLY * self.settings.smax

    def follow(self, state: LoopState, model: Potential, round: int, count: int, steps: int) -> bool:
        """Make up to `steps` reference calls for each of the `count` most promising leads.

        Args:
            state: state of the loop, whose leads and polymorphs are changed.
            model: the committee.
            round: round of the search.
            count: number of leads.
            steps: number of calls for each lead.

        Returns:
            Whether `on_polymorph` returned True.
        """
        if self._confirm_settled(state, model, round):
            return True
        chosen = self.urgent(state, count)
        for step in range(steps + MORE_STEPS + 1):
            for lead in chosen:
                if lead.status != "open" or not self.settled(lead):
                    continue
                if self.dispatcher.remaining() != 0 and self._symmetrised(lead) is not None:
                    continue
                if self._confirm(state, lead, model, round):
                    return True
            chosen = [lead for lead in chosen if lead.status == "open" and lead.calls < MOST_CALLS]
            if step >= steps:
                # A lead that has nearly converged is not left for another round of exploration.
                chosen = [lead for lead in chosen if self._nearly_settled(lead)]
            if step == steps + MORE_STEPS or not chosen:
                break
            if not self._step(state, chosen, model, round):
                break
            still = self.promising(state)
            chosen = [lead for lead in chosen if lead in still]
        for lead in state.leads:
            if lead.status == "open" and lead.calls >= MOST_CALLS:
                lead.status = "dropped"
        return False

    def _confirm_settled(self, state: LoopState, model: Potential, round: int) -> bool:
        """Confirm the leads that need no further call; return whether `on_polymorph` returned True."""
        for lead in self.promising(state):
            if self.settled(lead) and self._symmetrised(lead) is None and self._confirm(state, lead, model, round):
                return True
        return False

    def urgent(self, state: LoopState, count: int) -> list[Lead]:
        """Return leads that may end below the best polymorph; if there are none, the lowest lead."""
        leads = self.promising(state)
        urgent = self.space.urgent(leads, state)
        return urgent[:count] if urgent else self.space.spare(leads, state)

    def promising(self, state: LoopState) -> list[Lead]:
        """Return open leads within the energy window, lowest estimate first; drop those above it."""
        self.space.update(state)
        best = self.space.best(state)
        leads = [lead for lead in state.leads if lead.status == "open"]
        heights = self._heights(leads)
        for lead, height in zip(leads, heights, strict=True):
            if best is not None and height > best + self.settings.window:
                lead.status = "dropped"
        return [leads[k] for k in np.argsort(heights, kind="stable") if leads[k].status == "open"]

    def _heights(self, leads: list[Lead]) -> np.ndarray:
        """Return the (n,) estimated energies of leads above the levels of their compositions, eV/atom."""
        return np.array([lead.estimate for lead in leads]) - self.space.levels([lead.atoms for lead in leads])

    def _step(self, state: LoopState, leads: list[Lead], model: Potential, round: int) -> bool:
        """Take one quasi-Newton step and one label for each lead; return False if no call was made."""
        stepped: list[Lead] = []
        ends: list[tuple[Atoms, Step | int]] = []
        for lead in leads:
            atoms, how = self._next(lead, model)
            if self._beside(atoms, [end for end, _ in ends]):
                # Two leads are close to the same minimum, so only the lower one is continued.
                continue
            if self._known(state, atoms, lead):
                lead.status = "duplicate"
                continue
            stepped.append(lead)
            ends.append((atoms, how))
        left = self.dispatcher.remaining()
        if left is not None:
            # The most promising leads are first; those beyond the budget stay open.
            stepped, ends = stepped[:left], ends[:left]
        if not stepped:
            return False
        like = [lead.frame if isinstance(how, Step) else None for lead, (_, how) in zip(stepped, ends, strict=True)]
        answers = self.dispatcher.label_many([atoms for atoms, _ in ends], "confirm", round, like=like)
        self.space.add([atoms for atoms, _ in ends], answers)
        for lead, (atoms, how), answer in zip(stepped, ends, answers, strict=True):
            if isinstance(how, int):
                lead.tried.append(how)
                if isinstance(answer, ReferenceFailed):
                    lead.calls += 1
                else:
                    lead.offer_symmetrised(atoms, answer, self.pressure)
                continue
            if isinstance(answer, ReferenceFailed):
                # The failure may be due to a time limit or a lost worker, so a shorter step is tried next.
                lead.calls += 1
                lead.trust = 0.5 * how.longest
            else:
                lead.path.append((how.there, how.frame.gradient(how.there, answer.forces, answer.stress)))
                if lead.offer(atoms, answer, self.pressure):
                    lead.best = len(lead.path) - 1
            if lead.trust < SHORTEST:
                lead.status = "dropped"
        return True

    def _next(self, lead: Lead, model: Potential) -> tuple[Atoms, Step | int]:
        """Return the next geometry of a lead with its origin.

        It is the symmetrised geometry (with the number of its space group) if there is one, otherwise a quasi-Newton step.
        """
        exact = self._symmetrised(lead)
        if exact is not None:
            return exact
        assert lead.frame is not None
        frame = Frame(lead.frame, self.pressure)
        if not lead.path:
            here = frame.beginning()
            lead.path.append((here, frame.gradient(here, lead.forces, lead.stress)))
            lead.best = 0
        points, gradients = [point for point, _ in lead.path], [gradient for _, gradient in lead.path]
        here, gradient = lead.path[lead.best]
        softest = SOFTEST_MOLECULES if isinstance(self.space, MoleculeSpace) else SOFTEST
        hessian = bfgs(frame.hessian(model, here, softest), points, gradients)
        step = newton_step(hessian, gradient, lead.trust)
        there = here + step
        return frame.atoms(there), Step(there, frame, longest_move(step))

    def _symmetrised(self, lead: Lead) -> tuple[Atoms, int] | None:
        """Return the symmetrised geometry of a lead and its space group; None if there is none or it has been tried."""
        if lead.calls >= MOST_CALLS:
            return None
        exact = symmetrised(lead.atoms, NEARLY_SYMMETRIC)
        return None if exact is None or exact[1] in lead.tried else exact

    def _beside(self, atoms: Atoms, others: list[Atoms]) -> bool:
        """Return whether a structure is the same crystal as one of the others."""
        return _among(atoms, others, self.species, self.settings.cluster_tolerance) is not None

    def _known(self, state: LoopState, atoms: Atoms, lead: Lead) -> bool:
        """Return whether a lead is approaching a confirmed polymorph."""
        if not state.polymorphs:
            return False
        mine = fingerprints([atoms], self.species)
        theirs = fingerprints([p.atoms for p in state.polymorphs], self.species)
        close = np.flatnonzero(np.linalg.norm(theirs - mine[0], axis=1) < self.settings.cluster_tolerance)
        for k in close:
            polymorph = state.polymorphs[int(k)]
            if polymorph.check == "saddle" and polymorph.number in lead.tried:
                # A lead that descends from a saddle is close to it at first.
                continue
            # A lead below the polymorph may be the undistorted crystal, which the tolerant matcher does not distinguish from it.
            above = lead.estimate - polymorph.energy
            if -0.1 * DUPLICATE_ENERGY < above < 4 * DUPLICATE_ENERGY and same_crystal(atoms, polymorph.atoms):
                polymorph.found += 1
                polymorph.met += lead.met
                return True
        return False

    def _confirm(self, state: LoopState, lead: Lead, model: Potential, round: int) -> bool:
        """Add a converged lead to the polymorphs unless it is a duplicate; return whether `on_polymorph` returned True."""
        lead.status = "confirmed"
        found, known, met, origin, birth = 1, None, lead.met, lead.origin, lead.birth
        for place, polymorph in enumerate(state.polymorphs):
            if abs(polymorph.energy - lead.energy) < DUPLICATE_ENERGY and same_crystal(polymorph.atoms, lead.atoms):
                polymorph.found += 1
                polymorph.met += lead.met
                if lead.energy > polymorph.energy - 1e-5:
                    lead.status = "duplicate"
                    return False
                # The polymorph is represented by the geometry with the lower energy.
                replaced = state.polymorphs.pop(place)
                found, known, met = replaced.found, replaced.known, replaced.met
                origin, birth = replaced.origin, replaced.birth
                break
        symbol, number = space_group(lead.atoms)
        batch = CrystalBatch.from_atoms([lead.atoms])
        sigma = state.sigma_factor * float(model.energy_forces_stress(batch).energy_sigma(batch)[0])
        polymorph = Polymorph(
            lead.atoms, lead.start, lead.energy, lead.fmax, lead.smax, symbol, number, sigma, origin,
            self.dispatcher.calls(), lead.calls, round, found, frame=lead.frame, known=known,
            compound=self.space.compound(lead.atoms), birth=birth, met=met,
        )  # fmt: skip
        state.polymorphs.append(polymorph)
        self.space.update(state)
        return self.on_polymorph(polymorph)


def new_leads(state: LoopState, labelled: list[Lead], settings: SearchSettings, species: tuple[int, ...]) -> None:
    """Add labelled minima to the leads if they are close to convergence and not duplicates of a lead."""
    for lead in labelled:
        if lead.fmax > settings.lead_fmax or lead.smax > settings.lead_smax:
            continue
        others = [other for other in state.leads if other.status == "open"]
        place = _among(lead.atoms, [other.atoms for other in others], species, settings.cluster_tolerance)
        if place is None:
            state.leads.append(lead)
        else:
            others[place].met += lead.met


def _among(atoms: Atoms, others: list[Atoms], species: tuple[int, ...], tolerance: float) -> int | None:
    """Return which of the others a structure is; None if it is none of them."""
    return same_as(atoms, fingerprints([atoms], species)[0], others, fingerprints(others, species), tolerance)
