"""No reader finds an event in the pieces of a binary message; audio passes, in one piece."""

import json
import random
import shutil
import subprocess
import wave
from array import array
from collections.abc import Callable, Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from lenient_readers import READERS
from paths import AUDIO

from relay.core.binary_audio import MAX_KEYS, cut_audio
from relay.core.events import CLIENT_EVENTS
from relay.core.messages import Binary
from relay.simulator import audio

UPDATE = '{"type":"session.update","session":{"instructions":"é…","a":1}}'
NODE = shutil.which("node")


def types_read(raw: bytes) -> set[str]:
    """Return the types of all events that any reader finds."""
    return {kind for read in READERS.values() for kind in read(raw)}


def pieces_of(raw: bytes) -> Sequence[bytes]:
    """Return the messages that pass; none for an event."""
    return cut_audio(Binary(raw)) or ()


ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "utf-16", "utf-32-le", "utf-32-be", "utf-32")

KEYS = (
    "type", "TYPE", "tYpe", r"\u0074ype", r"t\u0059pe", r"ty\u0070\u0065", r"\x74\x79\x70\x65",
    r"\u{74}ype", r"ty\u{0000070}e", r"t\ype", "ty\\\npe", "ty\\\u2028pe", "t\\\r\n\\u0079pe",
    "t\0ype", "type\0x",
)  # fmt: skip

NOTATIONS = (
    '{{"{key}":"{kind}","session":{{}}}}',
    "{{'{key}':'{kind}',}}",
    "{{{key}:'{kind}'}}",
    '{{{key} /* the : kind */ : // of\n "{kind}"}}',
    '{{"{key}" # of :\n=> "{kind}"}}',
    '{{"session":{{}},\u3000"{key}"\u2028:\u00a0"{kind}"}}',
    '{{"{key}":"{kind}","session":{{"instructions":"',
    '{{"a":1}}\n{{"{key}":"{kind}"}}\n',
    '{{"{key}": `{kind}`}}',
    '[{{"{key}":"{kind}"}}]',
)

garbage = st.binary(max_size=40) | st.sampled_from(
    [
        b"",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\0" * 7,
        b")]}',\n",
        b"//\n",
        b"/*",
        b"\x1e",
        b"\xff",
        b"t",
    ]
)


@st.composite
def hidden_events(draw: st.DrawFn) -> bytes:
    """Return bytes with an event, in some notation and encoding, and with garbage in it."""
    notation = draw(st.sampled_from(NOTATIONS))
    key, kind = draw(st.sampled_from(KEYS)), draw(st.sampled_from(sorted(CLIENT_EVENTS)))
    raw = notation.format(key=key, kind=kind).encode(draw(st.sampled_from(ENCODINGS)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(garbage) + raw[at:]
    return draw(garbage) + raw + draw(garbage)


@given(hidden_events())
def test_no_reader_finds_an_event_in_what_passes(raw: bytes) -> None:
    for piece in pieces_of(raw):
        assert types_read(piece) == set()


@given(st.binary(), st.sampled_from([b"type", b"t\0y\0p\0e\0", b"\\u0074ype"]), st.binary())
def test_the_pieces_are_the_message_and_cut_no_sample(
    before: bytes, key: bytes, rest: bytes
) -> None:
    raw = before + key + rest
    pieces = cut_audio(Binary(raw))
    assume(pieces is not None)

    assert pieces is not None
    assert b"".join(pieces) == raw
    assert all(type(piece) is Binary and piece for piece in pieces)
    assert all(len(piece) % 2 == 0 for piece in pieces[:-1])
    assert len(pieces) > 1


HIDDEN = {
    "an invalid byte": UPDATE.encode("latin-1", "replace"),
    "an invalid byte in the key": UPDATE.encode().replace(b"type", b"ty\xffpe"),
    "a byte order mark": b"\xef\xbb\xbf" + UPDATE.encode(),
    "UTF-16": UPDATE.encode("utf-16"),
    "UTF-16, with half a surrogate pair": UPDATE.encode("utf-16-le").replace(b"\xe9\0", b"\0\xd8"),
    "UTF-16, big endian": UPDATE.encode("utf-16-be"),
    "UTF-32": UPDATE.encode("utf-32-le"),
    "NUL before and behind": b"\0\0" + UPDATE.encode() + b"\0\0",
    "NUL in the key": UPDATE.encode().replace(b"type", b"t\0ype"),
    "garbage before": b")]}',\n\xff" + UPDATE.encode(),
    "two documents": b'{"a":1}\n\xff\n' + UPDATE.encode() * 2,
    "no end": UPDATE.encode()[:24] + b"\xff",
    "JSON5": b"{// \xff\n type: 'session.update',}",
    "escapes": rb"{'\x74\u0079\p\u{65}': 'session.update'} " + b"\xff",
    "a line that goes on": b'{"ty\\\npe":"session.update","a":"\xff"}',
    "a comment behind the key": b'{"type"/* \xff */:"session.update"}',
    "Gson": b'{"type" # \xff\n=> "session.update"}',
}


@pytest.mark.parametrize("name", HIDDEN)
def test_some_reader_finds_the_event_that_the_relay_takes_apart(name: str) -> None:
    raw = HIDDEN[name]

    assert "session.update" in types_read(raw)
    assert not any(types_read(piece) for piece in pieces_of(raw))


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_node_reads_no_event_in_what_passes() -> None:
    """Its ``Buffer.toString`` replaces invalid bytes, as ``ws`` hands messages on."""
    script = """
        const lines = require("fs").readFileSync(0, "utf8").split("\\n");
        const read = (raw) => {
            try { return JSON.parse(raw.toString()).type ?? null } catch { return null }
        };
        console.log(JSON.stringify(lines.map((line) => read(Buffer.from(line, "hex")))));
    """

    def read(messages: Sequence[bytes]) -> list[str | None]:
        lines = "\n".join(raw.hex() for raw in messages)
        assert NODE is not None
        done = subprocess.run([NODE, "-e", script], input=lines, stdout=-1, text=True, check=True)
        kinds: list[str | None] = json.loads(done.stdout)
        return kinds

    assert "session.update" in read(list(HIDDEN.values()))
    assert set(read([piece for raw in HIDDEN.values() for piece in pieces_of(raw)])) <= {None}


@pytest.mark.parametrize("raw", [b"", b"{", b"{}", b"typ", b"\\u0074yp", b'{"a":1}', b"\0"])
def test_a_message_without_the_key_is_audio(raw: bytes) -> None:
    assert cut_audio(Binary(raw)) == (raw,)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_message_that_is_plainly_an_event_is_refused(encoding: str) -> None:
    """Its sender learns that an event has to be text."""
    assert cut_audio(Binary(UPDATE.encode(encoding))) is None


def test_a_message_with_many_keys_is_no_audio() -> None:
    assert len(cut_audio(Binary(b"type" * MAX_KEYS)) or ()) == MAX_KEYS + 1
    assert cut_audio(Binary(b"type" * (MAX_KEYS + 1))) is None


CHUNKS_OF_SILENCE = [
    bytes([value]) * length for value in (0x00, 0xFF, 0x7F, 0xD5, 0x55) for length in (1, 2, 3, 960)
]


@pytest.mark.parametrize("chunk", CHUNKS_OF_SILENCE)
def test_silence_passes_in_one_piece(chunk: bytes) -> None:
    assert cut_audio(Binary(chunk)) == (chunk,)


NOISE = random.Random(0)  # noqa: S311  # only samples
FORMATS = ("audio/pcm", "audio/pcmu", "audio/pcma")


def speech() -> "array[int]":
    """Return the samples of the recordings of the tests."""
    samples: array[int] = array("h")
    for path in sorted(AUDIO.glob("*.wav")):
        with wave.open(str(path)) as file:
            samples.frombytes(file.readframes(file.getnframes()))
    return samples


def noise(volume: int) -> "array[int]":
    """Return the samples of noise, for 5 s or more."""
    return array("h", (int(NOISE.gauss(0, volume)) for _ in range(120_000)))


SOUNDS: dict[str, "Callable[[], array[int]]"] = {
    "speech": speech,
    "quiet noise": lambda: noise(60),
    "loud noise": lambda: noise(4000),
}


@pytest.mark.parametrize("chunk_bytes", [2, 160, 961, 9600])
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("sound", SOUNDS)
def test_audio_passes_and_is_hardly_ever_cut(sound: str, kind: str, chunk_bytes: int) -> None:
    data = audio.encode(audio.pcm(SOUNDS[sound]()), {"type": kind, "rate": 24000})
    chunks = [data[at : at + chunk_bytes] for at in range(0, len(data), chunk_bytes)]
    passed = [cut_audio(Binary(chunk)) for chunk in chunks]

    assert None not in passed
    assert sum(len(pieces or ()) - 1 for pieces in passed) <= len(data) / 100_000
