"""ASE calculator of a trained committee."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.checks import require_crystal
from nucleate.crystals.strain import VOIGT
from nucleate.potentials.base import Potential
from nucleate.potentials.files import load_potential


class NucleateCalculator(Calculator):
    """ASE calculator that returns the mean of a committee, with its standard deviation as uncertainty.

        atoms.calc = NucleateCalculator("Si8/models/round_018.safetensors")
        atoms.get_potential_energy()
        atoms.calc.results["sigma"]

    Results in addition to ASE's standard properties:

    - `energies_committee`: (m,) energy of each member, eV.
    - `forces_committee`: (m, n_atoms, 3) forces of each member, eV/Å.
    - `sigma`: calibrated uncertainty of the energy, eV/atom.
    - `forces_sigma`: (n_atoms,) standard deviation of the force over the members, not calibrated, eV/Å.

    Args:
        potential: a model file of a search, or a potential.
        sigma_factor: calibration factor of the standard deviation; None uses that of the file, or 1 for a potential.

    Raises:
        BadInput: the file is not a complete model file.
    """

    implemented_properties = [  # noqa: RUF012
        "energy", "free_energy", "forces", "stress", "energies_committee", "forces_committee",
        "sigma", "forces_sigma",
    ]  # fmt: skip

    def __init__(self, potential: str | PathLike[str] | Potential, sigma_factor: float | None = None, **options: Any):
        super().__init__(**options)  # type: ignore[no-untyped-call]
        factor = 1.0
        if isinstance(potential, str | PathLike):
            self.potential: Potential
            self.potential, factor = load_potential(Path(potential))
        else:
            self.potential = potential
        self.sigma_factor = factor if sigma_factor is None else sigma_factor

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute all properties.

        Raises:
            BadInput: the atoms are not periodic in three directions, or the potential does not support one of their elements.
        """
        super().calculate(atoms, list(properties), list(system_changes))  # type: ignore[no-untyped-call]
        assert self.atoms is not None
        require_crystal(self.atoms, "NucleateCalculator needs a periodic crystal")
        batch = CrystalBatch.from_atoms([self.atoms])
        prediction = self.potential.energy_forces_stress(batch)
        energies = prediction.energy[:, 0].double().cpu().numpy()
        forces = prediction.forces.double().cpu().numpy()
        stress = prediction.stress[:, 0].double().cpu().numpy().mean(0)
        energy = float(energies.mean())
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": forces.mean(0),
            "stress": np.array([stress[i, j] for i, j in VOIGT]),
            "energies_committee": energies,
            "forces_committee": forces,
            "sigma": self.sigma_factor * float(prediction.energy_sigma(batch)[0]),
            "forces_sigma": np.sqrt(forces.var(0, ddof=1).sum(-1)) if len(forces) > 1 else np.zeros(len(self.atoms)),
        }
