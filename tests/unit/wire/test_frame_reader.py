"""The reader of frames: messages, control frames, and every way to break the protocol."""

import struct
from itertools import accumulate, pairwise, repeat

import pytest
from fakes import BINARY, CLOSE, PING, PONG, TEXT, frame
from hypothesis import given
from hypothesis import strategies as st

from relay.core.close import SENDABLE
from relay.core.messages import Binary
from relay.core.rates import LEAST_FRAME_BURST, FrameRate
from relay.wire.broken_protocol import BrokenProtocol
from relay.wire.frame_reader import (
    FRAME_OVERHEAD_BYTES,
    SMALL_FRAGMENT_BYTES,
    TURN_BYTES,
    FrameReader,
    read_close,
)
from relay.wire.frames import encode, mask_keys

MAX_BYTES = 100_000

texts = st.text(max_size=300).map(str.encode)
payloads = st.one_of(st.binary(max_size=300), st.binary(min_size=65_530, max_size=65_540))


class Reading:
    """A reader that notes what it passes on."""

    def __init__(
        self, *, is_masked: bool = True, per_second: float = 200, limit: int = MAX_BYTES
    ) -> None:
        self.frames = FrameReader(
            FrameRate(per_second), max_message_bytes=limit, is_masked=is_masked
        )
        self.noted: list[tuple[int, bytes]] = []
        self.frames.on_message = self.note_message
        self.frames.on_control = lambda opcode, payload: self.noted.append((opcode, payload))

    def note_message(self, message: bytes) -> None:
        self.noted.append((BINARY if isinstance(message, Binary) else TEXT, bytes(message)))

    def read(self, data: bytes, now: float = 0.0) -> None:
        """Read bytes, and the rest of them in later turns; each turn reads a frame."""
        self.frames.read(data, now)
        while self.frames.has_more and not self.frames.is_stopped:
            before = len(self.frames._rest)
            self.frames.read(b"", now)
            assert len(self.frames._rest) < before or not self.frames.has_more


def read_all(data: bytes, **how: bool) -> list[tuple[int, bytes]]:
    reading = Reading(**how)
    reading.read(data)
    return reading.noted


@given(st.lists(st.tuples(st.sampled_from([TEXT, BINARY]), texts), max_size=5), st.booleans())
def test_messages_are_read_as_they_were_written(
    messages: list[tuple[int, bytes]],
    is_masked: bool,  # noqa: FBT001  # Hypothesis passes it by position
) -> None:
    keys = mask_keys() if is_masked else repeat(None)
    data = b"".join(encode(opcode, body, next(keys)) for opcode, body in messages)

    assert read_all(data, is_masked=is_masked) == messages


@given(payloads, st.lists(st.integers(min_value=0, max_value=70_000), max_size=8))
def test_it_does_not_matter_how_the_bytes_are_cut(payload: bytes, cuts: list[int]) -> None:
    data = (
        frame(b"ping", PING, masked=True)
        + frame(payload, BINARY, masked=True)
        + frame(b"", PONG, masked=True)
        + frame("é".encode(), masked=True)
    )
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    reading = Reading()
    for begin, end in pairwise(places):
        reading.read(data[begin:end])

    assert reading.noted == [
        (PING, b"ping"),
        (BINARY, payload),
        (PONG, b""),
        (TEXT, "é".encode()),
    ]


@given(
    st.lists(st.sampled_from([0, 1, 200, 40_000, 65_400, 66_000]), max_size=8),
    st.lists(st.integers(min_value=1, max_value=200_000), max_size=8),
)
def test_no_frame_waits_for_bytes_that_it_does_not_need(sizes: list[int], cuts: list[int]) -> None:
    """After each read, only a frame that is not complete may be left."""
    data = b"".join(frame(b"x" * size, masked=True) for size in sizes)
    ends = [*accumulate(len(frame(b"x" * size, masked=True)) for size in sizes)]
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    reading = Reading()
    for begin, end in pairwise(places):
        reading.read(data[begin:end])
        assert len(reading.noted) == sum(complete <= end for complete in ends)


@given(st.lists(texts, min_size=1, max_size=6), st.sampled_from([TEXT, BINARY]))
def test_fragments_are_joined_and_control_frames_may_come_between_them(
    parts: list[bytes], opcode: int
) -> None:
    last = len(parts) - 1
    data = b"".join(
        frame(part, 0 if index else opcode, masked=True, final=index == last)
        + (frame(b"", PING, masked=True) if index < last else b"")
        for index, part in enumerate(parts)
    )

    assert read_all(data) == [(PING, b"")] * last + [(opcode, b"".join(parts))]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(b"x", masked=False), 1002),
        (frame(b"x", PING, masked=False), 1002),
        (bytes([0x81 | 0x10, 0x81]), 1002),
        (frame(b"", 0, masked=True), 1002),
        (frame(b"", masked=True, final=False) + frame(b"", masked=True), 1002),
        (frame(b"", masked=True, final=False) + frame(b"", BINARY, masked=True, final=False), 1002),
        (frame(b"x" * (MAX_BYTES + 1), masked=True)[:10], 1009),
        (frame(b"\xff", 0, masked=True, final=False), 1002),
        (frame(b"\xc3", masked=True, final=False) + frame(b"", 0, masked=True), 1007),
    ],
)
def test_a_peer_that_breaks_the_protocol_gets_the_code_for_it(data: bytes, code: int) -> None:
    with pytest.raises(BrokenProtocol) as broken:
        read_all(data)
    assert broken.value.code == code


def test_a_masked_frame_of_a_server_breaks_the_protocol() -> None:
    with pytest.raises(BrokenProtocol) as broken:
        read_all(frame(b"x", masked=True), is_masked=False)
    assert broken.value.code == 1002


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_break_the_protocol(data: bytes) -> None:
    broken = None
    try:
        read_all(data)
    except BrokenProtocol as error:
        broken = error.code
    assert broken in {None, 1002, 1007, 1009}


@pytest.mark.parametrize(
    "one",
    [
        frame(b"", PING, masked=True),
        frame(b"", PONG, masked=True),
        frame(b"", 0, masked=True, final=False),
        frame(b"x" * (SMALL_FRAGMENT_BYTES - 1), 0, masked=True, final=False),
    ],
    ids=["pings", "pongs", "empty fragments", "small fragments"],
)
def test_frames_without_a_message_beyond_their_rate_break_the_protocol(one: bytes) -> None:
    reading = Reading(per_second=50)
    reading.read(frame(b"", masked=True, final=False), now=1000)
    reading.read(one * 49, now=1000)
    reading.read(one * 25, now=1000.5)
    with pytest.raises(BrokenProtocol) as broken:
        reading.read(one, now=1000.5)

    assert broken.value.code == 1008


def test_long_fragments_and_messages_have_no_rate_here() -> None:
    reading = Reading(per_second=1, limit=2**30)
    reading.read(frame(b"", masked=True, final=False))
    reading.read(frame(b"x" * SMALL_FRAGMENT_BYTES, 0, masked=True, final=False) * 500)
    reading.read(frame(b"", 0, masked=True) + frame(b"", masked=True) * 1000)

    assert len(reading.noted) == 1001


@given(st.floats(min_value=0.1, max_value=1000))
def test_some_frames_may_always_come_at_once(per_second: float) -> None:
    rate = FrameRate(per_second)

    assert not any(rate.is_exceeded(500.0) for _ in range(LEAST_FRAME_BURST - 1))
    assert any(rate.is_exceeded(500.0) for _ in range(max(LEAST_FRAME_BURST, int(per_second)) + 2))


def test_one_turn_reads_a_bounded_number_of_frames() -> None:
    reading = Reading()
    reading.frames.read(frame(b"", masked=True) * 1000, now=0)
    most = TURN_BYTES // FRAME_OVERHEAD_BYTES

    assert reading.frames.has_more
    assert 0 < len(reading.noted) <= most
    reading.read(b"")
    assert len(reading.noted) == 1000


def test_a_reader_that_is_stopped_reads_no_frame_more() -> None:
    reading = Reading()

    def stop(_message: bytes) -> None:
        reading.frames.is_stopped = True

    reading.frames.on_message = stop
    reading.frames.read(frame(b"1", masked=True) + frame(b"", PING, masked=True), now=0)
    assert reading.frames.has_more
    reading.frames.keep(frame(b"", PONG, masked=True))
    assert reading.noted == []
    reading.frames.is_stopped = False
    reading.frames.read(b"", now=0)
    assert reading.noted == [(PING, b""), (PONG, b"")]


def test_nothing_is_read_behind_a_close() -> None:
    reading = Reading()
    reading.frames.read(frame(b"", CLOSE, masked=True) + frame(b"late", masked=True), now=0)

    assert reading.noted == [(CLOSE, b"")]
    assert reading.frames.has_more
    reading.frames.discard()
    assert not reading.frames.has_more


@given(st.integers(min_value=0, max_value=65_535), st.text(max_size=40))
def test_a_close_has_a_code_that_may_be_sent(code: int, reason: str) -> None:
    payload = struct.pack("!H", code) + reason.encode()
    if code in SENDABLE:
        assert read_close(payload) == (code, reason)
        return
    with pytest.raises(BrokenProtocol) as broken:
        read_close(payload)
    assert broken.value.code == 1002


@pytest.mark.parametrize("is_final", [True, False])
def test_a_reader_states_that_much_of_a_message_waits_for_its_rest(*, is_final: bool) -> None:
    reading = Reading(limit=2**20)
    data = frame(b"x" * 99_000, masked=True, final=is_final)
    stated, held = [], []
    for part in (data[:TURN_BYTES], data[TURN_BYTES:-1], data[-1:]):
        reading.read(part)
        stated.append(reading.frames.holds_much)
        held.append(reading.frames.held_bytes())
    assert stated == [False, True, True]
    assert held == [TURN_BYTES, len(data) - 1, 0 if is_final else 99_000]

    if not is_final:
        reading.read(frame(b"", 0, masked=True))
        assert reading.frames.held_bytes() == 0


def test_a_control_frame_between_fragments_takes_no_room_of_the_message() -> None:
    reading = Reading(limit=100)
    reading.read(frame(b"x" * 90, masked=True, final=False))
    reading.read(frame(b"p" * 100, PING, masked=True))
    reading.read(frame(b"y" * 10, 0, masked=True))

    assert reading.noted == [(PING, b"p" * 100), (TEXT, b"x" * 90 + b"y" * 10)]
