"""Ids in the shape that the API gives them: a prefix, an underscore, base62."""

import secrets
import string

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
# One draw of bytes and one translation: an id is made for every event, also for every bit of audio.
_TO_BASE62 = bytes(ord(_BASE62[byte % 62]) for byte in range(256))
_LENGTHS = {"call": 16}
_USUAL_LENGTH = 21


def new_id(prefix: str) -> str:
    """Return an id such as ``item_`` followed by 21 characters, ``call_`` by 16."""
    length = _LENGTHS.get(prefix, _USUAL_LENGTH)
    return f"{prefix}_{secrets.token_bytes(length).translate(_TO_BASE62).decode()}"
