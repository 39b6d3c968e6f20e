"""The operators of a search, and the shares with which they start."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from ase import Atoms

from nucleate.generate.evolution.base import Operator
from nucleate.generate.evolution.cluster_heredity import ClusterHeredity
from nucleate.generate.evolution.cluster_symmetrise import ClusterSymmetrise
from nucleate.generate.evolution.cluster_twist import ClusterTwist
from nucleate.generate.evolution.doubling import AddUnits
from nucleate.generate.evolution.heredity import Heredity
from nucleate.generate.evolution.molecular.bodies import Contents
from nucleate.generate.evolution.molecular.conformer import Conformer
from nucleate.generate.evolution.molecular.exchange import MoleculeExchange
from nucleate.generate.evolution.molecular.heredity import MoleculeHeredity
from nucleate.generate.evolution.molecular.rotation import MoleculeRotation
from nucleate.generate.evolution.molecular.strain import MoleculeStrain
from nucleate.generate.evolution.molecular.symmetrise import MoleculeSymmetrise
from nucleate.generate.evolution.permutation import Permutation
from nucleate.generate.evolution.permutation_strain import PermutationStrain
from nucleate.generate.evolution.soft_modes import SoftModes
from nucleate.generate.evolution.strain import StrainRipple
from nucleate.generate.evolution.symmetrise import Symmetrise
from nucleate.generate.packing import Packing

WEIGHTS = {
    "heredity": 35.0,
    "strain": 20.0,
    "permutation-strain": 20.0,
    "permutation": 15.0,
    "soft-mode": 10.0,
    "symmetrise": 10.0,
    "add-units": 5.0,
    "twist": 10.0,
    "molecule-heredity": 35.0,
    "molecule-rotation": 25.0,
    "molecule-strain": 20.0,
    "molecule-exchange": 15.0,
    "molecule-symmetrise": 10.0,
    "conformer": 15.0,
}
"""Starting weights of the operators.

XtalOpt starts with crossover 35, strain with ripple 25, permutation with strain 25, permutation 15 and supercells 5. The two strains give 5
each to the operators that XtalOpt does not have: soft modes and symmetrisation. Clusters use heredity 35, symmetrise 10 and twist 10. The
weights for molecules are similar choices.
"""


def make_operators(packing: Packing, modes: Callable[[Atoms], np.ndarray] | None = None) -> dict[str, Operator]:
    """Return the operators that can work for a composition, by name.

    Permutations need two species, `add-units` a composition of several formula units, and `soft-mode` the modes.

    Args:
        packing: species, numbers of atoms and smallest distances of the search.
        modes: returns the softest modes of a structure, see `SoftModes`; None leaves the operator out.
    """
    operators: list[Operator] = [Heredity(packing), StrainRipple(packing), Symmetrise(packing)]
    if Permutation.applicable(packing):
        operators += [PermutationStrain(packing), Permutation(packing)]
    if modes is not None:
        operators.append(SoftModes(packing, modes))
    if AddUnits.applicable(packing):
        operators.append(AddUnits(packing))
    made = {operator.name: operator for operator in operators}
    return {name: made[name] for name in WEIGHTS if name in made}


def make_cluster_operators(packing: Packing, diameter: float | None = None) -> dict[str, Operator]:
    """Return the operators for isolated clusters, by name; there are none for a single atom.

    Args:
        packing: species, numbers of atoms and smallest distances of the search.
        diameter: largest distance of two atoms of a child, Å; None for that of its parents.
    """
    if packing.n_atoms < 2:
        return {}
    operators: list[Operator] = [ClusterHeredity(packing, diameter), ClusterSymmetrise(packing, diameter), ClusterTwist(packing, diameter)]
    return {operator.name: operator for operator in operators}


def make_molecular_operators(contents: Contents, flexible: bool) -> dict[str, Operator]:
    """Return the operators for crystals of whole molecules, by name.

    Heredity and the symmetrisation need two molecules in the cell, the exchange two kinds, and `conformer` a bond that rotates.

    Args:
        contents: molecules of the search.
        flexible: whether children may have other torsions than their parents.
    """
    operators: list[Operator] = [MoleculeRotation(contents), MoleculeStrain(contents)]
    if sum(contents.counts) > 1:
        operators += [MoleculeHeredity(contents), MoleculeSymmetrise(contents)]
    if MoleculeExchange.applicable(contents):
        operators.append(MoleculeExchange(contents))
    if flexible and Conformer.applicable(contents):
        operators.append(Conformer(contents))
    made = {operator.name: operator for operator in operators}
    return {name: made[name] for name in WEIGHTS if name in made}


def starting_shares(names: Iterable[str]) -> dict[str, float]:
    """Return the shares of the named operators at the start of a search, which add up to 1."""
    weights = {name: WEIGHTS[name] for name in names}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}
