"""The personas of config/personas, each with a turn of the stock SDK, sync and async.

A turn is a sequence of steps; both clients run the same steps.
"""

import asyncio
import base64
import inspect
import os
import re
import shutil
import subprocess
import sys
import wave
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import openai
import pytest
from paths import ROOT
from relays import RunningRelay, running_relay
from simulated import SILENCE, knowing, simulated, tone

from relay.ledger.query import query_usage
from relay.simulator import ScriptedReply, audio

pytestmark = pytest.mark.filterwarnings(
    # The client of openai 3.54 calls websockets in a way that version 17 deprecates.
    "ignore:connect:DeprecationWarning"
)

CONFIG = ROOT / "config"
PCM: dict[str, Any] = {"type": "audio/pcm"}
ULAW: dict[str, Any] = {"type": "audio/pcmu"}
ALAW: dict[str, Any] = {"type": "audio/pcma"}
SPOKEN_SECONDS = 1.5
SPEECH = tone(0.5) + SILENCE
LINE = "The clinic is open. "
REPLIES = (ScriptedReply.of("story", LINE * 40), ScriptedReply.of(".", "Fine."))

T = TypeVar("T")
Step = Callable[[Any], Any]
Turn = Generator[Step, Any, T]
"""The steps of a client with its connection; a step returns a received event."""
Events = dict[str, list[Any]]
"""Received events, by type."""


def until(*kinds: str) -> Turn[Events]:
    """Receive until there is an event of each of these types; return all events."""
    received: Events = {}
    while not received.keys() >= set(kinds):
        event = yield lambda connection: connection.recv()
        assert event.type != "error", event
        received.setdefault(event.type, []).append(event)
    return received


def send_audio(piece: str, connection: Any) -> Any:
    return connection.input_audio_buffer.append(audio=piece)


def append(sound: bytes, sound_format: dict[str, Any] = PCM) -> Turn[int]:
    """Send audio in pieces of a tenth of a second; return the number of bytes."""
    encoded = audio.encode(sound, sound_format)
    piece_bytes = (48_000 if sound_format == PCM else 8_000) // 10
    for start in range(0, len(encoded), piece_bytes):
        piece = base64.b64encode(encoded[start : start + piece_bytes]).decode()
        yield partial(send_audio, piece)
    return len(encoded)


def played_bytes(received: Events) -> int:
    """Return the length of the received audio in bytes."""
    deltas = received.get("response.output_audio.delta", ())
    return sum(len(base64.b64decode(event.delta)) for event in deltas)


async def with_async_client(client: openai.AsyncOpenAI, query: Any, turn: Turn[T]) -> T:
    """Run a turn with the async client."""
    async with client, client.realtime.connect(extra_query=query) as connection:
        step = next(turn)
        while True:
            outcome = step(connection)
            try:
                step = turn.send(await outcome if inspect.isawaitable(outcome) else outcome)
            except StopIteration as over:
                result: T = over.value
                return result


def with_sync_client(client: openai.OpenAI, query: Any, turn: Turn[T]) -> T:
    """Run a turn with the sync client."""
    with client, client.realtime.connect(extra_query=query) as connection:
        step = next(turn)
        while True:
            try:
                step = turn.send(step(connection))
            except StopIteration as over:
                result: T = over.value
                return result


@dataclass
class Line:
    """A kind of client, and the relay that it connects to."""

    relay: RunningRelay
    kind: str
    folder: Path

    async def run(self, turn: Turn[T], **query: str) -> T:
        """Run a turn with a persona to its end."""
        if self.kind == "async":
            return await with_async_client(self.relay.sdk(), query, turn)
        client = openai.OpenAI(base_url=self.relay.base_url, api_key="any")
        return await asyncio.to_thread(with_sync_client, client, query, turn)

    async def counted(self, seconds_in: float, seconds_out: float) -> dict[str, Any]:
        """Check the seconds of audio in log, metrics and ledger; return the log line."""
        line = await self.relay.ended()
        metrics = await self.relay.metrics()
        (row,) = query_usage(self.folder / "data/usage.db")
        name = 'relay_audio_seconds_total{direction="%s",persona="%s"}'
        ways = {"to_upstream": seconds_in, "to_client": seconds_out}
        for direction, seconds in ways.items():
            expected = pytest.approx(seconds, abs=0.001)
            assert line[f"audio_seconds_{direction}"] == expected
            assert metrics[name % (direction, line["persona"])] == expected
        written = (row.audio_seconds_in, row.audio_seconds_out)
        assert written == pytest.approx((seconds_in, seconds_out), abs=0.001)
        assert (line["outcome"], line["blocked_events"]) == ("completed", 0)
        return line


@asynccontextmanager
async def calling(
    folder: Path, kind: str, *words: str, personas: Path = CONFIG / "personas", pace: float = 1000
) -> AsyncIterator[Line]:
    """Run the relay on the local upstream, whose speech recognition returns these words."""
    async with simulated(engines=knowing(*words), replies=REPLIES, pace=pace) as upstream:
        (folder / "relay.yaml").write_text(
            f"upstreams: {{openai: {{url: '{upstream.base_url}', api_key: sk-PLANTED-KEY}}}}\n"
            f"personas: {personas}\ndefault_persona: receptionist\n"
            f"usage: {{prices: {CONFIG / 'prices.yaml'}}}\n"
        )
        async with running_relay(folder / "relay.yaml") as relay:
            yield Line(relay, kind, folder)


@pytest.fixture(params=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of the SDK's client."""
    return str(request.param)


def test_relay_check_finds_no_problem_in_them() -> None:
    command = [sys.executable, "-m", "relay", "check", "--config", str(CONFIG / "relay.yaml")]
    env = os.environ | {"OPENAI_API_KEY": "sk-test"}
    output = subprocess.check_output(command, env=env, text=True)

    names = sorted(file.stem for file in (CONFIG / "personas").iterdir())
    assert output.endswith(f"no problems. Personas: {', '.join(names)}.\n")


PAGE = (CONFIG.parent / "docs/personas.md").read_text()


def test_each_has_a_row_on_the_page_of_personas() -> None:
    named = re.findall(r"^\| \[`([^`]+)`\]", PAGE, re.MULTILINE)

    assert sorted(named) == sorted(file.name for file in (CONFIG / "personas").iterdir())


async def test_the_program_of_the_page_prints_the_transcript(tmp_path: Path) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    with wave.open(str(tmp_path / "speech.wav"), "wb") as file:
        file.setparams((1, 2, 24_000, 0, "NONE", ""))
        file.writeframes(SPEECH)
    async with calling(tmp_path, "async", "ten of clubs") as line:
        here = program.replace("127.0.0.1:8080", f"127.0.0.1:{line.relay.port}")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", here), cwd=tmp_path, stdout=subprocess.PIPE
        )
        out, _ = await process.communicate()

    assert (process.returncode, out.decode()) == (0, "ten of clubs\n")


def type_a_question() -> Turn[Events]:
    content = [{"type": "input_text", "text": "Where are you?"}]
    item = {"type": "message", "role": "user", "content": content}
    yield lambda connection: connection.conversation.item.create(item=item)
    yield lambda connection: connection.response.create()
    return (yield from until("response.done"))


async def test_text_is_answered_in_text(tmp_path: Path, kind: str) -> None:
    async with calling(tmp_path, kind) as line:
        received = await line.run(type_a_question(), persona="chat")
        await line.counted(0, 0)

    text = "".join(event.delta for event in received["response.output_text.delta"])
    assert text == received["response.output_text.done"][0].text
    assert text.endswith("Fine.")
    assert received["response.done"][0].response.output_modalities == ["text"]


def push_to_talk(sound_format: dict[str, Any] = PCM) -> Turn[Events]:
    yield from append(SPEECH, sound_format)
    yield lambda connection: connection.input_audio_buffer.commit()
    yield lambda connection: connection.response.create()
    return (yield from until("response.done"))


async def test_push_to_talk_is_answered_on_the_request_of_the_client(
    tmp_path: Path, kind: str
) -> None:
    async with calling(tmp_path, kind, "to the eyes") as line:
        received = await line.run(push_to_talk(), persona="intercom")
        logged = await line.counted(SPOKEN_SECONDS, played_bytes(received) / 48_000)

    assert "input_audio_buffer.speech_started" not in received
    assert logged["responses"] == {"completed": 1}
    assert logged["transcription_seconds"] == SPOKEN_SECONDS


def speak(sound_format: dict[str, Any] = PCM) -> Turn[Events]:
    """Send speech and silence, and no request for a response."""
    yield from append(SPEECH, sound_format)
    return (yield from until("response.done"))


def interrupt() -> Turn[tuple[Events, Events, Events]]:
    """Send speech, and send speech again when the answer begins."""
    yield from append(SPEECH)
    begun = yield from until("response.output_audio.delta")
    yield from append(SPEECH)
    cut = yield from until("response.done")
    item_id = begun["response.output_audio.delta"][0].item_id
    yield lambda connection: connection.conversation.item.truncate(
        item_id=item_id, content_index=0, audio_end_ms=100
    )
    return begun, cut, (yield from until("conversation.item.truncated", "response.done"))


async def test_server_vad_detects_turns_and_an_interruption(tmp_path: Path, kind: str) -> None:
    """The first answer would take a minute; it ends as soon as the user speaks."""
    async with calling(tmp_path, kind, "tell me a story", "stop", pace=1) as line:
        begun, cut, answer = await line.run(interrupt(), persona="tutor")
        played = sum(map(played_bytes, (begun, cut, answer)))
        logged = await line.counted(2 * SPOKEN_SECONDS, played / 48_000)

    assert begun["input_audio_buffer.speech_started"]
    assert begun["input_audio_buffer.speech_stopped"]
    assert cut["input_audio_buffer.speech_started"]
    details = cut["response.done"][0].response.status_details
    assert (details.type, details.reason) == ("cancelled", "turn_detected")
    assert answer["conversation.item.truncated"][0].audio_end_ms == 100
    assert logged["responses"] == {"cancelled": 1, "completed": 1}


async def test_semantic_vad_answers_a_complete_sentence(tmp_path: Path, kind: str) -> None:
    """The sent silence is too short for an answer by its length alone."""
    async with calling(tmp_path, kind, "good morning") as line:
        received = await line.run(speak(), persona="receptionist")
        logged = await line.counted(SPOKEN_SECONDS, played_bytes(received) / 48_000)

    assert received["input_audio_buffer.speech_stopped"]
    assert received["response.output_audio_transcript.done"][0].transcript.endswith("Fine.")
    assert logged["responses"] == {"completed": 1}


@pytest.mark.parametrize("law", [ULAW, ALAW], ids=["u-law", "A-law"])
async def test_the_telephone_uses_g711_in_both_directions(
    tmp_path: Path, kind: str, law: dict[str, Any]
) -> None:
    """One second has 8,000 bytes in each direction."""
    personas = tmp_path / "personas"
    shutil.copytree(CONFIG / "personas", personas)
    telephone = personas / "telephone.yaml"
    telephone.write_text(telephone.read_text().replace(ULAW["type"], law["type"]))
    async with calling(tmp_path, kind, "hello", personas=personas) as line:
        received = await line.run(speak(law), persona="telephone")
        logged = await line.counted(SPOKEN_SECONDS, played_bytes(received) / 8_000)

    used = received["response.done"][0].response.usage.output_token_details
    assert used.audio_tokens == pytest.approx(20 * logged["audio_seconds_to_client"], abs=1)


def transcribe() -> Turn[Events]:
    """Send speech, and receive its transcript."""
    yield from append(SPEECH)
    return (yield from until("conversation.item.input_audio_transcription.completed"))


async def test_a_transcriber_transcribes_and_does_not_answer(tmp_path: Path, kind: str) -> None:
    async with calling(tmp_path, kind, "ten of clubs") as line:
        received = await line.run(transcribe(), intent="transcription")
        logged = await line.counted(SPOKEN_SECONDS, 0)

    (created,) = received["session.created"]
    assert created.session.type == "transcription"
    (written,) = received["conversation.item.input_audio_transcription.completed"]
    assert written.transcript == "ten of clubs"
    assert logged["transcription_seconds"] == pytest.approx(written.usage.seconds)
    assert (logged["persona"], logged["model"]) == ("transcriber", "gpt-transcribe")
    assert logged["responses"] == {}
