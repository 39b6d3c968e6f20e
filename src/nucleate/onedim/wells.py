"""External potentials: soft-Coulomb atoms from a text such as "2@-1 2@+1", or columns of a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nucleate.errors import BadInput, quoted
from nucleate.onedim.grid import FEWEST, MOST, SOFTENING, Grid
from nucleate.persist.text import read_text

LARGEST_FILE = 2**24
UNEVEN = 1e-4
"""Largest deviation of the spacing of a file, relative to its mean."""
MOST_ATOMS = 100
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_ATOM = re.compile(rf"({_NUMBER})@({_NUMBER})")


@dataclass(frozen=True)
class Well:
    """External potential on a grid.

    Attributes:
        grid: Grid.
        potential: (n,) external potential of an electron in hartree.
        name: Text or file that defines the potential, for messages.
        density: (n,) density in 1/bohr that the file gives, or None.
    """

    grid: Grid
    potential: np.ndarray
    name: str = "well"
    density: np.ndarray | None = None

    @property
    def vacuum(self) -> float:
        """Energy in hartree of an electron at rest outside: zero, or the lower wall of a potential that is positive at both ends."""
        return max(0.0, float(min(self.potential[0], self.potential[-1])))


def soft_coulomb(grid: Grid, charges: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return the potential (n,) -sum Z / sqrt((x - X)^2 + a^2) in hartree of charges (m,) at positions (m,) in bohr."""
    return -(np.asarray(charges) / np.sqrt((grid.x[:, None] - np.asarray(positions)) ** 2 + grid.softening**2)).sum(axis=1)


def parse_atoms(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the charges and positions (bohr) of a text such as `2@-1 2@+1`.

    Raises:
        BadInput: The text is not a list of CHARGE@POSITION, or a number is not finite.
    """
    words = text.split()
    matches = [_ATOM.fullmatch(word) for word in words]
    if not words or len(words) > MOST_ATOMS or None in matches:
        wrong = next((word for word, match in zip(words, matches, strict=True) if match is None), text)
        raise BadInput(f"atoms '{quoted(wrong, 40)}': give CHARGE@POSITION in bohr, for example '2@-1 2@+1', at most {MOST_ATOMS} atoms")
    numbers = np.array([[float(match[1]), float(match[2])] for match in matches if match])
    if not np.isfinite(numbers).all():
        raise BadInput(f"atoms '{quoted(text, 40)}': charges and positions must be finite numbers")
    return numbers[:, 0], numbers[:, 1]


def atoms_well(text: str, half_length: float | None = None, points: int = 401, softening: float = SOFTENING) -> Well:
    """Return the potential of soft-Coulomb atoms.

    Args:
        text: Atoms as CHARGE@POSITION, positions in bohr.
        half_length: Half length of the grid in bohr; None: 15 bohr beyond the outermost atom.
        points: Number of points.
        softening: Length a of all interactions in bohr.

    Raises:
        BadInput: The text or the grid is not valid, or an atom is outside the grid.
    """
    charges, positions = parse_atoms(text)
    farthest = float(np.abs(positions).max())
    grid = Grid.box(15.0 + farthest if half_length is None else half_length, points, softening)
    if farthest > grid.x[-1]:
        raise BadInput(f"atoms '{quoted(text, 40)}': an atom is outside the grid, which ends at {grid.x[-1]:g} bohr")
    return Well(grid, soft_coulomb(grid, charges, positions), quoted(text, 40))


def read_well(path: Path, softening: float = SOFTENING) -> Well:
    """Read a table with the columns x (bohr), v (hartree) and optionally n (1/bohr), separated by commas or spaces.

    Lines that begin with `#`, and a first line of column names, are skipped.

    Raises:
        BadInput: The file cannot be read, a line has other columns or numbers that are not finite, the spacing of x is not equal, there are
            fewer than 16 or more than 2000 lines, or a density is negative.
    """
    rows: list[list[float]] = []
    for number, line in enumerate(read_text(path, LARGEST_FILE).splitlines(), 1):
        words = line.replace(",", " ").split()
        if not words or words[0].startswith("#"):
            continue
        try:
            row = [float(word) for word in words]
        except ValueError:
            if not rows and words[0].lower() == "x":
                continue
            raise BadInput(f"{path}: line {number} '{quoted(line.strip(), 40)}': give the numbers x, v and optionally n") from None
        if len(row) not in (2, 3) or (rows and len(row) != len(rows[0])) or not np.isfinite(row).all():
            raise BadInput(f"{path}: line {number}: give two or three finite numbers, x, v and optionally n, the same on every line")
        rows.append(row)
        if len(rows) > MOST:
            raise BadInput(f"{path}: more than {MOST} points; give a coarser grid")
    if len(rows) < FEWEST:
        raise BadInput(f"{path}: {len(rows)} points; give at least {FEWEST}")
    table = np.array(rows)
    steps = np.diff(table[:, 0])
    if steps.min() <= 0 or np.abs(steps - steps.mean()).max() > UNEVEN * steps.mean():
        raise BadInput(f"{path}: the column x does not ascend in equal steps; interpolate the table to a uniform grid")
    density = table[:, 2] if table.shape[1] == 3 else None
    if density is not None and density.min() < 0:
        raise BadInput(f"{path}: the density is negative at x = {table[int(density.argmin()), 0]:g}")
    if not (np.isfinite(softening) and softening > 0):
        raise BadInput(f"softening {softening:g} bohr: give a positive length")
    return Well(Grid(np.linspace(table[0, 0], table[-1, 0], len(table)), softening), table[:, 1], str(path), density)
