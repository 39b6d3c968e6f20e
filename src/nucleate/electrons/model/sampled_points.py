"""Grid points of the snapshots of a training, and random batches of them.

Points are sampled with probability p(r) ~ 1/2 + |d(r)| / (2 <|d|>), which emphasises dense regions and includes all others, and weighted by
1/p, so that the loss is an estimate for the whole grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nucleate.electrons.data.ground_state import Snapshot
from nucleate.electrons.messages.atom_graph import AtomGraph
from nucleate.electrons.messages.network import MessageNetwork
from nucleate.electrons.model.alignment import targets
from nucleate.electrons.model.blocks import Surroundings, block_indices, surroundings
from nucleate.electrons.model.model import ElectronModel
from nucleate.electrons.model.slabs import Field

GROUP = 4
"""Number of points whose neighbours are looked for together."""
SNAPSHOTS = 4
"""Number of snapshots in a batch of a network with messages, which are made anew for each of them."""


@dataclass(frozen=True)
class SnapshotPoints:
    """Sampled points of one snapshot.

    Attributes:
        features: (points, features) of the descriptor.
        targets: (points, outputs) local density of states, see `alignment.targets`.
        weights: (points,) weights in the loss.
        sources: Atoms around groups of `GROUP` points, and the graph of the snapshot's atoms; None without messages.
    """

    features: Tensor
    targets: Tensor
    weights: Tensor
    sources: tuple[Surroundings, AtomGraph] | None


def draw_points(model: ElectronModel, snapshot: Snapshot, count: int, rng: np.random.Generator) -> SnapshotPoints:
    """Sample points of a snapshot; their number is rounded up to whole groups.

    With messages, the points of a group are independent of one another only within a block of the grid.
    """
    n1, n2, n3, energies = snapshot.ldos.shape
    flat = snapshot.ldos.reshape(-1, energies)
    size = np.linalg.norm(flat, axis=1)
    chance = 0.5 + 0.5 * size / size.mean()
    chance /= chance.sum()
    groups = -(-count // GROUP)
    # Sample with replacement, so that weights 1/p yield an unbiased loss of the whole grid.
    if model.network.messages is None:
        chosen = np.sort(rng.choice(len(flat), groups * GROUP, p=chance))
    else:
        # All points of a group are in one block, because their neighbours are looked for together in every step of the training.
        blocks = block_indices((n1, n2, n3))
        shares = np.array([chance[block].sum() for block in blocks])
        picked = rng.choice(len(blocks), groups, p=shares / shares.sum())
        chosen = np.concatenate([rng.choice(blocks[k], GROUP, p=chance[blocks[k]] / shares[k]) for k in picked])
    field = Field.of(model, snapshot.atoms, (n1, n2, n3))
    index = torch.from_numpy(chosen.reshape(-1, GROUP))
    with torch.no_grad():
        near = surroundings(index, field.grid, field.positions, field.species, field.around, model.descriptor.cutoff, torch.float32)
        parts = zip(*(part.split(512 // GROUP) for part in (near.points, near.atoms, near.species)), strict=True)
        features = torch.cat([model.descriptor(*part).flatten(0, 1) for part in parts])
    weights = torch.tensor(1 / (chance[chosen] * len(flat)), dtype=torch.float32)
    graph = model.graph(snapshot.atoms, field.positions, field.grid.cell)
    return SnapshotPoints(
        features, torch.tensor(targets(snapshot, model.channels)[chosen]), weights, None if graph is None else (near, graph)
    )


class PointBatches:
    """Random batches of the points of several snapshots.

    Args:
        drawn: Points of each snapshot.
        messages: Network of the atoms, or None.

    Attributes:
        features, targets, weights: Those of all points.
    """

    def __init__(self, drawn: Sequence[SnapshotPoints], messages: MessageNetwork | None):
        self.features, self.targets, self.weights = (
            torch.cat([getattr(part, name) for part in drawn]) for name in ("features", "targets", "weights")
        )
        self._messages, self._drawn = messages, drawn
        self._ends = np.cumsum([0] + [len(part.features) for part in drawn]).tolist()
        self._snapshot = torch.repeat_interleave(torch.arange(len(drawn)), torch.tensor([len(part.features) for part in drawn]))

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return the features of random points, their places among all points, and the places of their snapshots.

        Features are (points, features), or (members, points, features) with messages; the number of points is then rounded to whole
        groups of several snapshots.
        """
        if self._messages is None:
            pick = torch.randint(len(self.features), (count,), generator=generator)
            return self.features[pick], pick, self._snapshot[pick]
        chosen = torch.randperm(len(self._drawn), generator=generator)[:SNAPSHOTS].tolist()
        each = max(1, count // GROUP // len(chosen))
        sources = [(k, *own) for k in chosen if (own := self._drawn[k].sources) is not None]
        nodes = self._messages.nodes(AtomGraph.together([graph for _, _, graph in sources]))
        rows, picks, first = [], [], 0
        for k, near, graph in sources:
            groups = torch.randint(len(near.points), (each,), generator=generator)
            own = nodes[first : first + len(graph.species)]
            rows.append(self._messages(near.points[groups], near.atoms[groups], near.index[groups], own))
            picks.append(self._ends[k] + (groups[:, None] * GROUP + torch.arange(GROUP)).flatten())
            first += len(graph.species)
        pick = torch.cat(picks)
        features = self.features[pick].expand(self._messages.members, -1, -1)
        return torch.cat([features, torch.cat(rows, 1)], -1), pick, self._snapshot[pick]
