"""Runs the tools of one persona: each call gets an output, also when it fails.

A call is one coroutine beside the audio. Its time, its output and the number of calls are limited.
Cancelling it ends the tool where that is possible.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from structlog.typing import FilteringBoundLogger as Logger

from relay.core.commands import CallTool
from relay.core.events import Event
from relay.tools.arguments import ArgumentsReader
from relay.tools.config import tools_of
from relay.tools.context import Context
from relay.tools.outcome import (
    Outcome,
    ToolFailed,
    ToolFault,
    ToolTimeout,
    TooManyCalls,
    UnknownTool,
    checked_output,
)

MAX_RUNNING_PER_SESSION: Final = 8
"""A model calls a few tools at a time; a model that calls more makes a mistake."""

UNKNOWN_NAME: Final = "other"
"""The name of an unknown tool in logs and metrics, because a model may invent any name."""

Call = Callable[[Event, Context], Coroutine[Any, Any, str]]
Observe = Callable[[str, Outcome, float], None]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that the relay runs.

    Attributes:
        declaration: the tool as it is sent to the upstream.
        call: turns arguments into an output; any exception besides a ``ToolFault`` is a defect.
        max_seconds: the longest time that a call may take.
        announced: a client that receives the relay's own events gets one when the tool starts, and
            one when it finishes.
    """

    declaration: Event
    arguments: ArgumentsReader
    call: Call
    max_seconds: float
    announced: bool


class RunningCalls:
    """Counts the running calls of each session, and of all sessions."""

    def __init__(self) -> None:
        self._total = 0
        self._by_session = Counter[str]()

    @contextmanager
    def place(self, session_id: str, max_running: int) -> Iterator[None]:
        """Count a call while it runs.

        Raises:
            TooManyCalls: ``MAX_RUNNING_PER_SESSION`` calls of the session run, or ``max_running``
                calls of all sessions.
        """
        if self._by_session[session_id] >= MAX_RUNNING_PER_SESSION:
            raise TooManyCalls("too many of this session")
        if self._total >= max_running:
            raise TooManyCalls("too many of all sessions")
        self._total += 1
        self._by_session[session_id] += 1
        try:
            yield
        finally:
            self._total -= 1
            self._by_session[session_id] -= 1
            if not self._by_session[session_id]:
                del self._by_session[session_id]


class Toolbox:
    """The tools of one persona.

    Attributes:
        session_tools: all tools as they are sent to the upstream; None if the session has no list.
        served: the names of the tools that the relay runs.
        delegated: the names of the tools that the client runs.
        announced: the names of the tools whose start and end a client may receive.
        follow_up: fields of the ``response.create`` that follows outputs.
    """

    def __init__(
        self,
        session: Mapping[str, Any],
        tools: Mapping[str, Tool],
        *,
        running: RunningCalls,
        max_running: int,
        observe: Observe,
        log: Logger,
    ) -> None:
        """Hold the tools of a session.

        Args:
            session: the session of the persona.
            tools: the tools that the relay runs, by name.
            running: the calls that run now, including calls of earlier configurations.
            max_running: the largest number of calls of all sessions at a time.
            observe: receives the tool, the outcome and the duration in seconds of each call.
            log: receives a line for each call.
        """
        functions = [tool for tool in tools_of(session) if tool.get("type") == "function"]
        self.session_tools = _session_tools(session, tools) if "tools" in session else None
        self.served = frozenset(tools)
        self.delegated = frozenset(str(tool.get("name")) for tool in functions) - self.served
        self.announced = frozenset(name for name, tool in tools.items() if tool.announced)
        self.follow_up = _follow_up(session)
        self._tools = tools
        self._running = running
        self._max_running = max_running
        self._observe = observe
        self._log = log

    async def call(self, call: CallTool, context: Context) -> str:
        """Run a tool; return its output, or the error that is sent to the model instead.

        Cancelling this ends the tool where that is possible.
        """
        now = asyncio.get_running_loop().time
        started, outcome, cause = now(), Outcome.CANCELLED, None
        try:
            output = checked_output(await self._run(call, context))
            outcome = Outcome.COMPLETED
        except Exception as error:  # noqa: BLE001  # a tool must not end the session
            fault = error if isinstance(error, ToolFault) else ToolFailed(type(error).__name__)
            outcome, cause, output = fault.outcome, fault.cause, fault.output
        finally:
            name = call.name if call.name in self._tools else UNKNOWN_NAME
            self._observe(name, outcome, now() - started)
            self._log.info(
                "tool.finished",
                session_id=context.session_id,
                persona=context.persona,
                tool=name,
                call_id=context.call_id,
                outcome=outcome.value,
                duration_seconds=round(now() - started, 3),
                cause=cause,
            )
        return output

    async def _run(self, call: CallTool, context: Context) -> str:
        tool = self._tools.get(call.name)
        if tool is None:
            raise UnknownTool("the persona has no such tool")
        arguments = tool.arguments.read(call.arguments)
        with self._running.place(context.session_id, self._max_running):
            return await _run_in_time(tool, arguments, context)


async def _run_in_time(tool: Tool, arguments: Event, context: Context) -> str:
    """Run a tool for at most ``max_seconds``.

    Raises:
        ToolFault: it took longer, or failed, or raised a ``CancelledError`` of its own.
        CancelledError: the session cancelled the call.
    """
    try:
        async with asyncio.timeout(tool.max_seconds):
            return await tool.call(arguments, context)
    except TimeoutError:
        raise ToolTimeout(f"it took more than {tool.max_seconds} s") from None
    except asyncio.CancelledError:
        if _is_cancelled():
            raise
        raise ToolFailed("it was cancelled from inside") from None


def _is_cancelled() -> bool:
    """Return whether the running task was cancelled from outside."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _session_tools(session: Mapping[str, Any], tools: Mapping[str, Tool]) -> list[Event]:
    """Return the tools as they are sent to the upstream, without their ``run``, in their order."""
    return [
        tools[tool["name"]].declaration if "run" in tool else dict(tool)
        for tool in tools_of(session)
    ]


def _follow_up(session: Mapping[str, Any]) -> Event:
    """Return the fields of the next ``response.create``.

    A ``tool_choice`` that forces a call must not apply again: the model would call for ever.
    """
    choice = session.get("tool_choice")
    return {} if choice in (None, "auto", "none") else {"tool_choice": "auto"}
