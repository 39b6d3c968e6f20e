"""Events: what a log line holds, and how phases are renamed."""

import json
from dataclasses import FrozenInstanceError

import pytest

from nucleate.csp import events as csp_events
from nucleate.progress import LoggedEvent, Note, Stage, Step, in_phase
from nucleate.training import events as training_events


def logged(module):
    return [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, LoggedEvent) and c is not LoggedEvent]


@pytest.mark.parametrize("module", [csp_events, training_events])
def test_every_logged_event_has_a_kind_of_its_own(module):
    kinds = [event.kind for event in logged(module)]
    assert len(kinds) == len(set(kinds)) >= 6


def test_a_log_line_holds_the_fields():
    event = csp_events.PolymorphConfirmed(-5.3, "Fd-3m", 8, 1)
    assert json.loads(json.dumps(event.facts())) == {"energy": -5.3, "space_group": "Fd-3m", "calls": 8, "round": 1, "formula": ""}
    with pytest.raises(FrozenInstanceError):
        event.energy = 0.0


def test_a_phase_is_renamed_and_other_events_pass():
    events = []
    progress = in_phase("relaxing the pool", events.append)
    step = training_events.OptimiserStep("training", 1, 2, 0.5, 1e-3)
    for event in (Step("relaxing", 1, 4), step, Note("text"), Stage("bands")):
        progress(event)
    assert events == [
        Step("relaxing the pool", 1, 4),
        training_events.OptimiserStep("relaxing the pool", 1, 2, 0.5, 1e-3),
        Note("text"),
        Stage("bands"),
    ]
