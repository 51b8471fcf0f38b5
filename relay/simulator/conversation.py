"""The items of a conversation in their order, with their audio."""

import base64
import binascii
import copy
from collections.abc import Iterator
from dataclasses import dataclass, field

from relay.simulator import audio
from relay.simulator.errors import RequestRefused
from relay.simulator.ids import new_id
from relay.simulator.json_text import Json

ROOT = "root"
# The names that an assistant message has for its parts; clients also send the other names.
_PART_TYPES = {"text": "output_text", "audio": "output_audio"}


@dataclass(slots=True, eq=False)
class Item:
    """One item.

    Attributes:
        json: The item as the API shows it, always without audio.
        audio: 24 kHz PCM by index of the content part.
        transcripts: The transcripts of the user's audio, by index of the content part.
        is_committed: It came through the input audio buffer; only the transcript of such audio is
            sent to the client.
    """

    json: Json
    audio: dict[int, bytearray] = field(default_factory=dict)
    transcripts: dict[int, str] = field(default_factory=dict)
    is_committed: bool = False

    @property
    def id(self) -> str:
        """The item's id."""
        return str(self.json["id"])

    @property
    def type(self) -> str:
        """The item's type."""
        return str(self.json["type"])

    @property
    def role(self) -> str | None:
        """The speaker, if it is a message."""
        return self.json.get("role")

    @property
    def untranscribed(self) -> list[int]:
        """The indices of the parts with user audio that has no transcript yet."""
        if self.role != "user":
            return []
        return [index for index in self.audio if index not in self.transcripts]

    @property
    def text(self) -> str:
        """Its whole text, transcripts included."""
        parts = enumerate(self.json.get("content", ()))
        return " ".join(filter(None, (self._text_of(index, part) for index, part in parts)))

    def _text_of(self, index: int, part: Json) -> str:
        return self.transcripts.get(index) or part.get("text") or part.get("transcript") or ""

    def as_json(self) -> Json:
        """Return a copy of the item as it is now, without audio."""
        return copy.deepcopy(self.json)

    def as_json_with_audio(self, formats: Json) -> Json:
        """Return a copy with audio: the user's in the input format, else in the output format."""
        item = self.as_json()
        audio_format = formats["output" if self.role == "assistant" else "input"]["format"]
        for index, pcm in self.audio.items():
            data = audio.encode(bytes(pcm), audio_format)
            item["content"][index]["audio"] = base64.b64encode(data).decode()
        return item


@dataclass(slots=True)
class SimulatedConversation:
    """The items of a session, in their order."""

    id: str = field(default_factory=lambda: new_id("conv"))
    _items: list[Item] = field(default_factory=list)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def __contains__(self, item_id: object) -> bool:
        return any(item.id == item_id for item in self._items)

    def find(self, item_id: str, code: str) -> Item:
        """Return the item.

        Raises:
            RequestRefused: There is no such item; with the given code.
        """
        for item in self._items:
            if item.id == item_id:
                return item
        raise RequestRefused(code, param="item_id", item_id=item_id)

    @property
    def last_id(self) -> str | None:
        """The id of the last item."""
        return self._items[-1].id if self._items else None

    def previous_id(self, item: Item) -> str | None:
        """Return the id of the item before this one."""
        index = self._items.index(item)
        return self._items[index - 1].id if index else None

    def add(self, item: Item, *, after: str | None = None) -> None:
        """Add an item at the end, or after another item; ``root`` stands for the beginning.

        Raises:
            RequestRefused: The id exists, the other item is unknown, or an output has no call.
        """
        if item.id in self:
            raise RequestRefused("item_already_exists", param="item.id", item_id=item.id)
        self._check_call(item)
        self._items.insert(self._index_after(after), item)

    def _index_after(self, previous_id: str | None) -> int:
        if previous_id is None:
            return len(self._items)
        if previous_id == ROOT:
            return 0
        for index, item in enumerate(self._items, start=1):
            if item.id == previous_id:
                return index
        raise RequestRefused("item_not_found", param="previous_item_id", item_id=previous_id)

    def _check_call(self, item: Item) -> None:
        if item.type != "function_call_output":
            return
        call_id = item.json["call_id"]
        calls = (i.json.get("call_id") for i in self._items if i.type == "function_call")
        if call_id not in calls:
            raise RequestRefused("invalid_tool_call_id", param="item.call_id", call_id=call_id)

    def delete(self, item_id: str) -> None:
        """Remove an item.

        Raises:
            RequestRefused: There is no such item.
        """
        self._items.remove(self.find(item_id, "item_delete_invalid_item_id"))

    def truncate(self, item_id: str, index: int, audio_end_ms: int) -> None:
        """Cut an assistant's audio after the played part, and remove its transcript.

        Raises:
            RequestRefused: There is no such audio, or it is shorter.
        """
        item = self.find(item_id, "item_truncate_invalid_item_id")
        if item.role != "assistant" or index not in item.audio:
            raise RequestRefused(
                "invalid_value", param="item_id", problem="only assistant audio can be truncated"
            )
        pcm = item.audio[index]
        length_ms = audio.milliseconds(len(pcm))
        if audio_end_ms > length_ms:
            raise RequestRefused(
                "invalid_value",
                param="audio_end_ms",
                problem=f"Audio content of {length_ms}ms is already shorter than {audio_end_ms}ms",
            )
        del pcm[audio.pcm_bytes(audio_end_ms) :]
        item.json["content"][index]["transcript"] = ""


def item_of(event_item: Json, input_format: Json) -> Item:
    """Return the item of a client event, with a new id if it has none.

    Raises:
        RequestRefused: Its audio is not base64.
    """
    fields = {"id": new_id("item"), **copy.deepcopy(event_item), "status": "completed"}
    if fields["type"] == "function_call":
        fields.setdefault("call_id", new_id("call"))
    item = Item(fields)
    for index, part in enumerate(fields.get("content", ())):
        part["type"] = _PART_TYPES.get(part["type"], part["type"])
        if part["type"] == "input_audio":
            data = decode_base64(part.pop("audio"), f"item.content[{index}].audio")
            item.audio[index] = bytearray(audio.decode(data, input_format))
            part.setdefault("transcript", None)
    return item


def committed_item(item_id: str, pcm: bytes) -> Item:
    """Return the user message with the committed audio."""
    content = [{"type": "input_audio", "transcript": None}]
    message = {"id": item_id, "type": "message", "status": "completed", "role": "user"}
    return Item({**message, "content": content}, {0: bytearray(pcm)}, is_committed=True)


def decode_base64(text: str, param: str) -> bytes:
    """Return the bytes.

    Raises:
        RequestRefused: The text is not base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RequestRefused(
            "invalid_value", param=param, problem="expected base64 audio"
        ) from None
