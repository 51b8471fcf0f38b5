"""Stock clients have conversations with the local upstream, also many at once."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator

import openai
import pytest
from openai.types.realtime import RealtimeServerEvent
from simulated import SILENCE, Upstream, clip, knowing, simulated

from relay.simulator import Received, ScriptedReply, Sent

MODEL = "gpt-realtime-2.1"
TEXT_ONLY = {"type": "realtime", "output_modalities": ["text"]}
HELLO = {
    "type": "message",
    "role": "user",
    "content": [{"type": "input_text", "text": "Hello"}],
}


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with simulated(engines=knowing("ten of clubs")) as running:
        yield running


def _chunks(pcm: bytes) -> list[str]:
    pieces = (pcm[start : start + 4_800] for start in range(0, len(pcm), 4_800))
    return [base64.b64encode(piece).decode() for piece in pieces]


async def test_the_async_client_has_a_text_turn(upstream: Upstream) -> None:
    client = openai.AsyncOpenAI(api_key="x", base_url=upstream.base_url)
    async with client, client.realtime.connect(model=MODEL) as connection:
        await connection.session.update(session=TEXT_ONLY)  # type: ignore[arg-type]
        await connection.conversation.item.create(item=HELLO)  # type: ignore[arg-type]
        await connection.response.create()
        text = ""
        async for event in connection:
            if event.type == "response.output_text.delta":
                text += event.delta
            if event.type == "response.done":
                break

    assert text.endswith("You said: Hello")
    assert event.type == "response.done"
    assert event.response.status == "completed"


async def test_the_async_client_has_a_voice_turn(upstream: Upstream) -> None:
    client = openai.AsyncOpenAI(api_key="x", base_url=upstream.base_url)
    received: list[RealtimeServerEvent] = []
    async with client, client.realtime.connect(model=MODEL) as connection:
        for chunk in _chunks(clip("cards-001.wav") + SILENCE):
            await connection.input_audio_buffer.append(audio=chunk)
        async for event in connection:
            received.append(event)
            if event.type == "response.done":
                break

    audio = [event for event in received if event.type == "response.output_audio.delta"]
    assert sum(len(base64.b64decode(event.delta)) for event in audio) > 48_000
    (done,) = (e for e in received if e.type == "response.output_audio_transcript.done")
    assert done.transcript.endswith("You said: ten of clubs")


def _take_turns(base_url: str) -> tuple[str, int]:
    """Have a text turn and a voice turn; return the text and the length of the audio."""
    with (
        openai.OpenAI(api_key="x", base_url=base_url) as client,
        client.realtime.connect(model=MODEL) as connection,
    ):
        connection.conversation.item.create(item=HELLO)  # type: ignore[arg-type]
        connection.response.create(response={"output_modalities": ["text"]})
        text = ""
        for event in connection:
            if event.type == "response.output_text.done":
                text = event.text
            if event.type == "response.done":
                break
        for chunk in _chunks(clip("cards-001.wav") + SILENCE):
            connection.input_audio_buffer.append(audio=chunk)
        audio_bytes = 0
        for event in connection:
            if event.type == "response.output_audio.delta":
                audio_bytes += len(base64.b64decode(event.delta))
            if event.type == "response.done":
                break
    return text, audio_bytes


# The client of openai 3.54 calls websockets in a way that version 17 deprecates.
@pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")
async def test_the_sync_client_has_a_text_turn_and_a_voice_turn(upstream: Upstream) -> None:
    text, audio_bytes = await asyncio.to_thread(_take_turns, upstream.base_url)

    assert text.endswith("You said: Hello")
    assert audio_bytes > 48_000


async def test_the_audio_begins_soon_after_the_turn_is_over() -> None:
    """Measured on the server: from the end of the turn to the first audio delta."""
    times: dict[str, float] = {}

    def observe(observation: object) -> None:
        if isinstance(observation, Received | Sent) and isinstance(observation.message, str):
            for type_ in ("speech_stopped", "output_audio.delta"):
                if type_ in observation.message[:60]:
                    times.setdefault(type_, time.perf_counter())

    async with simulated(observer=observe) as upstream, upstream.connect() as client:
        await client.append(clip("goforward.wav") + SILENCE)
        await client.until("response.done")

    assert times["output_audio.delta"] - times["speech_stopped"] < 0.3


async def test_a_hundred_idle_and_ten_active_sessions_do_not_stall() -> None:
    replies = [ScriptedReply.of("", "This takes a few seconds to say. " * 4)]
    pcm = clip("cards-001.wav") + SILENCE

    async def talk(upstream: Upstream) -> list[str]:
        async with upstream.connect() as client:
            await client.receive()
            for _ in range(2):
                await client.append(pcm)
                await client.until("response.done")
            return client.types()

    async def idle(upstream: Upstream, settled: asyncio.Barrier) -> bool:
        async with upstream.connect() as client:
            await client.receive()
            await settled.wait()
            await settled.wait()  # until the others have talked
            response = await client.exchange("Hello", output_modalities=["text"])
            return bool(response["status"] == "completed")

    settled = asyncio.Barrier(101)
    async with simulated(replies=replies, pace=10) as upstream, asyncio.TaskGroup() as tasks:
        idlers = [tasks.create_task(idle(upstream, settled)) for _ in range(100)]
        await settled.wait()
        async with asyncio.TaskGroup() as talking:
            talkers = [talking.create_task(talk(upstream)) for _ in range(10)]
        await settled.wait()

    assert all(task.result() for task in idlers)
    for task in talkers:
        assert task.result().count("response.done") == 2
        assert "error" not in task.result()


@pytest.mark.speech
async def test_real_speech_is_recognized_and_repeated_in_the_answer() -> None:
    speech = pytest.importorskip("relay.simulator.speech")
    if not speech.is_installed():
        pytest.skip('pip install ".[speech]" to run this')
    engines = speech.load()
    async with simulated(engines=engines) as upstream, upstream.connect() as client:
        transcription = {"model": "gpt-4o-transcribe"}
        detection = {"type": "server_vad", "silence_duration_ms": 500}
        audio_input = {"transcription": transcription, "turn_detection": detection}
        await client.update(audio={"input": audio_input})
        await client.append(clip("goforward.wav") + SILENCE)
        spoken = await client.until("response.output_audio_transcript.done")
        (transcribed,) = client.all("conversation.item.input_audio_transcription.completed")
        recognized_again = await asyncio.to_thread(engines.recognizer.transcribe, client.audio())

    assert transcribed["transcript"] == "Go forward ten meters."
    assert spoken["transcript"].endswith("You said: Go forward ten meters.")
    assert "go forward" in recognized_again.lower()
