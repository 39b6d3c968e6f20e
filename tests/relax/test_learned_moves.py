"""Learned moves: exact limits of the policy, its symmetries, gradients, files and training."""

import json
from dataclasses import replace
from itertools import pairwise

import ase.io
import numpy as np
import pytest
import torch
from ase.build import bulk
from safetensors import safe_open
from safetensors.torch import save_file
from typer.testing import CliRunner

from nucleate.api import relax_file
from nucleate.cli.app import app
from nucleate.crystals import CrystalBatch
from nucleate.csp.plan import prepare
from nucleate.csp.resolve import resolve_settings
from nucleate.errors import BadInput
from nucleate.potentials.files import save_committee
from nucleate.potentials.manybody import ManyBodyCommittee
from nucleate.potentials.settings import ModelSettings
from nucleate.relax import optimisers
from nucleate.relax.batched import CommitteeSurface, make_optimiser, relax
from nucleate.relax.learned.evolution import centred_ranks
from nucleate.relax.learned.files import KEY, load_policy, save_policy
from nucleate.relax.learned.optimiser import CURVATURE, LearnedMoves
from nucleate.relax.learned.policy import Policy, PolicySettings
from nucleate.relax.learned.settings import MoveSettings
from nucleate.relax.learned.training import train_moves
from nucleate.relax.learned.unrolling import unrolled_gradient
from nucleate.relax.optimisers import Lbfgs
from nucleate.relax.settings import RelaxSettings
from nucleate.relax.state import evaluate, start

KINDS = pytest.mark.parametrize("kind", ["gru", "none", "momentum"])
STEPS = 12


@pytest.fixture(scope="module")
def argon(pair_potential):
    return pair_potential()


@pytest.fixture(scope="module")
def starts(make_crystal):
    rng = np.random.default_rng(0)
    return [make_crystal(rng, ["Ar"] * n, volume=26, closest=2.2) for n in (2, 3, 4, 5)]


def any_policy(kind="gru", handover=0.0, size=0.5):
    """A policy with random weights in all layers."""
    settings = PolicySettings(memory=kind, handover=handover)
    flat = Policy.fresh(settings, 0).flat()
    return Policy.from_flat(settings, flat + size * torch.randn(flat.shape, generator=torch.Generator().manual_seed(1), dtype=flat.dtype))


def states(structures, potential, optimiser, steps=STEPS, variable_cell=True):
    surface = CommitteeSurface(potential)
    state = optimiser.init(start(CrystalBatch.from_atoms(structures), surface, 0.0, variable_cell))
    found = []
    for _ in range(steps):
        state = evaluate(optimiser.move(state), surface, 0.0, variable_cell)
        found.append(state)
    return found


def path(structures, potential, optimiser, steps=STEPS, variable_cell=True):
    """Coordinates after each step."""
    return torch.stack([state.coordinates for state in states(structures, potential, optimiser, steps, variable_cell)])


@pytest.mark.parametrize("kind", ["gru", "none"])
def test_untrained_policy_is_lbfgs(argon, starts, kind):
    """With a last layer of zeros c is 1 and a and b are 0, whatever the other weights are."""
    untrained = LearnedMoves(Policy.fresh(PolicySettings(memory=kind), 3))
    assert (path(starts, argon, untrained, 40) - path(starts, argon, Lbfgs(curvature=CURVATURE), 40)).abs().max() <= 1e-12


def test_moves_below_the_handover_are_those_of_lbfgs(argon, starts):
    always = LearnedMoves(any_policy(handover=1e3))
    assert torch.equal(path(starts, argon, always), path(starts, argon, Lbfgs(curvature=CURVATURE)))
    assert (path(starts, argon, LearnedMoves(any_policy())) - path(starts, argon, Lbfgs(curvature=CURVATURE))).abs().max() > 0.01


@KINDS
def test_steps_turn_with_the_structure(argon, kind):
    """Rotation, translation and another order of the atoms, along a whole path.

    The limit of a step is not reached, because L-BFGS applies it to the rows of the cell's matrix, whose norms a rotation changes.
    """
    optimiser = LearnedMoves(any_policy(kind, size=0.2), maxstep=1.0)
    starts = [bulk("Ar", a=4.1).repeat(cells) for cells in ((2, 1, 1), (3, 1, 1), (2, 2, 1))]
    for k, atoms in enumerate(starts):
        atoms.rattle(0.03, seed=k)
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    others, orders = [], []
    for atoms in starts:
        order = np.random.default_rng(len(atoms)).permutation(len(atoms))
        other = atoms[order]
        other.positions += [0.3, -0.2, 0.1]
        other.set_cell(other.cell.array @ turn)
        other.positions = other.positions @ turn
        others.append(other)
        orders.append(order)
    rotation = torch.as_tensor(turn)
    own, turned = path(starts, argon, optimiser), path(others, argon, optimiser)
    # The translation stretches with the cell, so displacements are compared.
    own_step, turned_step = own.diff(dim=0), turned.diff(dim=0)
    atoms = sum(map(len, starts))
    first = 0
    rows = []
    for order in orders:
        rows += (first + order).tolist()
        first += len(order)
    assert 1e-3 < own_step.norm(dim=2).max() < 1.0
    assert (own_step[:, rows] @ rotation - turned_step[:, :atoms]).abs().max() < 1e-8
    cells = own[:, atoms:].view(STEPS, len(starts), 3, 3)
    assert (rotation.T @ cells @ rotation - turned[:, atoms:].view(STEPS, len(starts), 3, 3)).abs().max() < 1e-8


@KINDS
def test_structures_of_a_batch_are_independent(argon, starts, kind):
    optimiser = LearnedMoves(any_policy(kind))
    together = path(starts, argon, optimiser)
    alone = path(starts[2:3], argon, optimiser)
    first = sum(map(len, starts[:2]))
    assert (together[:, first : first + 4] - alone[:, :4]).abs().max() < 1e-8
    assert (together[:, sum(map(len, starts)) :][:, 6:9] - alone[:, 4:]).abs().max() < 1e-8


def test_copies_of_a_cell_move_alike(argon, starts):
    """In a fixed cell two copies of a structure take the steps of one."""
    optimiser = LearnedMoves(any_policy())
    single, double = starts[1], starts[1].repeat((2, 1, 1))
    one = path([single], argon, optimiser, variable_cell=False).diff(dim=0)[:, :3]
    two = path([double], argon, optimiser, variable_cell=False).diff(dim=0)[:, :6]
    assert one.abs().max() > 1e-3
    assert (two - torch.cat([one, one], dim=1)).abs().max() < 1e-8


@KINDS
def test_longest_step(argon, starts, kind):
    """No row is longer than the limit, however large the weights are, and every step points downhill."""
    optimiser = LearnedMoves(any_policy(kind, size=30.0), maxstep=0.15)
    every = states(starts, argon, optimiser, 30)
    for before, after in pairwise(every):
        step = after.coordinates - before.coordinates
        assert step.norm(dim=1).max() <= 0.15 * (1 + 1e-8)
        assert (before.dot(step, before.gradient_force) > 0).all()


def test_fixed_strains_stay_zero(argon, starts):
    """The height of a layer and the box of a cluster are not relaxed."""
    layer, cluster = starts[1].copy(), starts[2].copy()
    layer.cell[2] = [0, 0, 20]
    layer.pbc = (True, True, False)
    cluster.pbc = False
    cluster.cell = [20, 20, 20]
    moved = path([layer, cluster], argon, LearnedMoves(any_policy()))[-1]
    strain = moved[7:10]
    assert strain[:2, :2].abs().max() > 1e-4
    assert strain[2].abs().max() == strain[:, 2].abs().max() == 0
    assert moved[10:].abs().max() == 0


def test_policies_of_one_batch_are_independent(argon, starts):
    """Evolution relaxes the same cells with several policies at once."""
    settings = PolicySettings(handover=0.0)
    two = torch.cat([any_policy().flat(), any_policy(size=0.2).flat()])
    both = path([*starts, *starts], argon, LearnedMoves(Policy.from_flat(settings, two)))
    atoms = sum(map(len, starts))
    for k in range(2):
        alone = path(starts, argon, LearnedMoves(Policy.from_flat(settings, two[k : k + 1])))
        assert (both[:, k * atoms : (k + 1) * atoms] - alone[:, :atoms]).abs().max() < 1e-8


@KINDS
def test_gradient_through_a_relaxation(argon, starts, kind):
    """Slope of the mean logarithm of the force along a random direction of the weights, by central differences."""
    settings = MoveSettings(method="unrolling", steps=4, window=4, policy=PolicySettings(memory=kind, handover=0.0))
    batch = CrystalBatch.from_atoms(starts)
    flat = any_policy(kind, size=0.2).flat()
    way = torch.randn(flat.shape, generator=torch.Generator().manual_seed(5), dtype=flat.dtype)

    def value(weights):
        return unrolled_gradient(weights, batch, CommitteeSurface(argon), settings)

    gradient, _ = value(flat)
    h = 1e-4
    slope = (value(flat + h * way)[1] - value(flat - h * way)[1]) / (2 * h) * np.log(10)
    # Hessian products are differences over 4e-3 Å, with an error of the third order.
    assert float((gradient * way).sum()) == pytest.approx(slope, rel=5e-3, abs=1e-4)


def test_ranks_forget_the_scale_of_scores():
    scores = torch.tensor([3.0, -1.0, 7.0, 7.0, 0.5], dtype=torch.float64)
    ranks = centred_ranks(scores)
    assert ranks.tolist() == [0.0, -0.5, 0.375, 0.375, -0.25]
    assert torch.equal(ranks, centred_ranks(scores.exp()))


# Files


def test_file_keeps_the_policy(tmp_path):
    policy = any_policy("none", handover=0.3)
    save_policy(tmp_path / "p.moves", policy)
    read, _ = load_policy(tmp_path / "p.moves")
    assert read.settings == policy.settings
    assert torch.equal(read.flat(), policy.flat())


def edited(tmp_path, change):
    """A policy file whose header is changed."""
    save_policy(tmp_path / "p.moves", any_policy())
    with safe_open(tmp_path / "p.moves", framework="pt") as file:
        header, tensors = json.loads(file.metadata()[KEY]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(header, tensors)
    save_file(tensors, tmp_path / "p.moves", metadata={KEY: json.dumps(header)})
    return tmp_path / "p.moves"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda header, tensors: header["inputs"].pop(), "another state of the optimiser"),
        (lambda header, tensors: header["directions"].append("noise"), "another state of the optimiser"),
        (lambda header, tensors: header.update(version=99), "newer nucleate"),
        (lambda header, tensors: header["policy"].update(hidden=9), "its header implies"),
        (lambda header, tensors: header["policy"].update(memory="lstm"), "memory"),
        (lambda header, tensors: tensors.pop("out"), "'out' is missing"),
        (lambda header, tensors: tensors["out"].fill_(float("nan")), "not finite"),
    ],
)
def test_damaged_policies_are_refused(tmp_path, change, said):
    with pytest.raises(BadInput, match=said) as refusal:
        load_policy(edited(tmp_path, change))
    assert "\n" not in str(refusal.value)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(BadInput, match="train-moves"):
        load_policy(tmp_path / "missing.moves")
    (tmp_path / "text.moves").write_text("no weights")
    with pytest.raises(BadInput, match="is not a complete policy"):
        load_policy(tmp_path / "text.moves")
    save_committee(tmp_path / "model.safetensors", ManyBodyCommittee((18,), ModelSettings(members=1)))
    with pytest.raises(BadInput, match="is not a policy of learned moves"):
        load_policy(tmp_path / "model.safetensors")
    save_policy(tmp_path / "whole.moves", any_policy())
    (tmp_path / "half.moves").write_bytes((tmp_path / "whole.moves").read_bytes()[:2000])
    with pytest.raises(BadInput, match="is not a complete policy"):
        load_policy(tmp_path / "half.moves")


# Use


@pytest.mark.parametrize("name", ["adam", "learned:", "learned", "learned:a\nb"])
def test_unknown_optimisers_are_refused(name):
    with pytest.raises(ValueError, match="give fire, lbfgs or learned:FILE"):
        RelaxSettings(optimiser=name)


def test_initial_curvature(argon, starts):
    """The first step of L-BFGS is the force over it; other optimisers refuse the setting."""
    optimiser = make_optimiser(RelaxSettings(curvature=900.0))
    first = optimiser.init(start(CrystalBatch.from_atoms(starts), CommitteeSurface(argon), 0.0, True))
    step = optimiser.move(first).coordinates - first.coordinates
    assert 0 < step.norm(dim=1).max() < 0.2
    assert torch.allclose(step, first.gradient_force / 900.0, rtol=1e-9, atol=1e-12)
    for name in ("fire", "learned:p.moves"):
        with pytest.raises(ValueError, match="curvature has an effect"):
            RelaxSettings(optimiser=name, curvature=900.0)


@pytest.mark.parametrize("kernels", [True, False])
def test_the_last_step_gives_the_curvature(argon, starts, kernels, monkeypatch):
    """If the force has changed by k times the step, the next step is the force over k; a constant curvature does not learn this."""
    monkeypatch.setattr(optimisers, "HAS_KERNELS", kernels and optimisers.HAS_KERNELS)
    state = start(CrystalBatch.from_atoms(starts), CommitteeSurface(argon), 0.0, True)

    def second_step(k, optimiser):
        first = optimiser.init(state)
        last = first.coordinates + 0.01 * torch.randn(first.coordinates.shape, generator=torch.Generator().manual_seed(0))
        memory = {**first.memory, "row_last_x": last, "row_last_f": first.gradient_force + k * (first.coordinates - last)}
        memory["moved"] = torch.ones_like(first.enthalpy)
        return optimiser.move(replace(first, memory=memory)).coordinates - first.coordinates

    for k in (20.0, 250.0):
        expected = state.gradient_force / k
        assert torch.allclose(second_step(k, Lbfgs(maxstep=10.0)), expected, rtol=1e-9, atol=1e-12)
        assert not torch.allclose(second_step(k, Lbfgs(maxstep=10.0, curvature=70.0)), expected, rtol=1e-2)


def test_relaxation_ends_in_a_minimum(argon, starts, tmp_path):
    """A policy with random weights hands over to L-BFGS after its share of steps and converges."""
    save_policy(tmp_path / "p.moves", any_policy())
    settings = RelaxSettings(optimiser=f"learned:{tmp_path / 'p.moves'}", fmax=1e-3, smax=0.01, max_steps=1000, patience=1000)
    for end in relax(starts, argon, settings):
        assert end.stop == "converged"
        (again,) = relax([end.atoms], argon, RelaxSettings(fmax=1e-6, smax=1e-6, progress=0))
        assert again.energy_per_atom == pytest.approx(end.energy_per_atom, abs=1e-4)


def test_relaxation_of_a_file(tmp_path, tiny_emt):
    save_policy(tmp_path / "fresh.moves", Policy.fresh(PolicySettings(), 0))
    atoms = bulk("Cu", a=3.8, cubic=True)
    atoms.rattle(0.1, seed=1)
    ase.io.write(tmp_path / "cu.extxyz", atoms)

    def steps(**more):
        settings = {**tiny_emt, **more.pop("settings", {})}
        (one,) = relax_file(tmp_path / "cu.extxyz", settings=settings, out=tmp_path / "out.extxyz", **more).structures
        assert one.stop == "converged"
        return one.steps

    learned = f"learned:{tmp_path / 'fresh.moves'}"
    usual = steps(settings={"relax": {"curvature": CURVATURE}})
    assert steps(optimiser=learned) == steps(settings={"relax": {"optimiser": learned}}) == usual
    assert steps() < usual
    assert steps(optimiser="fire") != usual
    with pytest.raises(BadInput, match=r"missing\.moves"):
        steps(optimiser=f"learned:{tmp_path / 'missing.moves'}")
    with pytest.raises(BadInput, match="give fire, lbfgs or learned:FILE"):
        steps(optimiser="adam")


@pytest.fixture
def tiny_emt():
    return {"reference": {"engine": "ase", "calculator": "ase.calculators.emt:EMT", "workers": 0}}


def test_search_refuses_a_missing_policy_before_it_starts(tmp_path, tiny_emt, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = resolve_settings("Cu4", {**tiny_emt, "relax": {"optimiser": "learned:own.moves"}})
    with pytest.raises(BadInput, match=r"own\.moves"):
        prepare(settings)
    save_policy(tmp_path / "own.moves", Policy.fresh(PolicySettings(), 0))
    prepare(settings)
    # The path does not depend on the working directory, from which a search may be resumed.
    assert settings.relax.policy_file == str(tmp_path.resolve() / "own.moves")


# Training


SMALL = MoveSettings(generations=4, cells=3, validation=2, validate_every=2, batch=2, steps=4, pairs=2, window=2)


@pytest.fixture
def argon_model(tmp_path):
    settings = ModelSettings(cutoff=4.5, radial=4, channels=3, hidden=6, members=2)
    save_committee(tmp_path / "model.safetensors", ManyBodyCommittee((18,), settings, dtype=torch.float64))
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("method", ["evolution", "unrolling"])
def test_interrupted_training_ends_with_the_same_weights(tmp_path, argon_model, method):
    settings = SMALL.model_copy(update={"method": method})

    def interrupt(event):
        if getattr(event, "update", 0) == 3:
            raise KeyboardInterrupt

    whole, parts = tmp_path / "whole.moves", tmp_path / "parts.moves"
    train_moves(argon_model, ["Ar3"], whole, settings)
    with pytest.raises(KeyboardInterrupt):
        train_moves(argon_model, ["Ar3"], parts, settings, interrupt)
    with pytest.raises(BadInput, match="belongs to a training with other settings"):
        train_moves(argon_model, ["Ar3"], parts, settings.model_copy(update={"seed": 1}))
    train_moves(argon_model, ["Ar3"], parts, settings)
    assert not (tmp_path / "parts.moves.checkpoint").exists()
    (first, one), (second, other) = load_policy(whole), load_policy(parts)
    assert torch.equal(first.flat(), second.flat())
    assert replace_time(one) == replace_time(other)
    assert [point[0] for point in one.curve] == [0, 2, 4]
    # An untrained policy is L-BFGS, and the best weights are kept.
    assert one.curve[0][1] == one.curve[0][2]
    with pytest.raises(BadInput, match="exists"):
        train_moves(argon_model, ["Ar3"], whole, settings)


def replace_time(origin):
    return origin.model_copy(update={"cpu_seconds": 0.0})


def test_training_refuses_bad_input(tmp_path, argon_model):
    for formulas, said in ((["Si8"], "supports Ar but not Si"), ([], "needs a formula"), (["Xx2"], "Xx")):
        with pytest.raises(BadInput, match=said):
            train_moves(argon_model, formulas, tmp_path / "x.moves", SMALL)
    with pytest.raises(BadInput, match="folder does not exist"):
        train_moves(argon_model, ["Ar2"], tmp_path / "no" / "x.moves", SMALL)
    assert not (tmp_path / "x.moves").exists()


def test_verbs(tmp_path, argon_model):
    """Train, relax with the result on a reference, and be refused in one line."""
    run = CliRunner()
    (tmp_path / "moves.toml").write_text("cells = 2\nvalidation = 2\nbatch = 2\nsteps = 3\npairs = 2\n[policy]\nhidden = 3\n")
    options = ["--settings", tmp_path / "moves.toml", "--generations", 1]

    def nucleate(*words):
        return run.invoke(app, [str(word) for word in words])

    out = tmp_path / "own.moves"
    trained = nucleate("train-moves", argon_model, "Ar2", "--out", out, *options)
    assert trained.exit_code == 0, trained.output
    assert load_policy(out)[0].settings.hidden == 3
    atoms = bulk("Cu", a=3.7)
    ase.io.write(tmp_path / "cu.extxyz", atoms)
    (tmp_path / "emt.toml").write_text('[reference]\nengine = "ase"\ncalculator = "ase.calculators.emt:EMT"\nworkers = 0\n')
    command = ["relax", tmp_path / "cu.extxyz", "--settings", tmp_path / "emt.toml", "--out", tmp_path / "out.cif", "--optimiser"]
    relaxed = nucleate(*command, f"learned:{out}", "--json")
    assert json.loads(relaxed.stdout)["structures"][0]["stop"] == "converged"
    for words, said in (
        ([*command, f"learned:{argon_model}"], "is not a policy of learned moves"),
        ([*command, "sgd"], "give fire, lbfgs or learned:FILE"),
        (["train-moves", argon_model, "Ar2", "--out", out, *options], "exists; choose another name"),
        (["train-moves", out, "Ar2", "--out", tmp_path / "x.moves"], "is not a potential"),
        (["train-moves", argon_model, "Ar2", "--out", tmp_path / "x.moves", "--method", "ppo"], "method"),
    ):
        refused = nucleate(*words)
        assert refused.exit_code == 2, refused.output
        assert refused.stderr.count("\n") == 1
        assert said in refused.stderr


def test_a_relaxation_on_the_reference_uses_the_curvature_of_the_settings(tmp_path):
    import ase.io
    from ase.build import bulk

    import nucleate

    atoms = bulk("Al", "fcc", a=4.2, cubic=True)
    atoms.rattle(0.15, seed=1)
    ase.io.write(tmp_path / "al.extxyz", atoms)
    calls = []
    for curvature in (70.0, 15.0):
        settings = {
            "reference": {"engine": "ase", "calculator": "ase.calculators.emt:EMT", "workers": 0},
            "relax": {"curvature": curvature},
        }
        done = nucleate.relax_file(tmp_path / "al.extxyz", settings=settings, out=tmp_path / f"{curvature}.extxyz")
        assert done.structures[0].stop == "converged"
        calls.append(done.calls)
    # Steps that begin too short take more calls.
    assert calls[1] < calls[0]
