"""Ids in the API's form: a prefix, an underscore, base62 characters."""

import secrets
import string

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
# Each event has an id, also each audio delta: random bytes and one translation are fast.
_TO_BASE62 = bytes(ord(_BASE62[byte % 62]) for byte in range(256))
_LENGTHS = {"call": 16}
_DEFAULT_LENGTH = 21


def new_id(prefix: str) -> str:
    """Return a new id: 21 characters after the prefix, or 16 after ``call_``."""
    length = _LENGTHS.get(prefix, _DEFAULT_LENGTH)
    return f"{prefix}_{secrets.token_bytes(length).translate(_TO_BASE62).decode()}"
