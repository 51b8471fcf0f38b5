"""A response while it is made, and its server events in the API's order.

Each method returns the server events that it leads to; nothing here waits or sends.
"""

import base64
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from relay.simulator import audio
from relay.simulator.conversation import Item, SimulatedConversation
from relay.simulator.ids import new_id
from relay.simulator.json_text import Json
from relay.simulator.request import Prompt, ResponseSettings
from relay.simulator.server_events import event
from relay.simulator.usage import (
    ASSISTANT_TOKENS_PER_SECOND,
    audio_tokens,
    no_usage,
    response_usage,
    text_tokens,
)

Status = Literal["completed", "cancelled", "incomplete", "failed"]
_OBFUSCATION_BYTES = 6


class OutOfTokens(Exception):
    """The response has used up its ``max_output_tokens``."""


@dataclass(slots=True, eq=False)
class Response:
    """A response from ``response.created`` to ``response.done``.

    Attributes:
        settings: Its form.
        prompt: Its input.
        conversation: Its items are added here; None if it is out of band.
        input_details: The ``input_token_details`` of its usage.
        id: Its id.
        status: Its final status; None while it runs.
        audio_bytes: The size of its audio so far, as 24 kHz PCM.
    """

    settings: ResponseSettings
    prompt: Prompt
    conversation: SimulatedConversation | None
    input_details: Json
    id: str = field(default_factory=lambda: new_id("resp"))
    status: Status | None = None
    audio_bytes: int = 0
    _text_tokens: int = 0
    _output: list[Item] = field(default_factory=list)
    _open: Item | None = None

    @property
    def is_spoken(self) -> bool:
        """Whether it has audio; else it has text."""
        return self.settings.modality == "audio"

    @property
    def has_message(self) -> bool:
        """Whether it has a message, and not only function calls."""
        return any(item.type == "message" for item in self._output)

    # -- beginning and end

    def created(self) -> list[Json]:
        """Begin the response."""
        return [event("response.created", response=self._as_json("in_progress", None))]

    def done(self, status: Status, details: Json | None = None) -> list[Json]:
        """End the response, and its open item."""
        events = self.close_item("completed" if status == "completed" else "incomplete")
        self.status = status
        status_details = details and {"type": status, **details}
        return [*events, event("response.done", response=self._as_json(status, status_details))]

    def _as_json(self, status: str, details: Json | None) -> Json:
        settings = self.settings
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": [item.as_json() for item in self._output],
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

    # -- items

    def open_message(self) -> list[Json]:
        """Begin a message."""
        message = {"type": "message", "status": "in_progress", "role": "assistant", "content": []}
        events = self._open_item(message)
        part: Json = {"type": "text", "text": ""}
        content: Json = {"type": "output_text", "text": ""}
        if self.is_spoken:
            part = {"type": "audio", "transcript": ""}
            content = {"type": "output_audio", "transcript": ""}
            self._item.audio[0] = bytearray()
        self._item.json["content"].append(content)
        return [*events, event("response.content_part.added", **self._part_position(), part=part)]

    def open_call(self, name: str) -> list[Json]:
        """Begin a function call."""
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
            item=item.as_json(),
        )
        if self.conversation is None:
            return [added]
        self.conversation.add(item)
        return [added, self._conversation_event(self.conversation, "added")]

    def _conversation_event(self, conversation: SimulatedConversation, change: str) -> Json:
        return event(
            f"conversation.item.{change}",
            previous_item_id=conversation.previous_id(self._item),
            item=self._item.as_json(),
        )

    @property
    def _item(self) -> Item:
        if self._open is None:
            raise AssertionError("the response has no open item")
        return self._open

    @property
    def _index(self) -> int:
        return len(self._output) - 1

    def _part_position(self) -> Json:
        """Return the fields that name the message and its content part."""
        return {
            "response_id": self.id,
            "item_id": self._item.id,
            "output_index": self._index,
            "content_index": 0,
        }

    def _call_position(self) -> Json:
        item = {"response_id": self.id, "item_id": self._item.id, "output_index": self._index}
        return {**item, "call_id": self._item.json["call_id"]}

    # -- content

    def add_text(self, text: str) -> list[Json]:
        """Add to the text of the message, or to the transcript of its audio.

        Raises:
            OutOfTokens: The text needs more tokens than are left.
        """
        self._spend(text_tokens(text))
        part = self._item.json["content"][0]
        name = "transcript" if self.is_spoken else "text"
        part[name] += text
        kind = "output_audio_transcript" if self.is_spoken else "output_text"
        return [self._text_delta(f"response.{kind}.delta", self._part_position(), text)]

    def add_arguments(self, text: str) -> list[Json]:
        """Add to the arguments of the call.

        Raises:
            OutOfTokens: The text needs more tokens than are left.
        """
        self._spend(text_tokens(text))
        self._item.json["arguments"] += text
        type_ = "response.function_call_arguments.delta"
        return [self._text_delta(type_, self._call_position(), text)]

    def _text_delta(self, type_: str, position: Json, text: str) -> Json:
        # The API pads text deltas: the length of a message must not show the length of a word.
        padding = secrets.token_urlsafe(_OBFUSCATION_BYTES)
        return event(type_, **position, delta=text, obfuscation=padding)

    def add_audio(self, pcm: bytes) -> list[Json]:
        """Add to the audio of the message.

        Raises:
            OutOfTokens: The audio needs more tokens than are left.
        """
        self._spend(pcm_bytes=len(pcm))
        self._item.audio[0] += pcm
        delta = base64.b64encode(audio.encode(pcm, self.settings.format)).decode()
        return [event("response.output_audio.delta", **self._part_position(), delta=delta)]

    def _spend(self, text: int = 0, pcm_bytes: int = 0) -> None:
        audio_bytes = self.audio_bytes + pcm_bytes
        total = self._text_tokens + text
        total += audio_tokens(audio_bytes, per_second=ASSISTANT_TOKENS_PER_SECOND)
        limit = self.settings.max_output_tokens
        if limit != "inf" and total > limit:
            raise OutOfTokens
        self._text_tokens += text
        self.audio_bytes = audio_bytes

    def close_item(self, status: str = "completed") -> list[Json]:
        """End the open item, if there is one."""
        if self._open is None:
            return []
        self._item.json["status"] = status
        events = [*self._close_content(), *self._close_in_conversation()]
        item = self._item.as_json()
        events.append(
            event(
                "response.output_item.done",
                response_id=self.id,
                output_index=self._index,
                item=item,
            )
        )
        self._open = None
        return events

    def _close_content(self) -> Iterable[Json]:
        if self._item.type == "function_call":
            names = {name: self._item.json[name] for name in ("name", "arguments")}
            position = self._call_position()
            return [event("response.function_call_arguments.done", **position, **names)]
        position = self._part_position()
        part = self._item.json["content"][0]
        if not self.is_spoken:
            text = part["text"]
            return [
                event("response.output_text.done", **position, text=text),
                event(
                    "response.content_part.done", **position, part={"type": "text", "text": text}
                ),
            ]
        transcript = part["transcript"]
        return [
            event("response.output_audio.done", **position),
            event("response.output_audio_transcript.done", **position, transcript=transcript),
            event(
                "response.content_part.done",
                **position,
                part={"type": "audio", "transcript": transcript},
            ),
        ]

    def _close_in_conversation(self) -> Iterable[Json]:
        # The client may have deleted the item in the meantime.
        if self.conversation is None or self._item.id not in self.conversation:
            return []
        return [self._conversation_event(self.conversation, "done")]
