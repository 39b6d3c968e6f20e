import math
import subprocess
import sys

import pytest
import torch

from nucleate.errors import NucleateError
from nucleate.training.descent import Descent, check_loss, cosine_decay


def test_the_cosine_decays_from_one_to_its_end():
    assert [cosine_decay(x, 0.2) for x in (0, 0.5, 1)] == pytest.approx([1, 0.6, 0.2])
    assert all(cosine_decay(k / 20) > cosine_decay((k + 1) / 20) for k in range(20))
    assert cosine_decay(0.25, 0) + cosine_decay(0.75, 0) == pytest.approx(1)


@pytest.mark.parametrize("final", [0.0, 0.01])
@pytest.mark.parametrize("clip", [None, 0.1])
def test_steps_are_those_of_torch(final, clip):
    target = torch.tensor([3.0, -1.0], dtype=torch.float64)
    ours, theirs = (torch.zeros(2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    descent = Descent([ours], 0.1, 0.01, lambda k: cosine_decay(k / 30, final), clip)
    optimiser = torch.optim.AdamW([theirs], lr=0.1, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 30, final * 0.1)
    for _ in range(30):
        loss = (theirs - target).square().sum()
        assert descent.step((ours - target).square().sum()) == pytest.approx(float(loss.detach()), rel=1e-12)
        optimiser.zero_grad()
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_([theirs], clip)
        optimiser.step()
        schedule.step()
    assert descent.taken == 30
    assert torch.allclose(ours, theirs, rtol=1e-12)


def test_training_does_not_import_the_compiler():
    """torch's decorators of optimisers do, which would take longer than many trainings."""
    code = (
        "import sys, torch; from nucleate.training.descent import Adam, Descent\n"
        "weights = torch.zeros(2, requires_grad=True)\n"
        "Descent([weights], 0.1, 0.0, lambda k: 1.0, 1.0).step(weights.sum())\n"
        "again = Adam([weights]); again.load_state_dict(again.state_dict()); again.zero_grad(); again.step()\n"
        "print('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_leaves_the_parameters(value):
    with pytest.raises(NucleateError, match="step 7; lower the learning rate"):
        check_loss(value, 7)
    parameter = torch.ones(2, requires_grad=True)
    with pytest.raises(NucleateError, match="at step 1"):
        Descent([parameter], 0.1, 0.01, lambda k: 1.0).step(value * parameter.sum())
    assert torch.equal(parameter.detach(), torch.ones(2))
