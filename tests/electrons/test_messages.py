"""Equivariant messages: symmetries, smoothness, forces and stress through the features of the atoms, files and training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from nucleate.crystals.atom_images import images
from nucleate.electrons.data.store import read_snapshot
from nucleate.electrons.messages import network as module
from nucleate.electrons.messages.atom_graph import AtomGraph
from nucleate.electrons.messages.coupling import coupling, paths
from nucleate.electrons.messages.network import MessageNetwork
from nucleate.electrons.messages.settings import MessageSettings
from nucleate.electrons.model.model import ElectronModel
from nucleate.electrons.model.prediction import predict
from nucleate.electrons.model.training import ElectronTraining, train
from nucleate.errors import BadInput
from nucleate.persist.toml import validated

REACH, TEMPERATURE = 5.0, 900.0


def made(degree: int = 2, heads: int = 2, species: int = 2, cutoff: float = 4.5) -> MessageNetwork:
    settings = MessageSettings(degree=degree, heads=heads, channels=6, width=5, cutoff=cutoff)
    return MessageNetwork(settings, species, REACH, 2, torch.Generator().manual_seed(3)).double()


def compound() -> tuple[Atoms, torch.Tensor]:
    atoms = bulk("MgO", "rocksalt", a=4.2, cubic=True) * (2, 1, 1)
    atoms.rattle(0.15, seed=4)
    return atoms, torch.tensor(atoms.numbers == 8).long()


def graph(atoms: Atoms, species: torch.Tensor, cutoff: float = 4.5) -> AtomGraph:
    return AtomGraph.of(atoms, species, torch.tensor(atoms.positions), torch.tensor(atoms.cell.array), cutoff)


def received(network: MessageNetwork, atoms: Atoms, species: torch.Tensor, points: np.ndarray) -> torch.Tensor:
    """Messages to points of the cell, (m, points, features)."""
    around = images(torch.tensor(atoms.positions), torch.tensor(atoms.cell.array), REACH)
    nodes = network.nodes(graph(atoms, species, network.settings.cutoff))
    return network(torch.tensor(points)[None], around.places[None], around.atom[None], nodes)


@pytest.mark.parametrize("heads", [0, 2])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_messages_do_not_change_under_rotations_reflections_and_the_order_of_atoms(degree: int, heads: int) -> None:
    atoms, species = compound()
    network = made(degree, heads)
    points = np.random.default_rng(1).random((7, 3)) @ atoms.cell.array
    first = received(network, atoms, species, points)
    assert float(first.std(1).min()) > 1e-4
    # The points of another place of the crystal receive other messages; an orthogonal matrix with a reflection changes nothing.
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    for matrix in (turn, -turn):
        turned = atoms.copy()
        turned.set_cell(atoms.cell.array @ matrix)
        turned.positions = atoms.positions @ matrix
        assert torch.allclose(received(network, turned, species, points @ matrix), first, atol=1e-10)
    order = np.random.default_rng(2).permutation(len(atoms))
    assert torch.allclose(received(network, atoms[order], species[order], points), first, atol=1e-10)


def test_couplings_are_those_of_the_products_of_harmonics() -> None:
    assert len(paths(1)) == 4
    # A scalar passes the other factor on, and the scalar product of two vectors is their only scalar.
    assert torch.allclose(coupling((0, 2, 2))[0], torch.eye(5, dtype=torch.float64))
    product = coupling((1, 1, 0))[..., 0]
    assert torch.allclose(product, product[0, 0] * torch.eye(3, dtype=torch.float64))
    for path in paths(3):
        table = coupling(path).flatten(0, 1)
        # Schur's lemma: the map from products to components is an isometry but for a factor, which is 1.
        assert torch.allclose(table.T @ table, torch.eye(2 * path[2] + 1, dtype=torch.float64), atol=1e-12)


def test_messages_are_smooth_where_an_atom_crosses_the_cutoff() -> None:
    atoms = Atoms("MgO", positions=[[0, 0, 0], [4.0, 0.3, 0]], cell=np.eye(3) * 30, pbc=True)
    network, species = made(), torch.tensor([0, 1])
    point = np.array([[0.7, 0.2, 0.1]])

    def at(x: float) -> torch.Tensor:
        moved = atoms.copy()
        moved.positions[1, 0] = x
        return received(network, moved, species, point)

    edge, step = np.sqrt(4.5**2 - 0.3**2), 1e-4
    below, here, above = at(edge - step), at(edge), at(edge + step)
    scale = float((at(3.0) - here).abs().max())
    assert scale > 1e-3
    # A kink would be of the order of the step; the curvature is finite on both sides.
    assert float((below - 2 * here + above).abs().max()) < 1e-6 * scale


def test_messages_of_structures_made_together_or_in_parts_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    atoms, species = compound()
    small, few = atoms[:5], species[:5]
    network = made()
    apart = torch.cat([network.nodes(graph(atoms, species)), network.nodes(graph(small, few))])
    assert torch.allclose(network.nodes(AtomGraph.together([graph(atoms, species), graph(small, few)])), apart, atol=1e-12)
    monkeypatch.setattr(module, "CHUNK", 3)
    assert torch.allclose(network.nodes(graph(small, few)), apart[len(atoms) :], atol=1e-12)


@pytest.fixture(scope="module")
def trained(al_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("messages") / "model"
    settings = ElectronTraining(
        steps=60, points=400, hidden=(24, 24), batch=128, descriptor={"radial": 4, "degree": 2, "cutoff": 4.0},
        messages=MessageSettings(channels=6, heads=2, width=5, cutoff=4.0),
    )  # fmt: skip
    train([al_data], out, settings)
    return out / "model.safetensors"


def test_forces_and_stress_contain_the_changes_of_the_messages(trained: Path, al_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ElectronModel.load(trained)
    model.network.double()
    atoms = read_snapshot(al_data / "snapshots/0002.zarr", ldos=False).atoms
    monkeypatch.setattr(module, "CHUNK", 3)
    shape = model.grid(atoms).shape
    found = predict(model, atoms, TEMPERATURE, shape=shape, forces=True)
    assert found.forces is not None
    assert found.stress is not None
    step = 3e-4
    pair = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[1, 2] += sign * step
        pair.append(float(predict(model, moved, TEMPERATURE, shape=shape).terms.free))
    assert float(found.forces[1, 2]) == pytest.approx(-(pair[0] - pair[1]) / (2 * step), abs=1e-5)
    pair = []
    for sign in (1, -1):
        strain = np.eye(3) + sign * step / 2 * np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]])
        moved = atoms.copy()
        moved.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        pair.append(float(predict(model, moved, TEMPERATURE, shape=shape).terms.free))
    assert float(found.stress[0, 1]) == pytest.approx((pair[0] - pair[1]) / (2 * step) / atoms.get_volume(), abs=2e-5)


def test_workers_predict_the_same_with_messages(trained: Path, al_data: Path, tmp_path: Path) -> None:
    atoms = read_snapshot(al_data / "snapshots/0001.zarr", ldos=False).atoms
    model = ElectronModel.load(trained)
    alone = predict(model, atoms, TEMPERATURE, forces=True)
    for _ in range(2):
        # The second time from finished slabs.
        shared = predict(model, atoms, TEMPERATURE, forces=True, workers=2, path=trained, scratch=tmp_path / "slabs")
        assert shared.forces is not None
        assert alone.forces is not None
        assert float(shared.terms.free) == pytest.approx(float(alone.terms.free), abs=1e-6)
        assert torch.allclose(shared.forces, alone.forces, atol=1e-5)


@pytest.mark.slow
def test_forces_of_64_atoms_with_two_workers_are_finite_differences(trained: Path, al_data: Path) -> None:
    atoms = read_snapshot(al_data / "snapshots/0000.zarr", ldos=False).atoms * (4, 2, 2)
    atoms.rattle(0.05, seed=1)
    single, double = ElectronModel.load(trained), ElectronModel.load(trained)
    double.network.double()
    shape, step = single.grid(atoms).shape, 3e-4
    found = predict(single, atoms, TEMPERATURE, shape=shape, forces=True, workers=2, path=trained)
    assert found.forces is not None
    for atom, axis in ((5, 0), (50, 2)):
        pair = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            pair.append(float(predict(double, moved, TEMPERATURE, shape=shape).terms.free))
        assert float(found.forces[atom, axis]) == pytest.approx(-(pair[0] - pair[1]) / (2 * step), abs=1e-5)


def test_a_mistyped_setting_of_messages_is_named_with_the_right_one() -> None:
    with pytest.raises(BadInput, match=r"unknown key messages\.head; did you mean heads\?"):
        validated(ElectronTraining, {"messages": {"head": 2}}, "train.toml")


def test_messages_that_cannot_be_are_refused(al_data: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="heads do not divide"):
        train([al_data], tmp_path / "m", ElectronTraining(messages=MessageSettings(channels=6, heads=4)))
