"""Readers that find an event in bytes that are not JSON, as a peer could in a binary message.

Each reader is a way to decode bytes and a way to parse text. It returns the types of the events
that it reads.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any

Decode = Callable[[bytes], str]
Parse = Callable[[str], Iterator[Any]]

_ENCODINGS = ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")


def _decode(encoding: str, errors: str) -> Decode:
    return lambda raw: raw.decode(encoding, errors)


DECODERS: Mapping[str, Decode] = {
    **{f"{name}, replaced": _decode(name, "replace") for name in _ENCODINGS},
    "utf-8, dropped": _decode("utf-8", "ignore"),
    "latin-1": _decode("latin-1", "strict"),
    "NUL dropped": lambda raw: raw.replace(b"\0", b"").decode("utf-8", "replace"),
    "controls dropped": lambda raw: re.sub(rb"[\0-\x1f]", b"", raw).decode("utf-8", "replace"),
}

_JSON = json.JSONDecoder(strict=False)
_COMMENTS = re.compile(r"/\*.*?\*/|//[^\n]*|#[^\n]*", re.DOTALL)
_BARE_WORDS = re.compile(r"([{,]\s*)([A-Za-z_\\][\w\\]*)\s*(?:[:=]>?)")
_EQUALS = re.compile(r'"\s*=>?')
_LINES_THAT_GO_ON = re.compile(r"\\(?:\r\n|[\n\r\u2028\u2029])")
_OTHER_ESCAPES = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u\{0*([0-9a-fA-F]{2})\}|([^\"\\/bfnrtuxU]))")
_TRAILING_COMMAS = re.compile(r",(\s*[}\]])")


def _strict(text: str) -> Iterator[Any]:
    """Read one document."""
    yield json.loads(text.strip("\ufeff\0 \t\r\n"), strict=False)


def _anywhere(text: str) -> Iterator[Any]:
    """Read each object, and pass over everything before, between and behind them."""
    for brace in re.finditer("{", text):
        try:
            yield _JSON.raw_decode(text, brace.start())[0]
        except ValueError:
            continue


def _truncated(text: str) -> Iterator[Any]:
    """Read an object that has no end."""
    for brace in re.finditer("{", text):
        for end in ("}", '"}', '"}}', '""}', "}}"):
            try:
                yield json.loads(text[brace.start() :].rstrip(", ") + end, strict=False)
            except ValueError:
                continue


def _json5(text: str) -> Iterator[Any]:
    """Read JSON5 and Gson: comments, other quotes and escapes, bare keys, commas at the end."""
    text = _COMMENTS.sub(" ", _LINES_THAT_GO_ON.sub("", text)).replace("'", '"').replace("`", '"')
    text = _OTHER_ESCAPES.sub(lambda m: m[3] or chr(int(m[1] or m[2], 16)), text)
    text = _EQUALS.sub('":', _BARE_WORDS.sub(r'\1"\2":', text))
    yield from _anywhere(_TRAILING_COMMAS.sub(r"\1", text))


PARSERS: Mapping[str, Parse] = {
    "strict": _strict,
    "anywhere": _anywhere,
    "truncated": _truncated,
    "JSON5": _json5,
}


def _type_of(value: Any) -> str | None:
    """Return the type of an event, with the key in any case."""
    if not isinstance(value, dict):
        return None
    for key, item in value.items():
        if key.split("\0")[0].lower() == "type" and isinstance(item, str):
            return item
    return None


def _reader(decode: Decode, parse: Parse) -> Callable[[bytes], list[str]]:
    def read(raw: bytes) -> list[str]:
        try:
            types = [_type_of(value) for value in parse(decode(raw))]
        except (ValueError, RecursionError):
            return []
        return [kind for kind in types if kind is not None]

    return read


READERS: Mapping[str, Callable[[bytes], list[str]]] = {
    f"{decoded}; {parsed}": _reader(decode, parse)
    for (decoded, decode), (parsed, parse) in product(DECODERS.items(), PARSERS.items())
}
