import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write

from nucleate.crystals import read_structures
from nucleate.errors import BadInput


@pytest.mark.parametrize("name", ["salt.cif", "salt.extxyz", "POSCAR.vasp"])
def test_there_and_back(tmp_path, name):
    atoms = bulk("NaCl", "rocksalt", 5.6)
    write(tmp_path / name, atoms)
    (read,) = read_structures(tmp_path / name)
    assert sorted(read.numbers) == [11, 17]
    assert read.get_volume() == pytest.approx(atoms.get_volume(), rel=1e-6)
    assert read.pbc.all()


def test_every_frame(tmp_path):
    import ase.io

    ase.io.write(tmp_path / "two.extxyz", [bulk("Cu"), bulk("Al")])
    assert [a.get_chemical_formula() for a in read_structures(tmp_path / "two.extxyz")] == ["Cu", "Al"]


def refused(path, says):
    with pytest.raises(BadInput, match=says) as caught:
        read_structures(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated_cif(tmp_path, share):
    whole = tmp_path / "whole.cif"
    write(whole, bulk("NaCl", "rocksalt", 5.6, cubic=True))
    text = whole.read_text()
    # Cut in the middle of a line, as a full disk does.
    cut = int(share * len(text))
    while text[cut - 1] in "\n ":
        cut -= 1
    part = tmp_path / "part.cif"
    part.write_text(text[:cut])
    refused(part, "part.cif")


def test_cif_cut_between_lines(tmp_path):
    """Every line is whole, some atoms are gone: with one element no ratio can tell."""
    for atoms in (bulk("NaCl", "rocksalt", 5.6, cubic=True), bulk("Si", cubic=True)):
        whole = tmp_path / "whole.cif"
        write(whole, atoms)
        part = tmp_path / "part.cif"
        part.write_text("\n".join(whole.read_text().rstrip().split("\n")[:-3]) + "\n")
        refused(part, "formula")


def test_cif_that_states_one_formula_unit(tmp_path):
    path = tmp_path / "salt.cif"
    write(path, bulk("NaCl", "rocksalt", 5.6, cubic=True))
    text = path.read_text()
    for stated in ("Cl Na", "Na1 Cl1", "Na2Cl2.5"):
        path.write_text(text.replace('"Na4 Cl4"', f'"{stated}"'))
        assert stated in path.read_text()
        assert len(read_structures(path)[0]) == 8


def test_truncated_extxyz(tmp_path):
    whole = tmp_path / "whole.extxyz"
    write(whole, bulk("NaCl", "rocksalt", 5.6, cubic=True))
    part = tmp_path / "part.extxyz"
    part.write_text(whole.read_text()[:-60])
    refused(part, "complete")


def test_refused(tmp_path):
    refused(tmp_path / "none.cif", "no such file")
    (tmp_path / "empty.cif").write_text("")
    refused(tmp_path / "empty.cif", "empty.cif")
    (tmp_path / "noise.cif").write_bytes(np.random.default_rng(0).bytes(400))
    refused(tmp_path / "noise.cif", "noise.cif")
    (tmp_path / "notes.txt").write_text("not a crystal\n")
    refused(tmp_path / "notes.txt", "notes.txt")
    write(tmp_path / "molecule.extxyz", Atoms("H2", [[0, 0, 0], [0, 0, 0.74]]))
    refused(tmp_path / "molecule.extxyz", "no three-dimensional cell")
    write(tmp_path / "ghost.extxyz", Atoms("XCu", [[0, 0, 0], [1, 1, 1]], cell=[3, 3, 3], pbc=True))
    refused(tmp_path / "ghost.extxyz", "unknown element")
    nan = bulk("Cu", cubic=True)
    nan.positions[1, 1] = np.nan
    write(tmp_path / "nan.extxyz", nan)
    refused(tmp_path / "nan.extxyz", "not a finite number")


def test_partly_occupied_sites(tmp_path):
    mixed = tmp_path / "mixed.cif"
    mixed.write_text(
        "data_a\n_cell_length_a 4\n_cell_length_b 4\n_cell_length_c 4\n_cell_angle_alpha 90\n_cell_angle_beta 90\n"
        "_cell_angle_gamma 90\n_space_group_name_H-M_alt 'P 1'\nloop_\n_atom_site_label\n_atom_site_type_symbol\n"
        "_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n_atom_site_occupancy\n"
        "A1 Cu 0 0 0 0.5\nA2 Au 0 0 0 0.5\n"
    )
    refused(mixed, "ordered")
