"""Every call gets an output, whatever its tool does, and no call waits for another."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import clinic_tools
import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer

from relay.core.commands import CallTool
from relay.tools import Context
from relay.tools.outcome import MAX_OUTPUT_BYTES, Outcome
from relay.tools.runtime import PersonaTools, ToolRuntime, ToolsUnusable, open_runtime
from relay.tools.toolbox import MAX_RUNNING_PER_SESSION, Toolbox


@pytest.fixture(autouse=True)
def _release() -> Iterator[None]:
    """End the hanging threads of a test with the test."""
    clinic_tools.released.clear()
    yield
    clinic_tools.released.set()


@dataclass
class RunningTools:
    """The tools of a persona, with their log lines and observed calls."""

    toolbox: Toolbox
    runtime: ToolRuntime
    log: list[structlog.testing.CapturedCall]
    observed: list[tuple[str, Outcome, float]]

    async def call(self, name: str, session_id: str = "sess_1", /, **arguments: Any) -> str:
        return await self.write(name, json.dumps(arguments), session_id)

    async def write(self, name: str, arguments: str, session_id: str = "sess_1") -> str:
        context = Context(session_id, "receptionist", "kiosk", "ana", f"call_{session_id}")
        return await self.toolbox.call(CallTool(context.call_id, name, arguments), context)


def python(*names: str, **fields: Any) -> list[dict[str, Any]]:
    return [
        {"type": "function", "name": name, "run": {"python": f"clinic_tools:{name}"}, **fields}
        for name in names
    ]


@asynccontextmanager
async def running_tools(
    tools: list[dict[str, Any]],
    max_tool_seconds: float = 5,
    session: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[RunningTools]:
    observed: list[tuple[str, Outcome, float]] = []
    log = structlog.testing.CapturingLogger()
    async with open_runtime(lambda *call: observed.append(call), log) as runtime:
        persona = PersonaTools({"tools": tools, **(session or {})}, max_tool_seconds)
        toolboxes = await runtime.toolboxes({"receptionist": persona}, **settings)
        yield RunningTools(toolboxes["receptionist"], runtime, log.calls, observed)


def error_of(output: str) -> str:
    return str(json.loads(output)["error"])


async def test_the_output_of_the_tool_is_returned() -> None:
    async with running_tools(python("token")) as here:
        output = await here.call("token", token="t-1")

    assert output == "t-1 sess_1 call_sess_1"
    [(tool, outcome, seconds)] = here.observed
    assert (tool, outcome) == ("token", "completed")
    assert 0 <= seconds < 5


@pytest.mark.parametrize(
    ("tool", "arguments", "outcome", "message"),
    [
        ("raises", '{"secret":"PLANTED"}', "failed", "The tool failed."),
        ("leaves", '{"secret":"PLANTED"}', "failed", "The tool failed."),
        ("cancels_itself", "{}", "failed", "The tool failed."),
        ("gives_up", "{}", "failed", "The tool failed."),
        ("half_a_pair", "", "failed", "not readable text"),
        ("large", f'{{"size":{MAX_OUTPUT_BYTES + 1}}}', "failed", "too large"),
        ("unprintable", "{}", "failed", "cannot be read"),
        ("hangs", "{}", "timeout", "did not answer in time"),
        ("hangs_in_a_thread", "{}", "timeout", "did not answer in time"),
        ("token", '{"token":5,"PLANTED":1}', "invalid_arguments", "Correct them"),
        ("token", '{"token":', "invalid_arguments", "not valid JSON"),
        ("PLANTED", "{}", "unknown_tool", "no tool of this name"),
    ],
)
async def test_a_fault_is_an_output_with_a_message_and_a_cause_without_any_content(
    tool: str, arguments: str, outcome: str, message: str
) -> None:
    names = ("raises", "leaves", "cancels_itself", "gives_up", "half_a_pair", "large", "token")
    others = ("unprintable", "hangs", "hangs_in_a_thread")
    async with running_tools(python(*names, *others), 0.05) as here:
        output = await here.write(tool, arguments)

    [line] = [entry.kwargs for entry in here.log]
    assert message in error_of(output)
    assert line["outcome"] == outcome == here.observed[0][1]
    assert line["cause"]
    assert line["tool"] == here.observed[0][0] == ("other" if tool == "PLANTED" else tool)
    assert "PLANTED" not in json.dumps(line)


async def test_an_output_may_have_the_largest_allowed_size() -> None:
    async with running_tools(python("large")) as here:
        assert len(await here.call("large", size=MAX_OUTPUT_BYTES)) == MAX_OUTPUT_BYTES


async def test_a_cancelled_call_is_counted_and_frees_its_place() -> None:
    async with running_tools(python("hangs", "token"), max_running=1) as here:
        async with asyncio.TaskGroup() as tasks:
            hanging = tasks.create_task(here.call("hangs"))
            await asyncio.sleep(0)
            assert "Too many" in error_of(await here.call("token", token="t"))
            hanging.cancel()
        assert (await here.call("token", token="t")).startswith("t ")

    outcomes = [outcome.value for _, outcome, _ in here.observed]
    assert outcomes == ["too_many", "cancelled", "completed"]


async def test_a_session_with_too_many_calls_leaves_room_for_other_sessions() -> None:
    async with running_tools(python("hangs", "token")) as here, asyncio.TaskGroup() as tasks:
        hanging = [
            tasks.create_task(here.call("hangs", "sess_1")) for _ in range(MAX_RUNNING_PER_SESSION)
        ]
        await asyncio.sleep(0)
        assert "Too many" in error_of(await here.call("token", "sess_1", token="t"))
        assert (await here.call("token", "sess_2", token="t")).startswith("t ")
        for task in hanging:
            task.cancel()

    assert not here.runtime._running._by_session


async def test_a_hanging_tool_delays_no_other_call() -> None:
    names = ("hangs", "hangs_in_a_thread")
    async with running_tools(python(*names, "token", "text")) as here, asyncio.TaskGroup() as tasks:
        hanging = [tasks.create_task(here.call(name)) for name in names]
        await asyncio.sleep(0)
        started = time.monotonic()
        assert (await here.call("token", token="t")).startswith("t ")
        assert await here.call("text") == "plain"
        assert time.monotonic() - started < 1
        for task in hanging:
            task.cancel()


async def test_an_output_never_reaches_another_session() -> None:
    async with (
        running_tools(python("token"), max_running=200) as here,
        asyncio.TaskGroup() as tasks,
    ):
        sessions = [f"sess_{number}" for number in range(200)]
        called = {
            session_id: tasks.create_task(here.call("token", session_id, token=f"for {session_id}"))
            for session_id in sessions
        }

    for session_id, task in called.items():
        assert task.result() == f"for {session_id} {session_id} call_{session_id}"
    assert len(here.observed) == 200


@asynccontextmanager
async def http_tool(
    handle: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[dict[str, Any]]:
    app = web.Application()
    app.router.add_post("/", handle)
    async with TestServer(app, host="127.0.0.1") as server:
        yield {"url": f"http://127.0.0.1:{server.port}/"}


async def test_a_tool_over_http_has_its_own_time_limit_if_that_is_shorter() -> None:
    async def handle(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with http_tool(handle) as http:
        run = {"http": {**http, "timeout_seconds": 0.05}}
        async with running_tools([{"type": "function", "name": "hours", "run": run}], 20) as here:
            output = await here.call("hours")

    assert "in time" in error_of(output)
    assert here.log[0].kwargs["cause"] == "it took more than 0.05 s"


async def test_tools_over_http_are_signed_with_the_key_of_the_relay() -> None:
    headers: dict[str, str] = {}

    async def handle(request: web.Request) -> web.StreamResponse:
        headers.update(request.headers)
        return web.Response(text="ok")

    async with http_tool(handle) as http:
        tools = [{"type": "function", "name": "hours", "run": {"http": http}}]
        async with running_tools(tools, signing_key="a key") as here:
            assert await here.call("hours", anything=1) == "ok"

    assert headers["webhook-signature"].startswith("v1,")


async def test_the_upstream_receives_all_tools_without_their_run() -> None:
    parameters = {"type": "object", "properties": {}}
    client = {"type": "function", "name": "show_map"}
    theirs = {"type": "mcp", "server_label": "shop", "server_url": "https://shop.example"}
    run = {"http": {"url": "http://127.0.0.1:1/"}, "announce": True}
    ours = {"type": "function", "name": "hours", "parameters": parameters, "run": run}

    async with running_tools([client, theirs, ours, *python("text", description="D")]) as here:
        toolbox = here.toolbox

    assert toolbox.session_tools == [
        client,
        theirs,
        {"type": "function", "name": "hours", "parameters": parameters},
        {
            "type": "function",
            "name": "text",
            "description": "D",
            "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
        },
    ]
    assert toolbox.served == {"hours", "text"}
    assert toolbox.delegated == {"show_map"}
    assert toolbox.announced == {"hours"}


async def test_a_persona_without_tools_has_an_empty_toolbox() -> None:
    async with open_runtime(lambda *_: None, structlog.testing.CapturingLogger()) as runtime:
        toolbox = (await runtime.toolboxes({"p": PersonaTools({}, 5)}))["p"]

    assert toolbox.session_tools is None
    assert not toolbox.served


@pytest.mark.parametrize(
    ("choice", "follow_up"),
    [
        ({}, {}),
        ({"tool_choice": "auto"}, {}),
        ({"tool_choice": "none"}, {}),
        ({"tool_choice": "required"}, {"tool_choice": "auto"}),
        ({"tool_choice": {"type": "function", "name": "text"}}, {"tool_choice": "auto"}),
    ],
)
async def test_a_forced_tool_call_is_not_forced_again_in_the_follow_up(
    choice: dict[str, Any], follow_up: dict[str, Any]
) -> None:
    async with running_tools(python("text"), session=choice) as here:
        assert here.toolbox.follow_up == follow_up


async def test_a_schema_that_cannot_check_arguments_is_a_problem() -> None:
    run = {"http": {"url": "http://127.0.0.1:1/"}}
    tool = {"type": "function", "name": "hours", "parameters": {"type": "array"}, "run": run}

    with pytest.raises(
        ToolsUnusable, match="has a schema that cannot be used: type must be object"
    ):
        async with running_tools([tool]):
            pass


async def test_the_runtime_passes_on_an_exception_of_the_block_unchanged() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with open_runtime(lambda *_: None, structlog.testing.CapturingLogger()):
            raise KeyError("mine")
