"""Reader of magnetic CIF files: moments of the sites, expanded with the magnetic space group, become starting moments."""

from __future__ import annotations

import warnings

import gemmi
import numpy as np
from ase import Atoms

from nucleate.errors import BadInput, quoted

COLLINEAR = 1e-2
"""Largest component of a moment perpendicular to the common axis, relative to the largest moment."""


def magnetic_structure(block: gemmi.cif.Block, where: str) -> Atoms | None:
    """Read a crystal with starting moments (Bohr magnetons) with pymatgen; return None if the block has no moments.

    Raises:
        BadInput: the block cannot be read, sites are partly occupied, or the moments are not collinear.
    """
    if not any(len(block.find_values(f"_atom_site_moment{mark}label")) for mark in (".", "_")):
        return None
    from pymatgen.io.cif import CifParser

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (structure,) = CifParser.from_str(block.as_string()).parse_structures(primitive=False)
    except Exception as error:  # pymatgen raises exceptions of many types
        raise BadInput(f"{where}: cannot be read as a magnetic CIF ({quoted(' '.join(str(error).split()))})") from None
    if not structure.is_ordered:
        raise BadInput(f"{where}: sites are partly occupied; give an ordered structure")
    vectors = np.array([np.asarray(site.properties["magmom"].get_moment(), dtype=float) for site in structure])
    symbols = [site.specie.symbol for site in structure]
    atoms = Atoms(symbols, scaled_positions=structure.frac_coords, cell=structure.lattice.matrix, pbc=True)
    atoms.set_initial_magnetic_moments(along_one_axis(vectors, where))
    return atoms


def along_one_axis(vectors: np.ndarray, where: str) -> np.ndarray:
    """Project collinear moments onto their common axis.

    Args:
        vectors: (n, 3) moments.
        where: file and block, for error messages.

    Returns:
        (n,) signed moments; the axis points along its largest Cartesian component.

    Raises:
        BadInput: the moments are not finite or not collinear.
    """
    lengths = np.linalg.norm(vectors, axis=1)
    if not np.isfinite(lengths).all():
        raise BadInput(f"{where}: a moment is not a finite number")
    if lengths.max(initial=0) < 1e-6:
        return np.zeros(len(vectors))
    axis = vectors[lengths.argmax()] / lengths.max()
    along = vectors @ axis
    if np.linalg.norm(vectors - np.outer(along, axis), axis=1).max() > COLLINEAR * lengths.max():
        raise BadInput(f"{where}: moments point along more than one axis; give collinear moments")
    # The sign of the axis is arbitrary: its largest component is made positive.
    result: np.ndarray = along * np.sign(axis[np.abs(axis).argmax()])
    return result
