"""Tests of the rates of session starts, and of a client's messages. Time is an argument."""

from collections.abc import Iterable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.close import CloseCode
from relay.core.errors import RateLimitExceeded
from relay.core.rates import BYTES_PER_EVENT, MAX_PAUSE_SECONDS, Pace, Starts


def starts_at(times: Iterable[float], per_minute: float) -> list[float]:
    """Return the times at which a client starts a session, if it tries at all these times."""
    starts, admitted = Starts(), []
    for now in times:
        try:
            starts.start("kiosk", per_minute, now)
        except RateLimitExceeded:
            continue
        admitted.append(now)
    return admitted


def test_a_minute_has_at_most_the_allowed_starts() -> None:
    assert starts_at([0, 1, 2, 3, 59.9, 60, 60.5, 61], per_minute=3) == [0, 1, 2, 60, 61]


@given(
    st.lists(st.floats(0, 300), max_size=60).map(sorted),
    st.integers(1, 10),
)
def test_no_minute_has_more_starts_from_any_moment_on(times: list[float], per_minute: int) -> None:
    admitted = starts_at(times, per_minute)

    for first, one_too_many in zip(admitted, admitted[per_minute:], strict=False):
        assert one_too_many - first >= 60 - 1e-9


@given(st.lists(st.floats(0, 300), max_size=40).map(sorted), st.floats(0.1, 10))
def test_a_start_after_retry_after_is_admitted(times: list[float], per_minute: float) -> None:
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


def test_a_refusal_has_the_seconds_to_wait_and_does_not_count() -> None:
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
def test_a_fraction_changes_the_length_of_the_window(
    per_minute: float, admitted: list[float]
) -> None:
    tries = [0.0, 1, 2, 47, 48, 49, 50, 96, 120, 121, 240]

    assert starts_at(tries, per_minute)[: len(admitted)] == admitted


def test_each_client_has_a_minute_of_its_own() -> None:
    starts = Starts()
    starts.start("kiosk", 1, now=0)

    starts.start("phone", 1, now=0)


def test_a_lowered_limit_counts_the_earlier_starts() -> None:
    starts = Starts()
    for now in (0, 10, 20):
        starts.start("kiosk", 3, now)

    with pytest.raises(RateLimitExceeded) as refusal:
        starts.start("kiosk", 1, now=30)

    assert refusal.value.retry_after_seconds == 50


def pace() -> Pace:
    return Pace(audio_rate=2, audio_burst_seconds=120, events_per_second=200)


def drive(times_real: float, seconds: float) -> tuple[float, float]:
    """Send audio at ``times_real`` times real time, with the pauses of the pace.

    Return the time when everything was read, and the sum of the pauses, in seconds.
    """
    stepped, now, waited = pace(), 0.0, 0.0
    for sent in range(int(seconds * 10)):
        now = max(now, sent / 10 / times_real)
        wait = stepped.wait_seconds(now, audio_seconds=0.1)
        now, waited = now + wait, waited + wait
    return now, waited


@pytest.mark.parametrize("times_real", [1, 2])
def test_a_client_within_the_rate_never_waits(times_real: float) -> None:
    assert drive(times_real, seconds=3600)[1] == 0


def test_a_burst_is_read_at_once() -> None:
    stepped = pace()

    assert all(stepped.wait_seconds(n / 20, audio_seconds=1) == 0 for n in range(120))


def test_fifty_times_real_time_is_limited_to_the_rate_after_the_burst() -> None:
    read_after, _ = drive(50, seconds=1000)

    assert read_after == pytest.approx((1000 - 120) / 2, abs=1)


def test_one_message_beyond_the_burst_waits_for_the_excess() -> None:
    assert pace().wait_seconds(0, audio_seconds=130) == pytest.approx(5)


def test_the_burst_is_available_again_after_a_pause() -> None:
    stepped = pace()
    stepped.wait_seconds(0, audio_seconds=120)

    assert stepped.wait_seconds(30, audio_seconds=60) == pytest.approx(0)
    assert stepped.wait_seconds(1000, audio_seconds=121) == pytest.approx(0.5)


def test_a_flood_of_events_is_limited_to_the_rate_after_one_second_of_them() -> None:
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


def test_an_event_counts_once_more_for_each_kibibyte_of_text() -> None:
    stepped = pace()
    waits = [stepped.wait_seconds(0, text_bytes=BYTES_PER_EVENT) for _ in range(200)]

    assert waits[99] == pytest.approx(0)
    assert waits[199] == pytest.approx(1)


@given(
    st.lists(
        st.tuples(st.floats(0, 5), st.floats(0, 30)),
        min_size=1,
        max_size=50,
    )
)
def test_no_period_has_more_audio_than_rate_and_burst(
    sent: list[tuple[float, float]],
) -> None:
    """The last message may exceed the limit, since nothing is refused."""
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


def test_one_pause_is_limited_and_the_rest_of_the_wait_follows() -> None:
    """A message of 16 MiB can hold 26 minutes of telephone audio."""
    pace = Pace(audio_rate=2, audio_burst_seconds=120, events_per_second=200)

    assert pace.wait_seconds(1000, audio_seconds=220) == MAX_PAUSE_SECONDS
    left = pace.wait_seconds(1000 + MAX_PAUSE_SECONDS, audio_seconds=0.02)
    assert left == pytest.approx(20.01)
