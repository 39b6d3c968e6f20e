"""`nucleate match` from the command line: results, JSON, the page, and refusals with one line."""

import json
import re

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from typer.testing import CliRunner

from nucleate.cli.app import app
from nucleate.observables.magres import Shieldings, magres_text
from nucleate.observables.pair_distribution import PairSettings, pair_distribution
from nucleate.polymorphs.match import MatchOptions, match

run = CliRunner()


def refusal(*command):
    result = run.invoke(app, ["match", *(str(part) for part in command)])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("error: ").strip()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Structures of copper, a powder pattern and G(r) of the expanded fcc crystal, shieldings and shifts."""
    from nucleate.observables.powder import PowderLines, powder_data
    from nucleate.observables.radiation import radiation
    from nucleate.observables.reflections import reflections
    from nucleate.observables.variable_cell import strained_curve

    folder = tmp_path_factory.mktemp("match")
    structures = [bulk("Cu", "bcc", 2.87), bulk("Cu", "fcc", 3.61), bulk("Cu", "hcp", 2.55)]
    ase.io.write(folder / "cu.extxyz", structures)
    expanded = bulk("Cu", "fcc", 3.66)
    source = radiation("CuKa1")
    x = np.arange(20.0, 110.0, 0.05)
    data = powder_data(x, 1 + x % 3, source)
    lines = PowderLines(reflections(expanded, source, 1.2), source)
    level = data.levels[-1]
    y = level.curve(strained_curve(lines, level, np.zeros((3, 3)), 0.0))
    y = 2000 * y / y.max() + 100
    np.savetxt(folder / "cu.xy", np.column_stack([data.two_theta, np.random.default_rng(1).poisson(y)]))
    r = np.arange(0.1, 18, 0.02)
    g = pair_distribution(expanded, r, PairSettings())
    (folder / "cu.gr").write_text("# qmax = 25\n" + "\n".join(f"{a} {b}" for a, b in zip(r, g, strict=True)))
    (folder / "shieldings").mkdir()
    for k, atoms in enumerate(structures):
        tensors = (100 + 50 * k + 10 * np.arange(len(atoms)))[:, None, None] * np.eye(3)
        (folder / "shieldings" / f"{k}.magres").write_text(magres_text(Shieldings(atoms, tensors)))
    (folder / "shifts.csv").write_text("nucleus,shift\n63Cu,-148\n")
    return folder


def test_powder_pattern_and_pair_distribution(files, tmp_path):
    page = tmp_path / "page.html"
    command = ["match", files / "cu.extxyz", "--xrd", files / "cu.xy", "--wavelength", "CuKa1", "--pdf", files / "cu.gr", "--out", page]
    result = run.invoke(app, [str(part) for part in [*command, "--json"]])
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    best = data["structures"][0]
    assert [best["number"], best["space_group"]] == [2, "Fm-3m"]
    assert sum(structure["probability"] for structure in data["structures"]) == pytest.approx(1.0)
    assert best["probability"] > 0.9
    expected = 100 * (3.66 / 3.61 - 1)
    assert best["powder"]["strain_percent"] == pytest.approx([expected] * 3, abs=0.05)
    assert best["pair_distribution"]["strain_percent"] == pytest.approx([expected] * 3, abs=0.1)
    assert best["powder"]["similarity_variable_cell"] > 0.99 > best["powder"]["similarity"]
    assert data["energies_used"] is False
    text = page.read_text()
    assert text.count("<svg") == 6
    assert "2θ (degrees)" in text
    assert not re.search(r"(src|href)=.?https?:", text)
    shown = run.invoke(app, [str(part) for part in command])
    assert shown.exit_code == 0
    assert "Fm-3m" in shown.stdout.splitlines()[1]
    assert str(page) in shown.stdout.replace("\n", "")


def test_chemical_shifts(files, tmp_path):
    command = [files / "cu.extxyz", "--shifts", files / "shifts.csv", "--shieldings", files / "shieldings", "--nmr-error", "Cu=5"]
    command += ["--nmr-reference", "Cu=-1.0,2.0", "--out", tmp_path / "p.html", "--json"]
    result = run.invoke(app, ["match", *(str(part) for part in command)])
    assert result.exit_code == 0, result.output
    best = json.loads(result.stdout)["structures"][0]
    assert best["number"] == 2
    assert best["shifts"][0]["rms"] == pytest.approx(0.0, abs=1e-6)


def test_energies_of_a_file_are_the_prior(files, tmp_path):
    structures = ase.io.read(files / "cu.extxyz", ":")
    for atoms, energy in zip(structures, (0.0, 0.3, 0.0), strict=True):
        atoms.info["energy"] = energy * len(atoms)
    ase.io.write(tmp_path / "e.extxyz", structures)
    command = [tmp_path / "e.extxyz", "--pdf", files / "cu.gr", "--json"]
    data = json.loads(run.invoke(app, ["match", *(str(part) for part in command)]).stdout)
    assert data["energies_used"]
    fcc = next(structure for structure in data["structures"] if structure["number"] == 2)
    assert fcc["above_best"] == pytest.approx(300.0)
    assert (tmp_path / "e-match.html").is_file()


def test_a_comparison_reports_its_progress(files):
    events = []
    match(files / "cu.extxyz", MatchOptions(xrd=files / "cu.xy", wavelength="CuKa1", pdf=files / "cu.gr"), events.append)
    for phase in ("powder pattern", "G(r)"):
        done = [event.done for event in events if event.phase == phase]
        assert done == sorted(done)
        assert (done[0], done[-1]) == (0, 300)
        assert len(set(done)) > 30


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "give --xrd, --pdf or --shifts"),
        (["--xrd", "cu.xy"], "--wavelength"),
        (["--xrd", "cu.xy", "--wavelength", "CuKx"], "CuKa1"),
        (["--xrd", "cu.xy", "--wavelength", "-1.54"], "between"),
        (["--xrd", "cu.xy", "--wavelength", "CuKa", "--neutron"], "X-ray line"),
        (["--pdf", "cu.gr", "--wavelength", "CuKa"], "no effect without --xrd"),
        (["--pdf", "cu.gr", "--deuterated"], "no effect without --neutron"),
        (["--pdf", "cu.gr", "--strain", "0.5"], "--strain"),
        (["--pdf", "cu.gr", "--strain", "nan"], "--strain"),
        (["--pdf", "cu.gr", "--energy-scale", "0"], "--energy-scale"),
        (["--pdf", "cu.gr", "--top", "0"], "--top"),
        (["--pdf", "cu.gr", "--shieldings", "x"], "no effect without --shifts"),
        (["--pdf", "cu.gr", "--nmr-error", "C=2"], "no effect without --shifts"),
        (["--pdf", "cu.xy"], ".gr file"),
        (["--pdf", "nothing.gr"], "no such file"),
        (["--xrd", "cu.gr", "--wavelength", "1.54"], "not a known kind"),
        (["--shifts", "shifts.csv"], "--shieldings"),
        (["--shifts", "shifts.csv", "--shieldings", "cu.xy"], "give a .magres file"),
        (["--shifts", "shifts.csv", "--shieldings", "."], "contains no .magres files"),
        (["--shifts", "shifts.csv", "--shieldings", "shieldings"], "--nmr-error Cu=PPM"),
        (["--shifts", "shifts.csv", "--shieldings", "shieldings", "--nmr-error", "Cu=-1"], "positive"),
        (["--shifts", "shifts.csv", "--shieldings", "shieldings", "--nmr-error", "Cu"], "such as C=2.2"),
        (["--shifts", "shifts.csv", "--shieldings", "shieldings", "--nmr-error", "C=1"], "C has no shift"),
        (["--shifts", "shifts.csv", "--shieldings", "shieldings", "--nmr-reference", "Cu=1"], "slope and offset"),
        (["--shifts", "shifts.csv", "--shieldings", "shiftml:nowhere"], "model_0.pt"),
        (["--pdf", "cu.gr", "--out", "page.pdf"], ".html"),
        (["--pdf", "cu.gr", "--out", "nowhere/page.html"], "folder does not exist"),
    ],
)
def test_options_that_are_refused(files, options, said, monkeypatch):
    monkeypatch.chdir(files)
    assert said in refusal("cu.extxyz", *options)


def test_structures_that_are_no_crystals(files, tmp_path):
    ase.io.write(tmp_path / "m.xyz", Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.74]]))
    assert "three directions" in refusal(tmp_path / "m.xyz", "--pdf", files / "cu.gr")
    assert "no such file" in refusal(tmp_path / "none.cif", "--pdf", files / "cu.gr")
    assert "is not a run folder" in refusal(tmp_path, "--pdf", files / "cu.gr")
    ase.io.write(tmp_path / "po.cif", bulk("Po", "sc", 3.35))
    assert "Po: no neutron scattering length" in refusal(tmp_path / "po.cif", "--pdf", files / "cu.gr", "--neutron")
