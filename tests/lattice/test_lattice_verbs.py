import json

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from typer.testing import CliRunner

from nucleate.cli.app import app
from nucleate.errors import BadInput
from nucleate.lattice import api
from nucleate.lattice.enumeration import canonical_key, enumerate_arrangements
from nucleate.lattice.mapping import assign

EMT_REFERENCE = '[reference]\nengine = "ase"\ncalculator = "ase.calculators.emt:EMT"\nworkers = 0\n'


def run(*arguments):
    return CliRunner().invoke(app, ["lattice", *[str(a) for a in arguments]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Copper and gold on fcc up to four cells, with relaxed energies of EMT, and a fit."""
    here = tmp_path_factory.mktemp("cuau")
    ase.io.write(here / "cu.cif", bulk("Cu", "fcc", a=3.85))
    (here / "s.toml").write_text(EMT_REFERENCE + '[lattice]\nrelax = "cell"\n')
    assert run("enumerate", here / "cu.cif", "--sites", "Cu=Cu,Au", "--max-cells", 4, "--out", here / "a.json").exit_code == 0
    result = run("compute", here / "a.json", "--settings", here / "s.toml", "--out", here / "labels", "--quiet")
    assert result.exit_code == 0, result.output
    result = run("fit", here / "labels" / "labels.json", "--cutoffs", "4.0,2.8", "--out", here / "m.json")
    assert result.exit_code == 0, result.output
    return here


def test_energies_are_those_of_the_reference(folder):
    data = api.read_data(folder / "labels" / "labels.json")
    assert len(data.with_energies) == 29
    entry = data.labelled[0]
    atoms = entry.arrangement.supercell.atoms(entry.arrangement.occupation)
    assert len(atoms) == 1
    # A relaxed cell is lower than the given one.
    atoms.calc = EMT()
    assert entry.energy < atoms.get_potential_energy()
    assert all(e.moved is not None and e.strain is not None for e in data.with_energies)


def test_the_second_run_calculates_nothing(folder):
    before = (folder / "labels" / "labels.json").read_text()
    counted = []

    class Counting(EMT):
        def calculate(self, *arguments, **keywords):
            counted.append(1)
            super().calculate(*arguments, **keywords)

    result = run("compute", folder / "a.json", "--settings", folder / "s.toml", "--out", folder / "labels", "--quiet")
    assert result.exit_code == 0
    assert (folder / "labels" / "labels.json").read_text() == before
    assert not counted


def test_fit_hull_and_simulation(folder):
    fitted = run(
        "fit", folder / "labels" / "labels.json", "--cutoffs", "4.0,2.8", "--out", folder / "m.json", "--plot", folder / "f.png", "--json"
    )
    assert fitted.exit_code == 0, fitted.output
    facts = json.loads(fitted.stdout)
    # EMT mixes copper and gold; interactions of two shells describe it to some 15 meV per atom.
    assert facts["loo"] < 0.03
    assert (folder / "f.png").stat().st_size > 10_000
    found = run(
        "hull", folder / "m.json", "--max-cells", 4, "--labels", folder / "labels" / "labels.json", "--plot", folder / "h.png", "--json"
    )
    states = json.loads(found.stdout)["ground_states"]
    assert {round(state["shares"]["Cu"], 2) for state in states} >= {0.0, 0.5, 0.75, 1.0}
    moved = run(
        "simulate", folder / "m.json", "--cells", "4x4x4", "--temperatures", "2000:500:-500", "--composition", "Cu=0.5", "--sweeps", 400,
        "--burn", 100, "--record", folder / "r.jsonl", "--plot", folder / "s.png", "--structure", folder / "last.extxyz", "--json",
    )  # fmt: skip
    assert moved.exit_code == 0, moved.output
    energies = [row["energy"] for row in json.loads(moved.stdout)["averages"]]
    assert energies == sorted(energies, reverse=True)
    assert ase.io.read(folder / "last.extxyz").get_chemical_formula() == "Au32Cu32"


def test_structures_are_assigned_to_their_arrangements(folder):
    parent = api.read_data(folder / "a.json").parent
    generator = np.random.default_rng(0)
    for arrangement in list(enumerate_arrangements(parent, 4))[::4]:
        atoms = arrangement.supercell.atoms(arrangement.occupation)
        rotation = np.linalg.qr(generator.normal(size=(3, 3)))[0]
        rotation *= np.sign(np.linalg.det(rotation))
        strain = 1.06 * (np.eye(3) + 0.02 * generator.normal(size=(3, 3)))
        change = np.array([[1, 1, 0], [0, 1, 0], [0, -1, 1]])
        atoms.set_cell(change @ atoms.cell.array, scale_atoms=False)
        atoms.set_cell(atoms.cell.array @ strain @ rotation, scale_atoms=True)
        atoms.positions += generator.normal(0, 0.03, atoms.positions.shape)
        atoms.translate([0.3, 0.7, 0.2])
        found = assign(parent, atoms[generator.permutation(len(atoms))])
        assert canonical_key(found) == canonical_key(arrangement)


@pytest.mark.parametrize("crystal", ["bcc", "hcp"])
def test_other_lattices_are_no_arrangements_in_any_orientation(folder, crystal):
    """Bain's strain leads from fcc to bcc: -21 % along one axis and 12 % along two, some 0.2 as a strain beside the change of volume."""
    atoms = bulk("Cu", crystal, a=2.87 if crystal == "bcc" else 2.55)
    generator = np.random.default_rng(0)
    for _ in range(4):
        turned = bulk("Cu", a=3.59)
        rotation = np.linalg.qr(generator.normal(size=(3, 3)))[0]
        turned.set_cell(turned.cell.array @ (rotation * np.sign(np.linalg.det(rotation))), scale_atoms=True)
        with pytest.raises(BadInput, match="is no arrangement"):
            assign(api.make_parent(turned, {"Cu": ["Cu", "Au"]}), atoms)


def test_collect_leaves_out_what_is_no_arrangement(folder, tmp_path):
    good, other = bulk("Cu", "fcc", a=3.7, cubic=True), bulk("Cu", "diamond", a=5.4)
    for atoms in (good, other):
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
    ase.io.write(tmp_path / "two.extxyz", [good, other])
    result = run("collect", folder / "cu.cif", tmp_path / "two.extxyz", "--sites", "Cu=Cu,Au", "--out", tmp_path / "l.json")
    assert result.exit_code == 0, (result.output, result.stderr)
    assert "1 structures were left out" in result.output
    assert api.read_data(tmp_path / "l.json").energies().tolist() == [-0.25]


def test_bad_input_is_one_line(folder, tmp_path):
    lines = {
        ("enumerate", folder / "cu.cif", "--sites", "Au=Au,X", "--max-cells", 2): "there is no Au",
        ("enumerate", folder / "cu.cif", "--sites", "Cu=Cu,Au", "--max-cells", 0): "between 1 and",
        ("enumerate", folder / "cu.cif", "--sites", "Cu=Cu,Au", "--max-cells", 2, "--mesh", "0x2"): "--mesh",
        ("compute", folder / "cu.cif", "--out", tmp_path / "x"): "is not a file of kind",
        ("fit", folder / "a.json", "--cutoffs", "4"): "no arrangement has an energy",
        ("fit", folder / "labels" / "labels.json", "--cutoffs", "four"): "numbers separated by commas",
        ("fit", folder / "labels" / "labels.json", "--cutoffs", "4", "--dipoles"): "layers",
        ("simulate", folder / "a.json", "--cells", "4x4x4", "--temperatures", "300"): "is not a file of kind",
        ("simulate", folder / "m.json", "--cells", "4x4x4", "--temperatures", "300:200:10", "--composition", "Cu=1"): "leads away",
        ("simulate", folder / "m.json", "--cells", "4x4x4", "--temperatures", "300", "--composition", "Cu"): "SPECIES=NUMBER",
        ("coexistence", folder / "m.json", "--cells", "5x5x5", "--temperatures", "300", "--share", "0.5", "--max-cells", 2): "multiple",
    }
    for arguments, text in lines.items():
        result = run(*arguments)
        assert result.exit_code == 2, (arguments, result.output)
        assert text in result.output, (arguments, result.output)


def test_a_mesh_that_does_not_fold_is_refused_before_anything_is_calculated(tmp_path):
    data = api.enumerate_lattice(bulk("Al", "fcc", a=4.05), ["Al=Al,Li"], 3)
    with pytest.raises(BadInput, match="does not fold"):
        api.compute(data, {"reference": {"engine": "gpaw"}, "lattice": {"mesh": [4, 4, 4]}}, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(BadInput, match="has no k-points"):
        api.compute(data, {"reference": {"engine": "chgnet"}, "lattice": {"mesh": [6, 6, 6]}}, out=tmp_path / "out")


def test_energy_of_a_layer_does_not_depend_on_its_side(tmp_path):
    pytest.importorskip("gpaw")
    from nucleate.reference import ReferenceSettings, make_reference

    settings = {"engine": "gpaw", "cutoff": 250.0, "smearing": 0.2, "k_spacing": 0.8, "dipole_correction": True}
    reference = make_reference(ReferenceSettings(**settings))
    # Lithium hydride upright: one side is positive, the other negative.
    layer = Atoms("LiH", positions=[[0, 0, 4.0], [0, 0, 5.6]], cell=[3.0, 3.0, 10.0], pbc=(True, True, False))
    turned = Atoms("LiH", positions=[[0, 0, 9.0], [0, 0, 7.4]], cell=[3.0, 3.0, 10.0], pbc=(True, True, False))
    wide = Atoms("LiH", positions=[[0, 0, 0.0], [0, 0, 1.6]], cell=[3.0, 3.0, 13.0], pbc=(True, True, False))
    one, two, three = (reference.label(atoms) for atoms in (layer, turned, wide))
    assert abs(one.details["dipole"]) > 0.1
    assert one.details["dipole"] == pytest.approx(-two.details["dipole"], abs=0.01)
    assert one.energy == pytest.approx(two.energy, abs=2e-3)
    # Without the correction the field across the vacuum makes the energy depend on its width.
    assert one.energy == pytest.approx(three.energy, abs=5e-3)
    plain = make_reference(ReferenceSettings(**{**settings, "dipole_correction": False}))
    assert abs(plain.label(layer).energy - plain.label(wide).energy) > 0.02
