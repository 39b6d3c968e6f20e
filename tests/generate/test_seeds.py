import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.io import write

from nucleate.errors import BadInput, GenerationFailed
from nucleate.generate import SeedGenerator


def refusal(path, counts) -> str:
    """Why the file is refused, or nothing if it is taken; any other error goes through."""
    try:
        SeedGenerator(path, counts)
    except BadInput as error:
        return str(error)
    return ""


def counted(atoms):
    symbols = atoms.get_chemical_symbols()
    return {s: symbols.count(s) for s in dict.fromkeys(symbols)}


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("Al2O3", {"Al": 4, "O": 6}),
        ("Al2O3", {"Al": 8, "O": 12}),
        ("Si", {"Si": 2}),
        ("Si", {"Si": 16}),
        ("NaCl", {"Na": 4, "Cl": 4}),
        ("CaF2", {"Ca": 4, "F": 8}),
        ("AlN", {"Al": 4, "N": 4}),
    ],
)
def test_targets_are_brought_to_the_exact_count(targets, name, counts):
    from ase.io import read
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.io.ase import AseAtomsAdaptor

    path = targets / f"{name}.cif"
    (candidate,) = SeedGenerator(path, counts).propose(1, np.random.default_rng(0))
    assert counted(candidate.atoms) == counts
    assert candidate.origin == "seed"
    assert candidate.details == {"file": str(path), "frame": 0}
    convert = AseAtomsAdaptor.get_structure
    assert StructureMatcher(scale=False, ltol=0.01, stol=0.01).fit(convert(candidate.atoms), convert(read(path)))


def test_many_frames_are_handed_out_once_each(tmp_path):
    path = tmp_path / "frames.xyz"
    frames = [bulk("Si", a=a, cubic=True) for a in (5.3, 5.4, 5.5)]
    write(path, frames, format="extxyz")
    generator = SeedGenerator([path, bulk("Si")], {"Si": 8})
    first = generator.propose(3, np.random.default_rng(0))
    assert [c.details["frame"] for c in first] == [0, 1, 2]
    assert generator.left == 1
    with pytest.raises(GenerationFailed, match="only 1 of 4"):
        generator.propose(2, np.random.default_rng(0))


def test_supercells_are_compact():
    (candidate,) = SeedGenerator(bulk("Cu"), {"Cu": 8}).propose(1, np.random.default_rng(0))
    lengths = candidate.atoms.cell.lengths()
    assert lengths.max() / lengths.min() < 1.5


def test_a_supercell_is_reduced_first():
    big = make_supercell(bulk("NaCl", "rocksalt", a=5.6), np.diag([3, 1, 1]))
    (candidate,) = SeedGenerator(big, {"Na": 2, "Cl": 2}).propose(1, np.random.default_rng(0))
    assert counted(candidate.atoms) == {"Na": 2, "Cl": 2}


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (bulk("Ge", cubic=True), "composition Ge8"),
        (Atoms("Si"), "no three-dimensional cell"),
        (Atoms("Si2", positions=[[0, 0, 0], [0, 0, 0.1]], cell=[5] * 3, pbc=True), "0.10 Å apart"),
        (
            Atoms("Si3", positions=[[0, 0, 0], [2.5, 0, 0.3], [0, 2.4, 1]], cell=[5, 5, 6], pbc=True),
            "3 atoms",
        ),
    ],
)
def test_unfit_structures_are_named(tmp_path, atoms, message):
    path = tmp_path / "seed.xyz"
    write(path, atoms, format="extxyz")
    with pytest.raises(BadInput, match=message) as caught:
        SeedGenerator(path, {"Si": 8})
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_broken_and_foreign_files(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        SeedGenerator(tmp_path / "none.cif", {"Si": 8})
    for name, text in [
        ("empty.cif", ""),
        ("words.cif", "this is not a cif\n"),
        ("words.txt", "hello"),
        ("POSCAR", "Si\n1.0\n5 0 0\n"),
    ]:
        (tmp_path / name).write_text(text)
        with pytest.raises(BadInput) as caught:
            SeedGenerator(tmp_path / name, {"Si": 8})
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    (tmp_path / "seed.pkl").write_bytes(b"x")
    with pytest.raises(BadInput, match="can run code"):
        SeedGenerator(tmp_path / "seed.pkl", {"Si": 8})


def test_a_cif_cut_short_at_any_line_never_escapes_as_another_error(targets, tmp_path):
    lines = (targets / "Al2O3.cif").read_text().splitlines(keepends=True)
    path = tmp_path / "cut.cif"
    refused = 0
    for end in range(len(lines) - 1):
        path.write_text("".join(lines[:end]))
        message = refusal(path, {"Al": 4, "O": 6})
        assert "\n" not in message
        refused += bool(message)
    assert refused > len(lines) // 2


def test_partly_occupied_sites_are_refused(tmp_path):
    path = tmp_path / "partial.cif"
    path.write_text(
        "data_x\n_cell_length_a 4\n_cell_length_b 4\n_cell_length_c 4\n_cell_angle_alpha 90\n"
        "_cell_angle_beta 90\n_cell_angle_gamma 90\n_symmetry_space_group_name_H-M 'P 1'\nloop_\n"
        "_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
        "_atom_site_occupancy\n"
        "Si1 Si 0 0 0 0.5\nGe1 Ge 0 0 0 0.5\nSi2 Si 0.5 0.5 0.5 1\n"
    )
    with pytest.raises(BadInput, match="ordered"):
        SeedGenerator(path, {"Si": 8})
