"""Safetensors files with a validated header: electron models, potentials and checkpoints.

The header describes the model and is validated with a pydantic model that limits its values. The names, shapes and types of the tensors in
the file must be those that the header implies. Sizes are compared before memory is allocated, because a damaged header may describe a
network with billions of units.
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
"""Numbers that a model may allocate in addition to those of its file, for tables that follow from its settings."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Whole = Annotated[int, Field(strict=True)]
"""An integer; JSON's `true` is not accepted as 1."""

Header = TypeVar("Header", bound=BaseModel)
Module = TypeVar("Module", bound=torch.nn.Module)


@dataclass(frozen=True)
class TensorFile:
    """Contents of a safetensors file.

    Attributes:
        path: path of the file, used in error messages.
        metadata: text entries of the safetensors header.
        tensors: tensors by name; floating-point values are finite.
        what: kind of file that is expected, used in error messages.
    """

    path: Path
    metadata: dict[str, str]
    tensors: dict[str, Tensor]
    what: str

    @property
    def numbers(self) -> int:
        """Total number of elements in all tensors."""
        return sum(tensor.numel() for tensor in self.tensors.values())

    def header(self, key: str, newest: int, model: type[Header]) -> Header:
        """Parse and validate the JSON entry `key` of the metadata.

        Raises:
            BadInput: the entry is missing, is not JSON, has no version or one newer than `newest`, or does not match the model.
        """
        entry = from_json(self.metadata[key], f"{self.path}: header") if key in self.metadata else None
        if not isinstance(entry, dict):
            raise BadInput(
                f"{self.path}: is not a complete {self.what}: the header has no entry '{key}'; the file is damaged or of another kind"
            )
        check_version(entry.get("version"), newest, self.path)
        return stated(model, entry, f"{self.path}: header")

    def check(self, wanted: Mapping[str, Tensor | tuple[tuple[int, ...], torch.dtype]]) -> None:
        """Raise `BadInput`, naming the tensor, unless the file contains exactly these tensors with these shapes and types."""
        for name in sorted(set(self.tensors) ^ set(wanted)):
            problem = "is missing" if name in wanted else "is not part of the model that the header describes"
            raise BadInput(f"{self.path}: tensor '{quoted(name, 40)}' {problem}; the file is damaged")
        for name, one in wanted.items():
            shape, kind = (tuple(one.shape), one.dtype) if isinstance(one, Tensor) else one
            stored = self.tensors[name]
            if (tuple(stored.shape), stored.dtype) != (shape, kind):
                raise BadInput(
                    f"{self.path}: tensor '{name}' is {_kind(stored.shape, stored.dtype)}, but its header implies {_kind(shape, kind)}"
                )

    def fill(self, make: Callable[[], Module], learned: tuple[str, ...] = ()) -> Module:
        """Build a model and load the weights of the file into it.

        Args:
            make: builds the model that the header describes.
            learned: names of integer tensors that are set by training; all other integer tensors must equal those of the new model.

        Raises:
            BadInput: the size of the model, the tensors or integer values do not match the header.
        """
        with bounded(self):
            made = make()
        state = made.state_dict()
        self.check(state)
        for name, tensor in state.items():
            if not tensor.is_floating_point() and name not in learned and not torch.equal(tensor, self.tensors[name]):
                raise BadInput(f"{self.path}: tensor '{name}' contradicts the header; the file is damaged")
        made.load_state_dict(self.tensors)
        return made


def bounded(file: TensorFile) -> TorchFunctionMode:
    """Return a context that raises `BadInput` before more than `file.numbers + SPARE` tensor elements are allocated."""
    return _Bounded(file.numbers + SPARE, file.path)


def stated_only(header: BaseModel) -> dict[str, Any]:
    """Return part of a header as plain data, without default values for keys that the file does not contain."""
    return header.model_dump(exclude_unset=True)


def read_tensor_header(path: Path, what: str) -> TensorFile:
    """Read the metadata of a safetensors file without its tensors.

    Args:
        path: path of the file.
        what: kind of file that is expected, for error messages.

    Raises:
        BadInput: the file does not exist, or is truncated or damaged.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such {what}")
    try:
        with safe_open(path, framework="pt") as archive:
            return TensorFile(path, dict(archive.metadata() or {}), {}, what)
    except (SafetensorError, OSError, ValueError) as error:
        raise BadInput(f"{path}: is not a complete {what} ({quoted(str(error), 60)})") from None


def read_tensor_file(path: Path, what: str, hint: str = "") -> TensorFile:
    """Read a safetensors file.

    Args:
        path: path of the file.
        what: kind of file that is expected, such as "electron model", for error messages.
        hint: what to do if the file does not exist, appended to the error message.

    Raises:
        BadInput: the file does not exist, is truncated or damaged, or contains complex or non-finite numbers.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such {what}{hint and '; '}{hint}")
    try:
        with safe_open(path, framework="pt") as archive:
            metadata = dict(archive.metadata() or {})
            tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise BadInput(f"{path}: is not a complete {what} ({quoted(str(error), 60)})") from None
    for name, tensor in tensors.items():
        if tensor.is_complex():
            raise BadInput(f"{path}: tensor '{quoted(name, 40)}' is complex; a valid {what} has real tensors")
        if tensor.is_floating_point() and not torch.isfinite(tensor.double()).all():
            raise BadInput(f"{path}: tensor '{quoted(name, 40)}' contains values that are not finite; the file is damaged")
    return TensorFile(path, metadata, tensors, what)


def check_version(version: Any, newest: int, path: Path) -> None:
    """Raise `BadInput` unless the version of a header is an integer from 1 to `newest`."""
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise BadInput(f"{path}: its header has no valid version; the file is damaged or was not written by nucleate")
    if version > newest:
        raise BadInput(f"{path}: written by a newer nucleate (version {quoted(version, 20)}, this one reads {newest}); update nucleate")


def _kind(shape: Any, kind: torch.dtype) -> str:
    """Return type and shape of a tensor as text, such as `float64 (3, 3)`."""
    return f"{str(kind).removeprefix('torch.')} {tuple(shape)}"


class _Bounded(TorchFunctionMode):
    """Torch function mode that raises `BadInput` before more than a given number of tensor elements are allocated."""

    def __init__(self, most: int, path: Path):
        super().__init__()
        self.left = most
        self.path = path

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        size = _size(getattr(func, "__name__", ""), args, kwargs or {})
        self.left -= size
        if self.left < 0:
            raise BadInput(f"{self.path}: its header describes a model that is far larger than the file; the file is damaged")
        return func(*args, **(kwargs or {}))


def _size(name: str, args: Any, kwargs: dict[str, Any]) -> int:
    """Return the number of elements that a torch factory function allocates; 0 for functions that do not take a size."""
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
