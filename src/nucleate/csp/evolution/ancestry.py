"""Ancestors of a candidate, arranged as a tree."""

from __future__ import annotations

from dataclasses import dataclass

from nucleate.csp.evolution.records import Birth, EvolutionRecord


@dataclass(frozen=True)
class Ancestor:
    """A candidate in a family tree.

    Attributes:
        name: name in the family history.
        birth: how it came about.
        generation: number of generations before the descendant, which has 0; the smallest one if there are several ways.
        row: place across the tree; candidates of generators have integers from 0, and others are between their parents.
    """

    name: str
    birth: Birth
    generation: int
    row: float


def ancestry(name: str, record: EvolutionRecord, generations: int) -> list[Ancestor]:
    """Return a candidate and its ancestors up to a number of generations, the candidate first; empty if it is not in the history.

    Args:
        name: name of the candidate.
        record: the history.
        generations: largest number of generations before the candidate.
    """
    if name not in record.births:
        return []
    depth = {name: 0}
    order = [name]
    for child in order:
        for parent in record.births[child].parents:
            if parent in record.births and parent not in depth and depth[child] < generations:
                depth[parent] = depth[child] + 1
                order.append(parent)
    rows: dict[str, float] = {}
    leaves = 0

    def place(child: str) -> float:
        nonlocal leaves
        if child not in rows:
            # A parent that is also reached on another way is placed there.
            parents = [parent for parent in record.births[child].parents if depth.get(parent) == depth[child] + 1]
            if parents:
                rows[child] = sum(place(parent) for parent in parents) / len(parents)
            else:
                rows[child] = float(leaves)
                leaves += 1
        return rows[child]

    place(name)
    return [Ancestor(each, record.births[each], depth[each], place(each)) for each in order]
