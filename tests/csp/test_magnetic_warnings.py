"""A magnetic element on a reference without moments: the user is told before the first calculation."""

import pytest

from nucleate.csp.loop import Search
from nucleate.csp.plan import prepare
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.run_settings import settings_from_dict
from nucleate.persist.toml import to_toml
from nucleate.progress import Note
from tests.csp.heisenberg import Heisenberg


class Engine(Heisenberg):
    surrogate = False


@pytest.mark.parametrize("moments", [{}, {"Fe": 2.5}])
def test_warning_comes_before_the_first_call(tmp_path, moments):
    settings = settings_from_dict(
        {"formula": "Fe2", "reference": {"workers": 0, "magnetic_moments": moments}, "search": {"pool": 4, "first_batch": 2}}
    )
    toy, notes = Engine(fails=lambda atoms: stopped()), []

    def stopped():
        raise SystemExit

    def heard(event, /):
        if isinstance(event, Note):
            notes.append((event.text, toy.calls))

    with RunFolder.create(tmp_path / "run", to_toml(settings)) as run, pytest.raises(Exception, match="all 2 calculations"):
        Search(run, prepare(settings, toy), progress=heard).run()
    assert toy.calls == 2
    expected = [] if moments else [("Fe may be magnetic, but starts without a moment; set reference.magnetic_moments", 0)]
    assert notes == expected
