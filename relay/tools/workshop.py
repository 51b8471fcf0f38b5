"""Makes the toolboxes of personas, and owns what tools need: connections, processes, threads.

There is one for as long as the application runs. A configuration that is read anew gets toolboxes
of its own, and sessions that run keep theirs; a server that both name stays the same.
"""

import asyncio
from collections.abc import AsyncIterator, Hashable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from structlog.typing import FilteringBoundLogger as Logger

from relay.core.events import Event
from relay.tools.arguments import Arguments, schema_faults
from relay.tools.config import Http, Mcp, Run, run_of, signing_bytes, tools_of
from relay.tools.function import Function, Unusable
from relay.tools.outcome import ToolFailed
from relay.tools.toolbox import Call, Observe, Running, Tool, Toolbox, Workbench
from relay.tools.webhook import Webhook, connections
from relay.wire.threads import Threads
from relay.yaml.source import KeyPath, dotted
from relay.yaml.value import did_you_mean

if TYPE_CHECKING:
    from relay.tools.mcp_server import McpTool, Servers

ANYTHING: Final[Mapping[str, Any]] = {"type": "object", "properties": {}}
"""The arguments of a tool of which nothing is said. The API wants ``properties``, even empty ones,
where MCP does not (openai-agents-python, ``src/agents/mcp/util.py``)."""

MAX_THREADS = 64
"""Plain functions at a time, those included that were given up and still run."""


class ToolsUnusable(Exception):
    """Some tools cannot be run.

    Attributes:
        problems: the persona, the key in its file, and what is wrong.
    """

    def __init__(self, problems: Sequence[tuple[str, KeyPath, str]]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{who}: {dotted(key)}: {said}" for who, key, said in problems))


@dataclass(frozen=True, slots=True)
class Order:
    """What a persona wants of its tools.

    Attributes:
        session: its session, which was checked.
        max_tool_seconds: how long one tool may run.
    """

    session: Mapping[str, Any]
    max_tool_seconds: float


@dataclass(frozen=True, slots=True)
class _Offer:
    """A tool as whoever runs it describes it: what a persona leaves out is taken from here."""

    call: Call
    description: Event
    max_seconds: float = float("inf")


Listing = Mapping[str, "McpTool"] | ToolFailed
"""The tools of an MCP server by name, or why it tells none."""


class Workshop:
    """Makes toolboxes."""

    def __init__(
        self, http: aiohttp.ClientSession, tasks: asyncio.TaskGroup, observe: Observe, log: Logger
    ) -> None:
        self._http = http
        self._tasks = tasks
        self._observe = observe
        self._log = log
        self._threads = Threads("tool", MAX_THREADS)
        self._running = Running()
        self._servers: Servers | None = None

    async def equip(
        self,
        orders: Mapping[str, Order],
        *,
        signing_key: str | None = None,
        max_running: int = 1000,
    ) -> Mapping[str, Toolbox]:
        """Return the toolbox of each persona; ask MCP servers for what they have.

        Raises:
            ToolsUnusable: with every tool that cannot be run.
        """
        key = None if signing_key is None else signing_bytes(signing_key)
        bench = Workbench(self._running, max_running, self._observe, self._log)
        listings = await self._listings(order.session for order in orders.values())
        problems: list[tuple[str, KeyPath, str]] = []
        tools: dict[str, dict[str, Tool]] = {persona: {} for persona in orders}
        for persona, order in orders.items():
            for index, tool, run in _runs(order.session):
                try:
                    offer = self._offer(tool["name"], run, key, listings)
                    made = _made(tool, run, offer, order.max_tool_seconds)
                    tools[persona][tool["name"]] = made
                except Unusable as unusable:
                    problems.append((persona, ("session", "tools", index, "run"), str(unusable)))
        if problems:
            raise ToolsUnusable(problems)
        return {name: Toolbox(orders[name].session, made, bench) for name, made in tools.items()}

    async def close(self) -> None:
        """End the processes of MCP servers, and close connections to others."""
        if self._servers is not None:
            await self._servers.close()

    def _offer(
        self, name: str, run: Run, key: bytes | None, listings: Mapping[Hashable, Listing]
    ) -> _Offer:
        match run:
            case Run(http=Http() as http):
                seconds = http.timeout_seconds or float("inf")
                return _Offer(Webhook(self._http, http, key).run, {}, seconds)
            case Run(python=str() as target):
                function = Function.load(target)
                call = partial(function.run, threads=self._threads)
                return _Offer(call, function.declaration)
            case Run(mcp=Mcp() as mcp):
                return _listed(mcp.tool or name, listings[mcp.server])
        raise AssertionError("a run that was checked names who runs it")

    async def _listings(self, sessions: Iterable[Mapping[str, Any]]) -> Mapping[Hashable, Listing]:
        """Ask all MCP servers at once what they have."""
        named = [run.mcp for session in sessions for _, _, run in _runs(session) if run.mcp]
        if not named:
            return {}
        from relay.tools import mcp_server  # noqa: PLC0415  # an extra, and slow to import

        self._servers = self._servers or mcp_server.Servers(self._tasks)
        servers = {mcp.server: self._servers.get(mcp) for mcp in named}
        async with asyncio.TaskGroup() as group:
            asked = {
                key: group.create_task(mcp_server.listing(server))
                for key, server in servers.items()
            }
        return {key: task.result() for key, task in asked.items()}


@asynccontextmanager
async def opened(observe: Observe, log: Logger) -> AsyncIterator[Workshop]:
    """Provide a workshop, and close it."""
    try:
        async with connections() as http, asyncio.TaskGroup() as tasks:
            workshop = Workshop(http, tasks, observe, log)
            try:
                yield workshop
            finally:
                await workshop.close()
    except BaseExceptionGroup as group:
        # Its tasks raise nothing, so what is in it was raised by whoever uses the workshop.
        raise group.exceptions[0] from None


def _runs(session: Mapping[str, Any]) -> Iterable[tuple[int, Mapping[str, Any], Run]]:
    for index, tool in enumerate(tools_of(session)):
        if (run := run_of(tool)) is not None:
            yield index, tool, run


def _listed(name: str, listing: Listing) -> _Offer:
    if isinstance(listing, ToolFailed):
        raise Unusable(f"cannot be asked for its tools: {listing.cause}")
    if name not in listing:
        raise Unusable(f"has no tool of this name{did_you_mean(name, listing)}")
    tool = listing[name]
    return _Offer(tool.run, tool.declaration)


def _made(tool: Mapping[str, Any], run: Run, offer: _Offer, max_tool_seconds: float) -> Tool:
    """Join what the persona says of a tool with what whoever runs it says.

    Raises:
        Unusable: no arguments can be checked against what is said of them.
    """
    written = {key: value for key, value in tool.items() if key != "run"}
    declaration = offer.description | written
    parameters = declaration.get("parameters", ANYTHING)
    for path, said in schema_faults(parameters):
        raise Unusable(f"has a schema that is of no use: {dotted(path)} {said}")
    return Tool(
        declaration,
        Arguments(parameters),
        offer.call,
        min(max_tool_seconds, offer.max_seconds),
        announced=run.announce,
    )
