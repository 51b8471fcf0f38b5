"""Slow readers: a peer that reads nothing for a while, or that lets too much pile up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.slow_reader import LOOKS, SlowReader

SLOW_SECONDS = 10.0
LOOK_SECONDS = SLOW_SECONDS / LOOKS
AWAY_SECONDS = 40.0

sizes = st.integers(min_value=1, max_value=10**9)


def slow_reader(max_buffered_bytes: int = 1000) -> SlowReader:
    return SlowReader(
        slow_seconds=SLOW_SECONDS,
        away_seconds=AWAY_SECONDS,
        max_buffered_bytes=max_buffered_bytes,
    )


def test_no_look_is_due_before_anything_waits() -> None:
    assert slow_reader().next_look is None


@given(st.floats(min_value=0, max_value=1e6), sizes)
def test_a_peer_that_reads_nothing_is_slow_after_slow_seconds(begun_at: float, size: int) -> None:
    peer = slow_reader()
    peer.begin(begun_at, read_bytes=size)
    now, is_slow = begun_at, False
    while peer.next_look is not None:
        assert not is_slow
        now = peer.next_look
        is_slow = peer.look(now, waiting_bytes=size, read_bytes=0)

    assert is_slow
    assert now - begun_at == pytest.approx(SLOW_SECONDS)


@given(st.lists(sizes, min_size=1))
def test_a_peer_that_reads_a_byte_between_looks_is_never_slow(progress: list[int]) -> None:
    peer = slow_reader()
    peer.begin(0, read_bytes=0)
    now, read_bytes = 0.0, 0
    for more_bytes in progress:
        now += LOOK_SECONDS
        read_bytes += more_bytes
        assert not peer.look(now, waiting_bytes=1, read_bytes=read_bytes)
        assert peer.next_look == now + LOOK_SECONDS


@given(st.lists(st.booleans(), max_size=40))
def test_only_looks_without_progress_one_after_another_make_a_peer_slow(reads: list[bool]) -> None:
    peer = slow_reader()
    peer.begin(0, read_bytes=0)
    read_bytes = idle_looks = 0
    for has_read in reads:
        read_bytes += has_read
        idle_looks = 0 if has_read else idle_looks + 1
        is_slow = peer.look(0, waiting_bytes=1, read_bytes=read_bytes)
        assert is_slow == (idle_looks >= LOOKS)
        if is_slow:
            break


@given(st.integers(min_value=0, max_value=LOOKS - 1))
def test_the_looks_at_a_peer_that_is_away_do_not_count(idle_looks: int) -> None:
    peer = slow_reader()
    peer.begin(0, read_bytes=0)
    away_looks = int(AWAY_SECONDS / LOOK_SECONDS)
    looks = [False] * idle_looks + [True] * away_looks + [False] * (LOOKS - 1 - idle_looks)
    for is_away in looks:
        assert not peer.look(0, waiting_bytes=1, read_bytes=0, is_away=is_away)

    assert peer.look(0, waiting_bytes=1, read_bytes=0)


def test_a_peer_that_only_sends_is_slow_later_than_its_silence_would_end_the_session() -> None:
    peer = slow_reader()
    peer.begin(0, read_bytes=0)
    now, is_slow = 0.0, False
    while peer.next_look is not None:
        assert not is_slow
        now = peer.next_look
        is_slow = peer.look(now, waiting_bytes=1, read_bytes=0, is_away=True)

    assert is_slow
    assert now == SLOW_SECONDS + AWAY_SECONDS


@given(st.lists(st.tuples(sizes, st.booleans()), min_size=1))
def test_a_peer_that_reads_a_byte_is_not_slow_whether_it_is_away_or_not(
    looks: list[tuple[int, bool]],
) -> None:
    peer = slow_reader()
    peer.begin(0, read_bytes=0)
    read_bytes = 0
    for more_bytes, is_away in looks:
        read_bytes += more_bytes
        assert not peer.look(0, waiting_bytes=1, read_bytes=read_bytes, is_away=is_away)


def test_a_look_that_comes_late_counts_once() -> None:
    peer = slow_reader()
    peer.begin(0, read_bytes=0)

    assert not peer.look(1000 * SLOW_SECONDS, waiting_bytes=1, read_bytes=0)


def test_the_looks_end_when_nothing_waits() -> None:
    peer = slow_reader()
    peer.begin(0, read_bytes=0)
    for _ in range(LOOKS):
        assert not peer.look(0, waiting_bytes=0, read_bytes=0)
        assert peer.next_look is None


def test_looks_that_begin_again_count_from_zero() -> None:
    peer = slow_reader()
    for _ in range(3):
        peer.begin(0, read_bytes=0)
        for _ in range(LOOKS - 1):
            assert not peer.look(0, waiting_bytes=1, read_bytes=0)


@given(sizes, sizes)
def test_the_message_that_waits_for_room_does_not_count_as_piled_up(bound: int, size: int) -> None:
    peer = slow_reader(max_buffered_bytes=bound)
    assert not peer.has_piled_up(bound)
    assert peer.has_piled_up(bound + 1)

    peer.in_flight_bytes = size
    assert not peer.has_piled_up(bound + size)
    assert peer.has_piled_up(bound + size + 1)
