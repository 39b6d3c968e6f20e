"""Options and data that have no effect or no meaning are refused or named."""

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write

from nucleate.errors import BadInput
from nucleate.observables.data_files import read_gr
from nucleate.observables.powder import powder_data
from nucleate.observables.radiation import radiation
from nucleate.observables.shifts import read_shifts
from nucleate.polymorphs.match import MatchOptions, match
from nucleate.report.match import match_lines


@pytest.fixture
def crystals(tmp_path):
    write(tmp_path / "two.extxyz", [bulk("Si"), bulk("Si", "sc", a=2.5)])
    return tmp_path / "two.extxyz"


@pytest.fixture
def pattern(tmp_path):
    """Peaks where silicon has none."""
    x = np.arange(15, 90, 0.02)
    y = 1000 * sum(np.exp(-0.5 * ((x - c) / 0.1) ** 2) for c in (17.0, 21.0, 24.0)) + 5
    np.savetxt(tmp_path / "other.xy", np.column_stack([x, y]))
    return tmp_path / "other.xy"


def test_a_pattern_that_nothing_fits_is_named(crystals, pattern):
    result = match(crystals, MatchOptions(xrd=pattern, wavelength="CuKa"))
    assert any("probably none of these" in line for line in match_lines(result))


def test_a_short_pattern_is_refused():
    x = np.linspace(30, 30.5, 40)
    with pytest.raises(BadInput, match="are supported"):
        powder_data(x, np.exp(-(((x - 30.2) / 0.05) ** 2)), radiation("CuKa"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"zero_shift": 0.7}, "--zero-shift has no effect"),
        ({"strain": 0.08}, "--strain has no effect"),
        ({"nmr_reference": ["Si=1,100"]}, "slope and offset in this order"),
    ],
)
def test_options_of_shifts(options, message, crystals, tmp_path):
    (tmp_path / "s.csv").write_text("nucleus,shift\nSi,10\n")
    with pytest.raises(BadInput, match=message):
        match(crystals, MatchOptions(shifts=tmp_path / "s.csv", shieldings=str(tmp_path), **options))


def test_energies_that_are_not_known_have_no_scale(crystals, pattern):
    with pytest.raises(BadInput, match="--energy-scale has no effect"):
        match(crystals, MatchOptions(xrd=pattern, wavelength="CuKa", energy_scale=10.0))


@pytest.mark.parametrize(("line", "neutron"), [("stype=N", True), ("# mode = neutrons", True), ("mode = xray", False)])
def test_the_header_names_the_radiation(line, neutron, crystals, tmp_path):
    path = tmp_path / "data.gr"
    r = np.arange(0.1, 20, 0.05)
    path.write_text(f"{line}\n" + "\n".join(f"{a:.3f} {b:.5f}" for a, b in zip(r, np.sin(3 * r), strict=True)))
    assert read_gr(path).header["neutron"] == neutron
    with pytest.raises(BadInput, match="its header says"):
        match(crystals, MatchOptions(pdf=path, neutron=not neutron))


def test_more_cells_than_columns_are_refused(tmp_path):
    (tmp_path / "s.csv").write_text("nucleus,shift,label\n13C,5,a,b\n")
    with pytest.raises(BadInput, match="has 4 cells"):
        read_shifts(tmp_path / "s.csv")
