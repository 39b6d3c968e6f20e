"""The command line: the tutorial as written, and one line and an exit code for what a user can get wrong."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import read
from ase.io.cube import read_cube_data
from typer.testing import CliRunner

from nucleate.cli.app import app
from nucleate.electrons.model.model import ElectronModel

ROOT = Path(__file__).parents[2]


def run(*words: str) -> object:
    return CliRunner().invoke(app, ["electrons", *words])


@pytest.fixture
def model(al_model: ElectronModel, tmp_path: Path) -> str:
    al_model.save(tmp_path / "model.safetensors")
    return str(tmp_path / "model.safetensors")


@pytest.fixture
def crystal(tmp_path: Path) -> str:
    atoms = bulk("Al", cubic=True, a=4.1)
    atoms.rattle(0.1, seed=0)
    path = tmp_path / "al.cif"
    atoms.write(path)
    return str(path)


def test_a_prediction_as_text_data_figure_and_cube(model: str, crystal: str, tmp_path: Path) -> None:
    cube, figure = tmp_path / "d.cube", tmp_path / "dos.png"
    result = run("predict", model, crystal, "--forces", "--cube", str(cube), "--plot", str(figure))
    assert result.exit_code == 0, result.output
    for word in ("Fermi level", "band energy", "- T S", "free energy", "largest force"):
        assert word in result.output
    density, atoms = read_cube_data(cube)
    # Cube files are in atomic units.
    from ase.units import Bohr

    assert density.sum() / Bohr**3 * atoms.get_volume() / density.size == pytest.approx(12, rel=1e-4)
    assert figure.read_bytes().startswith(b"\x89PNG")
    said = json.loads(run("predict", model, crystal, "--json", "--temperature", "1500").output)
    assert said["temperature"] == 1500
    assert said["electrons"] == pytest.approx(12)
    assert len(said["dos"]["energies"]) == len(said["dos"]["values"])
    terms = said["terms"]
    total = terms["band"] - terms["hartree"] - terms["xc_potential"] + terms["xc"] + terms["ewald"] + terms["core"]
    assert terms["free"] == pytest.approx(total + terms["constant"] - terms["entropy"])


def test_wrong_input_is_one_line_and_exit_code_two(model: str, crystal: str, al_data: Path, tmp_path: Path) -> None:
    magnesium = tmp_path / "mg.cif"
    bulk("Mg").write(magnesium)
    wrong, cut, odd = (tmp_path / f"{name}.toml" for name in ("wrong", "cut", "odd"))
    wrong.write_text("dynamics = 3\n")
    cut.write_text("descriptor = { cutoff = -4 }\n")
    odd.write_text("descriptor = { cuttoff = 4 }\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    for words, says in (
        (["predict", model, crystal, "--temperature", "0"], "positive number of kelvin"),
        (["predict", model, crystal, "--spacing", "0.9"], "too coarse"),
        (["predict", model, str(magnesium)], "Mg: not in the training data"),
        (["predict", str(tmp_path / "none"), crystal], "no such model"),
        (["predict", crystal, crystal], "complete"),
        (["predict", model, str(tmp_path / "none.cif")], "no such file"),
        (["predict", model, crystal, "--plot", str(tmp_path / "d.xyzzy")], "matplotlib"),
        (["train", str(empty), "--out", str(tmp_path / "m")], "no finished snapshots"),
        (["sample", "--material", "Xx", "--out", str(tmp_path / "s")], "neither an element"),
        (["sample", "--material", "Be", "--out", str(tmp_path / "s")], "emt does not support Be"),
        (["sample", "--material", "Al", "--electronic-temperature", "-1", "--out", str(tmp_path / "s")], "electronic_temperature"),
        (["sample", "--material", "Al", "--phase", "gas", "--out", str(tmp_path / "s")], "phase"),
        (["sample", "--material", "Al", "--atoms", "1", "--out", str(tmp_path / "s")], "more than one atom"),
        (["sample", "--material", "Al", "--low", "5", "--high", "-5", "--out", str(tmp_path / "s")], "at least ten spacings above"),
        (
            ["sample", "--material", "Al", "--temperature", "300", "--electronic-temperature", "0", "--out", str(tmp_path / "s")],
            "electronic_t",
        ),
        (["sample", "--settings", str(wrong), "--out", str(tmp_path / "s")], "must be tables"),
        (["train", str(al_data), "--settings", str(cut), "--out", str(tmp_path / "m")], "cutoff -4"),
        (["train", str(al_data), "--settings", str(odd), "--out", str(tmp_path / "m")], "the options are cutoff"),
        (["train", str(al_data), "--out", crystal], "cannot be created"),
        (["predict", model, crystal, "--cube", str(tmp_path / "no/d.cube")], "folder does not exist"),
        (["predict", model, crystal, "--scratch", crystal], "cannot be used"),
        (["start", model, crystal], "complete"),
        (["import", crystal, crystal, "--out", str(tmp_path / "i"), "--low", "0", "--spacing", "1", "--charge", "Al"], "for example Be=2"),
        (["import", crystal, crystal, "--out", str(tmp_path / "i"), "--low", "0", "--spacing", "1", "--charge", "Al=3"], "NumPy array"),
        (["sample", "--out", str(tmp_path / "i"), "--material", "Al", "--magnetic-moment", "Al"], "for example Fe=2.3"),
        (["sample", "--out", str(tmp_path / "i"), "--material", "Al", *2 * ["--magnetic-moment", "Al=1"]], "given twice"),
        (["predict", model, crystal, "--spin-cube", str(tmp_path / "s.cube")], "spin-paired"),
    ):
        result = run(*words)
        assert result.exit_code == 2, (words, result.output, result.exception)
        assert says in result.output, words
        assert "Traceback" not in result.output


def test_evaluate_says_the_errors_and_refuses_other_electrons(model: str, al_data: Path, tmp_path: Path) -> None:
    rows = json.loads(run("evaluate", model, str(al_data), "--json").output)["snapshots"]
    assert len(rows) == 3
    assert all(row["density"] < 5 for row in rows)
    copy = tmp_path / "other"
    shutil.copytree(al_data, copy)
    for path in copy.glob("snapshots/*/zarr.json"):
        path.write_text(path.read_text(encoding="utf-8").replace('"pseudopotential": "hgh"', '"pseudopotential": "sc"'), encoding="utf-8")
    result = run("evaluate", model, str(copy))
    assert result.exit_code == 2
    assert "pseudopotential is sc instead of hgh" in result.output


@pytest.mark.slow
def test_the_tutorial_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "tutorial-electrons.md").read_text(encoding="utf-8")
    for kind, block in re.findall(r"```(bash|python)\n(.*?)```", page, re.DOTALL):
        if kind == "python":
            exec(compile(block, "docs/tutorial-electrons.md", "exec"), {})
            continue
        for line in block.strip().splitlines():
            result = CliRunner().invoke(app, shlex.split(line)[1:])
            assert result.exit_code == 0, (line, result.output, result.exception)
            print(line, result.output)
    assert Path("dos.png").is_file()
    assert len(read("al16.xyz")) == 16
    errors = json.loads(run("evaluate", "model", "al", "--json").output)["snapshots"]
    assert np.mean([row["density"] for row in errors]) < 2
