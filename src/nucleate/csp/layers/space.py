"""Space of a search of layers: the cell of one formula, with vacuum along the third lattice vector."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from nucleate.crystals.layers import heights, thickness
from nucleate.csp.run_settings import RunSettings
from nucleate.csp.seeded_space import SeededSpace
from nucleate.errors import BadInput
from nucleate.generate.base import Candidate
from nucleate.generate.layered import LayerGenerator, reduced_plane

SWELLING = 1.0
"""Thickness that a layer may gain in a relaxation beyond `layers.thickness`, Å."""
PERPENDICULAR = 1e-3
"""Largest component of the third lattice vector of a layer along the others, relative to its length."""


class LayerSpace(SeededSpace):
    """Layers of one formula.

    Args:
        settings: settings of the search, with two dimensions.

    Raises:
        BadInput: no layer group can hold the atoms, or a structure of the user is not a layer of this formula.
    """

    def __init__(self, settings: RunSettings):
        own = settings.layers
        super().__init__(settings, LayerGenerator(settings.counts, own.thickness, own.vacuum, settings.generate))
        self.height = own.thickness + own.vacuum
        if settings.seeds_from is not None:
            self._seeds = self._read(settings.seeds_from)

    def _read(self, source: str) -> list[Candidate]:
        """Return the structures of the user with the height of the search, and the layer in the middle."""
        made = []
        for atoms, where, details in self.given(source, "layers"):
            cell = atoms.cell.array
            tilt = np.abs(cell[2] @ cell[:2].T) / (np.linalg.norm(cell[2]) * np.linalg.norm(cell[:2], axis=1))
            if np.linalg.matrix_rank(cell) < 3 or tilt.max() > PERPENDICULAR:
                raise BadInput(f"{where}: is not a layer: its third lattice vector is not perpendicular to the others; give layers only")
            thick, limit = thickness(atoms), self.settings.layers.thickness
            if thick > limit + SWELLING:
                raise BadInput(f"{where}: is {thick:.1f} Å thick, more than layers.thickness = {limit:g}; increase it")
            made.append(Candidate(self._standing(atoms), "seed", -1, details))
        return made

    def _standing(self, atoms: Atoms) -> Atoms:
        """Return a layer in the plane of x and y, in a cell of the height of the search."""
        a, b = atoms.cell.array[0], atoms.cell.array[1]
        ex = a / np.linalg.norm(a)
        ez = np.cross(a, b) / np.linalg.norm(np.cross(a, b))
        frame = np.array([ex, np.cross(ez, ex), ez])
        plane = reduced_plane(np.array([*(frame @ np.array([a, b]).T).T, [0.0, 0.0, self.height]]))
        positions = atoms.positions @ frame.T
        sign = 1.0 if ez @ atoms.cell.array[2] > 0 else -1.0
        own = heights(atoms)
        positions[:, 2] = sign * (own - 0.5 * (own.max() + own.min())) + 0.5 * self.height
        layer = Atoms(numbers=atoms.numbers, positions=positions, cell=plane, pbc=(True, True, False))
        scaled = layer.get_scaled_positions(wrap=False)
        scaled[:, :2] %= 1.0
        layer.set_scaled_positions(scaled)
        return layer

    def holds(self, atoms: Atoms) -> bool:
        """Return whether a structure has the size of the search cell and is not thicker than the search allows."""
        return super().holds(atoms) and thickness(atoms) <= self.settings.layers.thickness + SWELLING
