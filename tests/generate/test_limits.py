"""Settings that no cell can satisfy, or hardly any, end in a message within seconds."""

import time

import numpy as np
import pytest

from nucleate.errors import GenerationFailed
from nucleate.generate import GenerateSettings, make_generator
from nucleate.generate.wyckoff import GroupSites, SiteFilling


@pytest.mark.parametrize(("pair", "distance"), [pytest.param("Al-O", 20.0, marks=pytest.mark.slow), ("Al-O", 4.0)])
def test_distances_that_no_cell_keeps(pair, distance):
    generator = make_generator({"Al": 4, "O": 6}, GenerateSettings(workers=1, min_distance={pair: distance}))
    began = time.monotonic()
    with pytest.raises(GenerationFailed, match="min_distance"):
        generator.propose(20, np.random.default_rng(0))
    assert time.monotonic() - began < 40  # 10 on an idle machine


def test_own_settings_are_told_from_estimates():
    assert GenerateSettings(space_groups=(2, 225), workers=1).estimated
    assert not GenerateSettings(min_distance={"Al-O": 2.0}).estimated
    assert not GenerateSettings(volume_range=(0.5, 1.0)).estimated


def test_a_group_without_sites_holds_nothing():
    group = GroupSites(217, "I-43m", (), np.eye(3)[None], np.zeros((1, 3)))
    assert SiteFilling(group, (1,)).draw(np.random.default_rng(0)) is None
