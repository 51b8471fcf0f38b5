"""The frames of RFC 6455: opcodes, bits, and how one is written.

To write a frame, a header of at most fourteen bytes is added and, by a client, a mask.
"""

import os
import struct
from typing import Final

from aiohttp._websocket.helpers import websocket_mask

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
"""Opcodes (RFC 6455 5.2)."""

FIN: Final = 0x80
MASK: Final = 0x80
MASK_BYTES: Final = 4
_LENGTH_IN_16_BITS, _LENGTH_IN_64_BITS = 126, 127

_head_7, _head_16, _head_64 = (struct.Struct(f"!{fields}").pack for fields in ("BB", "BBH", "BBQ"))


def encode(opcode: int, payload: bytes, *, masked: bool) -> bytes:
    """Return a frame; a client masks its frames."""
    first, mask_bit, length = FIN | opcode, MASK if masked else 0, len(payload)
    if length < _LENGTH_IN_16_BITS:
        head = _head_7(first, mask_bit | length)
    elif length < 1 << 16:
        head = _head_16(first, mask_bit | _LENGTH_IN_16_BITS, length)
    else:
        head = _head_64(first, mask_bit | _LENGTH_IN_64_BITS, length)
    if not masked:
        return head + payload
    mask, hidden = os.urandom(MASK_BYTES), bytearray(payload)
    websocket_mask(mask, hidden)
    return b"".join((head, mask, hidden))
