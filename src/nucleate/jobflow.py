"""Searches as jobs of jobflow; importing this module needs jobflow (the extra `jobflow`).

A. S. Rosen et al., J. Open Source Softw. 9, 5995 (2024), doi 10.21105/joss.05995.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nucleate.api import search
from nucleate.errors import MissingDependency
from nucleate.units import GPA

try:
    from jobflow import Maker, job
except ImportError as error:
    raise MissingDependency(f"nucleate.jobflow needs jobflow ({error}); install it with: pip install 'nucleate[jobflow]'") from None


@dataclass
class SearchMaker(Maker):
    """Maker of jobs each of which is one search with one run folder.

    Attributes:
        name: Name of the jobs.
        settings: Settings as in run.toml, or the path of a TOML file; None: the default ones.
        options: Further arguments of `nucleate.search`, such as `seed` or `budget`.
    """

    name: str = "crystal structure search"
    settings: dict[str, Any] | str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @job
    def make(self, formula: str, out: str = "search") -> dict[str, Any]:
        """Search the crystal structures of a formula; a job that runs again in the same folder resumes its search.

        Args:
            formula: Formula of the search cell, such as `Al4O6`, or a chemical system.
            out: Run folder; a relative path begins at the folder of the job.

        Returns:
            `folder` (absolute path of the run folder), `calls` (number of reference calls), `finished` (reason for the end), and
            `polymorphs`, the lowest first, each with `structure` (pymatgen's), `energy_per_atom` and `enthalpy_per_atom` (eV, on the
            reference), `sigma` (standard deviation of the committee, eV/atom), `space_group` and `check`.

        Raises:
            NucleateError: as for `nucleate.search`.
        """
        from pymatgen.io.ase import AseAtomsAdaptor

        result = search(formula, settings=self.settings, out=out, **self.options)
        polymorphs = []
        for found in result.polymorphs:
            work = result.settings.pressure * GPA * found.atoms.get_volume() / len(found.atoms) if result.settings.pressure else 0.0
            facts: dict[str, Any] = {"energy_per_atom": found.energy - work, "enthalpy_per_atom": found.energy, "sigma": found.sigma}
            facts |= {"space_group": found.space_group, "check": found.check}
            polymorphs.append({"structure": AseAtomsAdaptor.get_structure(found.atoms), **facts})
        folder = str(Path(result.folder).resolve())
        return {"folder": folder, "calls": result.calls, "finished": result.finished, "polymorphs": polymorphs}
