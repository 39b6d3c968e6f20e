"""Inputs of the engines that run through ASE: commands, files, keywords and error messages.

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
from nucleate.reference.hubbard import espresso_card, vasp_tags
from nucleate.reference.kpoints import SPACINGS, KGrid, bonding, k_grid
from nucleate.reference.settings import ReferenceSettings

SMEARING = {"fast": 0.1, "standard": 0.05, "accurate": 0.05}
"""Fermi-Dirac width of each preset, eV; the same for these engines."""
LAUNCHER = "NUCLEATE_MPI_LAUNCHER"
"""Environment variable with the command before the engine's own, which a worker sets if a label has several MPI ranks."""


class EngineInput:
    """Input of one engine: checks that the engine can run, and builds its ASE calculator.

    Args:
        settings: settings of the reference.
        command: default command of the engine; None if it needs no program.

    Raises:
        MissingDependency: the program is not installed.
    """

    cutoffs: ClassVar[dict[str, float]] = {}
    """Plane-wave cutoff of each preset, eV. These are starting values; test their convergence with your pseudopotentials."""
    outputs: tuple[str, ...] = ()
    """Output files of the engine; error messages quote the first that exists."""
    own_k_points = "kpts"
    """Key of `parameters` that sets k-points."""
    unconverged = ""
    """Text in the output of a calculation whose self-consistency did not converge."""
    install = ""
    """How to install the engine, for error messages."""

    def __init__(self, settings: ReferenceSettings, command: str | None):
        self.s = settings
        self.command = settings.command or command
        if self.command is not None:
            program = next((word for word in _words(self.command) if "=" not in word), "")
            if shutil.which(program) is None:
                raise MissingDependency(f"program '{quoted(program or self.command)}' not found; {self.install}, or set reference.command")

    @property
    def launched(self) -> str | None:
        """Command of the engine, after the MPI launcher if there is one; the launcher does not change the result."""
        launcher = os.environ.get(LAUNCHER, "")
        return f"{launcher} {self.command}" if launcher and self.command is not None else self.command

    @property
    def smearing(self) -> float:
        """Fermi-Dirac width, eV."""
        return SMEARING[self.s.preset] if self.s.smearing is None else self.s.smearing

    @property
    def cutoff(self) -> float:
        """Plane-wave cutoff, eV."""
        return self.s.cutoff or self.cutoffs[self.s.preset]

    def settings(self) -> dict[str, Any]:
        """Return the settings that determine the result."""
        return {
            "cutoff": self.cutoff,
            "k_spacing": self.s.k_spacing or SPACINGS[self.s.preset],
            "smearing": self.smearing,
            "xc": self.s.xc,
            "max_iterations": self.s.max_iterations,
        }

    def k_points(self, atoms: Atoms) -> KGrid | None:
        """Return the k-point grid for a structure; None if `parameters` set it."""
        if self.own_k_points in self.s.parameters:
            return None
        return k_grid(atoms, self.s.k_spacing or SPACINGS[self.s.preset][bonding(atoms)])

    def calculator(self, atoms: Atoms, folder: Path, grid: KGrid | None) -> GetPropertiesMixin:
        """Return a calculator that runs in `folder`; the cell vectors of the atoms are those of the grid."""
        raise NotImplementedError

    def correct(self, energy: float, text: str) -> float:
        """Return the energy extrapolated to zero smearing, eV, from the energy that ASE returns and the engine's output `text`."""
        return energy

    def iterations(self, text: str) -> int:
        """Return the number of self-consistency iterations in the engine's output `text`; 0 if it is not given."""
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
                f"folder of pseudopotentials not found: {quoted_path(folder)}; set reference.pseudo_dir or export ESPRESSO_PSEUDO=FOLDER"
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
        self._sections, self._options = _espresso_parameters(settings.parameters)
        self._version = _printed(_words(self.command or ""), r"Program PWSCF\s*v\.(\S+)")
        number = re.match(r"(\d+)\.(\d+)", self._version)
        if settings.hubbard_u and number and (int(number[1]), int(number[2])) < (7, 1):
            raise BadInput(f"reference.hubbard_u needs the card HUBBARD of pw.x 7.1 or later, but this one is {number[0]}; install another")

    def settings(self) -> dict[str, Any]:
        """Return the settings with the program's version and hashes of the pseudopotential files."""
        return super().settings() | {"version": self._version, "pseudopotentials": self._digests}

    def calculator(self, atoms: Atoms, folder: Path, grid: KGrid | None) -> GetPropertiesMixin:
        """Return a calculator whose energies converge to 1e-8 Ry/atom, which gives forces to a few meV/Å."""
        from ase.calculators.espresso import Espresso, EspressoProfile

        missing = sorted(set(atoms.get_chemical_symbols()) - set(self._digests))
        if missing:
            raise BadInput(f"no pseudopotential of {', '.join(missing)}; add {missing[0]} = 'FILE.UPF' to reference.pseudopotentials")
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
        for section, entries in self._sections.items():
            data.setdefault(section, {}).update(entries)
        options = {
            "input_data": data,
            "pseudopotentials": self.s.pseudopotentials,
        } | self._options
        if card := espresso_card(atoms, self.s.hubbard_u):
            others = self._options.get("additional_cards") or []
            options["additional_cards"] = [*([others] if isinstance(others, str) else others), *card]
        if grid is not None:
            options |= {"kpts": grid.size, "koffset": tuple(int(s) for s in grid.shift)}
        profile = EspressoProfile(command=self.launched, pseudo_dir=self.pseudo_dir)
        return Espresso(profile=profile, directory=folder, **options)

    def correct(self, energy: float, text: str) -> float:
        """Return E - TS/2, the estimate for zero smearing; pw.x prints the free energy E - TS."""
        entropy = re.findall(r"smearing contrib\. \(-TS\)\s*=\s*(\S+)\s*Ry", text)
        return energy - 0.5 * float(entropy[-1]) * units.Ry if entropy else energy

    def iterations(self, text: str) -> int:
        """Return the number of iterations that pw.x prints."""
        counts = re.findall(r"convergence has been achieved in\s+(\d+)\s+iterations", text)
        return int(counts[-1]) if counts else 0


def _espresso_parameters(parameters: dict[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the entries of the sections of pw.x and the options of ASE's calculator, which drops names that it does not know.

    Raises:
        BadInput: a name is neither, or a section is none of pw.x.
    """
    from ase.io.espresso_namelist.keys import ALL_KEYS

    known, where = ALL_KEYS["pw"], "reference.parameters"
    given = parameters.get("input_data", {})
    if not isinstance(given, dict) or not all(isinstance(entries, dict) for entries in given.values()):
        raise BadInput(f"{where}.input_data: give one table per section, such as [{where}.input_data.system]")
    sections: dict[str, dict[str, Any]] = {}
    for name, entries in given.items():
        if name.lower() not in known:
            raise BadInput(f"{where}.input_data: pw.x has no section '{quoted(name)}'; its sections are {', '.join(known)}")
        sections.setdefault(name.lower(), {}).update(entries)
    options = {}
    for name, value in parameters.items():
        section = next((section for section, keys in known.items() if name.lower().split("(")[0] in keys), None)
        if name in ("kpts", "koffset", "crystal_coordinates", "additional_cards"):
            options[name] = value
        elif name.lower() in known:
            raise BadInput(f"{where}.{name}: write [{where}.input_data.{name.lower()}]")
        elif section is not None:
            sections.setdefault(section, {})[name] = value
        elif name == "kspacing":
            raise BadInput(f"{where}.kspacing: set reference.k_spacing")
        elif name != "input_data":
            raise BadInput(f"{where}: neither pw.x nor ASE's calculator has the parameter '{quoted(name)}'; write new ones into input_data")
    return sections, options


class VaspInput(EngineInput):
    """VASP with the PAW data sets in $VASP_PP_PATH."""

    cutoffs: ClassVar = {"fast": 400.0, "standard": 520.0, "accurate": 700.0}
    outputs = ("vasp.out", "OUTCAR")
    # ASE does not report unconverged calculations; VASP 6 writes this line.
    unconverged = "electronic self-consistency was not achieved"
    install = "VASP is licensed: install it from https://www.vasp.at"

    def __init__(self, settings: ReferenceSettings):
        known = next((os.environ[name] for name in ("ASE_VASP_COMMAND", "VASP_COMMAND") if name in os.environ), "vasp_std")
        super().__init__(settings, known)
        folder = settings.pseudo_dir or os.environ.get("VASP_PP_PATH")
        if folder is None or not Path(folder).is_dir():
            raise BadInput(
                f"folder of PAW data sets not found: {quoted_path(folder)}; set reference.pseudo_dir or export VASP_PP_PATH=FOLDER"
            )
        self.pseudo_dir = folder
        files = sorted(path for path in Path(folder).rglob("POTCAR*") if path.is_file())
        listed = "\n".join(f"{path.relative_to(folder)} {path.stat().st_size}" for path in files)
        self._paw_files = hashlib.sha256(listed.encode()).hexdigest()[:16]

    def settings(self) -> dict[str, Any]:
        """The PAW files count by name and size: a folder of them is too large to read at each start."""
        return super().settings() | {"paw_files": self._paw_files}

    def calculator(self, atoms: Atoms, folder: Path, grid: KGrid | None) -> GetPropertiesMixin:
        """Return a calculator of one ionic step, for which ASE returns the energy extrapolated to zero smearing."""
        from ase.calculators.vasp import Vasp

        # ASE's VASP calculator reads the folder only from the environment.
        os.environ["VASP_PP_PATH"] = str(self.pseudo_dir)
        options = {
            "xc": self.s.xc, "encut": self.cutoff, "prec": "Accurate", "ediff": 1e-6, "nelm": self.s.max_iterations,
            "ismear": -1, "sigma": max(self.smearing, 1e-3), "ibrion": -1, "nsw": 0, "isif": 2, "lreal": False,
            "lwave": False, "lcharg": False,
        }  # fmt: skip
        if grid is not None:
            options |= {"kpts": grid.size, "gamma": not any(grid.shift)}
        if self.s.hubbard_u:
            options |= vasp_tags(self.s.hubbard_u)
        result: GetPropertiesMixin = Vasp(directory=str(folder), command=self.launched, **(options | self.s.parameters))
        return result

    def iterations(self, text: str) -> int:
        """Return the number of electronic steps in the output."""
        return len(re.findall(r"^(?:DAV|RMM|CGA?):\s+\d+", text, re.M))


GFN1 = "GFN1-xTB"
"""Value of xc for the semi-empirical method of S. Grimme, C. Bannwarth and P. Shushkov, J. Chem. Theory Comput. 13, 1989 (2017), doi
10.1021/acs.jctc.7b00118, in CP2K."""


class Cp2kInput(EngineInput):
    """CP2K's Quickstep through its shell; basis sets and potentials are read from $CP2K_DATA_DIR."""

    cutoffs: ClassVar = {"fast": 300 * units.Ry, "standard": 500 * units.Ry, "accurate": 800 * units.Ry}
    outputs = ("cp2k.out",)
    own_k_points = ""
    unconverged = "SCF run NOT converged"
    install = "run: apt-get install cp2k"

    def __init__(self, settings: ReferenceSettings):
        super().__init__(settings, os.environ.get("ASE_CP2K_COMMAND", "cp2k.psmp -s"))
        if settings.xc == GFN1:
            for name in ("cutoff", "smearing", "magnetic_moments"):
                if getattr(settings, name) != ReferenceSettings.model_fields[name].get_default(call_default_factory=True):
                    raise BadInput(f"reference.{name} has no effect on {GFN1}; remove it")
        program = next((word for word in _words(self.command or "") if "cp2k" in word), "")
        self._version = _printed([program, "--version"], r"CP2K version\s*(\S+)") if program else ""

    def settings(self) -> dict[str, Any]:
        """Return the settings with the program's version and the folder of basis sets and potentials."""
        if self.s.xc == GFN1:
            kept = {name: value for name, value in super().settings().items() if name not in ("cutoff", "smearing")}
            return kept | {"version": self._version}
        return super().settings() | {"version": self._version, "data_dir": os.environ.get("CP2K_DATA_DIR", "")}

    def correct(self, energy: float, text: str) -> float:
        """Return E - TS/2, the estimate for zero smearing; CP2K's total energy is E - TS."""
        entropy = re.findall(r"Electronic entropic energy:\s*(\S+)", text)
        return energy - 0.5 * float(entropy[-1]) * units.Hartree if entropy else energy

    def k_points(self, atoms: Atoms) -> KGrid | None:
        """Return a grid with all even axes shifted; CP2K reduces k-points only by time reversal, so shifts are safe for every lattice."""
        grid = super().k_points(atoms)
        return grid and replace(grid, shift=tuple(n % 2 == 0 for n in grid.size))  # type: ignore[arg-type]

    def calculator(self, atoms: Atoms, folder: Path, grid: KGrid | None) -> GetPropertiesMixin:
        """Return a calculator with a Monkhorst-Pack grid."""
        from ase.calculators.cp2k import CP2K

        assert grid is not None
        size = grid.size
        if self.s.xc == GFN1:
            options: dict[str, Any] = {
                "xc": None, "basis_set": None, "basis_set_file": None, "pseudo_potential": None, "potential_file": None, "cutoff": None,
                "poisson_solver": None, "max_scf": self.s.max_iterations, "stress_tensor": True, "inp": _gfn1_input(size),
            }  # fmt: skip
            return CP2K(label=str(folder / "cp2k"), command=self.launched, **(options | self.s.parameters))
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
        return CP2K(label=str(folder / "cp2k"), command=self.launched, **(options | self.s.parameters))


def _gfn1_input(size: tuple[int, int, int]) -> str:
    """Return CP2K's input of a periodic GFN1-xTB calculation; ASE adds the structure and the properties."""
    points = "" if size == (1, 1, 1) else f"&KPOINTS\n SCHEME MONKHORST-PACK {size[0]} {size[1]} {size[2]}\n&END KPOINTS\n"
    # With CP2K's own history of four steps, the density of beta-glycine did not converge.
    mixing = "&MIXING\n METHOD BROYDEN_MIXING\n ALPHA 0.1\n NBROYDEN 20\n&END MIXING\n"
    return (
        "&FORCE_EVAL\n&DFT\n&QS\n METHOD XTB\n EPS_DEFAULT 1.0E-12\n&XTB\n DO_EWALD T\n CHECK_ATOMIC_CHARGES F\n&PARAMETER\n"
        " DISPERSION_PARAMETER_FILE dftd3.dat\n PARAM_FILE_NAME xTB_parameters\n&END PARAMETER\n&END XTB\n&END QS\n"
        f"&SCF\n EPS_SCF 1.0E-8\n SCF_GUESS MOPAC\n{mixing}&END SCF\n{points}&END DFT\n&END FORCE_EVAL\n"
    )


class AnyInput(EngineInput):
    """Any ASE calculator, given as 'module:Class'; `parameters` are its keyword arguments."""

    def __init__(self, settings: ReferenceSettings):
        super().__init__(settings, None)
        module, _, name = (settings.calculator or "").partition(":")
        if not module or not name:
            given = "not set" if settings.calculator is None else f"'{quoted(settings.calculator)}'"
            raise BadInput(
                f"reference.calculator is {given}; write 'module:Class', such as 'ase.calculators.emt:EMT', in the settings file"
            )
        calculator = getattr(_imported(module), name, None)
        if not callable(calculator):
            raise BadInput(f"reference.calculator: module '{quoted(module)}' has no class '{quoted(name, 40)}'")
        self._class: Any = calculator
        implemented = getattr(calculator, "implemented_properties", None)
        if isinstance(implemented, list | tuple | set | frozenset) and "stress" not in implemented:
            raise BadInput(
                f"reference.calculator: '{quoted(settings.calculator)}' has no stress, which cell relaxations need; name another"
            )
        spinless = isinstance(implemented, list | tuple | set | frozenset) and not {"magmom", "magmoms"} & set(implemented)
        if settings.magnetic_moments and spinless:
            raise BadInput(f"reference.magnetic_moments: '{quoted(settings.calculator)}' has no magnetic moments; remove them")
        try:
            self._version = version(module.partition(".")[0])
        except PackageNotFoundError:
            self._version = ""

    def k_points(self, atoms: Atoms) -> KGrid | None:
        """Return None: the calculator's own arguments determine k-points."""
        return None

    def settings(self) -> dict[str, Any]:
        """Return the class and the version of its package."""
        return {"calculator": self.s.calculator, "version": self._version}

    def calculator(self, atoms: Atoms, folder: Path, grid: KGrid | None) -> GetPropertiesMixin:
        """Return a new calculator for each structure, because calculators keep state."""
        try:
            calculator: GetPropertiesMixin = self._class(**self.s.parameters)
        except TypeError as error:
            raise BadInput(f"reference.parameters do not fit '{quoted(self.s.calculator)}': {quoted(str(error))}") from error
        if hasattr(calculator, "directory"):
            calculator.directory = str(folder)
        return calculator


ENGINE_INPUTS: dict[str, type[Any]] = {"espresso": EspressoInput, "vasp": VaspInput, "cp2k": Cp2kInput, "ase": AnyInput}


def _words(command: str) -> list[str]:
    """Split a command as a shell does; it may come from an environment variable, which is not validated."""
    try:
        return shlex.split(command)
    except ValueError as error:
        raise BadInput(f"the command '{quoted(command)}' cannot be read: {error}; set reference.command") from error


def _imported(module: str) -> ModuleType:
    """Import a module of the user.

    Raises:
        MissingDependency: the module, or one that it imports, is not installed.
        BadInput: the module raises an exception, or calls `sys.exit`, while it is loaded.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        hint = f"run: pip install {quoted(missing.partition('.')[0], 40)}"
        raise MissingDependency(f"reference.calculator: no module '{quoted(missing)}'; {hint}, or add its folder to PYTHONPATH") from error
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {quoted(str(error))}"
        raise BadInput(f"reference.calculator: module '{quoted(module)}' cannot be loaded ({reason}); correct or replace it") from error


def _printed(command: list[str], pattern: str) -> str:
    """Run a program without input and return the first group of `pattern` in its output; an empty text if there is no match."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="nucleate-") as folder:
        try:
            done = subprocess.run(command, input="", cwd=folder, capture_output=True, text=True, timeout=20)
        except (OSError, ValueError, subprocess.TimeoutExpired):
            # ValueError: the output is not text in this encoding.
            return ""
    match = re.search(pattern, done.stdout)
    return match.group(1) if match else ""
