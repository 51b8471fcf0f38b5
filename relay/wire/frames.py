"""The frames of RFC 6455: opcodes, bits, and how one is written.

To write a frame, a header of at most fourteen bytes is added and, by a client, a mask.
"""

import os
import struct
from collections.abc import Iterator
from typing import Final

from aiohttp._websocket.helpers import websocket_mask

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
"""Opcodes (RFC 6455 5.2)."""

FIN: Final = 0x80
MASK: Final = 0x80
MASK_BYTES: Final = 4
POOL_BYTES: Final = 256 * MASK_BYTES
"""The random bytes of one system call."""

_LENGTH_IN_16_BITS, _LENGTH_IN_64_BITS = 126, 127

_head_7, _head_16, _head_64 = (struct.Struct(f"!{fields}").pack for fields in ("BB", "BBH", "BBQ"))


def mask_keys() -> Iterator[bytes]:
    """Yield masking keys that no one can guess (RFC 6455 5.3), many from one system call."""
    while True:
        keys = os.urandom(POOL_BYTES)
        for at in range(0, POOL_BYTES, MASK_BYTES):
            yield keys[at : at + MASK_BYTES]


def encode(opcode: int, payload: bytes, key: bytes | None = None) -> bytes:
    """Return a frame, masked with a key; a client masks its frames."""
    first, mask_bit, length = FIN | opcode, 0 if key is None else MASK, len(payload)
    if length < _LENGTH_IN_16_BITS:
        head = _head_7(first, mask_bit | length)
    elif length < 1 << 16:
        head = _head_16(first, mask_bit | _LENGTH_IN_16_BITS, length)
    else:
        head = _head_64(first, mask_bit | _LENGTH_IN_64_BITS, length)
    if key is None:
        return head + payload
    masked = bytearray(payload)
    websocket_mask(key, masked)
    return b"".join((head, key, masked))
