"""Labels as files have them: named, converted, or refused; and what contradicts itself."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from nucleate.crystals import CrystalBatch
from nucleate.errors import BadInput, InputNote
from nucleate.training.data import read_data
from nucleate.training.label_keys import LabelKeys
from nucleate.training.splits import groups, isolated_atoms, split
from nucleate.training.suspicions import suspicions
from nucleate.units import GPA


@pytest.fixture(scope="module")
def argon(pair_potential, make_crystal):
    """Strained and rattled copies of one crystal with the labels of a pair potential."""
    rng = np.random.default_rng(8)
    potential = pair_potential()
    start = make_crystal(rng, ["Ar"] * 4, volume=22.0, closest=2.6)
    frames = []
    for _ in range(12):
        atoms = start.copy()
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.04 * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.positions += 0.08 * rng.normal(size=(4, 3))
        mean = potential.energy_forces_stress(CrystalBatch.from_atoms([atoms])).mean()
        matrix = mean.stress[0, 0].numpy()
        frames.append((atoms, float(mean.energy[0, 0]), mean.forces[0].numpy(), matrix))
    return frames


def voigt(matrix):
    return np.array([matrix[0, 0], matrix[1, 1], matrix[2, 2], matrix[1, 2], matrix[0, 2], matrix[0, 1]])


def saved(tmp_path, frames, energy="energy", forces="forces", stress="stress", scale=1.0, numbers=9, of_energy=lambda e, n: e, force=1.0):
    """An extended XYZ file whose labels stand under these names."""
    lines = []
    for atoms, e, f, s in frames:
        cell = " ".join(f"{x:.8f}" for x in atoms.cell.array.ravel())
        values = (scale * s).ravel() if numbers == 9 else voigt(scale * s)
        keys = f"{energy}={of_energy(e, len(atoms)):.10f}" + (f' {stress}="{" ".join(f"{x:.10f}" for x in values)}"' if stress else "")
        columns = f":{forces}:R:3" if forces else ""
        lines += [str(len(atoms)), f'Lattice="{cell}" Properties=species:S:1:pos:R:3{columns} {keys} pbc="T T T"']
        for symbol, position, pull in zip(atoms.get_chemical_symbols(), atoms.positions, force * f, strict=True):
            lines.append(" ".join([symbol, *(f"{x:.8f}" for x in position), *(f"{x:.8f}" for x in (pull if forces else ()))]))
    path = tmp_path / "data.extxyz"
    path.write_text("\n".join(lines) + "\n")
    return path


def same(data, frames):
    for item, (_, energy, forces, stress) in zip(data, frames, strict=True):
        assert item.energy == pytest.approx(energy, abs=1e-8)
        np.testing.assert_allclose(item.forces, forces, atol=1e-7)
        np.testing.assert_allclose(item.stress, voigt(stress), atol=1e-8)


def test_labels_by_their_usual_names(tmp_path, argon):
    data = read_data(saved(tmp_path, argon))
    same(data, argon)
    assert suspicions(data) == []


@pytest.mark.parametrize("energy", ["free_energy", "REF_energy", "Energy", "dft_energy"])
def test_an_energy_under_another_name_is_listed_and_can_be_named(tmp_path, argon, energy):
    path = saved(tmp_path, argon, energy=energy)
    with pytest.raises(BadInput, match="--energy-key") as caught:
        read_data(path)
    assert energy in str(caught.value)
    same(read_data(path, LabelKeys(energy=energy)), argon)


@pytest.mark.parametrize("forces", ["force", "REF_forces", "MACE_forces"])
def test_forces_under_another_name_are_never_passed_over(tmp_path, argon, forces):
    path = saved(tmp_path, argon, forces=forces)
    with pytest.raises(BadInput, match="--forces-key") as caught:
        read_data(path)
    assert forces in str(caught.value)
    same(read_data(path, LabelKeys(forces=forces)), argon)
    assert read_data(path, LabelKeys(forces="none"))[0].forces is None


def test_a_key_that_is_not_there_lists_those_that_are(tmp_path, argon):
    with pytest.raises(BadInput, match="energy"):
        read_data(saved(tmp_path, argon), LabelKeys(energy="nonsense"))
    with pytest.raises(BadInput, match="number"):
        read_data(saved(tmp_path, argon), LabelKeys(energy="stress"))


def test_stress_of_six_numbers_and_virials_are_converted_and_said(tmp_path, argon):
    with pytest.warns(InputNote, match="xx yy zz yz xz xy"):
        same(read_data(saved(tmp_path, argon, numbers=6)), argon)
    one = argon[:1]
    with pytest.warns(InputNote, match="virial"):
        same(read_data(saved(tmp_path, one, stress="virial", scale=-one[0][0].get_volume())), one)
    with pytest.raises(BadInput, match="--stress-key"):
        read_data(saved(tmp_path, argon, stress="REF_stress"))
    same(read_data(saved(tmp_path, argon, stress="REF_stress"), LabelKeys(stress="REF_stress")), argon)


@pytest.mark.parametrize(
    ("unit", "factor"), [("GPa", 1 / GPA), ("-GPa", -1 / GPA), ("kbar", 10 / GPA), ("-kbar", -10 / GPA), ("-eV/A^3", -1.0)]
)
def test_units_of_stress(tmp_path, argon, unit, factor):
    path = saved(tmp_path, argon, scale=factor)
    data = read_data(path, LabelKeys(stress_unit=unit))
    for item, (*_, stress) in zip(data, argon, strict=True):
        np.testing.assert_allclose(item.stress, voigt(stress), atol=1e-7)


def test_stress_in_another_unit_is_found_by_its_size(tmp_path, argon):
    with pytest.raises(BadInput, match="--stress-unit"):
        read_data(saved(tmp_path, argon, scale=100 / GPA))


def test_a_wrong_sign_of_stress_is_found_by_the_energies(tmp_path, argon):
    (said,) = suspicions(read_data(saved(tmp_path, argon, scale=-1.0)))
    assert "sign" in said


@pytest.mark.parametrize(("factor", "word"), [(1 / 27.2114, "hartree"), (1 / 13.6057, "rydberg"), (0.25, "per atom"), (23.06, "kcal")])
def test_energies_in_another_unit_than_forces(tmp_path, argon, factor, word):
    (said,) = suspicions(read_data(saved(tmp_path, argon, stress=None, of_energy=lambda e, n: factor * e)))
    assert word in said


def test_forces_that_point_the_wrong_way(tmp_path, argon):
    (said,) = suspicions(read_data(saved(tmp_path, argon, stress=None, force=-1.0)))
    assert "wrong sign" in said


def test_placeholders_and_repeats_are_named(tmp_path, argon):
    said = suspicions(read_data(saved(tmp_path, argon, stress=None, force=0.0)))
    assert any("zero" in line for line in said)
    said = suspicions(read_data(saved(tmp_path, [argon[0]] * 3)))
    assert any("repeat" in line for line in said)


def test_an_outlier_is_refused_by_name(tmp_path, argon):
    frames = [*argon[:6], (argon[6][0], argon[6][1] + 4000, *argon[6][2:]), *argon[7:]]
    with pytest.raises(BadInput, match="row 7"):
        read_data(saved(tmp_path, frames))


def test_atoms_that_overlap_are_refused_by_name(tmp_path, argon):
    broken = argon[2][0].copy()
    broken.positions[1] = broken.positions[0] + [0, 0, 0.2]
    with pytest.raises(BadInput, match="row 3"):
        read_data(saved(tmp_path, [*argon[:2], (broken, *argon[2][1:])]))


def test_forces_on_fixed_atoms_are_labels_too(tmp_path):
    from ase.constraints import FixAtoms

    atoms = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2.4]], cell=[5, 5, 5], pbc=True)
    atoms.calc = SinglePointCalculator(atoms, energy=1.0, forces=np.array([[0, 0, -1.0], [0, 0, 1.0]]))
    atoms.set_constraint(FixAtoms([0]))
    write(tmp_path / "fixed.traj", atoms)
    (item,) = read_data(tmp_path / "fixed.traj")
    assert item.forces[0, 2] == -1.0


def test_isolated_atoms_are_always_trained_on(tmp_path, argon):
    path = saved(tmp_path, argon)
    text = '1\nProperties=species:S:1:pos:R:3:forces:R:3 energy=0.1 pbc="F F F"\nAr 0 0 0 0 0 0\n'
    path.write_text(text + path.read_text())
    data = read_data(path)
    kept = isolated_atoms(data)
    assert kept.tolist() == [True] + [False] * 12
    group, _ = groups(data, "composition")
    for seed in range(10):
        group = np.arange(13) // 2
        train, valid = split(group, 0.3, seed, kept)
        assert 0 in train
        assert sorted([*train, *valid]) == list(range(13))
        assert len(valid) >= 3


def test_one_rule_for_directions_that_are_not_periodic(tmp_path, argon):
    path = saved(tmp_path, argon[:1])
    path.write_text(path.read_text().replace("T T T", "F F F"))
    with pytest.raises(BadInput, match="vacuum"):
        read_data(path)
