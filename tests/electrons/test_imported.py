"""Snapshots of the MALA project: taken over, trained on, and honest about what their files do not say."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nucleate.cli.app import app

MALA = Path(__file__).parents[2].parent / "shared/data/mala_be2"


@pytest.mark.skipif(not MALA.exists(), reason="the MALA project's test data are not here")
def test_a_model_of_imported_snapshots_gives_levels_and_density_but_no_free_energy(tmp_path: Path) -> None:
    def run(*words: str) -> object:
        return CliRunner().invoke(app, ["electrons", *words])

    data = tmp_path / "be"
    for k in range(3):
        result = run(
            "import", str(MALA / f"Be_snapshot{k}.out.npy"), str(MALA / f"Be_snapshot{k}.out"), "--out", str(data), "--low", "-5",
            "--spacing", "2.5", "--charge", "Be=2",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
    settings = tmp_path / "t.toml"
    settings.write_text(
        "hidden = [32]\nsteps = 400\npoints = 2000\nvalidation = 0.34\ndescriptor = { radial = 4, degree = 3, cutoff = 4.5 }\n"
    )
    out = tmp_path / "model"
    result = run("train", str(data), "--out", str(out), "--settings", str(settings))
    assert result.exit_code == 0, result.output
    said = json.loads(run("predict", str(out), str(MALA / "Be_snapshot2.out"), "--json").output)
    assert said["electrons"] == pytest.approx(4)
    # The window of energies cuts the lowest levels: the Fermi level lies above Quantum ESPRESSO's 8.59 eV, but near it.
    assert 7 < said["fermi_level"] < 13
    assert said["terms"]["xc"] is None
    assert said["terms"]["free"] is None
    text = run("predict", str(out), str(MALA / "Be_snapshot2.out")).output
    assert "unknown" in text
    assert "nan" not in text
    result = run("predict", str(out), str(MALA / "Be_snapshot2.out"), "--forces")
    assert result.exit_code == 2
    assert "forces require" in result.output
