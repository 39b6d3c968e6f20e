"""Files as people really have them, kept outside the repository: each reads right, or is refused in one short line."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from nucleate.cli.app import app
from nucleate.crystals.io import read_structures
from nucleate.errors import BadInput, InputNote, NucleateError
from nucleate.spins.files.reading import read_couplings
from nucleate.training.data import read_data
from nucleate.training.label_keys import LabelKeys
from nucleate.training.suspicions import suspicions

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the folder of shared cases is not beside this repository")

STRUCTURES = {
    "POSCAR_pos01_negative_scale": "Si8", "POSCAR_pos02_selective_dynamics": "ClNa", "POSCAR_pos03_hashed_species": "ClNa",
    "POSCAR_pos05_vasp4_comment_symbols": "ClNa", "POSCAR_pos06_three_scales": "Fe2", "POSCAR_pos07_crlf": "ClNa",
    "POSCAR_pos08_bom": "ClNa",
    "POSCAR_pos09_left_handed": "ClNa", "POSCAR_pos12_repeated_species_blocks": "Cl4Na4", "POSCAR_pos15_velocities": "ClNa",
    "pos13_lowercase_name.poscar": "ClNa", "airss01.res": "O2Si", "castep01.cell": "Cu4", "pmg01_structure.json": "ClNa",
    "qe01_ibrav2.pwi": "Si2",
    "cif01_wurtzite_3digits.cif": "O2Zn2", "cif02_wurtzite_2digits.cif": "O2Zn2", "cif03_d2o_stated_formula.cif": "H2O",
    "cif04_lid_deuteride.cif": "H4Li4", "cif05_uppercase_labels.cif": "O6Si3", "cif07_spinel_origin2_named.cif": "Al16Mg8O32",
    "cif09_rhombohedral_axes.cif": "C2Ca2O6", "cif13_no_symmetry_no_formula.cif": "ClNa", "cif14_full_cell_plus_symmetry.cif": "Cl4Na4",
    "cif15_number_quoted.cif": "Cu4", "cif22_pbnm_nonstandard.cif": "Fe4Gd4O12", "cif23_pbnm_name_only.cif": "Fe4Gd4O12",
    "cif25_trigonal_word_hex_axes.cif": "Fe12O18", "cif26_hex_axes_plain.cif": "Fe12O18", "xyz01_slab_pbc_TTF.extxyz": "Al4",
    "xyz04_upper_species.extxyz": "ClNa", "xyz05_D_species.extxyz": "HLi", "rel02_compressed.extxyz": "Cu4", "cmp_al_left.extxyz": "Al",
}  # fmt: skip
REFUSED = {
    "POSCAR_pos04_vasp4_no_symbols": "elements", "POSCAR_pos10_duplicate_on_border": "0.00 Å", "POSCAR_pos14_missing_atoms": "complete",
    "POSCAR_pos16_scale_forgotten": "0.43 Å", "cif06_spinel_origin1_noops.cif": "setting", "cif08_spinel_origin2_unmarked.cif": "setting",
    "cif11_partial_with_uncertainty.cif": "0.94", "cif12_zero_occupancy.cif": "H1", "cif16_mixed_occ_same_label.cif": "disorder",
    "cif17_hydrogen_missing.cif": "H", "cif18_two_blocks.cif": "2 structures", "cif19_question_marks.cif": "H1",
    "cif20_cut_after_cell.cif": "sites",
    "seed_nacl_dup.extxyz": "0.00 Å", "xyz02_molecule_no_lattice.xyz": "cell",
    "fuzz/structures_01_hang.extxyz": "states", "fuzz/structures_02_hang.extxyz": "Å", "fuzz/structures_03_typeerror.cif": "occupancy",
    "fuzz/structures_04_zerodivisionerror.cif": "formula", "fuzz/structures_05_hang.extxyz": "states",
}  # fmt: skip


def quietly(read, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputNote)
        return read(*arguments)


def one_short_line(error):
    # The folder's own path may be of any length.
    text = str(error).replace(f"{CASES}/", "")
    assert "\n" not in text
    assert len(text) <= 200


@pytest.mark.parametrize("name", STRUCTURES)
def test_structures_that_are_read(name):
    (atoms,) = quietly(read_structures, CASES / name)
    assert atoms.get_chemical_formula() == STRUCTURES[name]


@pytest.mark.parametrize("name", REFUSED)
def test_structures_that_are_refused(name):
    with pytest.raises(BadInput, match=REFUSED[name]) as caught:
        quietly(read_structures, CASES / name)
    one_short_line(caught.value)
    assert name in str(caught.value)
    if REFUSED[name] not in ("complete", "states", "sites"):
        assert "complete?" not in str(caught.value)


def test_settings_without_operations_are_those_with_them():
    listed, named, again = (
        np.sort(quietly(read_structures, CASES / f"{name}.cif")[0].get_all_distances(mic=True).ravel())
        for name in ("cif27_symops_given_P21n", "cif24_p21n", "cif29_p21n_with_formula")
    )
    np.testing.assert_allclose(named, listed, atol=1e-6)
    np.testing.assert_allclose(again, listed, atol=1e-6)


KEYS = {
    "train01_free_energy_only": {"energy": "free_energy"},
    "train02_REF_keys": {"energy": "REF_energy", "forces": "REF_forces", "stress": "REF_stress"},
    "train05_stress_kbar_vasp_sign": {"stress_unit": "-kbar"},
    "train07_force_singular_key": {"forces": "force"},
    "train09_Energy_capital": {"energy": "Energy"},
}
SUSPECTED = {
    "train06_stress_opposite_sign": "sign", "train08_energy_per_atom": "per atom", "train15_identical_frames": "repeat",
    "train17_energy_in_hartree": "hartree", "train18_zero_forces_dummy": "zero",
}  # fmt: skip
NOT_TRAINED_ON = {"train11_outlier": "row 4", "train13_nan_force": "row 6", "train14_lattice_pbc_F": "pbc"}


def test_labels_are_the_same_under_every_name():
    good = quietly(read_data, CASES / "train00_good_9.extxyz")
    assert suspicions(good) == []
    for name in ("train03_virial_not_stress", "train04_stress_voigt6", *KEYS):
        path = CASES / f"{name}.extxyz"
        if name in KEYS:
            with pytest.raises(BadInput, match="--") as caught:
                quietly(read_data, path)
            one_short_line(caught.value)
        data = quietly(read_data, path, LabelKeys(**KEYS.get(name, {})))
        for item, expected in zip(data, good, strict=True):
            assert item.energy == pytest.approx(expected.energy, abs=1e-6)
            np.testing.assert_allclose(item.forces, expected.forces, atol=1e-6)
            if item.stress is not None:
                np.testing.assert_allclose(item.stress, expected.stress, atol=2e-6)
    ten = quietly(read_data, CASES / "train10_isolated_atom.extxyz")
    assert len(ten) == len(good) + 1


@pytest.mark.parametrize("name", SUSPECTED)
def test_labels_that_contradict_themselves(name):
    assert any(SUSPECTED[name] in line for line in suspicions(quietly(read_data, CASES / f"{name}.extxyz")))


@pytest.mark.parametrize("name", NOT_TRAINED_ON)
def test_labels_that_are_refused(name):
    with pytest.raises(BadInput, match=NOT_TRAINED_ON[name]):
        quietly(read_data, CASES / f"{name}.extxyz")


COUPLINGS = {
    "tb01_plain_sc.out": None, "tb02_afm_negative_moment.out": None, "tb03_noisy_partners.out": "0.2 %", "tb04_sia_k1_section.out": None,
    "tb05_dmi_untagged.out": None, "tb06_dmi_tagged.out": None, "tb10_orbitals.out": "orbital", "tb12_crlf.out": None,
    "sp01_default_basis_sc.cfg": None, "sp03_both_directions_listed.cfg": "both", "sp05_pairs_in_file.cfg": None,
    "sp07_columns_reordered_KaKbKc.cfg": None, "sp08_one_mu_for_two_sites.cfg": "mu_s", "sp10_bravais_matrix.cfg": None,
    "sp11_anisotropy_both_keys.cfg": None, "table_afm_sc.csv": None,
}  # fmt: skip
NO_COUPLINGS = {
    "tb07_noncollinear_jani_zz.out": "J_ani", "tb08_zero_moment.out": "moment", "tb11_unique_pairs_only.out": "reverse",
    "tb13_renamed.txt": "format", "tb14_nan.out": "finite", "tb15_truncated.out": "truncated", "sp02_open_boundary_field.cfg": "bound",
    "sp06_neighbour_shells.cfg": "shell", "sp09_unknown_vacancies.cfg": "n_defects",
}  # fmt: skip


@pytest.mark.parametrize("name", COUPLINGS)
def test_couplings_that_are_read(name):
    couplings = read_couplings(CASES / name)
    assert len(couplings.first) > 0
    if COUPLINGS[name]:
        assert any(COUPLINGS[name] in note for note in couplings.notes)


@pytest.mark.parametrize("name", NO_COUPLINGS)
def test_couplings_that_are_refused(name):
    with pytest.raises(BadInput, match=NO_COUPLINGS[name]) as caught:
        read_couplings(CASES / name)
    one_short_line(caught.value)


VERBS = {
    "couplings": lambda path, out: ["spins", "show", path],
    "pairtables": lambda path, out: ["spins", "train", path, "--out", out],
    "structures": lambda path, out: ["relax", path, "--settings", CASES / "emt_ref.toml"],
    "mala": lambda path, out: [
        "electrons", "import", path / "al.npy", path / "al.cif", "--out", out, "--low", "-10", "--spacing", "0.5", "--charge", "Al=3",
    ],
    "models": lambda path, out: (
        ["evaluate", path, CASES / "train00_good_9.extxyz"]
        if "04" in path.name
        else ["electrons", "predict", path, CASES / "cmp_al_primitive.extxyz"]
    ),
    "toml": lambda path, out: ["search", "--settings", path, "--out", out],
}  # fmt: skip
VALID = "toml_01_hang.toml"
"""An ordinary search that takes minutes: nothing in the file is odd."""


def mutated():
    return sorted(path.name for path in (CASES / "fuzz").glob("*_*") if path.name != VALID) if CASES.is_dir() else ["absent"]


@pytest.mark.parametrize("name", mutated())
@pytest.mark.timeout(60)
def test_mutated_inputs_are_refused_in_one_line(name, tmp_path):
    words = VERBS[name.partition("_")[0]](CASES / "fuzz" / name, tmp_path / "out")
    ended = CliRunner().invoke(app, [str(word) for word in words])
    assert ended.exit_code == 2, ended.output
    message = ended.stderr.strip()
    one_short_line(message)
    assert message.startswith("error: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "word"), [("mala_true_in_RyBohr3.npy", "Ry"), ("mala_complex.npy", "complex"), ("mala_zip.npz", "zip")])
def test_densities_in_another_unit_or_kind_are_refused(name, word, tmp_path):
    for file in ("mala_be.extxyz", "mala_be_info_example.json"):
        (tmp_path / file.replace("_info_example", ".info")).write_text((CASES / file).read_text())
    words = [
        "electrons",
        "import",
        CASES / name,
        tmp_path / "mala_be.extxyz",
        "--out",
        tmp_path / "out",
        "--low",
        "-10",
        "--spacing",
        "0.5",
    ]
    ended = CliRunner().invoke(app, [*map(str, words), "--charge", "Be=2"])
    assert ended.exit_code == 2, ended.output
    assert word in ended.stderr
    words[2] = CASES / "mala_true_A3.npy"
    assert CliRunner().invoke(app, [*map(str, words), "--charge", "Be=2"]).exit_code == 0


def test_starting_moments_reach_the_engine(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(CASES))
    energies = []
    for name in ("mag_fm", "mag_afm"):
        words = [
            "relax",
            CASES / f"{name}.extxyz",
            "--settings",
            CASES / "mag_ref.toml",
            "--out",
            tmp_path / "out.extxyz",
            "--max-steps",
            "1",
        ]
        monkeypatch.setenv("PYTHONPATH", str(CASES))
        ended = CliRunner().invoke(app, [str(word) for word in words])
        assert ended.exit_code == 0, ended.output
        energies.append(float(ended.stdout.split(" eV/atom")[0].split()[-1]))
    # The calculator adds the product of the two moments, in eV, to a cell of two atoms.
    assert energies[0] - energies[1] == pytest.approx(1.0, abs=1e-5)


def test_seeds_of_another_composition_are_named():
    from nucleate.generate.seeds import SeedGenerator

    for name in ("seed_nacl_dup", "seed_wrong_ratio"):
        with pytest.raises(NucleateError) as caught:
            SeedGenerator(CASES / f"{name}.extxyz", {"Na": 4, "Cl": 4})
        one_short_line(caught.value)
