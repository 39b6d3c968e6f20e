"""The verbs of spins as Python functions."""

import numpy as np
import pytest
from ase import Atoms

from nucleate.errors import BadInput
from nucleate.progress import Step
from nucleate.spins import api
from nucleate.spins.files.reading import read_couplings
from nucleate.units import K_B

CUBIC = Atoms("Fe", cell=[3, 3, 3], pbc=True)


def test_estimates_of_a_simple_cubic_ferromagnet():
    """Mean field: 6 J / 3; RPA: smaller by Watson's integral, 1.516386 (G. N. Watson, Q. J. Math. 10, 266, 1939)."""
    estimate = api.estimate(api.assign_shells(CUBIC, {"Fe": 2.0}, [10.0]))
    assert estimate.wave_vector == [0, 0, 0]
    assert estimate.sublattices == [1]
    assert estimate.mean_field == pytest.approx(6 * 10 / 3 / K_B, rel=1e-6)
    assert estimate.rpa == pytest.approx(estimate.mean_field / 1.516386, rel=5e-3)


def test_couplings_pass_through_every_format(tmp_path):
    couplings = api.assign_shells(CUBIC, {"Fe": 2.0}, [10.0, -2.5])
    lost = {suffix: api.convert(couplings, tmp_path / f"fe{suffix}", cells=(4, 4, 4)) for suffix in api.FORMATS}
    assert lost == {".csv": [], ".out": [], ".cfg": ["elements"]}
    for suffix in api.FORMATS:
        again = read_couplings(tmp_path / f"fe{suffix}")
        assert np.allclose(np.sort(again.isotropic), np.sort(couplings.isotropic), atol=1e-4)
    with pytest.raises(BadInput, match="unknown file format"):
        api.convert(couplings, tmp_path / "fe.json")


def test_a_simulation_reports_steps_and_takes_options(tmp_path):
    couplings = api.assign_shells(CUBIC, {"Fe": 2.0}, [10.0])
    steps = []
    options = {"temperatures": [40.0, 60.0, 80.0], "sizes": [3], "measurements": 64, "equilibration": 50, "seed": 3}
    result = api.simulate(couplings, tmp_path / "run", settings={"measurements": 999}, progress=steps.append, **options)
    assert {step.total for step in steps if isinstance(step, Step)} == {64}
    assert [row.temperature for row in result.rows] == options["temperatures"]
    assert result.rows[0].magnetisation > result.rows[-1].magnetisation
    with pytest.raises(BadInput, match="measurments"):
        api.simulate(couplings, temperatures=[40.0], measurments=64)


def test_unusable_combinations_are_refused_before_any_folder_is_made(tmp_path):
    for options, message in (
        ({"method": "magic"}, "unknown method"),
        ({"spin_orbit": True}, "liechtenstein"),
        ({"method": "liechtenstein", "workers": 2}, "no effect"),
        ({"settings": {"tb2j": {}}}, "unknown table"),
        ({"settings": {"mapping": 3}}, "must be a table"),
    ):
        with pytest.raises(BadInput, match=message):
            api.couple(CUBIC, tmp_path / "out", {"Fe": 2.0}, **options)
    assert not (tmp_path / "out").exists()
