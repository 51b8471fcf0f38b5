"""The lag of the event loop: the median decides, a single pause does not. Time is an argument."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.lag import Lag


def with_samples(samples: Iterable[tuple[float, float]]) -> Lag:
    """Return a lag with these samples: when, and how late."""
    lag = Lag()
    for now, seconds in samples:
        lag.sample(now, seconds)
    return lag


def steady(seconds: float, until: float = 10.0) -> list[tuple[float, float]]:
    """Return a sample of ``seconds`` every 0.1 s."""
    return [(n / 10, seconds) for n in range(int(until * 10) + 1)]


@pytest.mark.parametrize(("seconds", "above"), [(0.0, False), (0.1, False), (0.101, True)])
def test_the_median_of_the_window_is_compared_with_the_limit(seconds: float, above: bool) -> None:  # noqa: FBT001  # parametrized
    assert with_samples(steady(seconds)).is_above(100, 10.0) is above


def test_without_a_limit_no_lag_is_above() -> None:
    assert not with_samples(steady(60)).is_above(None, 10.0)


def test_old_samples_do_not_count() -> None:
    lag = with_samples(steady(1.0))
    assert lag.is_above(100, 10.0)
    for n in range(1, 21):
        lag.sample(10 + n / 10, 0.0)

    assert lag.worst_seconds(12.0) == 0.0
    assert not lag.is_above(100, 12.0)


@given(st.floats(0, 3600))
def test_a_single_pause_never_counts(pause: float) -> None:
    """Also not a pause that is longer than the window, whose sample is the only one in it."""
    after = 10 + pause
    lag = with_samples([*steady(0.01), (after, pause)])

    assert not lag.is_above(100, after)
    assert lag.worst_seconds(after) == max(pause, 0.01 if after < 12 else 0)


def test_a_pause_at_the_start_does_not_count() -> None:
    assert not with_samples([(45.0, 45.0)]).is_above(100, 45.0)
    assert not with_samples([(45.0, 45.0), (45.1, 45.0)]).is_above(100, 45.1)


def test_a_loop_whose_turns_are_longer_than_the_window_lags() -> None:
    assert with_samples((3.0 * n, 2.9) for n in range(5)).is_above(100, 12.0)


def test_two_pauses_do_not_count() -> None:
    lag = with_samples([*steady(0.01), (11.0, 0.9), (11.1, 0.01), (12.1, 0.9)])

    assert not lag.is_above(100, 13.0)


def test_without_a_sample_there_is_no_lag() -> None:
    assert Lag().worst_seconds(5.0) == 0.0
    assert not Lag().is_above(100, 5.0)


def test_a_late_sample_is_late_until_the_next() -> None:
    lag = Lag()
    assert not lag.is_late(50)
    lag.sample(1.0, 0.06)
    assert lag.is_late(50)
    lag.sample(1.1, 0.05)
    assert not lag.is_late(50)
