"""Files of measured curves: what is read, and what is refused with one line."""

import numpy as np
import pytest

from nucleate.errors import BadInput, InputNote
from nucleate.observables.data_files import read_gr, read_pattern

ROWS = [(10 + 0.1 * k, 5.0 + k % 7) for k in range(60)]


def table(separator=" ", rows=ROWS):
    return "\n".join(separator.join(f"{x:.4f}" for x in row) for row in rows) + "\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.xy", table()),
        ("a.csv", "2theta,counts\n" + table(",")),
        ("a.csv", "2theta;counts\n" + table(";")),
        ("a.txt", "# measured\n! on Monday\n\n" + table("\t")),
        ("a.dat", table(" , ")),
        ("a.xy", "\ufeff" + table().replace("\n", "\r\n")),
    ],
)
def test_patterns(name, text, tmp_path):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", newline="")
    curve = read_pattern(path)
    assert np.column_stack([curve.x, curve.y]) == pytest.approx(np.array(ROWS))


def test_errors_are_not_used_and_this_is_said(tmp_path):
    path = tmp_path / "a.xye"
    path.write_text(table(rows=[(*row, 1.0) for row in ROWS]))
    with pytest.warns(InputNote, match="first two of 3 columns"):
        assert len(read_pattern(path).x) == 60


def test_headers_of_gr_files(tmp_path):
    path = tmp_path / "a.gr"
    head = "[DEFAULT]\nversion = pdfgetx3-2.0\nqmax = 24.5\nmode = xray\n#### start data\n#S 1\n#L r($\\AA$)  G($\\AA^{-2}$)\n"
    path.write_text(head + table())
    curve = read_gr(path)
    assert curve.header == {"qmax": 24.5, "neutron": 0.0}
    assert len(curve.x) == 60
    path.write_text("# qmax=30 \n# Qdamp = 0.04\n" + table())
    assert read_gr(path).header == {"qmax": 30.0, "qdamp": 0.04}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "0 points"),
        (bytes(range(256)) * 20, "not UTF-8"),
        (b"\x00" * 5000, "points|not numbers"),
        (table(rows=ROWS[:3]).encode(), "3 points"),
        (table(rows=[*ROWS, (12.0, 1.0)]).encode(), "must increase"),
        (table(rows=[*ROWS, ROWS[-1]]).encode(), "must increase"),
        (table().replace("12.0000", "nan").encode(), "finite"),
        (table().replace("12.0000 11", "12.0000 inf").replace(" 11.0000", " 1e40").encode(), "finite|columns"),
        (table(rows=[(x, 3.0) for x, _ in ROWS]).encode(), "all intensities"),
        (table(rows=[(x - 20, y) for x, y in ROWS]).encode(), "between 0 and 180"),
        (table(rows=[(30 * x, y) for x, y in ROWS]).encode(), "between 0 and 180"),
        (table(rows=[(*row, 1.0, 2.0, 3.0) for row in ROWS]).encode(), "5 columns"),
        (table(rows=[(x,) for x, _ in ROWS]).encode(), "1 columns"),
        (table().replace("12.1000", "12.1000 7").encode(), "columns"),
        ((table() + "the end\n").encode(), "not numbers"),
        (b"10,5;3,2\n" * 50, "columns"),
    ],
)
def test_patterns_that_are_refused(content, said, tmp_path):
    path = tmp_path / "bad.xy"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=said) as refusal:
        read_pattern(path)
    assert "\n" not in str(refusal.value)
    assert "bad.xy" in str(refusal.value)
    assert len(str(refusal.value)) < 400


def test_other_kinds_of_files(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        read_pattern(tmp_path / "none.xy")
    with pytest.raises(BadInput, match="not a known kind"):
        read_pattern(tmp_path / "none.raw")
    with pytest.raises(BadInput, match=r"\.gr file"):
        read_gr(tmp_path / "none.xy")
    path = tmp_path / "a.gr"
    path.write_text("# qmax = many\n" + table())
    with pytest.raises(BadInput, match="qmax"):
        read_gr(path)
    path.write_text(table(rows=[(x - 11, y) for x, y in ROWS]))
    with pytest.raises(BadInput, match="must not be negative"):
        read_gr(path)
