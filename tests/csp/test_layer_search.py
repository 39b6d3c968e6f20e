"""Layers: the cell is relaxed in the plane alone, polymorphs have layer groups, bad input is refused; graphene, BN and MoS2 on CHGNet."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import graphene, mx2
from ase.io import write

from nucleate import api
from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.dimensions import is_layer
from nucleate.crystals.layers import area, thickness
from nucleate.crystals.strain import voigt_from_full
from nucleate.csp.atoms_data import atoms_from_dict, atoms_to_dict
from nucleate.csp.newton import Frame, newton_step
from nucleate.csp.plan import prepare
from nucleate.csp.records import residuals
from nucleate.csp.result_files import cif_text
from nucleate.csp.softest_modes import softest_modes
from nucleate.errors import BadInput
from nucleate.fingerprints.matching import idealised, same_crystal, space_group, symmetrised
from nucleate.reference.base import Label
from nucleate.reference.kpoints import k_grid
from nucleate.relax.batched import relax
from nucleate.relax.settings import RelaxSettings
from tests.conftest import PairPotential


def layer(atoms, height=20.0):
    made = atoms.copy()
    cell = made.cell.array.copy()
    cell[2] = [0, 0, height]
    made.set_cell(cell, scale_atoms=False)
    made.pbc = (True, True, False)
    made.center(axis=2)
    return made


def one_h():
    return layer(mx2("MoS2", "2H", a=3.18, thickness=3.13, vacuum=8))


def one_t():
    return layer(mx2("MoS2", "1T", a=3.18, thickness=3.13, vacuum=8))


def test_layer_groups():
    assert space_group(layer(graphene("C2", a=2.46, vacuum=8))) == ("p6/mmm", 80)
    assert space_group(one_h()) == ("p-6m2", 78)
    assert space_group(one_t()) == ("p-3m1", 72)
    silicene = layer(graphene("Si2", a=3.87, vacuum=8))
    silicene.positions[0, 2] += 0.45
    assert space_group(silicene) == ("p-3m1", 72)
    assert thickness(silicene) == pytest.approx(0.45)


def test_one_h_and_one_t_are_told_apart():
    assert same_crystal(one_h(), one_h())
    assert not same_crystal(one_h(), one_t())


def test_layers_keep_their_kind_on_the_way():
    atoms = one_h()
    (batch,) = CrystalBatch.from_atoms([atoms]).to_atoms()
    assert is_layer(batch)
    assert is_layer(atoms_from_dict(atoms_to_dict(atoms)))
    rattled = atoms.copy()
    rattled.rattle(0.01, seed=1)
    exact = idealised(rattled)
    assert is_layer(exact)
    assert exact.cell.array[2] == pytest.approx([0, 0, 20.0], abs=1e-6)
    assert space_group(exact, 1e-4)[1] == 78
    buckled = layer(graphene("Si2", a=3.87, vacuum=8))
    buckled.positions[0, 2] += 0.45
    buckled.set_cell(buckled.cell.array @ np.array([[1.001, 2e-4, 0], [2e-4, 0.999, 0], [0, 0, 1]]), scale_atoms=True)
    assert idealised(buckled).cell.array[2] == pytest.approx([0, 0, 20.0], abs=1e-9)
    rattled.rattle(0.08, seed=1)
    loose = symmetrised(rattled, 0.4)
    assert loose is None or is_layer(loose[0])


def lattice(seed=0):
    """A stretched square layer of argon with random displacements in the plane."""
    atoms = Atoms("Ar4", scaled_positions=[(0, 0, 0.5), (0.5, 0, 0.5), (0, 0.5, 0.5), (0.5, 0.5, 0.5)], cell=[6.6, 6.3, 18], pbc=(1, 1, 0))
    atoms.rattle(0.15, seed=seed)
    atoms.positions[:, 2] = 9.0
    return atoms


def test_the_cell_relaxes_in_the_plane_alone():
    potential = PairPotential(bond=3.0)
    layers = [lattice(seed) for seed in range(3)]
    crystal = lattice()
    crystal.pbc = True
    ends = relax([*layers, crystal], potential, RelaxSettings(fmax=0.002, smax=0.01, max_steps=600))
    for start, end in zip(layers, ends[:3], strict=True):
        assert end.stop == "converged"
        assert end.atoms.cell.array[2] == pytest.approx(start.cell.array[2], abs=1e-12)
        assert end.atoms.cell.array[:2, 2] == pytest.approx(0, abs=1e-12)
        assert abs(area(end.atoms) - area(start)) > 0.1
    # The densest layer of a pair potential is triangular, with one neighbour distance a little below the minimum of the pair.
    best = min(ends[:3], key=lambda end: end.energy)
    assert area(best.atoms) == pytest.approx(np.sqrt(3) / 2 * 2.95**2, rel=0.05)


def test_gradients_of_a_lead_have_no_strain_out_of_the_plane():
    frame = Frame(one_h(), 0.0)
    gradient = frame.gradient(frame.beginning(), np.zeros((3, 3)), np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))
    assert gradient[-6:][[2, 3, 4]] == pytest.approx(0)
    assert np.abs(gradient[-6:][[0, 1, 5]]).min() > 0
    label = Label(0.0, np.zeros((3, 3)), np.array([0.0, 0, 1, 1, 1, 0]))
    assert residuals(one_h(), label, 0.0)[1] == 0
    upright = one_h()
    upright.pbc = True
    assert residuals(upright, label, 0.0)[1] > 100


def test_residual_stress_does_not_depend_on_the_vacuum():
    """The stress of the cell is the force on its edge divided by its height."""
    values = []
    for height in (15.0, 30.0):
        label = Label(0.0, np.zeros((3, 3)), np.array([0.3, 0.1, 0, 0, 0, 0.2]) / height)
        values.append(residuals(layer(one_h(), height), label, 0.0)[1])
    assert values[0] == pytest.approx(values[1])
    ends = []
    for height in (14.0, 28.0):
        start = lattice()
        start.set_cell([*start.cell.array[:2], [0, 0, height]], scale_atoms=False)
        ends.append(relax([start], PairPotential(bond=3.0), RelaxSettings(fmax=0.05, smax=0.3, max_steps=600))[0])
    assert ends[0].steps == ends[1].steps
    assert ends[0].energy == pytest.approx(ends[1].energy, abs=1e-6)


def test_written_layers_are_accepted_as_seeds(tmp_path):
    """An oblique layer, whose standard cell as a crystal would have its vacuum along the second vector."""
    oblique = Atoms("MoS2", scaled_positions=[(0, 0, 0.5), (0.3, 0.4, 0.58), (0.7, 0.6, 0.42)], cell=[[4, 0, 0], [-1.1, 5, 0], [0, 0, 20]])
    oblique.pbc = (True, True, False)
    (tmp_path / "layer.cif").write_text(cif_text(oblique))
    settings = api.resolve_settings("MoS2", dimensions=2, reference__engine="chgnet", seeds_from=str(tmp_path / "layer.cif"))
    own = prepare(settings).space.propose(1, np.random.default_rng(0), True)[0].atoms
    assert thickness(own) == pytest.approx(thickness(oblique), abs=1e-6)
    assert same_crystal(own, oblique)


def test_steps_keep_the_height():
    """The z strain couples to the heights of the atoms, but is no part of a step or a soft mode."""
    buckled = lattice(3)
    buckled.positions[:, 2] += [0.4, -0.3, 0.2, -0.1]
    frame = Frame(buckled, 0.0)
    here = frame.beginning()
    potential = PairPotential(bond=3.0)
    label = potential.energy_forces_stress(CrystalBatch.from_atoms([buckled]))
    gradient = frame.gradient(here, label.forces[0].numpy(), voigt_from_full(label.stress[0])[0].numpy())
    step = newton_step(frame.hessian(potential, here), gradient, 0.3)
    assert np.abs(step[:-6]).max() > 0.01
    assert frame.atoms(here + step).cell.array[2] == pytest.approx([0, 0, 18], abs=1e-12)
    for mode in softest_modes(frame.curvature(potential, here), buckled, 3):
        assert mode[-6:][[2, 3, 4]] == pytest.approx(0, abs=1e-9)


def test_one_k_point_along_the_normal():
    grid = k_grid(one_h(), 0.2)
    assert sorted(grid.size)[0] == 1
    assert sorted(grid.size)[1] > 5
    isolated = Atoms("H2O", positions=[[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]], cell=[10] * 3, pbc=True)
    assert k_grid(isolated, 0.1).size == (1, 1, 1)


SMALL = {
    "search": {"pool": 40, "budget": 60, "quiet_rounds": 1, "proof": False},
    "generate": {"workers": 1},
    "relax": {"workers": 1},
    "model": {"members": 2, "channels": 8, "hidden": 16},
    "training": {"steps": 100, "warm_steps": 40},
}


@pytest.mark.parametrize(
    ("formula", "group", "size"),
    [("C2", 80, 2.62), pytest.param("BN", 78, 2.73, marks=pytest.mark.slow), pytest.param("MoS2", 78, 2.94, marks=pytest.mark.slow)],
)
def test_layers_are_found_from_random_ones(tmp_path, formula, group, size):
    result = api.search(formula, dimensions=2, reference="chgnet", settings=SMALL, seed=3, out=tmp_path / "run")
    best = result.polymorphs[0]
    assert best.number == group
    # Areas of graphene, h-BN and 1H-MoS2 with the lattice constants of PBE, 2.46, 2.51 and 3.18 Å, within 4 %.
    assert area(best.atoms) == pytest.approx(size, rel=0.04)
    data = api.show(result.folder)
    assert data["dimensions"] == 2
    assert data["polymorphs"][0]["thickness"] == pytest.approx(3.13 if formula == "MoS2" else 0.0, abs=0.15)
    assert api.resume(result.folder).calls == result.calls


def test_seeds_are_turned_into_the_plane(tmp_path):
    tilted = one_h()
    tilted.rotate(50, (1, 2, 3), rotate_cell=True)
    tilted.pbc = True
    write(tmp_path / "seed.extxyz", tilted)
    settings = api.resolve_settings("MoS2", dimensions=2, reference__engine="chgnet", seeds_from=str(tmp_path / "seed.extxyz"))
    own = prepare(settings).space.propose(1, np.random.default_rng(0), True)[0]
    assert own.origin == "seed"
    assert own.atoms.cell.array[2] == pytest.approx([0, 0, 20.0], abs=1e-9)
    assert same_crystal(own.atoms, one_h())
    assert space_group(own.atoms)[1] == 78


REFUSED = [
    ({"layers__vacuum": 4.0}, r"layers.vacuum = 4 Å is not more than 7 Å"),
    ({"pressure": 1.0}, "layers in vacuum have no pressure"),
    ({"generate__space_groups": [1]}, "generate.space_groups has no effect on layers"),
    ({"dimensions": 3, "layers__thickness": 2.0}, "layers.thickness has no effect on a search of crystals"),
    ({"dimensions": 1}, "dimensions"),
]


@pytest.mark.parametrize(("options", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_settings_that_do_not_fit(options, words):
    with pytest.raises(BadInput, match=words):
        prepare(api.resolve_settings("C2", **{"dimensions": 2, "reference__engine": "chgnet", **options}))


def test_chemical_systems_and_crystals_as_seeds_are_refused(tmp_path):
    with pytest.raises(BadInput, match="searched in three dimensions"):
        prepare(api.resolve_settings("B-N", dimensions=2, reference__engine="chgnet"))
    write(
        tmp_path / "bulk.extxyz",
        Atoms("BN", scaled_positions=[(0, 0, 0), (0.25, 0.25, 0.25)], cell=[[0, 1.8, 1.8], [1.8, 0, 1.8], [1.8, 1.8, 0]], pbc=True),
    )
    settings = api.resolve_settings("BN", dimensions=2, reference__engine="chgnet", seeds_from=str(tmp_path / "bulk.extxyz"))
    with pytest.raises(BadInput, match="is not a layer"):
        _ = prepare(settings).space
