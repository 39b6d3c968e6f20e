"""A sample of mutated inputs given to the command line, and faults that the harness must notice."""

import sys
from pathlib import Path

import pytest

FAULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "faults"


@pytest.fixture
def harness(monkeypatch):
    pytest.importorskip("gemmi")
    for name in ("inputs", "commands"):
        monkeypatch.syspath_prepend(str(FAULTS / name))
    sys.modules.pop("run", None)
    import run

    yield run
    for name in [name for name in sys.modules if name in ("run", "command_words") or name.startswith("input_")]:
        del sys.modules[name]


@pytest.mark.filterwarnings("ignore")
def test_a_sample_has_no_fault(harness):
    from command_words import needs
    from input_corpus import corpus

    beside = needs()
    said = [
        harness.outcome_of(kind, 4, number, corpus(kind), beside, 60.0) for kind, number in (("executor", 0), ("executor", 1), ("mala", 0))
    ]
    assert [each for each in said if each[0] in harness.FAULTS] == []


@pytest.mark.parametrize(
    ("code", "text", "interrupted", "outcome"),
    [
        (2, "error: a.cif: is empty\n", False, "refused"),
        (2, "warning: old file\nerror: a.cif: is empty\n", False, "refused"),
        (2, "error: a.cif: is\nempty\n", False, "message"),
        (2, "", False, "message"),
        (1, "Traceback (most recent call last):\nValueError\n", False, "traceback"),
        (1, "error: the calculator failed\n", False, "failed"),
        (-11, "", False, "code"),
        (0, "", False, "ran"),
        (130, "stopped\n", True, "interrupted"),
        (1, "", True, "code"),
    ],
)
def test_outcomes(harness, code, text, interrupted, outcome):
    assert harness.judged(code, text, interrupted) == outcome


@pytest.mark.parametrize(
    ("script", "patience", "outcome"),
    [
        ("import subprocess; subprocess.Popen(['sleep', '1000'])", 60.0, "left"),
        ("import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(1000)", 1.0, "hang"),
    ],
)
def test_processes_that_do_not_end_are_noticed(harness, monkeypatch, tmp_path, script, patience, outcome):
    (tmp_path / "nucleate.py").write_text(script)
    monkeypatch.setattr(harness, "GRACE", 1.0)
    monkeypatch.setattr(harness, "LEFT", 1.0)
    assert harness.ended([], tmp_path, patience)[0] == outcome
