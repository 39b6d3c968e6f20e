"""Labelled structures from every source, what is refused, and splits that keep relatives together."""

import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect

from nucleate.csp.run_folder import RunFolder
from nucleate.csp.run_settings import settings_from_dict
from nucleate.errors import BadInput
from nucleate.persist.toml import to_toml
from nucleate.reference.base import Label
from nucleate.training.data import read_data, what_is_missing
from nucleate.training.splits import groups, split
from nucleate.training.suspicions import suspicions


def written(tmp_path, *frames):
    path = tmp_path / "data.extxyz"
    ase.io.write(path, list(frames))
    return path


def labelled(atoms, **results):
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def test_extended_xyz_keeps_every_label(salt, salt_file):
    data = read_data(salt_file)
    assert len(data) == len(salt)
    for item, atoms in zip(data, salt, strict=True):
        assert item.energy == pytest.approx(atoms.get_potential_energy())
        np.testing.assert_allclose(item.forces, atoms.get_forces(), atol=1e-7)
        np.testing.assert_allclose(item.stress, atoms.get_stress(), atol=1e-7)
    assert what_is_missing(data) == []
    assert suspicions(data) == []


def test_a_database_and_a_run_folder_say_the_same(salt, tmp_path):
    with connect(str(tmp_path / "salt.db")) as base:
        for atoms in salt[:4]:
            base.write(atoms, parent="one")
    from_base = read_data(tmp_path / "salt.db")
    assert from_base[0].info["parent"] == "one"
    settings = settings_from_dict({"formula": "Na1Cl1", "reference": {"engine": "chgnet"}})
    with RunFolder.create(tmp_path / "run", to_toml(settings)) as folder:
        for k, atoms in enumerate(salt[:4]):
            folder.ledger.begin(str(k), atoms, "chgnet", {}, "train", 0)
            label = Label(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress())
            folder.ledger.finish(str(k), label, 0.0)
        folder.ledger.begin("under way", salt[5], "chgnet", {}, "train", 0)
        # A search may be writing while its labels are read.
        from_run = read_data(tmp_path / "run")
    assert len(from_base) == len(from_run) == 4
    for one, two in zip(from_base, from_run, strict=True):
        assert one.energy == pytest.approx(two.energy)
        np.testing.assert_allclose(one.forces, two.forces)
        np.testing.assert_allclose(one.stress, two.stress)


def test_a_molecule_stands_in_an_empty_cell(tmp_path):
    water = labelled(molecule("H2O"), energy=-14.0, forces=np.zeros((3, 3)))
    (item,) = read_data(written(tmp_path, water))
    assert item.atoms.pbc.all()
    assert item.stress is None
    assert item.atoms.cell.lengths().min() > 20
    assert item.atoms.get_distance(0, 1) == pytest.approx(water.get_distance(0, 1))
    (note,) = what_is_missing([item])
    assert "1 of 1 structures have no stress" in note


def test_nan_labels_are_named(tmp_path):
    good = labelled(bulk("Si"), energy=-10.0, forces=np.zeros((2, 3)))
    bad = labelled(bulk("Si"), energy=-10.0, forces=np.array([[0, np.nan, 0], [0, 0, 0]]))
    with pytest.raises(BadInput, match=r"row 2: forces .*not finite"):
        read_data(written(tmp_path, good, bad))


def test_rows_without_energy_are_named(tmp_path):
    with pytest.raises(BadInput, match="row 1: the structure has no energy"):
        read_data(written(tmp_path, bulk("Si")))


@pytest.mark.parametrize(
    ("name", "text"), [("gone.extxyz", None), ("empty.extxyz", ""), ("words.extxyz", "not a structure\n"), ("x.db", "")]
)
def test_files_that_hold_nothing(name, text, tmp_path):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(BadInput, match=name.replace(".", r"\.")) as caught:
        read_data(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_mixed_units_are_suspected_from_magnitudes(tmp_path):
    frames = [labelled(bulk("Si", a=a), energy=value) for a, value in ((5.4, -10.8), (5.5, -10.6), (5.6, -10.7 / 27.2114))]
    (said,) = suspicions(read_data(written(tmp_path, *frames)))
    assert "row 3" in said
    assert "eV and hartree" in said
    pressed = labelled(bulk("Si"), energy=-10.8, stress=np.full(6, 12.0))
    with pytest.raises(BadInput, match="stress-unit") as caught:
        read_data(written(tmp_path, pressed))
    assert "1923 GPa" in str(caught.value)


def test_relatives_stay_together(salt_file):
    data = read_data(salt_file)
    group, words = groups(data)
    assert words == "the entry 'parent'"
    for seed in range(5):
        train, valid = split(group, 0.2, seed)
        assert sorted([*train, *valid]) == list(range(30))
        assert not set(group[train]) & set(group[valid])
        assert 3 <= len(valid) <= 9
    by_formula, words = groups(data, "composition")
    assert words == "composition"
    assert len(set(by_formula)) == 6
    with pytest.raises(BadInput, match="has no entry 'mother'"):
        groups(data, "mother")


def test_rattled_copies_are_one_group(make_crystal):
    from nucleate.training.labelled import LabelledStructure

    rng = np.random.default_rng(0)
    parents = [make_crystal(rng, ["Si"] * 4, volume=20, closest=2.0) for _ in range(6)]
    data = []
    for k in range(24):
        atoms = parents[k % 6].copy()
        atoms.rattle(0.005, seed=k)
        data.append(LabelledStructure(atoms, 0.0, None, None, "", {}))
    group, words = groups(data)
    assert words.startswith("similarity")
    assert [len(set(group[k::6])) for k in range(6)] == [1] * 6
    assert len(set(group)) >= 4


def test_one_group_cannot_be_split():
    with pytest.raises(BadInput, match="one group"):
        split(np.zeros(10, dtype=int), 0.1, 0)
    train, valid = split(np.zeros(10, dtype=int), 0.0, 0)
    assert (len(train), len(valid)) == (10, 0)
