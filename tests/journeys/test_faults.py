"""Faults in the middle of a session: both sides get a code and a reason within a second.

A test with ``server`` runs over TCP and over TLS, because the relay then closes in another way.
"""

import asyncio
import json
import struct
from pathlib import Path
from typing import Any

import pytest
import websockets
from certificates import issue
from fakes import BINARY, TEXT, Call, Wire, frame, listens
from relays import receive, relaying, send
from rude_relays import relaying_rudely, relaying_to_a_full_upstream
from scripts import (
    APPEND,
    AT_ANY_RATE,
    SMALL_BUFFER_BYTES,
    WireScript,
    aborts,
    answers_no_ping,
    blocked,
    events_and_close_code,
    half_closes,
    hangs_up,
    receives,
    resets,
    streaming,
)

from relay.app import RELAY
from relay.core.commands import Side
from relay.core.session import Session
from relay.ledger.accounts import Accounts
from relay.ledger.entries import SessionStart
from relay.sessions import terms
from relay.sessions.bridge import Bridge
from relay.upstreams import dialler as relay_upstream
from relay.wire.peer import Patience
from relay.wire.waiting_data import WaitingData

pytestmark = pytest.mark.usefixtures("nothing_is_left")


@pytest.fixture(params=["TCP", "TLS"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the section ``server`` of relay.yaml, with a certificate if clients speak TLS."""
    return f"server: {{{issue(tmp_path).settings}}}\n" if request.param == "TLS" else ""


def closes(code: int | None, reason: bytes = b"the words of the upstream") -> WireScript:
    """Close with a code, which may be illegal."""

    async def fault(upstream: Wire) -> None:
        upstream.close_frame(code, b"" if code is None else reason)

    return fault


def sends(payload: bytes, opcode: int = TEXT) -> WireScript:
    """Send a message."""

    async def fault(upstream: Wire) -> None:
        upstream.send(payload, opcode)

    return fault


async def writes_nonsense(upstream: Wire) -> None:
    """Send bytes that are no frame."""
    upstream.writer.write(b"HTTP/1.1 500 Oops\r\n\r\n")


async def declares_too_much(upstream: Wire) -> None:
    """Send the head of a message that is too long."""
    upstream.writer.write(struct.pack("!BBQ", 129, 127, 2**40))


GONE = None
"""The upstream is gone, and receives no Close."""

UPSTREAM_FAULTS = [
    *(pytest.param(closes(code), code, code, id=f"{code}") for code in
      (1000, 1001, 1011, 1012, 1013)),
    *(pytest.param(closes(code), 1011, code, id=f"{code}") for code in (1008, 3000, 4000, 4999)),
    *(pytest.param(closes(code), 1011, 1002, id=f"{code}") for code in
      (0, 1004, 1005, 1006, 1015, 2999, 5000, 65535)),
    pytest.param(closes(1000, b"\xff\xfe"), 1011, 1007, id="reason that is no text"),
    pytest.param(closes(None), 1011, 1000, id="close without a code"),
    pytest.param(resets, 1011, GONE, id="RST"),
    pytest.param(hangs_up, 1011, GONE, id="FIN"),
    pytest.param(half_closes, 1011, GONE, id="half-close"),
    pytest.param(sends(b"\x00\x01", BINARY), 1011, 1000, id="binary"),
    pytest.param(sends(b"garbage"), 1011, 1000, id="garbage"),
    pytest.param(sends(b""), 1011, 1000, id="empty"),
    pytest.param(sends(b"[]"), 1011, 1000, id="no object"),
    pytest.param(sends(b'{"type":1}'), 1011, 1000, id="type that is no text"),
    pytest.param(sends(b"[" * 100_000), 1011, 1000, id="deep"),
    pytest.param(sends(b'"\xff\xfe"'), 1011, 1007, id="no UTF-8"),
    pytest.param(writes_nonsense, 1011, 1002, id="no frame"),
    pytest.param(declares_too_much, 1011, 1009, id="too big"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "client_code", "upstream_code"), UPSTREAM_FAULTS)
async def test_the_loss_of_an_upstream_is_reported_and_the_next_session_works(
    tmp_path: Path, fault: WireScript, client_code: int, upstream_code: int | None
) -> None:
    faults = [fault]
    closed: list[int] = []

    async def fails_once(upstream: Wire) -> None:
        await upstream.open()
        await upstream.receive()
        if not faults:
            upstream.send(b'{"type":"input_audio_buffer.cleared","event_id":"3"}')
            await upstream.closing()
            return
        await faults.pop()(upstream)
        if upstream_code is not GONE:
            closed.append((await upstream.closing())[0])

    async with relaying_rudely(tmp_path, fails_once) as relay:
        async with asyncio.timeout(1.5), relay.connect() as client:
            await receive(client)
            await send(client, type="input_audio_buffer.clear")
            error = (await receive(client))["error"]
            await client.wait_closed()
        assert error["code"] == "upstream_lost"
        assert client.close_code == client_code
        assert client.close_reason == "The upstream ended the session."
        line = await relay.ended()
        async with relay.connect() as client:
            await receive(client)
            await send(client, type="input_audio_buffer.clear")
            assert (await receive(client))["type"] == "input_audio_buffer.cleared"

    assert closed == [] if upstream_code is GONE else [upstream_code]
    assert (line["ended_by"], line["outcome"]) == ("upstream", "upstream_lost")
    assert line["close_code"] == client_code


CLIENT_CLOSES = [
    *(pytest.param(code, b"bye", code, "completed", id=f"{code}") for code in
      (1000, 1001, 1011, 3000, 3001, 4999)),
    pytest.param(None, b"", 1000, "completed", id="no code"),
    *(pytest.param(code, b"bye", 1002, "invalid_event", id=f"{code}") for code in
      (0, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)),
    pytest.param(1000, b"\xff\xfe", 1007, "invalid_event", id="reason that is no text"),
    pytest.param(1000, b"x" * 124, 1002, "invalid_event", id="reason too long"),
]  # fmt: skip


@pytest.mark.both_loops
@pytest.mark.parametrize(("code", "reason", "answer", "outcome"), CLIENT_CLOSES)
async def test_the_relay_answers_the_close_of_a_client_and_closes_the_upstream(
    tmp_path: Path, server: str, code: int | None, reason: bytes, answer: int, outcome: str
) -> None:
    async with relaying(tmp_path, settings=server) as (relay, upstream):
        client = await Wire.connect(relay.port, tls=relay.tls)
        client.close_frame(code, reason)
        async with asyncio.timeout(1):
            assert (await client.closing())[0] == answer
            await client.lost()
            await client.hang_up()
            assert await upstream.calls[0].closed == 1000
            assert upstream.calls[0].close_reason != ""
            line = await relay.ended()

    assert (line["ended_by"], line["outcome"]) == ("client", outcome)


@pytest.mark.both_loops
@pytest.mark.parametrize(
    ("server", "leave"),
    [
        *(("TCP", leave) for leave in (resets, hangs_up, half_closes)),
        *(("TLS", leave) for leave in (resets, hangs_up, aborts)),
    ],
    indirect=["server"],
)
async def test_the_relay_closes_the_upstream_of_a_client_that_is_lost(
    tmp_path: Path, server: str, leave: WireScript
) -> None:
    async with relaying(tmp_path, settings=server) as (relay, upstream):
        client = await Wire.connect(relay.port, tls=relay.tls)
        await leave(client)
        async with asyncio.timeout(1):
            assert await upstream.calls[0].closed == 1000
            line = await relay.ended()
        await client.hang_up()

    assert (line["ended_by"], line["outcome"]) == ("client", "client_lost")
    assert upstream.calls[0].close_reason == "The connection to the client was lost."


@pytest.mark.parametrize("leave", [resets, hangs_up])
async def test_the_relay_closes_the_upstream_of_a_client_that_is_lost_while_it_is_not_read(
    tmp_path: Path, leave: WireScript
) -> None:
    """The client is ahead of its audio rate, and its next messages wait."""
    received = asyncio.Event()
    settings = "limits: {audio_rate: 1, audio_burst_seconds: 1}"
    async with relaying(tmp_path, receives(1, received), settings) as (relay, upstream):
        client = await Wire.connect(relay.port)
        append = {"type": "input_audio_buffer.append", "audio": "A" * 64_000 * 60}
        client.send(json.dumps(append).encode())
        await received.wait()
        await leave(client)
        async with asyncio.timeout(2):
            assert await upstream.calls[0].closed == 1000
            line = await relay.ended()
    assert (line["ended_by"], line["outcome"]) == ("client", "client_lost")


@pytest.mark.parametrize(
    ("sent", "code", "outcome"),
    [
        (frame(b"\xff\xfe", masked=True), 1007, "invalid_event"),
        (frame(b"x", 0, masked=True), 1002, "invalid_event"),
        (frame(b"x", 5, masked=True), 1002, "invalid_event"),
        (frame(b"x", masked=True, final=False) + frame(b"x", masked=True), 1002, "invalid_event"),
        (struct.pack("!BBQ", 129, 255, 2**63 - 1), 1009, "message_too_big"),
        (frame(b"x" * 20, masked=True, final=False) * 1, None, None),
    ],
)
async def test_a_client_that_breaks_the_protocol_gets_a_close_code(
    tmp_path: Path, sent: bytes, code: int | None, outcome: str | None
) -> None:
    async with relaying(tmp_path) as (relay, upstream):
        client = await Wire.connect(relay.port)
        client.writer.write(sent)
        if code is None:  # half a message is no fault: the rest may come later
            client.close_frame(1000)
        async with asyncio.timeout(1):
            assert (await client.closing())[0] == (code or 1000)
            await client.hang_up()
            assert await upstream.calls[0].closed == 1000
            line = await relay.ended()
    assert line["outcome"] == (outcome or "completed")


@pytest.mark.both_loops
async def test_a_library_gets_1009_for_a_message_that_is_too_big(
    tmp_path: Path, server: str
) -> None:
    async with relaying(tmp_path, settings=server) as (relay, upstream):
        async with relay.connect() as client, asyncio.TaskGroup() as tasks:
            await receive(client)
            sending = tasks.create_task(client.send("x" * (16 * 2**20 + 1)))
            with pytest.raises(websockets.ConnectionClosed):
                await client.recv()
            await asyncio.wait({sending})
            assert sending.exception() is None or client.close_code
        assert client.close_code == 1009
        assert await upstream.calls[0].closed == 1000
        line = await relay.ended()
    assert (line["ended_by"], line["outcome"], line["close_code"]) == (
        "client", "message_too_big", 1009,
    )  # fmt: skip
    assert len(upstream.calls[0].received) == 1


@pytest.mark.both_loops
async def test_a_client_that_reads_only_after_it_wrote_all_gets_1009_for_a_message_that_is_too_big(
    tmp_path: Path, server: str
) -> None:
    async with relaying(tmp_path, settings=server) as (relay, upstream):
        client = await Wire.connect(relay.port, tls=relay.tls)
        client.send(b"x" * (16 * 2**20 + 1))
        client.send(APPEND)
        await client.writer.drain()
        assert await client.closing() == (1009, "The message is too big.")
        await client.hang_up()
        assert await upstream.calls[0].closed == 1000
        await relay.ended()


ENDS = {
    "session_expired": ("limits: {max_session_seconds: 0.3}", 1001),
    "upstream_lost": ("", 1012),
    "event_not_allowed": ("", 1008),
    "internal_error": ("", 1011),
    "relay_draining": ("", 1012),
}


@pytest.mark.parametrize("outcome", ENDS)
async def test_a_client_that_streams_receives_the_reason_of_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    """To close a connection with unread audio resets it, and the last messages are lost."""
    persona_limits, close_code = ENDS[outcome]
    persona = PERSONA_WITH.format(persona_limits)
    received = asyncio.Event()
    settings = "limits: {max_blocked_events: 1}"
    script = receives(50, received)
    async with relaying(tmp_path, script, settings, receptionist=persona) as (relay, upstream):
        client = await Wire.connect(relay.port)
        async with asyncio.timeout(5), streaming(client):
            await received.wait()
            if outcome == "upstream_lost":
                await upstream.calls[0].socket.close(code=1012)
            elif outcome == "event_not_allowed":
                for _ in range(2):
                    client.send(b'{"type":"output_audio_buffer.clear"}')
            elif outcome == "internal_error":
                monkeypatch.setattr(Bridge, "_perform", fail)
            elif outcome == "relay_draining":
                relay.sessions.stop()
            events = await events_and_close_code(client)
        line = await relay.ended()
        await upstream.calls[0].closed

    assert events[-2]["error"]["code"] == outcome
    assert events[-1]["close"] == close_code
    assert (line["outcome"], line["close_code"]) == (outcome, close_code)


PERSONA_WITH = """
    upstream: fake
    session: {{model: gpt-realtime-2.1, instructions: PLANTED-PROMPT}}
    {}
"""


def fail(*_: object) -> Any:
    """Replace a function, and raise as a defect does."""
    raise LookupError("a defect")


@pytest.mark.both_loops
@pytest.mark.parametrize("tls", [False, True])
async def test_a_client_that_streams_into_a_full_upstream_receives_the_reason_of_the_end(
    tmp_path: Path, *, tls: bool
) -> None:
    """Its audio waits for room in the upstream, so the relay does not read from the client."""
    async with relaying_to_a_full_upstream(tmp_path, AT_ANY_RATE, tls=tls) as relay:
        client = await Wire.connect(relay.port)
        client.writer.write(frame(APPEND, masked=True) * 6000)
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(client.writer.drain())
            assert await blocked(client, writing)
            relay.sessions.stop()
            async with asyncio.timeout(1.5):
                await writing
                events = await events_and_close_code(client)
                await client.hang_up()
                await relay.ended()
    assert events[-2]["error"]["code"] == "relay_draining"
    assert events[-1]["close"] == 1012


async def test_a_client_that_stops_reading_is_closed_and_delays_no_other_session(
    tmp_path: Path,
) -> None:
    delta = json.dumps(
        {"type": "response.output_audio.delta", "event_id": "e", "delta": "A" * 64000}
    )

    async def answers_one_and_floods_the_next(call: Call) -> None:
        first = len(upstream.calls) == 1
        await call.open()
        await call.receive()
        while not first:
            await call.send(delta)
        while True:
            await call.send({"type": "input_audio_buffer.cleared", "event_id": "e"})
            await call.receive()

    settings = "limits: {slow_client_seconds: 1.5}"
    async with relaying(tmp_path, answers_one_and_floods_the_next, settings) as (relay, upstream):
        async with relay.connect() as other:
            await receive(other)
            slow = await Wire.connect(relay.port, receive_buffer_bytes=SMALL_BUFFER_BYTES)
            before = resident_bytes()
            slow.send(b'{"type":"response.create"}')
            loop, slowest = asyncio.get_running_loop(), 0.0
            while not relay.lines("session.ended"):
                asked = loop.time()
                await send(other, type="input_audio_buffer.clear")
                assert (await receive(other))["type"] == "input_audio_buffer.cleared"
                slowest = max(slowest, loop.time() - asked)
            assert slowest < 1.2  # less than slow_client_seconds
            assert resident_bytes() - before < 30_000_000
            line = relay.lines("session.ended")[0]
            assert await upstream.calls[1].closed in {1000, 1006}
        await slow.hang_up()
    assert (line["ended_by"], line["outcome"], line["close_code"]) == ("relay", "slow_client", 1013)
    assert line["duration_seconds"] < 10


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.both_loops
async def test_the_relay_disconnects_a_client_that_does_not_answer_its_close(
    tmp_path: Path, server: str
) -> None:
    async with relaying(tmp_path, settings=server) as (relay, upstream):
        client = await Wire.connect(relay.port, tls=relay.tls)
        relay.sessions.stop()
        async with asyncio.timeout(2):
            assert await client.closing() == (1012, "The relay is restarting. Connect again.")
            assert await upstream.calls[0].closed == 1012
            await client.lost()
            await relay.ended()
        await client.hang_up()


async def test_the_relay_disconnects_an_upstream_that_neither_reads_nor_answers_its_close(
    tmp_path: Path,
) -> None:
    async with relaying_to_a_full_upstream(tmp_path) as relay:
        async with asyncio.timeout(1.5):
            async with relay.connect() as client:
                await receive(client)
            assert client.close_code == 1000
            assert (await relay.ended())["outcome"] == "completed"


@pytest.mark.parametrize("side", Side)
async def test_a_defect_in_a_session_is_1011_on_both_sides_and_one_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: Side
) -> None:
    async def answers(call: Call) -> None:
        await call.open()
        await call.receive()
        await call.send({"type": "input_audio_buffer.cleared", "event_id": "e"})
        await call.listen()

    receiver = Session.receiver

    def fails_for_one_side(session: Session, by: Side) -> Any:
        return fail if by is side else receiver(session, by)

    monkeypatch.setattr(Session, "receiver", fails_for_one_side)
    async with relaying(tmp_path, answers) as (relay, upstream):
        async with asyncio.timeout(1.5), relay.connect() as client:
            await receive(client)
            await send(client, type="input_audio_buffer.clear")
            error = (await receive(client))["error"]
            await client.wait_closed()
        line = await relay.ended()
        assert await upstream.calls[0].closed == 1011
        assert upstream.calls[0].close_reason
        monkeypatch.setattr(Session, "receiver", receiver)
        async with relay.connect() as next_client:
            await receive(next_client)

    assert error["code"] == "internal_error"
    assert (client.close_code, line["outcome"], line["close_code"]) == (
        1011,
        "internal_error",
        1011,
    )
    (failure,) = relay.lines("session.failed")
    assert "LookupError: a defect" in failure["exception"]
    assert failure["session_id"] == line["session_id"]


IMPATIENCE = Patience(ping_seconds=0.05, silence_seconds=0.1, close_seconds=0.2)


def impatient(*_: object, **_named: object) -> Patience:
    """Replace the patience that the configuration sets."""
    return IMPATIENCE


async def test_a_client_that_answers_no_ping_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a dead line, on which neither FIN nor RST arrives."""
    monkeypatch.setattr(terms, "Patience", impatient)
    async with relaying(tmp_path) as (relay, upstream):
        client = await Wire.connect(relay.port)
        async with asyncio.timeout(2):
            assert await upstream.calls[0].closed == 1000
            assert (await client.closing())[0] == 1011
            await client.hang_up()
            line = await relay.ended()
    assert (line["ended_by"], line["outcome"]) == ("relay", "client_lost")


@pytest.mark.both_loops
@pytest.mark.parametrize("tls", [False, True])
async def test_an_upstream_that_answers_no_ping_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, tls: bool
) -> None:
    monkeypatch.setattr(relay_upstream, "PATIENCE", IMPATIENCE)
    async with relaying_rudely(tmp_path, answers_no_ping, tls=tls) as relay:
        async with asyncio.timeout(2), relay.connect() as client:
            await receive(client)
            assert (await receive(client))["error"]["code"] == "upstream_lost"
            await client.wait_closed()
        line = await relay.ended()
    assert client.close_code == 1011
    assert (line["ended_by"], line["outcome"]) == ("upstream", "upstream_lost")


async def test_peers_that_answer_pings_stay_connected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terms, "Patience", impatient)
    monkeypatch.setattr(relay_upstream, "PATIENCE", IMPATIENCE)
    persona = PERSONA_WITH.format("limits: {max_session_seconds: 0.5}")
    async with relaying(tmp_path, receptionist=persona) as (relay, _):
        async with relay.connect() as client:
            await receive(client)
            assert (await receive(client))["error"]["code"] == "session_expired"


@pytest.mark.parametrize(
    ("limits", "outcome", "code"),
    [
        ("limits: {max_session_seconds: 0.2}", "session_expired", 1001),
        ("limits: {idle_seconds: 0.2}", "session_idle", 4408),
    ],
)
async def test_the_end_of_a_session_is_reported_with_its_reason(
    tmp_path: Path, limits: str, outcome: str, code: int
) -> None:
    loop = asyncio.get_running_loop()
    persona = PERSONA_WITH.format(limits)
    async with relaying(tmp_path, listens, receptionist=persona) as (relay, upstream):
        began = loop.time()
        async with asyncio.timeout(2), relay.connect() as client:
            await receive(client)
            error = (await receive(client))["error"]
            await client.wait_closed()
        assert loop.time() - began >= 0.2
        assert (error["code"], client.close_code) == (outcome, code)
        assert await upstream.calls[0].closed == 1000
        line = await relay.ended()
        assert 0 < line["duration_seconds"] <= loop.time() - began
    assert (line["ended_by"], line["outcome"]) == ("relay", outcome)


async def test_a_refused_event_leaves_the_session_open_until_too_many_are_refused(
    tmp_path: Path,
) -> None:
    async with relaying(tmp_path, listens, "limits: {max_blocked_events: 2}") as (relay, upstream):
        async with relay.connect() as client:
            await receive(client)
            await client.send(b"\x00binary")
            await send(client, type="output_audio_buffer.clear", event_id="mine")
            await client.send("[" * 100_000)
            errors = [(await receive(client))["error"] for _ in range(3)]
            await client.wait_closed()
        assert await upstream.calls[0].closed == 1000

    assert [e["code"] for e in errors] == ["invalid_event", "event_not_allowed", "invalid_event"]
    assert errors[1]["event_id"] == "mine"
    assert client.close_code == 1008
    assert len(upstream.calls[0].received) == 1


async def test_a_defect_at_the_start_of_a_session_does_not_stop_the_relay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = Accounts.started

    async def start_and_fail(accounts: Accounts, row: SessionStart) -> None:
        await started(accounts, row)
        raise LookupError("a defect")

    async with relaying(tmp_path) as (relay, upstream):
        with monkeypatch.context() as patched:
            patched.setattr(Accounts, "started", start_and_fail)
            async with asyncio.timeout(3), relay.connect() as client:
                await receive(client)
                await client.wait_closed()
        line = await relay.ended()
        assert await upstream.calls[0].closed == 1011
        async with relay.connect() as next_client:
            await receive(next_client)

    assert (client.close_code, line["outcome"]) == (1011, "internal_error")
    (failure,) = relay.lines("session.failed")
    assert "LookupError: a defect" in failure["exception"]


async def test_a_defect_after_the_end_of_a_session_does_not_stop_the_relay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Bridge.run

    async def run_and_fail(bridge: Bridge) -> Any:
        await run(bridge)
        fail()

    async with relaying(tmp_path) as (relay, upstream):
        with monkeypatch.context() as patched:
            patched.setattr(Bridge, "run", run_and_fail)
            async with relay.connect() as client:
                await receive(client)
            line = await relay.ended()
        async with relay.connect() as next_client:
            await receive(next_client)
        assert await upstream.calls[0].closed == 1000

    assert line["outcome"] == "internal_error"
    (failure,) = relay.lines("session.failed")
    assert "LookupError: a defect" in failure["exception"]


async def test_the_data_of_all_slow_clients_together_is_limited(tmp_path: Path) -> None:
    """Each of three clients may hold 15 MB for 60 s, all together 31 MB: the largest is closed."""

    async def sends_one_large_message(call: Call) -> None:
        await call.open()
        await call.send({"type": "some.new_event", "x": "A" * 15_000_000})
        await call.listen()

    settings = "limits: {slow_client_seconds: 60}"
    async with relaying(tmp_path, sends_one_large_message, settings) as (relay, upstream):
        relay.application[RELAY].realtime.waiting_data = WaitingData(31_000_000)
        slow = [
            await Wire.connect(relay.port, receive_buffer_bytes=SMALL_BUFFER_BYTES)
            for _ in range(3)
        ]
        for client in slow:
            await client.receive()
        closing = [call.closed for call in upstream.calls]
        await asyncio.wait(closing, return_when=asyncio.FIRST_COMPLETED)
        for client in slow:
            await client.hang_up()
        await relay.application[RELAY].sessions.emptied()
    outcomes = [line["outcome"] for line in relay.lines("session.ended")]
    assert sorted(outcomes) == ["client_lost", "client_lost", "slow_client"]
