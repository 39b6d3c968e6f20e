"""CrySPY: random search (RS), evolutionary algorithm (EA) and look-ahead (LAQA), with the settings of its tutorials.

CrySPY is called again and again, as its script repeat_cryspy does. It prepares a folder for each structure and starts a job; here the job
is empty (`jobcmd = true`), and this process relaxes the structure with the counted reference and marks the job as done. Nothing of CrySPY
is changed. Sources: the documentation at tomoki-yamashita.github.io/CrySPY_doc and the examples of CrySPY_utility.

- Relaxation (tutorial "ASE on your local PC"): BFGS, FrechetCellFilter, FixSymmetry; thresholds of all others instead of 0.01 eV/Å.
- Structures: PyXtal, all space groups, default volumes. Smallest distances are set, as the documentation recommends: `DISTANCES`.
- RS: 20 structures at a time, more are appended (tutorial "Append structures").
- EA (example soiap_Si4O8_EA, whose cell is as large as ours): n_pop 20, n_crsov 10, n_perm 3, n_strain 4, n_rand 3, n_elite 2, n_fittest
  10, tournament of 2. An element has no permutations, and they are shared out: n_crsov 11, n_strain 5, n_rand 4. So they are for oxides:
  CrySPY ends when a permutation, of metal and oxygen, cannot keep the smallest distances (Al4O6, seed 100, after 934 evaluations).
- LAQA (tutorial "LAQA", qe_Si16_LAQA): 50 structures, 4 selected at a time, 10 steps a selection, wf 0.1, ws 10; 50 more when all are
  done. CrySPY offers LAQA only with VASP, Quantum ESPRESSO and soiap, so results are handed over in the files of soiap.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import write
from counting import AseRelaxation, Trial
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from nucleate.crystals.formula import parse_formula

DISTANCES = {"Si-Si": 1.5, "Al-Al": 2.0, "Al-O": 1.5, "O-O": 2.0, "Mg-Mg": 2.0, "Al-Mg": 2.0, "Mg-O": 1.5, "B-B": 1.4}
"""Smallest distances, Å: Si from the tutorial of LAQA, oxides near those of the example Sr4Co4O12, boron by the same measure."""
EVOLUTION = {"n_crsov": 11, "n_perm": 0, "n_strain": 5, "n_rand": 4}
"""Children of each operator in a generation."""
NUMBER = {"RS": 20, "LAQA": 50}
"""Structures generated at a time."""
LOOK_AHEAD = 10
"""Steps of a structure that LAQA has selected."""
IDLE = 4
"""Calls of CrySPY without a new job after which it is taken to be done."""


def input_file(system: str, algorithm: str, seed: int, number: int) -> str:
    """Return the input file of CrySPY."""
    counts = parse_formula(system)
    symbols = list(counts)
    code = "soiap" if algorithm == "LAQA" else "ASE"
    lines = ["[basic]", f"algo = {algorithm}", f"calc_code = {code}", f"tot_struc = {number}", "nstage = 1", "njob = 4", "jobcmd = true"]
    lines += ["jobfile = job_cryspy", "[structure]", f"atype = {' '.join(symbols)}", f"nat = {' '.join(str(counts[s]) for s in symbols)}"]
    for k, one in enumerate(symbols, 1):
        closest = [str(DISTANCES["-".join(sorted((one, other)))]) for other in symbols]
        lines.append(f"mindist_{k} = {' '.join(closest)}")
    if algorithm == "EA":
        lines += ["[EA]", "n_pop = 20", *(f"{name} = {value}" for name, value in EVOLUTION.items())]
        lines += ["n_elite = 2", "n_fittest = 10", "slct_func = TNM", "t_size = 2", "maxgen_ea = 0"]
    if algorithm == "LAQA":
        lines += [
            "[LAQA]",
            "nselect_laqa = 4",
            "[soiap]",
            "soiap_infile = soiap.in",
            "soiap_outfile = soiap.out",
            "soiap_cif = initial.cif",
        ]
    else:
        lines += ["[ASE]", "ase_python = ase_in.py"]
    # Backups copy all data at each generation or selection.
    return "\n".join([*lines, "[option]", f"seed = {seed}", "backup_interval = 0", ""])


class Driver:
    """Calls CrySPY in the current folder and runs its jobs."""

    def __init__(self, trial: Trial, system: str, seed: int, algorithm: str):
        self.trial, self.system, self.seed, self.algorithm = trial, system, seed, algorithm
        self.number = NUMBER.get(algorithm, 20)
        self.symbols = list(parse_formula(system))
        self.unfinished: dict[int, AseRelaxation] = {}
        Path("calc_in").mkdir()
        for name in ("job_cryspy", "ase_in.py", "soiap.in"):
            Path("calc_in", name).write_text("# The job is run by the process that called CrySPY.\n")
        self.write_input()

    def write_input(self) -> None:
        """Write the input file."""
        Path("cryspy.in").write_text(input_file(self.system, self.algorithm, self.seed, self.number))

    def call(self) -> None:
        """Call CrySPY once."""
        from cryspy.scripts import cryspy as script

        # Its messages would go to the handlers of each call anew.
        script.set_logger = lambda **_: None
        arguments, sys.argv = sys.argv, ["cryspy", "-n"]
        try:
            script.main()
        except SystemExit as end:
            if end.code not in (None, 0):
                raise RuntimeError(f"CrySPY ended with code {end.code}") from end
        finally:
            sys.argv = arguments

    def jobs(self) -> list[Path]:
        """Return the folders with a job that has been submitted."""
        files = sorted(Path("work").glob("*/stat_job"), key=lambda file: int(file.parent.name) if file.parent.name.isdigit() else -1)
        return [file.parent for file in files if file.parent.name.isdigit() and "submitted" in file.read_text()]

    def run(self) -> None:
        """Call CrySPY until the run ends."""
        self.call()
        idle = 0
        while True:
            self.call()
            jobs = self.jobs()
            for folder in jobs:
                (self.look_ahead if self.algorithm == "LAQA" else self.relax)(folder)
                status = folder / "stat_job"
                status.write_text(status.read_text().replace("submitted", "done"))
            idle = 0 if jobs else idle + 1
            if idle > IDLE:
                if self.algorithm == "EA":
                    raise RuntimeError("CrySPY makes no further generation")
                self.number += NUMBER[self.algorithm]
                self.write_input()
                idle = 0

    def relax(self, folder: Path) -> None:
        """Relax the structure of a job and write its results."""
        structure = AseAtomsAdaptor.get_atoms(Structure.from_file(folder / "POSCAR"))
        end = self.relaxed(structure)
        if end is not None:
            atoms, energy = end
            (folder / "log.tote").write_text(f"{energy * len(atoms)}\n")
            write(folder / "CONTCAR", self.ordered(atoms), format="vasp", direct=True)

    def relaxed(self, atoms: Atoms) -> tuple[Atoms, float] | None:
        """Relax and confirm a structure; None if it fails."""
        try:
            relaxation = AseRelaxation(self.trial.counter, atoms)
        except Exception:  # spglib finds no symmetry
            return None
        if relaxation.run(10**6) != "converged":
            return None
        return self.trial.confirm(relaxation.plain, relaxation.energy)

    def ordered(self, atoms: Atoms) -> Atoms:
        """Return the atoms in the order of the input file, in which CrySPY reads them."""
        order = sorted(range(len(atoms)), key=lambda k: self.symbols.index(atoms[k].symbol))
        return atoms[order]

    def look_ahead(self, folder: Path) -> None:
        """Take some steps of a structure that LAQA has selected, and write the results as soiap does."""
        from cryspy.util.constants import BOHR2ANG, HRT2EV

        number = int(folder.name)
        if number not in self.unfinished:
            try:
                self.unfinished[number] = AseRelaxation(self.trial.counter, self.initial(number))
            except Exception:  # spglib finds no symmetry; CrySPY finds no results and gives the structure up
                return
        relaxation = self.unfinished[number]
        state = relaxation.run(LOOK_AHEAD)
        if state == "failed" or not relaxation.forces:
            for file in ("log.tote", "log.struc", "log.frc", "log.strs"):
                (folder / file).unlink(missing_ok=True)
            return
        atoms, energy = relaxation.plain, relaxation.energy
        if state == "converged":
            atoms, energy = self.trial.confirm(atoms, energy)
        atoms = self.ordered(atoms)
        cell = "\n".join(_row(row) for row in atoms.cell.array.T / BOHR2ANG)
        sites = "\n".join(_row(row) for row in atoms.get_scaled_positions())
        (folder / "log.struc").write_text(f"lattice\n{cell}\ncoordinates\n{sites}\n")
        (folder / "log.tote").write_text(f"1 1 0 0 {energy / HRT2EV:.12f}\n")
        _write_blocks(folder / "log.frc", "forces", [forces * BOHR2ANG / HRT2EV for forces in relaxation.forces])
        _write_blocks(folder / "log.strs", "QMD", [stress * BOHR2ANG**3 / HRT2EV for stress in relaxation.stresses])
        done = "QMD%frc converged.\nQMD%strs converged.\n" if state == "converged" else "\n\n"
        (folder / "soiap.out").write_text(f"{done}*** QMD%loopc\n")

    def initial(self, number: int) -> Atoms:
        """Return a structure that CrySPY has generated."""
        from cryspy.IO import pkl_data

        structures: dict[int, Any] = pkl_data.load_init_struc()
        return AseAtomsAdaptor.get_atoms(structures[number])


def _row(values: np.ndarray) -> str:
    return " ".join(f"{value:.12f}" for value in values)


def _write_blocks(path: Path, title: str, blocks: list[np.ndarray]) -> None:
    """Write a matrix for each step below a line that the reader skips."""
    path.write_text("".join(title + "\n" + "\n".join(_row(row) for row in block) + "\n" for block in blocks))


def search(algorithm: str, trial: Trial, system: str, seed: int) -> None:
    """Run an algorithm of CrySPY in the current folder until the run ends."""
    assert re.fullmatch("RS|EA|LAQA", algorithm)
    Driver(trial, system, seed, algorithm).run()
