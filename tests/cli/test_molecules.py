"""`nucleate search --molecule`: bad input is one line with exit code 2, and nothing is started."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from typer.testing import CliRunner

from nucleate import api
from nucleate.cli.app import app
from nucleate.csp.labels_from import labels_known
from nucleate.csp.plan import check_start, prepare
from nucleate.csp.run_data import read_run
from nucleate.errors import BadInput, NucleateError
from nucleate.persist.toml import to_toml

pytest.importorskip("gfnff")
pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("water.xyz", molecule("H2O"))
    write("ethanol.xyz", molecule("CH3CH2OH"))
    other = molecule("H2O")
    other.translate([5, 0, 0])
    write("two.xyz", molecule("H2O") + other)
    write("silicon.xyz", bulk("Si"), format="extxyz")
    return tmp_path


REFUSED = [
    (["--molecule", "nowhere.xyz"], "nowhere.xyz: no such file"),
    (["--molecule", "two.xyz"], "2 separate molecules"),
    (["--molecule", "silicon.xyz"], "periodic cell"),
    (["H2O", "--molecule", "water.xyz"], "leave the formula out"),
    (["--molecule", "water.xyz", "--ratio", "1:2"], "2 numbers for 1 molecules"),
    (["--molecule", "water.xyz", "--ratio", "none"], "--ratio none"),
    (["--molecule", "water.xyz", "--molecule", "water.xyz"], "same elements in the same order"),
    (["--molecule", "water.xyz", "--units", "0"], "units"),
    (["--molecule", "water.xyz", "--space-groups", "csd"], "generate.space_group_weights"),
    (["Si8", "--units", "4..2"], "--units 4..2: give a number of formula units such as 2, or a range such as 1..4"),
    (["Si8", "--settings", "rigid.toml"], "molecules.rigid_steps has no effect"),
    (["--molecule", "ethanol.xyz", "--units", "1", "--settings", "p-1.toml"], "can hold 1 molecules of C2H6O"),
    (["--molecule", "water.xyz", "--settings", "p1.toml"], "generate.symmetric_share has no effect"),
    (["--molecule", "water.xyz", "--prototypes"], "generate.prototype_share has no effect"),
    (["--molecule", "water.xyz", "--prior", "chgnet"], "model.prior and molecules are both given"),
    (["--molecule", "water.xyz", "--model-from", "model.safetensors"], "teacher.model_from and molecules are both given"),
    (["--molecule", "water.xyz", "--ratio", "1:²"], "--ratio"),
    (["--molecule", "water.xyz", "--labels-from", "other.extxyz"], "labels of another method contain the energies of its molecules"),
    (["--molecule", "water.xyz", "--seeds-from", "silicon.xyz"], "composition"),
]  # fmt: skip


def test_groups_of_the_relaxed_molecule(here):
    """Urea from a SMILES is twisted and becomes planar in the relaxation; its crystal's group holds it on sites mm2 alone."""
    pytest.importorskip("rdkit")
    options = {"molecules__units": 2, "reference__engine": "gfnff", "generate__space_groups": [113]}
    options["molecules__molecule"] = [{"source": "NC(=O)N"}]
    check_start(prepare(api.resolve_settings(**options)))
    with pytest.raises(BadInput, match="sites whose symmetry they have"):
        check_start(prepare(api.resolve_settings(**options, molecules__relax=False)))


@pytest.mark.parametrize(("arguments", "words"), REFUSED, ids=[" ".join(arguments) for arguments, _ in REFUSED])
def test_bad_input_is_one_line(here, arguments, words):
    (here / "p-1.toml").write_text("[generate]\nspace_groups = [2]\n")
    (here / "rigid.toml").write_text("[molecules]\nrigid_steps = 5\n")
    (here / "p1.toml").write_text("[generate]\nsymmetric_share = 0.5\n")
    ice = molecule("H2O", cell=[6, 6, 6], pbc=True)
    ice.calc = SinglePointCalculator(ice, energy=-14.0, forces=np.zeros((3, 3)), stress=np.zeros(6))
    write("other.extxyz", [ice])
    before = set(here.iterdir())
    arguments = ["search", *arguments] if "--reference" in arguments else ["search", *arguments, "--reference", "gfnff"]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, BadInput) or result.exit_code == 2
    text = str(result.exception) if isinstance(result.exception, NucleateError) else result.output
    assert words in " ".join(text.split())
    assert "\n" not in text.strip() or not isinstance(result.exception, NucleateError)
    assert set(here.iterdir()) == before


def test_run_toml_contains_the_molecules(here):
    settings = api.resolve_settings(
        molecules__molecule=[{"source": "water.xyz", "count": 2}], molecules__units=2, reference__engine="gfnff"
    )
    assert settings.formula == "H8O4"
    assert settings.molecules.counts == (4,)
    (here / "water.xyz").unlink()
    (here / "run.toml").write_text(to_toml(settings))
    again = api.resolve_settings(settings=here / "run.toml")
    assert again == settings
    plan = prepare(again)
    check_start(plan)
    assert plan.space.topology.molecules[0].formula == "H2O"


def test_a_formula_that_contradicts_the_molecules_is_refused(here):
    with pytest.raises(BadInput, match="the molecules of the search make H4O2"):
        api.resolve_settings("H2O", molecules__molecule=[{"source": "water.xyz"}], molecules__units=2)


def test_seeds_are_put_into_the_order_of_the_molecules(here):
    first = api.resolve_settings(molecules__molecule=[{"source": "water.xyz"}], molecules__units=2, reference__engine="gfnff")
    atoms = prepare(first).space.propose(1, np.random.default_rng(0), False)[0].atoms
    write("ice.extxyz", atoms[np.random.default_rng(1).permutation(len(atoms))])
    settings = api.resolve_settings(settings=first, seeds_from=str(here / "ice.extxyz"))
    own = prepare(settings).space.propose(1, np.random.default_rng(0), True)[0]
    assert own.origin == "seed"
    assert prepare(settings).space.topology.blocks(own.atoms.numbers) is not None


SMALL = {
    "search": {"pool": 8, "first_batch": 8, "budget": 60, "max_rounds": 1, "proof": False, "check": False},
    "model": {"members": 2, "channels": 4, "hidden": 8},
    "training": {"steps": 20, "warm_steps": 10},
    "generate": {"workers": 1},
    "relax": {"workers": 1, "max_steps": 20},
    "molecules": {"distortions": 6},
}


def test_isolated_molecules_are_no_crystals(here):
    """With one molecule in the cell the isolated one has as many atoms as the crystal."""
    result = api.search(molecules="water.xyz", units=1, reference="gfnff", settings=SMALL, out=here / "run")
    data = api.show(result.folder)
    rows = read_run(result.folder).rows
    alone = [row.label.energy / 3 for row in rows if row.purpose == "molecule"]
    crystals = [row.label.energy / 3 for row in rows if row.purpose != "molecule" and row.label is not None]
    assert data["calls_by_purpose"]["molecule"] == len(alone) > 6
    assert data["lowest_label"] == pytest.approx(min(crystals))
    (kind,) = data["molecules"]["kinds"]
    assert kind["relaxed"]
    assert kind["energy"] / 3 == pytest.approx(min(alone), abs=1e-4)
    # Another search takes the labels of the crystals alone.
    settings = api.resolve_settings(settings=result.folder / "run.toml", teacher__labels_from=[str(result.folder)])
    known, others = labels_known(settings, prepare(settings).reference)
    assert others == []
    assert len(known.labels) == len(crystals)


def test_a_budget_too_small_for_the_molecules(here):
    settings = {**SMALL, "search": {**SMALL["search"], "budget": 5}}
    with pytest.raises(NucleateError, match="ends before the isolated molecule H2O is calculated"):
        api.search(molecules=["water.xyz"], units=1, reference="gfnff", settings=settings, out=here / "run")
    assert api.resume(here / "run", budget=60).calls > 20
