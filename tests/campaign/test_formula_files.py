"""Files of formulas: what is wrong is named with its file and line."""

import pytest

from nucleate.campaign.members import read_formulas
from nucleate.errors import BadInput


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MgO\nAl4O6 rocks\n", "line 2: formula 'Al4O6 rocks': cannot read"),
        ("MgO\n# a comment\n\nMg-\n", "line 4: "),
        ("MgO\nAl4O6\nO6Al4\n", "line 3: O6Al4 is in line 2 already"),
        ("Mg-Si\nSi-Mg\n", "line 2: Si-Mg is in line 1 already"),
    ],
)
def test_wrong_lines_are_named(tmp_path, text, message):
    path = tmp_path / "formulas.txt"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        read_formulas(path)
    assert str(caught.value).startswith(f"{path}: {message}")
