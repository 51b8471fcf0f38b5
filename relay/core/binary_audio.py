"""Binary messages with audio, made safe for a receiver that reads a binary message as JSON.

Many servers and clients read an event in a binary message as they do in a text message. Their
readers can be lenient: they replace or drop invalid bytes, find the encoding themselves, and accept
comments, text around the document, or another notation. No list of such readers is complete. But
each of them needs the key ``type``, and audio does not need the borders of its messages: it is one
stream. Therefore the relay cuts a message inside each key ``type``, and audio loses nothing.
"""

import re

from relay.core.messages import Binary

MAX_KEYS = 16
"""A message with more keys is not audio."""

_DROPPED = bytes(range(0x20)) + bytes(range(0x7F, 0x100))
"""Bytes that a reader may drop from a key: NUL (and with it UTF-16 and UTF-32), a line end behind a
backslash, invalid UTF-8."""

_LOWER = bytes(range(0x100)).lower()


def _key(dropped: str) -> bytes:
    r"""Return a pattern for the key in lower case, with ``dropped`` between its characters.

    A letter may have backslashes before it, and may be an escape: \u0074, \u{74} or \x74 for a 't',
    and with 54 for a 'T'.
    """
    letters = []
    for letter in "type":
        digit, last = divmod(ord(letter), 16)
        code = f"[{digit}{digit - 2}]{dropped}{last}"
        after_u = rf"(?:[{{0]{dropped})*+{code}(?:{dropped}\}})?"
        letters.append(rf"(?:{letter}|\\{dropped}(?:u{dropped}{after_u}|x{dropped}{code}))")
    return rf"{dropped}(?:\\{dropped})*?".join(letters).encode("latin-1")


_KEY = re.compile(_key(f"[{re.escape(_DROPPED.decode('latin-1'))}]*+"), re.IGNORECASE)
_BARE_KEY = re.compile(_key(""))
_BARE_EVENT = re.compile(_BARE_KEY.pattern + rb"""["'`]? *[:=]>? *["'`]""")


def cut_audio(raw: bytes) -> tuple[Binary, ...] | None:
    """Return the pieces of a message with audio, nearly always one; None if it is an event.

    No piece has the key ``type``. Each piece but the last has an even length, so that no sample of
    16 bits is cut.
    """
    bare = raw.translate(_LOWER, _DROPPED)
    if not _BARE_KEY.search(bare):
        return (raw if type(raw) is Binary else Binary(raw),)
    return None if _BARE_EVENT.search(bare) else _cut(raw)


def _cut(raw: bytes) -> tuple[Binary, ...] | None:
    pieces = []
    begin = 0
    while key := _KEY.search(raw, begin):
        end = key.start() + 2 - key.start() % 2
        pieces.append(Binary(raw[begin:end]))
        begin = end
        if len(pieces) > MAX_KEYS:
            return None
    return (*pieces, Binary(raw[begin:]))
