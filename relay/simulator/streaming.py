"""Streams a response in small pieces, while the rest is still synthesized, at a limited pace."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass

from relay.simulator import audio
from relay.simulator.engines import Synthesizer
from relay.simulator.json_text import Json
from relay.simulator.responder import FunctionCall, Message, Responder
from relay.simulator.response import OutOfTokens, Response, Status

DELTA_BYTES = audio.pcm_bytes(200)
_TEXT_DELTA_CHARACTERS = 12
_MAX_SENTENCE_CHARACTERS = 200
# The API sends audio faster than it is played; this much is sent without a pause.
_HEAD_START_SECONDS = 1.0
# Text is written faster than it is spoken: speech has some 15 characters a second.
_CHARACTERS_PER_SECOND = 100

FinalStatus = tuple[Status, Json | None]
"""The status of a response, and its ``status_details`` without the type."""


class Pacer:
    """Limits a stream to ``pace`` seconds of content in a second, after the head start."""

    def __init__(self, pace: float) -> None:
        self._pace = pace
        self._sent_seconds = 0.0
        self._began = asyncio.get_running_loop().time()

    async def wait(self, seconds: float) -> None:
        """Count ``seconds`` of sent content, and wait until more is due. Canceling it is safe."""
        self._sent_seconds += seconds
        due = max(0.0, self._sent_seconds - _HEAD_START_SECONDS) / self._pace
        elapsed = asyncio.get_running_loop().time() - self._began
        await asyncio.sleep(max(0.0, due - elapsed))


@dataclass(frozen=True, slots=True)
class ResponseStreamer:
    """Streams the responses of one session.

    Attributes:
        responder: Decides what a response contains.
        synthesizer: Text to speech.
        executor: Its threads may block.
        pace: The seconds of audio that are sent in a second, after the head start.
        send: Sends events in order, and waits while the client reads slowly.
    """

    responder: Responder
    synthesizer: Synthesizer
    executor: Executor
    pace: float
    send: Callable[[list[Json]], Awaitable[None]]

    async def stream(self, response: Response) -> FinalStatus:
        """Stream the response up to its last item; return its final status.

        Canceling it is safe: nothing more is sent.
        """
        pacer = Pacer(self.pace)
        try:
            for item in self.responder.respond(response.prompt):
                match item:
                    case Message(text):
                        await self._send_message(response, text, pacer)
                    case FunctionCall(name, arguments):  # pragma: no branch  # all kinds
                        await self._send_call(response, name, arguments)
        except OutOfTokens:
            return "incomplete", {"reason": "max_output_tokens"}
        return "completed", None

    async def _send_call(self, response: Response, name: str, arguments: str) -> None:
        await self.send(response.open_call(name))
        for piece in _pieces(arguments):
            await self.send(response.add_arguments(piece))
        await self.send(response.close_item())

    async def _send_message(self, response: Response, text: str, pacer: Pacer) -> None:
        await self.send(response.open_message())
        if response.is_spoken:
            for sentence in _sentences(text):
                await self._send_speech(response, sentence, pacer)
        else:
            for piece in _pieces(text):
                await self.send(response.add_text(piece))
                await pacer.wait(len(piece) / _CHARACTERS_PER_SECOND)
        await self.send(response.close_item())

    async def _send_speech(self, response: Response, sentence: str, pacer: Pacer) -> None:
        """Send the audio of a sentence; the transcript is ahead of the audio."""
        pieces = _pieces(sentence)
        async for pcm in self._synthesized(response, sentence):
            for piece in itertools.islice(pieces, 1):
                await self.send(response.add_text(piece))
            await self.send(response.add_audio(pcm))
            await pacer.wait(len(pcm) / audio.BYTES_PER_SECOND)
        for piece in pieces:
            await self.send(response.add_text(piece))

    async def _synthesized(self, response: Response, sentence: str) -> AsyncIterator[bytes]:
        """Yield the speech in pieces of ``DELTA_BYTES``, the size that the API sends."""
        voice = response.settings.voice
        speech = self.synthesizer.synthesize(
            sentence,
            voice=voice["id"] if isinstance(voice, dict) else voice,
            speed=response.settings.speed,
        )
        loop = asyncio.get_running_loop()
        pending = b""
        while (pcm := await loop.run_in_executor(self.executor, next, speech, None)) is not None:
            pending += pcm
            while len(pending) >= DELTA_BYTES:
                yield pending[:DELTA_BYTES]
                pending = pending[DELTA_BYTES:]
        if pending:
            yield pending


def _sentences(text: str) -> Iterator[str]:
    """Split a text into sentences, and long ones at spaces; together they are the text."""
    for sentence in re.findall(r".+?(?:[.!?]+\s+|\Z)", text, re.DOTALL):
        yield from re.findall(rf".{{1,{_MAX_SENTENCE_CHARACTERS}}}(?:\s+|\Z)|\S+\s*", sentence)


def _pieces(text: str) -> Iterator[str]:
    """Split a text into pieces that are not words, like a model's tokens."""
    for start in range(0, len(text), _TEXT_DELTA_CHARACTERS):
        yield text[start : start + _TEXT_DELTA_CHARACTERS]
