"""References that misbehave on purpose; a module of its own, so that worker processes can import it."""

import contextlib
import ctypes
import os
import re
import subprocess
import sys
import time

import numpy as np
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

from nucleate.errors import ReferenceFailed
from nucleate.reference.base import Label, content_hash


class Emt:
    """Effective-medium copper; trouble is written into the structure's first coordinate."""

    name = "fake"
    surrogate = True

    def __init__(self, marker=None):
        self.marker = marker

    def settings(self):
        return {"engine": "fake"}

    def k_points(self, atoms):
        return None

    def label(self, atoms):
        if self.marker:
            with open(self.marker, "a") as stream:  # noqa: PTH123
                stream.write("call\n")
        trouble = round(float(atoms.positions[0, 0]), 3)
        if trouble == 0.111:
            raise ReferenceFailed("no convergence after 3 iterations", kind="unconverged")
        if trouble == 0.222:
            time.sleep(30)
        if trouble == 0.333:
            os._exit(7)
        if trouble == 0.444:
            raise ZeroDivisionError("engine bug")
        atoms = atoms.copy()
        atoms.calc = EMT()
        return Label(atoms.get_potential_energy(), np.array(atoms.get_forces()), np.array(atoms.get_stress()))


class Paid(Emt):
    """Copper that writes an invoice line before and after each calculation: what, hash, worker and the worker's watcher."""

    def __init__(self, invoices, seconds=0.05):
        super().__init__()
        self.invoices = str(invoices)
        self.seconds = seconds

    def settings(self):
        return {"engine": "paid"}

    def label(self, atoms):
        key = content_hash(atoms, self.settings())
        self.invoice("begun", key)
        time.sleep(self.seconds * (0.5 + int(key[:2], 16) / 128))
        answer = super().label(atoms)
        self.invoice("ended", key)
        return answer

    def invoice(self, what, key):
        # One write: lines of several processes do not mix.
        stream = os.open(self.invoices, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(stream, f"{what} {key} {os.getpid()} {os.getppid()}\n".encode())
        os.close(stream)


class Stubborn(Paid):
    """Coordinates name what it does: no time limit in Python stops any of it."""

    def label(self, atoms):
        trouble = round(float(atoms.positions[0, 0]), 3)
        if trouble in (0.511, 0.522, 0.533):
            self.invoice("begun", content_hash(atoms, self.settings()))
        while trouble == 0.511:
            with contextlib.suppress(BaseException):
                time.sleep(0.01)
        if trouble == 0.522:
            # Holds the interpreter's lock: no other thread runs, no handler of signals is called.
            ctypes.PyDLL(None).sleep(600)
        if trouble == 0.533:
            re.match(r"(a+)+$", "a" * 60 + "b")
        return super().label(atoms)


ENGINE = """
echo $$ >> "$1"
setsid bash -c 'echo $$ >> "$0"; sleep 600 & echo $! >> "$0"; wait' "$1" &
(trap "" INT TERM HUP; echo $BASHPID >> "$1"; sleep 600 & echo $! >> "$1"; wait) &
sleep 600 & echo $! >> "$1"
wait
"""


class Engine(Paid):
    """Starts programs as `mpirun` does, and notes their ids: children of children, some in a session of their own or deaf to signals."""

    def label(self, atoms):
        self.invoice("begun", content_hash(atoms, self.settings()))
        pids = self.invoices + ".pids"
        with open(pids, "a") as stream:  # noqa: PTH123
            stream.write(f"{os.getpid()}\n")
        subprocess.run(["bash", "-c", ENGINE, "engine", pids], check=True)
        raise AssertionError("the engine ended by itself")


class Deaf(Paid):
    """Takes an interrupt for trouble of its own, as packages with `except:` do."""

    def label(self, atoms):
        self.invoice("begun", content_hash(atoms, self.settings()))
        try:
            time.sleep(60)
        except BaseException:
            raise ValueError("something went wrong") from None


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def circle():
    ring = []
    ring.append(ring)
    return {"ring": ring}


class Hostile:
    """Passes for an array and for a detail until it is looked at."""

    def __array__(self, *arguments, **keywords):
        raise OSError("no array")

    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


def _raise(error):
    raise error


def _deep(depth=0):
    return _deep(depth + 1) + 1


GOOD = {"energy": -1.0, "forces": np.zeros((4, 3)), "stress": np.zeros(6)}
ODD_NUMBERS = {
    "forces (n, 2)": {"forces": np.zeros((4, 2))},
    "forces of another crystal": {"forces": np.zeros((3, 3))},
    "forces None": {"forces": None},
    "forces ragged": {"forces": [[0, 0, 0], [0, 0]]},
    "forces of objects": {"forces": np.full((4, 3), None)},
    "forces hostile": {"forces": Hostile()},
    "forces complex": {"forces": np.full((4, 3), 1j)},
    "forces infinite": {"forces": np.full((4, 3), np.inf)},
    "stress (3,)": {"stress": np.zeros(3)},
    "stress None": {"stress": None},
    "energy 1e200": {"energy": 1e200},
    "energy NaN": {"energy": float("nan")},
    "energy complex": {"energy": np.complex128(1 + 2j)},
    "energy text": {"energy": "-1.0"},
    "energy None": {"energy": None},
}
ODD_LABELS = {
    "stress (3, 3)": lambda: Label(**GOOD | {"stress": np.zeros((3, 3))}),
    "None": lambda: None,
    "text": lambda: "all went well",
    "a dictionary": lambda: dict(GOOD),
    "circular details": lambda: Label(**GOOD, details=circle()),
    "hostile details": lambda: Label(**GOOD, details={"x": Hostile()}),
    "details with keys of tuples": lambda: Label(**GOOD, details={(1, 2): 3}),
    "details no dictionary": lambda: Label(**GOOD, details=lambda: 1),
    "iterations None": lambda: Label(**GOOD, iterations=None),
    "core-seconds infinite": lambda: Label(**GOOD, core_seconds=float("inf")),
}
ODD_ENDS = {
    "sys.exit(0)": lambda: sys.exit(0),
    "lone surrogates": lambda: _raise(ValueError("\udcff\n\r\x1b[31m red")),
    "ten megabytes": lambda: _raise(ValueError("x" * 10_000_000)),
    "no words": lambda: _raise(Unprintable()),
    "recursion": lambda: _deep(),
    "memory": lambda: _raise(MemoryError()),
    "a kind of its own": lambda: _raise(ReferenceFailed("bad", kind="ok")),
    "a kind that is repeated": lambda: _raise(ReferenceFailed("bad", kind="running")),
    "reason None": lambda: _raise(ReferenceFailed(None)),
    "generator's end": lambda: _raise(GeneratorExit()),
}
ODD = [*ODD_NUMBERS, *ODD_LABELS, *ODD_ENDS, "os._exit"]
"""What `OddReference` does for a first coordinate of 0.001, 0.002, ..."""


def odd_atoms(name):
    atoms = bulk("Cu", a=3.6, cubic=True)
    atoms.positions[0, 0] = 0.001 * (1 + ODD.index(name))
    return atoms


def _what(atoms):
    number = round(float(atoms.positions[0, 0]) * 1000) - 1
    return ODD[number] if 0 <= number < len(ODD) else ""


class OddReference(Paid):
    """Every answer that is none."""

    def label(self, atoms):
        what = _what(atoms)
        if what:
            self.invoice("begun", content_hash(atoms, self.settings()))
        if what in ODD_NUMBERS:
            return Label(**GOOD | ODD_NUMBERS[what])
        if what == "os._exit":
            os._exit(0)
        return (ODD_LABELS | ODD_ENDS)[what]() if what else super().label(atoms)


class OddCalculator(Calculator):
    """The same from an ASE calculator; a key of results that is left out is an output that ends too early."""

    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        what = _what(atoms)
        if what in ODD_ENDS:
            ODD_ENDS[what]()
        if what == "os._exit":
            os._exit(0)
        if what in ODD_NUMBERS:
            self.results = GOOD | ODD_NUMBERS[what]
        elif what in ODD_LABELS:
            self.results = {"energy": -1.0}
        else:
            engine = EMT()
            engine.calculate(atoms, properties, system_changes)
            self.results = {name: engine.results[name] for name in self.implemented_properties}


class ExitingCalculator(Calculator):
    """Ends the program, and says that all was well."""

    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, *arguments, **keywords):
        sys.exit(0)
