"""A committee that is trained near the minima before a check."""

from collections import Counter

import ase.io
import numpy as np
import pytest
import torch
from ase.build import bulk
from typer.testing import CliRunner

import nucleate
from nucleate.cli.app import app
from nucleate.crystals.batch import CrystalBatch
from nucleate.errors import BadInput, NucleateError
from nucleate.polymorphs.check import check
from nucleate.polymorphs.stability import refinement
from nucleate.polymorphs.stability.near_minimum import MOST_ATOMS, structures_near, training_matrix
from nucleate.polymorphs.stability.settings import CheckSettings
from nucleate.polymorphs.stability.spots import spot_structures
from nucleate.potentials.files import load_potential
from nucleate.training.data import from_labels
from nucleate.training.gauss_newton import fit_closely
from nucleate.training.settings import FitSettings
from tests.polymorphs.test_check_verb import PairReference

pytestmark = pytest.mark.usefixtures("undrawn")

SETTINGS = CheckSettings(supercell=(2, 2, 2), follow=0, train=6, temperature=100.0)
SEARCH = {
    "search": {
        "pool": 8,
        "keep": 4,
        "first_batch": 16,
        "max_rounds": 1,
        "lead_steps": 25,
        "budget": 80,
        "proof": False,
        "check": False,
        "top": 1,
    },
    "model": {"members": 2, "channels": 6, "hidden": 16, "radial": 6, "cutoff": 6.0},
    "training": {"steps": 300, "warm_steps": 100},
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a short search on the pair reference."""
    path = tmp_path_factory.mktemp("runs") / "Ar2"
    seed = path.with_name("seed.extxyz")
    ase.io.write(seed, bulk("Ar", "fcc", a=4.2).repeat((2, 1, 1)))
    nucleate.search("Ar2", settings=SEARCH, reference=PairReference(), workers=0, seed=1, seeds_from=seed, out=path)
    return path


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(refinement, "STEPS", 12)


def test_the_trained_committee_has_the_response_of_the_reference(run, tmp_path, monkeypatch):
    """Force constants and elastic constants approach those of the reference; the labels are paid for, and trained on, once."""
    reference = PairReference()
    untrained = SETTINGS.model_copy(update={"train": 0, "spots": 0})
    before = check(run, untrained, top=1, out=tmp_path / "before", model=_last(run))
    true = check(run, untrained, reference=PairReference(), top=1, out=tmp_path / "true", workers=0)
    after = check(run, SETTINGS, reference=reference, model=_last(run), top=1, out=tmp_path / "after", workers=0)
    errors = []
    for result in (before, after):
        one, other = result.polymorphs[0], true.polymorphs[0]
        assert one.prepared.number == other.prepared.number
        frequencies = one.phonons.commensurate.mean - other.phonons.commensurate.mean
        constants = one.elastic.mean - other.elastic.mean
        errors.append((np.sqrt((frequencies**2).mean()), np.abs(constants).max()))
    assert errors[1][0] < 0.4 * errors[0][0], errors
    assert errors[1][1] < 0.5 * errors[0][1], errors
    assert after.trained == 6
    assert after.as_dict()["trained_labels"] == 6
    # Six labels and two spot checks.
    assert after.calls == sum(reference.asked.values()) == 8
    monkeypatch.setattr(refinement, "fit_closely", lambda *arguments: pytest.fail("the same data are trained on again"))
    again = check(run, SETTINGS, reference=reference, model=_last(run), top=1, out=tmp_path / "after", workers=0)
    assert sum(reference.asked.values()) == 8
    assert again.as_dict() == after.as_dict()
    # The model file can be used by another check, which needs no training.
    reused = check(run, untrained, model=tmp_path / "after" / "model.safetensors", top=1, out=tmp_path / "reused")
    assert np.allclose(reused.polymorphs[0].elastic.mean, after.polymorphs[0].elastic.mean, atol=1e-3)


def _last(run):
    return sorted((run / "models").glob("round_*.safetensors"))[-1]


def test_an_interrupted_training_repeats_no_label(run, tmp_path):
    reference = PairReference()

    def stop(event, /):
        if getattr(event, "phase", "") == "training":
            raise KeyboardInterrupt

    few = SETTINGS.model_copy(update={"train": 2})
    with pytest.raises(KeyboardInterrupt):
        check(run, few, reference=reference, model=_last(run), top=1, out=tmp_path / "out", workers=0, progress=stop)
    assert not (tmp_path / "out" / "model.safetensors").exists()
    asked = Counter(reference.asked)
    check(run, few, reference=reference, model=_last(run), top=1, out=tmp_path / "out", workers=0)
    assert all(reference.asked[key] == number for key, number in asked.items())
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_the_cost_of_the_labels_is_approved(run, tmp_path):
    costs = []
    ase.io.write(tmp_path / "fcc.cif", bulk("Ar", "fcc", a=4.15))
    with pytest.raises(NucleateError, match="cost of its labels is not approved"):
        check(
            tmp_path / "fcc.cif", SETTINGS, model=_last(run), reference=PairReference(dear=True), workers=0,
            approve=lambda cost: costs.append(cost),
        )  # fmt: skip
    assert costs[0].calls == 6
    assert "imaginary" not in str(costs[0])


def test_a_model_of_another_reference_is_refused(run, tmp_path):
    class Other(PairReference):
        def label(self, atoms):
            found = super().label(atoms)
            return found.__class__(found.energy - 5.0 * len(atoms), found.forces, found.stress, core_seconds=1.0)

    ase.io.write(tmp_path / "fcc.cif", bulk("Ar", "fcc", a=4.15))
    with pytest.raises(BadInput, match="name the reference on which the model was trained"):
        check(tmp_path / "fcc.cif", SETTINGS, model=_last(run), reference=Other(), workers=0)
    other = PairReference()
    other.name = "others"
    with pytest.raises(BadInput, match=r"--train adds labels to those of the search: .* by pairs, but the reference is others"):
        check(run, SETTINGS, model=_last(run), reference=other, workers=0, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--reference", "chgnet", "--train", "4"], "--train has no committee to train"),
        (["--model", "MODEL", "--train", "4"], "--train needs the reference on which the model was trained"),
        (["--model", "MODEL", "--train", "-1"], "--train"),
    ],
)
def test_training_that_is_not_possible_is_refused(options, message, run, tmp_path):
    ase.io.write(tmp_path / "fcc.cif", bulk("Ar", "fcc", a=4.15))
    arguments = [str(_last(run)) if option == "MODEL" else option for option in options]
    done = CliRunner().invoke(app, ["check", str(tmp_path / "fcc.cif"), *arguments])
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_structures_near_a_minimum_span_all_strains():
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    matrix = training_matrix(atoms, CheckSettings())
    assert len(atoms) * round(abs(np.linalg.det(matrix))) <= MOST_ATOMS
    structures, like = structures_near(atoms, matrix, 12, 1)
    assert [len(each) for each in structures] == [len(each) for each in like]
    strains = [np.linalg.solve(cell.cell.array, each.cell.array) - np.eye(3) for each, cell in zip(structures[6:], like[6:], strict=True)]
    assert np.linalg.matrix_rank([(strain + strain.T)[np.triu_indices(3)] for strain in strains], tol=1e-4) == 6
    assert max(np.abs(strain).max() for strain in strains) <= 0.0101
    moved = [np.sqrt(((each.positions - cell.positions) ** 2).sum(1).mean()) for each, cell in zip(structures[:6], like[:6], strict=True)]
    assert all(0.02 < value < 0.09 for value in moved)
    # Spot checks and the second training have other structures.
    others = structures_near(atoms, matrix, 12, 2)[0]
    assert all(np.abs(a.positions - b.positions).max() > 1e-3 for a, b in zip(structures[:6], others[:6], strict=True))

    class Prepared:
        def __init__(self, atoms):
            self.atoms = atoms

    for spot in spot_structures(Prepared(atoms), 2):
        assert all(len(spot) != len(each) or np.abs(spot.positions - each.positions).max() > 1e-3 for each in structures)


def test_gauss_newton_steps_keep_what_they_need_not_change(run):
    """Few steps fit the new labels, while the error of the old ones stays below twice that before."""
    reference, rng = PairReference(), np.random.default_rng(3)
    model = load_potential(_last(run))[0].learned

    def labelled(a, size):
        made = []
        for _ in range(6):
            atoms = bulk("Ar", "fcc", a=a).repeat((2, 1, 1))
            atoms.positions += rng.normal(scale=size, size=atoms.positions.shape)
            made.append(atoms)
        return from_labels(made, [reference.label(atoms) for atoms in made])

    def error(data):
        batch = CrystalBatch.from_atoms([item.atoms for item in data])
        difference = model.energy_forces_stress(batch).forces.mean(0) - torch.as_tensor(np.concatenate([item.forces for item in data]))
        return float(difference.detach().pow(2).mean().sqrt())

    near, others = labelled(4.15, 0.1), labelled(4.6, 0.3)
    before = error(near), error(others)
    fit_closely(model, near, others, FitSettings(bootstrap=False), 12)
    assert error(near) < 0.3 * before[0]
    assert error(others) < 2 * before[1]
    with pytest.raises(BadInput, match="no labelled structures"):
        fit_closely(model, [], others, FitSettings(), 1)
