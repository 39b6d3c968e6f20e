import signal
import time

import pytest

from nucleate.processes.limits import OutOfTime, available_cores, time_limit


@pytest.fixture(autouse=True)
def others_alarm():
    """The alarm of pytest-timeout must be the same after each test."""
    before = signal.getsignal(signal.SIGALRM)
    yield
    assert signal.getsignal(signal.SIGALRM) is before


def test_code_is_stopped_at_the_limit():
    began = time.monotonic()
    with pytest.raises(OutOfTime), time_limit(0.1):
        time.sleep(5)
    assert 0.1 <= time.monotonic() - began < 2


def test_code_that_catches_every_exception_is_stopped_all_the_same():
    def stubborn():
        while True:
            try:
                time.sleep(0.01)
            except Exception:
                continue

    with pytest.raises(OutOfTime), time_limit(0.1):
        stubborn()


def test_an_alarm_that_was_swallowed_comes_again():
    def deaf():
        try:
            time.sleep(5)
        except BaseException:
            time.sleep(5)

    began = time.monotonic()
    with pytest.raises(OutOfTime), time_limit(0.1):
        deaf()
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("seconds", [None, 0.2])
def test_nothing_is_raised_after_the_block(seconds):
    with time_limit(seconds):
        result = 1 + 1
    time.sleep(0.3)
    assert result == 2


def test_errors_of_the_code_pass():
    with pytest.raises(ValueError, match="own"), time_limit(1.0):
        raise ValueError("own")


def test_the_time_of_an_outer_limit_goes_on():
    def many_blocks():
        for _ in range(50):
            with time_limit(10.0):
                time.sleep(0.05)

    began = time.monotonic()
    with pytest.raises(OutOfTime), time_limit(0.3):
        many_blocks()
    assert time.monotonic() - began < 1


def test_there_is_a_core():
    assert available_cores() >= 1
