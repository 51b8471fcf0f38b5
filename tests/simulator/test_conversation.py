"""Items are created, placed, retrieved, truncated and deleted as in the API."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from simulated import SILENCE, Client, clip, simulated, tone


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with simulated() as upstream, upstream.connect() as connected:
        await connected.receive()
        yield connected


def _message(text: str, **fields: object) -> dict[str, Any]:
    content = [{"type": "input_text", "text": text}]
    return {"type": "message", "role": "user", "content": content, **fields}


async def _add(client: Client, item: dict[str, Any], **fields: object) -> dict[str, Any]:
    await client.send("conversation.item.create", item=item, **fields)
    return await client.until("conversation.item.done")


async def test_items_follow_each_other(client: Client) -> None:
    first = await _add(client, _message("one"))
    second = await _add(client, _message("two"))

    assert first["previous_item_id"] is None
    assert second["previous_item_id"] == first["item"]["id"]


async def test_an_item_is_added_at_the_requested_position(client: Client) -> None:
    last = await _add(client, _message("three", id="item_last"))
    first = await _add(client, _message("one"), previous_item_id="root")
    middle = await _add(client, _message("two"), previous_item_id=first["item"]["id"])

    assert first["previous_item_id"] is None
    assert middle["previous_item_id"] == first["item"]["id"]
    assert last["item"]["id"] == "item_last"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"item": _message("x", id="mine")}, "item_already_exists"),
        ({"item": _message("x"), "previous_item_id": "nowhere"}, "item_not_found"),
        ({"item": {"type": "message", "role": "user"}}, "missing_required_parameter"),
        ({"item": {"type": "song"}}, "invalid_value"),
        ({"item": {**_message("x"), "mood": "good"}}, "unknown_parameter"),
        ({"item": {**_message("x"), "role": "narrator"}}, "invalid_value"),
        (
            {"item": {**_message("x"), "role": "system", "content": [{"type": "input_audio"}]}},
            "invalid_value",
        ),
        (
            {
                "item": {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_audio", "audio": ""}],
                }
            },
            "invalid_value",
        ),
        (
            {"item": {"type": "function_call_output", "call_id": "call_1", "output": ""}},
            "invalid_tool_call_id",
        ),
        (
            {"item": {**_message("x"), "content": [{"type": "input_audio", "audio": "%"}]}},
            "invalid_value",
        ),
        ({}, "missing_required_parameter"),
    ],
)
async def test_an_invalid_item_is_refused(
    client: Client, fields: dict[str, Any], code: str
) -> None:
    await _add(client, _message("first", id="mine"))

    error = await client.refused("conversation.item.create", **fields)

    assert error["code"] == code
    assert (await _add(client, _message("next")))["previous_item_id"] == "mine"


@pytest.mark.parametrize(
    "item",
    [
        _message("hello"),
        {**_message("hello"), "role": "system"},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "hello"}],
        },
        {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "call_1"},
        {
            **_message(""),
            "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA=="}],
        },
    ],
)
async def test_an_item_is_returned_unchanged(client: Client, item: dict[str, Any]) -> None:
    made = (await _add(client, item))["item"]

    assert made == {**item, "id": made["id"], "status": "completed"}


async def test_only_a_retrieved_item_has_its_audio(client: Client) -> None:
    audio = base64.b64encode(tone(0.2)).decode()
    content = [{"type": "input_audio", "audio": audio, "transcript": "la"}]
    made = (await _add(client, {**_message(""), "content": content}))["item"]
    await client.send("conversation.item.retrieve", item_id=made["id"])
    retrieved = (await client.until("conversation.item.retrieved"))["item"]

    assert made["content"] == [{"type": "input_audio", "transcript": "la"}]
    assert retrieved["content"] == content


async def test_a_retrieved_answer_has_the_audio_that_was_sent(client: Client) -> None:
    response = await client.exchange("Hello")
    item_id = response["output"][0]["id"]
    await client.send("conversation.item.retrieve", item_id=item_id)
    retrieved = (await client.until("conversation.item.retrieved"))["item"]

    assert base64.b64decode(retrieved["content"][0]["audio"]) == client.audio()


async def test_truncating_cuts_the_audio_and_removes_the_transcript(client: Client) -> None:
    item_id = (await client.exchange("Hello"))["output"][0]["id"]
    cut = {"item_id": item_id, "content_index": 0, "audio_end_ms": 250}
    await client.send("conversation.item.truncate", **cut)
    truncated = await client.until("conversation.item.truncated")
    await client.send("conversation.item.retrieve", item_id=item_id)
    content = (await client.until("conversation.item.retrieved"))["item"]["content"][0]

    assert cut.items() <= truncated.items()
    assert base64.b64decode(content["audio"]) == client.audio()[: 250 * 48]
    assert content["transcript"] == ""


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"item_id": "nowhere"}, "item_truncate_invalid_item_id"),
        ({"item_id": "mine"}, "invalid_value"),
        ({"audio_end_ms": 3_600_000}, "invalid_value"),
        ({"audio_end_ms": -1}, "invalid_value"),
        ({"audio_end_ms": 1.5}, "invalid_value"),
        ({"content_index": 1}, "invalid_value"),
    ],
)
async def test_only_assistant_audio_can_be_truncated(
    client: Client, wrong: dict[str, Any], code: str
) -> None:
    await _add(client, _message("not audio", id="mine"))
    item_id = (await client.exchange("Hello"))["output"][0]["id"]
    cut = {"item_id": item_id, "content_index": 0, "audio_end_ms": 250}

    error = await client.refused("conversation.item.truncate", **{**cut, **wrong})

    assert error["code"] == code


async def test_a_deleted_item_is_not_found(client: Client) -> None:
    await _add(client, _message("x", id="mine"))
    await client.send("conversation.item.delete", item_id="mine")

    assert (await client.until("conversation.item.deleted"))["item_id"] == "mine"
    for action in ("delete", "retrieve"):
        error = await client.refused(f"conversation.item.{action}", item_id="mine")
        assert error["code"] == f"item_{action}_invalid_item_id"


async def test_a_commit_by_the_client_makes_an_item_but_no_response(
    client: Client,
) -> None:
    await client.update(audio={"input": {"turn_detection": None}})
    pcm = clip("cards-001.wav")
    await client.append(pcm)
    await client.send("input_audio_buffer.commit")
    item = (await client.until("conversation.item.done"))["item"]
    await client.send("conversation.item.retrieve", item_id=item["id"])
    retrieved = (await client.until("conversation.item.retrieved"))["item"]

    assert base64.b64decode(retrieved["content"][0]["audio"]) == pcm
    assert "response.created" not in client.types()


@pytest.mark.parametrize("silence_ms", [0, 99])
async def test_less_than_100_ms_cannot_be_committed(client: Client, silence_ms: int) -> None:
    await client.update(audio={"input": {"turn_detection": None}})
    await client.append(SILENCE[: silence_ms * 48])

    error = await client.refused("input_audio_buffer.commit")

    assert error["code"] == "input_audio_buffer_commit_empty"
    assert f"{silence_ms}.00ms" in error["message"]


async def test_cleared_audio_cannot_be_committed(client: Client) -> None:
    await client.update(audio={"input": {"turn_detection": None}})
    await client.append(SILENCE)
    await client.send("input_audio_buffer.clear")
    await client.until("input_audio_buffer.cleared")

    error = await client.refused("input_audio_buffer.commit")

    assert error["code"] == "input_audio_buffer_commit_empty"


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ("", "invalid_json", None),
        ("{", "invalid_json", None),
        ("[" * 100_000, "invalid_json", None),
        ("[]", "invalid_event", None),
        ("{}", "invalid_event", "type"),
        ('{"type": "ping"}', "invalid_value", "type"),
        ('{"type": 1}', "invalid_value", "type"),
        ('{"type": "output_audio_buffer.clear"}', "invalid_value", "type"),
        ('{"type": "input_audio_buffer.append"}', "missing_required_parameter", "audio"),
        ('{"type": "input_audio_buffer.append", "audio": "%"}', "invalid_value", "audio"),
        ('{"type": "response.cancel", "why": 1}', "unknown_parameter", "why"),
        ('{"type": "response.cancel", "event_id": 1}', "invalid_value", "event_id"),
        (b"{}", "invalid_event", None),
    ],
)
async def test_an_invalid_message_is_answered_and_the_session_goes_on(
    client: Client, message: str | bytes, code: str, param: str | None
) -> None:
    await client.socket.send(message)
    error = (await client.until("error"))["error"]

    assert (error["code"], error["param"]) == (code, param)
    assert (await client.exchange("still here"))["status"] == "completed"
