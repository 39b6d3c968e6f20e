"""Safetensors files with a validated header: models of electrons and potentials, and checkpoints.

A file states what it is in its header, a pydantic model with limits; what the header implies, names, shapes and types of tensors, must be
what the file holds. Sizes are compared before anything of that size is made: a header may state a network of a billion units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
from pydantic import BaseModel, Field
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.overrides import TorchFunctionMode

from nucleate.errors import BadInput, quoted
from nucleate.persist.text import from_json, stated

SPARE = 10**6
"""Numbers that a model may make beside those of its file: tables that follow from its settings."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Whole = Annotated[int, Field(strict=True)]
"""A number that is whole in the header too: JSON's true is no 1."""

Header = TypeVar("Header", bound=BaseModel)
Module = TypeVar("Module", bound=torch.nn.Module)


@dataclass(frozen=True)
class TensorFile:
    """Contents of a safetensors file.

    Attributes:
        path: names it in messages.
        metadata: of its header, texts.
        tensors: by name; those of floating point are finite.
        what: it should be, for messages.
    """

    path: Path
    metadata: dict[str, str]
    tensors: dict[str, Tensor]
    what: str

    @property
    def numbers(self) -> int:
        """How many numbers all tensors have together."""
        return sum(tensor.numel() for tensor in self.tensors.values())

    def header(self, key: str, newest: int, model: type[Header]) -> Header:
        """The JSON that the metadata hold under `key`, with its `version`.

        Raises:
            BadInput: no such key, no JSON, a version that is missing, unknown or newer than `newest`, or not what the model states.
        """
        said = from_json(self.metadata[key], f"{self.path}: its header") if key in self.metadata else None
        if not isinstance(said, dict):
            raise BadInput(f"{self.path}: is not a whole {self.what}: its header holds no {key}; it is another kind of file, or damaged")
        check_version(said.get("version"), newest, self.path)
        return stated(model, said, f"{self.path}: its header")

    def check(self, wanted: Mapping[str, Tensor | tuple[tuple[int, ...], torch.dtype]]) -> None:
        """Raise `BadInput`, naming the tensor, unless the file holds these tensors and no others, by name, shape and type."""
        for name in sorted(set(self.tensors) ^ set(wanted)):
            problem = "missing" if name in wanted else "not one of those that its header implies"
            raise BadInput(f"{self.path}: tensor {quoted(name, 40)} is {problem}")
        for name, one in wanted.items():
            shape, kind = (tuple(one.shape), one.dtype) if isinstance(one, Tensor) else one
            found = self.tensors[name]
            if (tuple(found.shape), found.dtype) != (shape, kind):
                raise BadInput(
                    f"{self.path}: tensor {name}: its header implies {_kind(shape, kind)}, the file holds {_kind(found.shape, found.dtype)}"
                )

    def fill(self, make: Callable[[], Module], learned: tuple[str, ...] = ()) -> Module:
        """A model with the weights of the file.

        Args:
            make: makes the model that the header states.
            learned: tensors of integers that training chose; all others must be those of the model that is made.

        Raises:
            BadInput: a model of another size than the file, tensors that do not fit, whole numbers that contradict the header.
        """
        with bounded(self):
            made = make()
        state = made.state_dict()
        self.check(state)
        for name, tensor in state.items():
            if not tensor.is_floating_point() and name not in learned and not torch.equal(tensor, self.tensors[name]):
                raise BadInput(f"{self.path}: tensor {name} contradicts the header")
        made.load_state_dict(self.tensors)
        return made


def bounded(file: TensorFile) -> TorchFunctionMode:
    """A context in which no more numbers are made than the file holds, and `SPARE` more; it raises `BadInput` before they are."""
    return _Bounded(file.numbers + SPARE, file.path)


def stated_only(header: BaseModel) -> dict[str, Any]:
    """A part of a header as plain data, without defaults for what the file does not say."""
    return header.model_dump(exclude_unset=True)


def read_tensor_file(path: Path, what: str, hint: str = "") -> TensorFile:
    """A safetensors file.

    Args:
        path: the file.
        what: it should be, such as "model of electrons".
        hint: what to do where it is not there.

    Raises:
        BadInput: no such file, truncated, garbage, or with numbers that are not finite.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such {what}{hint and '; '}{hint}")
    try:
        with safe_open(path, framework="pt") as archive:
            metadata = dict(archive.metadata() or {})
            tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise BadInput(f"{path}: is not a whole {what} ({quoted(str(error), 60)})") from None
    for name, tensor in tensors.items():
        if tensor.is_complex():
            raise BadInput(f"{path}: tensor {quoted(name, 40)} is complex; no {what} has such")
        if tensor.is_floating_point() and not torch.isfinite(tensor.double()).all():
            raise BadInput(f"{path}: tensor {quoted(name, 40)} holds numbers that are not finite; the file is damaged")
    return TensorFile(path, metadata, tensors, what)


def check_version(version: Any, newest: int, path: Path) -> None:
    """Raise `BadInput` unless a header's version is a whole number from 1 to `newest`."""
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise BadInput(f"{path}: its header states no version; the file is damaged, or no file of nucleate's")
    if version > newest:
        raise BadInput(f"{path}: written by a newer nucleate (version {quoted(version, 20)}, this one reads {newest}); update nucleate")


def _kind(shape: Any, kind: torch.dtype) -> str:
    return f"{str(kind).removeprefix('torch.')} {tuple(shape)}"


class _Bounded(TorchFunctionMode):
    """Refuses to make tensors that have more numbers, all together, than a file with the model's weights could hold."""

    def __init__(self, most: int, path: Path):
        super().__init__()
        self.left = most
        self.path = path

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        size = _size(getattr(func, "__name__", ""), args, kwargs or {})
        self.left -= size
        if self.left < 0:
            raise BadInput(f"{self.path}: its header states a model far larger than the file; the file is damaged")
        return func(*args, **(kwargs or {}))


def _size(name: str, args: Any, kwargs: dict[str, Any]) -> int:
    """How many numbers a function makes that is told a size; others make what they are given."""
    if name in ("zeros", "ones", "empty", "randn", "rand", "full", "eye", "triu_indices", "tril_indices"):
        size = kwargs.get("size", args[:1] if name == "full" else args[:2] if name.endswith("indices") else args)
        flat = (
            [n for part in size for n in (part if isinstance(part, list | tuple) else [part])] if isinstance(size, list | tuple) else [size]
        )
        total = 1
        for n in flat:
            total *= int(n)
        return total * total if name == "eye" and len(flat) == 1 else total
    if name in ("linspace", "logspace"):
        return int(args[2] if len(args) > 2 else kwargs.get("steps", 1))
    return 0
