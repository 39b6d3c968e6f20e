"""Shieldings by CP2K: input, output, kept files, and failures of the program; a slow test runs CP2K itself."""

import shutil
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from nucleate.errors import BadInput, MissingDependency, ReferenceFailed
from nucleate.observables.cp2k_shieldings import cp2k_shieldings, input_text, read_tensors, repeated
from nucleate.observables.shieldings import shieldings_of

OUTPUT = """ Shielding atom at atomic positions. # tensors printed      2
     1C  C          8.503768       8.503768       8.503768
 SIGMA from SOFT J
  XX =    15.5331  XY =     0.0050  XZ =    -0.0089
  YX =     0.0046  YY =    15.5355  YZ =     0.0045
  ZX =     0.0047  ZY =    -0.0098  ZZ =    15.5355
 SIGMA TOTAL
  XX =   188.7310  XY =     0.0087  XZ =    -0.0259
  YX =     0.0227  YY =   188.7276  YZ =     0.0005
  ZX =     0.0164  ZY =    -0.0357  ZZ =   188.7354
  ISOTROPY =     188.7313  ANISOTROPY =       0.0387
     2H  H          9.692405       9.692405       9.692405
 SIGMA TOTAL
  XX =    29.0054  XY =     2.7159  XZ =     2.7171
  YX =     2.7152  YY =    29.0029  YZ =     2.7135
  ZX =     2.7172  ZY =     2.7134  ZZ =    29.0029
  ISOTROPY =      29.0037  ANISOTROPY =       8.1462
"""
METHANE = np.array([[0, 0, 0], [1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]]) * 1.087 / np.sqrt(3)


def test_tensors_of_an_output():
    tensors = read_tensors(OUTPUT)
    assert np.einsum("nii->n", tensors) / 3 == pytest.approx([188.7313, 29.0037], abs=1e-4)
    assert tensors[1, 0, 2] == 2.7171
    for broken, said in (
        (OUTPUT[:700], "of 2 shielding tensors"),
        ("", "unknown number"),
        (OUTPUT.replace("188.7310", "********"), "not numbers"),
        (OUTPUT.replace("188.7310", "NaN"), "not finite"),
    ):
        with pytest.raises(ReferenceFailed, match=said):
            read_tensors(broken)


def test_small_cells_are_repeated_and_keep_their_first_atoms():
    diamond = bulk("C", "diamond", 3.567)
    supercell = repeated(diamond)
    heights = 1 / np.linalg.norm(np.linalg.inv(supercell.cell.array), axis=0)
    assert heights.min() > 7 - 1e-5
    assert supercell.positions[:2] == pytest.approx(diamond.positions)
    assert len(repeated(Atoms("He", cell=np.diag([9, 9, 9]), pbc=True))) == 1


def test_input():
    text = input_text(bulk("NaCl", "rocksalt", 5.64))
    assert text.count("PRECONDITIONER FULL_SINGLE_INVERSE") == 2
    assert text.count("&KIND") == text.count("&END KIND") == 2
    assert [line.split()[0] for line in text.splitlines() if line.startswith("      ") and line.split()[0] in ("A", "B", "C")] == [
        "A",
        "B",
        "C",
    ]
    with pytest.raises(BadInput, match="odd number of electrons"):
        input_text(Atoms("H", cell=np.diag([9, 9, 9]), pbc=True))


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A program named cp2k.psmp that writes a given file of shieldings, or an output of a failure."""
    (tmp_path / "bin").mkdir()

    def install(shifts, output="done", code=0):
        script = tmp_path / "bin" / "cp2k.psmp"
        script.write_text(
            f"#!{sys.executable}\nimport pathlib, sys\npathlib.Path('nmr.out').write_text({output!r})\n"
            f"pathlib.Path('nmr-SHIFT-1.data').write_text({shifts!r})\nsys.exit({code})\n"
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    return install


def test_results_are_kept(fake, tmp_path):
    pair = Atoms("CO", positions=[[1, 1, 1], [2, 1, 1]], cell=np.diag([8, 9, 10]), pbc=True)
    fake(OUTPUT)
    (found,) = shieldings_of(f"cp2k:{tmp_path / 'kept'}", [pair])
    assert found.isotropic == pytest.approx([188.7313, 29.0037], abs=1e-4)
    fake("", "*** [ABORT] *** nothing works", 1)
    (again,) = shieldings_of(f"cp2k:{tmp_path / 'kept'}", [pair])
    assert again.isotropic == pytest.approx(found.isotropic, abs=1e-5)
    with pytest.raises(ReferenceFailed, match="CP2K failed for CO"):
        shieldings_of(f"cp2k:{tmp_path / 'other'}", [pair])


def test_failures(fake):
    pair = Atoms("CO", positions=[[1, 1, 1], [2, 1, 1]], cell=np.diag([8, 9, 10]), pbc=True)
    fake(OUTPUT, "*** SCF run NOT converged ***")
    with pytest.raises(ReferenceFailed, match="SCF run NOT converged"):
        cp2k_shieldings(pair)
    fake(OUTPUT)
    with pytest.raises(ReferenceFailed, match="2 atoms; the cell has 3"):
        cp2k_shieldings(pair + Atoms("He", positions=[[4, 4, 4]]))


def test_without_the_program_or_a_folder(monkeypatch, tmp_path):
    with pytest.raises(BadInput, match="cp2k:FOLDER"):
        shieldings_of("cp2k", [])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependency, match="apt-get install cp2k"):
        shieldings_of(f"cp2k:{tmp_path / 'kept'}", [])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cp2k.psmp") is None, reason="CP2K is not installed")
def test_methane():
    methane = Atoms("CH4", positions=METHANE + 4.5, cell=np.diag([9, 9, 9]), pbc=True)
    isotropic = cp2k_shieldings(methane).isotropic
    assert isotropic[0] == pytest.approx(188.5, abs=1.0)
    assert isotropic[1:] == pytest.approx(np.full(4, 29.2), abs=0.3)
