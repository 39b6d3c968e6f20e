"""Kinds of files that ended in silence, in a traceback or not at all: read as they say, or refused in one line."""

import time

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from nucleate.crystals.io import read_structures
from nucleate.errors import BadInput, quoted

LENGTHS = "_cell_length_a 5\n_cell_length_b 6\n_cell_length_c 7"
CELL = f"{LENGTHS}\n_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 90"


def cif(columns, rows, extra="_symmetry_space_group_name_H-M 'P 1'"):
    return "\n".join(["data_t", CELL, extra, "loop_", *(f"_atom_site_{name}" for name in columns.split()), *rows]) + "\n"


def read(tmp_path, text, name="t.cif"):
    (tmp_path / name).write_text(text)
    started = time.monotonic()
    frames = read_structures(tmp_path / name)
    assert time.monotonic() - started < 8
    return frames


def symops(*operations):
    return "\n".join(["loop_", "_symmetry_equiv_pos_as_xyz", *(f"'{operation}'" for operation in operations)])


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (cif("label fract_x fract_y", ["Fe1 .1 .2"]), "fract_z"),
        (cif("label fract_x fract_y fract_z calc_flag", ["Fe1 .1 .2 .3 dum"]), "dummy"),
        (cif("label fract_x fract_y fract_z attached_hydrogens", ["O1 .1 .2 .3 2"]), "hydrogen"),
        (cif("label type_symbol fract_x fract_y fract_z", ["Wat H2O .1 .2 .3"]), "element"),
        (cif("label type_symbol fract_x fract_y fract_z", ["N1 NH4 .1 .2 .3"]), "element"),
        (cif("label type_symbol fract_x fract_y fract_z", ["M1 Fe,Co .1 .2 .3"]), "element"),
        (cif("label fract_x fract_y fract_z", ["HO1 .1 .2 .3"]), "Ho or H"),
        (cif("label fract_x fract_y fract_z", ["O1 .1 .2 .3"], symops("x,y,z", "-x,-y,z+1/2", "x,-y,z")), "group"),
        (cif("label fract_x fract_y fract_z", ["O1 .1 .2 .3"], symops("x,y,z", "y,x,-z")), "symmetry"),
        (cif("label fract_x fract_y fract_z", ["O1 .1 .2 .3"], "_space_group_name_Hall 'P 4'"), "symmetry"),
        (cif("label fract_x fract_y fract_z", ["O1 .1 .2 .3"] * 2 + [f"O2 .1 .2 {0.3 + k * 2e-6:.6f}" for k in range(5000)]), "are within"),
    ],
)  # fmt: skip
def test_cif_is_refused_by_name(tmp_path, text, word):
    with pytest.raises(BadInput, match=word) as caught:
        read(tmp_path, text)
    assert len(str(caught.value)) < 200 + len(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_formula_says_which_element_a_label_means(tmp_path):
    rows = ["OW1 .1 .2 .3", "HO1 .3 .2 .3", "HO2 .1 .4 .3"]
    with pytest.raises(BadInput):
        read(tmp_path, cif("label fract_x fract_y fract_z", rows))
    rows[0] = "O1 .1 .2 .3"
    text = cif("label fract_x fract_y fract_z", rows, "_symmetry_space_group_name_H-M 'P 1'\n_chemical_formula_sum 'H2 O'")
    assert read(tmp_path, text)[0].get_chemical_formula() == "H2O"


def test_a_large_cell_is_read_in_time(tmp_path):
    grid = np.stack(np.meshgrid(*[np.arange(22) / 22] * 3), -1).reshape(-1, 3)
    write(tmp_path / "large.cif", Atoms("Cu" * len(grid), scaled_positions=grid, cell=[60, 60, 60], pbc=True))
    assert len(read(tmp_path, (tmp_path / "large.cif").read_text(), "t.cif")[0]) == len(grid)


def test_poscar_with_long_digits_is_refused_at_once(tmp_path):
    text = f"x\n1\n4 0 0\n0 4 0\n0 0 4\nCu\n{'1' * 60}x\nDirect\n0 0 0\n"
    with pytest.raises(BadInput, match="numbers of atoms"):
        read(tmp_path, text, "POSCAR")


def test_an_odd_comment_line_is_refused(tmp_path):
    for comment in ('="4 0 0" pbc="T T T"', "= ", "[" * 5000 + "=1"):
        with pytest.raises(BadInput):
            read(tmp_path, f"1\n{comment}\nCu 0 0 0\n", "t.extxyz")


def test_backslashes_count_twice_in_quotes():
    assert len(repr(quoted("\\" * 500))) <= 82
    assert quoted("a" * 80) == "a" * 80


SHELX = """TITL in P21/c
CELL 0.71073 8.1 9.2 10.3 90 101 90
ZERR 4 0.001 0.001 0.001 0 0.01 0
LATT {latt}
SYMM -X, 0.5+Y, 0.5-Z
SFAC C O
UNIT 8 4
FVAR 1.0
C1 1 0.1 0.2 0.3 {occupancy} 0.03 0.02 =
   0.02 0.01
O1 2 10.4 0.1 0.2 11.0 0.03
HKLF 4
END
Q1 1 0.5 0.5 0.5 11.0 0.05 1.2
"""


def test_symmetry_of_shelx_files_is_followed(tmp_path):
    (atoms,) = read(tmp_path, SHELX.format(latt=1, occupancy="11.0"), "t.res")
    text = cif("label fract_x fract_y fract_z", ["C1 .1 .2 .3", "O1 .4 .1 .2"], "_symmetry_space_group_name_H-M 'P 1 21/c 1'")
    for old, new in (
        ("length_a 5", "length_a 8.1"),
        ("length_b 6", "length_b 9.2"),
        ("length_c 7", "length_c 10.3"),
        ("beta 90", "beta 101"),
    ):
        text = text.replace(old, new)
    (named,) = read(tmp_path, text)
    assert atoms.get_chemical_formula() == named.get_chemical_formula() == "C4O4"
    np.testing.assert_allclose(
        np.sort(atoms.get_all_distances(mic=True).ravel()), np.sort(named.get_all_distances(mic=True).ravel()), atol=1e-6
    )
    with pytest.raises(BadInput, match="occupancy"):
        read(tmp_path, SHELX.format(latt=1, occupancy="10.5"), "t.res")
    with pytest.raises(BadInput, match="LATT"):
        read(tmp_path, SHELX.replace("LATT {latt}\n", "").format(occupancy="11.0"), "t.res")


def test_several_res_in_one_file_are_several_structures(tmp_path):
    one = "TITL a\nCELL 1.0 4 4 4 90 90 90\nLATT -1\nSFAC Cu\nCu 1 0 0 0 1.0\nEND\n"
    assert len(read(tmp_path, one * 3, "t.res")) == 3


def test_packed_files_and_names_of_other_formats(tmp_path):
    with pytest.raises(BadInput, match="gunzip"):
        read(tmp_path, "x", "POSCAR.gz")
    text = cif("label fract_x fract_y", ["Fe1 .1 .2"])
    with pytest.raises(BadInput):
        read(tmp_path, text, "structure.txt")


def test_a_cell_that_kills_the_finder_of_neighbours_is_refused(tmp_path):
    text = '1\nLattice="1.8 0 0 0 30 0 0 0 1e5" Properties=species:S:1:pos:R:3 pbc="T T T"\nCu 0 0 0\n'
    with pytest.raises(BadInput, match="cell vector"):
        read(tmp_path, text, "t.extxyz")
    with pytest.raises(BadInput, match="cell vector"):
        read(tmp_path, cif("label fract_x fract_y fract_z", ["Cu1 0 0 0"]).replace("length_c 7", "length_c 100000"))
    with pytest.raises(BadInput, match="too flat"):
        read(tmp_path, text.replace("1.8 0 0 0 30 0 0 0 1e5", "1.8 0 0 0 800 0 0 0 900"), "t.extxyz")
