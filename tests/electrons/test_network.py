import copy
import pickle

import pytest
import torch

from nucleate.electrons.model.network import LdosNetwork


@pytest.fixture
def network():
    made = LdosNetwork(4, 5, (6, 7), 3, seed=1)
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for tensor in made.state_dict().values():
            tensor.copy_(torch.rand(tensor.shape, generator=draw) + 0.5)
    return made.requires_grad_(False)


def test_state_has_the_names_and_shapes_of_model_files(network):
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert shapes == {
        "mean": (4,), "scale": (4,), "last": (3, 7, 5), "last_bias": (3, 5),
        "weights.0": (3, 4, 6), "weights.1": (3, 6, 7), "biases.0": (3, 1, 6), "biases.1": (3, 1, 7),
    }  # fmt: skip


def test_members_are_plain_perceptrons_with_the_tensors_of_the_file(network):
    state, x = network.state_dict(), torch.randn(11, 4, generator=torch.Generator().manual_seed(3))
    for member in range(3):
        h = (x - state["mean"]) * state["scale"]
        for k in range(2):
            h = torch.nn.functional.silu(h @ state[f"weights.{k}"][member] + state[f"biases.{k}"][member])
        assert torch.allclose(network.hidden(x)[member], h, rtol=1e-5)
        assert torch.allclose(network(x)[member], h @ state["last"][member] + state["last_bias"][member], rtol=1e-5)


def test_state_goes_from_one_network_to_another(network):
    other, x = LdosNetwork(4, 5, (6, 7), 3, seed=4), torch.ones(2, 4)
    assert not torch.allclose(other(x), network(x))
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(x), network(x))
    assert torch.equal(pickle.loads(pickle.dumps(network))(x), network(x))
    state = network.state_dict()
    del state["last_bias"]
    with pytest.raises(RuntimeError, match="Missing"):
        other.load_state_dict(state)


def test_changes_of_the_last_layer_change_the_network(network):
    x, changed = torch.ones(2, 4), copy.deepcopy(network)
    changed.last.mul_(2)
    changed.last_bias.mul_(2)
    assert torch.allclose(changed(x), 2 * network(x))
    assert torch.equal(changed.hidden(x), network.hidden(x))
