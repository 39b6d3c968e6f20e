"""Tables of other people: columns named, conventions told, distances learned from."""

import numpy as np
import pytest
from typer.testing import CliRunner

from nucleate.cli.app import app
from nucleate.errors import BadInput
from nucleate.spins.files.foreign import read_foreign
from nucleate.spins.models.data import Pairs, read_pairs, write_pairs
from nucleate.spins.models.training import PairTraining, fit_pairs, load_pairs_model, train_pairs

COLUMNS = {"element_a": "imp1", "element_b": "Z2", "J": "Jij", "distance": "R"}


def test_conventions_are_converted(tmp_path):
    path = tmp_path / "their.csv"
    path.write_text("# a comment\nimp1;Z2;other;Jij;R\nCr;26;x;-0.5;4.2\nMn;25.0;y;0.25;5.0\nV;24;z;nan;5.0\n")
    found, left = read_foreign(path, COLUMNS, "mRy", "twice", "plus")
    assert left == 1
    assert found.elements == (("Cr", "Fe"), ("Mn", "Mn"))
    # H = + sum over both orders of J e.e: a pair once, with a minus, is -2 J.
    assert found.couplings == pytest.approx([13.605693123, -6.8028465615])
    assert found.distances == pytest.approx([4.2, 5.0])
    # A byte-order mark, a comma inside a name, a comment that is indented.
    path.write_text("\ufeff  # theirs\nimp1;Z2;Jij;J, other;R\nCr;26;1;2;4\n", encoding="utf-8")
    assert read_foreign(path, COLUMNS, "meV", "once", "minus")[0].couplings == pytest.approx([1.0])
    spaced = tmp_path / "spaced.txt"
    spaced.write_text("a b J\nCr Fe 1\n")
    plain, _ = read_foreign(spaced, {"element_a": "a", "element_b": "b", "J": "J"}, "meV", "once", "minus")
    assert plain.kind == "elements alone"
    assert plain.couplings == pytest.approx([1.0])


@pytest.mark.parametrize(
    ("text", "changed", "told"),
    [
        ("imp1,Z2,Jij,R\nCr,26,1,4", {"J": "K"}, "column K is missing"),
        ("imp1,Z2,Jij,R\nCr,26,1", {}, "row 1 has 3 entries for 4 columns"),
        ("imp1,Z2,Jij,R\nXx,26,1,4", {}, "row 1: Xx is not an element"),
        ("imp1,Z2,Jij,R\nCr,inf,1,4", {}, "row 1: inf is not an element"),
        ("imp1,Z2,Jij,R\nCr,26.7,1,4", {}, r"row 1: 26\.7 is not an element"),
        ("imp1,Z2,Jij,R\nCr,26,1,4", {"element_b": "imp1"}, "assigned twice"),
        ("imp1,Z2,Jij,R\nCr,26,many,4", {}, "row 1: many is not a valid coupling"),
        ("imp1,Z2,Jij,R\nCr,26,inf,4", {}, "row 1: inf is not a valid coupling"),
        ("imp1,Z2,Jij,R\nCr,26,1,-4", {}, "row 1: distance -4: give a length"),
        ("imp1,Z2,Jij,R\nCr,26,,4", {}, "no row contains a coupling"),
        ("imp1,Z2,Jij,R\n", {}, "no rows"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, changed, told):
    path = tmp_path / "their.csv"
    path.write_text(text + "\n")
    with pytest.raises(BadInput, match=told):
        read_foreign(path, {**COLUMNS, **changed}, "meV", "once", "minus")


def test_conventions_are_never_guessed(tmp_path):
    path = tmp_path / "their.csv"
    path.write_text("imp1,Z2,Jij,R\nCr,26,1,4\n")
    for unit, pairs, sign in (("Ry", "once", "minus"), ("meV", "half", "minus"), ("meV", "once", "?")):
        with pytest.raises(BadInput, match="unknown value"):
            read_foreign(path, COLUMNS, unit, pairs, sign)
    with pytest.raises(BadInput, match="J missing"):
        read_foreign(path, {"element_a": "imp1", "element_b": "Z2"}, "meV", "once", "minus")


def test_lengths_are_learned_from(tmp_path):
    """Couplings that depend on nothing but the distance: a kernel that sees it is right, one that does not cannot be."""
    rng = np.random.default_rng(0)
    apart = rng.uniform(3, 6, 60)
    metals = ["V", "Cr", "Mn", "Fe", "Co", "Ni"]
    elements = [(metals[a], metals[b]) for a, b in rng.integers(0, 6, (60, 2))]
    pairs = Pairs.of_elements(elements, 20 * np.cos(2 * apart), apart)
    write_pairs(tmp_path / "pairs.csv", pairs)
    again = read_pairs(tmp_path / "pairs.csv")
    assert again.kind == "elements and distances"
    assert again.distances == pytest.approx(apart)
    train, test = np.arange(45), np.arange(45, 60)
    settings = PairTraining(restarts=1)
    train_pairs(again.take(train), tmp_path / "model", settings)
    model = load_pairs_model(tmp_path / "model")
    assert np.abs(model.predict(again.take(test)).couplings - again.couplings[test]).mean() < 1.0
    blind = Pairs.of_elements(elements, pairs.couplings)
    found = fit_pairs(blind.take(train), settings).predict(blind.take(test)).couplings
    assert np.abs(found - blind.couplings[test]).mean() > 5.0
    with pytest.raises(BadInput, match="trained on elements and distances"):
        model.predict(blind)
    with pytest.raises(BadInput, match="different kinds"):
        Pairs.joined([pairs, blind])


def test_the_verb_takes_a_table_over(tmp_path):
    path, out = tmp_path / "their.csv", tmp_path / "ours.csv"
    path.write_text("imp1,Z2,Jij,R\nCr,26,0.5,4\nMn,24,,4\n")
    words = ["spins", "import", str(path), "--out", str(out), "--unit", "meV", "--pairs", "twice", "--sign", "minus"]
    named = [w for name, value in COLUMNS.items() for w in ("--column", f"{name}={value}")]
    ended = CliRunner().invoke(app, [*words, *named])
    assert ended.exit_code == 0, ended.output
    assert "1 rows without a coupling were skipped" in ended.output
    assert read_pairs(out).couplings == pytest.approx([1.0])
    refused = CliRunner().invoke(app, [*words, *named])
    assert refused.exit_code == 2
    assert "exists already" in " ".join(refused.output.split())
