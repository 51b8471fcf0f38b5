"""Liveness of a peer: its pings, its silence, and when to look again."""

from hypothesis import given
from hypothesis import strategies as st

from relay.wire.liveness import RETRIES, Liveness

PING_SECONDS, SILENCE_SECONDS = 20.0, 40.0

times = st.floats(min_value=0, max_value=1e6)
seconds = st.floats(min_value=0.01, max_value=1e4)


def liveness(now: float = 0.0) -> Liveness:
    return Liveness(now, ping_seconds=PING_SECONDS, silence_seconds=SILENCE_SECONDS)


def test_a_peer_is_alive_until_its_silence_is_too_long() -> None:
    peer = liveness()

    assert peer.is_alive(1039.9, received_at=1000)
    assert not peer.is_alive(1040, received_at=1000)


@given(times)
def test_the_silence_of_a_peer_that_is_not_read_means_nothing(now: float) -> None:
    assert liveness().is_alive(now, received_at=None)


def test_a_ping_is_due_after_ping_seconds_and_not_again_before_that() -> None:
    peer = liveness(now=100)

    assert not peer.is_ping_due(119.9)
    assert peer.is_ping_due(120)
    peer.pinged(121)
    assert not peer.is_ping_due(140.9)
    assert peer.is_ping_due(141)


def test_the_next_look_is_at_the_next_ping_or_at_the_end_of_the_silence() -> None:
    peer = liveness(now=100)

    assert peer.next_look(100, received_at=100) == 120
    assert peer.next_look(100, received_at=75) == 115
    assert peer.next_look(100, received_at=None) == 120


def test_a_ping_that_cannot_be_sent_is_tried_again_but_not_at_once() -> None:
    assert liveness().next_look(30, received_at=None) == 30 + PING_SECONDS / RETRIES


@given(times, times, times | st.none(), seconds, seconds)
def test_the_next_look_is_never_at_once(
    pinged_at: float, now: float, received_at: float | None, ping: float, silence: float
) -> None:
    peer = Liveness(pinged_at, ping_seconds=ping, silence_seconds=silence)

    assert peer.next_look(now, received_at) >= now + ping / RETRIES


@given(seconds, st.floats(min_value=1 / RETRIES, max_value=50), times)
def test_a_silent_peer_is_found_at_most_one_retry_late(
    ping: float, silent_pings: float, received_at: float
) -> None:
    silence = ping * silent_pings
    peer, now = Liveness(received_at, ping_seconds=ping, silence_seconds=silence), received_at
    while peer.is_alive(now, received_at):
        if peer.is_ping_due(now):
            peer.pinged(now)
        now = peer.next_look(now, received_at)

    assert silence <= now - received_at <= silence + ping / RETRIES + 1e-6
