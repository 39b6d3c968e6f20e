"""Effective medium theory that misbehaves in a share of its calculations; which ones depends on the structure alone."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT

MISBEHAVIOURS = (
    "NaN energy", "NaN force", "infinite stress", "huge forces", "wrong shape of forces", "no stress", "forces of other atoms",
    "text for an energy", "exception", "exception without a text", "out of memory", "exit", "kill -9", "segmentation fault", "hang",
    "output on the terminal", "moves the atoms",
)  # fmt: skip
"""What can happen in place of an answer."""
HARMLESS = ("output on the terminal",)
"""What must not change the answer."""


def is_chosen(atoms: Atoms, share: float) -> bool:
    """Whether a structure is one of those that are calculated wrongly."""
    key = hashlib.sha256(np.round(atoms.cell.array, 9).tobytes() + np.round(atoms.positions, 9).tobytes()).digest()
    return int.from_bytes(key[:4], "big") < share * 2**32


class Faulty(EMT):
    """EMT with a misbehaviour.

    Args:
        what: one of `MISBEHAVIOURS`.
        share: fraction of the structures in which it happens.
    """

    def __init__(self, what: str, share: float, **more: Any):
        super().__init__(**more)
        self.what, self.share = what, share

    def calculate(
        self, atoms: Atoms | None = None, properties: tuple[str, ...] = ("energy",), system_changes: list[str] = all_changes
    ) -> None:
        """Write an invoice, and calculate or misbehave."""
        assert atoms is not None
        chosen = is_chosen(atoms, self.share)
        with Path(os.environ["FAULTS_INVOICES"]).open("a") as stream:
            stream.write(f"{'wrong' if chosen else 'right'}\n")
        if not chosen or self.what in (*HARMLESS, "moves the atoms"):
            super().calculate(atoms, properties, system_changes)
        if chosen:
            self.atoms = atoms.copy()
            self.misbehave(atoms)

    def misbehave(self, atoms: Atoms) -> None:
        """Do what is asked for."""
        n, results = len(atoms), {"energy": -1.0, "free_energy": -1.0, "forces": np.zeros((len(atoms), 3)), "stress": np.zeros(6)}
        match self.what:
            case "NaN energy":
                results |= {"energy": float("nan"), "free_energy": float("nan")}
            case "NaN force":
                results["forces"] = np.full((n, 3), np.nan)
            case "infinite stress":
                results["stress"] = np.full(6, np.inf)
            case "huge forces":
                results["forces"] = np.full((n, 3), 1e12)
            case "wrong shape of forces":
                results["forces"] = np.zeros(3 * n)
            case "no stress":
                del results["stress"]
            case "forces of other atoms":
                results["forces"] = np.zeros((n + 1, 3))
            case "text for an energy":
                results |= {"energy": "-1.0 eV", "free_energy": "-1.0 eV"}
            case "exception":
                raise ZeroDivisionError("in the engine,\non two lines")
            case "exception without a text":
                raise RuntimeError
            case "out of memory":
                resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, resource.RLIM_INFINITY))
                np.ones(2**31)
            case "exit":
                os._exit(3)
            case "kill -9":
                os.kill(os.getpid(), signal.SIGKILL)
            case "segmentation fault":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "hang":
                time.sleep(3600)
            case "output on the terminal":
                print("x" * 10_000, flush=True)
                os.write(2, b"error: of the engine\n" * 100)
                return
            case "moves the atoms":
                atoms.positions[0] += 0.01
                return
        self.results = results
