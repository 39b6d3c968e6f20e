"""Exchange couplings by Liechtenstein's formula: Quantum ESPRESSO, Wannier90, TB2J.

Turning two spins by small angles costs what the Green's functions of a collinear ground state say:
    J_ij = -1 / (4 pi) Im int^E_F dE Tr [ D_i G_ij^up(E) D_j G_ji^down(E) ]
with D the exchange splitting on a site (A. I. Liechtenstein et al., J. Magn. Magn. Mater. 67, 65 (1987), doi
10.1016/0304-8853(87)90721-9; TB2J: X. He et al., Comput. Phys. Commun. 264, 107938 (2021), doi 10.1016/j.cpc.2021.107938). TB2J 0.9.22
leaves the degeneracies of Wigner-Seitz points out of account: Hamiltonians are divided by them before it reads them.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_masses
from ase.units import Ry
from pydantic import BaseModel, ConfigDict, Field

from nucleate.errors import BadInput, MissingDependency, ReferenceFailed
from nucleate.persist.files import write_whole
from nucleate.spins.couplings import Couplings
from nucleate.spins.dft.mapping import magnetic_sites
from nucleate.spins.files.tb2j import read_tb2j
from nucleate.spins.symmetry import inside, symmetrised

PROGRAMS = {
    "pw.x": "apt-get install quantum-espresso",
    "pw2wannier90.x": "apt-get install quantum-espresso",
    "wannier90.x": "apt-get install wannier90",
}
NOT_MAGNETIC = "s;p"
"""Projections of elements without a moment, unless others are given."""


class WannierSettings(BaseModel):
    """How couplings come from Wannier functions."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    moments: dict[str, float] = Field(description="Of each magnetic element; the calculation starts half polarised, all along.")
    pseudopotentials: dict[str, str] = Field(description="File of each element.")
    pseudo_dir: str = Field("/usr/share/espresso/pseudo", description="Folder of the pseudopotential files.")
    cutoff: float = Field(540.0, gt=0, description="Plane-wave cutoff, eV.")
    density_cutoff: float = Field(4300.0, gt=0, description="Cutoff of the density, eV.")
    smearing: float = Field(0.14, gt=0, description="Width of the Marzari-Vanderbilt smearing, eV.")
    scf_mesh: tuple[int, int, int] = Field((14, 14, 14), description="k-points of the self-consistent calculation.")
    mesh: tuple[int, int, int] = Field((8, 8, 8), description="k-points of the Wannier functions.")
    bands: int | None = Field(None, ge=1, description="Bands of the Wannier functions; unset: 16 for every 9 of them.")
    core_bands: int = Field(0, ge=0, description="Lowest bands, of semicore states, that are left out.")
    projections: dict[str, str] = Field(default_factory=dict, description="Of each element; unset: s;p;d with a moment, s;p without.")
    iterations: int = Field(0, ge=0, description="Of the localisation; 0 keeps the orbitals of both spins alike.")
    frozen: float = Field(3.0, description="Upper end of the energies kept exactly, above the Fermi level, eV.")
    window: float = Field(50.0, gt=0, description="Upper end of the energies looked at, above the Fermi level, eV.")
    green_mesh: tuple[int, int, int] = Field((15, 15, 15), description="k-points of TB2J's Green's functions, odd.")
    cutoff_pairs: float = Field(8.0, gt=0, description="Longest pair, Å.")
    command: str = Field("", description="Before each program of Quantum ESPRESSO, such as mpirun -np 2.")
    tb2j: str = Field("wann2J.py", description="TB2J's script, or its path in another environment.")


@dataclass(frozen=True)
class WannierResult:
    """Couplings and what they stand on.

    Attributes:
        couplings: of the magnetic atoms, means over the space group; `errors` are the spread over equivalent pairs.
        fermi_level: eV.
        total_moment: of the cell, Bohr magnetons.
        spreads: (2,) mean spread of the Wannier functions of each spin, Å².
    """

    couplings: Couplings
    fermi_level: float
    total_moment: float
    spreads: tuple[float, float]


def require_programs(settings: WannierSettings) -> None:
    """Raise `MissingDependency` naming what is not installed and how to install it."""
    for program, line in PROGRAMS.items():
        if shutil.which(program) is None:
            raise MissingDependency(f"{program} is not installed; run: {line}")
    if shutil.which(settings.tb2j) is None:
        raise MissingDependency(
            f"{settings.tb2j} is not installed; run: pip install TB2J==0.9.22 (in an environment of its own: it pins scipy)"
        )


def mesh_text(mesh: tuple[int, int, int], weights: bool) -> str:
    """Every point of a mesh, as Wannier90 numbers them."""
    points = np.stack(np.meshgrid(*(np.arange(n) / n for n in mesh), indexing="ij"), -1).reshape(-1, 3)
    tail = f" {1 / len(points):.12f}" if weights else ""
    return "\n".join(f"{x:.12f} {y:.12f} {z:.12f}{tail}" for x, y, z in points)


def pw_text(atoms: Atoms, settings: WannierSettings, calculation: str) -> str:
    """Input of pw.x."""
    elements = sorted(set(atoms.get_chemical_symbols()))
    start = [f"  starting_magnetization({k + 1}) = {0.5 if settings.moments.get(e) else 0.0:.2f}" for k, e in enumerate(elements)]
    bands = f"  nbnd = {band_count(atoms, settings) + settings.core_bands}\n" if calculation == "nscf" else ""
    system = f"""  ibrav = 0
  nat = {len(atoms)}
  ntyp = {len(elements)}
  ecutwfc = {settings.cutoff / Ry:.6f}
  ecutrho = {settings.density_cutoff / Ry:.6f}
  nspin = 2
  occupations = 'smearing'
  smearing = 'mv'
  degauss = {settings.smearing / Ry:.8f}
{chr(10).join(start)}
"""
    if calculation == "nscf":
        system += f"  nosym = .true.\n  noinv = .true.\n{bands}"
        points = f"K_POINTS crystal\n{np.prod(settings.mesh)}\n{mesh_text(settings.mesh, True)}\n"
    else:
        points = "K_POINTS automatic\n" + " ".join(map(str, settings.scf_mesh)) + " 0 0 0\n"
    species = "\n".join(f"{e} {atomic_masses[atoms.numbers[atoms.symbols == e][0]]:.4f} {settings.pseudopotentials[e]}" for e in elements)
    cell = "\n".join(" ".join(f"{x:.10f}" for x in row) for row in atoms.cell.array)
    scaled = "\n".join(
        f"{s} " + " ".join(f"{x:.10f}" for x in row)
        for s, row in zip(atoms.get_chemical_symbols(), atoms.get_scaled_positions(), strict=True)
    )
    return f"""&control
  calculation = '{calculation}'
  prefix = 'crystal'
  outdir = './out'
  pseudo_dir = '{settings.pseudo_dir}'
/
&system
{system}/
&electrons
  conv_thr = 1e-9
/
ATOMIC_SPECIES
{species}
CELL_PARAMETERS angstrom
{cell}
ATOMIC_POSITIONS crystal
{scaled}
{points}"""


def projections(atoms: Atoms, settings: WannierSettings) -> dict[str, str]:
    """Of each element."""
    elements = sorted(set(atoms.get_chemical_symbols()))
    return {e: settings.projections.get(e, "s;p;d" if settings.moments.get(e) else NOT_MAGNETIC) for e in elements}


def wannier_count(atoms: Atoms, settings: WannierSettings) -> int:
    """Wannier functions of the cell."""
    sizes = {"s": 1, "p": 3, "d": 5, "f": 7}
    found = 0
    for element, text in projections(atoms, settings).items():
        parts = text.split(";")
        if not all(part in sizes for part in parts):
            raise BadInput(f"projections of {element}: {text}; write s, p, d and f with semicolons between")
        found += int((atoms.symbols == element).sum()) * sum(sizes[part] for part in parts)
    return found


def band_count(atoms: Atoms, settings: WannierSettings) -> int:
    """Bands that the Wannier functions are drawn from."""
    return settings.bands or int(np.ceil(wannier_count(atoms, settings) * 16 / 9))


def win_text(atoms: Atoms, settings: WannierSettings, spin: str, fermi: float) -> str:
    """Input of wannier90.x."""
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
{mesh_text(settings.mesh, False)}
end kpoints
"""


def without_degeneracies(text: str) -> str:
    """A Wannier90 `_hr.dat` whose matrices are divided by the degeneracies of their Wigner-Seitz points, which become one.

    Raises:
        ValueError: a file that is cut short.
    """
    lines = text.splitlines()
    size, points = int(lines[1]), int(lines[2])
    rows = -(-points // 15)
    degeneracies = np.array(" ".join(lines[3 : 3 + rows]).split(), dtype=int)
    body = lines[3 + rows :]
    if len(degeneracies) != points or len(body) < points * size * size:
        raise ValueError("cut short")
    out = lines[:3] + ["    1" * min(15, points - 15 * k) for k in range(rows)]
    for k, line in enumerate(body[: points * size * size]):
        words = line.split()
        share = degeneracies[k // (size * size)]
        out.append(" ".join(f"{w:>5}" for w in words[:5]) + f" {float(words[5]) / share:.12f} {float(words[6]) / share:.12f}")
    return "\n".join(out) + "\n"


class _Chain:
    """Programs run one after another in a folder; what was made from the same input, and the same before it, is not run again."""

    def __init__(self, folder: Path, start: str, progress: Callable[[str], None]):
        self.folder, self._key, self._progress = folder, start, progress

    def run(self, step: str, program: list[str], text: str | None, ended: str) -> str:
        """Output of one program; `ended` is what it says at a good end."""
        self._key = hashlib.sha256((self._key + " ".join(program) + (text or "")).encode()).hexdigest()
        output, mark = self.folder / f"{step}.out", self.folder / f"{step}.done"
        if output.exists() and mark.exists() and mark.read_text() == self._key:
            return output.read_text(errors="replace")
        self._progress(step)
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


def wannier_couplings(
    atoms: Atoms, settings: WannierSettings, folder: Path, progress: Callable[[str], None] = lambda text: None
) -> WannierResult:
    """Run the chain in a folder; what is there and was made from the same input is not run again.

    Raises:
        BadInput: no magnetic atom, a pseudopotential that is missing.
        MissingDependency: a program is not installed.
        ReferenceFailed: a program's own last words.
    """
    # TB2J reads positions inside the cell; pairs are counted from them.
    atoms = inside(atoms)
    sites = magnetic_sites(atoms, settings.moments)
    files = []
    for element in sorted(set(atoms.get_chemical_symbols())):
        file = Path(settings.pseudo_dir) / settings.pseudopotentials.get(element, "?")
        if not file.is_file():
            raise BadInput(f"pseudopotential of {element} not found: {file}; give pseudopotentials and pseudo_dir")
        files.append(file)
    require_programs(settings)
    prefix = settings.command.split()
    if prefix and shutil.which(prefix[0]) is None:
        raise BadInput(f"command {settings.command}: {prefix[0]} is not installed")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder}: cannot be made: {error.strerror}") from None
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
    """Fermi level, eV, and the cell's moment, Bohr magnetons; leaves bands on the mesh in the folder."""
    scf = chain.run("scf", [*prefix, "pw.x"], pw_text(atoms, settings, "scf"), "JOB DONE")
    if "convergence NOT achieved" in scf:
        raise ReferenceFailed("scf: self-consistency did not settle", kind="unconverged")
    found = re.findall(r"total magnetization\s*=\s*([-\d.]+)", scf)
    moment = float(found[-1]) if found else float("nan")
    if not abs(moment) > 0.1:
        raise ReferenceFailed(f"scf: the moment of the cell is {moment:.2f} Bohr magnetons: no ferromagnet to turn spins of", kind="state")
    fermi = re.findall(r"the Fermi energy is\s*([-\d.]+) ev", scf)
    if not fermi:
        raise ReferenceFailed("scf: pw.x tells no Fermi energy; was it another version?")
    chain.run("nscf", [*prefix, "pw.x"], pw_text(atoms, settings, "nscf"), "JOB DONE")
    return float(fermi[-1]), moment


def _wannier_functions(chain: _Chain, atoms: Atoms, settings: WannierSettings, prefix: list[str], spin: str, fermi: float) -> float:
    """Mean spread of one spin's, Å²; leaves their Hamiltonian in the folder as TB2J reads it."""
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
        raise ReferenceFailed(f"wannier90 ({spin}): its Hamiltonian cannot be read ({error})") from None
    shutil.copy(folder / f"{spin}_centres.xyz", folder / f"tb2j_{spin}_centres.xyz")
    shutil.copy(folder / f"{spin}.win", folder / f"tb2j_{spin}.win")
    sums = re.findall(r"Sum of centres and spreads.*\)\s+([\d.]+)", log)
    return float(sums[-1]) / wannier_count(atoms, settings)
