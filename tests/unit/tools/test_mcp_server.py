"""Tools of real MCP servers, from the official package, over stdio and over HTTP."""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from aiohttp.test_utils import unused_port
from paths import ROOT

from relay.core.commands import CallTool
from relay.tools import Context
from relay.tools.config import has_mcp
from relay.tools.runtime import PersonaTools, ToolRuntime, ToolsUnusable, open_runtime
from relay.tools.toolbox import Toolbox

# An import here would cost a second in every collection of tests.
if not has_mcp():
    pytest.skip('needs the extra "mcp"', allow_module_level=True)

PROGRAM = str(ROOT / "tests/support/mcp_clinic.py")
STDIO: dict[str, Any] = {"command": [sys.executable, PROGRAM], "env": {"CLINIC_KEY": "k1"}}


def persona(server: dict[str, Any], *names: str, **fields: Any) -> PersonaTools:
    tools = [{"type": "function", "name": name, "run": {"mcp": server}, **fields} for name in names]
    return PersonaTools({"tools": tools}, max_tool_seconds=10)


@asynccontextmanager
async def tool_runtime() -> AsyncIterator[ToolRuntime]:
    log = structlog.testing.CapturingLogger()
    async with asyncio.timeout(30), open_runtime(lambda *_: None, log) as runtime:
        yield runtime


@asynccontextmanager
async def http_server(port: int) -> AsyncIterator[dict[str, Any]]:
    """Run the server over HTTP."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, PROGRAM, "--port", str(port), stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        async for line in process.stderr:
            if b"running on" in line:
                break
        yield {"url": f"http://127.0.0.1:{port}/mcp"}
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


@asynccontextmanager
async def either(kind: str) -> AsyncIterator[dict[str, Any]]:
    if kind == "stdio":
        yield STDIO
        return
    async with http_server(unused_port()) as server:
        yield server


async def call(toolbox: Toolbox, name: str, **arguments: Any) -> str:
    context = Context("sess_1", "receptionist", "kiosk", None, f"call_{name}")
    return await toolbox.call(CallTool("c1", name, json.dumps(arguments)), context)


@pytest.mark.parametrize("kind", ["stdio", "http"])
async def test_a_tool_is_described_by_its_server_and_called_there(kind: str) -> None:
    names = ("opening_hours", "slots", "silent", "floor_plan", "refuses", "large")
    async with either(kind) as server, tool_runtime() as runtime:
        toolbox = (await runtime.toolboxes({"p": persona(server, *names)}))["p"]

        assert toolbox.session_tools is not None
        [declared, *_] = toolbox.session_tools
        hours = await call(toolbox, "opening_hours", day="monday", breaks=True)
        misfit = await call(toolbox, "opening_hours", day=5)
        slots = await call(toolbox, "slots")
        silent = await call(toolbox, "silent")
        plan = await call(toolbox, "floor_plan")
        refused = await call(toolbox, "refuses", day="sunday")
        large = await call(toolbox, "large", size=100_000)

    assert declared["type"] == "function"
    assert declared["description"] == "The hours at which the clinic is open."
    assert set(declared["parameters"]["properties"]) == {"day", "breaks"}
    assert "run" not in declared
    assert hours == "monday True 9-17"
    assert "$.day" in json.loads(misfit)["error"]
    assert json.loads(slots) == {"monday": 2}
    assert json.loads(silent) == {"free": 2}
    assert plan == "[image that is not text]"
    assert "closed on sunday" in json.loads(refused)["error"]
    assert "too large" in json.loads(large)["error"]


@pytest.mark.parametrize("kind", ["stdio", "http"])
async def test_a_hanging_call_delays_no_other_and_can_be_cancelled(kind: str) -> None:
    async with either(kind) as server, tool_runtime() as runtime:
        wanted = persona(server, "hangs", "opening_hours")
        toolbox = (await runtime.toolboxes({"p": wanted}))["p"]
        async with asyncio.TaskGroup() as tasks:
            hanging = tasks.create_task(call(toolbox, "hangs"))
            assert await call(toolbox, "opening_hours", day="monday") == "monday False 9-17"
            hanging.cancel()
        assert await call(toolbox, "opening_hours", day="sunday") == "sunday False 9-17"


async def process_of(toolbox: Toolbox) -> int:
    """Return the id of the process that answers."""
    return int((await call(toolbox, "process")).split()[0])


async def test_the_next_call_starts_a_dead_process_again(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async with tool_runtime() as runtime:
        toolbox = (await runtime.toolboxes({"p": persona(STDIO, "dies", "process")}))["p"]
        before = await process_of(toolbox)
        died = await call(toolbox, "dies")
        after = await process_of(toolbox)

    assert "failed" in json.loads(died)["error"]
    assert before != after
    assert capfd.readouterr() == ("", "")
    assert not logging.getLogger("mcp.client.stdio").isEnabledFor(logging.CRITICAL)


async def test_the_relay_notices_the_death_of_a_process_between_calls() -> None:
    async with tool_runtime() as runtime:
        toolbox = (await runtime.toolboxes({"p": persona(STDIO, "process")}))["p"]
        before = await process_of(toolbox)
        assert runtime._servers is not None
        [task] = runtime._servers._running
        os.kill(before, signal.SIGKILL)
        await asyncio.wait([task])
        assert await process_of(toolbox) != before


async def test_one_process_serves_all_personas_and_ends_with_the_runtime(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PLANTED", "a secret of the relay's")
    async with tool_runtime() as runtime:
        personas = {"a": persona(STDIO, "process"), "b": persona(STDIO, "process")}
        first = await runtime.toolboxes(personas)
        second = await runtime.toolboxes(personas)
        seen = {await call(toolbox, "process") for toolbox in (*first.values(), *second.values())}

    [(process, key, planted)] = [answer.split() for answer in seen]
    assert key == "k1"
    assert planted == "None"
    with pytest.raises(ProcessLookupError):
        os.kill(int(process), 0)


async def test_a_call_reaches_a_server_that_is_back() -> None:
    port = unused_port()
    async with tool_runtime() as runtime:
        async with http_server(port) as server:
            toolbox = (await runtime.toolboxes({"p": persona(server, "process")}))["p"]
            before = await process_of(toolbox)
        down = await call(toolbox, "process")
        async with http_server(port):
            after = await process_of(toolbox)

    assert "failed" in json.loads(down)["error"]
    assert before != after


@asynccontextmanager
async def cutting_proxy(port: int, word: bytes) -> AsyncIterator[dict[str, Any]]:
    """Proxy the server, but close the connection at the first call with this word."""
    uncut = [word]

    async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            if uncut and b"tools/call" in data and word in data:
                uncut.clear()
                break
            target.write(data)
        target.close()

    async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(pump(source, writer))
            tasks.create_task(pump(reader, target))

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    async with server:
        yield {"url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"}


async def test_a_failing_call_fails_no_other_call() -> None:
    """A client of the package fails all its calls when one of their replies is lost."""
    port = unused_port()
    async with http_server(port), cutting_proxy(port, b'"slots"') as server:
        async with tool_runtime() as runtime, asyncio.TaskGroup() as tasks:
            wanted = persona(server, "hangs", "slots")
            toolbox = (await runtime.toolboxes({"p": wanted}))["p"]
            hanging = tasks.create_task(call(toolbox, "hangs"))
            assert "failed" in json.loads(await call(toolbox, "slots"))["error"]
            assert json.loads(await call(toolbox, "slots")) == {"monday": 2}
            assert not hanging.done()
            hanging.cancel()


@pytest.mark.parametrize(
    ("server", "name", "reason"),
    [
        (STDIO, "opening_hour", "has no tool of this name: did you mean opening_hours?"),
        ({"command": ["no-such-program"]}, "x", "cannot be asked for its tools: "),
        ({"command": [sys.executable, "-c", "pass"]}, "x", "cannot be asked for its tools: "),
        ({"url": "http://127.0.0.1:1/mcp"}, "x", "cannot be asked for its tools: "),
    ],
)
async def test_a_tool_that_its_server_does_not_list_is_a_problem_at_the_start(
    server: dict[str, Any], name: str, reason: str
) -> None:
    async with tool_runtime() as runtime:
        with pytest.raises(ToolsUnusable, match=r"p: session\.tools\[0\]\.run: ") as unusable:
            await runtime.toolboxes({"p": persona(server, name)})

    [(name_of_persona, path, message)] = unusable.value.problems
    assert (name_of_persona, path) == ("p", ("session", "tools", 0, "run"))
    assert message.startswith(reason)


async def test_the_persona_may_rename_and_describe_a_tool() -> None:
    async with tool_runtime() as runtime:
        wanted = persona(STDIO | {"tool": "opening_hours"}, "hours", description="When it is open.")
        toolbox = (await runtime.toolboxes({"p": wanted}))["p"]
        assert toolbox.session_tools is not None
        [declared] = toolbox.session_tools
        assert await call(toolbox, "hours", day="monday") == "monday False 9-17"

    assert (declared["name"], declared["description"]) == ("hours", "When it is open.")
    assert "day" in declared["parameters"]["properties"]
