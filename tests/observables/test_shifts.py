"""Magres files, assignment of chemical shifts, and their refusals."""

import io

import ase.io
import numpy as np
import pytest
from ase.spacegroup import crystal

from nucleate.errors import BadInput, MissingDependency
from nucleate.observables.magres import Shieldings, magres_text, read_magres
from nucleate.observables.shieldings import shieldings_of
from nucleate.observables.shifts import Shift, ShiftReference, assign, fit_reference, read_shifts, site_shieldings


@pytest.fixture
def quartz():
    built = crystal("SiO", [(0.4697, 0, 0), (0.4133, 0.2672, 0.1188)], spacegroup=152, cellpar=[4.916, 4.916, 5.405, 90, 90, 120])
    tensors = np.random.default_rng(1).normal(200, 30, (len(built), 3, 3))
    return Shieldings(built, tensors)


def test_magres_files_survive_a_round_trip_and_agree_with_ase(quartz, tmp_path):
    path = tmp_path / "q.magres"
    path.write_text(magres_text(quartz))
    again = read_magres(path)
    assert again.tensors == pytest.approx(quartz.tensors, abs=1e-6)
    assert again.atoms.positions == pytest.approx(quartz.atoms.positions, abs=1e-9)
    theirs = ase.io.read(io.StringIO(path.read_text()), format="magres")
    assert theirs.cell.array == pytest.approx(again.atoms.cell.array)
    assert theirs.get_chemical_symbols() == again.atoms.get_chemical_symbols()
    assert theirs.get_array("ms") == pytest.approx(quartz.tensors, abs=1e-6)


def test_other_programs_join_label_and_number(tmp_path):
    path = tmp_path / "c.magres"
    path.write_text(
        "#$magres-abinitio-v1.0\n<atoms>\nunits lattice Angstrom\nlattice 4 0 0 0 4 0 0 0 4\nunits atom Angstrom\n"
        "atom C C 100 0 0 0 # the only one\n</atoms>\n<magres>\nunits ms ppm\nunits efg au\nms C100 1 0 0 0 2 0 0 0 3\n"
        "efg C 100 1 0 0 0 1 0 0 0 -2\n</magres>\n"
    )
    assert read_magres(path).isotropic == pytest.approx([2.0])


GOOD = "#$magres-abinitio-v1.0\n[atoms]\nlattice 4 0 0 0 4 0 0 0 4\natom C C 1 0 0 0\n[/atoms]\n"
GOOD += "[magres]\nms C 1 1 0 0 0 2 0 0 0 3\n[/magres]\n"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("v1.0", "v2.0", "version 1.0"),
        (GOOD, "", "version 1.0"),
        ("lattice 4", "lattice nan", "9 finite numbers"),
        ("lattice 4", "lattice 0", "no volume"),
        ("atom C C 1 0 0 0", "atom Q Q 1 0 0 0", "chemical symbol"),
        ("atom C C 1 0 0 0", "atom C C 1 0 0", "SYMBOL LABEL NUMBER"),
        ("atom C C 1 0 0 0", "atom C C 1 0 0 0\natom C C 1 1 1 1", "twice"),
        ("ms C 1", "ms C 7", "no atom C 7"),
        ("ms C 1 1 0 0 0 2 0 0 0 3", "ms C 1 1 0 0", "9 numbers"),
        ("ms C 1 1 0 0 0 2 0 0 0 3", "ms C 1 1 0 0 0 2 0 0 0 1e300", "9 finite numbers"),
        ("ms C 1 1 0 0 0 2 0 0 0 3", "", "no shielding tensors"),
        ("[magres]", "[magres]\nunits ms au", "only ppm"),
    ],
)
def test_magres_files_that_are_refused(old, new, said, tmp_path):
    path = tmp_path / "bad.magres"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(BadInput, match=said):
        read_magres(path)


def test_equivalent_atoms_are_averaged(quartz):
    silicon = site_shieldings(quartz, "Si")
    assert silicon == pytest.approx([quartz.isotropic[quartz.atoms.numbers == 14].mean()])
    assert len(site_shieldings(quartz, "O")) == 1
    with pytest.raises(BadInput, match="contains no C"):
        site_shieldings(quartz, "C")


def of_carbons(values):
    from ase import Atoms

    n = len(values)
    positions = np.random.default_rng(2).random((n, 3)) * 20
    return Shieldings(
        Atoms(["C"] * n, positions=positions, cell=np.diag([20, 21, 22]), pbc=True), np.array(values)[:, None, None] * np.eye(3)
    )


def test_reference_and_assignment_are_recovered(rng):
    shieldings = rng.uniform(0, 170, 12)
    shifts = 172.0 - 0.97 * shieldings + rng.normal(0, 0.3, 12)
    order = rng.permutation(12)
    (found,) = assign([Shift("C", value) for value in shifts[order]], of_carbons(shieldings))
    assert found.reference.slope == pytest.approx(-0.97, abs=0.01)
    assert found.rms < 0.4
    assert found.chi2 == pytest.approx(12 * (found.rms / 2.2) ** 2)
    (given,) = assign([Shift("C", value) for value in shifts], of_carbons(shieldings), {"C": ShiftReference(-1.0, 170.0)}, {"C": 1.0})
    assert given.reference == ShiftReference(-1.0, 170.0)
    assert given.sigma == 1.0


def test_the_slope_is_bounded():
    assert fit_reference(np.array([0.0, 1.0]), np.array([0.0, 5.0])).slope == -0.85
    assert fit_reference(np.array([2.0, 2.0]), np.array([7.0, 9.0])) == ShiftReference(-1.0, 10.0)


def test_every_shift_and_every_site_counts():
    reference = {"C": ShiftReference(-1.0, 170.0)}
    sites = of_carbons([10.0, 20.0, 100.0])
    (fewer,) = assign([Shift("C", 155.0), Shift("C", 70.0)], sites, reference)
    assert len(fewer.measured) == 3
    assert sorted(fewer.predicted) == pytest.approx([70, 150, 160])
    (more,) = assign([Shift("C", v) for v in (160.0, 150.0, 70.0, 40.0)], sites, reference)
    assert len(more.measured) == 4
    assert more.chi2 == pytest.approx((30 / 2.2) ** 2)
    (twice,) = assign([Shift("C", 155.0, 2), Shift("C", 70.0)], sites, reference)
    assert twice.chi2 == pytest.approx(2 * (5 / 2.2) ** 2)


def test_shifts_of_an_element_without_an_error(quartz):
    with pytest.raises(BadInput, match="--nmr-error Si=PPM"):
        assign([Shift("Si", -107.0)], quartz)
    assert assign([Shift("Si", -107.0)], quartz, errors={"Si": 2.0})[0].rms == pytest.approx(0, abs=1e-9)


def test_files_of_shifts(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("# measured\nNucleus, shift, label, multiplicity\n13C, 170.5, CO, 2\nH,-1.5\n")
    assert read_shifts(path) == [Shift("C", 170.5, 2, "CO"), Shift("H", -1.5, None, "")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must name the columns"),
        ("C,170\n", "must name the columns"),
        ("nucleus,shift\n", "has 0 shifts"),
        ("nucleus,shift\nQq,1\n", "not a nucleus"),
        ("nucleus,shift\nC,nan\n", "give a number"),
        ("nucleus,shift\nC\n", "give a number"),
        ("nucleus,shift,multiplicity\nC,1,0\n", "multiplicity"),
        ("nucleus,shift,colour\nC,1,red\n", "must name the columns"),
        ("nucleus,shift\n" + "C,1\n" * 3000, "3000 shifts"),
    ],
)
def test_files_of_shifts_that_are_refused(text, said, tmp_path):
    path = tmp_path / "s.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=said):
        read_shifts(path)


def test_magres_files_are_found_by_structure(quartz, tmp_path, polymorphs):
    (tmp_path / "any.magres").write_text(magres_text(quartz))
    supercell = quartz.atoms.repeat((2, 1, 1))
    (found,) = shieldings_of(str(tmp_path), [supercell])
    assert found.tensors == pytest.approx(quartz.tensors, abs=1e-6)
    with pytest.raises(BadInput, match=r"no \.magres file matches crystal 2"):
        shieldings_of(str(tmp_path), [quartz.atoms, polymorphs["rutile"]])
    (tmp_path / "twin.magres").write_text(magres_text(quartz))
    with pytest.raises(BadInput, match="both match"):
        shieldings_of(str(tmp_path), [quartz.atoms])


def test_shiftml_without_models_or_for_other_elements(tmp_path, quartz, polymorphs):
    with pytest.raises(BadInput, match=r"model_0.pt"):
        shieldings_of(f"shiftml:{tmp_path}", [polymorphs["rutile"]])
    for k in range(8):
        (tmp_path / f"model_{k}.pt").write_bytes(b"")
    with pytest.raises(BadInput, match="not trained on Ti"):
        shieldings_of(f"shiftml:{tmp_path}", [polymorphs["rutile"]])
    try:
        import shiftml  # noqa: F401
    except ImportError:
        from ase.build import bulk

        with pytest.raises(MissingDependency, match="pip install shiftml"):
            shieldings_of(f"shiftml:{tmp_path}", [bulk("C")])
