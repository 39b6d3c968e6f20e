"""The verbs `nucleate onedim invert` and `propagate`: files, JSON and errors of one line."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from nucleate.cli.app import app


def run(*words):
    return CliRunner().invoke(app, ["onedim", *map(str, words)])


def test_invert_writes_table_figure_and_json(tmp_path):
    ended = run("invert", "--atoms", "1@-1 1@+1", "--points", 161, "--out", tmp_path / "h2.csv", "--plot", tmp_path / "h2.svg")
    assert ended.exit_code == 0
    assert "ionisation energy" in ended.output
    lines = (tmp_path / "h2.csv").read_text().splitlines()
    assert lines[0] == "x,n,v_ext,v_H,v_xc,v_s"
    table = np.array([[float(word) for word in line.split(",")] for line in lines[1:]])
    assert np.allclose(table[:, 2] + table[:, 3] + table[:, 4], table[:, 5], atol=1e-9)
    assert (tmp_path / "h2.svg").stat().st_size > 1000
    data = json.loads(run("invert", "--atoms", "1@-1 1@+1", "--points", 161, "--json").stdout)
    assert data["schema"] == 1
    assert data["error"] < 1e-8
    assert len(data["v_xc"]) == 161


def test_invert_reads_its_own_density(tmp_path):
    """The density of the table and its ionisation energy give the same potential."""
    first = json.loads(run("invert", "--atoms", "2@0", "--points", 161, "--json").stdout)
    rows = zip(first["x"], first["v_ext"], first["n"], strict=True)
    (tmp_path / "he.csv").write_text("x,v,n\n" + "".join(f"{x!r},{v!r},{n!r}\n" for x, v, n in rows))
    again = run("invert", tmp_path / "he.csv", "--ionisation", first["ionisation"], "--json")
    visible = np.array(first["n"]) > 1e-6
    assert np.abs(np.array(json.loads(again.stdout)["v_xc"]) - first["v_xc"])[visible].max() < 1e-6


def test_propagate_writes_table_figure_and_json(tmp_path):
    command = ["propagate", "--atoms", "2@0", "--points", 61, "--half-length", 10, "--time", 4, "--time-step", 0.1]
    ended = run(*command, "--theory", "kohn-sham", "--out", tmp_path / "he.csv", "--plot", tmp_path / "he.png")
    assert ended.exit_code == 0
    assert (tmp_path / "he.csv").read_text().splitlines()[0] == "time,field,dipole,norm,energy"
    assert (tmp_path / "he.png").stat().st_size > 1000
    data = json.loads(run(*command, "--json").stdout)
    assert data["theory"] == "exact"
    assert np.allclose(data["norm"], 2)


GOOD = "".join(f"{x:.2f} {-2 / np.sqrt(x * x + 1):.12f}\n" for x in np.linspace(-15, 15, 101))
DENSITY = "".join(f"{x:.2f} {-2 / np.sqrt(x * x + 1):.12f} {np.exp(-x * x) / np.pi**0.5:.12f}\n" for x in np.linspace(-15, 15, 101))


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (None, [], "give either a file"),
        (GOOD, ["--atoms", "2@0"], "give either a file"),
        (None, ["--atoms", "2@0 x"], "CHARGE@POSITION"),
        (None, ["--atoms", "1e999@0"], "finite"),
        (None, ["--atoms", "0.5@0"], "binds 1 of 2 electrons: the ionisation energy"),
        (None, ["--atoms", "2@0", "--electrons", "3"], "density"),
        (None, ["--atoms", "2@0", "--electrons", "0"], "give 1 to"),
        (None, ["--atoms", "2@0", "--points", "5000"], "points"),
        (None, ["--atoms", "2@0", "--half-length", "nan"], "positive lengths"),
        (None, ["--atoms", "2@30", "--half-length", "10"], "outside the grid"),
        (None, ["--atoms", "2@0", "--ionisation", "0.5"], "leave it out"),
        (GOOD, ["--points", "100"], "gives the grid"),
        (GOOD, ["--softening", "-1"], "softening"),
        ("1 2\n", [], "at least 16"),
        (GOOD.replace("-12.00 ", "-12.10 "), [], "equal steps"),
        (GOOD.replace("-12.00 ", "nan "), [], "finite numbers"),
        (GOOD.replace("-12.00 ", "twelve "), [], "give the numbers"),
        (GOOD + "15.3 1 2\n", [], "the same on every line"),
        (DENSITY, ["--electrons", "1"], "ionisation energy"),
        (DENSITY, ["--electrons", "1", "--ionisation", "-0.1"], "does not bind"),
        (DENSITY, ["--electrons", "3", "--ionisation", "0.5"], "integral of the density is 1.0"),
        (GOOD, ["--out", "table.txt"], "csv"),
        (GOOD, ["--plot", "figure.xyz"], "format"),
        (GOOD, ["--out", "nowhere/table.csv"], "folder"),
    ],
)
def test_bad_input_ends_with_one_line(tmp_path, text, options, message):
    words = ["invert", *options]
    if text is not None:
        (tmp_path / "well.txt").write_text(text)
        words.insert(1, tmp_path / "well.txt")
    ended = run(*words)
    assert ended.exit_code == 2
    lines = ended.output.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
