"""Drawing of a crystal as SVG whose elements contain their coordinates, so that a script can rotate it."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors

from nucleate.crystals.dimensions import is_cluster, is_layer
from nucleate.fingerprints.matching import idealised, stacked, standard_cell
from nucleate.molecules.topology import centres, crystal_bonds, part_numbers, unwrapped

SIZE = 100.0
"""Half the width of the picture, in SVG units."""
MOST_ATOMS = 260
"""Largest number of atoms that are drawn."""
BOND = 1.18
"""Largest length of a bond, relative to the sum of the covalent radii."""


def draw_crystal(atoms: Atoms, molecular: bool = False) -> str:
    """Draw the conventional cell with atoms, bonds and cell edges; a layer without most of its vacuum, a cluster without its box.

    Args:
        atoms: the structure.
        molecular: whether to draw whole molecules, with their centres in the cell.

    Circles have the attributes `data-p` (x, y, z) and `data-e` (element), lines have `data-a` and `data-b`; z points at the reader, and
    `data-scale` is the number of units per Å. The scripts of the page draw the same in a viewer, or rotate the picture itself.
    """
    cell = stacked(idealised(atoms)) if is_layer(atoms) else standard_cell(atoms)
    alone = is_cluster(atoms)
    numbers, positions = (cell.numbers, cell.positions) if alone else _whole(cell) if molecular else _completed(cell)
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    centre = positions.mean(0) if alone else 0.5 * cell.cell.array.sum(0)
    turn = _first_view()
    points = (positions - centre) @ turn
    vertices = (corners @ cell.cell.array - centre) @ turn
    reach = max(float(np.linalg.norm(points if alone else vertices, axis=1).max()), 1.0) + 0.8
    scale = SIZE / reach
    parts: list[tuple[float, str]] = []
    for a in range(8):
        for b in range(a + 1, 8):
            if np.abs(corners[a] - corners[b]).sum() == 1 and not alone:
                parts.append(_line(vertices[a] * scale, vertices[b] * scale, "edge", 1.0))
    radii = 0.42 * covalent_radii[numbers]
    for a, b in _bonds(numbers, positions):
        parts.append(_line(points[a] * scale, points[b] * scale, "bond", 0.12 * scale))
    for z, p, r in zip(numbers, points * scale, radii * scale, strict=True):
        place = f'data-p="{_text(p)}" data-e="{chemical_symbols[z]}" cx="{p[0]:.2f}" cy="{-p[1]:.2f}"'
        parts.append((float(p[2]), f'<circle {place} r="{r:.2f}" fill="url(#e{z})"/>'))
    body = "".join(text for _, text in sorted(parts, key=lambda part: part[0]))
    kind = "".join(dict.fromkeys(atoms.get_chemical_symbols()))
    return (
        f'<svg class="crystal" viewBox="{-SIZE:g} {-SIZE:g} {2 * SIZE:g} {2 * SIZE:g}" '
        f'data-scale="{scale:.6g}" role="img" '
        f'aria-label="{"Cluster" if alone else "Conventional cell"} of {kind}">{body}</svg>'
    )


def gradients(numbers: set[int]) -> str:
    """Return a hidden SVG with the colour gradients of the elements, which all pictures of a page share."""
    stops = []
    for z in sorted(numbers):
        colour = 255 * jmol_colors[z]
        light = colour + 0.65 * (255 - colour)
        dark = 0.62 * colour
        rgb = [f"rgb({','.join(str(round(x)) for x in c)})" for c in (light, colour, dark)]
        stops.append(
            f'<radialGradient id="e{z}" cx="0.35" cy="0.3" r="0.75"><stop offset="0" stop-color="{rgb[0]}"/>'
            f'<stop offset="0.45" stop-color="{rgb[1]}"/><stop offset="1" stop-color="{rgb[2]}"/>'
            "</radialGradient>"
        )
    return f'<svg width="0" height="0" aria-hidden="true" class="defs"><defs>{"".join(stops)}</defs></svg>'


def _first_view() -> np.ndarray:
    """Return the initial rotation: c points upwards, seen slightly from the side and from above; columns are the axes of the picture."""
    a, b = np.radians(-72.0), np.radians(14.0)
    about_c = np.array([[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0], [0, 0, 1]])
    upright = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    return about_c @ upright @ tilt


def _completed(cell: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers and positions including the images of atoms on faces, edges and corners."""
    scaled = cell.get_scaled_positions()
    scaled = np.where(scaled > 1 - 1e-3, 0.0, scaled)
    numbers, points = [], []
    for z, s in zip(cell.numbers, scaled, strict=True):
        ranges = [(0, 1) if x < 1e-3 and len(cell) < MOST_ATOMS // 2 else (0,) for x in s]
        for shift in np.array(np.meshgrid(*ranges)).reshape(3, -1).T:
            numbers.append(z)
            points.append(s + shift)
    return np.array(numbers[:MOST_ATOMS]), np.array(points[:MOST_ATOMS]) @ cell.cell.array


def _whole(cell: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers and positions of whole molecules, whose centres are in the cell."""
    bonds = crystal_bonds(cell).pairs
    parts = part_numbers(len(cell), bonds)
    positions = unwrapped(cell, parts, bonds)
    middle = centres(positions, parts) @ np.linalg.inv(cell.cell.array)
    return cell.numbers, positions - (np.floor(middle + 1e-6) @ cell.cell.array)[parts]


def _bonds(numbers: np.ndarray, positions: np.ndarray) -> list[tuple[int, int]]:
    """Return the pairs of bonded atoms."""
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    limit = BOND * (covalent_radii[numbers][:, None] + covalent_radii[numbers][None])
    first, second = np.nonzero(np.triu(distance < limit, 1))
    return list(zip(first.tolist(), second.tolist(), strict=True))


def _line(a: np.ndarray, b: np.ndarray, kind: str, width: float) -> tuple[float, str]:
    """Return depth and SVG element of a line."""
    return (
        float(0.5 * (a[2] + b[2])),
        f'<line class="{kind}" data-a="{_text(a)}" data-b="{_text(b)}" x1="{a[0]:.2f}" y1="{-a[1]:.2f}" '
        f'x2="{b[0]:.2f}" y2="{-b[1]:.2f}" stroke-width="{max(width, 0.8):.2f}"/>',
    )


def _text(p: np.ndarray) -> str:
    """Return coordinates as text."""
    return ",".join(f"{x:.2f}" for x in p)
