"""A ``session.update`` applies completely or not at all; the error names the wrong field."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from simulated import Client, Upstream, simulated

TOOL = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with simulated() as running:
        yield running


@pytest.fixture
async def client(upstream: Upstream) -> AsyncIterator[Client]:
    async with upstream.connect() as connected:
        await connected.receive()
        yield connected


async def test_only_given_fields_change_and_nested_objects_merge(client: Client) -> None:
    before = client.received[0]["session"]

    after = await client.update(
        instructions="Be brief.", audio={"output": {"voice": "marin"}}, tools=[TOOL]
    )

    expected = {**before, "instructions": "Be brief.", "tools": [TOOL]}
    expected["audio"]["output"]["voice"] = "marin"
    assert after == expected


async def test_empty_and_null_values_clear_fields(client: Client) -> None:
    await client.update(instructions="Be brief.", tools=[TOOL])

    audio_input = {"turn_detection": None, "transcription": None, "noise_reduction": None}
    after = await client.update(instructions="", tools=[], audio={"input": audio_input})

    assert after["instructions"] == ""
    assert after["tools"] == []
    assert {name: after["audio"]["input"][name] for name in audio_input} == audio_input


async def test_another_kind_of_turn_detection_starts_from_its_defaults(client: Client) -> None:
    settings = {"type": "semantic_vad", "create_response": False}
    after = await client.update(audio={"input": {"turn_detection": settings}})

    assert after["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "auto",
        "create_response": False,
        "interrupt_response": True,
    }


async def test_the_same_kind_of_turn_detection_keeps_missing_fields(client: Client) -> None:
    first = {"type": "server_vad", "threshold": 0.7}
    await client.update(audio={"input": {"turn_detection": first}})
    second = {"type": "server_vad", "silence_duration_ms": 900}
    after = await client.update(audio={"input": {"turn_detection": second}})

    detection = after["audio"]["input"]["turn_detection"]
    assert (detection["threshold"], detection["silence_duration_ms"]) == (0.7, 900)


@pytest.mark.parametrize("format_", ["audio/pcmu", "audio/pcma", "audio/pcm"])
async def test_a_format_is_completed(client: Client, format_: str) -> None:
    after = await client.update(audio={"output": {"format": {"type": format_}}})

    rate = {"rate": 24000} if format_ == "audio/pcm" else {}
    assert after["audio"]["output"]["format"] == {"type": format_, **rate}


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"voice": "marin"}, "unknown_parameter", "session.voice"),
    ({"modalities": ["text"]}, "unknown_parameter", "session.modalities"),
    ({"temperature": 0.8}, "unknown_parameter", "session.temperature"),
    ({"audio": {"output": {"vioce": "marin"}}}, "unknown_parameter", "session.audio.output.vioce"),
    ({"type": "conversation"}, "invalid_value", "session.type"),
    ({"type": "transcription"}, "invalid_parameter", "session.type"),
    ({"model": "gpt-realtime"}, "invalid_value", "session.model"),
    ({"instructions": 1}, "invalid_value", "session.instructions"),
    ({"output_modalities": ["text", "audio"]}, "invalid_value", "session.output_modalities"),
    ({"output_modalities": []}, "invalid_value", "session.output_modalities"),
    ({"output_modalities": ["video"]}, "invalid_value", "session.output_modalities[0]"),
    ({"parallel_tool_calls": 1}, "invalid_value", "session.parallel_tool_calls"),
    ({"audio": "loud"}, "invalid_value", "session.audio"),
    ({"tools": ["f"]}, "invalid_value", "session.tools[0]"),
    (
        {"tools": [{"type": "mcp", "server_label": "x", "server_url": "https://x", "headers": 1}]},
        "invalid_value",
        "session.tools[0].headers",
    ),
    ({"max_output_tokens": 0}, "invalid_value", "session.max_output_tokens"),
    ({"max_output_tokens": "some"}, "invalid_value", "session.max_output_tokens"),
    ({"audio": {"output": {"voice": "bob"}}}, "invalid_value", "session.audio.output.voice"),
    ({"audio": {"output": {"speed": 2}}}, "invalid_value", "session.audio.output.speed"),
    (
        {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}},
        "invalid_value",
        "session.audio.input.format.rate",
    ),
    (
        {"audio": {"input": {"turn_detection": {"threshold": 0.5}}}},
        "missing_required_parameter",
        "session.audio.input.turn_detection.type",
    ),
    (
        {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "threshold": 0.5}}}},
        "unknown_parameter",
        "session.audio.input.turn_detection.threshold",
    ),
    (
        {"audio": {"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 10}}}},
        "invalid_value",
        "session.audio.input.turn_detection.idle_timeout_ms",
    ),
    (
        {"audio": {"input": {"transcription": {"model": "whisper-9"}}}},
        "invalid_value",
        "session.audio.input.transcription.model",
    ),
    ({"tools": [{"type": "function"}]}, "missing_required_parameter", "session.tools[0].name"),
    ({"tools": [{**TOOL, "strict": True}]}, "unknown_parameter", "session.tools[0].strict"),
    ({"tool_choice": "perhaps"}, "invalid_value", "session.tool_choice"),
    (
        {"tool_choice": {"type": "function"}},
        "missing_required_parameter",
        "session.tool_choice.name",
    ),
]


@pytest.mark.parametrize(("wrong", "code", "param"), WRONG)
async def test_one_wrong_member_discards_the_whole_update(
    client: Client, wrong: dict[str, Any], code: str, param: str
) -> None:
    before = client.received[0]["session"]
    session = {"type": "realtime", "instructions": "lost", "tools": [TOOL], **wrong}

    error = await client.refused("session.update", session=session)

    assert (error["code"], error["param"]) == (code, param)
    assert error["type"] == "invalid_request_error"
    assert await client.update() == before


async def test_a_session_that_is_no_object_is_refused(client: Client) -> None:
    error = await client.refused("session.update", session="marin")

    assert (error["code"], error["param"]) == ("invalid_value", "session")


async def test_the_number_of_output_tokens_can_be_unlimited(client: Client) -> None:
    await client.update(max_output_tokens=100)

    assert (await client.update(max_output_tokens="inf"))["max_output_tokens"] == "inf"


async def test_the_type_is_required_even_for_one_field(client: Client) -> None:
    error = await client.refused("session.update", session={"instructions": "x"})

    assert error["code"] == "missing_required_parameter"
    assert error["param"] == "session.type"


async def test_the_voice_is_fixed_after_the_first_audio(client: Client) -> None:
    await client.update(audio={"output": {"voice": "marin"}})
    await client.exchange("Hello")

    other = {"type": "realtime", "instructions": "x", "audio": {"output": {"voice": "cedar"}}}
    error = await client.refused("session.update", session=other)

    assert error["code"] == "cannot_update_voice"
    after = await client.update(audio={"output": {"voice": "marin"}})
    assert after["instructions"] != "x"


async def test_text_does_not_fix_the_voice(client: Client) -> None:
    await client.update(output_modalities=["text"])
    await client.exchange("Hello")

    after = await client.update(audio={"output": {"voice": "cedar"}})

    assert after["audio"]["output"]["voice"] == "cedar"


async def test_a_response_cannot_have_another_voice_either(client: Client) -> None:
    await client.exchange("Hello")

    response = {"audio": {"output": {"voice": "cedar"}}}
    error = await client.refused("response.create", response=response)

    assert error["code"] == "cannot_update_voice"


@pytest.mark.parametrize(
    "option", [{"reasoning": {"effort": "low"}}, {"parallel_tool_calls": True}]
)
async def test_reasoning_is_for_models_that_reason(
    upstream: Upstream, option: dict[str, Any]
) -> None:
    async with upstream.connect("model=gpt-realtime-1.5") as old:
        error = await old.refused("session.update", session={"type": "realtime", **option})
        assert (await old.update(instructions="Be brief."))["instructions"] == "Be brief."
    async with upstream.connect("model=gpt-realtime-2.1") as new:
        after = await new.update(**option)

    assert error["code"] == "invalid_value"
    assert "Unsupported option for this model" in error["message"]
    assert option.items() <= after.items()


async def test_a_response_of_a_model_that_does_not_reason_has_no_reasoning(
    upstream: Upstream,
) -> None:
    async with upstream.connect("model=gpt-realtime-1.5") as old:
        error = await old.refused("response.create", response={"reasoning": {"effort": "low"}})

    assert (error["code"], error["param"]) == ("invalid_value", "response.reasoning")


async def test_tracing_cannot_be_changed_after_it_is_enabled(client: Client) -> None:
    await client.update(tracing="auto")

    error = await client.refused("session.update", session={"type": "realtime", "tracing": None})

    assert error["param"] == "session.tracing"
    assert (await client.update(tracing="auto"))["tracing"] == "auto"


async def test_a_transcription_session_keeps_its_type(upstream: Upstream) -> None:
    async with upstream.connect("intent=transcription") as client:
        created = (await client.receive())["session"]
        error = await client.refused("session.update", session={"type": "realtime"})
        unanswered = await client.refused("response.create")

    assert created["type"] == "transcription"
    assert created["object"] == "realtime.transcription_session"
    assert "create_response" not in created["audio"]["input"]["turn_detection"]
    assert error["code"] == "invalid_parameter"
    assert unanswered["code"] == "invalid_value"


async def test_a_model_without_turns_accepts_no_turn_detection(upstream: Upstream) -> None:
    transcription = {"model": "gpt-realtime-whisper"}
    async with upstream.connect("intent=transcription") as client:
        session = {"type": "transcription", "audio": {"input": {"transcription": transcription}}}
        error = await client.refused("session.update", session=session)
        session["audio"]["input"]["turn_detection"] = None  # type: ignore[index]
        await client.send("session.update", session=session)
        updated = await client.until("session.updated")

    assert "Turn detection is not supported for this transcription model" in error["message"]
    assert updated["session"]["audio"]["input"]["transcription"] == transcription
