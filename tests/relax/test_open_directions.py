"""`nucleate relax` on clusters and layers: what is open stays open, crystals without pbc are asked about."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene
from ase.calculators.emt import EMT
from ase.io import read, write

from nucleate import api
from nucleate.errors import BadInput

EMT_SETTINGS = {"reference": {"engine": "ase", "calculator": "ase.calculators.emt:EMT"}}


def relaxed(path, **options):
    return api.relax_file(path, settings=EMT_SETTINGS, workers=0, out=path.with_name("out.extxyz"), **options)


def test_a_molecule_without_a_cell(tmp_path):
    write(tmp_path / "cu4.xyz", Atoms("Cu4", [[0, 0, 0], [2.5, 0, 0], [1.2, 2.2, 0], [1.2, 0.8, 2.1]]), format="xyz")
    (result,) = relaxed(tmp_path / "cu4.xyz").structures
    end = read(tmp_path / "out.extxyz")
    assert result.stop == "converged"
    assert result.space_group == "Td"
    assert result.volume is None
    assert not end.pbc.any()
    own = Atoms(end.numbers, end.positions)
    own.calc = EMT()
    assert np.abs(own.get_forces()).max() < 0.02
    assert own.get_potential_energy() == pytest.approx(end.info["enthalpy_per_atom"] * 4, abs=1e-4)


def test_a_box_is_kept(tmp_path):
    atoms = Atoms("Cu4", [[0, 0, 0], [2.5, 0, 0], [1.2, 2.2, 0], [1.2, 0.8, 2.1]], cell=[14, 15, 16])
    write(tmp_path / "cu4.extxyz", atoms)
    relaxed(tmp_path / "cu4.extxyz")
    assert read(tmp_path / "out.extxyz").cell.lengths() == pytest.approx([14, 15, 16])


def test_layers_relax_in_their_plane(tmp_path):
    sheet = graphene("Cu2", a=4.6, vacuum=9)
    sheet.pbc = (True, True, False)
    height = sheet.cell.lengths()[2]
    write(tmp_path / "sheet.extxyz", sheet)
    relaxed(tmp_path / "sheet.extxyz", max_steps=400)
    end = read(tmp_path / "out.extxyz")
    assert end.pbc.tolist() == [True, True, False]
    assert end.cell.lengths()[2] == pytest.approx(height)
    assert abs(end.cell.lengths()[0] - 4.6) > 0.05


def test_what_is_refused(tmp_path):
    crystal = bulk("Cu", cubic=True)
    crystal.pbc = False
    write(tmp_path / "crystal.extxyz", crystal)
    with pytest.raises(BadInput, match="set pbc to T for a crystal"):
        relaxed(tmp_path / "crystal.extxyz")
    write(tmp_path / "cu4.xyz", Atoms("Cu2", [[0, 0, 0], [2.5, 0, 0]]), format="xyz")
    with pytest.raises(BadInput, match="have no pressure"):
        relaxed(tmp_path / "cu4.xyz", pressure=1.0)


def test_the_result_of_an_earlier_relaxation_is_not_replaced(tmp_path):
    path = tmp_path / "cu.extxyz"
    write(path, bulk("Cu"))
    first = api.relax_file(path, settings=EMT_SETTINGS, workers=0)
    assert first.out == tmp_path / "cu-relaxed.extxyz"
    before = first.out.read_text()
    with pytest.raises(BadInput, match=r"cu-relaxed\.extxyz: exists already; name an output with --out"):
        api.relax_file(path, settings=EMT_SETTINGS, workers=0, fmax=0.5)
    assert first.out.read_text() == before
    assert api.relax_file(path, settings=EMT_SETTINGS, workers=0, out=first.out).calls > 0
