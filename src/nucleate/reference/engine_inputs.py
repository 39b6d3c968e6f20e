"""Input of the engines that run through ASE: commands, files, keywords and error messages.

Quantum ESPRESSO: P. Giannozzi et al., J. Phys.: Condens. Matter 29, 465901 (2017), doi 10.1088/1361-648X/aa8f79.
VASP: G. Kresse and J. Furthmüller, Phys. Rev. B 54, 11169 (1996), doi 10.1103/PhysRevB.54.11169.
CP2K: T. D. Kühne et al., J. Chem. Phys. 152, 194103 (2020), doi 10.1063/5.0007045.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from ase import Atoms, units
from ase.calculators.abc import GetPropertiesMixin

from nucleate.errors import BadInput, MissingDependency, quoted, quoted_path
from nucleate.reference.kpoints import SPACINGS, KGrid, bonding, k_grid
from nucleate.reference.settings import ReferenceSettings

SMEARING = {"fast": 0.1, "standard": 0.05, "accurate": 0.05}
"""Fermi-Dirac width of each preset, eV; the same for every engine."""


class EngineInput:
    """Input of one engine behind ASE: checks that it can run, and builds its calculator.

    Args:
        settings: the reference's settings.
        command: what starts it where the settings name nothing.
    """

    cutoffs: ClassVar[dict[str, float]] = {}
    """Cutoff of each preset, eV: starting points, to be tested with the pseudopotentials in use."""
    outputs: tuple[str, ...] = ()
    """Files in which the engine speaks, the one to quote first."""
    own_k_points = "kpts"
    """Key of `parameters` with which a user chooses k-points."""
    unconverged = ""
    """Words of a calculation whose self-consistency did not settle."""
    install = ""

    def __init__(self, settings: ReferenceSettings, command: str | None):
        self.s = settings
        self.command = settings.command or command
        if self.command is not None:
            program = next((word for word in _words(self.command) if "=" not in word), "")
            if shutil.which(program) is None:
                raise MissingDependency(f"{quoted(program or self.command)} not found; {self.install}, or set reference.command")

    @property
    def smearing(self) -> float:
        """Fermi-Dirac width, eV."""
        return SMEARING[self.s.preset] if self.s.smearing is None else self.s.smearing

    @property
    def cutoff(self) -> float:
        """eV."""
        return self.s.cutoff or self.cutoffs[self.s.preset]

    def settings(self) -> dict[str, Any]:
        """Settings that determine the result."""
        return {
            "cutoff": self.cutoff,
            "k_spacing": self.s.k_spacing or SPACINGS[self.s.preset],
            "smearing": self.smearing,
            "xc": self.s.xc,
            "max_iterations": self.s.max_iterations,
        }

    def k_points(self, atoms: Atoms) -> KGrid | None:
        """The grid for this lattice; None where the user's own keywords decide."""
        if self.own_k_points in self.s.parameters:
            return None
        return k_grid(atoms, self.s.k_spacing or SPACINGS[self.s.preset][bonding(atoms)])

    def calculator(self, atoms: Atoms, folder: Path, grid: KGrid | None) -> GetPropertiesMixin:
        """A calculator that works in `folder`; the atoms are on the grid's own vectors."""
        raise NotImplementedError

    def correct(self, energy: float, text: str) -> float:
        """Energy at zero smearing, eV, where ASE hands over another one; `text` is what the engine wrote."""
        return energy

    def iterations(self, text: str) -> int:
        """Self-consistency iterations, from what the engine wrote; 0 where it cannot be told."""
        return 0


class EspressoInput(EngineInput):
    """Quantum ESPRESSO's pw.x."""

    cutoffs: ClassVar = {"fast": 450.0, "standard": 680.0, "accurate": 950.0}
    outputs = ("espresso.pwo", "espresso.err", "CRASH")
    unconverged = "convergence NOT achieved"
    install = "run: apt-get install quantum-espresso"

    def __init__(self, settings: ReferenceSettings):
        super().__init__(settings, "pw.x")
        folder = settings.pseudo_dir or os.environ.get("ESPRESSO_PSEUDO")
        if folder is None or not Path(folder).is_dir():
            raise BadInput(
                f"no folder of pseudopotentials ({quoted_path(folder)}); set reference.pseudo_dir or run: export ESPRESSO_PSEUDO=FOLDER"
            )
        self.pseudo_dir = Path(folder).resolve()
        self._digests = {}
        for element, name in settings.pseudopotentials.items():
            path = self.pseudo_dir / name
            if not path.is_file():
                raise BadInput(f"pseudopotential of {element} not found: {quoted_path(path)}; correct reference.pseudopotentials")
            try:
                self._digests[element] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
            except OSError as error:
                raise BadInput(f"pseudopotential of {element}: {quoted_path(path)} cannot be read: {error.strerror}") from error
        sections = settings.parameters.get("input_data", {})
        if not isinstance(sections, dict) or not all(isinstance(entries, dict) for entries in sections.values()):
            raise BadInput("reference.parameters.input_data: write a table for each section, as [reference.parameters.input_data.system]")
        self._version = _printed(_words(self.command or ""), r"Program PWSCF\s*v\.(\S+)")

    def settings(self) -> dict[str, Any]:
        """The pseudopotentials count by content, not by name."""
        return super().settings() | {"version": self._version, "pseudopotentials": self._digests}

    def calculator(self, atoms: Atoms, folder: Path, grid: KGrid | None) -> GetPropertiesMixin:
        """Energies to 1e-8 Ry an atom, so that forces settle to some meV/Å."""
        from ase.calculators.espresso import Espresso, EspressoProfile

        missing = sorted(set(atoms.get_chemical_symbols()) - set(self._digests))
        if missing:
            raise BadInput(f"no pseudopotential of {', '.join(missing)}: add to reference.pseudopotentials, as {missing[0]} = 'FILE.UPF'")
        smearing = self.smearing
        data: dict[str, dict[str, Any]] = {
            "control": {
                "calculation": "scf", "tstress": True, "tprnfor": True, "disk_io": "none", "outdir": "scratch",
                "pseudo_dir": str(self.pseudo_dir),
            },
            "system": {"ecutwfc": self.cutoff / units.Ry, "input_dft": self.s.xc},
            "electrons": {"conv_thr": 1e-8 * len(atoms), "electron_maxstep": self.s.max_iterations, "mixing_beta": 0.4},
        }  # fmt: skip
        if smearing > 0:
            data["system"] |= {"occupations": "smearing", "smearing": "fermi-dirac", "degauss": smearing / units.Ry}
        given = dict(self.s.parameters)
        for section, entries in given.pop("input_data", {}).items():
            data.setdefault(section, {}).update(entries)
        options = {
            "input_data": data,
            "pseudopotentials": self.s.pseudopotentials,
        } | given
        if grid is not None:
            options |= {"kpts": grid.size, "koffset": tuple(int(s) for s in grid.shift)}
        profile = EspressoProfile(command=self.command, pseudo_dir=self.pseudo_dir)
        return Espresso(profile=profile, directory=folder, **options)

    def correct(self, energy: float, text: str) -> float:
        """pw.x prints the free energy E - TS; half of TS on top is the limit of no smearing."""
        entropy = re.findall(r"smearing contrib\. \(-TS\)\s*=\s*(\S+)\s*Ry", text)
        return energy - 0.5 * float(entropy[-1]) * units.Ry if entropy else energy

    def iterations(self, text: str) -> int:
        """As pw.x counts them."""
        found = re.findall(r"convergence has been achieved in\s+(\d+)\s+iterations", text)
        return int(found[-1]) if found else 0


class VaspInput(EngineInput):
    """VASP, with the PAW files of $VASP_PP_PATH."""

    cutoffs: ClassVar = {"fast": 400.0, "standard": 520.0, "accurate": 700.0}
    outputs = ("vasp.out", "OUTCAR")
    # ASE reads an unconverged run without complaint; VASP 6 writes this line.
    unconverged = "electronic self-consistency was not achieved"
    install = "VASP is licensed: install it from https://www.vasp.at"

    def __init__(self, settings: ReferenceSettings):
        known = next((os.environ[name] for name in ("ASE_VASP_COMMAND", "VASP_COMMAND") if name in os.environ), "vasp_std")
        super().__init__(settings, known)
        folder = settings.pseudo_dir or os.environ.get("VASP_PP_PATH")
        if folder is None or not Path(folder).is_dir():
            raise BadInput(f"no folder of PAW files ({quoted_path(folder)}); set reference.pseudo_dir or run: export VASP_PP_PATH=FOLDER")
        self.pseudo_dir = folder
        files = sorted(path for path in Path(folder).rglob("POTCAR*") if path.is_file())
        listed = "\n".join(f"{path.relative_to(folder)} {path.stat().st_size}" for path in files)
        self._paw_files = hashlib.sha256(listed.encode()).hexdigest()[:16]

    def settings(self) -> dict[str, Any]:
        """The PAW files count by name and size: a folder of them is too large to read at each start."""
        return super().settings() | {"paw_files": self._paw_files}

    def calculator(self, atoms: Atoms, folder: Path, grid: KGrid | None) -> GetPropertiesMixin:
        """One ionic step; ASE hands over the energy at zero smearing."""
        from ase.calculators.vasp import Vasp

        # ASE has no other way to tell its VASP calculator.
        os.environ["VASP_PP_PATH"] = str(self.pseudo_dir)
        options = {
            "xc": self.s.xc, "encut": self.cutoff, "prec": "Accurate", "ediff": 1e-6, "nelm": self.s.max_iterations,
            "ismear": -1, "sigma": max(self.smearing, 1e-3), "ibrion": -1, "nsw": 0, "isif": 2, "lreal": False,
            "lwave": False, "lcharg": False,
        }  # fmt: skip
        if grid is not None:
            options |= {"kpts": grid.size, "gamma": not any(grid.shift)}
        result: GetPropertiesMixin = Vasp(directory=str(folder), command=self.command, **(options | self.s.parameters))
        return result

    def iterations(self, text: str) -> int:
        """Lines of the electronic loop."""
        return len(re.findall(r"^(?:DAV|RMM|CGA?):\s+\d+", text, re.M))


class Cp2kInput(EngineInput):
    """CP2K's Quickstep through its shell; basis sets and potentials are found in $CP2K_DATA_DIR."""

    cutoffs: ClassVar = {"fast": 300 * units.Ry, "standard": 500 * units.Ry, "accurate": 800 * units.Ry}
    outputs = ("cp2k.out",)
    own_k_points = ""
    unconverged = "SCF run NOT converged"
    install = "run: apt-get install cp2k"

    def __init__(self, settings: ReferenceSettings):
        super().__init__(settings, os.environ.get("ASE_CP2K_COMMAND", "cp2k.psmp -s"))
        program = next((word for word in _words(self.command or "") if "cp2k" in word), "")
        self._version = _printed([program, "--version"], r"CP2K version\s*(\S+)") if program else ""

    def settings(self) -> dict[str, Any]:
        """With the program's version and where it finds basis sets and potentials."""
        return super().settings() | {"version": self._version, "data_dir": os.environ.get("CP2K_DATA_DIR", "")}

    def correct(self, energy: float, text: str) -> float:
        """CP2K's total energy holds -TS; half of TS on top is the limit of no smearing."""
        entropy = re.findall(r"Electronic entropic energy:\s*(\S+)", text)
        return energy - 0.5 * float(entropy[-1]) * units.Hartree if entropy else energy

    def k_points(self, atoms: Atoms) -> KGrid | None:
        """CP2K reduces k-points by time reversal alone, so shifted grids are safe for every lattice."""
        grid = super().k_points(atoms)
        return grid and replace(grid, shift=tuple(n % 2 == 0 for n in grid.size))  # type: ignore[arg-type]

    def calculator(self, atoms: Atoms, folder: Path, grid: KGrid | None) -> GetPropertiesMixin:
        """Monkhorst and Pack's grid."""
        from ase.calculators.cp2k import CP2K

        assert grid is not None
        size = grid.size
        smearing = self.smearing
        smear = ""
        if smearing > 0:
            smear = (
                f"&SCF\n ADDED_MOS {2 * len(atoms) + 4}\n &SMEAR ON\n METHOD FERMI_DIRAC\n"
                f" ELECTRONIC_TEMPERATURE [K] {smearing / units.kB:.3f}\n &END SMEAR\n&END SCF\n"
            )
        section = f"&FORCE_EVAL\n&DFT\n&KPOINTS\n SCHEME MONKHORST-PACK {size[0]} {size[1]} {size[2]}\n&END KPOINTS\n{smear}&END DFT\n"
        options = {
            "xc": self.s.xc, "cutoff": self.cutoff, "max_scf": self.s.max_iterations, "stress_tensor": True,
            "inp": f"{section}&END FORCE_EVAL\n", "uks": bool(self.s.magnetic_moments),
        }  # fmt: skip
        return CP2K(label=str(folder / "cp2k"), command=self.command, **(options | self.s.parameters))


class AnyInput(EngineInput):
    """Any ASE calculator by 'module:Class'; `parameters` are its keyword arguments."""

    def __init__(self, settings: ReferenceSettings):
        super().__init__(settings, None)
        module, _, name = (settings.calculator or "").partition(":")
        if not module or not name:
            raise BadInput(f"reference.calculator is '{quoted(settings.calculator)}'; write 'module:Class', as 'ase.calculators.emt:EMT'")
        found = getattr(_imported(module), name, None)
        if not callable(found):
            raise BadInput(f"reference.calculator: module {quoted(module)} has no {quoted(name, 40)}, or it is no class")
        self._class: Any = found
        implemented = getattr(found, "implemented_properties", None)
        if isinstance(implemented, list | tuple | set | frozenset) and "stress" not in implemented:
            raise BadInput(f"{quoted(settings.calculator)} has no stress: cells could not be relaxed")
        try:
            self._version = version(module.partition(".")[0])
        except PackageNotFoundError:
            self._version = ""

    def k_points(self, atoms: Atoms) -> KGrid | None:
        """Whatever the calculator does by itself."""
        return None

    def settings(self) -> dict[str, Any]:
        """The class, its package's version and its arguments."""
        return {"calculator": self.s.calculator, "version": self._version}

    def calculator(self, atoms: Atoms, folder: Path, grid: KGrid | None) -> GetPropertiesMixin:
        """A fresh one each time: calculators keep state."""
        try:
            made: GetPropertiesMixin = self._class(**self.s.parameters)
        except TypeError as error:
            raise BadInput(f"reference.parameters do not fit {quoted(self.s.calculator)}: {quoted(str(error))}") from error
        if hasattr(made, "directory"):
            made.directory = str(folder)
        return made


ENGINE_INPUTS: dict[str, type[Any]] = {"espresso": EspressoInput, "vasp": VaspInput, "cp2k": Cp2kInput, "ase": AnyInput}


def _words(command: str) -> list[str]:
    """A command as a shell reads it; it may come from the environment, which no settings model has seen."""
    try:
        return shlex.split(command)
    except ValueError as error:
        raise BadInput(f"the command '{quoted(command)}' cannot be read: {error}; set reference.command") from error


def _imported(module: str) -> ModuleType:
    """A module of the user's own: whatever it raises while it loads, `sys.exit` included, is told as what is wrong with the module."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        hint = f"run: pip install {quoted(missing.partition('.')[0], 40)}"
        raise MissingDependency(f"reference.calculator: no module {quoted(missing)}; {hint}, or add its folder to PYTHONPATH") from error
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {quoted(str(error))}"
        raise BadInput(f"reference.calculator: module {quoted(module)} cannot be loaded ({reason}); correct it or name another") from error


def _printed(command: list[str], pattern: str) -> str:
    """What a program says of its version when it is given nothing to do; empty if it says nothing."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="nucleate-") as folder:
        try:
            done = subprocess.run(command, input="", cwd=folder, capture_output=True, text=True, timeout=20)
        except (OSError, ValueError, subprocess.TimeoutExpired):
            # A program that prints no text in this encoding says nothing of its version either.
            return ""
    found = re.search(pattern, done.stdout)
    return found.group(1) if found else ""
