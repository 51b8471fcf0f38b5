"""The path of a message inside the relay, from the bytes that were read to those that are written.

``python bench/message_path.py MESSAGES`` runs under callgrind. It opens a session between two peers
without sockets and TLS, so that only the relay and its interpreter are measured. Each kind of work
runs in a child process, a copy of the same parent. Their instructions differ by their work only. It
prints the process id of each kind in JSON; ``NOTHING`` is a child without work.
"""

import asyncio
import gc
import json
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import structlog
from events import (
    APPEND,
    APPEND_HEAD,
    DELTA,
    MODEL,
    delta_head,
    response_created,
    response_done,
    session_object,
)

from relay.core.commands import Side
from relay.core.policy import Policy
from relay.core.pricing import Price, Prices
from relay.core.quotations import PersonaWords
from relay.core.reports import Report
from relay.core.session import Session
from relay.core.terms import Billing, SessionLimits, Terms
from relay.core.tokens import TOKEN_KINDS
from relay.sessions.bridge import Bridge, Services
from relay.wire.frames import TEXT, encode
from relay.wire.peer import Patience, Peer

NOTHING, REFERENCE = "nothing", "reference"
WARM_UP = 50
"""Messages before the measurement; the interpreter specialises its code during the first ones."""

FOREVER = 1e9
KEY = b"\x01\x02\x03\x04"

Work = Callable[[int], None]
"""Does its work for this number of messages."""


class Protocol(asyncio.Protocol):
    """The protocol of a connection before a peer takes it over."""


class MemoryTransport(asyncio.Transport):
    """A connection without a socket; ``written`` is the number of frames that were written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol before the peer."""
        return Protocol()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Do nothing: the work calls the peer itself."""

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the limits of uvloop."""
        return 16 * 1024, 64 * 1024

    def get_write_buffer_size(self) -> int:
        """Return 0: a frame is written at once."""
        return 0

    def is_closing(self) -> bool:
        """Return False."""
        return False

    def write(self, _data: "bytes | bytearray | memoryview[Any]") -> None:
        """Count a frame."""
        self.written += 1


class Path:
    """A session between two peers in memory."""

    def __init__(self, messages: int) -> None:
        """Prepare for this number of messages of a kind."""
        numbers = range(WARM_UP + messages)
        self._created = [response_created(0, number) for number in numbers]
        self._done = [response_done(0, number) for number in numbers]
        self._client_transport, self._upstream_transport = MemoryTransport(), MemoryTransport()
        self._client = Peer(self._client_transport, Patience(), max_message_bytes=2**24)
        self._upstream = Peer(
            self._upstream_transport, Patience(), max_message_bytes=2**24, masks=True
        )
        self._session = Session(_terms(), session_object(), now=0.0)
        self.bridge = Bridge(
            self._session,
            client=self._client,
            upstream=self._upstream,
            services=Services(lambda *_: None, _keep, lambda _: None, lambda _: _output()),
            log=structlog.get_logger(),
        )

    def work(self) -> Mapping[str, Work]:
        """Return the kinds of work."""
        return {
            NOTHING: lambda _: None,
            REFERENCE: reference,
            "append": self._append,
            "delta": self._delta,
            "response": self._response,
        }

    def _append(self, messages: int) -> None:
        frame = _masked(APPEND.encode(APPEND_HEAD, (1, 0, 0)))
        before = self._upstream_transport.written
        for _ in range(messages):
            self._client.data_received(frame)
        _check(self._upstream_transport.written - before, messages)

    def _delta(self, messages: int) -> None:
        frame = encode(TEXT, DELTA.encode(delta_head(0, 0), (1, 0, 0)), None)
        before = self._client_transport.written
        for _ in range(messages):
            self._upstream.data_received(frame)
        _check(self._client_transport.written - before, messages)

    def _response(self, messages: int) -> None:
        """Decide on responses that begin and end; the ledger is not part of it."""
        completed, receive = self._session.counts.responses, self._session.receiver(Side.UPSTREAM)
        before = completed["completed"]
        for number in range(before, before + messages):
            receive(self._created[number], 1.0)
            receive(self._done[number], 1.0)
        _check(completed["completed"] - before, messages)


def reference(messages: int) -> None:
    """Do work of the interpreter only: with an indent, ``json`` writes in Python."""
    session = session_object()
    for _ in range(messages):
        json.dumps(session, indent=1)


async def _keep(_report: Report) -> None:
    """Keep no report."""


async def _output() -> str:
    return ""


def _terms() -> Terms:
    instructions = session_object()["instructions"]
    rates = dict.fromkeys(TOKEN_KINDS, Decimal("0.4"))
    return Terms(
        session_id="sess_" + "C" * 21,
        expires_at=2_000_000_000,
        relay_ids="relay_unguessable_",
        policy=Policy(),
        limits=SessionLimits(
            max_session_seconds=FOREVER,
            idle_seconds=FOREVER,
            max_blocked_events=3,
            audio_rate=FOREVER,
            audio_burst_seconds=FOREVER,
            events_per_second=FOREVER,
        ),
        billing=Billing(
            model=MODEL,
            prices=Prices((Price(MODEL, date(2026, 1, 1), rates),)),
            started_at=datetime(2026, 12, 1, tzinfo=UTC),
        ),
        persona_words=PersonaWords(instructions),
    )


def _masked(message: bytes) -> bytes:
    """Return a text message as the frame of a client."""
    return encode(TEXT, message, KEY)


def _check(done: int, expected: int) -> None:
    if done != expected:
        raise AssertionError(f"{done} messages instead of {expected}")


async def _measure(messages: int) -> None:
    path = Path(messages)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(path.bridge.run())
        for _ in range(10):  # until both directions listen
            await asyncio.sleep(0)
        work = path.work()
        for kind in work:
            work[kind](WARM_UP)
        gc.collect()
        gc.freeze()  # as the relay does
        pids = {kind: _fork(work[kind], messages) for kind in work}
        print(json.dumps(pids), flush=True)
        os._exit(0)  # the session would wait for its peers


def _fork(work: Work, messages: int) -> int:
    """Do the work in a child process; return its id."""
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        if status:
            os._exit(1)
        return pid
    try:
        work(messages)
    except Exception as failure:  # noqa: BLE001  # the parent fails with it
        print(repr(failure), file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(_measure(int(sys.argv[1])))
