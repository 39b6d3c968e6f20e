"""One mutated input, which its kind, the seed and its number determine."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from input_containers import odd_array, odd_database, odd_tensors, odd_zip
from input_corpus import Item
from input_mutations import mutated

FOLDER = b"\0a folder instead of a file"
"""Content that stands for a folder of the name of a file."""


def mutated_item(kind: str, seed: int, number: int, items: list[Item], mark: str) -> Item:
    """Return the files of an input.

    Args:
        kind: kind of the input.
        seed, number: the same seed and number give the same input.
        items: valid inputs of the kind.
        mark: file that exists afterwards if an array was unpickled.
    """
    rng = np.random.default_rng([seed, zlib.crc32(kind.encode()), number])
    item = dict(items[int(rng.integers(len(items)))])
    name = sorted(item)[int(rng.integers(len(item)))]
    others = [data for other in items for data in other.values()]
    draw = rng.random()
    if draw < 0.01:
        item[name] = b""
    elif draw < 0.02 and kind != "formula":
        item[name] = FOLDER
    elif draw < 0.03:
        item[name] = others[int(rng.integers(len(others)))]
    elif draw < 0.04 and len(item) > 1:
        del item[name]
    else:
        item[name] = _changed(name, item[name], rng, others, mark)
    return item


def _changed(name: str, data: bytes, rng: np.random.Generator, others: list[bytes], mark: str) -> bytes:
    """Return the mutated content of a file; of a container, more often with a valid outside."""
    if rng.random() < 0.7:
        if name.endswith(".npy"):
            return odd_array(data, rng, mark) if rng.random() < 0.9 else odd_zip(rng)
        if name.endswith(".safetensors"):
            return odd_tensors(data, rng)
        if name.endswith(".db"):
            return odd_database(data, rng)
    return mutated(data, rng, others)


def write_item(item: Item, folder: Path) -> None:
    """Write the files of an input to an empty folder."""
    for name, data in item.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if data == FOLDER:
            path.mkdir()
        else:
            path.write_bytes(data)
