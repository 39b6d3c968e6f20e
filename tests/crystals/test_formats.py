"""One reader a format, by suffix before name; what a file says of its atoms is kept or refused."""

import json
import warnings

import numpy as np
import pytest
from ase.build import bulk
from ase.constraints import FixAtoms
from ase.io import write
from pymatgen.io.ase import AseAtomsAdaptor

from nucleate.crystals.formats import format_of
from nucleate.crystals.io import read_structures
from nucleate.csp.run_settings import settings_from_dict
from nucleate.errors import BadInput, InputNote
from nucleate.relax.batched import relax
from nucleate.relax.on_reference import relax_on_reference
from nucleate.relax.settings import RelaxSettings

HEAD = 'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 pbc="T T T"'


def read(tmp_path, text, name="test.extxyz"):
    (tmp_path / name).write_text(text)
    return read_structures(tmp_path / name)


def refused(tmp_path, text, word, name="test.extxyz"):
    with pytest.raises(BadInput, match=word) as caught:
        read(tmp_path, text, name)
    message = str(caught.value)
    assert name in message
    assert "\n" not in message
    assert len(message) < 200 + len(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (f"999999999999\n{HEAD}\nCu 0 0 0\n", "states 999999999999 atoms"),
        (f"2\n{HEAD}\nCu 0 0 0\n", "complete"),
        (f"1\n{HEAD}\nCu 0 0 0\n\n1\n{HEAD}\nCu 0 0 0\n", "number of atoms"),
        ("1\n" + HEAD.replace("species:S:1", "species:S:130587821") + "\nCu 0 0 0\n", "columns"),
        ("1\n" + HEAD.replace("species:S:1:pos:R:3", "species:S:1:pos:R:2") + "\nCu 0 0 0\n", "positions"),
        ("1\n" + HEAD.replace("4 0 0 0 4", "4 0 0 0") + "\nCu 0 0 0\n", "Lattice"),
        ("1\n" + HEAD.replace("T T T", "T T maybe") + "\nCu 0 0 0\n", "pbc"),
        ("1\n" + HEAD + " note=" + "x" * 200_000 + "\nCu 0 0 0\n", "comment"),
        (f"1\n{HEAD}\nCu 0 0 zero\n", "extended XYZ"),
        (f"1\n{HEAD}\nQq 0 0 0\n", "extended XYZ"),
        ("-3\n\nCu 0 0 0\n", "number of atoms"),
        ("", "empty"),
        (f"1\n{HEAD}\nCu 0 0 1e400\n", "finite"),
    ],
)  # fmt: skip
def test_extended_xyz_is_held_against_what_it_states(tmp_path, text, word):
    refused(tmp_path, text, word)


def test_species_as_people_write_them(tmp_path):
    (salt,) = read(tmp_path, f"2\n{HEAD}\nNA 0 0 0\nCL 2 2 2\n")
    assert salt.get_chemical_symbols() == ["Na", "Cl"]
    with pytest.warns(InputNote, match="hydrogen"):
        (deuteride,) = read(tmp_path, f"2\n{HEAD}\nLi 0 0 0\nD 2 2 2\n")
    assert deuteride.get_chemical_symbols() == ["Li", "H"]
    # The column of species is where Properties says it is.
    head = HEAD.replace("species:S:1:pos:R:3", "pos:R:3:species:S:1")
    (moved,) = read(tmp_path, f"1\n{head}\n0 0 0 CU\n")
    assert moved.get_chemical_symbols() == ["Cu"]


def test_moments_that_start_are_kept_and_results_are_not(tmp_path):
    atoms = bulk("Ni", cubic=True)
    atoms.set_initial_magnetic_moments([1, -1, 1, -1])
    write(tmp_path / "start.extxyz", atoms)
    (kept,) = read_structures(tmp_path / "start.extxyz")
    assert kept.get_initial_magnetic_moments().tolist() == [1, -1, 1, -1]
    head = HEAD.replace("pos:R:3", "pos:R:3:magmoms:R:1")
    (result,) = read(tmp_path, f"1\n{head}\nNi 0 0 0 0.6\n")
    assert not result.get_initial_magnetic_moments().any()


POSCAR = "title\n1.0\n0 2.8 2.8\n2.8 0 2.8\n2.8 2.8 0\nNa Cl\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n"


def test_poscar_as_people_have_them(tmp_path):
    for name in ("POSCAR", "CONTCAR_2", "salt.vasp", "salt.poscar"):
        (atoms,) = read(tmp_path, POSCAR, name)
        assert atoms.get_chemical_formula() == "ClNa"
    for change in ("\r\n", "hash"):
        text = POSCAR.replace("\n", "\r\n") if change == "\r\n" else POSCAR.replace("Na Cl", "Na_pv/1a2b3c4d Cl/5e6f7a8b")
        (atoms,) = read(tmp_path, text, "POSCAR")
        assert atoms.get_chemical_symbols() == ["Na", "Cl"]
    refused(tmp_path, POSCAR.replace("Na Cl\n", ""), "elements", "POSCAR")
    refused(tmp_path, POSCAR.replace("0.5 0.5 0.5\n", ""), "complete", "POSCAR")
    refused(tmp_path, "\n".join(POSCAR.split("\n")[:5]), "complete", "POSCAR")
    assert len(read(tmp_path, POSCAR.replace("Na Cl\n", "").replace("title", "Na Cl"), "POSCAR")[0]) == 2


def test_moments_of_an_incar_are_those_of_the_poscar_beside_it(tmp_path):
    (tmp_path / "INCAR").write_text("ISPIN = 2\n MAGMOM = 1*2.0 -1.5 ! start\n")
    with pytest.warns(InputNote, match="MAGMOM"):
        (atoms,) = read(tmp_path, POSCAR, "POSCAR")
    assert atoms.get_initial_magnetic_moments().tolist() == [2.0, -1.5]
    (tmp_path / "INCAR").write_text("MAGMOM = 0 0 2.0 0 0 -2.0\n")
    with pytest.warns(InputNote):
        (atoms,) = read(tmp_path, POSCAR, "POSCAR")
    assert atoms.get_initial_magnetic_moments().tolist() == [2.0, -2.0]
    for line, word in (("MAGMOM = 3*1.0", "3 moments"), ("MAGMOM = many", "cannot be read"), ("MAGMOM = 0 0 2 2 0 0", "axis")):
        (tmp_path / "INCAR").write_text(line + "\n")
        with pytest.raises(BadInput, match=word):
            read(tmp_path, POSCAR, "POSCAR")


def test_other_formats(tmp_path):
    salt = bulk("NaCl", "rocksalt", 5.6)
    (tmp_path / "salt.json").write_text(json.dumps(AseAtomsAdaptor.get_structure(salt).as_dict()))
    (again,) = read_structures(tmp_path / "salt.json")
    np.testing.assert_allclose(again.positions, salt.positions, atol=1e-8)
    refused(tmp_path, '{"lattice": 3}', "pymatgen", "bad.json")
    refused(tmp_path, "[" * 100_000, "JSON", "deep.json")
    pwi = (
        "&control\n/\n&system\n ibrav=2, celldm(1)=10.2, nat=2, ntyp=1\n/\n&electrons\n/\nATOMIC_SPECIES\n Si 28 Si.upf\n"
        "ATOMIC_POSITIONS alat\n Si 0 0 0\n Si 0.25 0.25 0.25\nK_POINTS gamma\n"
    )
    (silicon,) = read(tmp_path, pwi, "si.pwi")
    diamond = bulk("Si", a=10.2 * 0.529177210903)
    np.testing.assert_allclose(
        np.sort(silicon.get_all_distances(mic=True).ravel()), np.sort(diamond.get_all_distances(mic=True).ravel()), atol=1e-5
    )
    refused(tmp_path, pwi.replace("nat=2", "starting_magnetization(1)=0.5\n nat=2"), "moments", "si.pwi")
    refused(tmp_path, "no crystal at all\n", "format", "notes.txt")
    (shelx,) = read(
        tmp_path,
        "TITL x 0 37 -100 0 0 2 (P1) n - 1\nCELL 1 4 4 4 90 90 90\nLATT -1\nSFAC Si O\nSi 1 0 0 0 1\nO 2 .5 .5 .5 1\nEND\n",
        "a.res",
    )
    assert shelx.get_chemical_formula() == "OSi"


def test_a_suffix_goes_before_a_name(tmp_path):
    from pathlib import Path

    assert format_of(Path("POSCAR.cif")) == "cif"
    assert format_of(Path("POSCAR_relaxed.extxyz")) == "extxyz"
    assert format_of(Path("POSCAR_old")) == "vasp"
    assert format_of(Path("contcar")) == "vasp"


EMT = {"formula": "H", "reference": {"engine": "ase", "calculator": "ase.calculators.emt:EMT", "workers": 0}}
LIMITS = {"fmax": 0.05, "smax": 0.5, "max_steps": 60}


def test_a_relaxed_poscar_is_written_as_its_suffix_says(tmp_path):
    copper = bulk("Cu", a=3.65)
    write(tmp_path / "POSCAR_cu", copper, format="vasp")
    done = relax_on_reference(tmp_path / "POSCAR_cu", None, settings_from_dict(EMT).reference, LIMITS)
    assert done.out.name == "POSCAR_cu-relaxed.extxyz"
    assert "Properties=species" in done.out.read_text()
    done = relax_on_reference(tmp_path / "POSCAR_cu", tmp_path / "POSCAR_cu.cif", settings_from_dict(EMT).reference, LIMITS)
    assert done.out.read_text().startswith("data_")


def test_atoms_that_a_file_fixes_are_refused_by_name(tmp_path):
    copper = bulk("Cu", cubic=True)
    copper.set_constraint(FixAtoms([0]))
    write(tmp_path / "fixed.vasp", copper, format="vasp")
    with pytest.raises(BadInput, match="constraints"):
        relax_on_reference(tmp_path / "fixed.vasp", None, settings_from_dict(EMT).reference, LIMITS)


def test_a_relaxation_says_which_guard_ended_it(pair_potential):
    potential = pair_potential((29,), bond=2.6)
    for scale, narrow, stop in ((0.85, (0.9, 1.02), "exploded"), (1.1, (0.98, 3.0), "collapsed")):
        copper = bulk("Cu", a=3.68 * scale, cubic=True)
        (end,) = relax([copper], potential, RelaxSettings(volume_range=narrow, max_steps=200))
        assert end.stop == stop
        assert "volume_range" in end.guard


def test_the_largest_message_is_short(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused(tmp_path, "1\n" + HEAD.replace("pos:R:3", "y" * 5000 + ":Q:3") + "\nCu 0 0 0\n", "columns")


def test_deuterium_in_a_shelx_file_is_said(tmp_path):
    text = "TITL x\nCELL 1 4 4 4 90 90 90\nLATT -1\nSFAC Li D\nLi 1 0 0 0 1\nD 2 .5 .5 .5 1\nEND\n"
    with pytest.warns(InputNote, match="hydrogen"):
        (atoms,) = read(tmp_path, text, "deuteride.res")
    assert atoms.get_chemical_symbols() == ["Li", "H"]
