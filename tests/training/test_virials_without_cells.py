"""A virial is divided by the volume of the cell, which a molecule does not have."""

import pytest

from nucleate.errors import BadInput
from nucleate.training.data import read_data


def test_a_virial_needs_a_cell(tmp_path):
    path = tmp_path / "data.extxyz"
    path.write_text('1\nProperties=species:S:1:pos:R:3:forces:R:3 energy=-1.0 virial="1 0 0 0 1 0 0 0 1" pbc="F F F"\nAl 0 0 0 0 0 0\n')
    with pytest.raises(BadInput, match="row 1: the entry 'virial' needs a cell"):
        read_data(path)
