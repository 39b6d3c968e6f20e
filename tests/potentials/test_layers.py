import itertools

import pytest
import torch

from nucleate.potentials.networks.layers import ACTIVATIONS, MemberMLP


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("activation", ["silu", "tanh"])
def test_members_are_perceptrons_of_their_own(activation, dtype):
    sizes = (4, 6, 5, 2)
    made = MemberMLP(3, sizes, activation, torch.Generator().manual_seed(0), dtype=dtype).requires_grad_(False)
    x = torch.randn(3, 7, 4, dtype=dtype)
    for member in range(3):
        h = x[member]
        for k, _ in enumerate(itertools.pairwise(sizes)):
            if k == len(sizes) - 2:
                assert torch.allclose(made.hidden(x)[member], h, atol=1e-6)
            h = h @ made.layers[k].weight[member] + made.layers[k].bias[member]
            if k < len(sizes) - 2:
                h = ACTIVATIONS[activation](h)
        assert made(x).dtype == dtype
        assert torch.allclose(made(x)[member], h, atol=1e-6)


def test_standardised_inputs_go_through_the_first_layer():
    made = MemberMLP(2, (4, 6, 1), "silu", torch.Generator().manual_seed(0))
    x, mean, std = torch.randn(2, 5, 4).double(), torch.randn(4).double(), torch.rand(4).double() + 0.5
    assert torch.allclose(made.standardised(x, mean, std), made((x - mean) / std))
