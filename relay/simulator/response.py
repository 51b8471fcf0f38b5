"""One answer in the making: what the client is told of it, in the API's order.

Each method returns the server events that it leads to; nothing here waits or sends.
"""

import base64
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from relay.simulator import audio
from relay.simulator.conversation import Conversation, Item
from relay.simulator.errors import Json
from relay.simulator.ids import new_id
from relay.simulator.usage import (
    ASSISTANT_TOKENS_PER_SECOND,
    audio_tokens,
    no_usage,
    response_usage,
    text_tokens,
)

Status = Literal["completed", "cancelled", "incomplete", "failed"]
_OBFUSCATION_BYTES = 6
_TOKENS_PER_MINUTE = 15_000_000


class OutOfTokens(Exception):
    """The response has used up its ``max_output_tokens``."""


def event(type_: str, **fields: object) -> Json:
    """Return a server event; the keys begin as the API's do."""
    return {"type": type_, "event_id": new_id("event"), **fields}


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the mind answers to.

    Attributes:
        instructions: Of the session, or of this response alone.
        tools: The functions that may be called.
        tool_choice: Whether they may, or must.
        items: What was said so far.
        is_first: Nothing was answered in this session yet.
    """

    instructions: str
    tools: list[Json]
    tool_choice: str | Json
    items: list[Item]
    is_first: bool


@dataclass(frozen=True, slots=True)
class Settings:
    """How a response is given."""

    modality: str
    format: Json
    voice: str | Json
    speed: float
    max_output_tokens: int | Literal["inf"]
    metadata: Json | None


@dataclass(slots=True, eq=False)
class Response:
    """A response from ``response.created`` to ``response.done``.

    Attributes:
        settings: How it is given.
        prompt: What it answers to.
        conversation: Where its items go; nowhere, if it is out of band.
        id: Its id.
        status: How it ended, once it has.
    """

    settings: Settings
    prompt: Prompt
    conversation: Conversation | None
    input_details: Json
    id: str = field(default_factory=lambda: new_id("resp"))
    status: Status | None = None
    audio_bytes: int = 0
    _text_tokens: int = 0
    _output: list[Item] = field(default_factory=list)
    _open: Item | None = None

    @property
    def is_spoken(self) -> bool:
        """It answers with audio."""
        return self.settings.modality == "audio"

    @property
    def has_said_something(self) -> bool:
        """It has a message, and not only calls."""
        return any(item.type == "message" for item in self._output)

    # -- its beginning and its end

    def created(self) -> list[Json]:
        """Announce it."""
        return [event("response.created", response=self._show("in_progress", None))]

    def done(self, status: Status, details: Json | None = None) -> list[Json]:
        """End it, with what is open."""
        events = self.close_item("completed" if status == "completed" else "incomplete")
        self.status = status
        shown = details and {"type": status, **details}
        return [*events, event("response.done", response=self._show(status, shown))]

    def _show(self, status: str, details: Json | None) -> Json:
        settings = self.settings
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": [item.show() for item in self._output],
            "conversation_id": self.conversation and self.conversation.id,
            "output_modalities": [settings.modality],
            "max_output_tokens": settings.max_output_tokens,
            "audio": {"output": {"format": settings.format, "voice": settings.voice}},
            "usage": self._usage(status),
            "metadata": settings.metadata,
        }

    def _usage(self, status: str) -> Json | None:
        if status == "in_progress":
            return None
        if status == "failed":
            return no_usage()
        return response_usage(
            self.input_details, text=self._text_tokens, audio=self._audio_tokens()
        )

    def _audio_tokens(self) -> int:
        return audio_tokens(self.audio_bytes, per_second=ASSISTANT_TOKENS_PER_SECOND)

    # -- its items

    def open_message(self) -> list[Json]:
        """Begin to say something."""
        message = {"type": "message", "status": "in_progress", "role": "assistant", "content": []}
        events = self._open_item(message)
        part: Json = {"type": "text", "text": ""}
        content: Json = {"type": "output_text", "text": ""}
        if self.is_spoken:
            part = {"type": "audio", "transcript": ""}
            content = {"type": "output_audio", "transcript": ""}
            self._item.sounds[0] = bytearray()
        self._item.json["content"].append(content)
        return [*events, event("response.content_part.added", **self._place(), part=part)]

    def open_call(self, name: str) -> list[Json]:
        """Begin to call a function."""
        call_id = new_id("call")
        fields = {"status": "in_progress", "name": name, "call_id": call_id, "arguments": ""}
        return self._open_item({"type": "function_call", **fields})

    def _open_item(self, fields: Json) -> list[Json]:
        item = self._open = Item({"id": new_id("item"), **fields})
        self._output.append(item)
        added = event(
            "response.output_item.added",
            response_id=self.id,
            output_index=self._index,
            item=item.show(),
        )
        if self.conversation is None:
            return [added]
        self.conversation.add(item)
        return [added, self._tell_conversation(self.conversation, "added")]

    def _tell_conversation(self, conversation: Conversation, what: str) -> Json:
        return event(
            f"conversation.item.{what}",
            previous_item_id=conversation.previous_id(self._item),
            item=self._item.show(),
        )

    @property
    def _item(self) -> Item:
        if self._open is None:
            raise AssertionError("a response writes only into an item that is open")
        return self._open

    @property
    def _index(self) -> int:
        return len(self._output) - 1

    def _place(self) -> Json:
        """Return where a bit of a message belongs."""
        return {
            "response_id": self.id,
            "item_id": self._item.id,
            "output_index": self._index,
            "content_index": 0,
        }

    def _place_of_call(self) -> Json:
        place = {"response_id": self.id, "item_id": self._item.id, "output_index": self._index}
        return {**place, "call_id": self._item.json["call_id"]}

    # -- what goes into them

    def write(self, text: str) -> list[Json]:
        """Add to the text of the message, or to the transcript of what it says.

        Raises:
            OutOfTokens: There are none left for it.
        """
        self._spend(text_tokens(text))
        part = self._item.json["content"][0]
        name = "transcript" if self.is_spoken else "text"
        part[name] += text
        kind = "output_audio_transcript" if self.is_spoken else "output_text"
        return [self._text_delta(f"response.{kind}.delta", self._place(), text)]

    def argue(self, text: str) -> list[Json]:
        """Add to the arguments of the call.

        Raises:
            OutOfTokens: There are none left for it.
        """
        self._spend(text_tokens(text))
        self._item.json["arguments"] += text
        type_ = "response.function_call_arguments.delta"
        return [self._text_delta(type_, self._place_of_call(), text)]

    def _text_delta(self, type_: str, place: Json, text: str) -> Json:
        # The API pads text, so that the length of a message does not tell the length of a word.
        padding = secrets.token_urlsafe(_OBFUSCATION_BYTES)
        return event(type_, **place, delta=text, obfuscation=padding)

    def sound(self, pcm: bytes) -> list[Json]:
        """Add to the audio of the message.

        Raises:
            OutOfTokens: There are none left for it.
        """
        self._spend(pcm_bytes=len(pcm))
        self._item.sounds[0] += pcm
        delta = base64.b64encode(audio.encode(pcm, self.settings.format)).decode()
        return [event("response.output_audio.delta", **self._place(), delta=delta)]

    def _spend(self, text: int = 0, pcm_bytes: int = 0) -> None:
        spoken = audio_tokens(self.audio_bytes + pcm_bytes, per_second=ASSISTANT_TOKENS_PER_SECOND)
        limit = self.settings.max_output_tokens
        if limit != "inf" and self._text_tokens + text + spoken > limit:
            raise OutOfTokens
        self._text_tokens += text
        self.audio_bytes += pcm_bytes

    def close_item(self, status: str = "completed") -> list[Json]:
        """Finish the open item, if there is one."""
        if self._open is None:
            return []
        self._item.json["status"] = status
        events = [*self._close_content(), *self._close_in_conversation()]
        shown = self._item.show()
        events.append(
            event(
                "response.output_item.done",
                response_id=self.id,
                output_index=self._index,
                item=shown,
            )
        )
        self._open = None
        return events

    def _close_content(self) -> Iterable[Json]:
        if self._item.type == "function_call":
            names = {name: self._item.json[name] for name in ("name", "arguments")}
            place = self._place_of_call()
            return [event("response.function_call_arguments.done", **place, **names)]
        place = self._place()
        part = self._item.json["content"][0]
        if not self.is_spoken:
            text = part["text"]
            return [
                event("response.output_text.done", **place, text=text),
                event("response.content_part.done", **place, part={"type": "text", "text": text}),
            ]
        transcript = part["transcript"]
        shown = {"type": "audio", "transcript": transcript}
        return [
            event("response.output_audio.done", **place),
            event("response.output_audio_transcript.done", **place, transcript=transcript),
            event("response.content_part.done", **place, part=shown),
        ]

    def _close_in_conversation(self) -> Iterable[Json]:
        # A client may have deleted the item while it was written.
        if self.conversation is None or self._item.id not in self.conversation:
            return []
        return [self._tell_conversation(self.conversation, "done")]


def rate_limits_after(response_done: Json) -> Json:
    """Return the event that follows ``response.done``; the limit is a made-up one."""
    used = response_done["response"]["usage"]["total_tokens"]
    limit = {
        "name": "tokens",
        "limit": _TOKENS_PER_MINUTE,
        "remaining": _TOKENS_PER_MINUTE - used,
        "reset_seconds": round(used * 60 / _TOKENS_PER_MINUTE, 3),
    }
    return event("rate_limits.updated", rate_limits=[limit])
