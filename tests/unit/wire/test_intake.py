"""How much is read from a peer: the states of its intake, and a turn of the loop."""

import asyncio
from itertools import pairwise

import pytest
from documents import docstring
from fakes import PING, frame
from hypothesis import given
from hypothesis import strategies as st
from tables import illegal_steps, reachable

from relay.core.close import CloseCode
from relay.core.rates import FrameRate
from relay.core.states import IllegalStep, step
from relay.wire import intake
from relay.wire.frame_reader import FRAME_OVERHEAD_BYTES, TURN_BYTES, FrameReader
from relay.wire.intake import STEPS, Intake, IntakeEvent, IntakeState
from relay.wire.state import ConnectionEvent, Lifecycle
from relay.wire.waiting_data import WaitingData

PER_TURN = TURN_BYTES // FRAME_OVERHEAD_BYTES
EMPTY = frame(b"", masked=True)


class Connection(asyncio.Transport):
    """A transport that only knows whether it reads, as uvloop's does."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = True

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


class Reading:
    """An intake whose messages and failures are noted."""

    def __init__(self, waiting_data: WaitingData | None = None) -> None:
        self.connection = Connection()
        self.life = Lifecycle()
        self.messages: list[bytes] = []
        self.codes: list[CloseCode] = []
        frames = FrameReader(FrameRate(200), max_message_bytes=2**20, is_masked=True)
        frames.on_message = self.messages.append
        frames.on_control = lambda _opcode, _payload: None
        self.discarded = 0
        self.intake = Intake(
            self.connection,
            self.life,
            frames,
            fail=self.fail,
            on_discarded=self.discard,
            waiting_data=waiting_data,
        )

    def discard(self) -> None:
        self.discarded += 1

    def fail(self, code: CloseCode) -> None:
        self.codes.append(code)
        self.life.take(ConnectionEvent.FAILED)

    async def turns(self) -> list[int]:
        """Return how many messages were read after each turn, until the transport reads again."""
        counts = [len(self.messages)]
        while not self.connection.reads:
            await asyncio.sleep(0)
            counts.append(len(self.messages))
        return counts


@pytest.mark.parametrize(("before", "event"), illegal_steps(STEPS, IntakeState, IntakeEvent))
def test_an_illegal_step_raises(before: IntakeState, event: IntakeEvent) -> None:
    with pytest.raises(IllegalStep, match=rf"intake.*{event.name}.*{before.name}"):
        step("intake", STEPS, before, event)


def test_every_state_is_reachable_and_every_state_leads_to_the_end() -> None:
    assert reachable(STEPS, IntakeState.READING) == set(IntakeState)
    for before in IntakeState:
        assert IntakeState.STOPPED in reachable(STEPS, before)


def test_the_drawing_has_every_name() -> None:
    for name in (*IntakeState, *IntakeEvent):
        assert name.name in docstring(intake)


async def test_many_frames_are_read_in_many_turns() -> None:
    reading = Reading()
    reading.intake.feed_data(EMPTY * 1000)
    counts = await reading.turns()

    assert len(reading.messages) == 1000
    assert max(after - before for before, after in pairwise(counts)) <= PER_TURN
    assert reading.intake.state is IntakeState.READING


async def test_many_bytes_end_the_turn() -> None:
    reading = Reading()
    reading.intake.feed_data(frame(b"x" * TURN_BYTES * 3, masked=True))

    assert not reading.connection.reads
    await reading.turns()
    assert len(reading.messages) == 1


async def test_a_full_intake_keeps_bytes_that_come_though_it_does_not_read() -> None:
    """After the handshake, aiohttp resumes reading."""
    reading = Reading()
    reading.intake.fill()
    reading.connection.resume_reading()
    reading.intake.feed_data(EMPTY * 3)
    assert (reading.connection.reads, reading.messages) == (False, [])
    reading.intake.drain()
    assert reading.messages == []
    await reading.turns()

    assert reading.messages == [b""] * 3


async def test_a_flood_of_control_frames_is_noted_once_and_then_discarded() -> None:
    reading = Reading()
    for _ in range(4):
        reading.intake.feed_data(frame(b"", PING, masked=True) * 250)
        await reading.turns()

    assert reading.codes == [CloseCode.POLICY_VIOLATION]
    assert reading.discarded == 3


async def test_behind_a_broken_frame_bytes_are_discarded_and_each_turn_is_bounded() -> None:
    reading = Reading()
    reading.intake.feed_data(frame(b"", masked=False) + EMPTY * 1000)
    reading.intake.feed_data(b"x" * TURN_BYTES * 2)
    assert not reading.connection.reads
    await reading.turns()

    assert reading.codes == [CloseCode.PROTOCOL_ERROR]
    assert (reading.messages, reading.discarded) == ([], 1)


@given(st.lists(st.integers(min_value=1, max_value=TURN_BYTES), max_size=40))
def test_while_leaving_a_bounded_number_of_bytes_is_read(sizes: list[int]) -> None:
    asyncio.run(leave(sizes))


async def leave(sizes: list[int]) -> None:
    reading = Reading()
    reading.intake.leave()
    read_bytes = 0
    for size in sizes:
        if reading.connection.reads:
            read_bytes += size
            reading.intake.feed_data(EMPTY * (size // len(EMPTY) + 1))

    assert reading.connection.reads or read_bytes > TURN_BYTES - len(sizes) * len(EMPTY)
    assert read_bytes < 2 * TURN_BYTES


async def test_a_full_intake_that_leaves_reads_on() -> None:
    reading = Reading()
    reading.intake.fill()
    reading.intake.feed_data(EMPTY)
    reading.intake.leave()

    assert reading.connection.reads
    assert reading.messages == [b""]


async def test_nothing_is_paused_or_resumed_once_the_connection_is_lost() -> None:
    reading = Reading()
    reading.intake.feed_data(EMPTY * 1000)
    reading.life.take(ConnectionEvent.TCP_CLOSED)
    await asyncio.sleep(0)
    reading.intake.drain()
    reading.intake.end()

    assert not reading.connection.reads
    assert reading.intake.state is IntakeState.STOPPED


async def test_leaving_a_lost_connection_reads_nothing() -> None:
    reading = Reading()
    reading.intake.fill()
    reading.life.take(ConnectionEvent.TCP_CLOSED)
    reading.intake.leave()

    assert not reading.connection.reads


async def test_of_all_unfinished_messages_together_the_longest_is_given_up() -> None:
    data = WaitingData(500_000)
    first, second, third = Reading(data), Reading(data), Reading(data)
    message = frame(b"x" * 300_000, masked=True)
    first.intake.feed_data(message[:100_000])
    second.intake.feed_data(message[:-1])
    await second.turns()
    second.intake.feed_data(message[-1:])
    assert second.messages == [b"x" * 300_000]
    second.intake.feed_data(message[:250_000])
    third.intake.feed_data(message[:200_000])

    assert (first.codes, second.codes, third.codes) == ([], [CloseCode.MESSAGE_TOO_BIG], [])
    await first.turns()
    first.intake.feed_data(message[100_000:])
    await first.turns()
    assert first.messages == [b"x" * 300_000]


async def test_a_lost_connection_holds_nothing() -> None:
    data = WaitingData(500_000)
    for _ in range(10):
        reading = Reading(data)
        reading.intake.feed_data(frame(b"x" * 300_000, masked=True)[:200_000])
        assert reading.codes == []
        reading.intake.end()


async def test_an_unfinished_message_needs_no_common_limit() -> None:
    reading = Reading()
    reading.intake.feed_data(frame(b"x" * 300_000, masked=True)[:200_000])

    assert reading.codes == []


async def test_a_peer_that_has_closed_is_not_broken_for_the_bytes_that_it_held() -> None:
    """Its Close came in a later turn, between the fragments of its message."""
    data = WaitingData(500_000)
    closed, other = Reading(data), Reading(data)
    closed.intake.feed_data(frame(b"x" * 300_000, masked=True, final=False))
    closed.life.take(ConnectionEvent.CLOSE_RECEIVED)
    other.intake.feed_data(frame(b"x" * 250_000, masked=True, final=False))

    assert (closed.codes, other.codes) == ([], [])
    await other.turns()
    assert other.intake.state is IntakeState.READING
