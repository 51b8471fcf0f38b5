"""Turns with the package `livekit-plugins-openai`: an `AgentSession` without a room."""

import asyncio
import importlib.metadata
import json
import os
from pathlib import Path

from livekit import rtc
from livekit.agents import Agent, AgentSession, ConversationItemAddedEvent, function_tool
from livekit.agents.voice import io
from livekit.plugins import openai

SPEECH = Path(os.environ["RELAY_SPEECH"]).read_bytes()
CHUNK_BYTES = 4_800
RATE = 24_000
version = importlib.metadata.version("livekit-plugins-openai")
saw = {"version": version, "answers": [], "audio_bytes": 0, "called": []}


@function_tool
async def go_forward(meters: int) -> str:
    """Drive on."""
    saw["called"].append(["go_forward", {"meters": meters}])
    return json.dumps({"stopped_at": "the blue door"})


class Microphone(io.AudioInput):
    """An audio input with a queue of frames."""

    def __init__(self) -> None:
        super().__init__(label="microphone")
        self.frames: asyncio.Queue[rtc.AudioFrame] = asyncio.Queue()

    async def __anext__(self) -> rtc.AudioFrame:
        return await self.frames.get()

    def say(self, pcm: bytes) -> None:
        for start in range(0, len(pcm), CHUNK_BYTES):
            chunk = pcm[start : start + CHUNK_BYTES]
            self.frames.put_nowait(rtc.AudioFrame(chunk, RATE, 1, len(chunk) // 2))


class Loudspeaker(io.AudioOutput):
    """An audio output that reports the end of playback at once."""

    def __init__(self) -> None:
        capabilities = io.AudioOutputCapabilities(pause=False)
        super().__init__(label="loudspeaker", capabilities=capabilities, sample_rate=RATE)
        self._seconds = 0.0

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        saw["audio_bytes"] += len(frame.data.tobytes())
        self._seconds += frame.duration

    def flush(self) -> None:
        super().flush()
        self._finish(interrupted=False)

    def clear_buffer(self) -> None:
        self._finish(interrupted=True)

    def _finish(self, *, interrupted: bool) -> None:
        if self._seconds:
            self.on_playback_finished(playback_position=self._seconds, interrupted=interrupted)
            self._seconds = 0.0


async def main() -> None:
    model = openai.realtime.RealtimeModel(
        model=os.environ["RELAY_PERSONA"],
        base_url=os.environ["RELAY_URL"],
        api_key=os.environ["RELAY_KEY"],
    )
    answers: asyncio.Queue[str] = asyncio.Queue()

    def heard(event: ConversationItemAddedEvent) -> None:
        if event.item.type == "message" and event.item.role == "assistant":
            answers.put_nowait(event.item.text_content)

    microphone = Microphone()
    async with model, AgentSession(llm=model) as session:
        session.on("conversation_item_added", heard)
        session.input.audio = microphone
        session.output.audio = Loudspeaker()
        await session.start(Agent(instructions="You are a pirate.", tools=[go_forward]))
        session.generate_reply(user_input="Hello")
        saw["answers"].append(await answers.get())
        microphone.say(SPEECH)
        saw["answers"].append(await answers.get())


asyncio.run(main())
print(json.dumps(saw))
