"""Softest-mode check on a real energy surface (EMT): minima are confirmed, a known saddle is found and followed downhill.

Flat modes are those of an analytic surface, in which the cell follows the displacement of an atom, or does not.
"""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.geometry import find_mic

from nucleate.csp.leads import LeadFollower
from nucleate.csp.newton import Frame
from nucleate.csp.records import Lead, LoopState, Polymorph, enthalpy_per_atom, residuals
from nucleate.csp.run_settings import RunSettings
from nucleate.csp.settings import SearchSettings
from nucleate.csp.softest_modes import DEPTH, STEPS, SoftestModeCheck, softest_modes
from nucleate.csp.space import FormulaSpace
from nucleate.fingerprints.matching import space_group
from nucleate.reference import Dispatcher, Ledger, ReferenceSettings, make_reference
from nucleate.relax.reference_surface import ReferencePotential

EMT = ReferenceSettings(engine="ase", calculator="ase.calculators.emt:EMT")


@pytest.fixture
def dispatcher(tmp_path):
    return Dispatcher(make_reference(EMT), Ledger(tmp_path / "ledger.db"), workers=0)


@pytest.fixture
def model(tmp_path):
    """The same surface as if a committee had learned it, with a ledger of its own."""
    return ReferencePotential(Dispatcher(make_reference(EMT), Ledger(tmp_path / "model.db"), workers=0), "model", 0)


class Wrong:
    """A committee whose surface is turned upside down: its softest modes are the stiffest ones of the reference."""

    def __init__(self, potential):
        self.potential = potential

    def __getattr__(self, name):
        return getattr(self.potential, name)

    def energy_forces_stress(self, *arguments, **options):
        right = self.potential.energy_forces_stress(*arguments, **options)
        return type(right)(-right.energy, -right.forces, -right.stress)


LENGTH = 4.0
FALL, RISE, CELL, STIFF = 0.02, 0.2, 6.0, 4.0


class Tilting(Calculator):
    """Two atoms in a cubic cell; x is the distance of one from the centre of the other's cell, and e the strain of the cell along z.

    E = -FALL x² + RISE x⁴ - coupling x² e + CELL e² / 2 + STIFF (y² + z²) + CELL times the squares of the other strains, in eV and Å.
    """

    implemented_properties = ("energy", "forces", "stress")
    coupling = 0.0

    def surface(self, atoms):
        gradient = atoms.cell.array / LENGTH
        strain = 0.5 * (gradient + gradient.T) - np.eye(3)
        arm, _ = find_mic(atoms.positions[1] - atoms.positions[0] - 0.5 * atoms.cell.array.sum(0), atoms.cell)
        x, e = arm[0], strain[2, 2]
        others = (strain**2).sum() - e**2
        return (
            -FALL * x**2 + RISE * x**4 - self.coupling * x**2 * e + 0.5 * CELL * e**2 + CELL * others + STIFF * (arm[1] ** 2 + arm[2] ** 2)
        )

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        step, forces, stress = 1e-4, np.zeros((2, 3)), np.zeros((3, 3))
        for index in np.ndindex(2, 3):
            for sign in (1, -1):
                moved = atoms.copy()
                moved.positions[index] += sign * step
                forces[index] -= sign * self.surface(moved) / (2 * step)
        for i, j in np.ndindex(3, 3):
            for sign in (1, -1):
                strain = np.eye(3)
                strain[i, j] += 0.5 * sign * step
                strain[j, i] += 0.5 * sign * step
                moved = atoms.copy()
                moved.set_cell(atoms.cell.array @ strain, scale_atoms=True)
                stress[i, j] += sign * self.surface(moved) / (2 * step * atoms.get_volume())
        self.results = {"energy": self.surface(atoms), "forces": forces, "stress": stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]}


class TiltingWithTheCell(Tilting):
    coupling = 1.34


def confirmed(atoms, dispatcher, model):
    """The polymorph at which a symmetric structure converges."""
    (label,) = dispatcher.label_many([atoms], "explore", 0)
    fmax, smax = residuals(atoms, label, 0.0)
    lead = Lead(atoms, atoms, enthalpy_per_atom(atoms, label, 0.0), fmax, smax, "symmetric", np.array(label.forces), np.array(label.stress))
    state = LoopState(round=0, leads=[lead])
    LeadFollower(
        dispatcher, SearchSettings(lead_steps=8), 0.0, (29,), FormulaSpace(RunSettings(formula="Cu4")), lambda polymorph: False
    ).follow(state, model, 1, 1, 8)
    (polymorph,) = state.polymorphs
    return state, polymorph


BCC = bulk("Cu", "bcc", a=2.9, cubic=True)
FCC = bulk("Cu", "fcc", a=3.6, cubic=True)


def test_fcc_copper_is_a_minimum_after_two_calls(dispatcher, model):
    _, polymorph = confirmed(FCC, dispatcher, model)
    before = dispatcher.calls()
    (check,) = SoftestModeCheck(dispatcher, 0.0).run([polymorph], model, 1)
    assert polymorph.check == check.verdict == "minimum"
    assert dispatcher.calls() - before == 2
    # The curvature of the reference along the mode is that of its Hessian; 0.15 Å are not quite harmonic.
    frame = Frame(polymorph.atoms, 0.0)
    exact = frame.curvature(model, frame.beginning())
    for mode in check.modes:
        assert mode.curvature == pytest.approx(mode.vector @ exact @ mode.vector, rel=0.3)


def test_bcc_copper_is_a_saddle_and_leads_to_fcc(dispatcher, model):
    """EMT's bcc copper is unstable along the Bain path, on which fcc lies."""
    state, polymorph = confirmed(BCC, dispatcher, model)
    assert polymorph.number == 229
    before = dispatcher.calls()
    (check,) = SoftestModeCheck(dispatcher, 0.0).run([polymorph], model, 1)
    assert polymorph.check == "saddle"
    assert 2 <= dispatcher.calls() - before <= 6
    lead = check.lead(0.0)
    assert lead.energy < polymorph.energy
    state.leads.append(lead)
    follower = LeadFollower(
        dispatcher, SearchSettings(lead_steps=14), 0.0, (29,), FormulaSpace(RunSettings(formula="Cu4")), lambda polymorph: False
    )
    follower.follow(state, model, 2, 1, 14)
    assert lead.status == "confirmed"
    assert space_group(lead.atoms)[1] == 225
    assert [p.number for p in state.minima()] == [225]
    assert state.ranking()[-1] is polymorph


def test_the_reference_decides_on_the_modes_of_a_wrong_committee(dispatcher, model):
    """Other modes are then displaced; the reference decides on them, whatever sign the committee predicts."""
    _, polymorph = confirmed(FCC, dispatcher, model)
    (check,) = SoftestModeCheck(dispatcher, 0.0).run([polymorph], Wrong(model), 1)
    assert check.verdict == "minimum"
    assert all(mode.curvature > 1 for mode in check.modes)


@pytest.mark.parametrize(("name", "verdict"), [("Tilting", "minimum"), ("TiltingWithTheCell", "saddle")])
def test_the_cell_decides_along_a_flat_mode(name, verdict, tmp_path):
    """The energy falls by less than the check resolves as long as the cell is fixed; it falls further only if the cell follows."""
    settings = ReferenceSettings(engine="ase", calculator=f"tests.csp.test_softest_modes:{name}")
    dispatcher, model = (Dispatcher(make_reference(settings), Ledger(tmp_path / file), workers=0) for file in ("run.db", "model.db"))
    centred = Atoms("NaCl", scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], cell=[LENGTH] * 3, pbc=True)
    polymorph = Polymorph(centred, centred, 0.0, 0.0, 0.0, "Pm-3m", 221, 0.0, "p1", 1, 1, 0)
    (check,) = SoftestModeCheck(dispatcher, 0.0).run([polymorph], ReferencePotential(model, "model", 0), 1)
    mode = check.modes[0]
    assert 0 < -min(point.energy for point in mode.points.values()) < DEPTH
    assert check.verdict == polymorph.check == verdict
    # The polymorph, three displacements along the flat mode, one along the other, and the steps.
    assert dispatcher.calls() <= 1 + 3 + 1 + STEPS
    if verdict == "saddle":
        # The minimum of the surface over displacement and strain, for two atoms.
        lowest = -(FALL**2) / (4 * (RISE - TiltingWithTheCell.coupling**2 / (2 * CELL))) / 2
        assert lowest - 1e-5 < check.lead(0.0).energy < -DEPTH


def test_a_budget_that_ends_leaves_polymorphs_unchecked(tmp_path, model):
    dispatcher = Dispatcher(make_reference(EMT), Ledger(tmp_path / "budget.db"), workers=0)
    _, polymorph = confirmed(FCC, dispatcher, model)
    dispatcher.budget = dispatcher.calls() + 1
    SoftestModeCheck(dispatcher, 0.0).run([polymorph], model, 1)
    assert polymorph.check == "unchecked"
    assert dispatcher.calls() <= dispatcher.budget


def test_a_polymorph_of_an_older_folder_stays_unchecked_without_a_budget(tmp_path, model):
    """Its k-points are not known, so that its label may not be in the ledger under the same settings."""
    dispatcher = Dispatcher(make_reference(EMT), Ledger(tmp_path / "old.db"), workers=0, budget=0)
    polymorph = Polymorph(FCC, FCC, 0.0, 0.0, 0.0, "Fm-3m", 225, 0.0, "p1", 1, 1, 0)
    assert SoftestModeCheck(dispatcher, 0.0).run([polymorph], model, 1) == []
    assert polymorph.check == "unchecked"
    assert dispatcher.calls() == 0


def test_modes_are_orthonormal_and_move_no_centre_of_mass(model):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=1)
    frame = Frame(atoms, 0.0)
    hessian = frame.curvature(model, frame.beginning())
    modes = np.array(softest_modes(hessian, atoms, count=9))
    assert np.allclose(modes @ modes.T, np.eye(9), atol=1e-10)
    assert np.abs(modes[:, :12].reshape(9, 4, 3).sum(1)).max() < 1e-10
    values = np.einsum("ki,ij,kj->k", modes, hessian, modes)
    assert (np.diff(values) > -1e-8).all()
    assert values[0] == pytest.approx(np.linalg.eigvalsh(hessian)[3], abs=1e-3)


def test_a_check_survives_in_the_state(dispatcher, model):
    state, polymorph = confirmed(FCC, dispatcher, model)
    SoftestModeCheck(dispatcher, 0.0).run([polymorph], model, 1)
    again = LoopState.from_dict(state.as_dict())
    assert again.polymorphs[0].check == "minimum"
    data = state.polymorphs[0].as_dict()
    # Run folders of earlier versions have neither entry.
    del data["check"], data["frame"]
    assert Polymorph.from_dict(data).check == "unchecked"
