"""Carries one session between two peers; owns its tasks; has one way to end.

Both directions run side by side. The core decides on a message of one peer, and its commands are
done before the next message of that peer is read. Nothing queues here, and a slow reader slows the
writer on the other side. Whatever ends the session becomes one ``End``. Then the client receives a
code and a reason at once, and the upstream when it has reported the usage in progress. Meanwhile
both directions go on reading and discard the messages, until each peer has closed too.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from time import monotonic

from structlog.typing import FilteringBoundLogger as Logger

from relay.core.close import CloseCode
from relay.core.commands import (
    CallTool,
    Command,
    Commands,
    End,
    ObserveFirstAudio,
    Pause,
    Record,
    Send,
    Side,
)
from relay.core.errors import ClientLost, InternalError, RelayError, SlowClient, UpstreamLost
from relay.core.reports import Report
from relay.core.session import Receiver, Session
from relay.wire.peer import CLOSE_SECONDS, Peer

PAUSE_SECONDS = 1.0
"""If the clock of a session is later than this, the process itself was paused (by a virtual
machine, or by SIGSTOP), and the peers were not silent."""

Work = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Services:
    """The functions for the work of a session outside of it.

    Attributes:
        observe_first_audio: receives two durations in seconds: how long the client waited for the
            first audio of an answer, and how long the relay held that audio.
        keep: returns when a report of usage is in the ledger.
        hold: receives the estimated cost in USD of usage that is not reported when the session
            ends.
        run_tool: returns the output of a tool; it raises nothing and may be cancelled.
    """

    observe_first_audio: Callable[[float, float], None]
    keep: Callable[[Report], Awaitable[None]]
    hold: Callable[[Decimal], None]
    run_tool: Callable[[CallTool], Awaitable[str]]


class Bridge:
    """Relays one session from its first message to its end."""

    def __init__(
        self,
        session: Session,
        *,
        client: Peer,
        upstream: Peer,
        services: Services,
        log: Logger,
    ) -> None:
        """Relay between these two."""
        self.session = session
        self.peers: Mapping[Side, Peer] = {Side.CLIENT: client, Side.UPSTREAM: upstream}
        self.cancelled_tools: tuple[str, ...] = ()
        self._services = services
        self._running_tools: set[asyncio.Task[None]] = set()
        self._busy: set[Side] = set()
        self._budget_exhausted = False
        self._log = log
        self._now = asyncio.get_running_loop().time
        self._ended: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._settled = asyncio.Event()
        client.on_slow = lambda: self.stop(SlowClient())
        upstream.on_slow = lambda: self._end(session.end(UpstreamLost(), by="upstream"))
        for side, peer in self.peers.items():
            peer.on_gone = partial(self._lose_soon, side)

    async def run(self) -> End:
        """Relay until the session ends; return its end.

        Must not be cancelled: ``stop`` ends it.
        """
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            opened = tasks.create_task(self._guard(self._open))
            for side in Side:
                tasks.create_task(self._relay(side, opened), name=f"relay:{side.value}")
            clock = tasks.create_task(
                self._guard(partial(self._keep_time, self._now())), name="clock"
            )
            end = await self._ended
            self.cancelled_tools = self.session.running_tools
            clock.cancel()
            while self._running_tools:
                self._running_tools.pop().cancel()
            client = self.peers[Side.CLIENT]
            # The upstream first, because it bills.
            tasks.create_task(self._close_upstream(end))
            tasks.create_task(client.close(end.client_code, end.reason, end.farewell))
        await self._guard(self._record_cut_off)
        return end

    def stop(self, error: RelayError, *, upstream_code: int = CloseCode.NORMAL_CLOSURE) -> None:
        """End the session from outside; does nothing when it has ended."""
        self._end(self.session.end(error, upstream_code=upstream_code))

    def stop_settling(self) -> None:
        """Wait no longer for reports of the upstream after the end."""
        self._settled.set()

    def exhaust_budget(self) -> None:
        """End the session for its budget, when the response under way was delivered."""
        self._budget_exhausted = True
        if Side.UPSTREAM not in self._busy:
            self._end(self.session.exhaust_budget())

    def _lose_soon(self, side: Side) -> None:
        """End the session soon after a side is gone, though its last messages may be unread."""
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._lose, side)

    def _lose(self, side: Side) -> None:
        if not self._ended.done():
            self._end(self.session.closed(side, self.peers[side].close_code))

    def _end(self, commands: Commands) -> None:
        for command in commands:
            if isinstance(command, End) and not self._ended.done():
                self._ended.set_result(command)

    async def _guard(self, work: Work) -> None:
        """End the session with a code and a traceback if the work has a defect."""
        try:
            await work()
        except Exception:  # noqa: BLE001  # any defect: it is logged, and both sides are closed
            self._log.exception("session.failed")
            self.stop(InternalError(), upstream_code=CloseCode.INTERNAL_ERROR)

    async def _open(self) -> None:
        if not self._ended.done():
            await self._perform_all(iter(self.session.open(self._now())))

    async def _relay(self, side: Side, opened: asyncio.Task[None]) -> None:
        """Relay the messages of one side until the session ends; then wait until it has closed."""
        await asyncio.wait({opened})
        await self._guard(partial(self._carry, side))
        await self._guard(partial(self._discard, side))
        if side is Side.UPSTREAM:
            self._settled.set()

    async def _carry(self, side: Side) -> None:
        await self.peers[side].listen(partial(self._receive, side, self.session.receiver(side)))
        self._lose(side)

    async def _discard(self, side: Side) -> None:
        """Discard the messages that still come, except for the usage that they report."""
        await self.peers[side].listen(partial(self._receive_late, side))

    def _receive(self, side: Side, decide: Receiver, message: bytes) -> Awaitable[None] | None:
        """Do the commands that follow from a message; return the rest of them if it takes time."""
        if self._ended.done():
            return self._receive_late(side, message)
        commands = iter(decide(message, self._now()))
        for command in commands:
            if (pending := self._perform(command)) is not None:
                self._busy.add(side)
                return self._perform_rest(side, pending, commands)
        return None

    async def _perform_rest(
        self, side: Side, pending: Awaitable[None], commands: Iterator[Command]
    ) -> None:
        """Finish the commands of a message, while no other message of this side is read."""
        await pending
        await self._perform_all(commands)
        self._busy.discard(side)
        if self._budget_exhausted:
            self._end(self.session.exhaust_budget())

    async def _perform_all(self, commands: Iterator[Command]) -> None:
        for command in commands:
            if (pending := self._perform(command)) is not None:
                await pending

    def _perform(self, command: Command) -> Awaitable[None] | None:
        """Do a command; return the rest of it if it takes time."""
        if type(command) is Send:  # nearly every command
            peer = self.peers[command.to]
            return None if peer.send_at_once(command.message) else peer.send(command.message)
        match command:
            case Record(report=report):
                return self._services.keep(report)
            case Pause(seconds=seconds):
                return self._pause(seconds)
            case ObserveFirstAudio(seconds=seconds):
                own_seconds = monotonic() - self.peers[Side.UPSTREAM].read_at
                self._services.observe_first_audio(seconds, own_seconds)
            case CallTool():
                call = self._tasks.create_task(self._guard(partial(self._call, command)))
                self._running_tools.add(call)
            case End():  # pragma: no branch  # all kinds
                self._end((command,))
        return None

    async def _pause(self, seconds: float) -> None:
        await asyncio.wait({self._ended}, timeout=seconds)

    async def _call(self, call: CallTool) -> None:
        """Run a tool beside everything else, and pass on its output."""
        output = await self._services.run_tool(call)
        # From here on the task sends, and must not be cancelled.
        self._running_tools.discard(asyncio.current_task())
        await self._perform_all(iter(self.session.tool_finished(call, output)))

    async def _close_upstream(self, end: End) -> None:
        """Close the upstream when it has reported the usage in progress, or the wait is over."""
        await self._guard(partial(self._settle, end))
        await self.peers[Side.UPSTREAM].close(end.upstream_code, end.reason)

    async def _settle(self, end: End) -> None:
        self._services.hold(self.session.outstanding_usd(self._now()))
        # In a task, because an upstream without room must not delay the end.
        cancels = self._perform_all(iter(self.session.settle(end, self._now())))
        self._tasks.create_task(self._guard(lambda: cancels))
        settling = self.session.settling
        if not settling.is_settled:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(settling.deadline):
                    await self._settled.wait()

    def _receive_late(self, side: Side, message: bytes) -> Awaitable[None] | None:
        if side is not Side.UPSTREAM:
            return None
        commands = self.session.record_late(message, self._now())
        if self.session.settling.is_settled:
            self._settled.set()
        return self._perform_all(iter(commands)) if commands else None

    async def _record_cut_off(self) -> None:
        """Record the usage that the upstream will not report any more."""
        await self._perform_all(iter(self.session.record_cut_off(self._now())))

    async def _keep_time(self, due: float) -> None:
        """Check the deadlines of the session and the liveness of both peers when they are due."""
        now = self._now
        while True:
            if now() - due > PAUSE_SECONDS:
                for peer in self.peers.values():
                    peer.note_pause(now())
            self._end(self.session.tick(now()))
            if not self.peers[Side.CLIENT].keep_alive(now()):
                self.stop(ClientLost())
            if not self.peers[Side.UPSTREAM].keep_alive(now()):
                self._end(self.session.end(UpstreamLost(), by="upstream"))
            looks = (peer.next_look(now()) for peer in self.peers.values())
            due = min(self.session.deadline, *looks)
            await asyncio.sleep(due - now())
