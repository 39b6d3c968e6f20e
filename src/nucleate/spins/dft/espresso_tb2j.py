"""Exchange couplings by Liechtenstein's formula with Quantum ESPRESSO, Wannier90 and TB2J.

The energy of small rotations of two spins follows from the Green's functions of a collinear ground state:
    J_ij = 1 / (4 pi) Im int^E_F dE Tr [ D_i G_ij^up(E) D_j G_ji^down(E) ]
with D the exchange splitting on a site (A. I. Liechtenstein et al., J. Magn. Magn. Mater. 67, 65 (1987), doi
10.1016/0304-8853(87)90721-9; TB2J: X. He et al., Comput. Phys. Commun. 264, 107938 (2021), doi 10.1016/j.cpc.2021.107938). TB2J 0.9.22
ignores the degeneracies of Wigner-Seitz points, so Hamiltonians are divided by them beforehand.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io.espresso import write_espresso_in
from ase.units import Ry
from pydantic import BaseModel, ConfigDict, Field

from nucleate.errors import BadInput, MissingDependency, ReferenceFailed
from nucleate.persist.files import write_whole
from nucleate.progress import Progress, Stage, silent
from nucleate.spins.couplings import Couplings
from nucleate.spins.files.tb2j import read_tb2j
from nucleate.spins.geometry import magnetic_sites
from nucleate.spins.symmetry import inside, symmetrised

PROGRAMS = {
    "pw.x": "apt-get install quantum-espresso",
    "pw2wannier90.x": "apt-get install quantum-espresso",
    "wannier90.x": "apt-get install wannier90",
}
NOT_MAGNETIC = "s;p"
"""Default projections of elements without a moment."""


class WannierSettings(BaseModel):
    """Settings of couplings from Wannier functions."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    moments: dict[str, float] = Field(
        description="Moment of each magnetic element; the calculation starts ferromagnetic and half polarised."
    )
    pseudopotentials: dict[str, str] = Field(description="Pseudopotential file of each element.")
    pseudo_dir: str = Field("/usr/share/espresso/pseudo", description="Folder with the pseudopotential files.")
    cutoff: float = Field(540.0, gt=0, description="Plane-wave cutoff in eV.")
    density_cutoff: float = Field(4300.0, gt=0, description="Density cutoff in eV.")
    smearing: float = Field(0.14, gt=0, description="Marzari-Vanderbilt smearing width in eV.")
    scf_mesh: tuple[int, int, int] = Field((14, 14, 14), description="k-point mesh of the self-consistent calculation.")
    mesh: tuple[int, int, int] = Field((8, 8, 8), description="k-point mesh of the Wannier functions.")
    bands: int | None = Field(None, ge=1, description="Number of bands for the Wannier functions; default: 16 per 9 functions.")
    core_bands: int = Field(0, ge=0, description="Number of lowest (semicore) bands to exclude.")
    projections: dict[str, str] = Field(
        default_factory=dict, description="Projections of each element; default: s;p;d with a moment, s;p without."
    )
    iterations: int = Field(0, ge=0, description="Localisation iterations; 0 keeps the orbitals of both spins equal.")
    frozen: float = Field(3.0, description="Upper end of the frozen energy window above the Fermi level in eV.")
    window: float = Field(50.0, gt=0, description="Upper end of the disentanglement window above the Fermi level in eV.")
    green_mesh: tuple[int, int, int] = Field((15, 15, 15), description="k-point mesh of TB2J's Green's functions; odd numbers.")
    cutoff_pairs: float = Field(8.0, gt=0, description="Largest pair distance in Å.")
    command: str = Field("", description="Prefix of Quantum ESPRESSO commands, for example mpirun -np 2.")
    tb2j: str = Field("wann2J.py", description="TB2J script, or its path in another environment.")


@dataclass(frozen=True)
class WannierResult:
    """Couplings from Wannier functions with diagnostics.

    Attributes:
        couplings: Symmetrised couplings of the magnetic atoms; `errors` are the spread over equivalent pairs.
        fermi_level: Fermi level in eV.
        total_moment: Total moment of the cell in Bohr magnetons.
        spreads: (2,) mean spread of the Wannier functions of each spin in Å².
    """

    couplings: Couplings
    fermi_level: float
    total_moment: float
    spreads: tuple[float, float]


def require_programs(settings: WannierSettings) -> None:
    """Raise `MissingDependency` with installation instructions if a program is missing."""
    for program, line in PROGRAMS.items():
        if shutil.which(program) is None:
            raise MissingDependency(f"{program} is not installed; run: {line}")
    if shutil.which(settings.tb2j) is None:
        raise MissingDependency(
            f"{settings.tb2j} is not installed; run: pip install TB2J==0.9.22 (in a separate environment, because it pins scipy)"
        )


def mesh_points(mesh: tuple[int, int, int]) -> np.ndarray:
    """Return all points (n, 3) of a mesh in Wannier90's order."""
    return np.stack(np.meshgrid(*(np.arange(n) / n for n in mesh), indexing="ij"), -1).reshape(-1, 3)


def pw_text(atoms: Atoms, settings: WannierSettings, calculation: str) -> str:
    """Return the input of pw.x."""
    started = atoms.copy()
    started.set_constraint()
    # ASE writes the moments as starting magnetisation, from -1 to 1.
    started.set_initial_magnetic_moments([0.5 if settings.moments.get(symbol) else 0.0 for symbol in atoms.symbols])
    system: dict[str, Any] = {
        "ecutwfc": round(settings.cutoff / Ry, 6),
        "ecutrho": round(settings.density_cutoff / Ry, 6),
        "nspin": 2,
        "occupations": "smearing",
        "smearing": "mv",
        "degauss": round(settings.smearing / Ry, 8),
    }
    points: Any = settings.scf_mesh
    if calculation == "nscf":
        system |= {"nosym": True, "noinv": True, "nbnd": band_count(atoms, settings) + settings.core_bands}
        mesh = mesh_points(settings.mesh)
        points = np.column_stack([mesh, np.full(len(mesh), 1 / len(mesh))])
    control = {"calculation": calculation, "prefix": "crystal", "outdir": "./out", "pseudo_dir": settings.pseudo_dir}
    text = StringIO()
    write_espresso_in(
        text,
        started,
        {"control": control, "system": system, "electrons": {"conv_thr": 1e-9}},
        pseudopotentials=settings.pseudopotentials,
        kpts=points,
        crystal_coordinates=True,
    )
    return text.getvalue()


def projections(atoms: Atoms, settings: WannierSettings) -> dict[str, str]:
    """Return the projections of each element."""
    elements = sorted(set(atoms.get_chemical_symbols()))
    return {e: settings.projections.get(e, "s;p;d" if settings.moments.get(e) else NOT_MAGNETIC) for e in elements}


def wannier_count(atoms: Atoms, settings: WannierSettings) -> int:
    """Return the number of Wannier functions in the cell."""
    sizes = {"s": 1, "p": 3, "d": 5, "f": 7}
    found = 0
    for element, text in projections(atoms, settings).items():
        parts = text.split(";")
        if not all(part in sizes for part in parts):
            raise BadInput(f"projections of {element}: {text} is not valid; give s, p, d or f separated by semicolons")
        found += int((atoms.symbols == element).sum()) * sum(sizes[part] for part in parts)
    return found


def band_count(atoms: Atoms, settings: WannierSettings) -> int:
    """Return the number of bands from which the Wannier functions are constructed."""
    return settings.bands or int(np.ceil(wannier_count(atoms, settings) * 16 / 9))


def win_text(atoms: Atoms, settings: WannierSettings, spin: str, fermi: float) -> str:
    """Return the input of wannier90.x."""
    excluded = f"exclude_bands = 1-{settings.core_bands}\n" if settings.core_bands else ""
    lines = [f"{e}:{text}" for e, text in projections(atoms, settings).items()]
    scaled = [
        f"{s} " + " ".join(f"{x:.10f}" for x in r) for s, r in zip(atoms.get_chemical_symbols(), atoms.get_scaled_positions(), strict=True)
    ]
    return f"""num_wann = {wannier_count(atoms, settings)}
num_bands = {band_count(atoms, settings)}
{excluded}spin = {spin}
dis_win_max = {fermi + settings.window:.6f}
dis_froz_max = {fermi + settings.frozen:.6f}
dis_num_iter = 400
num_iter = {settings.iterations}
guiding_centres = .true.
use_ws_distance = .false.
write_hr = .true.
write_xyz = .true.
mp_grid = {" ".join(map(str, settings.mesh))}
begin projections
{chr(10).join(lines)}
end projections
begin unit_cell_cart
ang
{chr(10).join(" ".join(f"{x:.10f}" for x in row) for row in atoms.cell.array)}
end unit_cell_cart
begin atoms_frac
{chr(10).join(scaled)}
end atoms_frac
begin kpoints
{chr(10).join(f"{x:.12f} {y:.12f} {z:.12f}" for x, y, z in mesh_points(settings.mesh))}
end kpoints
"""


def without_degeneracies(text: str) -> str:
    """Divide the matrices of a Wannier90 `_hr.dat` by the degeneracies of their Wigner-Seitz points and set these to one.

    Raises:
        ValueError: The file is truncated.
    """
    lines = text.splitlines()
    size, points = int(lines[1]), int(lines[2])
    rows = -(-points // 15)
    degeneracies = np.array(" ".join(lines[3 : 3 + rows]).split(), dtype=int)
    body = lines[3 + rows :]
    if len(degeneracies) != points or len(body) < points * size * size:
        raise ValueError("the file is truncated")
    out = lines[:3] + ["    1" * min(15, points - 15 * k) for k in range(rows)]
    for k, line in enumerate(body[: points * size * size]):
        words = line.split()
        share = degeneracies[k // (size * size)]
        out.append(" ".join(f"{w:>5}" for w in words[:5]) + f" {float(words[5]) / share:.12f} {float(words[6]) / share:.12f}")
    return "\n".join(out) + "\n"


class _Chain:
    """Sequence of programs in a folder; a step with unchanged input and predecessors is not repeated."""

    def __init__(self, folder: Path, start: str, progress: Progress):
        self.folder, self._key, self._progress = folder, start, progress

    def run(self, step: str, program: list[str], text: str | None, ended: str) -> str:
        """Run a program and return its output; `ended` is the text printed on success."""
        self._key = hashlib.sha256((self._key + " ".join(program) + (text or "")).encode()).hexdigest()
        output, mark = self.folder / f"{step}.out", self.folder / f"{step}.done"
        if output.exists() and mark.exists() and mark.read_text() == self._key:
            return output.read_text(errors="replace")
        self._progress(Stage(step))
        mark.unlink(missing_ok=True)
        with output.open("w") as stream:
            code = subprocess.run(
                program, input=text, text=True, cwd=self.folder, stdout=stream, stderr=subprocess.STDOUT, check=False
            ).returncode
        said = output.read_text(errors="replace")
        if code != 0 or ended not in said:
            words = " / ".join(line.strip() for line in said.splitlines()[-12:] if line.strip(" %-=*"))
            raise ReferenceFailed(f"{step} ({program[-1]}): {words[-300:]}")
        write_whole(mark, self._key)
        return said


def wannier_couplings(atoms: Atoms, settings: WannierSettings, folder: Path, progress: Progress = silent) -> WannierResult:
    """Run all programs in a folder; finished steps with unchanged input are not repeated.

    Raises:
        BadInput: There is no magnetic atom, or a pseudopotential is missing.
        MissingDependency: A program is not installed.
        ReferenceFailed: A program failed; the message contains the end of its output.
    """
    # TB2J wraps positions into the cell; pair displacements refer to these positions.
    atoms = inside(atoms)
    sites = magnetic_sites(atoms, settings.moments)
    files = []
    for element in sorted(set(atoms.get_chemical_symbols())):
        file = Path(settings.pseudo_dir) / settings.pseudopotentials.get(element, "?")
        if not file.is_file():
            raise BadInput(f"pseudopotential of {element} not found: {file}; check pseudopotentials and pseudo_dir")
        files.append(file)
    require_programs(settings)
    prefix = settings.command.split()
    if prefix and shutil.which(prefix[0]) is None:
        raise BadInput(f"command {settings.command}: {prefix[0]} is not installed")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder}: the folder cannot be created: {error.strerror}") from None
    chain = _Chain(folder, "".join(hashlib.sha256(file.read_bytes()).hexdigest() for file in files), progress)
    fermi, total_moment = _ground_state(chain, atoms, settings, prefix)
    up, down = (_wannier_functions(chain, atoms, settings, prefix, spin, fermi) for spin in ("up", "down"))
    write_whole(folder / "scf.pwi", pw_text(atoms, settings, "scf"))
    magnetic = sorted({atoms.symbols[int(site)] for site in sites})
    arguments = ["--path", ".", "--posfile", "scf.pwi", "--prefix_up", "tb2j_up", "--prefix_down", "tb2j_down", "--elements", *magnetic]
    arguments += ["--efermi", str(fermi), "--kmesh", *map(str, settings.green_mesh), "--rcut", str(settings.cutoff_pairs)]
    chain.run("tb2j", [shutil.which(settings.tb2j) or settings.tb2j, *arguments, "--output_path", "TB2J_results"], None, "")
    couplings = symmetrised(read_tb2j(folder / "TB2J_results" / "exchange.out"), atoms, sites)
    return WannierResult(couplings, fermi, total_moment, (up, down))


def _ground_state(chain: _Chain, atoms: Atoms, settings: WannierSettings, prefix: list[str]) -> tuple[float, float]:
    """Compute the bands on the mesh and return the Fermi level in eV and the total moment in Bohr magnetons."""
    scf = chain.run("scf", [*prefix, "pw.x"], pw_text(atoms, settings, "scf"), "JOB DONE")
    if "convergence NOT achieved" in scf:
        raise ReferenceFailed("scf: the self-consistent calculation did not converge", kind="unconverged")
    found = re.findall(r"total magnetization\s*=\s*([-\d.]+)", scf)
    moment = float(found[-1]) if found else float("nan")
    if not abs(moment) > 0.1:
        raise ReferenceFailed(
            f"scf: the total moment is {moment:.2f} Bohr magnetons; the method requires a ferromagnetic state", kind="state"
        )
    fermi = re.findall(r"the Fermi energy is\s*([-\d.]+) ev", scf)
    if not fermi:
        raise ReferenceFailed("scf: the output of pw.x contains no Fermi energy; check its version")
    chain.run("nscf", [*prefix, "pw.x"], pw_text(atoms, settings, "nscf"), "JOB DONE")
    return float(fermi[-1]), moment


def _wannier_functions(chain: _Chain, atoms: Atoms, settings: WannierSettings, prefix: list[str], spin: str, fermi: float) -> float:
    """Compute the Wannier Hamiltonian of one spin for TB2J and return the mean spread in Å²."""
    folder, win = chain.folder, win_text(atoms, settings, spin, fermi)
    write_whole(folder / f"{spin}.win", win)
    chain.run(f"neighbours-{spin}", ["wannier90.x", "-pp", spin], win, "")
    overlaps = f"&inputpp\n outdir = './out'\n prefix = 'crystal'\n seedname = '{spin}'\n spin_component = '{spin}'\n"
    overlaps += " write_amn = .true.\n write_mmn = .true.\n/\n"
    chain.run(f"overlaps-{spin}", [*prefix, "pw2wannier90.x"], overlaps, "JOB DONE")
    chain.run(f"wannier-{spin}", ["wannier90.x", spin], win, "")
    log = (folder / f"{spin}.wout").read_text(errors="replace")
    if "All done" not in log:
        raise ReferenceFailed(f"wannier90 ({spin}): {' '.join(log.splitlines()[-3:])[-300:]}")
    try:
        write_whole(folder / f"tb2j_{spin}_hr.dat", without_degeneracies((folder / f"{spin}_hr.dat").read_text()))
    except (OSError, ValueError, IndexError) as error:
        raise ReferenceFailed(f"wannier90 ({spin}): the Hamiltonian cannot be read ({error})") from None
    shutil.copy(folder / f"{spin}_centres.xyz", folder / f"tb2j_{spin}_centres.xyz")
    shutil.copy(folder / f"{spin}.win", folder / f"tb2j_{spin}.win")
    sums = re.findall(r"Sum of centres and spreads.*\)\s+([\d.]+)", log)
    return float(sums[-1]) / wannier_count(atoms, settings)
