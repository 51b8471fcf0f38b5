"""Rates: how often sessions start, and how fast a client may talk. Time is an argument."""

from collections.abc import Iterable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.close import CloseCode
from relay.core.errors import RateLimitExceeded
from relay.core.rates import Pace, Starts


def starts_at(times: Iterable[float], per_minute: float) -> list[float]:
    """Return when a client that tries at these times is let in."""
    starts, admitted = Starts(), []
    for now in times:
        try:
            starts.start("kiosk", per_minute, now)
        except RateLimitExceeded:
            continue
        admitted.append(now)
    return admitted


def test_a_minute_holds_so_many_starts_and_no_more() -> None:
    assert starts_at([0, 1, 2, 3, 59.9, 60, 60.5, 61], per_minute=3) == [0, 1, 2, 60, 61]


@given(
    st.lists(st.floats(0, 300), max_size=60).map(sorted),
    st.integers(1, 10),
)
def test_no_minute_whenever_it_begins_holds_more(times: list[float], per_minute: int) -> None:
    admitted = starts_at(times, per_minute)

    for first, one_too_many in zip(admitted, admitted[per_minute:], strict=False):
        assert one_too_many - first >= 60 - 1e-9


@given(st.lists(st.floats(0, 300), max_size=40).map(sorted), st.floats(0.1, 10))
def test_who_comes_back_after_retry_after_gets_in(times: list[float], per_minute: float) -> None:
    starts = Starts()
    with suppress(RateLimitExceeded):
        for now in times:
            starts.start("kiosk", per_minute, now)
        now = 301.0
        while True:
            starts.start("kiosk", per_minute, now)

    with pytest.raises(RateLimitExceeded) as refusal:
        starts.start("kiosk", per_minute, now)
    wait_seconds = refusal.value.retry_after_seconds

    assert wait_seconds
    starts.start("kiosk", per_minute, now + wait_seconds + 1e-6)


def test_a_refusal_says_when_to_come_back_and_does_not_count() -> None:
    starts = Starts()
    starts.start("kiosk", 1, now=0)

    with pytest.raises(RateLimitExceeded):
        starts.start("kiosk", 1, now=10)
    with pytest.raises(RateLimitExceeded) as refusal:
        starts.start("kiosk", 1, now=20.5)
    starts.start("kiosk", 1, now=60)

    assert refusal.value.retry_after_seconds == 40
    assert (refusal.value.status, refusal.value.close_code) == (429, CloseCode.TOO_MANY)
    assert refusal.value.body()["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize(
    ("per_minute", "admitted"), [(0.5, [0, 120, 240]), (2.5, [0, 1, 48, 49, 96])]
)
def test_a_fraction_is_whole_starts_in_a_longer_or_shorter_while(
    per_minute: float, admitted: list[float]
) -> None:
    tries = [0.0, 1, 2, 47, 48, 49, 50, 96, 120, 121, 240]

    assert starts_at(tries, per_minute)[: len(admitted)] == admitted


def test_each_client_has_a_minute_of_its_own() -> None:
    starts = Starts()
    starts.start("kiosk", 1, now=0)

    starts.start("phone", 1, now=0)


def test_a_limit_that_was_lowered_counts_the_starts_there_were() -> None:
    starts = Starts()
    for now in (0, 10, 20):
        starts.start("kiosk", 3, now)

    with pytest.raises(RateLimitExceeded) as refusal:
        starts.start("kiosk", 1, now=30)

    assert refusal.value.retry_after_seconds == 50


def pace() -> Pace:
    return Pace(audio_rate=2, audio_burst_seconds=120, events_per_second=200)


def drive(times_real: float, seconds: float) -> tuple[float, float]:
    """Let a client push audio at so many times real time, waiting as it is told.

    Returns when everything was read, and how long it waited.
    """
    stepped, now, waited = pace(), 0.0, 0.0
    for sent in range(int(seconds * 10)):
        now = max(now, sent / 10 / times_real)
        wait = stepped.wait_seconds(now, audio_seconds=0.1)
        now, waited = now + wait, waited + wait
    return now, waited


@pytest.mark.parametrize("times_real", [1, 2])
def test_who_speaks_within_the_rate_never_waits(times_real: float) -> None:
    assert drive(times_real, seconds=3600)[1] == 0


def test_a_burst_is_read_at_once() -> None:
    stepped = pace()

    assert all(stepped.wait_seconds(n / 20, audio_seconds=1) == 0 for n in range(120))


def test_fifty_times_real_time_is_held_to_the_rate_after_the_burst() -> None:
    read_after, _ = drive(50, seconds=1000)

    assert read_after == pytest.approx((1000 - 120) / 2, abs=1)


def test_one_message_beyond_the_burst_waits_for_what_is_beyond() -> None:
    assert pace().wait_seconds(0, audio_seconds=130) == pytest.approx(5)


def test_the_burst_is_there_again_after_a_pause() -> None:
    stepped = pace()
    stepped.wait_seconds(0, audio_seconds=120)

    assert stepped.wait_seconds(30, audio_seconds=60) == pytest.approx(0)
    assert stepped.wait_seconds(1000, audio_seconds=121) == pytest.approx(0.5)


def test_a_flood_of_events_is_held_to_the_rate_after_a_second_s_worth() -> None:
    stepped, now = pace(), 0.0
    waits = []
    for _ in range(1000):
        waits.append(stepped.wait_seconds(now))
        now += waits[-1]

    assert max(waits[:200]) == pytest.approx(0)
    assert now == pytest.approx((1000 - 200) / 200)


def test_audio_counts_as_an_event_too() -> None:
    stepped = pace()
    waits = [stepped.wait_seconds(0, audio_seconds=0.001) for _ in range(300)]

    assert waits[-1] == pytest.approx(0.5)


@given(
    st.lists(
        st.tuples(st.floats(0, 5), st.floats(0, 30)),
        min_size=1,
        max_size=50,
    )
)
def test_in_no_stretch_of_time_is_more_read_than_rate_and_burst(
    sent: list[tuple[float, float]],
) -> None:
    """A message that is read when there is room may itself reach beyond: nothing is refused."""
    stepped, now = pace(), 0.0
    read: list[tuple[float, float]] = []
    for gap, audio_seconds in sent:
        now += gap
        read.append((now, audio_seconds))
        now += stepped.wait_seconds(now, audio_seconds)

    for i, (start, _) in enumerate(read):
        for j in range(i, len(read)):
            before_last = sum(audio for _, audio in read[i:j])
            assert before_last <= 120 + 2 * (read[j][0] - start) + 1e-6
