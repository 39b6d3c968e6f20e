"""CIF files whose numbers describe no crystal: angles that close no cell, and fractions without a place in it."""

import pytest

from nucleate.crystals.io import read_structures
from nucleate.errors import BadInput

CIF = """data_x
_cell_length_a 4.2
_cell_length_b 4.2
_cell_length_c 4.2
_cell_angle_alpha 90
_cell_angle_beta {beta}
_cell_angle_gamma {gamma}
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Na1 {x} 0 0
"""


@pytest.mark.parametrize(
    ("values", "word"),
    [({"beta": 1, "gamma": 120}, "not a valid cell"), ({"x": "1e308"}, "fractions"), ({"x": "-9223372036854775809"}, "fractions")],
)
def test_numbers_that_describe_no_crystal(tmp_path, values, word):
    path = tmp_path / "a.cif"
    usual = {"beta": 90, "gamma": 90, "x": "0.5"}
    path.write_text(CIF.format(**usual))
    assert len(read_structures(path)) == 1
    path.write_text(CIF.format(**{**usual, **values}))
    with pytest.raises(BadInput, match=word):
        read_structures(path)
