"""Leads followed on a real energy surface (EMT) from sheared and distorted crystals."""

import numpy as np
import pytest
from ase.build import bulk

from nucleate.csp.leads import LeadFollower
from nucleate.csp.newton import Frame, newton_step
from nucleate.csp.records import Lead, LoopState, enthalpy_per_atom, residuals
from nucleate.csp.run_settings import RunSettings
from nucleate.csp.settings import SearchSettings
from nucleate.csp.space import FormulaSpace
from nucleate.errors import ReferenceFailed
from nucleate.fingerprints.matching import space_group
from nucleate.reference import Dispatcher, Ledger, ReferenceSettings, make_reference
from nucleate.reference.base import Label
from nucleate.relax.reference_surface import ReferencePotential
from nucleate.units import GPA

EMT = ReferenceSettings(engine="ase", calculator="ase.calculators.emt:EMT")


@pytest.fixture
def dispatcher(tmp_path):
    return Dispatcher(make_reference(EMT), Ledger(tmp_path / "ledger.db"))


@pytest.fixture
def model(tmp_path):
    """The same surface as if a committee had learned it, with a ledger of its own."""
    return ReferencePotential(Dispatcher(make_reference(EMT), Ledger(tmp_path / "model.db")), "model", 0)


def lead_at(atoms, dispatcher):
    (label,) = dispatcher.label_many([atoms], "explore", 0)
    fmax, smax = residuals(atoms, label, 0.0)
    energy = enthalpy_per_atom(atoms, label, 0.0)
    return Lead(atoms, atoms, energy, fmax, smax, "symmetric", np.array(label.forces), np.array(label.stress))


def follow(atoms, dispatcher, model, **settings):
    state = LoopState(round=0, leads=[lead_at(atoms, dispatcher)])
    found = []
    follower = LeadFollower(
        dispatcher, SearchSettings(lead_steps=8, **settings), 0.0, (29,), FormulaSpace(RunSettings(formula="Cu4")), found.append
    )
    follower.follow(state, model, 1, 1, 8)
    return state.leads[0], found


def test_a_sheared_crystal_is_confirmed_with_its_full_symmetry(dispatcher, model):
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(np.diag([3.56, 3.61, 3.66]), scale_atoms=True)
    assert space_group(atoms, 0.01)[1] == 69
    lead, found = follow(atoms, dispatcher, model)
    assert [p.number for p in found] == [225]
    assert lead.tried == [225]
    assert space_group(lead.atoms, 1e-3)[1] == 225
    # Cell, symmetrised cell, and one or two steps in a single degree of freedom.
    assert lead.calls <= 4
    # The minimum of EMT's copper; its lattice constant is 3.59 Å.
    assert (4 * lead.atoms.get_volume() / len(lead.atoms)) ** (1 / 3) == pytest.approx(3.59, abs=0.01)
    assert len(lead.start) == 4
    assert lead.start.cell[0, 0] == 3.56


@pytest.mark.parametrize("repeats", [(1, 1, 1), (2, 2, 2)])
def test_one_step_restores_a_strained_cell_of_any_size(dispatcher, model, repeats):
    """With an exact Hessian, a Newton step undoes a small shear; bounds on the eigenvalues must not shorten it in large cells."""
    atoms = bulk("Cu", cubic=True, a=3.59).repeat(repeats)
    shear = np.array([[1.0, 0.01, 0.0], [0.01, 1.0, 0.0], [0.0, 0.0, 1.0]])
    atoms.set_cell(atoms.cell.array @ shear, scale_atoms=True)
    (label,) = dispatcher.label_many([atoms], "explore", 0)
    frame = Frame(atoms, 0.0)
    here = frame.beginning()
    step = newton_step(frame.hessian(model, here), frame.gradient(here, np.array(label.forces), np.array(label.stress)), 10.0)
    strain = step[-6:] / len(atoms)
    # The component xy has the factor of the root of two of an orthonormal basis of strains.
    assert strain[5] == pytest.approx(-0.01 * 2**0.5, rel=0.1)
    assert np.abs(strain[:5]).max() < 0.002


def test_symmetry_that_costs_energy_is_given_up(dispatcher, model):
    lead = lead_at(bulk("Cu", cubic=True), dispatcher)
    before = lead.atoms
    squeezed = bulk("Cu", cubic=True, a=3.4)
    (label,) = dispatcher.label_many([squeezed], "confirm", 0)
    lead.offer_symmetrised(squeezed, label, 0.0)
    assert lead.atoms is before
    assert lead.calls == 2


def test_a_step_that_leaves_less_to_gain_is_accepted_in_a_flat_minimum():
    atoms = bulk("Cu", cubic=True)
    stretched = atoms.copy()
    stretched.set_cell(1.001 * atoms.cell.array, scale_atoms=True)

    def offered(force, pressure_left, energy):
        """Return whether a lead at 0.03 eV/Å and 0.09 GPa accepts a label."""
        forces = np.full((4, 3), 0.03 / np.sqrt(3))
        lead = Lead(atoms, atoms, -3.0, 0.03, 0.09, "p1", forces, np.zeros(6))
        stress = np.array([pressure_left * GPA, 0, 0, 0, 0, 0])
        accepted = lead.offer(stretched, Label(4 * energy, forces * force / 0.03, stress), 0.0)
        assert (lead.trust < 0.3) == (not accepted)
        return accepted

    # Half the force at a slightly larger stress and almost the same energy.
    assert offered(0.015, 0.095, -2.9999)
    assert not offered(0.015, 0.095, -2.99)
    assert not offered(0.03, 2.0, -2.9999)
    assert offered(0.03, 2.0, -3.001)


def test_leads_survive_the_file(dispatcher):
    lead = lead_at(bulk("Cu", cubic=True), dispatcher)
    lead.tried, lead.path = [225], [(np.arange(3.0), np.ones(3))]
    again = Lead.from_dict(lead.as_dict())
    assert again.as_dict() == lead.as_dict()
    assert again.tried == [225]


class Failing:
    """EMT, but for the structures of one space group."""

    name, surrogate = "ase", True

    def __init__(self, number):
        self.emt, self.number = make_reference(EMT), number

    def settings(self):
        return self.emt.settings()

    def k_points(self, atoms):
        return None

    def label(self, atoms):
        if space_group(atoms, 1e-3)[1] == self.number:
            raise ReferenceFailed("no convergence", kind="unconverged")
        return self.emt.label(atoms)


def test_a_settled_lead_outlives_a_failed_try_of_its_symmetry(tmp_path, model):
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(np.diag([3.56, 3.61, 3.66]), scale_atoms=True)
    dispatcher = Dispatcher(Failing(225), Ledger(tmp_path / "ledger.db"))
    lead, found = follow(atoms, dispatcher, model, smax=30.0)
    assert lead.status == "confirmed"
    assert lead.tried == [225]
    assert len(found) == 1


class OnceLate(Failing):
    """Its second calculation runs out of time."""

    def __init__(self):
        super().__init__(None)
        self.asked = 0

    def k_points(self, atoms):
        return None

    def label(self, atoms):
        self.asked += 1
        if self.asked == 2:
            raise ReferenceFailed("stopped after the time limit", kind="timeout")
        return super().label(atoms)


def test_a_lead_outlives_a_failed_call(tmp_path, model):
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(np.diag([3.50, 3.58, 3.66]) + 0.05 * np.eye(3)[[1, 0, 2]], scale_atoms=True)
    atoms.rattle(0.05, seed=0)
    dispatcher = Dispatcher(OnceLate(), Ledger(tmp_path / "ledger.db"))
    state = LoopState(round=0, leads=[lead_at(atoms, dispatcher)])
    state.leads[0].tried = [225]  # straight to the quasi-Newton steps
    found = []
    follower = LeadFollower(
        dispatcher, SearchSettings(lead_steps=12, fmax=0.1, smax=1.0), 0.0, (29,), FormulaSpace(RunSettings(formula="Cu4")), found.append
    )
    follower.follow(state, model, 1, 1, 12)
    assert [row.status for row in dispatcher.ledger.rows()].count("timeout") == 1
    assert state.leads[0].status == "confirmed"
    assert len(found) == 1
    assert state.leads[0].calls == dispatcher.calls()


def test_a_settled_lead_is_confirmed_with_the_last_call(tmp_path, model):
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(np.diag([3.56, 3.61, 3.66]), scale_atoms=True)
    dispatcher = Dispatcher(make_reference(EMT), Ledger(tmp_path / "ledger.db"), budget=1)
    lead, found = follow(atoms, dispatcher, model, smax=30.0)
    assert lead.calls == 1
    assert len(found) == 1


def test_of_two_geometries_of_one_crystal_the_lower_stands(dispatcher, model):
    sheared = bulk("Cu", cubic=True)
    sheared.set_cell(np.diag([3.50, 3.59, 3.68]), scale_atoms=True)
    state, told = LoopState(round=0), []
    follower = LeadFollower(dispatcher, SearchSettings(smax=30.0), 0.0, (29,), FormulaSpace(RunSettings(formula="Cu4")), told.append)
    for atoms in (sheared, bulk("Cu", cubic=True, a=3.59), sheared):
        follower._confirm(state, lead_at(atoms, dispatcher), model, 1)
    assert [p.number for p in told] == [139, 225]
    assert [p.number for p in state.polymorphs] == [225]
    assert state.polymorphs[0].found == 3


def test_a_converged_lead_is_confirmed_without_a_call(dispatcher, model):
    """It need not be among the leads that are followed."""
    lowest = lead_at(bulk("Cu", cubic=True, a=3.65), dispatcher)
    settled = lead_at(bulk("Cu", "hcp", a=2.5384, c=4.1452), dispatcher)
    settled = Lead(settled.atoms, settled.start, lowest.energy + 0.1, 0.0, 0.0, "p1", settled.forces, settled.stress)
    state = LoopState(round=0, leads=[lowest, settled])
    found = []
    settings = SearchSettings(lead_steps=1)
    follower = LeadFollower(dispatcher, settings, 0.0, (29,), FormulaSpace(RunSettings(formula="Cu4")), found.append)
    calls = dispatcher.calls()
    follower.follow(state, model, 1, 0, 0)
    assert [polymorph.number for polymorph in found] == [194]
    assert settled.status == "confirmed"
    assert dispatcher.calls() == calls
