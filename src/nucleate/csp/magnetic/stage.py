"""Magnetic orders of the lowest polymorphs, after the search has ended.

A search starts every calculation from the moments of the elements, which are parallel. The lowest symmetric polymorphs are then calculated
in each of their symmetric collinear orders at their geometry. The antiferromagnetic orders that are near the lowest one are relaxed on the
reference alone. If the lowest of them is below the parallel order, the polymorph gets its energy and its geometry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from nucleate.csp.events import LabelDone
from nucleate.csp.magnetic.moments import final_moments, start_of
from nucleate.csp.magnetic.orders import Order, magnetic_orders
from nucleate.csp.magnetic.records import Magnetism, OrderEnergy
from nucleate.csp.records import Polymorph, enthalpy_per_atom, residuals
from nucleate.errors import BudgetExhausted, ReferenceFailed
from nucleate.fingerprints.matching import space_group
from nucleate.progress import Event, LoggedEvent
from nucleate.reference.base import Label, content_hash, with_k_points
from nucleate.reference.dispatch import Answered, Dispatcher
from nucleate.reference.ledger import MAGNETIC
from nucleate.relax.batched import CONVERGED, relax
from nucleate.relax.reference_surface import ReferencePotential
from nucleate.relax.settings import RelaxSettings

WINDOW = 0.050
"""Largest energy above the lowest polymorph of those whose orders are tried, eV/atom."""
MOST = 3
"""Largest number of polymorphs whose orders are tried."""
NEAR = 0.030
"""Largest energy above the lowest order of a polymorph of the orders that are relaxed, eV/atom."""
MOST_RELAXED = 2
"""Largest number of orders of a polymorph that are relaxed."""
LEAST_GAIN = 1e-5
"""Energy by which another order must be lower to replace the one of the search, eV/atom."""
TRICLINIC = 2
"""Number of the last space group without symmetry beyond inversion, whose crystals have no symmetric orders to try."""
SPENT = "the budget of reference calls is spent"


class MagneticStage:
    """Calculates magnetic orders of polymorphs.

    Args:
        dispatcher: runs the reference calculations; its reference starts from `moments`.
        moments: starting moment of each element, Bohr magnetons.
        relaxation: settings of relaxations on the reference alone, with the pressure (GPa).
        round: round of the search to which the calls belong.
        log: called with a `LabelDone` for each calculation at the geometry of a polymorph.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        moments: dict[str, float],
        relaxation: RelaxSettings,
        round: int,
        log: Callable[[LoggedEvent], None] = lambda event: None,
    ):
        self.dispatcher, self.moments, self.relaxation, self.round, self.log = dispatcher, moments, relaxation, round, log

    def run(self, polymorphs: Sequence[Polymorph], lowest: Sequence[Polymorph]) -> dict[str, Any]:
        """Set `magnetic` of polymorphs, and energy and geometry of those with a lower order.

        Args:
            polymorphs: all polymorphs; the moments of those whose orders are not tried are those of their label in the ledger.
            lowest: the minima in the order of the ranking, of which the orders are tried; empty: of none.

        Returns:
            `calls`, `failed` (calculations), `tried` (polymorphs) and `changed` (polymorphs with another order than that of the search).
        """
        before = self.dispatcher.calls()
        for polymorph in polymorphs:
            polymorph.set_order(self._recorded(polymorph))
        tried = 0
        for polymorph in symmetric_and_low(lowest):
            orders = magnetic_orders(polymorph.atoms, self.moments)
            if len(orders) > 1 and self.dispatcher.remaining() != 0:
                tried += 1
                self._try(polymorph, orders)
        rows = [row for row in self.dispatcher.ledger.rows() if row.purpose == MAGNETIC]
        return {
            "calls": self.dispatcher.calls() - before,
            "failed": sum(row.label is None for row in rows),
            "tried": tried,
            "changed": sum(polymorph.magnetic is not None and polymorph.magnetic.before is not None for polymorph in polymorphs),
        }

    def _recorded(self, polymorph: Polymorph) -> Magnetism | None:
        """Return the moments of a polymorph from its label in the ledger; None if it is not there or has none."""
        atoms = with_k_points(polymorph.atoms, self.dispatcher.reference, polymorph.frame)
        row = self.dispatcher.ledger.lookup(content_hash(atoms, self.dispatcher.reference.settings()))
        if row is None or row.label is None:
            return None
        found = final_moments(row.label, *start_of(polymorph.atoms.get_chemical_symbols(), self.moments))
        return None if found is None else Magnetism(*found)

    def _try(self, polymorph: Polymorph, orders: list[Order]) -> None:
        """Calculate the orders of a polymorph, as many as the budget permits, and relax those near the lowest."""
        left = self.dispatcher.remaining()
        asked = orders if left is None else orders[:left]
        answers = self.dispatcher.label_many([order.atoms for order in asked], MAGNETIC, self.round, self._answered)
        entries = [self._entry(order, answer) for order, answer in zip(asked, answers, strict=True)]
        entries += [OrderEnergy(order.name, failure=SPENT) for order in orders[len(asked) :]]
        energies = {k: entry.energy for k, entry in enumerate(entries) if entry.energy is not None and entry.ended == entry.name}
        near = sorted((energy, k) for k, energy in energies.items() if energy <= min(energies.values()) + NEAR)
        ends = {k: self._relaxed(orders[k], entries[k]) for _, k in [item for item in near if item[1] > 0][:MOST_RELAXED]}
        magnetic = polymorph.magnetic
        if magnetic is None:
            first = next((entry for entry in entries if entry.ended), None)
            if first is None:
                return
            magnetic = Magnetism(first.ended, first.moment or 0.0, first.net or 0.0)
        magnetic.orders = entries
        polymorph.set_order(magnetic)
        # The label of the parallel order in the primitive cell has the same k-points as far as another cell permits.
        parallel = energies.get(0, polymorph.energy)
        lower = [(entries[k].relaxed, k) for k, end in ends.items() if end is not None and entries[k].ended == entries[k].name]
        best = min(((energy, k) for energy, k in lower if energy is not None), default=None)
        if best is not None and best[0] < parallel - LEAST_GAIN:
            self._replace(polymorph, orders[best[1]], entries, best[1], ends[best[1]])

    def _entry(self, order: Order, answer: Label | ReferenceFailed) -> OrderEnergy:
        """Return the result of an order at the geometry of the polymorph."""
        if isinstance(answer, ReferenceFailed):
            return OrderEnergy(order.name, failure=answer.reason)
        entry = OrderEnergy(order.name, enthalpy_per_atom(order.atoms, answer, self.relaxation.pressure))
        self._set_moments(entry, order, answer)
        return entry

    def _set_moments(self, entry: OrderEnergy, order: Order, label: Label) -> None:
        found = final_moments(label, order.atoms.get_initial_magnetic_moments(), order.name)
        if found is None:
            entry.failure = "the reference returns no moments"
        else:
            entry.ended, entry.moment, entry.net = found

    def _relaxed(self, order: Order, entry: OrderEnergy) -> tuple[Atoms, Label] | None:
        """Relax an order on the reference alone and enter the result; return its geometry and label, or None if it did not converge."""
        try:
            (end,) = relax([order.atoms], ReferencePotential(self.dispatcher, MAGNETIC, self.round), self.relaxation)
            if end.stop != CONVERGED:
                entry.failure = f"relaxation: {end.stop}"
                return None
            (label,) = self.dispatcher.label_many([end.atoms], MAGNETIC, self.round, like=[order.atoms])
        except (ReferenceFailed, BudgetExhausted) as failure:
            entry.failure = f"relaxation: {SPENT if isinstance(failure, BudgetExhausted) else failure}"
            return None
        assert isinstance(label, Label)
        entry.relaxed = enthalpy_per_atom(end.atoms, label, self.relaxation.pressure)
        self._set_moments(entry, order, label)
        return end.atoms, label

    def _replace(self, polymorph: Polymorph, order: Order, entries: list[OrderEnergy], place: int, end: tuple[Atoms, Label] | None) -> None:
        """Give a polymorph energy and geometry of a relaxed order."""
        assert end is not None
        atoms, label = end
        entry = entries[place]
        assert entry.relaxed is not None
        fmax, smax = residuals(atoms, label, self.relaxation.pressure)
        symbol, number = space_group(atoms)
        polymorph.set_order(
            Magnetism(entry.ended, entry.moment or 0.0, entry.net or 0.0, entries),
            energy=entry.relaxed, fmax=fmax, smax=smax, space_group=symbol, number=number,
            atoms=atoms, start=order.atoms, frame=order.atoms,
        )  # fmt: skip

    def _answered(self, event: Event, /) -> None:
        if isinstance(event, Answered):
            failed = event.answer.reason if isinstance(event.answer, ReferenceFailed) else None
            self.log(LabelDone(self.round, MAGNETIC, self.dispatcher.calls(), failed))


def symmetric_and_low(minima: Sequence[Polymorph]) -> list[Polymorph]:
    """Return the polymorphs whose orders are tried: the lowest ones within `WINDOW` with a symmetry beyond inversion."""
    near = [polymorph for polymorph in minima if polymorph.energy <= minima[0].energy + WINDOW]
    return [polymorph for polymorph in near if polymorph.number > TRICLINIC and np.all(polymorph.atoms.pbc)][:MOST]
