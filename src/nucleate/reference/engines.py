"""Quantum ESPRESSO, VASP, CP2K and any other ASE calculator as references, from a few settings lines.

ASE: A. H. Larsen et al., J. Phys.: Condens. Matter 29, 273002 (2017), doi 10.1088/1361-648X/aa680e.
"""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, CalculationFailed, PropertyNotImplementedError
from ase.units import Ry

from nucleate.errors import BadInput, MissingDependency, ReferenceFailed
from nucleate.reference.base import Label
from nucleate.reference.kpoints import k_grid
from nucleate.reference.settings import ReferenceSettings

CUTOFFS = {"fast": 450.0, "standard": 700.0, "accurate": 1000.0}
K_SPACINGS = {"fast": 0.45, "standard": 0.30, "accurate": 0.18}
COMMANDS = {"espresso": "pw.x", "vasp": "vasp_std", "cp2k": "cp2k_shell.psmp"}
INSTALL = {
    "espresso": "apt-get install quantum-espresso, or set reference.command",
    "vasp": "VASP is licensed software: set reference.command to how it is started here",
    "cp2k": "apt-get install cp2k, or set reference.command",
}
_PROPERTIES = ("energy", "forces", "stress")


class AseReference:
    """A reference behind an ASE calculator, each calculation in a temporary folder of its own.

    Args:
        settings: `engine` is one of espresso, vasp, cp2k, ase.

    Raises:
        MissingDependency: the engine's program cannot be found.
        BadInput: pseudopotentials missing, or not a calculator.
    """

    surrogate = False

    def __init__(self, settings: ReferenceSettings):
        self.name: str = settings.engine
        self._settings = settings
        self._command = settings.command or COMMANDS.get(settings.engine, "")
        if settings.engine == "ase":
            calculator_class(settings.calculator)
        else:
            program = self._command.split()[0]
            if shutil.which(program) is None:
                raise MissingDependency(f"{program} is not installed; {INSTALL[settings.engine]}")
        if settings.engine == "espresso":
            self._check_pseudopotentials()
        if settings.engine == "vasp" and "VASP_PP_PATH" not in os.environ:
            raise BadInput("VASP needs its pseudopotentials: set the environment variable VASP_PP_PATH to their folder")

    def _check_pseudopotentials(self) -> None:
        s = self._settings
        if not s.pseudopotentials or s.pseudo_dir is None:
            raise BadInput("espresso needs reference.pseudopotentials (a file for each element) and reference.pseudo_dir (their folder)")
        for symbol, name in s.pseudopotentials.items():
            if not (Path(s.pseudo_dir) / name).is_file():
                raise BadInput(f"reference.pseudopotentials: no file {name} for {symbol} in {s.pseudo_dir}")

    def settings(self) -> dict[str, Any]:
        """What decides the result."""
        kept = ("preset", "cutoff", "k_spacing", "smearing", "xc", "magnetic_moments", "max_iterations", "pseudopotentials", "calculator")
        given = self._settings.model_dump(mode="json")
        return {"engine": self.name, **{name: given[name] for name in kept}, "parameters": given["parameters"]}

    def label(self, atoms: Atoms) -> Label:
        """One calculation."""
        atoms = atoms.copy()
        atoms.pbc = True
        started, children = time.process_time(), os.times()
        with tempfile.TemporaryDirectory(prefix="nucleate-") as folder:
            try:
                atoms.calc = self.calculator(atoms, folder)
                energy = float(atoms.get_potential_energy())
                forces, stress = np.array(atoms.get_forces()), np.array(atoms.get_stress())
            except PropertyNotImplementedError as error:
                raise BadInput(f"{self.name}: the calculator gives no {error}; energy, forces and stress are all needed") from error
            except BadInput:
                raise
            except Exception as error:  # Engines fail in ways of their own.
                words = " ".join(str(error).split())[:300] or type(error).__name__
                words += last_words(Path(folder)) if isinstance(error, CalculationFailed) else ""
                unconverged = "converge" in words.lower()
                raise ReferenceFailed(f"{self.name}: {words}", kind="unconverged" if unconverged else "failed") from error
        if not (np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(stress).all()):
            raise ReferenceFailed(f"{self.name}: a result is not a finite number")
        now = os.times()
        spent = time.process_time() - started + now.children_user - children.children_user + now.children_system - children.children_system
        return Label(energy, forces, stress, core_seconds=spent)

    def calculator(self, atoms: Atoms, folder: str) -> BaseCalculator:
        """The ASE calculator of one structure, working in `folder`."""
        s = self._settings
        if s.engine == "ase":
            return calculator_class(s.calculator)(**s.parameters)
        cutoff = s.cutoff or CUTOFFS[s.preset]
        grid = k_grid(atoms, s.k_spacing or K_SPACINGS[s.preset])
        smearing = 0.1 if s.smearing is None else s.smearing
        if s.magnetic_moments:
            atoms.set_initial_magnetic_moments([s.magnetic_moments.get(symbol, 0.0) for symbol in atoms.get_chemical_symbols()])
        if s.engine == "espresso":
            from ase.calculators.espresso import Espresso, EspressoProfile

            assert s.pseudo_dir is not None
            data: dict[str, Any] = {
                "control": {"calculation": "scf", "tstress": True, "tprnfor": True},
                "system": {
                    "ecutwfc": cutoff / Ry,
                    "ecutrho": 8 * cutoff / Ry,
                    "occupations": "smearing",
                    "smearing": "mv",
                    "degauss": max(smearing, 1e-3) / Ry,
                    "input_dft": s.xc,
                },
                "electrons": {"conv_thr": 1e-8 * len(atoms), "electron_maxstep": s.max_iterations},
            }
            for section, values in s.parameters.items():
                data.setdefault(section, {}).update(values)
            return Espresso(
                profile=EspressoProfile(command=self._command, pseudo_dir=str(Path(s.pseudo_dir).resolve())),
                pseudopotentials=s.pseudopotentials,
                input_data=data,
                kpts=grid,
                directory=folder,
            )
        if s.engine == "vasp":
            from ase.calculators.vasp import Vasp

            options: dict[str, Any] = {
                "xc": s.xc, "encut": cutoff, "kpts": grid, "gamma": True, "ismear": 0, "sigma": smearing,
                "ediff": 1e-6, "nelm": s.max_iterations, "isif": 2, "lwave": False, "lcharg": False,
            }  # fmt: skip
            return Vasp(command=self._command, directory=folder, **{**options, **s.parameters})
        from ase.calculators.cp2k import CP2K

        return CP2K(command=self._command, cutoff=cutoff, xc=s.xc, stress_tensor=True, directory=folder, **s.parameters)


def calculator_class(name: str | None) -> type[BaseCalculator]:
    """The class `module:Class` names; raises `BadInput` or `MissingDependency`."""
    if not name or ":" not in name:
        raise BadInput(f"reference.calculator: give 'module:Class', such as 'ase.calculators.emt:EMT' (got {name!r})")
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise MissingDependency(f"reference.calculator: {module} cannot be imported ({error}); pip install what provides it") from None
    except AttributeError:
        raise BadInput(f"reference.calculator: {module} has no {attribute}") from None
    return found


def last_words(folder: Path) -> str:
    """The last lines an engine wrote, for the ledger."""
    outputs = sorted(folder.glob("*.[op][uw][to]*"), key=lambda path: path.stat().st_mtime)
    if not outputs:
        return ""
    lines = [line.strip() for line in outputs[-1].read_text(errors="replace").splitlines() if line.strip(" %")]
    return " | " + " / ".join(lines[-3:])[:300]
