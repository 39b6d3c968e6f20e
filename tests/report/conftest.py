"""Run folders written by hand: what the report must show is known, and nothing is searched for it."""

import numpy as np
import pytest
from ase.build import bulk

from nucleate.csp.records import LoopState, Polymorph, RoundRecord
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.run_settings import settings_from_dict
from nucleate.errors import ReferenceFailed
from nucleate.persist.toml import to_toml
from nucleate.reference.base import Label

REASON = "SCF did not converge <script>alert(1)</script> after 100 iterations\nand more"


def polymorph(atoms, energy, symbol, number, calls):
    return Polymorph(atoms, atoms, energy, 0.01, 0.05, symbol, number, 0.02, "symmetric", calls, 3, 1)


def make_folder(path, polymorphs=True, rounds=3, **options):
    """Si2 with diamond, beta-tin 2 meV/atom above it, and simple cubic; one calculation failed."""
    settings = settings_from_dict({"formula": "Si2", "reference": {"engine": "chgnet"}, **options})
    state = LoopState(round=rounds - 1, finished="the budget of reference calls is spent", proof=None)
    if polymorphs:
        state.polymorphs = [
            polymorph(bulk("Si", "bct", a=4.8, c=2.65) * (1, 1, 2), -5.298, "I4_1/amd", 141, 9),
            polymorph(bulk("Si", "diamond", a=5.43), -5.3, "Fd-3m", 227, 5),
            polymorph(bulk("Si", "sc", a=2.5) * (1, 1, 2), -5.1, "Pm-3m", 221, 7),
        ]
        state.proof = {"stop": "converged", "energy": -5.3, "difference": 1e-6, "steps": 4, "calls": 4}
    for n in range(rounds):
        calibration = {
            "labels": 4,
            "coverage": 0.75,
            "rank_correlation": None,
            "mae": float("nan") if n == 1 else 0.1 / (n + 1),
            "force_rmse": 0.3,
            "factor": 1.1,
        }
        state.records.append(
            RoundRecord(
                n, 4 + 3 * n, -5.3 if polymorphs else None, {"converged": 5, "uncertain": 3, "melted": 1} if n else {},
                6, calibration if n else {}, {"labels": 4}, {"label": 3.0, "train": 2.0, "dream": 1.0},
            )
        )  # fmt: skip
    with RunFolder.create(path, to_toml(settings)) as folder:
        for k in range(6):
            atoms = bulk("Si", "diamond", a=5.2 + 0.1 * k)
            folder.ledger.begin(str(k), atoms, "chgnet", {}, "train" if k < 4 else "explore", 0)
            label = Label(-10.6 + 0.1 * k, np.zeros((2, 3)), np.zeros(6), core_seconds=2.0)
            answer = ReferenceFailed(REASON, kind="unconverged") if k == 5 else label
            folder.ledger.finish(str(k), answer, 2.0)
        folder.save_state(state.round, state.as_dict())
        folder.event("polymorph", energy=-5.2, space_group="Cmcm", calls=6, round=state.round + 1)
    return path


@pytest.fixture
def make(tmp_path):
    return lambda name="run", **options: make_folder(tmp_path / name, **options)
