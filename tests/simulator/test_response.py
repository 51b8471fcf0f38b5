"""Responses begin, stream, stop and end as in the API."""

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from simulated import SILENCE, Client, KnownWords, Upstream, clip, knowing, simulated

from relay.simulator import ScriptedReply, audio
from relay.simulator.engines import SpeechEngines
from relay.simulator.fallback import ENGINES, EnergyVad
from relay.simulator.streaming import DELTA_BYTES

LONG = ScriptedReply.of("long", "This goes on. " * 40)
TOOLS = [
    {
        "type": "function",
        "name": "book_table",
        "description": "Books a table for a number of guests.",
        "parameters": {
            "type": "object",
            "properties": {
                "guests": {"type": "integer"},
                "place": {"type": "string", "enum": ["inside", "outside"]},
            },
            "required": ["guests"],
        },
    },
    {"type": "function", "name": "order_taxi", "description": "Orders a taxi."},
]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with simulated(replies=[LONG], pace=50) as running:
        yield running


@pytest.fixture
async def client(upstream: Upstream) -> AsyncIterator[Client]:
    async with upstream.connect() as connected:
        await connected.receive()
        yield connected


async def _begin_long(client: Client, **response: object) -> str:
    content = [{"type": "input_text", "text": "something long"}]
    item = {"type": "message", "role": "user", "content": content}
    await client.send("conversation.item.create", item=item)
    await client.send("response.create", response=response)
    return str((await client.until("response.created"))["response"]["id"])


async def test_the_transcript_deltas_and_the_final_transcript_are_equal(client: Client) -> None:
    response = await client.exchange("Hello")

    transcript = "".join(
        event["delta"] for event in client.all("response.output_audio_transcript.delta")
    )
    assert response["output"][0]["content"] == [{"type": "output_audio", "transcript": transcript}]
    assert response["status"] == "completed"
    assert len(client.audio()) > 48_000


async def test_the_transcript_is_ahead_of_the_audio(client: Client) -> None:
    response = await client.exchange("something long")

    transcript = response["output"][0]["content"][0]["transcript"]
    audio_bytes = len(client.audio())
    written = spoken = 0
    for event in client.received:
        if event["type"] == "response.output_audio_transcript.delta":
            written += len(event["delta"])
        if event["type"] == "response.output_audio.delta":
            assert written / len(transcript) > spoken / audio_bytes
            spoken += len(base64.b64decode(event["delta"]))


async def test_audio_deltas_have_at_most_200_ms(client: Client) -> None:
    await client.exchange("something long")

    sizes = [
        len(base64.b64decode(event["delta"])) for event in client.all("response.output_audio.delta")
    ]
    assert max(sizes) == 9_600
    assert len(sizes) > 10


async def test_a_text_response_has_no_audio(client: Client) -> None:
    response = await client.exchange("Hello", output_modalities=["text"])

    assert response["output"][0]["content"][0]["type"] == "output_text"
    assert response["usage"]["output_token_details"]["audio_tokens"] == 0
    assert "response.output_audio.delta" not in client.types()


async def test_settings_of_a_response_apply_to_it_alone(client: Client) -> None:
    before = await client.update()
    asked = {"metadata": {"topic": "a"}, "max_output_tokens": 4000}
    first = await client.exchange("Hello", output_modalities=["text"], **asked)
    second = await client.exchange("Hello")

    assert asked.items() <= first.items()
    assert first["output_modalities"] == ["text"]
    assert second["output_modalities"] == ["audio"]
    assert second["metadata"] is None
    assert await client.update() == before


async def test_the_response_echoes_metadata_from_its_first_event(client: Client) -> None:
    await client.exchange("Hello", metadata={"topic": "a"})

    assert next(client.all("response.created"))["response"]["metadata"] == {"topic": "a"}


@pytest.mark.parametrize(
    ("response", "code"),
    [
        ({"metadata": {"k": "v" * 513}}, "invalid_value"),
        ({"metadata": {str(n): "" for n in range(17)}}, "invalid_value"),
        ({"metadata": {"k" * 65: ""}}, "invalid_value"),
        ({"conversation": "other"}, "invalid_value"),
        ({"modalities": ["text"]}, "unknown_parameter"),
        ({"input": [{"type": "item_reference", "id": "nowhere"}]}, "item_not_found"),
        ({"max_output_tokens": 0}, "invalid_value"),
    ],
)
async def test_an_invalid_response_is_not_created(
    client: Client, response: dict[str, Any], code: str
) -> None:
    error = await client.refused("response.create", response=response)

    assert error["code"] == code
    assert "response.created" not in client.types()


async def test_the_conversation_has_one_active_response(client: Client) -> None:
    response_id = await _begin_long(client)

    error = await client.refused("response.create")
    await client.until("response.done")

    assert error["code"] == "conversation_already_has_active_response"
    assert response_id in error["message"]


async def test_a_response_out_of_band_runs_in_parallel_and_adds_no_items(client: Client) -> None:
    await _begin_long(client)
    aside = {"conversation": "none", "output_modalities": ["text"], "metadata": {"side": "1"}}
    content = [{"type": "input_text", "text": "only this"}]
    item = {"type": "message", "role": "user", "content": content}
    await client.send("response.create", response={**aside, "input": [item]})
    first = (await client.until("response.done"))["response"]
    second = (await client.until("response.done"))["response"]

    assert first["metadata"] == {"side": "1"}
    assert first["conversation_id"] is None
    assert "only this" in first["output"][0]["content"][0]["text"]
    assert second["conversation_id"].startswith("conv_")
    items = {event["item"]["id"] for event in client.all("conversation.item.added")}
    assert first["output"][0]["id"] not in items


async def test_a_response_can_have_its_own_input(client: Client) -> None:
    first = await client.exchange("the first thing", output_modalities=["text"])
    item_id = next(client.all("conversation.item.added"))["item"]["id"]
    await client.exchange("the second thing", output_modalities=["text"])
    reference = {"type": "item_reference", "id": item_id}
    response = await client.exchange(
        "ignored", output_modalities=["text"], input=[reference], conversation="none"
    )
    empty = await client.exchange(
        "ignored", output_modalities=["text"], input=[], conversation="none"
    )

    assert "the first thing" in response["output"][0]["content"][0]["text"]
    assert "ignored" not in empty["output"][0]["content"][0]["text"]
    assert "the first thing" in first["output"][0]["content"][0]["text"]


async def test_a_cancelled_response_ends_at_once_with_a_reason(client: Client) -> None:
    response_id = await _begin_long(client)
    await client.until("response.output_audio.delta")
    await client.send("response.cancel")
    response = (await client.until("response.done"))["response"]

    assert response["id"] == response_id
    assert response["status"] == "cancelled"
    assert response["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    assert response["output"][0]["status"] == "incomplete"
    spoken_seconds = len(client.audio()) / 48_000
    assert response["usage"]["output_token_details"]["audio_tokens"] == pytest.approx(
        spoken_seconds * 20, abs=1
    )


async def test_nothing_follows_a_cancelled_response(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    await _begin_long(client)
    await client.until("response.output_audio.delta")
    await client.send("response.cancel")
    await client.until("rate_limits.updated")
    await client.exchange("Hello", output_modalities=["text"])

    done = client.types().index("response.done")
    assert "response.output_audio.delta" not in client.types()[done:]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_response_out_of_band_is_cancelled_by_its_id(client: Client) -> None:
    await client.send("response.create", response={"conversation": "none"})
    response_id = (await client.until("response.created"))["response"]["id"]
    error = await client.refused("response.cancel")
    await client.send("response.cancel", response_id=response_id)
    response = (await client.until("response.done"))["response"]

    assert error["code"] == "response_cancel_not_active"
    assert response["status"] == "cancelled"


@pytest.mark.parametrize("fields", [{}, {"response_id": "resp_nobody"}])
async def test_only_a_running_response_can_be_cancelled(
    client: Client, fields: dict[str, str]
) -> None:
    error = await client.refused("response.cancel", **fields)

    assert error["code"] == "response_cancel_not_active"


@pytest.mark.parametrize("modality", ["text", "audio"])
async def test_a_response_ends_when_its_tokens_are_used_up(client: Client, modality: str) -> None:
    response = await client.exchange(
        "something long", output_modalities=[modality], max_output_tokens=40
    )

    assert response["status"] == "incomplete"
    assert response["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
    assert 30 <= response["usage"]["output_tokens"] <= 40
    assert response["output"][0]["status"] == "incomplete"


async def test_the_rate_limits_follow(client: Client) -> None:
    await client.exchange("Hello")
    limits = await client.until("rate_limits.updated")

    assert [limit["name"] for limit in limits["rate_limits"]] == ["tokens"]


async def test_a_long_answer_keeps_pace_with_the_clock() -> None:
    """At three times real time, three seconds take two thirds of one after the head start."""
    async with simulated(replies=[LONG], pace=3) as upstream, upstream.connect() as client:
        began_at = asyncio.get_running_loop().time()
        await _begin_long(client)
        while len(client.audio()) < 3 * 48_000:
            await client.until("response.output_audio.delta")
        took_seconds = asyncio.get_running_loop().time() - began_at

    assert 0.5 < took_seconds < 2


async def test_functions_are_called_with_arguments_from_the_utterance(client: Client) -> None:
    await client.update(tools=TOOLS, output_modalities=["text"])
    response = await client.exchange("Please book a table for four guests outside")

    (call,) = response["output"]
    assert (call["type"], call["name"], call["status"]) == (
        "function_call",
        "book_table",
        "completed",
    )
    assert json.loads(call["arguments"]) == {"guests": 4, "place": "outside"}
    done = next(client.all("response.function_call_arguments.done"))
    assert done["name"] == "book_table"
    deltas = client.all("response.function_call_arguments.delta")
    assert "".join(event["delta"] for event in deltas) == done["arguments"]


async def test_the_output_of_a_function_is_spoken(client: Client) -> None:
    await client.update(tools=TOOLS, output_modalities=["text"])
    called = await client.exchange("Please book a table for four guests")
    output = {"confirmed": True, "table_number": 7}
    item = {
        "type": "function_call_output",
        "call_id": called["output"][0]["call_id"],
        "output": json.dumps(output),
    }
    await client.send("conversation.item.create", item=item)
    await client.send("response.create")
    response = (await client.until("response.done"))["response"]

    assert "confirmed: yes, table number: 7" in response["output"][0]["content"][0]["text"]


async def test_the_first_message_has_the_introduction(client: Client) -> None:
    await client.update(tools=TOOLS, output_modalities=["text"])
    await client.exchange("Please book a table for four guests")
    first = await client.exchange("Hello")
    second = await client.exchange("Hello")

    assert "local stand-in" in first["output"][0]["content"][0]["text"]
    assert "local stand-in" not in second["output"][0]["content"][0]["text"]


async def test_two_functions_are_called_in_one_response(client: Client) -> None:
    await client.update(tools=TOOLS)
    response = await client.exchange("Book a table for two and order a taxi")

    assert {call["name"] for call in response["output"]} == {"book_table", "order_taxi"}
    assert len({call["call_id"] for call in response["output"]}) == 2
    indexes = [event["output_index"] for event in client.all("response.output_item.added")]
    assert indexes == [0, 1]


@pytest.mark.parametrize("kind", ["audio/pcmu", "audio/pcma"])
async def test_g711_works_in_both_directions(kind: str) -> None:
    engines = knowing("hello")
    telephone = {"format": {"type": kind}}
    async with simulated(engines=engines) as upstream, upstream.connect() as client:
        await client.update(audio={"input": telephone, "output": telephone})
        await client.append(audio.encode(clip("goforward.wav") + SILENCE, {"type": kind}))
        response = (await client.until("response.done"))["response"]

    assert response["audio"]["output"]["format"] == {"type": kind}
    output_seconds = response["usage"]["output_token_details"]["audio_tokens"] / 20
    assert len(client.audio()) / 8_000 == pytest.approx(output_seconds, abs=0.05)
    (stopped,) = client.all("input_audio_buffer.speech_stopped")
    assert 2_500 < stopped["audio_end_ms"] < 4_500


class _BrokenSynthesizer:
    def synthesize(self, text: str, *, voice: str, speed: float) -> "Any":
        raise RuntimeError(text, voice, speed)


async def test_a_failing_synthesizer_fails_the_response_and_not_the_session(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engines = knowing("x")
    broken = type(engines)(engines.new_vad, engines.recognizer, _BrokenSynthesizer())
    async with simulated(engines=broken) as upstream, upstream.connect() as client:
        spoken = await client.exchange("Hello")
        written = await client.exchange("Hello", output_modalities=["text"])

    assert spoken["status"] == "failed"
    assert spoken["status_details"]["error"]["code"] == "server_error"
    assert written["status"] == "completed"
    assert "RuntimeError" in caplog.text


async def test_the_speed_cannot_change_while_a_response_is_in_progress(client: Client) -> None:
    await _begin_long(client)

    faster = {"type": "realtime", "audio": {"output": {"speed": 1.5}}}
    error = await client.refused("session.update", session=faster)

    assert (error["code"], error["param"]) == ("invalid_value", "session.audio.output.speed")


class _OneDelta:
    """A synthesizer whose speech is one delta, for any text."""

    def synthesize(self, text: str, *, voice: str, speed: float) -> Iterator[bytes]:
        yield bytes(DELTA_BYTES if text and voice and speed else 0)


async def test_the_transcript_is_complete_even_if_the_audio_is_short() -> None:
    engines = SpeechEngines(new_vad=EnergyVad, recognizer=KnownWords([]), synthesizer=_OneDelta())
    async with simulated(engines=engines, replies=[LONG]) as upstream:
        async with upstream.connect() as client:
            response = await client.exchange("something long")
            types = client.types()

    transcript = response["output"][0]["content"][0]["transcript"]
    assert transcript.endswith("This goes on. " * 40)
    assert types.count("response.output_audio.delta") < types.count(
        "response.output_audio_transcript.delta"
    )


async def test_a_response_that_is_cancelled_while_it_waits_for_a_transcript_is_not_spoken() -> None:
    listening, may_answer = threading.Event(), threading.Event()

    class _Slow:
        def transcribe(self, pcm16: bytes) -> str:
            listening.set()
            may_answer.wait(10)
            return str(len(pcm16))

    engines = SpeechEngines(new_vad=EnergyVad, recognizer=_Slow(), synthesizer=ENGINES.synthesizer)
    async with simulated(engines=engines) as upstream, upstream.connect() as client:
        content = [{"type": "input_audio", "audio": base64.b64encode(SILENCE).decode()}]
        item = {"type": "message", "role": "user", "content": content}
        await client.send("conversation.item.create", item=item)
        await client.send("response.create")
        await asyncio.to_thread(listening.wait, 10)
        await client.send("response.cancel")
        response = (await client.until("response.done"))["response"]
        may_answer.set()
        await client.update()

    assert response["status"] == "cancelled"
    assert "response.output_item.added" not in client.types()
