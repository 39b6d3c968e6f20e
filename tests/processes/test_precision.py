import pytest
import torch

import nucleate
from nucleate.processes.precision import default_precision


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_the_default_of_the_program_comes_back(double):
    def fail():
        with default_precision():
            raise ValueError(str(torch.zeros(1).dtype))

    with pytest.raises(ValueError, match="float32"):
        fail()
    assert torch.zeros(1).dtype == torch.float64


def test_a_search_does_not_depend_on_the_default_of_the_program(double, tmp_path):
    settings = {
        "reference": {"engine": "ase", "calculator": "ase.calculators.emt:EMT", "workers": 0},
        "search": {"pool": 8, "max_rounds": 1},
    }
    settings |= {
        "model": {"members": 2, "channels": 4, "hidden": 8},
        "training": {"steps": 40, "warm_steps": 20},
        "relax": {"max_steps": 30},
    }
    calls = []
    for name, dtype in (("double", torch.float64), ("single", torch.float32)):
        torch.set_default_dtype(dtype)
        result = nucleate.search("Al4", settings=settings, budget=10, seed=3, out=tmp_path / name)
        assert torch.get_default_dtype() == dtype
        calls.append([result.calls, [round(p.energy, 6) for p in result.polymorphs]])
    assert calls[0] == calls[1]
