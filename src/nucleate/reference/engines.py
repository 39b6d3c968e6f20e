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
from nucleate.reference.engine_inputs import ENGINE_INPUTS, GFN1, EngineInput
from nucleate.reference.kpoints import KGrid
from nucleate.reference.settings import ReferenceSettings

LAST_WORDS = 400
"""Largest length of the engine's output that a failure quotes, in characters."""


class AseReference:
    """Reference that runs an engine through ASE, each calculation in a temporary folder.

    Args:
        settings: engine `espresso`, `vasp`, `cp2k` or `ase`.

    Raises:
        MissingDependency: the program or module is not installed; the message names the command that installs it.
        BadInput: pseudopotentials or the calculator cannot be found, or a setting does not fit the engine.
    """

    def __init__(self, settings: ReferenceSettings):
        self._settings = settings
        self._input: EngineInput = ENGINE_INPUTS[settings.engine](settings)
        # A semi-empirical method is named as one.
        self.surrogate = settings.engine == "cp2k" and settings.xc == GFN1
        self.name = f"cp2k:{GFN1}" if self.surrogate else f"ase:{settings.calculator}" if settings.engine == "ase" else settings.engine

    def settings(self) -> dict[str, Any]:
        """Return the settings that determine the result."""
        s = self._settings
        return {
            "engine": s.engine,
            "magnetic_moments": s.magnetic_moments,
            "parameters": s.parameters,
            **({"hubbard_u": s.hubbard_u} if s.hubbard_u else {}),
            **self._input.settings(),
        }

    def k_points(self, atoms: Atoms) -> KGrid | None:
        """Return the k-point grid for a structure; see `EngineInput.k_points`."""
        return self._input.k_points(atoms)

    def label(self, atoms: Atoms) -> Label:
        """Run one calculation.

        Args:
            atoms: the structure, which is not changed.

        Returns:
            Energy (eV), forces (n_atoms, 3) in eV/Å, stress (6,) in eV/Å³.

        Raises:
            ReferenceFailed: the engine failed; the reason quotes the end of its output. The kind is `unconverged` if self-consistency did
                not converge.
            BadInput: a pseudopotential is missing, or the calculator has no stress.
        """
        request = asked_of_engine(atoms, self)
        atoms = request.atoms
        refuse_overlap(atoms, self.name)
        spins = start_moments(atoms, self._settings.magnetic_moments)
        started = _cpu_seconds()
        with tempfile.TemporaryDirectory(prefix="nucleate-") as folder:
            energy, forces, stress, text = self._run(atoms, Path(folder), request.grid)
            # Some calculators do not return moments; then the label has none.
            moments = atoms.calc.results.get("magmoms") if spins and atoms.calc is not None else None
        details: dict[str, Any] = {} if moments is None else {"moments": np.asarray(moments, dtype=float).tolist()}
        label = checked_answer(Label(energy, forces, stress, self._input.iterations(text), _cpu_seconds() - started, details), atoms)
        if isinstance(label, ReferenceFailed):
            raise ReferenceFailed(f"{self.name}: {label.reason}", kind=label.kind)
        return request.label(replace(label, energy=self._input.correct(label.energy, text)))

    def _run(self, atoms: Atoms, folder: Path, grid: KGrid | None) -> tuple[Any, Any, Any, str]:
        """Return energy, forces and stress as the calculator returns them, and the text output of the engine."""
        calculator: Any = None
        try:
            calculator = self._input.calculator(atoms, folder, grid)
            asked = atoms.copy()
            atoms.calc = calculator
            energy, forces = atoms.get_potential_energy(), calculator.get_forces(atoms)
            stress = calculator.get_stress(atoms)
            # Energy and forces would be those of different structures.
            if not (np.array_equal(asked.positions, atoms.positions) and np.array_equal(asked.cell.array, atoms.cell.array)):
                raise ReferenceFailed(f"{self.name}: the calculator changes the atoms that it is given", kind="invalid")
            if np.shape(energy) == (1,):
                energy = energy[0]
            if np.shape(stress) == (3, 3):
                stress = full_3x3_to_voigt_6_stress(stress)
            if getattr(calculator, "converged", True) is False:
                raise ReferenceFailed(f"{self.name}: self-consistency did not converge", kind="unconverged")
        except NucleateError:
            raise
        except (Exception, SystemExit) as error:  # calculators raise exceptions of any type
            if isinstance(error, SCFError):
                raise ReferenceFailed(f"{self.name}: {said(error)}", kind="unconverged") from error
            if isinstance(error, PropertyNotImplementedError) and not self._promised(calculator):
                raise BadInput(
                    f"{self.name} has no forces or stress, which cell relaxations need ({error}); use another calculator"
                ) from error
            text = self._text(folder)
            self._refuse_unconverged(text)
            if isinstance(error, PropertyNotImplementedError):
                raise ReferenceFailed(
                    f"{self.name}: its output ends before forces and stress ({said(error)}): {_last_words(text)}", kind="invalid"
                ) from error
            raise ReferenceFailed(f"{self.name}: {_last_words(text) or said(error)}") from error
        finally:
            # CP2K's shell keeps running between calculations, but the temporary folder is removed.
            if hasattr(calculator, "close"):
                calculator.close()
        text = self._text(folder)
        self._refuse_unconverged(text)
        return energy, forces, stress, text

    def _promised(self, calculator: Any) -> bool:
        """Return whether forces and stress are among the calculator's implemented properties."""
        return {"forces", "stress"} <= set(getattr(calculator, "implemented_properties", ()))

    def _refuse_unconverged(self, text: str) -> None:
        """Raise `ReferenceFailed` if the output says that self-consistency did not converge."""
        sought = self._input.unconverged
        if sought and sought in text:
            raise ReferenceFailed(f"{self.name}: {_last_words(text, sought)}", kind="unconverged")

    def _text(self, folder: Path) -> str:
        """Return the content of the engine's output files."""
        files = [folder / name for name in self._input.outputs]
        return "\n".join(file.read_text(errors="replace") for file in files if file.is_file())


def _last_words(text: str, sought: str = "") -> str:
    """Return the line that contains `sought`, else the error block between rows of %, else the last lines."""
    lines = text.splitlines()
    blocks = re.split("%{20,}", text)
    if sought and sought in text:
        lines = [line for line in lines if sought in line][-1:]
    elif len(blocks) > 2:
        lines = blocks[1].splitlines()
    quotes = [" ".join(line.split()) for line in lines[-12:] if line.strip(" -*=|")]
    return " / ".join(quotes)[-LAST_WORDS:]


def _cpu_seconds() -> float:
    """Return the CPU time of this process and of its finished child processes, s."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
