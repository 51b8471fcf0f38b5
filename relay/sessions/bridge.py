"""Carries one session between two peers; owns its tasks; has one way to end.

Both directions run side by side. What one peer says is decided on by the core and sent before the
next message is read, so nothing queues here and a slow reader slows the writer on the other side.
Whatever ends the session becomes one ``End``; then both peers get a code and a reason, while the
two directions go on reading, and throwing away, until each peer has closed too.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from time import monotonic

from structlog.typing import FilteringBoundLogger as Logger

from relay.core.close import CloseCode
from relay.core.commands import (
    CallTool,
    Command,
    End,
    ObserveFirstAudio,
    Pause,
    Record,
    Send,
    Side,
)
from relay.core.errors import ClientLost, InternalError, RelayError, SlowClient, UpstreamLost
from relay.core.reports import Report
from relay.core.session import Commands, Session
from relay.wire.peer import CLOSE_SECONDS, Peer


class Bridge:
    """Relays one session from its first message to its end."""

    def __init__(
        self,
        session: Session,
        *,
        client: Peer,
        upstream: Peer,
        observe_first_audio: Callable[[float, float], None],
        keep: Callable[[Report], Awaitable[None]],
        run_tool: Callable[[CallTool], Awaitable[str]],
        log: Logger,
    ) -> None:
        """Relay between these two.

        ``observe_first_audio`` is told how long the client waited, and how long of that the relay
        had the audio, in seconds. ``keep`` returns when what was used is written down,
        ``run_tool`` when a tool has put out its text; it raises nothing, and may be cancelled.
        """
        self.session = session
        self.peers: Mapping[Side, Peer] = {Side.CLIENT: client, Side.UPSTREAM: upstream}
        self._observe_first_audio = observe_first_audio
        self._keep = keep
        self._run_tool = run_tool
        self._running_tools: set[asyncio.Task[None]] = set()
        self.cancelled_tools: tuple[str, ...] = ()
        self._passing_on: set[Side] = set()
        self._overdrawn = False
        self._log = log
        self._now = asyncio.get_running_loop().time
        self._ended: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        client.on_slow = lambda: self.stop(SlowClient())
        upstream.on_slow = lambda: self._end(session.end(UpstreamLost(), by="upstream"))
        for side, peer in self.peers.items():
            peer.on_gone = partial(self._lose_soon, side)

    async def run(self) -> End:
        """Relay until the session ends; return how it ended.

        Must not be cancelled: ``stop`` ends it.
        """
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            opened = tasks.create_task(self._guard(self._open))
            for side in Side:
                tasks.create_task(self._relay(side, opened), name=f"relay:{side.value}")
            clock = tasks.create_task(self._guard(self._keep_time), name="clock")
            end = await self._ended
            self.cancelled_tools = self.session.running_tools
            clock.cancel()
            while self._running_tools:
                self._running_tools.pop().cancel()
            # The upstream first, because it bills.
            upstream, client = self.peers[Side.UPSTREAM], self.peers[Side.CLIENT]
            tasks.create_task(upstream.close(end.upstream_code, end.reason))
            tasks.create_task(client.close(end.client_code, end.reason, end.farewell))
        await self._guard(self._settle)
        return end

    def stop(self, error: RelayError, *, upstream_code: int = CloseCode.NORMAL_CLOSURE) -> None:
        """End the session from outside; does nothing when it has ended."""
        self._end(self.session.end(error, upstream_code=upstream_code))

    def _lose_soon(self, side: Side) -> None:
        """End the session without a side that is gone, though what it said before may be unread."""
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._lose, side)

    def _lose(self, side: Side) -> None:
        if not self._ended.done():
            self._end(self.session.closed(side, self.peers[side].close_code))

    def overdraw(self) -> None:
        """End the session for want of budget, once what is being delivered was delivered."""
        self._overdrawn = True
        if Side.UPSTREAM not in self._passing_on:
            self._end(self.session.overdraw())

    def _end(self, commands: Commands) -> None:
        for command in commands:
            if isinstance(command, End) and not self._ended.done():
                self._ended.set_result(command)

    async def _guard(self, work: Callable[[], Awaitable[None]]) -> None:
        """Let a defect end its session with a code and a traceback; it never hangs."""
        try:
            await work()
        except Exception:  # noqa: BLE001  # whatever it is: it is logged, and both sides are closed
            self._log.exception("session.failed")
            self.stop(InternalError(), upstream_code=CloseCode.INTERNAL_ERROR)

    async def _open(self) -> None:
        if self._ended.done():
            return
        for command in self.session.open(self._now()):
            await self._perform(command)

    async def _relay(self, side: Side, opened: asyncio.Task[None]) -> None:
        """Relay what one side says until the session ends; then wait until it has closed."""
        await asyncio.wait({opened})
        await self._guard(partial(self._carry, side))
        await self._guard(partial(self._hear_out, side))

    async def _carry(self, side: Side) -> None:
        await self.peers[side].listen(partial(self._pass_on, side))
        self._lose(side)

    async def _hear_out(self, side: Side) -> None:
        """Throw away what still comes, but for what it says of usage."""
        await self.peers[side].listen(partial(self._account, side))

    def _pass_on(self, side: Side, message: bytes) -> Awaitable[None] | None:
        """Do what follows from a message, or as much as can be done at once; return the rest."""
        if self._ended.done():
            return self._account(side, message)
        commands = self.session.receive(side, message, self._now())
        for done, command in enumerate(commands):
            if not self._perform_at_once(command):
                self._passing_on.add(side)
                return self._perform_in_turn(side, commands[done:])
        return None

    def _perform_at_once(self, command: Command) -> bool:
        """Do what a command asks for, unless that takes its time; tell whether it is done."""
        if isinstance(command, Send):
            return self.peers[command.to].send_at_once(command.message)
        match command:
            case Record() | Pause():
                return False
            case ObserveFirstAudio(seconds=seconds):
                own_seconds = monotonic() - self.peers[Side.UPSTREAM].read_at
                self._observe_first_audio(seconds, own_seconds)
            case CallTool():
                call = self._tasks.create_task(self._guard(partial(self._call, command)))
                self._running_tools.add(call)
            case End():
                self._end((command,))
        return True

    async def _perform_in_turn(self, side: Side, commands: Commands) -> None:
        """Do what commands ask for, and nothing else of this side meanwhile."""
        for command in commands:
            await self._perform(command)
        self._passing_on.discard(side)
        if self._overdrawn:
            self._end(self.session.overdraw())

    async def _perform(self, command: Command) -> None:
        match command:
            case Send(to=side, message=message):
                await self.peers[side].send(message)
            case Record(report=report):
                await self._keep(report)
            case Pause(seconds=seconds):
                await asyncio.wait({self._ended}, timeout=seconds)
            case _:
                self._perform_at_once(command)

    async def _call(self, call: CallTool) -> None:
        """Run a tool beside everything else, and pass on what it puts out."""
        output = await self._run_tool(call)
        # From here on it sends, and must not be cancelled.
        self._running_tools.discard(asyncio.current_task())
        for command in self.session.tool_finished(call, output):
            await self._perform(command)

    async def _settle(self) -> None:
        """Write down what will not be told of any more."""
        await self._write_down(self.session.settle(self._now()))

    def _account(self, side: Side, message: bytes) -> Awaitable[None] | None:
        if side is not Side.UPSTREAM:
            return None
        commands = self.session.overhear(message, self._now())
        return self._write_down(commands) if commands else None

    async def _write_down(self, commands: Commands) -> None:
        for command in commands:
            if isinstance(command, Record):
                await self._keep(command.report)

    async def _keep_time(self) -> None:
        """Wake when the session or a peer wants to be asked what the time means for it."""
        now = self._now
        while True:
            self._end(self.session.tick(now()))
            if not self.peers[Side.CLIENT].keep_alive(now()):
                self.stop(ClientLost())
            if not self.peers[Side.UPSTREAM].keep_alive(now()):
                self._end(self.session.end(UpstreamLost(), by="upstream"))
            looks = (peer.next_look(now()) for peer in self.peers.values())
            wake_at = min(self.session.deadline, *looks)
            await asyncio.sleep(wake_at - now())
