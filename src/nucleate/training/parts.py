"""Parts of a model that can be frozen, reset or copied: layers by name, species by symbol."""

from __future__ import annotations

from ase.data import atomic_numbers
from torch import Tensor

from nucleate.errors import BadInput, quoted
from nucleate.potentials.registry import Trainable

Part = tuple[str, int | None]
"""A parameter's name, and the index of a species along its first axis where only that slice is meant."""


def find_parts(model: Trainable, what: str) -> list[Part]:
    """Return the parameters that a name refers to.

    Args:
        model: whose.
        what: a parameter (`output.layers.0.weight`), the beginning of some (`output`), or a species (`H`) where each has
            weights of its own.

    Raises:
        BadInput: nothing of that name; says what there is.
    """
    names = [name for name, _ in model.named_parameters()]
    found: list[Part] = [(name, None) for name in names if name == what or name.startswith(f"{what}.") or what in name.split(".")]
    if not found and model.by_species and atomic_numbers.get(what) in model.species:
        return [(name, model.species.index(atomic_numbers[what])) for name in names]
    if not found:
        tops = sorted({name.partition(".")[0] for name in names})
        raise BadInput(
            f"the model has no part '{quoted(what)}'; there are {', '.join(tops)}, and what they hold: {', '.join(names[:12])} ..."
        )
    return found


def slice_of(parameter: Tensor, index: int | None) -> Tensor:
    """Return the slice of a parameter for a species."""
    return parameter if index is None else parameter[index]
