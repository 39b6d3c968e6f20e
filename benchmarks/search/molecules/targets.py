"""Known crystals of molecules, as facts from the literature: cells in Å and degrees, fractional coordinates of one molecule.

Glycine: alpha L. F. Power, K. E. Turner and F. H. Moore, Acta Cryst. B 32, 11 (1976) and P.-G. Jönsson and A. Kvick, Acta Cryst. B 28, 1827
(1972); beta V. A. Drebushchak et al., J. Cryst. Growth 241, 266 (2002); gamma A. Kvick et al., Acta Cryst. B 36, 115 (1980). Urea and dry
ice: experimental cells of the X23 set, A. M. Reilly and A. Tkatchenko, J. Chem. Phys. 139, 024705 (2013), doi 10.1063/1.4812819. Ammonia:
ND3 at 77 K, cell from I. Olovsson and D. H. Templeton, Acta Cryst. 12, 832 (1959), doi 10.1107/s0365110x59002420, coordinates from "Neutron
Diffraction Study of Solid Deuteroammonia" (their abstracts). Bonds to hydrogen in beta-glycine are short, as X-rays see them, so the atoms
are relaxed before anything is compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.cell import Cell
from ase.spacegroup import Spacegroup

GLYCINE = "[NH3+]CC(=O)[O-]"
"""SMILES of the zwitterion, the molecule of all crystals of glycine."""


@dataclass(frozen=True)
class Target:
    """A known crystal.

    Attributes:
        name: name of the form.
        smiles: SMILES of its molecule.
        group: international number of the space group.
        units: number of molecules in the primitive cell.
        cell: lengths in Å and angles in degrees of the conventional cell.
        symbols: elements of the atoms below, in one word each.
        scaled: fractional coordinates of the symmetry-inequivalent atoms.
        operations: operations of the space group in the setting of the coordinates, such as `x,y,z`; empty: the standard setting.
    """

    name: str
    smiles: str
    group: int
    units: int
    cell: tuple[float, ...]
    symbols: str
    scaled: tuple[tuple[float, float, float], ...]
    operations: tuple[str, ...] = ()

    def atoms(self) -> Atoms:
        """Return the crystal."""
        cell = Cell.fromcellpar(self.cell)
        if self.operations:
            places = np.concatenate([_apply(operation, np.array(self.scaled)) for operation in self.operations])
            return Atoms(self.symbols.split() * len(self.operations), scaled_positions=places % 1.0, cell=cell, pbc=True)
        places, kinds = Spacegroup(self.group).equivalent_sites(list(self.scaled))
        symbols = self.symbols.split()
        return Atoms([symbols[k] for k in kinds], scaled_positions=places, cell=cell, pbc=True)


def _apply(operation: str, scaled: np.ndarray) -> np.ndarray:
    """Return the images of fractional coordinates under an operation such as `1/2-x,1/2+y,z`."""
    names = {"x": scaled[:, 0], "y": scaled[:, 1], "z": scaled[:, 2]}
    return np.stack([np.broadcast_to(_sum(term, names), len(scaled)) for term in operation.split(",")], axis=1)


def _sum(text: str, names: dict[str, np.ndarray]) -> np.ndarray:
    total = np.zeros(len(names["x"]))
    for term in text.replace("-", "+-").split("+"):
        sign, word = (-1.0, term[1:]) if term.startswith("-") else (1.0, term)
        if word in names:
            total = total + sign * names[word]
        elif word:
            over, _, under = word.partition("/")
            total = total + sign * float(over) / float(under or 1)
    return total


TARGETS = [
    Target(
        "alpha-glycine", GLYCINE, 14, 4, (5.0999, 11.9516, 5.4594, 90, 111.781, 90), "C C O O N H H H H H",
        (
            (0.06438, 0.14494, 0.78670), (0.07471, 0.12484, 1.06601), (0.30478, 0.09443, 1.23515), (-0.14775, 0.14154, 1.10700),
            (0.30086, 0.08984, 0.74100), (0.49550, 0.11920, 0.86930), (0.29800, 0.00493, 0.77370), (0.28940, 0.10007, 0.54580),
            (-0.13410, 0.11440, 0.64320), (0.07750, 0.23479, 0.75700),
        ),
        ("x,y,z", "-x,-y,-z", "1/2-x,1/2+y,1/2-z", "1/2+x,1/2-y,1/2+z"),
    ),
    Target(
        "beta-glycine", GLYCINE, 4, 2, (5.0785, 6.1923, 5.3869, 90, 113.346, 90), "C C O O N H H H H H",
        (
            (0.11290, 0.36090, 0.26890), (0.13520, 0.34880, 0.56140), (0.38120, 0.32030, 0.74220), (-0.09080, 0.37570, 0.59670),
            (0.35320, 0.24800, 0.23600), (0.34600, 0.11700, 0.26200), (0.33900, 0.26800, 0.06800), (0.53600, 0.29000, 0.35600),
            (-0.06500, 0.29500, 0.14000), (0.12700, 0.51200, 0.21900),
        ),
        ("x,y,z", "-x,1/2+y,-z"),
    ),
    Target(
        "gamma-glycine", GLYCINE, 145, 3, (7.046, 7.046, 5.491, 90, 90, 120), "C C O O N H H H H H",
        (
            (0.39750, -0.02730, 0.37867), (0.39201, -0.00128, 0.10245), (0.23261, 0.01233, 0.01382), (0.54367, -0.00320, -0.01729),
            (0.24435, 0.02851, 0.50381), (0.25020, 0.01620, 0.69490), (0.29160, 0.19190, 0.46000), (0.08300, -0.07410, 0.44570),
            (0.56390, 0.07700, 0.45200), (0.34580, -0.19990, 0.41980),
        ),
        ("x,y,z", "-y,x-y,z+2/3", "-x+y,-x,z+1/3"),
    ),
    Target(
        "urea", "NC(=O)N", 113, 2, (5.565, 5.565, 4.684, 90, 90, 90), "C O N H H",
        (
            (0.0, 0.5, 0.3260), (0.0, 0.5, 0.5953), (0.1459, 0.6459, 0.1766), (0.2575, 0.7575, 0.2827), (0.1441, 0.6441, -0.0380),
        ),
    ),
    Target(
        "ammonia", "N", 198, 4, (5.073, 5.073, 5.073, 90, 90, 90), "N H",
        ((0.2127, 0.2127, 0.2127), (0.3740, 0.2632, 0.1094)),
    ),
    Target("dry ice", "O=C=O", 205, 4, (5.624, 5.624, 5.624, 90, 90, 90), "C O", ((0.0, 0.0, 0.0), (0.1185, 0.1185, 0.1185))),
]  # fmt: skip
