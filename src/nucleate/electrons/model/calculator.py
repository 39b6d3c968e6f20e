"""ASE calculator for a trained model of the local density of states."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from nucleate.crystals.checks import require_crystal
from nucleate.electrons.model.model import ElectronModel
from nucleate.electrons.model.prediction import predict


class ElectronCalculator(Calculator):
    """Calculator of energy, forces and stress at an electronic temperature, and of the density of states.

        atoms.calc = ElectronCalculator("al/model.safetensors", temperature=933)
        atoms.get_potential_energy(force_consistent=True)
        energies, dos = atoms.calc.results["dos"]

    Forces and stress are derivatives of `free_energy`; `energy` is extrapolated to zero electronic temperature. Additional results:

    - `dos`: (2, n_energies) energies (eV) and density of states (1/eV).
    - `density`: (n_1, n_2, n_3) electron density in 1/Å³.
    - `fermi_level`: Fermi level in eV.
    - `terms`: Terms of the free energy in eV.
    - `magmom`: Magnetic moment in Bohr magnetons, and `spin_density` in 1/Å³, if the model has both spins.
    - `gap`: Band gap in eV, if the model is that of an insulator.
    - `sigma`: Spread of the band energy over the committee in eV/atom.

    The number of grid points is constant while the cell vectors change by less than 2 % of their length, so that the energy is smooth
    during a relaxation.

    Args:
        model: Model or path of its file.
        temperature: Electronic temperature in K.
        spacing: Grid spacing in Å; default: that of the training data.

    Raises:
        BadInput: The model does not exist, or the temperature is not positive.
    """

    implemented_properties = [  # noqa: RUF012
        "energy", "free_energy", "forces", "stress", "dos", "density", "fermi_level", "terms", "magmom", "sigma",
    ]  # fmt: skip

    def __init__(self, model: ElectronModel | str | PathLike[str], temperature: float, spacing: float | None = None, **options: Any):
        super().__init__(**options)
        self.model = model if isinstance(model, ElectronModel) else ElectronModel.load(Path(model))
        self.temperature = temperature
        self.spacing = spacing
        self._shape: tuple[int, int, int] | None = None
        self._lengths = np.zeros(3)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute the requested properties; forces and stress are computed only if requested.

        Raises:
            BadInput: The atoms are not periodic in three directions, or an element is not in the training data.
        """
        super().calculate(atoms, list(properties), list(system_changes))
        assert self.atoms is not None
        require_crystal(self.atoms, "the model supports periodic cells only")
        lengths = self.atoms.cell.lengths()
        if self._shape is None or np.abs(lengths / self._lengths - 1).max() > 0.02:
            self._shape, self._lengths = self.model.grid(self.atoms, self.spacing).shape, lengths
        slow = {"forces", "stress"} & set(properties)
        found = predict(self.model, self.atoms, self.temperature, shape=self._shape, forces=bool(slow))
        self.results = {
            "energy": float(found.terms.extrapolated),
            "free_energy": float(found.terms.free),
            "dos": np.stack([found.levels.energies.numpy(), found.levels.dos.numpy()]),
            "density": found.density.numpy(),
            "fermi_level": float(found.levels.mu),
            "terms": found.terms.as_dict(),
            "sigma": found.sigma_band,
        }
        if found.levels.gap is not None:
            self.results["gap"] = found.levels.gap
        if found.spin_density is not None:
            self.results |= {"magmom": found.moment, "spin_density": found.spin_density.numpy()}
        if found.forces is not None and found.stress is not None:
            stress = found.stress.numpy()
            self.results["forces"] = found.forces.numpy()
            self.results["stress"] = stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
