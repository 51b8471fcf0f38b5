"""MCP servers that the relay connects to itself, through the official ``mcp`` package.

The package is an extra: with its dependencies (a web server, ``cryptography``) it is 25 MB and
takes most of a second to import, so the relay imports it only for a persona with an ``mcp`` tool.

Over HTTP each call has a client of its own on a shared pool of connections: when a request of a
client fails, all its other requests fail too, and they belong to other sessions. Over stdio there
is one process. A task runs it, because the context managers of the package must be left in the
task that entered them. The first call after the end of a process starts it again.

The relay discards the stderr of a server process and the log of the package: both may repeat
arguments.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self

import httpx2
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, EmbeddedResource, TextContent, TextResourceContents, Tool

from relay.core.events import Event, encode
from relay.tools.config import Mcp
from relay.tools.context import Context
from relay.tools.outcome import ToolFailed, checked_output

LIST_SECONDS: Final = 10
"""The longest time that a server may take to list its tools, at the start of the relay."""

MAX_PAGES: Final = 100
_LOGGERS = ("mcp", "client")
"""The loggers of the package."""

Spawn = Callable[[Coroutine[Any, Any, None]], object]


class McpServer(Protocol):
    """One MCP server."""

    def client(self) -> AbstractAsyncContextManager[Client]:
        """Provide a connected client."""


@dataclass(frozen=True, slots=True)
class McpTool:
    """A tool of a server.

    Attributes:
        declaration: the ``description`` and the ``parameters`` that the server reports.
    """

    server: McpServer
    name: str
    declaration: Event

    async def run(self, arguments: Event, context: Context) -> str:
        """Call it; return its text. Cancelling this cancels the call at the server.

        Raises:
            ToolFailed: the server cannot be reached, or reports a failure.
        """
        del context  # the protocol has no field for it
        try:
            async with self.server.client() as client:
                result = await client.call_tool(self.name, arguments)
        except Exception as error:
            raise ToolFailed(_cause(error)) from error
        return _output(result)


class HttpServer:
    """An MCP server at an address."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._url = url
        self._http = httpx2.AsyncClient(headers=dict(headers), timeout=None, trust_env=False)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Provide a client for one call."""
        async with Client(streamable_http_client(self._url, http_client=self._http)) as client:
            yield client

    async def close(self) -> None:
        """Close the pool of connections."""
        await self._http.aclose()


class ProcessServer:
    """An MCP server that the relay starts as a process."""

    def __init__(self, command: tuple[str, ...], env: Mapping[str, str], spawn: Spawn) -> None:
        """Describe the process; ``spawn`` starts the task that runs it."""
        self._parameters = StdioServerParameters(
            command=command[0], args=list(command[1:]), env=dict(env)
        )
        self._spawn = spawn
        self._connected: asyncio.Future[Client | None] | None = None

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Provide the client that all calls share; start the process if it does not run.

        Raises:
            ToolFailed: the process does not start.
        """
        if self._connected is None:
            self._connected = asyncio.get_running_loop().create_future()
            self._spawn(self._run(self._connected))
        client = await asyncio.shield(self._connected)
        if client is None:
            raise ToolFailed("the server did not start")
        yield client

    async def _run(self, connected: asyncio.Future[Client | None]) -> None:
        """Run the process until it ends; set ``connected``. Cancelling this ends the process."""
        ended = asyncio.Event()
        try:
            async with Client(self._transport(ended)) as client:
                connected.set_result(client)
                await ended.wait()
                self._clear(connected)  # the next call need not wait for the end of this process
        except Exception:  # noqa: BLE001, S110  # any failure: waiting calls get None below
            pass
        finally:
            self._clear(connected)
            if not connected.done():
                connected.set_result(None)

    def _clear(self, connected: asyncio.Future[Client | None]) -> None:
        """Let the next call start a new process, unless another was started already."""
        if self._connected is connected:
            self._connected = None

    @asynccontextmanager
    async def _transport(self, ended: asyncio.Event) -> AsyncIterator[tuple[Any, Any]]:
        with open(os.devnull, "w") as devnull:  # noqa: ASYNC230, PTH123  # it never blocks
            async with stdio_client(self._parameters, errlog=devnull) as (read, write):
                yield _WatchedStream(read, ended), write


class _WatchedStream:
    """A stream of messages that sets ``ended`` at its end."""

    def __init__(self, stream: Any, ended: asyncio.Event) -> None:
        self._stream = stream
        self._ended = ended

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._stream.__anext__()
        except BaseException:
            self._ended.set()
            raise

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> Any:
        return await self._stream.__aexit__(*error)


class McpServers:
    """The MCP servers of all personas: tools that name the same server share it."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._running: set[asyncio.Task[None]] = set()
        self._servers: dict[Hashable, HttpServer | ProcessServer] = {}
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)

    def get(self, config: Mcp) -> McpServer:
        """Return the server of a tool."""
        if config.server not in self._servers:
            self._servers[config.server] = self._make(config)
        return self._servers[config.server]

    async def close(self) -> None:
        """End the processes, and close the connections."""
        for task in self._running:
            task.cancel()
        for server in self._servers.values():
            if isinstance(server, HttpServer):
                await server.close()

    def _make(self, config: Mcp) -> HttpServer | ProcessServer:
        if config.url is not None:
            return HttpServer(config.url, _revealed(config.headers))
        return ProcessServer(config.command or (), _revealed(config.env), self._spawn)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks.create_task(work, name="mcp")
        self._running.add(task)
        task.add_done_callback(self._running.discard)


async def list_tools(server: McpServer) -> Mapping[str, McpTool] | ToolFailed:
    """Return the tools of a server by name, or the reason why it does not list them."""
    tools: list[Tool] = []
    cursor: str | None = None
    try:
        async with asyncio.timeout(LIST_SECONDS), server.client() as client:
            for _ in range(MAX_PAGES):
                page = await client.list_tools(cursor=cursor)
                tools += page.tools
                cursor = page.next_cursor
                if cursor is None:
                    break
    except Exception as error:  # noqa: BLE001  # any failure is reported with the tool's name
        return ToolFailed(_cause(error))
    return {tool.name: McpTool(server, tool.name, _declaration(tool)) for tool in tools}


def _declaration(tool: Tool) -> Event:
    described = {"description": tool.description} if tool.description else {}
    return {**described, "parameters": {"properties": {}, **tool.input_schema}}


def _revealed(secrets: Mapping[str, Any]) -> dict[str, str]:
    return {name: value.get_secret_value() for name, value in sorted(secrets.items())}


def _output(result: CallToolResult) -> str:
    """Return the text of a result.

    Raises:
        ToolFailed: the server reports a failure; its text is sent to the model.
    """
    text = "\n".join(_text(block) for block in result.content)
    if result.is_error:
        raise ToolFailed("the server reports a failure", checked_output(text) or None)
    if not text and result.structured_content is not None:
        return encode(result.structured_content).decode()
    return text


def _text(block: object) -> str:
    match block:
        case TextContent(text=text) | EmbeddedResource(resource=TextResourceContents(text=text)):
            return text
    return f"[{getattr(block, 'type', 'something')} that is not text]"


def _cause(error: BaseException) -> str:
    """Return the cause of a failure; look inside exception groups."""
    match error:
        case BaseExceptionGroup(exceptions=[first, *_]):
            return _cause(first)
        case ToolFailed(cause=cause):
            return cause
        case MCPError(code=code):
            return f"the server answered with error {code}"
    return f"no answer from the server: {type(error).__name__}"
