"""Quantum ESPRESSO, VASP, CP2K and any other ASE calculator as references."""

from __future__ import annotations

import re
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError, SCFError
from ase.stress import full_3x3_to_voigt_6_stress

from nucleate.errors import BadInput, NucleateError, ReferenceFailed
from nucleate.reference.base import Label, asked_of_engine, checked_answer, refuse_overlap, said, start_moments
from nucleate.reference.engine_inputs import ENGINE_INPUTS, EngineInput
from nucleate.reference.kpoints import KGrid
from nucleate.reference.settings import ReferenceSettings

LAST_WORDS = 400
"""Characters of an engine's output that a failure quotes."""


class AseReference:
    """Reference that runs an engine through ASE, each calculation in a temporary folder.

    Args:
        settings: engine `espresso`, `vasp`, `cp2k` or `ase`.

    Raises:
        MissingDependency: the program or module is not installed; the message names the line that installs it.
        BadInput: pseudopotentials or the calculator cannot be found, or settings that the engine would not obey.
    """

    surrogate = False

    def __init__(self, settings: ReferenceSettings):
        self._settings = settings
        self._input: EngineInput = ENGINE_INPUTS[settings.engine](settings)
        self.name = f"ase:{settings.calculator}" if settings.engine == "ase" else settings.engine

    def settings(self) -> dict[str, Any]:
        """Settings that determine the result."""
        s = self._settings
        return {
            "engine": s.engine,
            "magnetic_moments": s.magnetic_moments,
            "parameters": s.parameters,
            **self._input.settings(),
        }

    def k_points(self, atoms: Atoms) -> KGrid | None:
        """See `EngineInput.k_points`."""
        return self._input.k_points(atoms)

    def label(self, atoms: Atoms) -> Label:
        """Run one calculation.

        Args:
            atoms: the structure; left as it is.

        Returns:
            Energy (eV), forces (n_atoms, 3) in eV/Å, stress (6,) in eV/Å³.

        Raises:
            ReferenceFailed: the engine's last words; kind `unconverged` where self-consistency did not settle.
            BadInput: a pseudopotential is missing, or the calculator has no stress.
        """
        asked = asked_of_engine(atoms, self)
        atoms = asked.atoms
        refuse_overlap(atoms, self.name)
        spins = start_moments(atoms, self._settings.magnetic_moments)
        started = _cpu_seconds()
        with tempfile.TemporaryDirectory(prefix="nucleate-") as folder:
            energy, forces, stress, text = self._run(atoms, Path(folder), asked.grid)
            # Not every calculator tells: what is missing is not made up.
            moments = atoms.calc.results.get("magmoms") if spins and atoms.calc is not None else None
        details: dict[str, Any] = {} if moments is None else {"moments": np.asarray(moments, dtype=float).tolist()}
        label = checked_answer(Label(energy, forces, stress, self._input.iterations(text), _cpu_seconds() - started, details), atoms)
        if isinstance(label, ReferenceFailed):
            raise ReferenceFailed(f"{self.name}: {label.reason}", kind=label.kind)
        return asked.label(replace(label, energy=self._input.correct(label.energy, text)))

    def _run(self, atoms: Atoms, folder: Path, grid: KGrid | None) -> tuple[Any, Any, Any, str]:
        """What the calculator answers, as it is, and the text that its engine wrote."""
        calculator: Any = None
        try:
            calculator = self._input.calculator(atoms, folder, grid)
            atoms.calc = calculator
            energy, forces = atoms.get_potential_energy(), calculator.get_forces(atoms)
            stress = calculator.get_stress(atoms)
            if np.shape(energy) == (1,):
                energy = energy[0]
            if np.shape(stress) == (3, 3):
                stress = full_3x3_to_voigt_6_stress(stress)
            if getattr(calculator, "converged", True) is False:
                raise ReferenceFailed(f"{self.name}: self-consistency did not settle", kind="unconverged")
        except NucleateError:
            raise
        except (Exception, SystemExit) as error:  # Calculators report trouble with exceptions of every kind.
            if isinstance(error, SCFError):
                raise ReferenceFailed(f"{self.name}: {said(error)}", kind="unconverged") from error
            if isinstance(error, PropertyNotImplementedError) and not self._promised(calculator):
                raise BadInput(f"{self.name} has no stress or forces: cells could not be relaxed ({error})") from error
            text = self._text(folder)
            self._refuse_unconverged(text)
            if isinstance(error, PropertyNotImplementedError):
                raise ReferenceFailed(
                    f"{self.name}: its output ends before forces and stress ({said(error)}): {_last_words(text)}", kind="invalid"
                ) from error
            raise ReferenceFailed(f"{self.name}: {_last_words(text) or said(error)}") from error
        finally:
            # CP2K stays alive between calculations; its folder does not.
            if hasattr(calculator, "close"):
                calculator.close()
        text = self._text(folder)
        self._refuse_unconverged(text)
        return energy, forces, stress, text

    def _promised(self, calculator: Any) -> bool:
        """Whether the calculator names forces and stress among what it can compute."""
        return {"forces", "stress"} <= set(getattr(calculator, "implemented_properties", ()))

    def _refuse_unconverged(self, text: str) -> None:
        sought = self._input.unconverged
        if sought and sought in text:
            raise ReferenceFailed(f"{self.name}: {_last_words(text, sought)}", kind="unconverged")

    def _text(self, folder: Path) -> str:
        files = [folder / name for name in self._input.outputs]
        return "\n".join(file.read_text(errors="replace") for file in files if file.is_file())


def _last_words(text: str, sought: str = "") -> str:
    """The line with the words sought, else the error block an engine frames with %%%, else its last lines."""
    lines = text.splitlines()
    blocks = re.split("%{20,}", text)
    if sought and sought in text:
        lines = [line for line in lines if sought in line][-1:]
    elif len(blocks) > 2:
        lines = blocks[1].splitlines()
    said = [" ".join(line.split()) for line in lines[-12:] if line.strip(" -*=|")]
    return " / ".join(said)[-LAST_WORDS:]


def _cpu_seconds() -> float:
    """CPU time of this process and of the programs it has waited for, s."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
