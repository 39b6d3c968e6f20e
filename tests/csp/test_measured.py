"""Searches with a measured powder pattern."""

import numpy as np
import pytest
from ase.build import bulk

from nucleate import api
from nucleate.csp.measured.space import MeasuredSpace
from nucleate.csp.plan import prepare
from nucleate.csp.records import LoopState, Polymorph
from nucleate.csp.resolve import resolve_settings
from nucleate.csp.select import score
from nucleate.errors import BadInput
from nucleate.observables.powder import calculated, powder_data
from nucleate.observables.radiation import radiation
from nucleate.relax.batched import Relaxed

DIAMOND = bulk("Si", "diamond", a=5.43).repeat((2, 2, 1))
TIN = bulk("Si", "bct", a=4.8, c=2.65).repeat((2, 2, 2))


@pytest.fixture
def pattern(tmp_path):
    """Diamond with a cell that is 1 % larger, as a measurement would have it, with noise."""
    x = np.arange(15, 90, 0.03)
    bumps = np.exp(-0.5 * ((x - 30) / 1.0) ** 2) + 1e-3
    data = powder_data(x, bumps, radiation("CuKa"))
    larger = DIAMOND.copy()
    larger.set_cell(larger.cell.array * 1.01, scale_atoms=True)
    curve = np.interp(x, data.two_theta, calculated(larger, data, np.zeros((3, 3)), 0.0))
    counts = np.random.default_rng(0).poisson(1000 * np.abs(curve) / np.abs(curve).max() + 20)
    path = tmp_path / "pattern.xy"
    np.savetxt(path, np.column_stack([x, counts]))
    return path


def settings(pattern, **options):
    return resolve_settings("Si8", {"reference": {"engine": "chgnet"}, "measured": {"xrd": str(pattern), "wavelength": "CuKa", **options}})


def end(atoms, energy, stop="converged"):
    return Relaxed(atoms, energy * len(atoms), 0.0, 0.01, stop, 3)


def test_the_crystal_of_the_pattern_is_preferred(pattern):
    """A higher crystal that fits the pattern is chosen before a lower one that does not; without a score nothing is chosen."""
    space = MeasuredSpace(settings(pattern))
    ends = [end(TIN, -5.30), end(DIAMOND, -5.20), end(DIAMOND, -9.0, stop="exploded")]
    merits = space.merits(ends)
    plain = score(ends, space.settings.search)
    assert merits[1] < merits[0]
    assert (merits[:2] <= plain[:2]).all()
    assert np.isinf(merits[2])
    # The cell of the pattern is 1 % larger, and the fit corrects this.
    assert merits[1] - plain[1] < 0.1 * np.log(1 - 0.97**2)


def test_leads_that_fit_are_urgent(pattern):
    space = MeasuredSpace(settings(pattern))

    class Fake:
        def __init__(self, atoms, estimate):
            self.atoms, self.estimate = atoms, estimate

    found = Polymorph(TIN, TIN, -5.3, 0.01, 0.01, "I4_1/amd", 141, 0.0, "symmetric", 9, 3, 1)
    state = LoopState(polymorphs=[found])
    fits, other = Fake(DIAMOND, -5.25), Fake(TIN, -5.25)
    assert space.urgent([other, fits], state) == [fits]
    assert (space.levels([TIN, DIAMOND]) >= 0).all()


def test_the_path_is_kept_whole(pattern, monkeypatch):
    monkeypatch.chdir(pattern.parent)
    assert resolve_settings("Si8", {}, measured__xrd="pattern.xy", measured__wavelength="CuKa").measured.xrd == str(pattern)


@pytest.mark.parametrize(
    ("formula", "options", "message"),
    [
        ("Si8", {"fit_xrd": "pattern.xy"}, "needs the wavelength"),
        ("Si8", {"wavelength": "CuKa"}, "has no effect without a powder pattern"),
        ("Si8", {"neutron": True}, "has no effect without a powder pattern"),
        ("Si8", {"deuterated": True}, "has no effect without a powder pattern"),
        ("Si8", {"fit_xrd": "pattern.xy", "wavelength": "CuKa", "deuterated": True}, "no effect without --neutron"),
        (
            "Si8",
            {"fit_xrd": "pattern.xy", "wavelength": "CuKa", "settings": {"search": {"clear_window": 0}}},
            "search.clear_window has no effect",
        ),
        ("Mg-Si", {"fit_xrd": "pattern.xy", "wavelength": "CuKa"}, "a chemical system"),
        ("Si2", {"fit_xrd": "pattern.xy", "wavelength": "CuKa", "dimensions": 2}, "layers"),
        ("Si8", {"fit_xrd": "pattern.xy", "wavelength": "green"}, "give a length in Å"),
        ("Si8", {"fit_xrd": "pattern.xy", "wavelength": "CuKa", "neutron": True}, "is an X-ray line"),
        ("Si8", {"fit_xrd": "nothing.xy", "wavelength": "CuKa"}, "nothing.xy"),
    ],
)
def test_refused(formula, options, message, pattern, monkeypatch):
    monkeypatch.chdir(pattern.parent)
    with pytest.raises(BadInput, match=message):
        api.search(formula, reference="chgnet", out="run", **options)
    assert not (pattern.parent / "run").exists()


def test_hydrogen_scatters_as_deuterium(pattern):
    """Neutrons see 1H with a negative scattering length, -3.739 fm, and deuterium with a positive one, 6.668 fm."""
    neutrons = {"wavelength": "1.5406", "neutron": True}
    for deuterated, length in ((False, -3.739), (True, 6.668)):
        given = settings(pattern, **neutrons, deuterated=deuterated)
        assert MeasuredSpace(given)._data.radiation.amplitudes(1, np.zeros(1)) == pytest.approx(length, abs=0.002)


def test_the_plan_has_the_pattern(pattern):
    assert isinstance(prepare(settings(pattern)).space, MeasuredSpace)
