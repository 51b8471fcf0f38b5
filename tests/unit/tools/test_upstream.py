"""The local upstream calls a tool, the tool runs, the model answers; the client sees no call.

This is the whole chain without the relay's sockets: the test performs the commands of the core.
"""

import json
from typing import Any

import structlog
from simulated import Client, simulated

from relay.core.commands import CallTool, Send
from relay.core.events import Event
from relay.core.tool_calls import CallCommands, Calls
from relay.tools import Context
from relay.tools.runtime import PersonaTools, open_runtime
from relay.tools.toolbox import Toolbox

HOURS = {
    "type": "function",
    "name": "opening_hours",
    "description": "The opening hours of the clinic on a day of the week.",
    "run": {"python": "clinic_tools:opening_hours"},
}
CONTEXT = Context("sess_1", "receptionist", "kiosk", "ana", "call_1")


async def perform(commands: CallCommands, upstream: Client, calls: Calls, box: Toolbox) -> None:
    for command in commands:
        if isinstance(command, CallTool):
            output = await box.call(command, CONTEXT)
            await perform(calls.finish(command.call_id, output), upstream, calls, box)
        elif isinstance(command, Send):
            await upstream.socket.send(command.message.decode())


async def relay_until_quiet(upstream: Client, calls: Calls, box: Toolbox) -> list[Event]:
    """Relay until two responses are done; return the events that the client sees."""
    shown: list[Event] = []
    while [event["type"] for event in shown].count("response.done") < 2:
        event = await upstream.receive()
        visible, followed = calls.receive(event)
        if visible is not None:
            shown.append(visible)
        await perform(followed, upstream, calls, box)
    return shown


async def test_a_question_is_answered_with_a_tool_that_the_client_never_sees() -> None:
    log = structlog.testing.CapturingLogger()
    async with open_runtime(lambda *_: None, log) as runtime, simulated() as local:
        persona = PersonaTools({"tools": [HOURS]}, 5)
        box = (await runtime.toolboxes({"receptionist": persona}))["receptionist"]
        calls = Calls(relay_ids="relay_x_", served=box.served, delegated=box.delegated)
        async with local.connect() as upstream:
            await upstream.update(output_modalities=["text"], tools=box.session_tools)
            item: dict[str, Any] = {"type": "message", "role": "user"}
            text = "What are your opening hours on Sunday?"
            item["content"] = [{"type": "input_text", "text": text}]
            await upstream.send("conversation.item.create", item=item)
            await upstream.send("response.create")
            shown = await relay_until_quiet(upstream, calls, box)
            sent = upstream.received

    types = [event["type"] for event in shown]
    hidden, answer = (event["response"] for event in shown if event["type"] == "response.done")
    known = {event["item"]["id"] for event in shown if "item" in event}
    assert [call.kwargs["outcome"] for call in log.calls] == ["completed"]
    assert "function_call" in json.dumps(sent)
    assert "function_call" not in json.dumps(shown)
    assert "opening_hours" not in json.dumps(shown)
    assert hidden["output"] == []
    assert "SUNDAY" in json.dumps(answer["output"])
    assert "error" not in types
    assert {event.get("previous_item_id") for event in shown} <= {None, *known}
    assert types.count("response.created") == 2
