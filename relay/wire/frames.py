"""RFC 6455 frames: messages out of the bytes that a connection delivers, and back into them.

aiohttp reads them, and hands each over in the call that brought its last byte: no queue, no task
in between. To write one is a header of at most fourteen bytes and, from a client, a mask.
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
"""What was read: a whole message, or a control frame."""

Read = Callable[[Frame, int], None]
"""Takes a frame, and how much it weighs in a queue, which there is not."""

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
"""Opcodes (RFC 6455 5.2)."""

_FIN: Final = 0x80
_MASK: Final = 0x80
_LENGTH_IN_16_BITS, _LENGTH_IN_64_BITS = 126, 127
_MASK_BYTES = 4

_head_7, _head_16, _head_64 = (struct.Struct(f"!{fields}").pack for fields in ("BB", "BBH", "BBQ"))


class _Unqueued(WebSocketDataQueue):
    """Takes frames from aiohttp's reader and passes each on at once."""

    def __init__(self, read: Read, fail: Callable[[int], None]) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(BaseProtocol(loop), 0, loop=loop)
        self.feed_data = read  # type: ignore[assignment,method-assign]  # a call less
        self._fail = fail

    def set_exception(self, exc: BaseException, *_cause: BaseException) -> None:
        if not isinstance(exc, WebSocketError):
            raise exc  # a defect of ours
        self._fail(exc.code)


def reader(
    read: Read,
    fail: Callable[[int], None],
    *,
    max_message_bytes: int,
) -> WebSocketReader:
    """Return what is fed with bytes and calls ``read`` with each frame.

    It calls ``fail`` with the close code for who broke the protocol, and nothing after that.
    """
    # aiohttp takes what is shorter than its limit.
    limit = max_message_bytes + 1
    return WebSocketReader(_Unqueued(read, fail), limit, compress=False, decode_text=False)


def encode(opcode: int, payload: bytes, *, masked: bool) -> bytes:
    """Return a frame; a client masks what it sends."""
    if not masked:
        return _head(opcode, len(payload), 0) + payload
    mask, hidden = os.urandom(_MASK_BYTES), bytearray(payload)
    websocket_mask(mask, hidden)
    return b"".join((_head(opcode, len(payload), _MASK), mask, hidden))


def _head(opcode: int, length: int, mask: int) -> bytes:
    if length < _LENGTH_IN_16_BITS:
        return _head_7(_FIN | opcode, mask | length)
    if length < 1 << 16:
        return _head_16(_FIN | opcode, mask | _LENGTH_IN_16_BITS, length)
    return _head_64(_FIN | opcode, mask | _LENGTH_IN_64_BITS, length)
