"""Each event of the local upstream conforms to the API's types."""

import copy
from collections.abc import AsyncIterator

import pytest
from conformance import check_event, check_events
from simulated import SILENCE, Client, Upstream, clip, knowing, simulated

from relay.simulator.api_names import SERVER_EVENTS

TOOLS = [
    {
        "type": "function",
        "name": "opening_hours",
        "description": "Tells when we are open.",
        "parameters": {
            "type": "object",
            "properties": {"day": {"type": "string", "description": "A day of the week"}},
            "required": ["day"],
        },
    },
    {
        "type": "function",
        "name": "book_table",
        "description": "Books a table.",
        "parameters": {"type": "object", "properties": {"guests": {"type": "integer"}}},
    },
]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with simulated(engines=knowing("what are your opening hours on friday?")) as running:
        yield running


async def _send_everything(client: Client) -> None:
    """Send each client event, and receive all events that follow."""
    mcp = {"type": "mcp", "server_label": "wiki", "server_url": "https://wiki.example"}
    transcription = {"model": "gpt-4o-transcribe"}
    await client.update(audio={"input": {"transcription": transcription}}, tools=[*TOOLS, mcp])
    await client.append(clip("cards-001.wav") + SILENCE)
    called = (await client.until("response.done"))["response"]["output"][0]
    output = {"type": "function_call_output", "call_id": called["call_id"], "output": "9 to 5"}
    await client.send("conversation.item.create", item=output)
    await client.send("response.create")
    spoken = (await client.until("response.done"))["response"]["output"][0]
    await client.send("conversation.item.retrieve", item_id=spoken["id"])
    await client.send(
        "conversation.item.truncate", item_id=spoken["id"], content_index=0, audio_end_ms=100
    )
    await client.send("conversation.item.delete", item_id=spoken["id"])
    await client.until("conversation.item.deleted")
    await client.exchange("Hello", output_modalities=["text"])
    await client.exchange("Hello", conversation="none", metadata={"a": "b"})
    await client.send("response.cancel")
    await client.send("input_audio_buffer.clear")
    await client.update(audio={"input": {"turn_detection": None}})
    await client.append(SILENCE)
    await client.send("input_audio_buffer.commit")
    await client.until("conversation.item.input_audio_transcription.completed")


async def test_each_server_event_conforms_to_the_api(upstream: Upstream) -> None:
    async with upstream.connect() as client:
        await _send_everything(client)
        while client.types().count("rate_limits.updated") < client.types().count("response.done"):
            await client.receive()

    sent = set(client.types())
    unsent = set(SERVER_EVENTS) - sent
    assert unsent == {
        # these have tests of their own
        "input_audio_buffer.timeout_triggered",
        "conversation.item.input_audio_transcription.failed",
    }


async def test_the_check_detects_wrong_fields(upstream: Upstream) -> None:
    """A check that accepts everything would be worthless."""
    async with upstream.connect() as client:
        await _send_everything(client)
    for event in client.received:
        check_event(event)
        with pytest.raises(AssertionError):
            check_event({**event, "invented": 1})
        with pytest.raises(AssertionError):
            check_event({"event_id": event["event_id"], **event})
    deep = copy.deepcopy(next(client.all("response.done")))
    deep["response"]["usage"]["invented"] = 1
    with pytest.raises(AssertionError, match="invented"):
        check_event(deep)


async def test_the_check_detects_a_wrong_order(upstream: Upstream) -> None:
    async with upstream.connect() as client:
        await client.exchange("Hello")
    for index, event in enumerate(client.received):
        if event["type"].endswith(".done") and event["type"] != "conversation.item.done":
            missing = client.received[:index] + client.received[index + 1 :]
            swapped = [*client.received]
            swapped[index - 1 : index + 1] = [event, swapped[index - 1]]
            for wrong in (missing, swapped):
                if event["type"] != "response.done":
                    with pytest.raises(AssertionError):
                        check_events(wrong)
