"""Models that predict couplings of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nucleate.errors import BadInput, quoted
from nucleate.persist.toml import resolved
from nucleate.progress import Progress, silent
from nucleate.spins.files.foreign import read_foreign
from nucleate.spins.models.active import choose
from nucleate.spins.models.crystal import CrystalCouplings
from nucleate.spins.models.crystal import predict_crystal as _predict_crystal
from nucleate.spins.models.data import Pairs, read_pairs, write_pairs
from nucleate.spins.models.kernel import PairGaussianProcess
from nucleate.spins.models.training import PairModel, PairTraining, Predicted, Scores, cross_validate, train_pairs
from nucleate.spins.verbs.given import AnyPath, Structure, as_atoms, as_pair_model, as_pairs


def import_pairs(table: AnyPath, out: AnyPath, columns: Mapping[str, str], *, unit: str, pairs: str, sign: str) -> tuple[Pairs, int]:
    """Convert a table of couplings between pairs of elements to a CSV file for `train` and `evaluate`.

    Args:
        table: Table in any column layout.
        out: CSV file to write.
        columns: Name of each column: `element_a`, `element_b`, `J` and optionally `distance` (Å).
        unit: Unit of J: meV, eV, mRy or K.
        pairs: Number of times the source Hamiltonian counts each pair: `once` or `twice`.
        sign: `minus` for H = -sum J e.e, `plus` for H = +sum J e.e, with unit vectors e.

    Returns:
        The pairs, and the number of rows without a coupling, which are skipped.

    Raises:
        BadInput: The table cannot be read, or the output file exists or cannot be written.
    """
    source, target = Path(table), Path(out)
    if not source.is_file():
        raise BadInput(f"{source}: the file does not exist; give a table of couplings")
    if target.suffix != ".csv" or not target.parent.is_dir():
        raise BadInput(f"{target}: give a .csv file in an existing folder")
    if target.exists():
        raise BadInput(f"{target}: the file exists already; choose another name")
    read, skipped = read_foreign(source, dict(columns), unit, pairs, sign)
    write_pairs(target, read)
    return read, skipped


def train(
    data: AnyPath | Sequence[AnyPath],
    out: AnyPath,
    *,
    settings: PairTraining | AnyPath | dict[str, Any] | None = None,
    progress: Progress = silent,
    **options: Any,
) -> PairModel:
    """Train a model of couplings on pairs.

    Args:
        data: Files of pairs with couplings: extended XYZ, or CSV of element pairs.
        out: Folder of the model.
        settings: TOML file, dictionary or settings.
        progress: Called with a `nucleate.progress.Step` after each optimiser step of a network.
        options: Single settings, such as `model="kernel"`; None leaves a setting as it is.

    Raises:
        BadInput: A file or setting cannot be used.
        RunFolderError: The folder contains a model already.
    """
    return train_pairs(as_pairs(data), Path(out), resolved(PairTraining, settings, **options), progress)


def evaluate(
    data: AnyPath | Sequence[AnyPath],
    *,
    folds: int = 10,
    grouping: str = "elements",
    settings: PairTraining | AnyPath | dict[str, Any] | None = None,
    progress: Progress = silent,
    **options: Any,
) -> tuple[Pairs, Scores]:
    """Cross-validate a model of couplings.

    Args:
        data: Files of pairs with couplings: extended XYZ, or CSV of element pairs.
        folds: Number of folds.
        grouping: `elements` keeps a-b and b-a in one fold; `ungrouped` may split them, and the score is then not valid for new pairs.
        settings: TOML file, dictionary or settings.
        progress: Called with a `nucleate.progress.Step` after each fold.
        options: Single settings, such as `model="kernel"`; None leaves a setting as it is.

    Returns:
        The pairs, and the errors of their predictions.

    Raises:
        BadInput: A file or setting cannot be used.
    """
    pairs = as_pairs(data)
    return pairs, cross_validate(pairs, resolved(PairTraining, settings, **options), folds, grouping, progress)


@dataclass(frozen=True)
class PairPrediction:
    """Predicted couplings.

    Attributes:
        pairs: The pairs; their couplings are those of the file, NaN where it has none.
        predicted: Predicted couplings and errors in meV.
        unseen: Elements outside the training set, for which the prediction is an extrapolation.
    """

    pairs: Pairs
    predicted: Predicted
    unseen: list[str]


def predict(model: PairModel | AnyPath, pairs: AnyPath) -> PairPrediction:
    """Predict the couplings of pairs.

    Args:
        model: Model, or its folder.
        pairs: File of pairs: extended XYZ, or CSV of element pairs.

    Raises:
        BadInput: The model or file cannot be read, or the pairs are of another kind than the training pairs.
    """
    known, asked = as_pair_model(model), read_pairs(Path(pairs), labelled=False)
    return PairPrediction(asked, known.predict(asked), known.unseen(asked))


def predict_crystal(model: PairModel | AnyPath, structure: Structure, *, cutoff: float | None = None) -> CrystalCouplings:
    """Predict the couplings between the magnetic atoms of a crystal, which are those of elements in the training pairs.

    Args:
        model: Model, or its folder.
        structure: Crystal or its file.
        cutoff: Largest distance in Å; None: that of the training pairs, or 6 Å if the model has no distances.

    Raises:
        BadInput: The model or structure cannot be read, or the model does not support the structure or the cutoff.
    """
    return _predict_crystal(as_pair_model(model), as_atoms(structure), cutoff)


@dataclass(frozen=True)
class Suggestion:
    """A pair whose calculation is informative.

    Attributes:
        row: Row of the pair in the pool, from 0.
        elements: Its elements.
        error: Predicted error of its coupling in meV.
    """

    row: int
    elements: tuple[str, str]
    error: float


def suggest(model: PairModel | AnyPath, pool: AnyPath, *, count: int = 5, strategy: str = "variance") -> list[Suggestion]:
    """Suggest the pairs whose calculation is most informative for a kernel model.

    Args:
        model: Kernel model, or its folder.
        pool: File of candidate pairs: extended XYZ, or CSV of element pairs.
        count: Number of pairs.
        strategy: `variance` or `diversity`.

    Raises:
        BadInput: The strategy is unknown, the model is not a kernel model, or a file cannot be read.
    """
    if strategy not in ("variance", "diversity"):
        raise BadInput(f"strategy {quoted(strategy, 40)}: unknown strategy; choose variance or diversity")
    known, asked = as_pair_model(model), read_pairs(Path(pool), labelled=False)
    if not isinstance(known.model, PairGaussianProcess):
        raise BadInput(f"{'the model' if isinstance(model, PairModel) else model}: suggestions require a kernel model")
    first = len(known.pairs)
    both = Pairs.joined([known.pairs, asked])
    rows = choose(both, list(range(first)), list(range(first, len(both))), count, known.model, strategy, np.random.default_rng(0))
    errors = known.model.predict(both.take(rows))[1]
    return [Suggestion(row - first, both.elements[row], float(error)) for row, error in zip(rows, errors, strict=True)]
