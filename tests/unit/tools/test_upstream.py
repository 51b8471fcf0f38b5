"""The local upstream calls a tool, the tool is run, the answer is given; the client sees nothing.

It is the whole chain but for the relay's sockets: what the core decides on is done here by hand.
"""

import json
from typing import Any

import structlog
from simulated import Client, simulated

from relay.core.calls import CallCommands, Calls
from relay.core.commands import CallTool, Send
from relay.core.events import Event
from relay.tools import Context
from relay.tools.toolbox import Toolbox
from relay.tools.workshop import Order, opened

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
    """Relay until two responses are done; return what the client is shown."""
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
    async with opened(lambda *_: None, log) as workshop, simulated() as local:
        box = (await workshop.equip({"receptionist": Order({"tools": [HOURS]}, 5)}))["receptionist"]
        calls = Calls(relay_ids="relay_x_", served=box.served, delegated=box.delegated)
        async with local.connect() as upstream:
            await upstream.update(output_modalities=["text"], tools=box.session_tools)
            item: dict[str, Any] = {"type": "message", "role": "user"}
            text = "What are your opening hours on Sunday?"
            item["content"] = [{"type": "input_text", "text": text}]
            await upstream.send("conversation.item.create", item=item)
            await upstream.send("response.create")
            shown = await relay_until_quiet(upstream, calls, box)
            heard = upstream.received

    types = [event["type"] for event in shown]
    hidden, answer = (event["response"] for event in shown if event["type"] == "response.done")
    known = {event["item"]["id"] for event in shown if "item" in event}
    assert [call.kwargs["outcome"] for call in log.calls] == ["completed"]
    assert "function_call" in json.dumps(heard)
    assert "function_call" not in json.dumps(shown)
    assert "opening_hours" not in json.dumps(shown)
    assert hidden["output"] == []
    assert "SUNDAY" in json.dumps(answer["output"])
    assert "error" not in types
    assert {event.get("previous_item_id") for event in shown} <= {None, *known}
    assert types.count("response.created") == 2
