"""A sample of the mutated inputs of each kind, and faults that the harness must notice."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[2] / "benchmarks" / "faults" / "inputs"
KINDS = (
    "formula", "cif", "poscar", "extxyz", "labelled", "executor", "couplings", "pairs", "model", "pair-model", "mala", "curve", "shifts",
    "campaign", "run", "toml",
)  # fmt: skip
SAMPLE = {"run": 15, "toml": 40, "executor": 30}
"""Number of inputs of the kinds that take longest; 60 of the others."""


@pytest.fixture
def batch(monkeypatch):
    pytest.importorskip("gemmi")
    monkeypatch.syspath_prepend(str(HERE))
    import input_batch

    yield input_batch
    for name in [name for name in sys.modules if name.startswith("input_")]:
        del sys.modules[name]


def counted(batch, kind, count):
    from input_corpus import corpus

    return list(batch.outcomes(kind, 1, range(count), corpus(kind)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_has_no_fault(batch, kind):
    said = counted(batch, kind, SAMPLE.get(kind, 60))
    assert len(said) == SAMPLE.get(kind, 60)
    # How fast this machine is, is no fault.
    assert [each for each in said if each["outcome"] in batch.FAULTS and each["outcome"] != "slow"] == []
    assert any(each["outcome"] == "refused" for each in said)


def crash(folder, name):
    import os

    os._exit(3)


def endless(folder, name):
    while True:
        pass


def divide(folder, name):
    raise ZeroDivisionError


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("reader", "outcome"), [(crash, "died"), (endless, "hang"), (divide, "traceback")])
def test_planted_faults_are_noticed(batch, monkeypatch, reader, outcome):
    monkeypatch.setitem(batch.READERS, "formula", reader)
    monkeypatch.setattr(batch, "LIMIT", 0.2)
    assert [(each["number"], each["outcome"]) for each in counted(batch, "formula", 2)] == [(0, outcome), (1, outcome)]
