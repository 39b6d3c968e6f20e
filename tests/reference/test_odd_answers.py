"""Whatever a reference answers: a row of the ledger with a reason, and the next question is asked."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.emt import EMT

from nucleate.errors import BadInput, NucleateError, ReferenceFailed
from nucleate.reference import Dispatcher, Label, Ledger, ReferenceSettings, make_reference
from nucleate.reference.base import checked_answer
from tests.reference.fakes import GOOD, ODD, ODD_NUMBERS, OddReference, odd_atoms
from tests.reference.test_ledger_and_dispatch import copper

ROOT = Path(__file__).resolve().parents[2]
IN_PROCESS = [name for name in ODD if name != "os._exit"]


PRINTS = """
import os
from ase.calculators.emt import EMT

class Prints(EMT):
    def calculate(self, *given, **more):
        print("from the engine")
        os.write(1, b"from a library\\n")
        super().calculate(*given, **more)
"""


def engine_ase(calculator="OddCalculator"):
    return make_reference(ReferenceSettings(engine="ase", calculator=f"tests.reference.fakes:{calculator}"))


def check(path, answers, names):
    """Every odd answer is a failure in memory and in the ledger; the good one before and the one after are there."""
    assert isinstance(answers[0], Label)
    assert isinstance(answers[-1], Label)
    for name, answer in zip(names, answers[1:-1], strict=True):
        assert isinstance(answer, ReferenceFailed), name
        assert answer.reason, name
        assert answer.reason.isprintable(), name
        assert len(answer.reason) <= 1000, name
        assert answer.kind in ("failed", "invalid"), name
    # As a later run reads them.
    rows = list(Ledger(path).rows())
    assert len(rows) == len(answers)
    by_place = {round(float(row.atoms.positions[0, 0]), 3): row for row in rows}
    for name in names:
        row = by_place[round(float(odd_atoms(name).positions[0, 0]), 3)]
        assert row.status in ("failed", "invalid"), name
        assert row.reason, name


def questions(names):
    return [copper(0.6), *map(odd_atoms, names), copper(0.61)]


def test_in_this_process(tmp_path):
    with Dispatcher(OddReference(tmp_path / "paid"), Ledger(tmp_path / "run.db"), timeout=60) as dispatcher:
        answers = dispatcher.label_many(questions(IN_PROCESS), "train", 0)
    check(tmp_path / "run.db", answers, IN_PROCESS)


def test_from_two_workers(tmp_path):
    with Dispatcher(OddReference(tmp_path / "paid"), Ledger(tmp_path / "run.db"), workers=2, timeout=120) as dispatcher:
        answers = dispatcher.label_many(questions(ODD), "train", 0)
    check(tmp_path / "run.db", answers, ODD)
    begun = [line.split()[1] for line in (tmp_path / "paid").read_text().splitlines() if line.startswith("begun")]
    # The one that ends its worker is asked twice; nothing else is.
    assert len(begun) == len(ODD) + 2 + 1
    assert len(set(begun)) == len(ODD) + 2


@pytest.mark.parametrize("workers", [0, 2])
def test_from_an_ase_calculator(tmp_path, workers):
    names = ODD if workers else IN_PROCESS
    names = [name for name in names if name not in ("a kind of its own", "a kind that is repeated", "reason None")]
    with Dispatcher(engine_ase(), Ledger(tmp_path / "run.db"), workers=workers, timeout=120) as dispatcher:
        answers = dispatcher.label_many(questions(names), "train", 0)
    check(tmp_path / "run.db", answers, names)


@pytest.mark.parametrize("name", ODD_NUMBERS)
def test_the_reason_names_what_is_wrong(name):
    answer = checked_answer(Label(**GOOD | ODD_NUMBERS[name]), copper())
    assert answer.kind == "invalid"
    assert name.split()[0] in answer.reason


def test_an_output_that_ends_after_the_energy_is_a_failure_with_a_reason():
    with pytest.raises(ReferenceFailed, match="ends before forces"):
        engine_ase().label(odd_atoms("None"))


def test_a_calculator_without_stress_stops_the_search():
    with pytest.raises(BadInput, match="stress"):
        make_reference(ReferenceSettings(engine="ase", calculator="ase.calculators.tip3p:TIP3P")).label(copper())


def test_a_stress_matrix_of_a_calculator_becomes_six_components(monkeypatch):
    matrix = np.arange(9.0).reshape(3, 3)
    monkeypatch.setitem(ODD_NUMBERS, "stress (3,)", {"stress": matrix + matrix.T})
    label = engine_ase().label(odd_atoms("stress (3,)"))
    np.testing.assert_allclose(label.stress, [0, 8, 16, 12, 8, 4])


def test_details_that_are_no_json_do_not_cost_the_label(tmp_path):
    answer = checked_answer(Label(**GOOD, details={"set": {1}, "f": len, "nan": float("nan"), "s": "\udcff"}), copper())
    assert isinstance(answer, Label)
    ledger = Ledger(tmp_path / "run.db")
    ledger.begin("k" * 64, copper(), "fake", {}, "train", 0)
    ledger.keep("k" * 64, answer, 1.0)
    assert ledger.lookup("k" * 64).label.details["set"] == "{1}"


def test_an_interrupt_is_not_an_answer(tmp_path):
    class Interrupted(OddReference):
        def label(self, atoms):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Dispatcher(Interrupted(tmp_path / "paid"), Ledger(tmp_path / "run.db")).label_many([copper()], "train", 0)


def test_a_reference_that_cannot_be_sent_to_workers_is_said_and_costs_no_rows(tmp_path):
    reference = OddReference(tmp_path / "paid")
    reference.helper = lambda: None
    with Dispatcher(reference, Ledger(tmp_path / "run.db"), workers=1) as dispatcher, pytest.raises(NucleateError, match="cannot be sent"):
        dispatcher.label_many([copper()], "train", 0)
    assert {row.status for row in Ledger(tmp_path / "run.db").rows()} <= {"interrupted"}


def test_a_module_that_ends_the_program_as_it_is_loaded(tmp_path, monkeypatch):
    (tmp_path / "leaves_at_once.py").write_text("import sys\nsys.exit(0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    with pytest.raises(BadInput, match="SystemExit"):
        make_reference(ReferenceSettings(engine="ase", calculator="leaves_at_once:Calculator"))


def test_a_search_whose_calculator_exits_says_so(tmp_path):
    settings = tmp_path / "settings.toml"
    settings.write_text('[reference]\nengine = "ase"\ncalculator = "tests.reference.fakes:ExitingCalculator"\n')
    run = subprocess.run(
        [
            sys.executable, "-m", "nucleate", "search", "Cu2", "--out", tmp_path / "run", "--budget", "6", "--pool", "10",
            "--workers", "0", "--settings", settings, "--quiet",
        ],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode != 0, run.stdout
    assert "SystemExit" in run.stderr, run.stderr
    reasons = [row.reason for row in Ledger(tmp_path / "run" / "run.db").rows()]
    assert reasons
    assert all("SystemExit" in reason for reason in reasons)


@pytest.mark.parametrize("what", ["positions", "cell"])
def test_a_calculator_that_changes_the_atoms_has_no_answer(monkeypatch, what):
    """Its forces would be those of another structure than its energy."""
    real = EMT.calculate

    def moves(self, atoms=None, *more, **given):
        real(self, atoms, *more, **given)
        if what == "cell":
            atoms.set_cell(atoms.cell.array * 1.001)
        else:
            atoms.positions[0] += 0.01

    monkeypatch.setattr(EMT, "calculate", moves)
    reference = make_reference(ReferenceSettings(engine="ase", calculator="ase.calculators.emt:EMT"))
    with pytest.raises(ReferenceFailed, match="changes the atoms") as caught:
        reference.label(copper(0.6))
    assert caught.value.kind == "invalid"


@pytest.mark.parametrize("workers", [0, 1])
def test_what_an_engine_prints_is_apart_from_the_result(tmp_path, workers):
    """The reader of --json gets nothing but JSON."""
    (tmp_path / "prints.py").write_text(PRINTS)
    (tmp_path / "s.toml").write_text("[reference]\nengine = 'ase'\ncalculator = 'prints:Prints'\n")
    words = [sys.executable, "-m", "nucleate", "relax", str(tmp_path / "cu.cif"), "--settings", str(tmp_path / "s.toml"), "--json"]
    copper(0.05).write(tmp_path / "cu.cif")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    run = subprocess.run([*words, "--workers", str(workers)], capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)
    assert "from the engine" in run.stderr
    assert "from a library" in run.stderr
