"""Arguments that are objects or files."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from ase import Atoms

from nucleate.crystals.io import read_structure
from nucleate.spins.couplings import Couplings
from nucleate.spins.files.reading import read_couplings
from nucleate.spins.models.data import Pairs, read_pairs
from nucleate.spins.models.training import PairModel, load_pairs_model

AnyPath = str | PathLike[str]
Structure = Atoms | AnyPath
"""A structure, or the path of a file that holds one."""


def as_atoms(structure: Structure) -> Atoms:
    """Return the structure, read from a file if necessary."""
    return structure if isinstance(structure, Atoms) else read_structure(Path(structure))


def as_couplings(couplings: Couplings | AnyPath) -> Couplings:
    """Return the couplings, read from a file if necessary."""
    return couplings if isinstance(couplings, Couplings) else read_couplings(Path(couplings))


def as_pairs(data: AnyPath | Sequence[AnyPath]) -> Pairs:
    """Return the pairs of one file or several."""
    return Pairs.joined([read_pairs(Path(path)) for path in ([data] if isinstance(data, str | PathLike) else data)])


def as_pair_model(model: PairModel | AnyPath) -> PairModel:
    """Return the model, read from its folder if necessary."""
    return model if isinstance(model, PairModel) else load_pairs_model(Path(model))
