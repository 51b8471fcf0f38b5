"""Makes the toolboxes of personas, and owns their connections, processes and threads.

One runtime exists while the application runs. A configuration that is read again gets toolboxes of
its own, and running sessions keep theirs. An MCP server that both configurations name stays
connected.
"""

import asyncio
from collections.abc import AsyncIterator, Hashable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from structlog.typing import FilteringBoundLogger as Logger

from relay.core.events import Event
from relay.tools.arguments import ArgumentsReader, schema_faults
from relay.tools.config import Http, Mcp, Run, run_of, signing_bytes, tools_of
from relay.tools.function import Function, ToolUnusable
from relay.tools.outcome import ToolFailed
from relay.tools.toolbox import Call, Observe, RunningCalls, Tool, Toolbox
from relay.tools.webhook import Webhook, connections
from relay.wire.off_loop import off_loop
from relay.wire.threads import Threads
from relay.yaml.source import KeyPath, dotted
from relay.yaml.value import did_you_mean

if TYPE_CHECKING:
    from relay.tools.mcp_server import McpServers, McpTool

ANY_ARGUMENTS: Final[Mapping[str, Any]] = {"type": "object", "properties": {}}
"""The parameters of a tool that declares none. The API requires ``properties``, even empty ones;
MCP does not (openai-agents-python, ``src/agents/mcp/util.py``)."""

MAX_THREADS = 64
"""Plain functions at a time, including those that have timed out and still run."""


class ToolsUnusable(Exception):
    """Some tools cannot be run.

    Attributes:
        problems: for each, the persona, the key in its file, and the reason.
    """

    def __init__(self, problems: Sequence[tuple[str, KeyPath, str]]) -> None:
        self.problems = tuple(problems)
        texts = (f"{persona}: {dotted(key)}: {reason}" for persona, key, reason in problems)
        super().__init__("; ".join(texts))


@dataclass(frozen=True, slots=True)
class PersonaTools:
    """The configuration of the tools of one persona.

    Attributes:
        session: its session, which was checked.
        max_tool_seconds: the longest time that one call may take.
    """

    session: Mapping[str, Any]
    max_tool_seconds: float


@dataclass(frozen=True, slots=True)
class _Implementation:
    """The code behind a tool; its declaration fills in the fields that the persona leaves out."""

    call: Call
    declaration: Event
    max_seconds: float = float("inf")


ServerTools = Mapping[str, "McpTool"] | ToolFailed
"""The tools of an MCP server by name, or the reason why it does not list them."""


class ToolRuntime:
    """Makes toolboxes, and closes their processes and connections."""

    def __init__(
        self, http: aiohttp.ClientSession, tasks: asyncio.TaskGroup, observe: Observe, log: Logger
    ) -> None:
        self._http = http
        self._tasks = tasks
        self._observe = observe
        self._log = log
        self._threads = Threads("tool", MAX_THREADS)
        self._running = RunningCalls()
        self._servers: McpServers | None = None

    async def toolboxes(
        self,
        personas: Mapping[str, PersonaTools],
        *,
        signing_key: str | None = None,
        max_running: int = 1000,
    ) -> Mapping[str, Toolbox]:
        """Return the toolbox of each persona; ask MCP servers for their tools.

        Raises:
            ToolsUnusable: with every tool that cannot be run.
        """
        key = None if signing_key is None else signing_bytes(signing_key)
        listed = await self._list_tools(persona.session for persona in personas.values())
        for persona in personas.values():
            _import_functions(persona.session)
        made = await off_loop(
            lambda: {name: self._make_tools(each, key, listed) for name, each in personas.items()}
        )
        problems = [(name, *problem) for name, (_, found) in made.items() for problem in found]
        if problems:
            raise ToolsUnusable(problems)
        make_toolbox = partial(
            Toolbox,
            running=self._running,
            max_running=max_running,
            observe=self._observe,
            log=self._log,
        )
        return {n: make_toolbox(personas[n].session, tools) for n, (tools, _) in made.items()}

    async def close(self) -> None:
        """End the processes of MCP servers, and close the connections to others."""
        if self._servers is not None:
            await self._servers.close()

    def _make_tools(
        self, persona: PersonaTools, key: bytes | None, listed: Mapping[Hashable, ServerTools]
    ) -> tuple[dict[str, Tool], list[tuple[KeyPath, str]]]:
        """Return the tools of a persona by name, and the problems of those that cannot be run."""
        tools: dict[str, Tool] = {}
        problems: list[tuple[KeyPath, str]] = []
        for index, tool, run in _runs(persona.session):
            name = tool["name"]
            try:
                implementation = self._implementation(name, run, key, listed)
                tools[name] = _make_tool(tool, run, implementation, persona.max_tool_seconds)
            except ToolUnusable as unusable:
                problems.append((("session", "tools", index, "run"), str(unusable)))
        return tools, problems

    def _implementation(
        self, name: str, run: Run, key: bytes | None, listed: Mapping[Hashable, ServerTools]
    ) -> _Implementation:
        match run:
            case Run(http=Http() as http):
                seconds = http.timeout_seconds or float("inf")
                return _Implementation(Webhook(self._http, http, key).run, {}, seconds)
            case Run(python=str() as target):
                function = Function.load(target)
                call = partial(function.run, threads=self._threads)
                return _Implementation(call, function.declaration)
            case Run(mcp=Mcp() as mcp):
                return _find(mcp.tool or name, listed[mcp.server])
        raise AssertionError("a checked run has exactly one of http, python and mcp")

    async def _list_tools(
        self, sessions: Iterable[Mapping[str, Any]]
    ) -> Mapping[Hashable, ServerTools]:
        """Ask all MCP servers for their tools at the same time."""
        named = [run.mcp for session in sessions for _, _, run in _runs(session) if run.mcp]
        if not named:
            return {}
        from relay.tools import mcp_server  # noqa: PLC0415  # an extra, and slow to import

        self._servers = self._servers or mcp_server.McpServers(self._tasks)
        servers = {mcp.server: self._servers.get(mcp) for mcp in named}
        async with asyncio.TaskGroup() as group:
            asked = {
                key: group.create_task(mcp_server.list_tools(server))
                for key, server in servers.items()
            }
        return {key: task.result() for key, task in asked.items()}


@asynccontextmanager
async def open_runtime(observe: Observe, log: Logger) -> AsyncIterator[ToolRuntime]:
    """Provide a runtime, and close it."""
    try:
        async with connections() as http, asyncio.TaskGroup() as tasks:
            runtime = ToolRuntime(http, tasks, observe, log)
            try:
                yield runtime
            finally:
                await runtime.close()
    except BaseExceptionGroup as group:
        # The tasks of the group raise nothing, so this exception came from the caller's block.
        raise group.exceptions[0] from None


def _runs(session: Mapping[str, Any]) -> Iterable[tuple[int, Mapping[str, Any], Run]]:
    """Yield the tools that the relay runs: the index, the tool, and its ``run``."""
    for index, tool in enumerate(tools_of(session)):
        if (run := run_of(tool)) is not None:
            yield index, tool, run


def _import_functions(session: Mapping[str, Any]) -> None:
    """Import the modules of Python functions, on the event loop: a module may need it.

    A module that fails fails again later, where the error is reported.
    """
    for _, _, run in _runs(session):
        if run.python:
            with suppress(Exception):
                import_module(run.python.partition(":")[0])


def _find(name: str, tools: ServerTools) -> _Implementation:
    """Return a tool of an MCP server.

    Raises:
        ToolUnusable: the server lists no tool of this name.
    """
    if isinstance(tools, ToolFailed):
        raise ToolUnusable(f"cannot be asked for its tools: {tools.cause}")
    if name not in tools:
        raise ToolUnusable(f"has no tool of this name{did_you_mean(name, tools)}")
    tool = tools[name]
    return _Implementation(tool.run, tool.declaration)


def _make_tool(
    tool: Mapping[str, Any], run: Run, implementation: _Implementation, max_tool_seconds: float
) -> Tool:
    """Join the fields that the persona gives a tool with the declaration of its implementation.

    Raises:
        ToolUnusable: the relay cannot check arguments against the parameters.
    """
    written = {key: value for key, value in tool.items() if key != "run"}
    declaration = implementation.declaration | written
    parameters = declaration.get("parameters", ANY_ARGUMENTS)
    for path, reason in schema_faults(parameters):
        raise ToolUnusable(f"has a schema that cannot be used: {dotted(path)} {reason}")
    return Tool(
        declaration,
        ArgumentsReader(parameters),
        implementation.call,
        min(max_tool_seconds, implementation.max_seconds),
        announced=run.announce,
    )
