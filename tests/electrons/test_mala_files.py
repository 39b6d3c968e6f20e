"""Snapshots of the MALA project: files that are not what they say, and electrons that are counted."""

import json

import numpy as np
import pytest
from ase import Atoms
from typer.testing import CliRunner

from nucleate.cli.app import app
from nucleate.electrons.data.mala_files import UNITS, read_mala
from nucleate.errors import BadInput

SHAPE = (4, 4, 6)
LOW, SPACING, FERMI = -8.0, 0.5, 1.0


@pytest.fixture
def snapshot(tmp_path):
    """An electron gas with the four electrons of two beryllium atoms: levels rise as a square root from -6 eV."""
    atoms = Atoms("Be2", [[0, 0, 0], [1.1, 1.3, 1.8]], cell=[2.2, 2.2, 3.4], pbc=True)
    atoms.write(tmp_path / "be.extxyz")
    energies = LOW + SPACING * np.arange(30)
    states = np.sqrt(np.clip(energies + 6, 0, None))
    states *= 4 / (2 / 3 * (FERMI + 6) ** 1.5)
    (tmp_path / "be.info.json").write_text(json.dumps({"fermi_energy_dft": FERMI, "temperature": 300, "other": [[1]]}))
    np.save(tmp_path / "be.npy", np.broadcast_to(states / atoms.get_volume(), (*SHAPE, 30)))
    return tmp_path


def read(folder, **options):
    given = {"low": LOW, "spacing": SPACING, "charges": {"Be": 2.0}} | options
    return read_mala(folder / "be.npy", folder / "be.extxyz", **given)


@pytest.mark.parametrize("units", UNITS)
def test_units_are_found_by_counting_electrons(snapshot, units):
    values = np.load(snapshot / "be.npy")
    np.save(snapshot / "be.npy", values / UNITS[units])
    found = read(snapshot, units=units)
    assert np.allclose(found.ldos, values, rtol=1e-5)
    for wrong in set(UNITS) - {units}:
        with pytest.raises(BadInput) as refused:
            read(snapshot, units=wrong)
        text = str(refused.value)
        number = 4 * UNITS[wrong] / UNITS[units]
        assert f"{number:.2f}"[:3] in text
        assert f"in {units} they would contain" in text


def test_levels_below_the_window_may_be_missing(snapshot):
    np.save(snapshot / "be.npy", np.load(snapshot / "be.npy")[..., 7:])
    assert len(read(snapshot, low=LOW + 7 * SPACING).energies) == 23
    np.save(snapshot / "be.npy", np.load(snapshot / "be.npy")[..., 5:])
    with pytest.raises(BadInput, match="electrons"):
        read(snapshot, low=LOW + 12 * SPACING)


def test_without_a_fermi_level_the_units_are_not_checked_which_is_said(snapshot):
    (snapshot / "be.info.json").unlink()
    window = ["--low", str(LOW), "--spacing", str(SPACING), "--charge", "Be=2", "--temperature", "300"]
    words = ["electrons", "import", str(snapshot / "be.npy"), str(snapshot / "be.extxyz"), "--out", str(snapshot / "data"), *window]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "note" in result.stderr
    assert "units" in result.stderr
    with pytest.raises(BadInput, match="electrons"):
        read(snapshot, temperature=300.0, spacing=SPACING / 10)


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ([], "info.json"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": -3}, "temperature"),
        ({"temperature": 300, "fermi_energy_dft": float("nan")}, "fermi"),
        ({"temperature": 300, "fermi_energy_dft": 100}, "Fermi level"),
        ({"temperature": 300, "number_of_electrons_exact": 8}, "valence electrons"),
        ({"temperature": 300, "grid_dimensions": [4, 6, 4]}, "grid"),
        ({"temperature": 300, "grid_dimensions": 7}, "grid_dimensions"),
        ({"temperature": 300, "deep": json.loads("[" * 900 + "]" * 900)}, "nested"),
    ],
)
def test_information_beside_a_structure_is_checked(snapshot, said, word):
    (snapshot / "be.info.json").write_text(json.dumps(said))
    with pytest.raises(BadInput, match=word) as refused:
        read(snapshot)
    assert len(str(refused.value).replace(str(snapshot), "")) < 200


def header(shape, kind="<f8"):
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (118 - len(text) - 1) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "not a NumPy array"),
        (b"PK\x03\x04" + bytes(100), "zip"),
        (b"\x89HDF\r\n" + bytes(100), "HDF5"),
        (header((10**5, 10**5, 10**5, 8)) + bytes(1000), "more numbers"),
        (header((10**30, 4, 4, 4)) + bytes(1000), "NumPy array"),
        (header((4, 4, 4, 4), "|O") + bytes(1000), "NumPy array"),
        (header((2, 2, 2, 2), "<c8") + bytes(1000), "complex"),
        (header((2, 2, 2, 2), "<i8") + bytes(1000), "int64"),
        (header((2, 8), "<f8") + bytes(1000), "shape"),
        (b"\x93NUMPY\x01\x00\xff\x7f" + b"-" * 0x7FFF, "NumPy array"),
        (header((2, 2, 2, 2)) + np.full(16, np.nan).tobytes(), "finite"),
        (header((2, 2, 2, 2)) + np.arange(-8.0, 8.0).tobytes(), "negative"),
    ],
)
def test_arrays_that_are_none(snapshot, content, word):
    (snapshot / "be.npy").write_bytes(content)
    with pytest.raises(BadInput, match=word) as refused:
        read(snapshot)
    assert len(str(refused.value).replace(str(snapshot), "")) < 200


@pytest.mark.parametrize("order", [(3, 0, 1, 2), (2, 0, 1, 3), (0, 2, 1, 3)])
def test_axes_in_another_order(snapshot, order):
    np.save(snapshot / "be.npy", np.load(snapshot / "be.npy").transpose(order))
    with pytest.raises(BadInput, match="axes"):
        read(snapshot)
