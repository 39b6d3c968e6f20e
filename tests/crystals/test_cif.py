"""CIF settings: what a symbol names is what is read, or the file is refused. Crystals are told apart by their shortest distances."""

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write

from nucleate.crystals.io import read_structures
from nucleate.errors import BadInput, InputNote

MONOCLINIC = (5.4, 5.6, 7.7, 90, 97, 90)
SITES = [("Ca", 0.51, 0.55, 0.25), ("W", 0.0, 0.5, 0.0), ("O", 0.10, 0.47, 0.24)]
OPERATIONS = {
    "P 1 21/n 1": ("x,y,z", "-x,-y,-z", "1/2-x,1/2+y,1/2-z", "1/2+x,1/2-y,1/2+z"),
    "P 1 21/c 1": ("x,y,z", "-x,-y,-z", "-x,1/2+y,1/2-z", "x,1/2-y,1/2+z"),
    "P 1 21/a 1": ("x,y,z", "-x,-y,-z", "1/2-x,1/2+y,-z", "1/2+x,1/2-y,z"),
}


def cif(cell, sites, *lines, operations=(), labels=None, columns=("_atom_site_type_symbol",), formula=None):
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    out = ["data_test", *(f"_cell_{name} {value}" for name, value in zip(names, cell, strict=True)), *lines]
    if formula:
        out.append(f"_chemical_formula_sum '{formula}'")
    if operations:
        out += ["loop_", "_space_group_symop_operation_xyz", *(f"'{op}'" for op in operations)]
    out += ["loop_", "_atom_site_label", *columns, "_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z"]
    for k, (symbol, *position) in enumerate(sites):
        label = labels[k] if labels else f"{symbol}{k + 1}"
        out.append(" ".join([label, *([symbol] if columns else []), *map(str, position)]))
    return "\n".join(out) + "\n"


def read(tmp_path, text, name="test.cif"):
    (tmp_path / name).write_text(text)
    (atoms,) = read_structures(tmp_path / name)
    return atoms


def distances(atoms):
    return np.sort(atoms.get_all_distances(mic=True).ravel())


@pytest.mark.parametrize("symbol", OPERATIONS)
def test_settings_of_a_monoclinic_group_are_told_apart(tmp_path, symbol):
    listed = read(tmp_path, cif(MONOCLINIC, SITES, operations=OPERATIONS[symbol]))
    for lines in ((f"_symmetry_space_group_name_H-M '{symbol}'",), (f"_space_group_name_H-M_alt '{symbol}'", "_space_group_IT_number 14")):
        named = read(tmp_path, cif(MONOCLINIC, SITES, *lines))
        assert len(named) == len(listed)
        np.testing.assert_allclose(distances(named), distances(listed), atol=1e-6)
    for other in set(OPERATIONS) - {symbol}:
        assert np.abs(distances(read(tmp_path, cif(MONOCLINIC, SITES, operations=OPERATIONS[other]))) - distances(listed)).max() > 0.1


def test_short_and_hall_symbols_name_a_setting(tmp_path):
    listed = read(tmp_path, cif(MONOCLINIC, SITES, operations=OPERATIONS["P 1 21/n 1"]))
    for line in ("_symmetry_space_group_name_H-M 'P 21/n'", "_space_group_name_Hall '-P 2yn'", "_symmetry_space_group_name_H-M P21/n"):
        np.testing.assert_allclose(distances(read(tmp_path, cif(MONOCLINIC, SITES, line))), distances(listed), atol=1e-6)


def test_a_number_alone_names_no_setting(tmp_path):
    with pytest.raises(BadInput, match="setting"):
        read(tmp_path, cif(MONOCLINIC, SITES, "_space_group_IT_number 14"))
    # Where a number has one setting, it says all; in quotes as well.
    for number in ("225", "'225'"):
        atoms = read(tmp_path, cif((3.6, 3.6, 3.6, 90, 90, 90), [("Cu", 0, 0, 0)], f"_space_group_IT_number {number}"))
        assert len(atoms) == 4


DIAMOND = (5.43, 5.43, 5.43, 90, 90, 90)


@pytest.mark.parametrize(
    ("mark", "position"), [(":1", 0.0), (":2", 0.125), (" :2", 0.125), (" S", 0.0), (" Z", 0.125), (" (origin choice 2)", 0.125)]
)
def test_the_origin_that_is_named_is_taken(tmp_path, mark, position):
    atoms = read(tmp_path, cif(DIAMOND, [("Si", position, position, position)], f"_space_group_name_H-M_alt 'F d -3 m{mark}'"))
    assert len(atoms) == 8
    np.testing.assert_allclose(distances(atoms), distances(bulk("Si", a=5.43, cubic=True)), atol=1e-6)


def test_an_origin_left_open_is_refused_unless_both_give_one_crystal(tmp_path):
    symbol = "_symmetry_space_group_name_H-M 'F d -3 m'"
    with pytest.raises(BadInput, match="setting"):
        read(tmp_path, cif(DIAMOND, [("Si", 0.125, 0.125, 0.125)], symbol))
    # A formula that one of them does not give decides.
    atoms = read(tmp_path, cif(DIAMOND, [("Si", 0.125, 0.125, 0.125)], symbol, "_cell_formula_units_Z 8", formula="Si"))
    assert len(atoms) == 8
    # In both of P m m n's origins a general position is eight atoms, but not the same ones.
    with pytest.raises(BadInput, match="setting"):
        read(tmp_path, cif((4, 5, 6, 90, 90, 90), [("Si", 0.1, 0.2, 0.3)], "_symmetry_space_group_name_H-M 'P m m n'"))


@pytest.mark.parametrize(("cell", "count"), [((6.36, 6.36, 6.36, 46.1, 46.1, 46.1), 10), ((4.98, 4.98, 17.04, 90, 90, 120), 30)])
def test_the_cell_says_whether_axes_are_rhombohedral(tmp_path, cell, count):
    x = (0.257, 0, 0.25) if count == 30 else (0.507, -0.007, 0.25)
    c = (0, 0, 0.25) if count == 30 else (0.25, 0.25, 0.25)
    atoms = read(tmp_path, cif(cell, [("Ca", 0, 0, 0), ("C", *c), ("O", *x)], "_symmetry_space_group_name_H-M 'R -3 c'"))
    assert len(atoms) == count


def test_nonstandard_axes_of_an_orthorhombic_group(tmp_path):
    cell, sites = (
        (5.35, 5.6, 7.67, 90, 90, 90),
        [("Gd", 0.985, 0.063, 0.25), ("Fe", 0, 0.5, 0), ("O", 0.1, 0.47, 0.25), ("O", 0.7, 0.3, 0.05)],
    )
    atoms = read(tmp_path, cif(cell, sites, "_symmetry_space_group_name_H-M 'P b n m'", formula="Fe Gd O3"))
    assert atoms.get_chemical_formula() == "Fe4Gd4O12"


def test_contradictions_of_symmetry_are_refused(tmp_path):
    cubic = (4, 4, 4, 90, 90, 90)
    with pytest.raises(BadInput, match="225"):
        read(tmp_path, cif(cubic, [("Cu", 0, 0, 0)], "_symmetry_space_group_name_H-M 'P m -3 m'", "_space_group_IT_number 225"))
    with pytest.raises(BadInput, match="cell"):
        read(tmp_path, cif((4, 5, 6, 90, 90, 90), [("Cu", 0, 0, 0)], "_symmetry_space_group_name_H-M 'F m -3 m'"))
    with pytest.raises(BadInput, match="unknown"):
        read(tmp_path, cif(cubic, [("Cu", 0, 0, 0)], "_symmetry_space_group_name_H-M 'F n o n s'"))
    with pytest.warns(InputNote, match="P 1"):
        assert len(read(tmp_path, cif(cubic, [("Cu", 0, 0, 0)]))) == 1


def test_labels_are_read_by_element(tmp_path):
    quartz = (4.913, 4.913, 5.405, 90, 90, 120)
    sites = [("Si", 0.4697, 0, 0.6667), ("O", 0.4133, 0.2672, 0.7856)]
    text = cif(quartz, sites, "_symmetry_space_group_name_H-M 'P 32 2 1'", labels=["SI1", "O1"], columns=())
    assert read(tmp_path, text).get_chemical_formula() == "O6Si3"


def test_rounded_special_positions_are_one_atom(tmp_path):
    zincite = (3.25, 3.25, 5.207, 90, 90, 120)
    for third, two in (("0.333", "0.667"), ("0.33", "0.67"), ("0.33333", "0.66667")):
        sites = [("Zn", third, two, 0.0), ("O", third, two, 0.382)]
        assert len(read(tmp_path, cif(zincite, sites, "_symmetry_space_group_name_H-M 'P 63 m c'"))) == 4


def test_atoms_of_the_whole_cell_beside_a_symbol_are_taken_once(tmp_path):
    salt = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    sites = [(atom.symbol, *salt.get_scaled_positions()[atom.index]) for atom in salt]
    assert len(read(tmp_path, cif((5.64,) * 3 + (90,) * 3, sites, "_symmetry_space_group_name_H-M 'F m -3 m'"))) == 8


def test_hydrogen_by_other_names_is_said(tmp_path):
    with pytest.warns(InputNote, match="hydrogen"):
        atoms = read(
            tmp_path, cif((4,) * 3 + (90,) * 3, [("Li", 0, 0, 0), ("D", 0.5, 0.5, 0.5)], "_symmetry_space_group_name_H-M 'F m -3 m'")
        )
    assert atoms.get_chemical_formula() == "H4Li4"


@pytest.mark.parametrize(
    ("sites", "formula", "word"),
    [
        ([("Cu", 0, 0, 0), ("Au", 0, 0, 0)], None, "disorder"),
        ([("Cu", 0, 0, 0), ("H", "?", "?", "?")], None, "coordinates"),
        ([("Cu", 0, 0, 0)], "Cu H", "H"),
        ([("Cu", 0, 0, 0)], "Cu0", "formula"),
        ([("Cu", 0, 0, "0.0x")], None, "number"),
        ([("Zz", 0, 0, 0)], None, "element"),
    ],
)  # fmt: skip
def test_what_is_no_ordered_crystal_is_refused(tmp_path, sites, formula, word):
    with pytest.raises(BadInput, match=word):
        read(tmp_path, cif((3.6,) * 3 + (90,) * 3, sites, "_symmetry_space_group_name_H-M 'P 1'", formula=formula))


def test_occupancies(tmp_path):
    base = cif((3.6,) * 3 + (90,) * 3, [("Cu", 0, 0, 0)], "_symmetry_space_group_name_H-M 'F m -3 m'")
    for value in ("0.94(2)", "0", "\\"):
        text = base.replace("_atom_site_fract_z\n", "_atom_site_fract_z\n_atom_site_occupancy\n").replace("0 0 0\n", f"0 0 0 {value}\n")
        with pytest.raises(BadInput, match="occup"):
            read(tmp_path, text)


def test_one_structure_a_file(tmp_path):
    text = cif((3.6,) * 3 + (90,) * 3, [("Cu", 0, 0, 0)], "_symmetry_space_group_name_H-M 'F m -3 m'")
    assert len(read(tmp_path, text + "\ndata_journal\n_publ_section_title 'words'\n")) == 4
    with pytest.raises(BadInput, match="2 structures"):
        read(tmp_path, text + "\n" + text.replace("data_test", "data_other"))
    with pytest.raises(BadInput, match="complete"):
        read(tmp_path, text[: text.index("loop_")])


def test_files_of_other_programs_are_read_as_before(tmp_path):
    """What ASE writes, with every atom and one operation, comes back as it was."""
    rng = np.random.default_rng(5)
    atoms = bulk("NaCl", "rocksalt", 5.6, cubic=True)
    atoms.rattle(0.1, rng=rng)
    write(tmp_path / "ase.cif", atoms)
    (again,) = read_structures(tmp_path / "ase.cif")
    np.testing.assert_allclose(distances(again), distances(atoms), atol=1e-4)


def test_moments_of_a_magnetic_cif_are_starting_moments(tmp_path):
    loop = "loop_\n_space_group_symop_magn_operation.id\n_space_group_symop_magn_operation.xyz\n1 x,y,z,+1\n2 x+1/2,y+1/2,z+1/2,-1\n"
    moments = "loop_\n_atom_site_moment.label\n" + "".join(f"_atom_site_moment.crystalaxis_{axis}\n" for axis in "xyz")
    text = cif((2.9, 2.9, 2.9, 90, 90, 90), [("Cr", 0, 0, 0)], "_space_group_magn.number_BNS 1.1") + loop + moments
    atoms = read(tmp_path, text + "Cr1 0 0 1.5\n", "chromium.mcif")
    assert sorted(atoms.get_initial_magnetic_moments()) == pytest.approx([-1.5, 1.5])
    assert len(atoms) == 2
    canted = cif((2.9, 2.9, 2.9, 90, 90, 90), [("Cr", 0, 0, 0), ("Mn", 0.5, 0.5, 0.5)], "_space_group_magn.number_BNS 1.1")
    canted += loop[: loop.index("2 x+")] + moments + "Cr1 0 0 1.5\nMn2 1.5 0 0\n"
    with pytest.raises(BadInput, match="axis"):
        read(tmp_path, canted, "canted.mcif")


def test_a_list_without_centring_contradicts_its_symbol(tmp_path):
    symbol, cell = "_symmetry_space_group_name_H-M 'I m m m'", (4, 5, 6, 90, 90, 90)
    signs = [f"{a}x,{b}y,{c}z" for a in ("", "-") for b in ("", "-") for c in ("", "-")]
    site = [("Cu", 0, 0, 0), ("O", 0.3, 0, 0)]
    with pytest.raises(BadInput, match="setting"):
        read(tmp_path, cif(cell, site, symbol, operations=signs))
    # The formula and what the cell holds of it decide.
    atoms = read(tmp_path, cif(cell, site, symbol, "_cell_formula_units_Z 2", operations=signs, formula="Cu O2"))
    assert atoms.get_chemical_formula() == "Cu2O4"
    # All atoms under the identity, beside the symbol of the crystal: the same either way.
    every = [("Cu", 0, 0, 0), ("Cu", 0.5, 0.5, 0.5), ("O", 0.3, 0, 0), ("O", 0.7, 0, 0), ("O", 0.8, 0.5, 0.5), ("O", 0.2, 0.5, 0.5)]
    assert len(read(tmp_path, cif(cell, every, symbol, operations=["x,y,z"]))) == 6
