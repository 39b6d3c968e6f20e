"""Magnetic shieldings in files of the CCP-NC magres format, version 1.0: cell, atoms and shielding tensors.

The format is described with its reference implementation in S. Sturniolo et al., Solid State Nucl. Magn. Reson. 78, 64 (2016),
doi 10.1016/j.ssnmr.2016.05.004. Other blocks and tensors are skipped; atoms are named by a label and a number within the label.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from nucleate.errors import BadInput, quoted
from nucleate.persist.text import read_text

FIRST_LINE = "#$magres-abinitio-v1.0"
LARGEST = 256 * 1024 * 1024
LARGEST_VALUE = 1e6
"""Largest absolute value of a length (Å) or of a component of a shielding (ppm)."""
UNITS = {"lattice": "angstrom", "atom": "angstrom", "ms": "ppm"}


@dataclass(frozen=True)
class Shieldings:
    """Magnetic shieldings of the atoms of a crystal.

    Attributes:
        atoms: the crystal.
        tensors: (n, 3, 3) shielding tensors, ppm; NaN for atoms without one.
    """

    atoms: Atoms
    tensors: np.ndarray

    @property
    def isotropic(self) -> np.ndarray:
        """(n,) isotropic shieldings, a third of the traces, ppm."""
        third: np.ndarray = np.einsum("nii->n", self.tensors) / 3
        return third


def read_magres(path: Path) -> Shieldings:
    """Read cell, atoms and shielding tensors of a magres file.

    Raises:
        BadInput: the file is not a magres file of version 1.0, has other units, or is incomplete.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such file; give a .magres file")
    lines = read_text(path, LARGEST).splitlines()
    first = next((line.strip() for line in lines if line.strip()), "")
    if first.lower() != FIRST_LINE:
        raise BadInput(f"{path}: starts with {quoted(first, 40)!r}, not with {FIRST_LINE}; is it a magres file of version 1.0?")
    cell: np.ndarray | None = None
    symbols: list[str] = []
    positions: list[np.ndarray] = []
    index: dict[tuple[str, int], int] = {}
    tensors: dict[int, np.ndarray] = {}
    block = ""
    for number, line in enumerate(lines, 1):
        where = f"{path}: line {number}"
        words = line.split("#")[0].split()
        if not words:
            continue
        mark = re.fullmatch(r"[\[<](/?)(\w+)[\]>]", words[0])
        if mark is not None:
            block = "" if mark[1] else mark[2].lower()
            continue
        key = words[0].lower()
        if block not in ("atoms", "magres"):
            continue
        if key == "units" and len(words) == 3 and words[1] in UNITS and words[2].lower() != UNITS[words[1]]:
            raise BadInput(f"{where}: the unit of {words[1]} is {quoted(words[2], 20)}; only {UNITS[words[1]]} is supported")
        if block == "atoms" and key == "lattice":
            cell = _numbers(words[1:], 9, where).reshape(3, 3)
        elif block == "atoms" and key == "atom":
            if len(words) != 7 or words[1] not in atomic_numbers or not re.fullmatch("[0-9]{1,7}", words[3]):
                raise BadInput(f"{where}: is not 'atom SYMBOL LABEL NUMBER x y z' with a chemical symbol; correct the line")
            if (words[2], int(words[3])) in index:
                raise BadInput(f"{where}: {quoted(words[2], 20)} {words[3]} is there twice; number the atoms of a label")
            index[words[2], int(words[3])] = len(symbols)
            symbols.append(words[1])
            positions.append(_numbers(words[4:], 3, where))
        elif block == "magres" and key == "ms":
            atom, values = _atom_of(words[1:], where)
            if atom not in index:
                raise BadInput(f"{where}: there is no atom {quoted(atom[0], 20)} {atom[1]}; the block of atoms must come first")
            tensors[index[atom]] = _numbers(values, 9, where).reshape(3, 3)
    if cell is None or not symbols:
        raise BadInput(f"{path}: has no {'lattice' if cell is None else 'atoms'}; is the file complete?")
    if abs(np.linalg.det(cell)) < 1e-3:
        raise BadInput(f"{path}: the lattice vectors have no volume; correct the line 'lattice'")
    if not tensors:
        raise BadInput(f"{path}: has no shielding tensors (lines 'ms'); compute shieldings, not only electric field gradients")
    every = np.full((len(symbols), 3, 3), np.nan)
    for atom_index, tensor in tensors.items():
        every[atom_index] = tensor
    return Shieldings(Atoms(symbols, positions=np.array(positions), cell=cell, pbc=True), every)


def _numbers(words: list[str], count: int, where: str) -> np.ndarray:
    try:
        values = np.array([float(word) for word in words])
    except ValueError:
        values = np.array([np.nan])
    if len(words) != count or not np.isfinite(values).all() or np.abs(values).max() > LARGEST_VALUE:
        raise BadInput(f"{where}: {count} finite numbers are expected; correct the line")
    return values


def _atom_of(words: list[str], where: str) -> tuple[tuple[str, int], list[str]]:
    """Return label and number of the atom of a tensor and its components; some programs join label and number, as in C100."""
    if len(words) == 11 and re.fullmatch("[0-9]{1,7}", words[1]):
        return (words[0], int(words[1])), words[2:]
    joined = re.fullmatch(r"(\D+)([0-9]{1,7})", words[0]) if len(words) == 10 else None
    if joined is None:
        raise BadInput(f"{where}: is not 'ms LABEL NUMBER' and 9 numbers; correct the line")
    return (joined[1], int(joined[2])), words[1:]


def magres_text(shieldings: Shieldings, program: str = "nucleate") -> str:
    """Return the text of a magres file with cell, atoms and shielding tensors; atoms without a tensor have no line `ms`.

    Args:
        shieldings: the crystal and its tensors.
        program: name of the program that computed the tensors.
    """
    atoms = shieldings.atoms
    counts: dict[str, int] = {}
    lines = [FIRST_LINE, "[calculation]", f"calc_code {program}", "[/calculation]", "[atoms]", "units lattice Angstrom"]
    lines += ["lattice " + " ".join(f"{x:.10f}" for x in atoms.cell.array.ravel()), "units atom Angstrom"]
    names = []
    for symbol, position in zip(atoms.get_chemical_symbols(), atoms.positions, strict=True):
        counts[symbol] = counts.get(symbol, 0) + 1
        names.append(f"{symbol} {counts[symbol]}")
        lines.append(f"atom {symbol} {names[-1]} " + " ".join(f"{x:.10f}" for x in position))
    lines += ["[/atoms]", "[magres]", "units ms ppm"]
    for name, tensor in zip(names, shieldings.tensors, strict=True):
        if np.isfinite(tensor).all():
            lines.append(f"ms {name} " + " ".join(f"{x:.6f}" for x in tensor.ravel()))
    return "\n".join([*lines, "[/magres]", ""])
