"""Shieldings by CP2K: linear response with all electrons (GAPW and PBE) at the Gamma point.

The method is that of V. Weber, M. Iannuzzi, S. Giani, J. Hutter, R. Declerck and M. Waroquier, J. Chem. Phys. 131, 014106 (2009),
doi 10.1063/1.3156803; CP2K: T. D. Kühne et al., J. Chem. Phys. 152, 194103 (2020), doi 10.1063/5.0007045. The preconditioner
FULL_SINGLE_INVERSE is used in both solvers, because the response does not converge with FULL_ALL.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from ase import Atoms

from nucleate.errors import BadInput, MissingDependency, ReferenceFailed, quoted
from nucleate.observables.magres import Shieldings

PROGRAMS = ("cp2k.psmp", "cp2k.popt", "cp2k.ssmp", "cp2k")
BASIS = "6-311Gxx"
"""Gaussian basis of every element, from EMSL_BASIS_SETS. Larger bases change the shieldings of hydrogen by about 2 ppm."""
CUTOFF = 300
"""Cutoff of the plane waves, Ry."""
SMALLEST = 7.0
"""Cells are repeated until their heights are at least this length, Å, since only the Gamma point is sampled."""

INPUT = """&GLOBAL
  PROJECT nmr
  RUN_TYPE LINEAR_RESPONSE
  PRINT_LEVEL LOW
&END GLOBAL
&FORCE_EVAL
  METHOD QUICKSTEP
  &DFT
    BASIS_SET_FILE_NAME EMSL_BASIS_SETS
    POTENTIAL_FILE_NAME POTENTIAL
    &MGRID
      CUTOFF {cutoff}
      REL_CUTOFF 50
    &END MGRID
    &QS
      METHOD GAPW
      EPS_DEFAULT 1.0E-12
    &END QS
    &SCF
      EPS_SCF 1.0E-7
      MAX_SCF 50
      &OT
        MINIMIZER DIIS
        PRECONDITIONER FULL_SINGLE_INVERSE
      &END OT
      &OUTER_SCF
        EPS_SCF 1.0E-7
        MAX_SCF 10
      &END OUTER_SCF
    &END SCF
    &XC
      &XC_FUNCTIONAL PBE
      &END XC_FUNCTIONAL
    &END XC
  &END DFT
  &PROPERTIES
    &LINRES
      PRECONDITIONER FULL_SINGLE_INVERSE
      EPS 1.0E-6
      MAX_ITER 300
      &LOCALIZE
        METHOD CRAZY
        MAX_ITER 20000
      &END LOCALIZE
      &CURRENT
        GAUGE R_AND_STEP_FUNCTION
      &END CURRENT
      &NMR
        &PRINT
          &SHIELDING_TENSOR
          &END SHIELDING_TENSOR
        &END PRINT
      &END NMR
    &END LINRES
  &END PROPERTIES
  &SUBSYS
    &CELL
{cell}
    &END CELL
    &COORD
{coordinates}
    &END COORD
{kinds}
  &END SUBSYS
&END FORCE_EVAL
"""
KIND = """    &KIND {symbol}
      BASIS_SET {basis}
      POTENTIAL ALL
      LEBEDEV_GRID 80
      RADIAL_GRID 100
    &END KIND"""


def repeated(atoms: Atoms) -> Atoms:
    """Return a supercell whose heights are at least `SMALLEST`; its first atoms are those of the cell."""
    heights = 1 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
    supercell: Atoms = atoms.repeat([int(np.ceil(SMALLEST / height - 1e-6)) for height in heights])
    return supercell


def input_text(atoms: Atoms) -> str:
    """Return the input of CP2K for the shieldings of a crystal in a sufficiently large cell.

    Raises:
        BadInput: the number of electrons is odd.
    """
    if int(atoms.numbers.sum()) % 2:
        raise BadInput(f"{atoms.get_chemical_formula()}: has an odd number of electrons; CP2K computes shieldings of closed shells")
    rows = zip("ABC", atoms.cell.array, strict=True)
    return INPUT.format(
        cutoff=CUTOFF,
        cell="\n".join(f"      {axis} " + " ".join(f"{x:.10f}" for x in row) for axis, row in rows),
        coordinates="\n".join(
            f"      {symbol} " + " ".join(f"{x:.10f}" for x in position)
            for symbol, position in zip(atoms.get_chemical_symbols(), atoms.positions, strict=True)
        ),
        kinds="\n".join(KIND.format(symbol=symbol, basis=BASIS) for symbol in sorted(set(atoms.get_chemical_symbols()))),
    )


def read_tensors(text: str) -> np.ndarray:
    """Return the shielding tensors (n, 3, 3) of CP2K's file of shieldings, ppm.

    Raises:
        ReferenceFailed: the text contains no tensors, or values that are not numbers.
    """
    stated = re.search(r"# tensors printed\s+(\d+)", text)
    blocks = re.findall(r"SIGMA TOTAL\s*\n((?:[^\n]*\n){3})", text)
    if stated is None or len(blocks) != int(stated[1]):
        raise ReferenceFailed(f"CP2K wrote {len(blocks)} of {stated[1] if stated else 'an unknown number of'} shielding tensors")
    values = [re.findall(r"[XYZ]{2} =\s*(\S+)", block) for block in blocks]
    try:
        tensors = np.array(values, dtype=float).reshape(-1, 3, 3)
    except ValueError:
        # Values that do not fit into their columns are printed as stars.
        raise ReferenceFailed("CP2K printed shieldings that are not numbers; the response did not converge") from None
    if not np.isfinite(tensors).all():
        raise ReferenceFailed("CP2K printed shieldings that are not finite; the response did not converge")
    return tensors


def program() -> str:
    """Return the path of CP2K.

    Raises:
        MissingDependency: CP2K is not installed.
    """
    for name in PROGRAMS:
        path = shutil.which(name)
        if path is not None:
            return path
    raise MissingDependency("--shieldings cp2k requires CP2K with its data: apt-get install cp2k cp2k-data")


def cp2k_shieldings(atoms: Atoms) -> Shieldings:
    """Return the shieldings of a crystal by CP2K, which takes minutes for a molecular crystal.

    The number of threads is that of OMP_NUM_THREADS.

    Raises:
        BadInput: the number of electrons is odd.
        MissingDependency: CP2K is not installed.
        ReferenceFailed: the calculation failed or did not converge.
    """
    executable = program()
    crystal = repeated(atoms)
    text = input_text(crystal)
    with tempfile.TemporaryDirectory(prefix="nucleate-nmr-") as name:
        folder = Path(name)
        (folder / "nmr.inp").write_text(text, encoding="utf-8")
        done = subprocess.run([executable, "-i", "nmr.inp", "-o", "nmr.out"], cwd=folder, capture_output=True, env=os.environ, check=False)
        output = (folder / "nmr.out").read_text(encoding="utf-8", errors="replace") if (folder / "nmr.out").exists() else ""
        found = sorted(folder.glob("nmr-SHIFT*.data"))
        if done.returncode != 0 or not found or "SCF run NOT converged" in output or "didn't converge" in output:
            raise ReferenceFailed(f"CP2K failed for {atoms.get_chemical_formula()}: {_reason(output)}")
        tensors = read_tensors(found[0].read_text(encoding="utf-8", errors="replace"))
    if len(tensors) != len(crystal):
        raise ReferenceFailed(f"CP2K wrote shieldings of {len(tensors)} atoms; the cell has {len(crystal)}")
    return Shieldings(atoms, tensors[: len(atoms)])


def _reason(output: str) -> str:
    """Return the line of an output that names the failure."""
    for pattern in (r"SCF run NOT converged[^\n]*", r"[^\n]*didn't converge[^\n]*", r"\*\s+\[ABORT\]\s*\*?\s*\n(?:[^\n]*\n){0,3}"):
        match = re.search(pattern, output)
        if match is not None:
            return quoted(" ".join(re.sub(r"[*|\\/_-]{2,}|\*", " ", match[0]).split()), 120)
    return "it wrote no shieldings"
