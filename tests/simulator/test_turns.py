"""Turn detection; all times are positions in the audio."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from simulated import SILENCE, WORDS, Client, KnownWords, Upstream, clip, knowing, simulated, tone

from relay.simulator import ScriptedReply
from relay.simulator.engines import SpeechEngines
from relay.simulator.fallback import ENGINES, EnergyVad
from relay.simulator.turns import (
    FRAME_BYTES,
    IdleTimeout,
    InputAudio,
    SpeechPaused,
    SpeechStarted,
    SpeechStopped,
    TurnDetection,
    TurnEvent,
)

FRAME = bytes(FRAME_BYTES)
SERVER_VAD = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 200,
    "idle_timeout_ms": None,
}
LONG = ScriptedReply.of("long", "This goes on. " * 40)


def _add(buffer: InputAudio, *spans: tuple[float, int]) -> list[TurnEvent]:
    """Add frames for each pair of probability and duration in ms; return the turn events."""
    turn_events = [
        buffer.add_frame(FRAME, probability)
        for probability, duration_ms in spans
        for _ in range(duration_ms // 20)
    ]
    return [turn_event for turn_event in turn_events if turn_event is not None]


def _buffer(**settings: Any) -> InputAudio:
    return InputAudio(TurnDetection.of({**SERVER_VAD, **settings}))


def test_a_turn_includes_the_padding_before_and_the_silence_after() -> None:
    buffer = _buffer()

    events = _add(buffer, (0.0, 1000), (0.9, 500), (0.0, 1000))

    assert events == [SpeechStarted(700), SpeechStopped(1700)]


def test_the_padding_does_not_reach_before_the_beginning() -> None:
    assert _add(_buffer(), (0.9, 20)) == [SpeechStarted(0)]


def test_a_pause_that_is_short_does_not_end_a_turn() -> None:
    buffer = _buffer(silence_duration_ms=500)

    events = _add(buffer, (0.9, 200), (0.0, 480), (0.9, 200), (0.0, 500))

    assert events == [SpeechStarted(0), SpeechStopped(1380)]


def test_speech_that_fades_a_little_goes_on() -> None:
    """Without hysteresis the turn would end in the middle of a word."""
    assert _add(_buffer(), (0.9, 100), (0.4, 1000)) == [SpeechStarted(0)]


def test_the_threshold_is_the_clients() -> None:
    assert _add(_buffer(threshold=0.95), (0.9, 500)) == []


def test_the_committed_audio_is_exactly_the_turn() -> None:
    buffer = _buffer(prefix_padding_ms=100)
    _add(buffer, (0.0, 3000), (0.9, 500), (0.0, 200))

    assert len(buffer.take()) == (100 + 500 + 200) * 48


def test_only_a_limited_amount_of_silence_is_kept() -> None:
    buffer = _buffer()
    _add(buffer, (0.0, 60_000))

    assert len(buffer.peek()) == 30_000 * 48


def test_frames_after_the_end_of_detection_change_no_turn() -> None:
    buffer = _buffer()
    buffer.detect(None)

    assert _add(buffer, (0.9, 500)) == []


def test_the_fallback_detects_no_speech_in_no_audio() -> None:
    assert EnergyVad().feed(b"") == 0.0


@pytest.mark.parametrize(
    ("eagerness", "pause_ms", "max_ms"),
    [("high", 300, 2_000), ("medium", 500, 4_000), ("auto", 500, 4_000), ("low", 800, 8_000)],
)
def test_semantic_detection_waits_according_to_its_eagerness(
    eagerness: str, pause_ms: int, max_ms: int
) -> None:
    buffer = InputAudio(TurnDetection.of({"type": "semantic_vad", "eagerness": eagerness}))

    assert _add(buffer, (0.9, 1000), (0.0, pause_ms - 20)) == [SpeechStarted(0)]
    assert _add(buffer, (0.0, 20)) == [SpeechPaused()]
    assert _add(buffer, (0.0, max_ms - pause_ms)) == [SpeechStopped(1000 + max_ms)]


def test_long_silence_triggers_the_idle_timeout() -> None:
    buffer = _buffer(idle_timeout_ms=5000)
    _add(buffer, (0.0, 6000))
    buffer.start_idle_timer(playback_bytes=48_000)

    assert _add(buffer, (0.0, 5980)) == []
    assert _add(buffer, (0.0, 6000)) == [IdleTimeout(7000, 12_000)]


def test_speech_stops_the_idle_timeout() -> None:
    buffer = _buffer(idle_timeout_ms=5000)
    buffer.start_idle_timer(playback_bytes=0)
    _add(buffer, (0.0, 4000), (0.9, 1000))

    assert IdleTimeout not in map(type, _add(buffer, (0.0, 20_000)))


# -- on the wire


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with simulated(replies=[LONG], pace=50) as running:
        yield running


@pytest.fixture
async def client(upstream: Upstream) -> AsyncIterator[Client]:
    async with upstream.connect() as connected:
        await connected.receive()
        yield connected


@pytest.mark.parametrize("name", WORDS)
async def test_human_speech_is_one_turn_and_is_answered(client: Client, name: str) -> None:
    detection = {"type": "server_vad", "silence_duration_ms": 500}
    await client.update(audio={"input": {"turn_detection": detection}})
    pcm = clip(name)
    await client.append(pcm + SILENCE)
    response = (await client.until("response.done"))["response"]

    assert response["status"] == "completed"
    (started,) = client.all("input_audio_buffer.speech_started")
    (stopped,) = client.all("input_audio_buffer.speech_stopped")
    (committed,) = client.all("input_audio_buffer.committed")
    assert started["item_id"] == stopped["item_id"] == committed["item_id"]
    assert 0 <= started["audio_start_ms"] < 900
    assert len(pcm) / 48 - 900 < stopped["audio_end_ms"] < len(pcm) / 48 + 1000


@pytest.mark.parametrize("chunk_bytes", [100, 960, 4_801, 1_000_000])
async def test_the_size_of_appends_does_not_matter(client: Client, chunk_bytes: int) -> None:
    await client.append(clip("cards-001.wav") + SILENCE, chunk_bytes=chunk_bytes)
    await client.until("response.done")
    times = [
        (event["type"], event.get("audio_start_ms"), event.get("audio_end_ms"))
        for event in client.received
        if "speech" in event["type"]
    ]

    assert times == [
        ("input_audio_buffer.speech_started", 260, None),
        ("input_audio_buffer.speech_stopped", None, 1800),
    ]


@pytest.mark.parametrize("noise", [bytes(3 * 48_000), tone(3, loudness=30)])
async def test_quiet_audio_is_not_speech(client: Client, noise: bytes) -> None:
    await client.append(noise)
    await client.exchange("Hello", output_modalities=["text"])

    assert "input_audio_buffer.speech_started" not in client.types()


async def _begin_long(client: Client) -> None:
    content = [{"type": "input_text", "text": "something long"}]
    item = {"type": "message", "role": "user", "content": content}
    await client.send("conversation.item.create", item=item)
    await client.send("response.create")
    await client.until("response.output_audio.delta")


async def test_speech_cancels_the_running_response(client: Client) -> None:
    await _begin_long(client)
    await client.append(tone(0.3))
    response = (await client.until("response.done"))["response"]

    assert response["status"] == "cancelled"
    assert response["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert "input_audio_buffer.speech_started" in client.types()


async def test_speech_does_not_interrupt_without_interrupt_response(client: Client) -> None:
    detection = {"type": "server_vad", "interrupt_response": False}
    await client.update(audio={"input": {"turn_detection": detection}})
    await _begin_long(client)
    await client.append(tone(0.3) + SILENCE)
    error = (await client.until("error"))["error"]
    response = (await client.until("response.done"))["response"]

    assert error["code"] == "conversation_already_has_active_response"
    assert response["status"] == "completed"


async def test_a_turn_is_not_answered_without_create_response(client: Client) -> None:
    detection = {"type": "server_vad", "create_response": False}
    await client.update(audio={"input": {"turn_detection": detection}})
    await client.append(clip("cards-001.wav") + SILENCE)
    await client.until("conversation.item.done")
    await client.update()

    assert "response.created" not in client.types()


async def test_push_to_talk_detects_no_turns(client: Client) -> None:
    await client.update(audio={"input": {"turn_detection": None}})
    await client.append(clip("cards-001.wav") + SILENCE)
    await client.send("input_audio_buffer.commit")
    await client.send("response.create")
    response = (await client.until("response.done"))["response"]

    assert response["status"] == "completed"
    assert "input_audio_buffer.speech_started" not in client.types()


async def test_a_commit_by_the_client_ends_the_open_turn(client: Client) -> None:
    await client.append(tone(0.5))
    started = await client.until("input_audio_buffer.speech_started")
    await client.send("input_audio_buffer.commit")
    committed = await client.until("input_audio_buffer.committed")

    assert committed["item_id"] != started["item_id"]
    await client.append(SILENCE)
    await client.until("conversation.item.done")
    await client.update()
    assert "input_audio_buffer.speech_stopped" not in client.types()


async def test_silence_after_a_response_starts_another_response(client: Client) -> None:
    detection = {"type": "server_vad", "idle_timeout_ms": 5000}
    await client.update(audio={"input": {"turn_detection": detection}})
    first = await client.exchange("Hello")
    playback_ms = first["usage"]["output_token_details"]["audio_tokens"] * 50
    await client.append(bytes(48 * (playback_ms + 5_200)))
    timeout = await client.until("input_audio_buffer.timeout_triggered")
    committed = await client.until("input_audio_buffer.committed")
    await client.until("response.done")

    assert timeout["item_id"] == committed["item_id"]
    assert timeout["audio_end_ms"] - timeout["audio_start_ms"] == pytest.approx(5000, abs=20)


@pytest.mark.parametrize(
    ("words", "silence_ms"), [("book a table for two", 300), ("book a table for um", 2000)]
)
async def test_semantic_detection_waits_for_the_end_of_a_sentence(
    words: str, silence_ms: int
) -> None:
    detection = {"type": "semantic_vad", "eagerness": "high"}
    async with simulated(engines=knowing(words)) as upstream, upstream.connect() as client:
        await client.update(audio={"input": {"turn_detection": detection}})
        await client.append(tone(0.5) + bytes(48 * 320))
        if silence_ms > 300:
            await client.append(bytes(48 * 1_900))
        stopped = await client.until("input_audio_buffer.speech_stopped")

    assert 500 + silence_ms <= stopped["audio_end_ms"] < 500 + silence_ms + 300


async def test_speech_is_transcribed_if_the_client_requests_it() -> None:
    engines = knowing("ten of clubs")
    async with simulated(engines=engines) as upstream, upstream.connect() as client:
        transcription = {"model": "gpt-4o-transcribe"}
        await client.update(audio={"input": {"transcription": transcription}})
        await client.append(clip("cards-001.wav") + SILENCE)
        response = (await client.until("response.done"))["response"]
        (completed,) = client.all("conversation.item.input_audio_transcription.completed")
        await client.send("conversation.item.retrieve", item_id=completed["item_id"])
        item = (await client.until("conversation.item.retrieved"))["item"]

    assert completed["transcript"] == "ten of clubs"
    deltas = client.all("conversation.item.input_audio_transcription.delta")
    assert "".join(event["delta"] for event in deltas) == "ten of clubs"
    assert item["content"][0]["transcript"] == "ten of clubs"
    assert "ten of clubs" in response["output"][0]["content"][0]["transcript"]


async def test_transcripts_are_not_sent_without_a_request() -> None:
    engines = knowing("ten of clubs")
    async with simulated(engines=engines) as upstream, upstream.connect() as client:
        await client.append(clip("cards-001.wav") + SILENCE)
        await client.until("response.done")

    assert not [type_ for type_ in client.types() if "transcription" in type_]


async def test_the_recognizer_receives_the_committed_audio() -> None:
    recognizer = KnownWords(["x"])
    engines = SpeechEngines(
        new_vad=EnergyVad, recognizer=recognizer, synthesizer=ENGINES.synthesizer
    )
    async with simulated(engines=engines) as upstream, upstream.connect() as client:
        await client.append(clip("goforward.wav") + SILENCE)
        item = (await client.until("conversation.item.done"))["item"]
        await client.until("response.done")
        await client.send("conversation.item.retrieve", item_id=item["id"])
        content = (await client.until("conversation.item.retrieved"))["item"]["content"][0]

    assert recognizer.received == [base64.b64decode(content["audio"])]


class _BrokenRecognizer:
    def transcribe(self, pcm16: bytes) -> str:
        raise RuntimeError(len(pcm16))


async def test_a_failing_recognizer_fails_the_transcription_and_not_the_session(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engines = SpeechEngines(
        new_vad=EnergyVad, recognizer=_BrokenRecognizer(), synthesizer=ENGINES.synthesizer
    )
    async with simulated(engines=engines) as upstream, upstream.connect() as client:
        transcription = {"model": "gpt-4o-transcribe"}
        await client.update(audio={"input": {"transcription": transcription}})
        await client.append(clip("cards-001.wav") + SILENCE)
        failed = await client.until("conversation.item.input_audio_transcription.failed")
        response = (await client.until("response.done"))["response"]

    assert failed["error"]["code"] == "audio_unintelligible"
    assert response["status"] == "completed"
    assert "RuntimeError" in caplog.text


async def test_a_transcription_session_only_transcribes() -> None:
    query = "intent=transcription"
    async with (
        simulated(engines=knowing("ten of clubs")) as upstream,
        upstream.connect(query) as client,
    ):
        transcription = {"model": "gpt-transcribe"}
        session = {"type": "transcription", "audio": {"input": {"transcription": transcription}}}
        await client.send("session.update", session=session)
        await client.append(clip("cards-001.wav") + SILENCE)
        completed = await client.until("conversation.item.input_audio_transcription.completed")
        await client.send("session.update", session=session)
        await client.until("session.updated")

    assert completed["transcript"] == "ten of clubs"
    assert completed["usage"]["type"] == "duration"
    assert not [type_ for type_ in client.types() if type_.startswith("response.")]
    assert "rate_limits.updated" not in client.types()
