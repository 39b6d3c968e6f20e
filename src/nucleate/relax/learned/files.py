"""Files of learned moves: weights in safetensors, settings and origin as JSON in the header; nothing is unpickled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save

from nucleate.errors import BadInput
from nucleate.persist.files import write_whole
from nucleate.persist.tensors import Finite, Whole, read_tensor_file
from nucleate.relax.learned.invariants import NAMES
from nucleate.relax.learned.policy import DIRECTIONS, Policy, PolicySettings

VERSION = 1
"""Newest version of policy files."""
KEY = "moves"
"""Entry of the header."""
WHAT = "policy of learned moves"


class Origin(BaseModel):
    """What a policy was trained on.

    Attributes:
        potential: name of the model file.
        digest: beginning of the SHA-256 hash of the model file.
        formulas: formulas of the random cells.
        settings: settings of the training, as JSON.
        best: update whose weights the file contains; 0 is an untrained policy.
        curve: update, mean return on the validation cells, and that of L-BFGS on the same cells, for each validation.
        cpu_seconds: CPU time of the training.
        nucleate: version of the program.
    """

    model_config = ConfigDict(extra="forbid")

    potential: str = Field("", max_length=4096)
    digest: str = Field("", max_length=200)
    formulas: list[str] = Field(default_factory=list, max_length=1000)
    settings: str = Field("{}", max_length=10**5)
    best: Annotated[Whole, Field(ge=0)] = 0
    curve: list[tuple[Whole, Finite, Finite]] = Field(default_factory=list, max_length=10**6)
    cpu_seconds: Annotated[Finite, Field(ge=0)] = 0.0
    nucleate: str = Field("", max_length=100)


class _Header(BaseModel):
    """Entry of the header."""

    model_config = ConfigDict(extra="forbid")

    version: Whole
    inputs: list[str] = Field(max_length=1000)
    directions: list[str] = Field(max_length=100)
    policy: PolicySettings
    origin: Origin


def save_policy(path: Path | str, policy: Policy, origin: Origin | None = None) -> None:
    """Write a policy to a file, atomically.

    Args:
        path: path of the file.
        policy: one policy.
        origin: what it was trained on.

    Raises:
        StorageFailed: the file could not be written.
    """
    header = _Header(
        version=VERSION, inputs=list(NAMES), directions=list(DIRECTIONS), policy=policy.settings, origin=origin or Origin()
    )  # fmt: skip
    tensors = {name: value.detach().cpu().contiguous() for name, value in policy.weights.items()}
    write_whole(Path(path), save(tensors, metadata={KEY: header.model_dump_json()}))


def load_policy(path: Path | str) -> tuple[Policy, Origin]:
    """Load a policy and what it was trained on.

    Raises:
        BadInput: the file does not exist, is not a policy, is truncated or damaged, was written by a newer version, or its policy was
            trained for other inputs or steps than this version computes.
    """
    path = Path(path)
    file = read_tensor_file(path, WHAT, "train one with nucleate train-moves")
    if KEY not in file.metadata:
        raise BadInput(f"{path}: is not a {WHAT}; give a file written by nucleate train-moves")
    header = file.header(KEY, VERSION, _Header)
    if header.inputs != list(NAMES) or header.directions != list(DIRECTIONS):
        raise BadInput(f"{path}: the policy was trained for another state of the optimiser; train it again with nucleate train-moves")
    file.check({name: ((1, *shape), torch.float64) for name, shape in Policy.shapes(header.policy).items()})
    return Policy(header.policy, file.tensors), header.origin


def as_json(value: BaseModel) -> str:
    """Return settings as JSON with sorted keys, so that equal settings are equal texts."""
    return json.dumps(value.model_dump(mode="json"), sort_keys=True)
