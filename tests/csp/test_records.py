import json

import numpy as np
import pytest
from ase.build import bulk

from nucleate.csp.atoms_data import atoms_from_dict, atoms_to_dict
from nucleate.csp.records import Carried, Lead, LoopState, Polymorph, RoundRecord, enthalpy_per_atom, residuals
from nucleate.reference.base import Label
from nucleate.units import GPA


def odd_atoms(seed):
    """Coordinates with every bit in use."""
    atoms = bulk("NaCl", "rocksalt", 5.6)
    rng = np.random.default_rng(seed)
    atoms.set_cell(atoms.cell.array + rng.normal(size=(3, 3)) / 3)
    atoms.positions += rng.normal(size=(2, 3)) / 7
    return atoms


def full_state():
    rng = np.random.default_rng(1)
    lead = Lead(odd_atoms(0), odd_atoms(1), -1 / 3, 0.1 + 0.2, 1e-17, "symmetric", rng.normal(size=(2, 3)), rng.normal(size=6))
    lead.offer(odd_atoms(2), Label(-2 / 3, rng.normal(size=(2, 3)), rng.normal(size=6)), 1.5)
    lead.path.append((rng.normal(size=12), rng.normal(size=12)))
    lead.best = 0
    polymorph = Polymorph(odd_atoms(3), odd_atoms(4), -3.3, 0.01, 0.02, "P1", 1, 1 / 7, "p1", 30, 4, 2, found=3)
    record = RoundRecord(2, 31, None, {"converged": 3}, 7, {"coverage": None}, {"energy_rmse": 0.1}, {"relax": 1.5})
    return LoopState(
        2,
        [Carried(odd_atoms(5), "seed")],
        [lead],
        [polymorph],
        1 / 3,
        [0.1, 2.5],
        1,
        [-3.3],
        [record],
        None,
        {"stop": "x", "energy": None, "difference": None, "steps": None, "calls": 3, "seconds": 0.5},
    )


def test_state_goes_through_json_and_back_exactly():
    state = full_state()
    there = json.loads(json.dumps(state.as_dict()))
    back = LoopState.from_dict(there)
    # Equal as JSON is equal to the last bit of every float ...
    assert json.dumps(back.as_dict()) == json.dumps(state.as_dict())
    # ... and the fields that are not plain have their types again.
    assert np.array_equal(back.leads[0].atoms.positions, state.leads[0].atoms.positions)
    assert np.array_equal(back.leads[0].forces, state.leads[0].forces)
    assert back.leads[0].estimate == state.leads[0].estimate
    assert np.array_equal(back.polymorphs[0].start.cell.array, state.polymorphs[0].start.cell.array)
    for mine, other in zip(back.leads[0].path, state.leads[0].path, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(mine, other, strict=True))


@pytest.mark.parametrize("name", ["carried", "leads", "polymorphs", "records"])
def test_every_field_of_a_record_is_written(name):
    """A field added to a record and forgotten in `as_dict` would be lost at the first resume."""
    item = getattr(full_state(), name)[0]
    assert set(item.as_dict()) == {field for field in item.__dict__ if not field.startswith("_")}


def test_every_field_of_the_state_is_written():
    state = full_state()
    assert set(state.as_dict()) == set(state.__dict__)
    assert json.dumps(LoopState.from_dict(LoopState().as_dict()).as_dict()) == json.dumps(LoopState().as_dict())


def test_atoms():
    atoms = odd_atoms(0)
    back = atoms_from_dict(json.loads(json.dumps(atoms_to_dict(atoms))))
    assert np.array_equal(back.positions, atoms.positions)
    assert np.array_equal(back.cell.array, atoms.cell.array)
    assert np.array_equal(back.numbers, atoms.numbers)
    assert back.pbc.all()


def test_ranking_is_by_energy():
    state = full_state()
    lower = Polymorph.from_dict({**state.polymorphs[0].as_dict(), "energy": -4.0})
    state.polymorphs.append(lower)
    assert [p.energy for p in state.ranking()] == [-4.0, -3.3]
    assert state.polymorphs[0].energy == -3.3


def test_enthalpy_and_residuals():
    atoms = bulk("Cu", cubic=True)
    forces = np.zeros((4, 3))
    forces[2] = [0.3, 0.0, 0.4]
    stress = np.array([-5.0, -5.0, -5.2, 0.1, 0.0, 0.0]) * GPA
    label = Label(-8.0, forces, stress)
    assert enthalpy_per_atom(atoms, label, 5.0) == pytest.approx((-8.0 + 5 * GPA * atoms.get_volume()) / 4)
    fmax, smax = residuals(atoms, label, 5.0)
    assert fmax == pytest.approx(0.5)
    assert smax == pytest.approx(0.2)
    assert np.array_equal(stress, label.stress)
