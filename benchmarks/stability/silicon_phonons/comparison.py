"""Phonons of diamond silicon on the committee of a search and on its reference, at the q points that fit into the supercell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nucleate.csp.run_data import read_run
from nucleate.polymorphs.check import check
from nucleate.polymorphs.stability import near_minimum
from nucleate.polymorphs.stability.settings import CheckSettings


def compare(
    folder: Path, supercell: tuple[int, int, int], model: Path | None, train: int, seed: int, name: str | None = None
) -> list[dict[str, Any]]:
    """Return a row for each commensurate q point, THz; spot checks are made only for the committee of the search.

    Args:
        folder: run folder of the search.
        supercell: multiples of the primitive cell.
        model: model file in place of the last committee of the search.
        train: number of labels near the minimum.
        seed: seed of their structures.
        name: name of the folder of the check; None: one for each number of labels and seed.
    """
    settings = CheckSettings(elastic=False, supercell=supercell, follow=0, spots=2 if model is None else 0, train=train)
    near_minimum.SEED = seed
    name = name or (f"check-train{train}-{seed}" if train else "check" if model is None else "check-other")
    committee = check(folder, settings, model=model, top=1, out=folder / name, workers=0 if train or model is None else None)
    engine = read_run(folder).settings.reference.engine
    reference = check(
        folder,
        CheckSettings(elastic=False, supercell=supercell, follow=0, fmax=5e-3, smax=0.05),
        reference=engine,
        top=1,
        out=folder / "check-reference",
    )
    one, other = committee.polymorphs[0], reference.polymorphs[0]
    assert one.prepared.number == other.prepared.number == 227
    assert one.phonons is not None
    assert other.phonons is not None
    run = read_run(folder)
    error, share = (None, None) if one.spot is None else (one.spot.rmse, one.spot.share)
    common = {
        "supercell": list(supercell), "atoms": one.phonons.atoms, "search_calls": run.calls, "members": committee.members,
        "check_calls": reference.calls, "trained": committee.trained, "force_error": error, "force_share": share,
        "volume": one.prepared.atoms.get_volume() / 2, "reference_volume": other.prepared.atoms.get_volume() / 2,
    }  # fmt: skip
    mean, spread = one.phonons.commensurate.mean, one.phonons.commensurate.spread
    assert spread is not None
    return [
        {
            **common, "q": np.round(q, 4).tolist(), "committee": np.round(mean[k], 4).tolist(), "spread": np.round(spread[k], 4).tolist(),
            "reference": np.round(other.phonons.commensurate.mean[k], 4).tolist(),
        }
        for k, q in enumerate(one.phonons.points)
    ]  # fmt: skip
