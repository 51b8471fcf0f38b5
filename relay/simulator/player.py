"""Gives a response bit by bit: spoken while it is still being made, and not all at once."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass

from relay.simulator import audio
from relay.simulator.errors import Json
from relay.simulator.mind import Call, Mind, Say
from relay.simulator.response import OutOfTokens, Response, Status
from relay.simulator.senses import Voice

DELTA_BYTES = audio.pcm_bytes(200)
_TEXT_DELTA_CHARACTERS = 12
_MAX_SENTENCE_CHARACTERS = 200
# The API is ahead of what is played, and gets further ahead; this much is sent without a pause.
_HEAD_START_SECONDS = 1.0
# Written text comes faster than speech, which has some 15 characters a second.
_CHARACTERS_PER_SECOND = 100

Outcome = tuple[Status, Json | None]


class Pace:
    """Keeps what is sent from running away from the clock: ``speed`` seconds of it a second."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._sent_seconds = 0.0
        self._began = asyncio.get_running_loop().time()

    async def keep(self, seconds: float) -> None:
        """Count what is sent, and wait until there may be more. Canceling it is safe."""
        self._sent_seconds += seconds
        due = max(0.0, self._sent_seconds - _HEAD_START_SECONDS) / self._speed
        elapsed = asyncio.get_running_loop().time() - self._began
        await asyncio.sleep(max(0.0, due - elapsed))


@dataclass(frozen=True, slots=True)
class Player:
    """Gives the responses of one session.

    Attributes:
        mind: Decides what to say.
        voice: Says it.
        executor: Where the voice may block.
        speed: How many seconds of audio are sent in a second, after the first.
        send: Sends events in order, and waits while the client is slow.
    """

    mind: Mind
    voice: Voice
    executor: Executor
    speed: float
    send: Callable[[list[Json]], Awaitable[None]]

    async def play(self, response: Response) -> Outcome:
        """Give the response up to its last item; return how it is to end.

        Canceling it is safe: what was sent is sent, and nothing follows.
        """
        pace = Pace(self.speed)
        try:
            for thought in self.mind.think(response.prompt):
                match thought:
                    case Say(text):
                        await self._say(response, text, pace)
                    case Call(name, arguments):
                        await self._call(response, name, arguments)
        except OutOfTokens:
            return "incomplete", {"reason": "max_output_tokens"}
        return "completed", None

    async def _call(self, response: Response, name: str, arguments: str) -> None:
        await self.send(response.open_call(name))
        for piece in _pieces(arguments):
            await self.send(response.argue(piece))
        await self.send(response.close_item())

    async def _say(self, response: Response, text: str, pace: Pace) -> None:
        await self.send(response.open_message())
        if response.is_spoken:
            for sentence in _sentences(text):
                await self._speak(response, sentence, pace)
        else:
            for piece in _pieces(text):
                await self.send(response.write(piece))
                await pace.keep(len(piece) / _CHARACTERS_PER_SECOND)
        await self.send(response.close_item())

    async def _speak(self, response: Response, sentence: str, pace: Pace) -> None:
        """Send the audio of a sentence, its words ahead of it."""
        pieces = _pieces(sentence)
        async for pcm in self._sound(response, sentence):
            for piece in itertools.islice(pieces, 1):
                await self.send(response.write(piece))
            await self.send(response.sound(pcm))
            await pace.keep(len(pcm) / audio.BYTES_PER_SECOND)
        for piece in pieces:
            await self.send(response.write(piece))

    async def _sound(self, response: Response, sentence: str) -> AsyncIterator[bytes]:
        """Yield the sentence as audio, in pieces of the size that the API sends."""
        voice = response.settings.voice
        spoken = self.voice.speak(
            sentence,
            voice=voice["id"] if isinstance(voice, dict) else voice,
            speed=response.settings.speed,
        )
        loop = asyncio.get_running_loop()
        waiting = b""
        while (pcm := await loop.run_in_executor(self.executor, next, spoken, None)) is not None:
            waiting += pcm
            while len(waiting) >= DELTA_BYTES:
                yield waiting[:DELTA_BYTES]
                waiting = waiting[DELTA_BYTES:]
        if waiting:
            yield waiting


def _sentences(text: str) -> Iterator[str]:
    """Cut a text where a speaker would breathe; the pieces together are the text again."""
    for sentence in re.findall(r".+?(?:[.!?]+\s+|\Z)", text, re.DOTALL):
        yield from re.findall(rf".{{1,{_MAX_SENTENCE_CHARACTERS}}}(?:\s+|\Z)|\S+\s*", sentence)


def _pieces(text: str) -> Iterator[str]:
    """Cut a text in pieces that are not words, as a model's tokens are not."""
    for start in range(0, len(text), _TEXT_DELTA_CHARACTERS):
        yield text[start : start + _TEXT_DELTA_CHARACTERS]
