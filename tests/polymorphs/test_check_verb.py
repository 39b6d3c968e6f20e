"""The check from end to end: leads downhill, resumed calculations, refusals, the page and the command line."""

import json
import re
import sys
from collections import Counter
from types import SimpleNamespace

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from typer.testing import CliRunner

from nucleate.cli.app import app
from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.io import read_structure
from nucleate.errors import BadInput, NucleateError, ReferenceFailed
from nucleate.fingerprints.matching import space_group
from nucleate.polymorphs import check as check_module
from nucleate.polymorphs.check import check
from nucleate.polymorphs.stability.settings import CheckSettings
from nucleate.polymorphs.stability.surface import ReferenceForces
from nucleate.potentials.files import save_committee
from nucleate.potentials.manybody import ManyBodyCommittee
from nucleate.potentials.settings import ModelSettings
from nucleate.progress import Step
from nucleate.reference.base import Label
from nucleate.report.check_page import render, write_check_page
from tests.conftest import PairPotential

QUICK = CheckSettings(length=6.0, temperature=300.0)


class PairReference:
    """Reference of pairs that counts the calculations of each structure."""

    name = "pairs"
    surrogate = True

    def __init__(self, dear=False, fails=False):
        self.potential = PairPotential(depth=(0.3,), cutoff=6.0)
        self.asked = Counter()
        self.surrogate, self.fails = not dear, fails

    def settings(self):
        return {"depth": 0.3}

    def k_points(self, atoms):
        return None

    def label(self, atoms):
        if self.fails:
            raise ReferenceFailed("it does not converge")
        self.asked[atoms.positions.round(8).tobytes() + atoms.cell.array.round(8).tobytes()] += 1
        found = self.potential.energy_forces_stress(CrystalBatch.from_atoms([atoms]))
        stress = found.stress[0, 0].numpy()
        voigt = np.array([stress[i, j] for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))])
        return Label(float(found.energy[0, 0]), found.forces[0].numpy(), voigt, core_seconds=36.0)


@pytest.fixture
def files(tmp_path):
    """Return the file of a close-packed crystal and that of one that shears."""
    ase.io.write(tmp_path / "fcc.cif", bulk("Ar", "fcc", a=4.15))
    ase.io.write(tmp_path / "both.extxyz", [bulk("Ar", "fcc", a=4.15), bulk("Ar", "bcc", a=3.35)])
    return tmp_path


def test_a_saddle_leads_downhill(files):
    result = check(files / "both.extxyz", QUICK, reference=PairReference(), workers=0)
    stable, saddle = result.polymorphs
    assert (stable.prepared.space_group, stable.verdict, stable.leads) == ("Fm-3m", "stable", [])
    assert stable.phonons.imaginary == []
    assert saddle.verdict == "imaginary modes"
    assert saddle.harmonic.missing == "imaginary modes"
    assert np.isnan(saddle.harmonic.mean).all()
    lead, path = saddle.leads[0]
    # The path of Bain and that of Burgers end in close-packed crystals.
    assert lead.gain > 1e-3
    assert lead.number in (194, 225)
    found = read_structure(path)
    assert space_group(found, 0.05)[1] == lead.number
    assert saddle.prepared.energy.mean() - lead.gain == pytest.approx(stable.prepared.energy.mean(), abs=0.01)
    data = json.loads((result.out / "check.json").read_text())
    assert [each["verdict"] for each in data["polymorphs"]] == ["stable", "imaginary modes"]
    assert data["polymorphs"][1]["leads"][0]["gain"] == pytest.approx(1e3 * lead.gain)
    assert data["polymorphs"][1]["harmonic"]["free_energy"][0] is None


def test_an_interrupted_check_pays_for_no_label_twice(files):
    reference = PairReference()
    seen = 0

    def stop_after(limit):
        def progress(event, /):
            nonlocal seen
            if isinstance(event, Step) and event.phase not in ("relaxing",):
                seen += 1
                if seen == limit:
                    raise KeyboardInterrupt

        return progress

    for limit in (2, 5):
        seen = 0
        with pytest.raises(KeyboardInterrupt):
            check(files / "both.extxyz", QUICK, reference=reference, workers=0, progress=stop_after(limit))
    result = check(files / "both.extxyz", QUICK, reference=reference, workers=0)
    assert result.calls == len(reference.asked)
    assert set(reference.asked.values()) == {1}
    again = check(files / "both.extxyz", QUICK, reference=reference, workers=0)
    assert again.calls == result.calls
    assert again.as_dict() == result.as_dict()


def test_the_cost_is_named_before_the_check_starts(files):
    reference = PairReference(dear=True)
    costs = []
    with pytest.raises(NucleateError, match="not approved"):
        check(files / "fcc.cif", QUICK, reference=reference, workers=0, approve=lambda cost: costs.append(cost))
    # One call was made, from which the time of the others follows.
    assert sum(reference.asked.values()) == 1
    (cost,) = costs
    assert cost.largest == 27
    sizes = [1] * (cost.calls - 1) + [27]
    assert cost.core_seconds == pytest.approx(36.0 * sum(size**2 for size in sizes))
    assert re.search(r"about \d+ reference calls with up to 27 atoms, some .* core-", str(cost))
    result = check(files / "fcc.cif", QUICK, reference=reference, workers=0, approve=lambda cost: True)
    assert 0.3 * cost.calls < result.calls <= cost.calls


def test_a_failing_reference_is_named(files):
    with pytest.raises(NucleateError, match="no structure could be relaxed: 01_Fm-3m: it does not converge"):
        check(files / "fcc.cif", QUICK, reference=PairReference(fails=True), workers=0)


def test_quasi_harmonic_volumes_grow(files):
    settings = QUICK.model_copy(update={"quasi_harmonic": True, "elastic": False, "temperature": 400.0})
    (argon,) = check(files / "fcc.cif", settings, reference=PairReference(), workers=0).polymorphs
    curve = argon.quasi_harmonic
    assert curve.missing == ""
    static = argon.prepared.atoms.get_volume()
    # The zero point and temperature expand an anharmonic crystal.
    assert static < curve.volumes[0] < curve.volumes[-1] < 1.06 * static
    # The volume that minimises the free energy cannot be worse than the static one.
    assert (curve.mean <= argon.harmonic.mean + 1e-4).all()
    assert argon.elastic is None


def test_a_committee_is_checked_against_the_reference(files, monkeypatch):
    committee = PairPotential(depth=(0.3, 0.33), cutoff=6.0)
    monkeypatch.setattr(check_module, "read_committee", lambda inputs, model: (committee, "pairs.safetensors"))
    result = check(files / "fcc.cif", QUICK, model="pairs.safetensors", reference=PairReference(), workers=0)
    (argon,) = result.polymorphs
    assert (result.members, result.spot_reference, result.calls) == (2, "pairs", 2)
    # The mean of the two depths is 5 % above that of the reference, and so are all forces.
    assert argon.spot.share == pytest.approx(0.05, rel=1e-6)
    assert argon.phonons.centre.spread.shape == (1, 3)
    page = render(result)
    assert "±" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert write_check_page(result).read_text() == page


def test_refusals_are_one_line(files, tmp_path):
    model = tmp_path / "model.safetensors"
    save_committee(model, ManyBodyCommittee((14,), ModelSettings(members=2, channels=4, hidden=4)))
    layered = bulk("Ar", "fcc", a=4.15, cubic=True)
    layered.center(vacuum=10, axis=2)
    layered.pbc = (True, True, False)
    ase.io.write(tmp_path / "layer.extxyz", layered)
    moments = bulk("Fe")
    moments.set_initial_magnetic_moments([2.0])
    ase.io.write(tmp_path / "iron.extxyz", moments)
    (tmp_path / "empty").mkdir()
    fcc = str(files / "fcc.cif")
    cases = {
        "name the surface": [fcc],
        "no such file": [str(tmp_path / "nothing.cif"), "--reference", "chgnet"],
        "is not a run folder": [str(tmp_path / "empty")],
        "supports Si but not Ar": [fcc, "--model", str(model)],
        "both describe the supercell": [fcc, "--model", str(model), "--supercell", "2x2x2", "--length", "8"],
        "such as 3x3x2": [fcc, "--reference", "chgnet", "--supercell", "2,2,2"],
        "nothing remains": [fcc, "--reference", "chgnet", "--no-phonons", "--no-elastic"],
        "leave --elastic and --no-phonons out": [fcc, "--reference", "chgnet", "--no-phonons", "--quasi-harmonic"],
        "--length": [fcc, "--reference", "chgnet", "--length", "-3"],
        "--top 0": [fcc, "--reference", "chgnet", "--top", "0"],
        "layer or a cluster": [str(tmp_path / "layer.extxyz"), "--reference", "chgnet"],
        "starting moments": [str(tmp_path / "iron.extxyz"), "--reference", "chgnet"],
        "name it with --reference": [str(files / "silicon.cif"), "--preset", "fast", "--model", str(model)],
        "--spots 0": [str(files / "silicon.cif"), "--reference", "chgnet", "--model", str(model), "--spots", "0"],
        "--spots needs a reference": [str(files / "silicon.cif"), "--model", str(model), "--spots", "3"],
    }
    ase.io.write(files / "silicon.cif", bulk("Si"))
    for message, arguments in cases.items():
        done = CliRunner().invoke(app, ["check", *arguments])
        lines = done.stderr.strip().splitlines()
        assert done.exit_code == 2, (message, done.output, done.exception)
        assert len(lines) == 1
        assert message in lines[0], lines


def test_the_verb_prints_a_table_and_json(files, tmp_path):
    model = tmp_path / "model.safetensors"
    save_committee(model, ManyBodyCommittee((18,), ModelSettings(members=2, channels=4, hidden=4)))
    arguments = [
        "check",
        str(files / "fcc.cif"),
        "--model",
        str(model),
        "--elastic",
        "--out",
        str(tmp_path / "out"),
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "01_" in done.stdout
    assert (tmp_path / "out" / "check.html").is_file()
    done = CliRunner().invoke(app, [*arguments, "--json", "--quiet"])
    (polymorph,) = json.loads(done.stdout)["polymorphs"]
    assert polymorph["phonons"] is None
    assert np.shape(polymorph["elastic"]["constants"]) == (6, 6)


def test_phonopy_is_named_if_it_is_missing(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "phonopy", None)
    done = CliRunner().invoke(app, ["check", str(files / "fcc.cif"), "--reference", "chgnet"])
    assert done.exit_code == 2
    assert done.stderr.strip() == "error: phonopy is not installed; run: pip install 'nucleate[stability]'"


def test_strained_cells_keep_the_k_points_of_the_crystal(tmp_path):
    """A grid that is chosen anew for each strain would add its own error to the difference of the stresses."""
    asked = []
    dispatcher = SimpleNamespace(
        reference=SimpleNamespace(name="fake", surrogate=True),
        label_many=lambda structures, purpose, round, progress, like: asked.append(like) or [Label(0.0, np.zeros((1, 3)), np.zeros(6))],
    )
    crystal = bulk("Ar", "fcc", a=4.15)
    ReferenceForces(dispatcher).evaluate([crystal], "strained cells", like=[crystal])
    assert asked == [[crystal]]


def test_contradicting_settings_are_refused():
    with pytest.raises(ValueError, match="nothing remains"):
        CheckSettings(phonons=False, elastic=False)
    with pytest.raises(BadInput):
        check("nothing.cif", QUICK, reference=PairReference())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--elastic", "--supercell", "2x2x2"], "--supercell has no effect without phonons"),
        (["--no-elastic", "--strain", "0.02"], "--strain has no effect without elastic constants"),
        (["--elastic", "--temperature", "300"], "--temperature has no effect without phonons"),
        (["--phonons", "--supercell", "1x1x1", "--yes"], "a single atom has no vibrations"),
        (["--spots", "3"], "--spots has no effect on a check on the reference itself"),
    ],
)
def test_options_without_effect_are_refused(options, message, files, tmp_path):
    settings = tmp_path / "emt.toml"
    settings.write_text('[reference]\nengine = "ase"\ncalculator = "ase.calculators.emt:EMT"\nworkers = 0\n')
    ase.io.write(tmp_path / "al.cif", bulk("Al"))
    done = CliRunner().invoke(
        app, ["check", str(tmp_path / "al.cif"), "--settings", str(settings), "--out", str(tmp_path / "out"), *options]
    )
    assert done.exit_code == 2, done.output
    assert message in done.output


def test_the_pressure_of_a_settings_file_is_not_ignored(tmp_path):
    settings = tmp_path / "emt.toml"
    settings.write_text('pressure = 50.0\n[reference]\nengine = "ase"\ncalculator = "ase.calculators.emt:EMT"\nworkers = 0\n')
    ase.io.write(tmp_path / "al.cif", bulk("Al"))
    done = CliRunner().invoke(app, ["check", str(tmp_path / "al.cif"), "--settings", str(settings), "--yes"])
    assert done.exit_code == 2
    assert "give --pressure" in done.output
