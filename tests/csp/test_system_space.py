"""How candidates, leads and phases of different compositions are compared, on states made by hand."""

from collections import Counter

import numpy as np
import pytest
from ase import Atoms

from nucleate.csp.records import Lead, LoopState, Polymorph
from nucleate.csp.run_settings import settings_from_dict
from nucleate.csp.systems.space import SystemSpace
from nucleate.reference.base import Label
from nucleate.relax.batched import Relaxed


def cell(formula):
    return Atoms(formula, cell=np.eye(3) * 7, pbc=True)


def label(formula, energy):
    atoms = cell(formula)
    return atoms, Label(energy * len(atoms), np.zeros((len(atoms), 3)), np.zeros(6))


def phase(formula, energy, check="unchecked"):
    return Polymorph(cell(formula), cell(formula), energy, 0.0, 0.0, "P1", 1, 0.0, "p1", 1, 1, 0, check=check)


def lead(formula, energy):
    atoms = cell(formula)
    return Lead(atoms, atoms, energy, 0.0, 0.0, "p1", np.zeros((len(atoms), 3)), np.zeros(6))


def end(formula, energy, sigma=0.01, fmax=0.0, stop="converged"):
    atoms = cell(formula)
    return Relaxed(atoms, energy * len(atoms), sigma, fmax, stop, 10)


@pytest.fixture
def space():
    return SystemSpace(settings_from_dict({"formula": "Mg-Si", "hull": {"max_atoms": 4}}))


@pytest.fixture
def state(space):
    """Magnesium and silicon are confirmed at -1 and -5 eV/atom, MgSi at -3.2: the hull is 0.2 below the line."""
    found = LoopState(polymorphs=[phase("Mg", -1.0), phase("Si2", -5.0), phase("MgSi", -3.2)])
    space.update(found)
    return found


def test_levels_are_the_hull_of_everything_calculated(space, state):
    assert space.levels([cell("Mg2"), cell("Si"), cell("Mg2Si2"), cell("Mg3Si")]) == pytest.approx([-1.0, -5.0, -3.2, -2.1])
    space.add(*zip(label("Mg3Si", -2.5), strict=True))
    space.update(state)
    assert space.levels([cell("Mg3Si")]) == pytest.approx([-2.5])
    # The heights of polymorphs count from the confirmed phases.
    state.polymorphs.append(phase("Mg3Si", -2.0))
    space.update(state)
    assert state.polymorphs[-1].height == pytest.approx(0.1)
    assert [p.atoms.get_chemical_formula() for p in state.minima()] == ["Si2", "MgSi", "Mg", "Mg3Si"]


def test_labels_of_a_round_are_forgotten_when_it_begins_again(space, state):
    space.add(*zip(label("Mg3Si", -2.5), strict=True))
    space.begin([], state)
    assert space.levels([cell("Mg3Si")]) == pytest.approx([-2.1])


def test_without_all_end_members_a_linear_fit_is_the_level(space):
    space.add(*zip(label("Mg", -1.0), label("MgSi", -3.0), strict=True))
    space.update(LoopState())
    assert space.levels([cell("MgSi3")]) == pytest.approx([-4.0])


def test_expected_improvement(space, state):
    """Against integration of the Gaussian over the depth below the hull minus the resolution."""
    ends = [end("Mg3Si", -2.1 + h, s) for h in (-0.1, 0.0, 0.02, 0.1) for s in (0.005, 0.05)]
    merits = space.merits(ends)
    for item, merit in zip(ends, merits, strict=True):
        energies = np.linspace(-6, 6, 20001) * item.sigma + item.energy_per_atom
        weight = np.exp(-0.5 * ((energies - item.energy_per_atom) / item.sigma) ** 2)
        gain = np.clip(-2.1 - 0.003 - energies, 0, None)
        assert -merit == pytest.approx((gain * weight).sum() / weight.sum(), abs=1e-6)
    # Far above the hull, the expected improvement underflows, but the order remains.
    far = space.merits([end("MgSi", -3.2 + h, 0.002) for h in (0.3, 0.4, 0.5)])
    assert np.all(np.diff(far) > 0)


def test_uncertain_candidates_are_preferred_to_packings_of_an_end_member(space, state):
    packing, compound = end("Mg4", -0.999, 0.001), end("Mg3Si", -2.06, 0.05)
    assert np.argmin(space.merits([packing, compound])) == 1
    # A spread that is too large to be believed is not better than a large one.
    large, larger = space.merits([end("Mg3Si", -1.8, 0.1), end("Mg3Si", -1.8, 3.0)])
    assert large == pytest.approx(larger)


def test_the_chance_to_change_the_hull(space, state):
    assert space.chance_below([]) == 0.0
    assert space.chance_below([end("Mg3Si", -2.1 - 0.003, 0.01)]) == pytest.approx(0.5)
    assert space.chance_below([end("Mg3Si", -1.9, 0.01), end("MgSi", -3.2, 0.003)]) == pytest.approx(0.158655, abs=1e-5)


def test_leads_that_promise_most_come_first_and_one_of_each_composition(space, state):
    leads = [lead("Mg3Si", -2.15), lead("Mg3Si", -2.2), lead("MgSi3", -4.5), lead("Mg2", -1.001), lead("MgSi", -3.1)]
    assert [space_lead.energy for space_lead in space.urgent(leads, state)] == [-4.5, -2.2]


def test_leads_of_end_members_that_are_not_confirmed_come_first(space):
    state = LoopState(polymorphs=[phase("Mg", -1.0), phase("MgSi", -3.2)])
    space.update(state)
    leads = [lead("MgSi3", -4.5), lead("Mg2", -1.0), lead("Si4", -4.0), lead("Si2", -4.2)]
    chosen = space.urgent(leads, state)
    assert chosen[0].atoms.get_chemical_formula() == "Si4"
    assert len(chosen) == 3
    assert space.lowest(state) == []
    assert space.pending(state)


def test_simple_candidates_of_compositions_with_few_labels_come_first(space, state):
    space.add(*zip(*[label("Mg", -1.0 + 0.1 * k) for k in range(9)], strict=True))
    space.add(*zip(label("Mg3Si", -1.9), strict=True))
    space.update(state)
    known, little, hopeless = space.coverage([end("Mg2", -1.0), end("Mg3Si", -2.0), end("MgSi3", -1.0)])
    assert little < known < hopeless


def test_where_no_lead_is_urgent_new_compositions_come_first(space, state):
    leads = [lead("Mg2", -1.0), lead("Mg3Si", -2.0), lead("MgSi3", -4.0)]
    assert space.urgent(leads, state) == []
    assert space.spare(leads, state) == leads[1:2]
    assert space.spare(leads[:1], state) == []


def test_what_the_stop_rule_watches(space, state):
    assert [p.atoms.get_chemical_formula() for p in space.lowest(state)] == ["Mg", "MgSi", "Si2"]
    assert not space.pending(state)
    state.leads = [lead("Mg3Si", -2.1 - 0.001)]
    assert not space.pending(state)
    state.leads = [lead("Mg3Si", -2.11)]
    assert space.pending(state)
    state.leads = []
    space.add(*zip(label("Mg3Si", -2.2), strict=True))
    space.update(state)
    assert space.pending(state)


def test_a_saddle_is_no_phase(space, state):
    state.polymorphs.append(phase("Mg3Si", -3.0, check="saddle"))
    space.update(state)
    assert len(space.lowest(state)) == 3
    assert state.ranking()[-1].check == "saddle"


def test_compositions_near_the_hull_get_more_candidates(space, state):
    """Half of the candidates are spread over all compositions, whatever is known."""
    space.add(*zip(label("Mg3Si", -2.1), label("MgSi3", 5.0), strict=True))
    space.update(state)
    made = space.propose(400, np.random.default_rng(0), False)
    share = Counter(space.groups([candidate.atoms for candidate in made]))
    assert sum(share.values()) == 400
    assert share["Mg3Si"] > 1.5 * share["MgSi3"]
    assert min(share.values()) > 5


def test_the_first_batch_contains_end_members_and_neutral_compounds():
    def anchors(formula):
        return SystemSpace(settings_from_dict({"formula": formula, "hull": {"max_atoms": 7}})).anchors

    assert anchors("Mg-Si") == ["Mg", "Si"]
    assert anchors("Li-O") == ["Li", "O", "Li2O"]
    assert anchors("MgO-Al2O3") == ["MgO", "Al2O3", "MgAl2O4"]
