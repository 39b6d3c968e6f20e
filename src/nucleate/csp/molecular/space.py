"""Space of a search of molecular crystals: one cell of given molecules."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from nucleate.csp.run_settings import RunSettings
from nucleate.csp.space import FormulaSpace
from nucleate.errors import BadInput
from nucleate.generate.base import Candidate
from nucleate.generate.mixture import MixtureGenerator
from nucleate.generate.molecular import MolecularGenerator, holding_groups
from nucleate.generate.seeds import SeedGenerator
from nucleate.molecules.molecule import Molecule
from nucleate.molecules.symmetry import TOLERANCE

UNRELAXED = 1.0
"""Largest displacement of an atom by an operation of a site, Å, in a molecule that may become more symmetric in its relaxation."""


class MoleculeSpace(FormulaSpace):
    """Crystals of given molecules with one number of them in the primitive cell.

    Args:
        settings: settings of the search, with molecules.

    Raises:
        BadInput: no space group can hold the molecules, or a structure of the user consists of others.
    """

    def __init__(self, settings: RunSettings):
        super().__init__(settings)
        topology = settings.molecules.topology
        assert topology is not None
        self.topology = topology
        self._molecules = topology.molecules
        self._made: MixtureGenerator | None = None
        if settings.seeds_from is not None:
            self._own_seeds()

    def use(self, molecules: tuple[Molecule, ...]) -> None:
        """Generate crystals of molecules in other geometries."""
        self._molecules, self._made = molecules, None

    def _own_seeds(self) -> SeedGenerator:
        assert self.settings.seeds_from is not None
        seeds = SeedGenerator(self.settings.seeds_from, self.counts)
        for number, candidate in enumerate(seeds.candidates):
            candidate.atoms = self.topology.ordered(candidate.atoms, f"{self.settings.seeds_from}, structure {number + 1}")
        return seeds

    def _generator(self, with_seeds: bool) -> MixtureGenerator:
        seeds = self._own_seeds() if with_seeds and self.settings.seeds_from is not None else None
        if self._made is None:
            generator = MolecularGenerator(self._molecules, self.settings.molecules.counts, self.settings.generate)
            self._made = MixtureGenerator([(generator, 1.0)])
        return MixtureGenerator(self._made.parts, seeds)

    @property
    def seeds(self) -> int:
        """Number of structures of the user; the space groups are checked as far as they can be before the molecules are relaxed."""
        own = self.settings.molecules
        # A molecule may become more symmetric, as urea from a SMILES does.
        holding_groups(self._molecules, own.counts, self.settings.generate.space_groups, UNRELAXED if own.relax else TOLERANCE)
        return 0 if self.settings.seeds_from is None else self._own_seeds().left

    def holds(self, atoms: Atoms) -> bool:
        """Return whether a structure has the size of the search cell and consists of the molecules of the search."""
        return super().holds(atoms) and self.topology.others(atoms) is None

    def compound(self, atoms: Atoms) -> str | None:
        """Return the molecules of a structure if they are not those of the search; else None."""
        return self.topology.others(atoms)

    def propose(self, n: int, rng: np.random.Generator, with_seeds: bool) -> list[Candidate]:
        """Return `n` candidates."""
        return self._generator(with_seeds).propose(n, rng)


def check_molecular(settings: RunSettings) -> None:
    """Refuse settings that have no effect on a search of molecular crystals, or only on one.

    Raises:
        BadInput: such a setting is not the default; the message names it.
    """
    defaults = RunSettings()
    if settings.molecules.molecule:
        for table, name, why in (
            ("search", "train_units", "whose smaller cells are isolated molecules"),
            ("generate", "symmetric_share", "whose candidates all have a space group"),
            ("generate", "min_distance", "whose smallest distances follow from van der Waals radii"),
            ("generate", "distance_factor", "whose smallest distances follow from van der Waals radii"),
            ("generate", "like_charge_factor", "whose smallest distances follow from van der Waals radii"),
        ):
            if getattr(getattr(settings, table), name) != getattr(getattr(defaults, table), name):
                raise BadInput(f"{table}.{name} has no effect on a search of molecular crystals, {why}; remove it")
        if settings.generate.prototype_share:
            raise BadInput(
                "generate.prototype_share has no effect on a search of molecular crystals, whose candidates consist of the given "
                "molecules; remove it"
            )
        for name, value in (("model.prior", settings.model.prior), ("teacher.model_from", settings.teacher.model_from)):
            if value is not None:
                raise BadInput(
                    f"{name} and molecules are both given, but the force field of the molecules would count their bonds twice; "
                    "use a teacher instead"
                )
        return
    own = [("molecules", key) for key in type(defaults.molecules).model_fields if key != "molecule"]
    for table, name in (("generate", "space_group_weights"), ("generate", "conformers"), *own):
        if getattr(getattr(settings, table), name) != getattr(getattr(defaults, table), name):
            raise BadInput(f"{table}.{name} has no effect without molecules; give --molecule, or remove it")
