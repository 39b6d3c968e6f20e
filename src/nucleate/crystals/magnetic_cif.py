"""Magnetic CIF: moments of the sites, expanded with the operations of the magnetic space group, as starting moments."""

from __future__ import annotations

import warnings

import gemmi
import numpy as np
from ase import Atoms

from nucleate.errors import BadInput, quoted

COLLINEAR = 1e-2
"""Share of a moment that may lie across the common axis: files give moments to two or three digits."""


def magnetic_structure(block: gemmi.cif.Block, where: str) -> Atoms | None:
    """The crystal with starting moments (Bohr magnetons), read by pymatgen; None where the block holds no moments.

    Raises:
        BadInput: the block cannot be read, or its moments are not along one axis.
    """
    if not any(len(block.find_values(f"_atom_site_moment{mark}label")) for mark in (".", "_")):
        return None
    from pymatgen.io.cif import CifParser

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (structure,) = CifParser.from_str(block.as_string()).parse_structures(primitive=False)
    except Exception as error:  # pymatgen raises exceptions of many kinds
        raise BadInput(f"{where}: cannot be read as a magnetic CIF ({quoted(' '.join(str(error).split()))})") from None
    if not structure.is_ordered:
        raise BadInput(f"{where}: partly occupied sites; give an ordered structure")
    vectors = np.array([np.asarray(site.properties["magmom"].get_moment(), dtype=float) for site in structure])
    symbols = [site.specie.symbol for site in structure]
    atoms = Atoms(symbols, scaled_positions=structure.frac_coords, cell=structure.lattice.matrix, pbc=True)
    atoms.set_initial_magnetic_moments(along_one_axis(vectors, where))
    return atoms


def along_one_axis(vectors: np.ndarray, where: str) -> np.ndarray:
    """(n,) moments with sign, of vectors (n, 3) along one axis.

    Raises:
        BadInput: they are not collinear.
    """
    lengths = np.linalg.norm(vectors, axis=1)
    if not np.isfinite(lengths).all():
        raise BadInput(f"{where}: a moment is not a finite number")
    if lengths.max(initial=0) < 1e-6:
        return np.zeros(len(vectors))
    axis = vectors[lengths.argmax()] / lengths.max()
    along = vectors @ axis
    if np.linalg.norm(vectors - np.outer(along, axis), axis=1).max() > COLLINEAR * lengths.max():
        raise BadInput(f"{where}: moments point along more than one axis; nucleate starts collinear calculations alone")
    # The sign of the axis is a choice: the largest component points up.
    result: np.ndarray = along * np.sign(axis[np.abs(axis).argmax()])
    return result
