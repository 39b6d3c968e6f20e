"""Evaluation of a grid in slabs, in one or several processes, with optional storage of results for resuming.

Each slab provides the sum of h over its points or an estimate of it, contractions of h at each point, and the gradient of a contraction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from nucleate.crystals.atom_images import AtomImages, images
from nucleate.electrons.grid import Grid
from nucleate.electrons.model.blocks import EDGE, block_indices, surroundings
from nucleate.electrons.model.model import ElectronModel
from nucleate.errors import BadInput
from nucleate.persist.files import write_whole
from nucleate.processes.pools import worker_pool
from nucleate.progress import Progress, Step, silent

BATCH = 1024
"""Number of points evaluated at once, so that intermediates fit the processor cache."""
KEPT_BYTES = 2**29
"""Bytes of h that one process keeps between passes."""
SAMPLED_EDGE = 8
"""Number of points along the second and third edge of the blocks from which points are sampled."""
TILE = 8
"""Number of such blocks along either edge of a tile, whose sampled points are evaluated at once."""
PARTS = 8
"""Number of equal parts of the sampled points, of which each gives an estimate; each block contributes one point to each part."""
WAITING = 4
"""Number of slabs submitted to each worker in advance; more only increase the memory."""


def batches(blocks: list[np.ndarray], size: int = BATCH) -> Iterator[Tensor]:
    """Stack blocks of equal size to tensors (blocks, points)."""
    by_size: dict[int, list[np.ndarray]] = {}
    for block in blocks:
        group = by_size.setdefault(len(block), [])
        group.append(block)
        if len(group) * len(block) >= size:
            yield torch.from_numpy(np.stack(group))
            del by_size[len(block)]
    for group in by_size.values():
        yield torch.from_numpy(np.stack(group))


@dataclass
class Field:
    """Structure on a grid, ready for evaluation.

    Attributes:
        model: Trained model.
        grid: Grid of the structure; its cell may require gradients.
        positions: (n_atoms, 3) positions in Å, float64; may require gradients.
        species: (n_atoms,) species indices.
        around: Images of the atoms.
        nodes: Features of the atoms that are sent to the points, see `MessageNetwork`; None without messages.
    """

    model: ElectronModel
    grid: Grid
    positions: Tensor
    species: Tensor
    around: AtomImages
    nodes: Tensor | None = None

    @classmethod
    def of(cls, model: ElectronModel, atoms: Atoms, shape: tuple[int, int, int], gradient: bool = False) -> Field:
        """Build from a structure; with `gradient`, positions, cell and features of the atoms are leaf tensors."""
        positions = torch.tensor(atoms.positions, requires_grad=gradient)
        cell = torch.tensor(atoms.cell.array, requires_grad=gradient)
        around = images(positions, cell, model.descriptor.cutoff)
        with torch.no_grad():
            nodes = model.nodes(atoms, positions, cell)
        if nodes is not None:
            nodes.requires_grad_(gradient)
        return cls(model, Grid(cell, shape), positions, model.species(atoms), around, nodes)

    def features(self, index: Tensor) -> Tensor:
        """Map point indices (blocks, points) to features (blocks * points, features), with messages of each member."""
        dtype = self.model.network.last.dtype
        near = surroundings(index, self.grid, self.positions, self.species, self.around, self.model.descriptor.cutoff, dtype)
        return self.model.features(near, self.nodes)

    def part(self, first: int, last: int) -> Field:
        """Return a copy restricted to the images near some planes of the grid."""
        n = self.grid.shape[0]
        return replace(self, around=self.around.within(self.grid.cell, first / n, (last - 1) / n, self.model.descriptor.cutoff))

    def hidden(self, index: Tensor) -> Tensor:
        """Map point indices (blocks, points) to h, (members, blocks * points, width)."""
        return self.model.network.hidden(self.features(index))


class SlabWorker:
    """Evaluate the slabs of one structure.

    Args:
        model: Trained model.
        atoms: Structure.
        shape: Shape of the grid.
        keep: Bytes of h to keep between passes.
    """

    def __init__(self, model: ElectronModel, atoms: Atoms, shape: tuple[int, int, int], keep: int = 0):
        self.model, self.atoms, self.shape = model, atoms, shape
        self.field = Field.of(model, atoms, shape)
        self._leaf: Field | None = None
        self._kept: dict[int, list[tuple[Tensor, Tensor]]] = {}
        width = model.network.members * model.network.last.shape[1] * model.network.last.element_size()
        self.keeps = int(np.prod(shape)) * width <= keep

    def _planes(self, slab: int) -> tuple[int, int]:
        return slab * EDGE, min((slab + 1) * EDGE, self.shape[0])

    def _blocks(self, slab: int) -> list[np.ndarray]:
        first, last = self._planes(slab)
        _, n2, n3 = self.shape
        return [block + first * n2 * n3 for block in block_indices((last - first, n2, n3))]

    def _hidden(self, slab: int) -> Iterator[tuple[Tensor, Tensor]]:
        if slab in self._kept:
            yield from self._kept[slab]
            return
        found = []
        near = self.field.part(*self._planes(slab))
        for index in batches(self._blocks(slab)):
            h = near.hidden(index)
            if self.keeps:
                found.append((index.flatten(), h))
            yield index.flatten(), h
        if self.keeps:
            self._kept[slab] = found

    @torch.no_grad()
    def sampled(self, slab: int) -> np.ndarray:
        """Return estimates of the sum of h over the slab from random points, (parts, members, width), float64.

        Each block of 4 x 8 x 8 points contributes one point to each of the parts, from different places of the block.
        """
        network = self.model.network
        first, last = self._planes(slab)
        _, n2, n3 = self.shape
        rng = np.random.default_rng(slab)
        near = self.field.part(first, last)
        total = torch.zeros(PARTS, network.members, network.last.shape[1], dtype=torch.float64)
        picks, shares = [], []
        for block in block_indices((last - first, n2, n3), SAMPLED_EDGE):
            # Neighbouring points of a block have neighbouring numbers, so that strata of numbers are strata in space.
            ends = np.linspace(0, len(block), PARTS + 1)
            chosen = np.minimum((ends[:-1] + rng.random(PARTS) * np.diff(ends)).astype(int), len(block) - 1)
            picks.append(block[chosen] + first * n2 * n3)
            shares.append(float(len(block)))
        order = np.array([rng.permutation(PARTS) for _ in picks])
        # Points that are evaluated together are neighbours, because their atoms are looked for together.
        across = -(-n3 // SAMPLED_EDGE)
        b, c = np.divmod(np.arange(len(picks)), across)
        tiles = b // TILE * across + c // TILE
        for tile in np.unique(tiles):
            part = np.flatnonzero(tiles == tile)
            h = near.hidden(torch.from_numpy(np.stack([picks[k] for k in part]))).double()
            each = torch.from_numpy(order[part].ravel())
            weighted = h * torch.from_numpy(np.repeat(np.array(shares)[part], PARTS))[:, None]
            total.index_add_(0, each, weighted.transpose(0, 1))
        return total.numpy()

    @torch.no_grad()
    def summed_and_contracted(self, slab: int, turns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the sum of h over the slab and its contraction at every point.

        Args:
            slab: Number of the slab.
            turns: (n, members, width) coefficients; n may be zero.

        Returns:
            (members, width) sum, float64, and (n, planes, n_2, n_3) contractions.
        """
        network = self.model.network
        first, last = self._planes(slab)
        start = first * self.shape[1] * self.shape[2]
        total = torch.zeros(network.members, network.last.shape[1], dtype=torch.float64)
        out = torch.zeros(len(turns), last - first, *self.shape[1:], dtype=network.last.dtype)
        flat, given = out.flatten(1), torch.from_numpy(turns).to(network.last.dtype)
        for index, h in self._hidden(slab):
            total += h.sum(1, dtype=torch.float64)
            flat[:, index - start] = torch.einsum("mph,nmh->np", h, given)
        return total.numpy(), out.numpy()

    def contracted(self, slab: int, turns: np.ndarray) -> np.ndarray:
        """Contract h at every point of the slab: turns (n, members, width) to (n, planes, n_2, n_3)."""
        return self.summed_and_contracted(slab, turns)[1]

    def gradient(self, slab: int, same: np.ndarray, local: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the gradient of sum_p (same + sum_n weight_np local_n) . h_p over the slab.

        Args:
            slab: Number of the slab.
            same: (members, width) coefficients of all points.
            local: (n, members, width) coefficients that have weights.
            weights: (n, planes, n_2, n_3) weights of the points of the slab.

        Returns:
            Gradient in positions and cell, (n_atoms + 3, 3), and in the features of the atoms, which is empty without messages.
        """
        if self._leaf is None:
            self._leaf = Field.of(self.model, self.atoms, self.shape, gradient=True)
        field, dtype = self._leaf.part(*self._planes(slab)), self.model.network.last.dtype
        start = self._planes(slab)[0] * self.shape[1] * self.shape[2]
        flat, a, b = (torch.from_numpy(np.ascontiguousarray(x)).to(dtype) for x in (weights.reshape(len(local), -1), same, local))
        leaves = [field.positions, field.grid.cell, *([] if field.nodes is None else [field.nodes])]
        total = [torch.zeros_like(leaf) for leaf in leaves]
        for index in batches(self._blocks(slab)):
            h = field.hidden(index)
            value = torch.einsum("mph,mh->p", h, a).sum() + (flat[:, index.flatten() - start] * torch.einsum("mph,nmh->np", h, b)).sum()
            total = [part + found for part, found in zip(total, torch.autograd.grad(value, leaves), strict=True)]
        nodes = total[2].numpy() if field.nodes is not None else np.zeros(0)
        return torch.cat(total[:2]).numpy(), nodes


_worker: SlabWorker | None = None


def _start(path: Path, atoms: Atoms, shape: tuple[int, int, int]) -> None:
    global _worker
    _worker = SlabWorker(ElectronModel.load(path), atoms, shape)


def _ask(question: str, slab: int, given: tuple[Any, ...]) -> Any:
    assert _worker is not None
    return getattr(_worker, question)(slab, *given)


class Slabs:
    """Evaluate all slabs of a structure in order.

    Args:
        model: Trained model.
        atoms: Structure.
        shape: Shape of the grid.
        workers: Number of processes; 0 evaluates in this process.
        path: Path of the model file, which worker processes read.
        scratch: Folder for results, which are reused.
        progress: Called with a `Step` after each slab.

    Attributes:
        count: Number of slabs.
        keeps: Whether h is kept after the first evaluation of each slab.
    """

    def __init__(
        self,
        model: ElectronModel,
        atoms: Atoms,
        shape: tuple[int, int, int],
        workers: int = 0,
        path: Path | None = None,
        scratch: Path | None = None,
        progress: Progress = silent,
    ):
        self.count = -(-shape[0] // EDGE)
        self._shape, self._scratch, self._progress = shape, scratch, progress
        self._pool: Executor | None = None
        self._workers = workers
        self.keeps = False
        if workers:
            if path is None:
                raise BadInput("worker processes read the model from its file; give path")
            # Only the main process handles interrupts: it stops the pool, and stored results are kept.
            self._pool = worker_pool(workers, _start, path, atoms, shape)
        else:
            self._own = SlabWorker(model, atoms, shape, KEPT_BYTES)
            self.keeps = self._own.keeps

    def close(self, wait: bool = True) -> None:
        """Stop the workers; with `wait` False, as after an error or interrupt, do not wait for running slabs."""
        if self._pool is not None:
            self._pool.shutdown(wait=wait, cancel_futures=True)

    def planes(self, slab: int) -> slice:
        """Return the grid planes of a slab."""
        return slice(slab * EDGE, min((slab + 1) * EDGE, self._shape[0]))

    def ask(self, phase: str, question: str, key: str | None, given: Callable[[int], tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        """Yield the result of each slab in order.

        Args:
            phase: Name of the phase for progress events.
            question: Name of a `SlabWorker` method.
            key: Key of stored results; None: results are not stored.
            given: Function that returns the arguments for a slab.
        """
        waiting: list[tuple[int, Any]] = []
        ahead = iter(range(self.count))
        most = WAITING * max(1, self._workers)
        for done in range(self.count):
            while len(waiting) < most and (slab := next(ahead, None)) is not None:
                waiting.append((slab, self._submit(question, slab, key, given)))
            slab, answer = waiting.pop(0)
            yield slab, answer()
            self._progress(Step(phase, done + 1, self.count))

    def _submit(self, question: str, slab: int, key: str | None, given: Callable[[int], tuple[Any, ...]]) -> Callable[[], Any]:
        file = self._scratch / f"{key}-{slab:05d}.npz" if self._scratch is not None and key is not None else None
        if file is not None and file.exists():
            return lambda: _loaded(file)
        if self._pool is None:
            own = self._own
            return lambda: _kept(file, getattr(own, question)(slab, *given(slab)))
        future = self._pool.submit(_ask, question, slab, given(slab))
        return lambda: _kept(file, future.result())


def _kept(file: Path | None, answer: Any) -> Any:
    if file is not None:
        stream = BytesIO()
        arrays = answer if isinstance(answer, tuple) else (answer,)
        np.savez(stream, *arrays)
        write_whole(file, stream.getvalue())
    return answer


def _loaded(file: Path) -> Any:
    with np.load(file, allow_pickle=False) as stored:
        arrays = tuple(stored[name] for name in stored.files)
    return arrays if len(arrays) > 1 else arrays[0]
