"""Bytes of a connection become messages and control frames (RFC 6455 section 5).

The relay reads frames itself, because it must count what aiohttp's parser joins or accepts in
silence: control frames, small fragments, and frames with the wrong masking. One call reads a
bounded number of bytes, and a frame costs more than its bytes, so no peer keeps the event loop.
"""

import struct
from collections.abc import Callable
from typing import Final

from aiohttp._websocket.helpers import websocket_mask

from relay.core.close import SENDABLE, CloseCode
from relay.core.messages import Binary
from relay.core.rates import FrameRate
from relay.wire.broken_protocol import BrokenProtocol
from relay.wire.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    MASK,
    MASK_BYTES,
    PING,
    PONG,
    TEXT,
)

TURN_BYTES: Final = 64 * 1024
"""The relay reads at most this much from one peer in one turn of the event loop."""

FRAME_OVERHEAD_BYTES: Final = 256
"""Each frame also counts as this many bytes: an empty message costs memory and time too."""

SMALL_FRAGMENT_BYTES: Final = 1024
"""Shorter fragments count as control frames; of longer ones, `TURN_BYTES` allows few."""

_WHOLE_TEXT: Final = FIN | TEXT
_STARTS: Final = frozenset({TEXT, BINARY, _WHOLE_TEXT, FIN | BINARY})
_CONTINUATIONS: Final = frozenset({CONTINUATION, FIN | CONTINUATION})
_CONTROLS: Final = frozenset({FIN | CLOSE, FIN | PING, FIN | PONG})
_FIRST_BYTES: Final = _STARTS | _CONTINUATIONS | _CONTROLS
"""The legal first bytes: no reserved bit, no unknown opcode, no fragmented control frame."""

_MAX_CONTROL_BYTES: Final = 125
_LENGTH_BYTES: Final = {126: 2, 127: 8}


class FrameReader:
    """Reads the frames of one peer.

    Attributes:
        on_message: Receives each message.
        on_control: Receives the opcode and the payload of each control frame.
        is_stopped: Whether the handler of a frame wants no other frame now.
        holds_much: Whether more than `TURN_BYTES` of a message wait for its rest; its owner sets
            it back.
        has_more: Whether bytes are left that were not looked at, because a turn was over or the
            reader was stopped.
    """

    __slots__ = (
        "_fragments",
        "_key_bytes",
        "_left_bytes",
        "_mask_bit",
        "_needed_bytes",
        "_opcode",
        "_rate",
        "_rest",
        "has_more",
        "holds_much",
        "is_stopped",
        "on_control",
        "on_message",
    )

    on_message: Callable[[bytes], None]
    on_control: Callable[[int, bytes], None]

    def __init__(self, rate: FrameRate, *, max_message_bytes: int, is_masked: bool) -> None:
        """Read frames; a client masks each of its frames, a server none (RFC 6455 5.1)."""
        self.is_stopped = self.has_more = self.holds_much = False
        self._rate = rate
        self._left_bytes = max_message_bytes
        self._mask_bit, self._key_bytes = (MASK, MASK_BYTES) if is_masked else (0, 0)
        self._opcode = CONTINUATION
        self._fragments = bytearray()
        self._rest = bytearray()
        self._needed_bytes = 0

    def held_bytes(self) -> int:
        """Return the bytes of a message that wait for its rest."""
        return len(self._rest) + len(self._fragments)

    def keep(self, data: bytes) -> None:
        """Keep bytes that are read later."""
        self._rest += data
        self.has_more = True

    def discard(self) -> None:
        """Forget the bytes that are left: no frame is wanted any more."""
        self._rest.clear()
        self.has_more = False
        self._needed_bytes = 0

    def read(self, data: bytes, now: float) -> None:  # noqa: PLR0912  # the reason is below
        """Read the frames in these bytes, as many as one turn allows.

        Raises:
            BrokenProtocol: The peer broke the protocol; nothing more of it can be read.
        """
        if self._rest:
            data = self._join(data)
        # This is one function, because a call for each part of a frame would double the cost.
        at, size, limit = 0, len(data), TURN_BYTES
        while at < limit and at + 2 <= size and not self.is_stopped:
            first, length, begin = data[at], data[at + 1] - self._mask_bit, at + 2
            if first not in _FIRST_BYTES or not 0 <= length < MASK:
                raise BrokenProtocol(CloseCode.PROTOCOL_ERROR)
            if length > _MAX_CONTROL_BYTES:
                begin += _LENGTH_BYTES[length]
                if first in _CONTROLS:
                    raise BrokenProtocol(CloseCode.PROTOCOL_ERROR)
                if begin > size:
                    break
                length = int.from_bytes(data[at + 2 : begin], "big")
            if length > self._left_bytes and first not in _CONTROLS:
                raise BrokenProtocol(CloseCode.MESSAGE_TOO_BIG)
            body = begin + self._key_bytes
            end = body + length
            if end > size:
                self._needed_bytes = end - at
                break
            payload = data[body:end]
            if self._key_bytes:
                unmasked = bytearray(payload)
                websocket_mask(data[begin:body], unmasked)
                payload = bytes(unmasked)
            if first == _WHOLE_TEXT and not self._opcode:  # nearly every frame
                self.on_message(payload if payload.isascii() else _utf8(payload))
            else:
                self._take(first, payload, now)
            at, limit = end, limit - FRAME_OVERHEAD_BYTES
        if at < size:
            self.has_more = at >= limit or self.is_stopped
            self._rest += data[at:]
            self.holds_much = self.holds_much or self.held_bytes() > TURN_BYTES

    def _join(self, data: bytes) -> bytes:
        """Return the bytes that are left and new ones; none if they are no whole frame yet."""
        self._rest += data
        joined = b"" if len(self._rest) < self._needed_bytes else bytes(self._rest)
        if joined:
            self.discard()
        self.has_more = False
        self.holds_much = self.holds_much or self.held_bytes() > TURN_BYTES
        return joined

    def _take(self, first: int, payload: bytes, now: float) -> None:
        """Take a control frame, a fragment, or a binary message."""
        opcode = first & ~FIN
        if first in _CONTROLS:
            self._count(now)
            self.is_stopped = self.is_stopped or opcode == CLOSE
            self.on_control(opcode, payload)
        elif (opcode == CONTINUATION) is (self._opcode == CONTINUATION):
            raise BrokenProtocol(CloseCode.PROTOCOL_ERROR)
        elif first == FIN | BINARY:
            self.on_message(Binary(payload))
        else:
            self._take_fragment(first, payload, now)

    def _take_fragment(self, first: int, payload: bytes, now: float) -> None:
        if len(payload) < SMALL_FRAGMENT_BYTES:
            self._count(now)
        self._opcode = self._opcode or first
        self._fragments += payload
        self._left_bytes -= len(payload)
        self.holds_much = self.holds_much or self.held_bytes() > TURN_BYTES
        if first >= FIN:
            message, is_text = bytes(self._fragments), self._opcode == TEXT
            self._left_bytes += len(message)
            self._fragments.clear()
            self._opcode = CONTINUATION
            self.on_message(_utf8(message) if is_text else Binary(message))

    def _count(self, now: float) -> None:
        if self._rate.is_exceeded(now):
            raise BrokenProtocol(CloseCode.POLICY_VIOLATION)


def read_close(payload: bytes) -> tuple[int, str]:
    """Return the code and the reason in a Close; 1005 if it has none (RFC 6455 7.1.5).

    Raises:
        BrokenProtocol: It has half a code, a code that may not be sent, or a reason in no UTF-8.
    """
    if not payload:
        return CloseCode.NO_STATUS_RECEIVED, ""
    code = struct.unpack("!H", payload[:2])[0] if len(payload) > 1 else 0
    if code not in SENDABLE:
        raise BrokenProtocol(CloseCode.PROTOCOL_ERROR)
    return code, _utf8(payload[2:]).decode()


def _utf8(text: bytes) -> bytes:
    """Return a text that is UTF-8 (RFC 6455 8.1).

    Raises:
        BrokenProtocol: It is not.
    """
    try:
        text.decode()
    except UnicodeDecodeError:
        raise BrokenProtocol(CloseCode.INVALID_DATA) from None
    return text
