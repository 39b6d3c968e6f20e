"""Settings in two texts are compared as settings."""

import pytest

from nucleate.persist.toml import same_settings, to_toml
from nucleate.training.settings import FitSettings

NOW = to_toml(FitSettings(steps=7))
SOURCE = '\n[source]\ndigest = "a"\n'


@pytest.mark.parametrize(
    ("kept", "same"),
    [
        (NOW + SOURCE, True),
        ("steps = 7" + SOURCE, True),
        ("# by hand\nsteps   = 7" + SOURCE, True),
        (SOURCE, False),
        ("steps = 8" + SOURCE, False),
        ("steps = 7", False),
        ("steps = 7" + SOURCE.replace("a", "b"), False),
        ("steps = 7\nwings = 2" + SOURCE, False),
        ("steps = ", False),
        ("\x00", False),
        ("a = " + "[" * 5000, False),
        ("source = 3", False),
    ],
)
def test_texts(kept, same):
    assert same_settings(FitSettings, kept, NOW + SOURCE, "source") is same
