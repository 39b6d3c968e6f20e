"""Training, storage, prediction and cross-validation of coupling models."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save_file

from nucleate.errors import BadInput, RunFolderError, quoted
from nucleate.persist.files import write_whole
from nucleate.persist.tensors import read_tensor_file
from nucleate.persist.text import from_json, read_text, stated
from nucleate.persist.toml import read_settings, to_toml, validated
from nucleate.progress import Progress, Step, silent
from nucleate.spins.models.data import Pairs, folds, read_pairs, write_pairs
from nucleate.spins.models.elements import ElementTrees
from nucleate.spins.models.kernel import PairGaussianProcess, choose_components
from nucleate.spins.models.network import PairNetwork, PairNetworkSettings, fit_network

LARGEST_FACTS = 2**24
"""Maximum size of model.json in bytes."""


class PairTraining(BaseModel):
    """Choice and training settings of a coupling model."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    model: Literal["kernel", "network", "elements"] = Field(
        "kernel", description="Model type: Gaussian process, equivariant network, or trees on element features."
    )
    components: list[Annotated[int, Field(ge=0)]] = Field(
        [0, 2, 4, 8],
        min_length=1,
        description="Candidate numbers of principal components of the environments; cross-validation selects one (kernel).",
    )
    restarts: int = Field(2, ge=1, description="Number of starting points of the hyperparameter optimisation (kernel).")
    network: PairNetworkSettings = Field(default_factory=PairNetworkSettings, description="Settings of the network.")
    seed: int = Field(0, ge=0, description="Random seed for splits, starting points and weights.")


@dataclass(frozen=True)
class Predicted:
    """Predicted couplings of pairs.

    Attributes:
        couplings, errors: (n,) couplings and standard deviations of the model in meV.
        dm: (n, 3) Dzyaloshinskii-Moriya vectors in meV, or None for models without D.
    """

    couplings: np.ndarray
    errors: np.ndarray
    dm: np.ndarray | None


class PairModel:
    """Trained model of any type with its training pairs."""

    def __init__(self, settings: PairTraining, model: PairGaussianProcess | PairNetwork | ElementTrees, pairs: Pairs):
        self.settings, self.model, self.pairs = settings, model, pairs
        self.with_dm = bool(np.isfinite(pairs.dm).all())

    @property
    def elements(self) -> list[str]:
        """Elements in the training set."""
        return sorted({e for pair in self.pairs.elements for e in pair})

    def predict(self, pairs: Pairs) -> Predicted:
        """Predict couplings; for elements outside the training set (see `unseen`) the prediction is an extrapolation.

        Raises:
            BadInput: The pairs are of another kind than the training pairs.
        """
        if pairs.kind != self.pairs.kind:
            raise BadInput(f"the model was trained on {self.pairs.kind}; give pairs of this kind instead of {pairs.kind}")
        if isinstance(self.model, PairNetwork):
            j, error, dm = self.model.predict(pairs)
            return Predicted(j, error, dm if self.with_dm else None)
        return Predicted(*self.model.predict(pairs), None)

    def unseen(self, pairs: Pairs) -> list[str]:
        """Return the elements of these pairs that are not in the training set."""
        return sorted({e for pair in pairs.elements for e in pair} - set(self.elements))


def fit_pairs(pairs: Pairs, settings: PairTraining, progress: Progress = silent) -> PairModel:
    """Train a model on pairs with couplings.

    Raises:
        BadInput: There are fewer than four pairs, or the model does not support them.
    """
    if len(pairs) < 4:
        raise BadInput(f"{len(pairs)} pairs are too few for training; give at least 4")
    model: PairGaussianProcess | PairNetwork | ElementTrees
    if settings.model == "kernel":
        choices = tuple(settings.components) if pairs.atoms is not None else (0,)
        chosen = choices[0] if len(choices) == 1 else choose_components(pairs, choices, seed=settings.seed)
        model = PairGaussianProcess(chosen, settings.restarts, settings.seed).fit(pairs)
    elif settings.model == "network":
        model = fit_network(pairs, settings.network, settings.seed, progress)
    else:
        model = ElementTrees(settings.seed).fit(pairs)
    return PairModel(settings, model, pairs)


def train_pairs(pairs: Pairs, folder: Path, settings: PairTraining, progress: Progress = silent) -> PairModel:
    """Train a model and write its settings, pairs and weights to a folder without a model.

    Raises:
        BadInput: The folder cannot be created.
        RunFolderError: The folder contains a model already.
    """
    if (folder / "model.json").exists():
        raise RunFolderError(f"{folder}: the folder contains a trained model already; choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder}: the folder cannot be created: {error.strerror}") from None
    found = fit_pairs(pairs, settings, progress)
    write_whole(folder / "training.toml", to_toml(settings))
    kind = "pairs.csv" if pairs.atoms is None else "pairs.extxyz"
    write_pairs(folder / kind, pairs)
    facts: dict[str, Any] = {"schema": 1, "elements": found.elements, "pairs": len(pairs), "file": kind}
    if isinstance(found.model, PairGaussianProcess):
        facts |= {"components": found.model.components, "log": found.model.log.tolist(), "noise": found.model.noise}
    if isinstance(found.model, PairNetwork):
        save_file({name: value.contiguous() for name, value in found.model.state_dict().items()}, folder / "weights.safetensors")
    write_whole(folder / "model.json", json.dumps(facts, indent=1) + "\n")
    return found


class _Facts(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    file: Literal["pairs.csv", "pairs.extxyz"]
    elements: list[Annotated[str, Field(max_length=3)]] = Field([], max_length=120)
    pairs: int = Field(0, ge=0)
    components: int = Field(0, ge=0, le=10**4)
    log: list[float] = Field([], max_length=10**5)


def pair_model_facts(folder: str | Path) -> dict[str, Any]:
    """Return model type, elements and number of training pairs of a model folder, without its pairs and weights.

    Raises:
        BadInput: The folder contains no coupling model, or its files are damaged.
    """
    folder = Path(folder)
    where = folder / "model.json"
    if not where.is_file():
        raise BadInput(f"{folder}: the folder contains no coupling model; train one with: nucleate spins train")
    facts = stated(_Facts, from_json(read_text(where, LARGEST_FACTS), str(where)), str(where))
    settings = validated(PairTraining, read_settings(folder / "training.toml"), str(folder / "training.toml"))
    if not (folder / facts.file).is_file():
        raise BadInput(f"{folder / facts.file}: no such file; the model is damaged, train it again")
    return {"model": settings.model, "elements": facts.elements, "pairs": facts.pairs}


def load_pairs_model(folder: str | Path) -> PairModel:
    """Load the model of a folder.

    Raises:
        BadInput: The folder contains no model.
        RunFolderError: The files are damaged.
    """
    folder = Path(folder)
    if not (folder / "model.json").is_file():
        raise BadInput(f"{folder}: the folder contains no coupling model; train one with: nucleate spins train")
    where = folder / "model.json"
    try:
        facts = stated(_Facts, from_json(read_text(where, LARGEST_FACTS), str(where)), str(where))
        settings = validated(PairTraining, read_settings(folder / "training.toml"), str(folder / "training.toml"))
        pairs = read_pairs(folder / facts.file)
        model: PairGaussianProcess | PairNetwork | ElementTrees
        if settings.model == "kernel":
            model = PairGaussianProcess(facts.components, settings.restarts, settings.seed).fit(pairs, np.array(facts.log))
            if len(facts.log) != model.inputs.sites.shape[-1] + model.inputs.pair.shape[-1] + 2:
                raise ValueError("the hyperparameters do not match the pairs")
        elif settings.model == "network":
            weights = read_tensor_file(folder / "weights.safetensors", "file of weights")
            model = weights.fill(lambda: PairNetwork(settings.network).float())
        else:
            model = ElementTrees(settings.seed).fit(pairs)
        return PairModel(settings, model, pairs)
    except BadInput as error:
        raise RunFolderError(f"{error}; the model is damaged; train it again") from None
    except Exception as error:  # Inconsistent hyperparameters raise various exceptions.
        raise RunFolderError(f"{folder}: the model is damaged ({quoted(str(error))}); train it again") from None


@dataclass(frozen=True)
class Scores:
    """Prediction errors.

    Attributes:
        mae, rmse: Mean absolute and root-mean-square error in meV.
        r2: Coefficient of determination.
        inside: Fraction of pairs within one standard deviation of the model.
        predicted, errors: (n,) predictions and standard deviations in meV, each from a model trained without the pair.
    """

    mae: float
    rmse: float
    r2: float
    inside: float
    predicted: np.ndarray
    errors: np.ndarray


def scores(pairs: Pairs, predicted: np.ndarray, errors: np.ndarray) -> Scores:
    """Compute the errors of predictions."""
    off = predicted - pairs.couplings
    total = ((pairs.couplings - pairs.couplings.mean()) ** 2).sum()
    r2 = float(1 - (off**2).sum() / total) if total > 0 else float("nan")
    return Scores(float(np.abs(off).mean()), float(np.sqrt((off**2).mean())), r2, float((np.abs(off) <= errors).mean()), predicted, errors)


def cross_validate(
    pairs: Pairs, settings: PairTraining, count: int = 10, grouping: str = "elements", progress: Progress = silent
) -> Scores:
    """Predict each fold with a model trained on the other folds; model selection uses the training folds only.

    Raises:
        BadInput: See `folds`.
    """
    predicted, errors = np.full(len(pairs), np.nan), np.full(len(pairs), np.nan)
    parts = folds(pairs, count, np.random.default_rng(settings.seed), grouping)
    for k, part in enumerate(parts):
        model = fit_pairs(pairs.take(np.setdiff1d(np.arange(len(pairs)), part)), settings)
        found = model.predict(pairs.take(part))
        predicted[part], errors[part] = found.couplings, found.errors
        progress(Step("folds", k + 1, count))
    return scores(pairs, predicted, errors)
