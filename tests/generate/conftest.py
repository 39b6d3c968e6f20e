from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

TARGETS = Path(__file__).resolve().parents[3] / "shared" / "targets"


@pytest.fixture
def targets() -> Path:
    if not TARGETS.is_dir():
        pytest.skip(f"the benchmark's known structures are not at {TARGETS}")
    return TARGETS


def same(a: Atoms, b: Atoms) -> bool:
    return (
        np.array_equal(a.numbers, b.numbers)
        and np.allclose(a.positions, b.positions, atol=1e-9)
        and np.allclose(np.array(a.cell), np.array(b.cell), atol=1e-9)
    )
