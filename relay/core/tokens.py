"""Tokens by kind."""

from operator import add

from msgspec import Struct
from msgspec.structs import astuple


class Tokens(Struct, frozen=True, gc=False):
    """Tokens by kind; the sum of two is a new one."""

    input_text: int = 0
    input_audio: int = 0
    input_image: int = 0
    cached_text: int = 0
    cached_audio: int = 0
    cached_image: int = 0
    output_text: int = 0
    output_audio: int = 0
    transcription_input: int = 0
    transcription_output: int = 0

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(*map(add, astuple(self), astuple(other)))

    def by_kind(self) -> dict[str, int]:
        """Return the count of each kind that was used."""
        return {kind: n for kind, n in zip(TOKEN_KINDS, astuple(self), strict=True) if n}


TOKEN_KINDS = Tokens.__struct_fields__
