"""RFC 6455 frames: bytes of a connection become messages, and messages become bytes.

aiohttp parses them, and passes each on in the call that read its last byte, without a queue or a
task in between. To write one, a header of at most fourteen bytes is added and, by a client, a mask.
"""

import asyncio
import os
import struct
from collections.abc import Callable
from typing import Final

from aiohttp import WebSocketError
from aiohttp._websocket.helpers import websocket_mask
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import WSMessageDecodeText, WSMessageNoDecodeText

Frame = WSMessageDecodeText | WSMessageNoDecodeText
"""A whole message, or a control frame."""

FrameHandler = Callable[[Frame, int], None]
"""Takes a frame, and its bytes in aiohttp's queue, which does not exist here."""

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
"""Opcodes (RFC 6455 5.2)."""

_FIN: Final = 0x80
_MASK: Final = 0x80
_LENGTH_IN_16_BITS, _LENGTH_IN_64_BITS = 126, 127
_MASK_BYTES = 4

_head_7, _head_16, _head_64 = (struct.Struct(f"!{fields}").pack for fields in ("BB", "BBH", "BBQ"))


class _NoQueue(WebSocketDataQueue):
    """Receives frames from aiohttp's parser in the place of a queue, and passes each on at once."""

    def __init__(self, handle: FrameHandler, fail: Callable[[int], None]) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(BaseProtocol(loop), 0, loop=loop)
        self.feed_data = handle  # type: ignore[assignment,method-assign]  # saves a call
        self._fail = fail

    def set_exception(self, exc: BaseException, *_cause: BaseException) -> None:
        if not isinstance(exc, WebSocketError):
            raise exc  # a defect of ours
        self._fail(exc.code)


def create_reader(
    handle: FrameHandler,
    fail: Callable[[int], None],
    *,
    max_message_bytes: int,
) -> WebSocketReader:
    """Return a parser that takes bytes and calls ``handle`` with each frame.

    When the peer breaks the protocol, it calls ``fail`` with the close code, and then nothing more.
    """
    # aiohttp accepts messages that are shorter than its limit.
    limit = max_message_bytes + 1
    return WebSocketReader(_NoQueue(handle, fail), limit, compress=False, decode_text=False)


def encode(opcode: int, payload: bytes, *, masked: bool) -> bytes:
    """Return a frame; a client masks its frames."""
    first, mask_bit, length = _FIN | opcode, _MASK if masked else 0, len(payload)
    if length < _LENGTH_IN_16_BITS:
        head = _head_7(first, mask_bit | length)
    elif length < 1 << 16:
        head = _head_16(first, mask_bit | _LENGTH_IN_16_BITS, length)
    else:
        head = _head_64(first, mask_bit | _LENGTH_IN_64_BITS, length)
    if not masked:
        return head + payload
    mask, hidden = os.urandom(_MASK_BYTES), bytearray(payload)
    websocket_mask(mask, hidden)
    return b"".join((head, mask, hidden))


def is_utf8(text: bytes) -> bool:
    """Return whether the text of a message is UTF-8 (RFC 6455 8.1)."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
