"""Runs the tools of one persona: each call gets an output, whatever happens to it.

A call is one coroutine beside the audio. It is bounded in time, in size and in number, and
cancelling it ends what can be ended.
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
from relay.tools.arguments import Arguments
from relay.tools.config import tools_of
from relay.tools.context import Context
from relay.tools.outcome import (
    Outcome,
    ToolFailed,
    ToolFault,
    ToolTimeout,
    TooManyCalls,
    UnknownTool,
    usable,
)

MAX_RUNNING_PER_SESSION: Final = 8
"""A model calls a few tools at a time; one that calls more has lost its way."""

UNKNOWN: Final = "other"
"""What a tool that nobody has is called in logs and metrics: a model may have made up its name."""

Call = Callable[[Event, Context], Coroutine[Any, Any, str]]
Observe = Callable[[str, Outcome, float], None]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that the server runs.

    Attributes:
        declaration: what the upstream is told of it.
        call: turns arguments into an output; what it raises besides a ``ToolFault`` is a defect.
        max_seconds: how long it may take.
        announced: a client that wants the relay's own events is told when it runs.
    """

    declaration: Event
    arguments: Arguments
    call: Call
    max_seconds: float
    announced: bool


class Running:
    """Counts the calls that run, of each session and of all."""

    def __init__(self) -> None:
        self._all = 0
        self._of = Counter[str]()

    @contextmanager
    def place(self, session_id: str, max_running: int) -> Iterator[None]:
        """Take a place for a call.

        Raises:
            TooManyCalls: there is none.
        """
        if self._of[session_id] >= MAX_RUNNING_PER_SESSION:
            raise TooManyCalls("too many of this session")
        if self._all >= max_running:
            raise TooManyCalls("too many of all sessions")
        self._all += 1
        self._of[session_id] += 1
        try:
            yield
        finally:
            self._all -= 1
            self._of[session_id] -= 1
            if not self._of[session_id]:
                del self._of[session_id]


@dataclass(frozen=True, slots=True)
class Workbench:
    """What the toolboxes of one configuration share.

    Attributes:
        running: the calls that run now, those of former configurations included.
        max_running: how many may, of all sessions.
        observe: takes in the tool, the outcome and the seconds of each call.
    """

    running: Running
    max_running: int
    observe: Observe
    log: Logger


class Toolbox:
    """The tools of one persona.

    Attributes:
        session_tools: what the upstream is told of all of them; None if the session lists none.
        served: the names of those that the server runs.
        delegated: the names of those that the client runs.
        announced: the names of those that a client may be told of when they run.
        follow_up: fields of the ``response.create`` that follows outputs.
    """

    def __init__(
        self, session: Mapping[str, Any], tools: Mapping[str, Tool], bench: Workbench
    ) -> None:
        """Hold the tools that the server runs of those that a session lists."""
        functions = [tool for tool in tools_of(session) if tool.get("type") == "function"]
        self.session_tools = _session_tools(session, tools) if "tools" in session else None
        self.served = frozenset(tools)
        self.delegated = frozenset(str(tool.get("name")) for tool in functions) - self.served
        self.announced = frozenset(name for name, tool in tools.items() if tool.announced)
        self.follow_up = _follow_up(session)
        self._tools = tools
        self._bench = bench

    async def call(self, call: CallTool, context: Context) -> str:
        """Run a tool; return its output, or what the model is told instead.

        Cancelling it ends the tool as far as that can be done.
        """
        now = asyncio.get_running_loop().time
        started, outcome, cause = now(), Outcome.CANCELLED, None
        try:
            output = usable(await self._run(call, context))
            outcome = Outcome.COMPLETED
        except Exception as error:  # noqa: BLE001  # a tool must not end the session
            fault = error if isinstance(error, ToolFault) else ToolFailed(type(error).__name__)
            outcome, cause, output = fault.outcome, fault.cause, fault.output
        finally:
            name = call.name if call.name in self._tools else UNKNOWN
            self._bench.observe(name, outcome, now() - started)
            self._bench.log.info(
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
        with self._bench.running.place(context.session_id, self._bench.max_running):
            return await _bounded(tool, arguments, context)


async def _bounded(tool: Tool, arguments: Event, context: Context) -> str:
    """Run a tool for as long as it may; tell our cancellation from one of its own."""
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
    """Tell whether somebody wants the task to end."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _session_tools(session: Mapping[str, Any], tools: Mapping[str, Tool]) -> list[Event]:
    """Return the list that goes to the upstream, in its order: it must not learn who runs what."""
    return [
        tools[tool["name"]].declaration if "run" in tool else dict(tool)
        for tool in tools_of(session)
    ]


def _follow_up(session: Mapping[str, Any]) -> Event:
    """Return what keeps a model that must call a tool from calling one after another for ever."""
    choice = session.get("tool_choice")
    return {} if choice in (None, "auto", "none") else {"tool_choice": "auto"}
