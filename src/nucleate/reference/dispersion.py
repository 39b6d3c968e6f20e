"""D3 dispersion correction with Becke-Johnson damping on top of a DFT engine.

S. Grimme, J. Antony, S. Ehrlich and H. Krieg, J. Chem. Phys. 132, 154104 (2010), doi 10.1063/1.3382344; S. Grimme, S. Ehrlich and
L. Goerigk, J. Comput. Chem. 32, 1456 (2011), doi 10.1002/jcc.21759. Energy, gradient and virial are those of the package dftd3.
"""

from __future__ import annotations

import time
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress
from ase.units import Bohr, Hartree

from nucleate.errors import BadInput, MissingDependency, ReferenceFailed, quoted
from nucleate.reference.base import Label, Reference
from nucleate.reference.kpoints import KGrid


class DispersionReference:
    """A reference with the D3(BJ) correction of its functional.

    Args:
        inner: the reference without dispersion.
        xc: functional, whose damping parameters are used.

    Raises:
        MissingDependency: dftd3 is not installed.
        BadInput: there are no damping parameters for the functional.
    """

    def __init__(self, inner: Reference, xc: str):
        self.inner, self.xc = inner, xc
        self.name, self.surrogate = inner.name, inner.surrogate
        _damping(xc)

    def settings(self) -> dict[str, Any]:
        """Return the settings of the reference, with those of the correction."""
        return {**self.inner.settings(), "dispersion": {"method": "d3bj", "xc": self.xc.lower(), "dftd3": version("dftd3")}}

    def k_points(self, atoms: Atoms) -> KGrid | None:
        """Return the k-point grid of the reference."""
        return self.inner.k_points(atoms)

    def label(self, atoms: Atoms) -> Label:
        """Label a structure; raise `ReferenceFailed` if the reference or the correction fails."""
        label = self.inner.label(atoms)
        started = time.process_time()
        energy, forces, stress = d3bj(atoms, self.xc)
        return replace(
            label,
            energy=label.energy + energy,
            forces=label.forces + forces,
            stress=label.stress + stress,
            core_seconds=label.core_seconds + time.process_time() - started,
            details={**label.details, "dispersion_energy": energy},
        )


def d3bj(atoms: Atoms, xc: str) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the D3(BJ) correction of a periodic structure.

    Args:
        atoms: the structure.
        xc: functional, such as `PBE`.

    Returns:
        Energy (eV), forces (n, 3) in eV/Å, and stress (6,) in eV/Å³ with ASE's sign and Voigt order.

    Raises:
        ReferenceFailed: the correction is not defined for an element, or failed.
    """
    damping = _damping(xc)
    from dftd3 import interface

    create: Any = interface.DispersionModel
    try:
        model = create(atoms.numbers, atoms.positions / Bohr, atoms.cell.array / Bohr, np.array([True] * 3))
        found = model.get_dispersion(damping, grad=True)
    except RuntimeError as error:
        raise ReferenceFailed(f"D3: {quoted(str(error))}") from error
    stress = full_3x3_to_voigt_6_stress(found["virial"] * Hartree / atoms.get_volume())
    return float(found["energy"]) * Hartree, -found["gradient"] * Hartree / Bohr, stress


def _damping(xc: str) -> Any:
    """Return the damping parameters of a functional."""
    try:
        from dftd3 import interface
    except ImportError as error:
        raise MissingDependency("dftd3 is not installed; run: pip install 'nucleate[dft]'") from error
    damping: Any = interface.RationalDampingParam
    try:
        return damping(method=xc.lower())
    except RuntimeError as error:
        raise BadInput(f"reference.dispersion: there are no D3(BJ) parameters for the functional '{quoted(xc)}'; remove it") from error
