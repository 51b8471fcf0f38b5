"""The registry of sessions: it runs them, and ends them when the relay stops."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from enum import Enum, auto
from functools import partial
from typing import Protocol, TypeVar

from structlog.typing import FilteringBoundLogger as Logger

from relay.core.close import CloseCode
from relay.core.commands import CallTool, End
from relay.core.errors import InternalError, RelayDraining
from relay.core.ids import bounded
from relay.core.session import Session
from relay.core.settling import SETTLE_SECONDS
from relay.ledger.accounts import Accounts
from relay.sessions.bridge import Bridge, Services
from relay.sessions.running import RunningSession
from relay.sessions.terms import NewSession
from relay.tools import Context
from relay.upstreams.connections import clear_traceback
from relay.upstreams.dialler import OpenedUpstream
from relay.wire.peer import CLOSE_SECONDS, Peer

T = TypeVar("T")


class Phase(Enum):
    """The phases of a relay, in their order.

    New sessions start while it is serving. Sessions that run go on while it is draining. A
    session that is still being opened when the relay has stopped ends at once.
    """

    SERVING = auto()
    DRAINING = auto()
    STOPPED = auto()


class Observer(Protocol):
    """Receives the milestones of sessions."""

    def started(self, session: RunningSession) -> None:
        """A session runs."""

    def first_audio(self, seconds: float, own_seconds: float) -> None:
        """An answer began after ``seconds``; the relay held its audio for ``own_seconds`` of it."""

    def ended(self, session: RunningSession, end: End, duration_seconds: float) -> None:
        """A session has ended, and its end is in the ledger."""


class Registry:
    """The sessions that run, and the dials of those that are being opened."""

    def __init__(
        self, accounts: Accounts, observer: Observer, log: Logger, tasks: asyncio.TaskGroup
    ) -> None:
        """Run sessions in ``tasks``, because they outlive the request that opened them."""
        self.phase = Phase.SERVING
        self.running: dict[str, RunningSession] = {}
        self._accounts = accounts
        self._observer = observer
        self._log = log
        self._tasks = tasks
        self._entered = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self._dials: set[asyncio.Timeout] = set()
        accounts.state.on_exhausted = self._exhaust

    def enter(self, until_ended: ExitStack) -> None:
        """Count a session that is being opened, until the stack is closed.

        Raises:
            RelayDraining: the relay takes no new sessions.
        """
        if self.phase is not Phase.SERVING:
            raise RelayDraining
        self._entered += 1
        self._empty.clear()
        until_ended.callback(self._leave)

    def _leave(self) -> None:
        self._entered -= 1
        if not self._entered:
            self._empty.set()

    async def dial(self, open_upstream: Callable[[], Awaitable[T]]) -> T:
        """Wait until an upstream is open, unless the relay stops.

        Raises:
            RelayDraining: the relay has stopped.
        """
        dial = asyncio.timeout(None)
        self._dials.add(dial)
        try:
            async with dial:
                return await open_upstream()
        except TimeoutError as stopped:
            clear_traceback(stopped)
            raise RelayDraining from None
        finally:
            self._dials.discard(dial)

    async def drain(self, seconds: float) -> None:
        """Take no new sessions, let running sessions go on for ``seconds``, then end them."""
        if self.phase is Phase.SERVING:
            self.phase = Phase.DRAINING
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.emptied()
        self.stop()
        # With the time that the upstream has to answer its Close, this is SETTLE_SECONDS at most.
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS - CLOSE_SECONDS):
                await self.emptied()
        self.stop_at_once()
        await self.emptied()

    async def emptied(self) -> None:
        """Wait until no session is open or being opened."""
        await self._empty.wait()

    def stop(self) -> None:
        """End all sessions now, also those that are being opened."""
        self.phase = Phase.STOPPED
        while self._dials:
            self._dials.pop().reschedule(0)
        for session in self.running.values():
            _stop(session.bridge)

    def stop_at_once(self) -> None:
        """End all sessions now, and wait for no usage that the upstreams have not reported."""
        self.stop()
        for session in self.running.values():
            session.bridge.stop_settling()

    async def relay(
        self,
        new: NewSession,
        session: Session,
        client: Peer,
        upstream: OpenedUpstream,
        until_ended: ExitStack,
    ) -> None:
        """Relay a session whose upstream is ready and whose client is connected, to its end.

        The session takes over ``until_ended`` and closes it at its end. Cancelling
        this does not end the session.
        """
        running = self._start(new, session, client, upstream)
        relayed = self._relay(running, until_ended.pop_all())
        await asyncio.shield(self._tasks.create_task(relayed))

    def _start(
        self, new: NewSession, session: Session, client: Peer, upstream: OpenedUpstream
    ) -> RunningSession:
        bridge = Bridge(
            session,
            client=client,
            upstream=upstream.peer,
            services=Services(
                observe_first_audio=self._observer.first_audio,
                keep=partial(self._accounts.used, new.session_id),
                hold=partial(self._accounts.hold, new.session_id),
                run_tool=partial(_run_tool, new),
            ),
            log=self._log.bind(session_id=new.session_id),
        )
        return RunningSession(
            session_id=new.session_id,
            upstream_session_id=bounded(str(upstream.session.get("id") or "")),
            persona=new.persona.name,
            client=new.principal.client,
            user=new.principal.user,
            model=new.persona.model,
            upstream=upstream.name,
            ready_seconds=upstream.ready_seconds,
            started_at=asyncio.get_running_loop().time(),
            bridge=bridge,
        )

    async def _relay(self, running: RunningSession, until_ended: ExitStack) -> None:
        """Relay a session to its end; a defect in one session must not end another."""
        end = End.because(InternalError())
        self.running[running.session_id] = running
        self._guard(running, lambda: self._observer.started(running))
        try:
            if self.phase is Phase.STOPPED:
                _stop(running.bridge)
            await self._record_start(running)
            end = await running.bridge.run()
        except Exception:  # noqa: BLE001  # as above
            self._log_defect(running)
        finally:
            await self._end(running, end, until_ended)

    async def _end(self, running: RunningSession, end: End, until_ended: ExitStack) -> None:
        duration_seconds = asyncio.get_running_loop().time() - running.started_at
        try:
            await self._accounts.ended(running.ending(end, duration_seconds, datetime.now(UTC)))
        except Exception:  # noqa: BLE001  # as above
            self._log_defect(running)
        finally:
            del self.running[running.session_id]
            self._guard(running, until_ended.close)
        self._guard(running, lambda: self._observer.ended(running, end, duration_seconds))

    def _guard(self, running: RunningSession, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # noqa: BLE001  # as above
            self._log_defect(running)

    def _log_defect(self, running: RunningSession) -> None:
        self._log.exception("session.failed", session_id=running.session_id)

    async def _record_start(self, running: RunningSession) -> None:
        """Write the start to the ledger; a defect in this ends the session on both sides."""
        try:
            await self._accounts.started(running.beginning(datetime.now(UTC)))
        except Exception:  # noqa: BLE001  # as above
            self._log_defect(running)
            running.bridge.stop(InternalError(), upstream_code=CloseCode.INTERNAL_ERROR)

    def _exhaust(self, session_ids: Collection[str]) -> None:
        """End sessions whose budget is used up."""
        for session_id in session_ids:
            if session_id in self.running:
                self.running[session_id].bridge.exhaust_budget()


async def _run_tool(new: NewSession, call: CallTool) -> str:
    """Run a tool of the persona for this session; return its output."""
    context = Context(
        session_id=new.session_id,
        persona=new.persona.name,
        client=new.principal.client,
        user=new.principal.user,
        call_id=call.call_id,
    )
    return await new.toolbox.call(call, context)


def _stop(bridge: Bridge) -> None:
    bridge.stop(RelayDraining(), upstream_code=CloseCode.SERVICE_RESTART)
