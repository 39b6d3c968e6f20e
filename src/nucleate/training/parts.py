"""Parts of a model that can be frozen, reset or copied: layers given by name, species given by symbol."""

from __future__ import annotations

from ase.data import atomic_numbers
from torch import Tensor

from nucleate.errors import BadInput, quoted
from nucleate.potentials.registry import Trainable

Part = tuple[str, int | None]
"""Name of a parameter, and the index of a species along its first axis (None for the whole parameter)."""


def find_parts(model: Trainable, what: str) -> list[Part]:
    """Return the parameters that a name refers to.

    Args:
        model: the model.
        what: name of a parameter (`output.layers.0.weight`), beginning of names (`output`), or symbol of a species (`H`) in families with
            separate weights for each species.

    Raises:
        BadInput: there is no such part; the message lists the parts.
    """
    names = [name for name, _ in model.named_parameters()]
    parts: list[Part] = [(name, None) for name in names if name == what or name.startswith(f"{what}.") or what in name.split(".")]
    if not parts and model.by_species and atomic_numbers.get(what) in model.species:
        return [(name, model.species.index(atomic_numbers[what])) for name in names]
    if not parts:
        tops = sorted({name.partition(".")[0] for name in names})
        raise BadInput(
            f"the model has no part '{quoted(what)}'; choose one of {', '.join(tops)}, or a part of these: {', '.join(names[:12])} ..."
        )
    return parts


def slice_of(parameter: Tensor, index: int | None) -> Tensor:
    """Return the slice of a parameter for the species with this index, or the whole parameter for None."""
    return parameter if index is None else parameter[index]
