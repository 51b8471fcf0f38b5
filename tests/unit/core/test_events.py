"""Tests of the readers that make events of messages."""

import base64
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.errors import InvalidEvent
from relay.core.events import (
    CLIENT_EVENTS,
    MAX_DEPTH,
    MAX_SERVER_DEPTH,
    MAX_TEXT_BYTES,
    MAX_VALUES,
    decode_client,
    decode_server,
    encode,
    peek,
    read_append,
)
from relay.core.messages import Binary

BASE64 = re.compile("(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def append(**fields: object) -> bytes:
    return json.dumps({"type": "input_audio_buffer.append", **fields}).encode()


@pytest.mark.parametrize(
    ("raw", "audio"),
    [
        (append(audio="AAAA"), b"\0\0\0"),
        (append(audio="AA=="), b"\0"),
        (append(audio=""), b""),
        (b'{"type":"input_audio_buffer.append","audio":"AAAA"}', b"\0\0\0"),
        (append(event_id="e", audio="AAAA"), b"\0\0\0"),
        (b' \n{ "audio" : "AAAA" ,\t"type":"input_audio_buffer.append" }\r\n', b"\0\0\0"),
        (append(event_id="e" * 512, audio=""), b""),
        (b'{"type":"input_audio_buffer.append","audio":"","event_id":"\xe2\x80\xa8\x7f"}', b""),
    ],
)
def test_the_audio_of_an_append_is_read(raw: bytes, audio: bytes) -> None:
    assert read_append(raw) == audio


@pytest.mark.parametrize(
    "raw",
    [
        append(),
        append(audio=1),
        append(audio="AAAA", event_id=None),
        append(audio="AAAA", event_id=7),
        append(audio="AAAA", event_id='"'),
        append(audio="AAAA", event_id="\\"),
        append(audio="AAAA", event_id="é"),
        append(audio="AAAA", event_id="e" * 513),
        append(audio="AAAA", session={}),
        append(audio="AAAA\n"),
        append(audio="AAA"),
        b'{"type":"input_audio_buffer.append","audio":"}',
        b'{"type": "input_audio_buffer.append", "audio": "}',
        append(audio="-_-_"),
        append(audio="AAAA").replace(b"AAAA", rb"AAA\u0041"),
        append(audio="AAAA").replace(b"append", b"appenD"),
        append(audio="AAAA")[:-1] + b',"type":"input_audio_buffer.append"}',
        append(audio="AAAA")[:-1] + b',"audio":"AAAA"}',
        b'{"type":"input_audio_buffer.append","audio":"","audio":""}',
        b'{"audio":"AAAA","type":"input_audio_buffer.append","audio":""}',
        append(audio="AAAA", event_id="e")[:-1] + b',"event_id":null}',
        append(audio="AAAA", event_id="e").replace(b'"e"', b'"\xff"'),
        append(audio="AAAA", event_id="e").replace(b'"e"', b'"\xed\xa0\x80"'),
        append(audio="AAAA", event_id="e").replace(b'"e"', b'"\x00"'),
        append(audio="AAAA") + b"//",
        b"\xef\xbb\xbf" + append(audio="AAAA"),
        b"[" + append(audio="AAAA") + b"]",
        b"",
    ],
)
def test_an_ambiguous_message_is_not_an_append(raw: bytes) -> None:
    """Some of them are appends, but the relay must decode and encode them."""
    assert read_append(raw) is None


@given(st.text(st.sampled_from('AZaz09+/=-_\n \\"'), max_size=12), st.sampled_from([",", ", "]))
def test_the_audio_of_an_append_is_strict_base64(text: str, comma: str) -> None:
    colon = comma.replace(",", ":")
    raw = f'{{"type"{colon}"input_audio_buffer.append"{comma}"audio"{colon}"{text}"}}'.encode()

    assert read_append(raw) == (base64.b64decode(text) if BASE64.fullmatch(text) else None)


def test_an_event_is_an_object_with_a_type() -> None:
    raw = '{"type":"x","a":[1,-0,0.5,1e-400,true,null,"é\\u2028"],"b":{"A":{},"c":{}}}'.encode()

    assert decode_client(raw) == {
        "type": "x",
        "a": [1, 0, 0.5, 0.0, True, None, "é\u2028"],
        "b": {"A": {}, "c": {}},
    }


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (Binary(b'{"type":"x"}'), "The message must be text, not binary."),
        (b"", "The message must be one JSON document."),
        (b"{", "The message must be one JSON document."),
        (b'{"type":"x"} x', "The message must be one JSON document."),
        (b'\xef\xbb\xbf{"type":"x"}', "The message must be one JSON document."),
        (b'{"type":"\xff"}', "The message must be one JSON document."),
        (b'{"type":"a\nb"}', "The message must be one JSON document."),
        (b'{"type":"x",}', "The message must be one JSON document."),
        (b'{"type":"x"/**/}', "The message must be one JSON document."),
        ('{"type":"x"}'.encode("utf-16"), "The message must be one JSON document."),
        (b"[]", "The event must be a JSON object."),
        (b"null", "The event must be a JSON object."),
        (b"{}", "The event must have a 'type' that is a string."),
        (b'{"Type":"x"}', "The event must have a 'type' that is a string."),
        (b'{"type":1}', "The event must have a 'type' that is a string."),
        (b'{"type":"x","type":"x"}', "An object has the same key twice."),
        (rb'{"type":"x","a":[{"k":1,"\u006b":1}]}', "An object has the same key twice."),
        (b'{"type":"x","TYPE":"x"}', "An object has the same key twice."),
        ('{"type":"x","k":1,"\u212a":1}'.encode(), "An object has the same key twice."),
        (b'{"type":"x","a":NaN}', "NaN is not JSON."),
        (b'{"type":"x","a":-Infinity}', "-Infinity is not JSON."),
        (b'{"type":"x","a":1e999}', "A number is too large."),
        (b'{"type":"x","a":1e16}', "A number is too large."),
        (b'{"type":"x","a":9007199254740993}', "A number is too large."),
        (b'{"type":"x","a":-' + b"9" * 5000 + b"}", "A number is too large."),
        (rb'{"type":"x","a":"\ud800"}', "A string has half a surrogate pair."),
        (rb'{"type":"x","\udfff":1}', "A string has half a surrogate pair."),
        (b'{"type":"x","a":' + b"[" * 32 + b"]" * 32 + b"}", "nested deeper than 32 levels."),
        (b'{"type":"x","a":' + b'{"a":' * 99 + b"0" + b"}" * 100, "nested deeper than 32 levels."),
        (b"[" * 15_000, "nested deeper than 32 levels."),
        (b"[" + b"0," * MAX_VALUES + b"0]", "The event has more than 20000 values."),
        (b'{"type":"x","a":[' + b'"",' * 90_000 + b"0]}", "The event has more than 20000 value"),
    ],
)
def test_an_ambiguous_message_is_refused(raw: bytes, words: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        decode_client(raw)

    assert words in str(refused.value)


def test_depth_and_numbers_are_allowed_up_to_their_limits() -> None:
    levels = MAX_DEPTH - 1
    raw = b'{"type":"x","a":[9007199254740992,-9007199254740992],"b":' + b"[" * levels
    event = decode_client(raw + b"]" * levels + b"}")

    assert event["a"] == [2**53, -(2**53)]


def test_a_text_may_have_any_number_of_commas() -> None:
    """The output of a tool is often JSON: a table has more commas than an event may have."""
    output = json.dumps([{"a": ["\\", '"', "\\\\"]}] * 10_000)
    event = {"type": "conversation.item.create", "item": {"output": output}}

    assert decode_client(encode(event)) == event


AUDIO = b"AAAA" * (MAX_TEXT_BYTES // 2)


def item_with(parts: bytes) -> bytes:
    return b'{"type":"conversation.item.create","item":{"content":[' + parts + b"]}}"


@pytest.mark.parametrize(
    "key", [b'"audio":"', b'"audio" : "', b'"transcript":"\\",\\"", "audio":"', b'"audio":\n"']
)
def test_the_audio_of_an_item_may_be_long(key: bytes) -> None:
    short, long = b"{" + key + b'AAAA"}', b"{" + key + AUDIO + b'"}'
    event = decode_client(item_with(long + b"," + short + b"," + long))

    parts = event["item"]["content"]
    assert [len(part["audio"]) for part in parts] == [len(AUDIO), 4, len(AUDIO)]


@pytest.mark.parametrize(
    "part",
    [
        b'{"text":"' + AUDIO + b'"}',
        b'{"audio":"' + AUDIO[1:] + b'"}',
        b'{"audio":"' + b"\\/AA" * (MAX_TEXT_BYTES // 2) + b'"}',
        b'{"audio":["' + AUDIO + b'"]}',
        b'{"text":"\\"audio\\":' + AUDIO + b'"}',
        b'{"text":' + b" " * MAX_TEXT_BYTES + b"1}",
        b"{}," * (MAX_TEXT_BYTES // 2) + b"{}",
        b'{"audio":"' + AUDIO + b'","text":"' + b"x" * MAX_TEXT_BYTES + b'"}',
    ],
    ids=lambda part: repr(part[:20]),
)
def test_an_event_may_not_be_long_without_its_audio(part: bytes) -> None:
    with pytest.raises(InvalidEvent, match="has more than 524288 bytes without its audio"):
        decode_client(item_with(part))


def test_the_values_beside_a_long_audio_are_counted() -> None:
    with pytest.raises(InvalidEvent, match="has more than 20000 values"):
        decode_client(item_with(b'{"audio":"' + AUDIO + b'"}' + b",1" * MAX_VALUES))


def test_half_a_surrogate_pair_is_found_beside_a_long_audio() -> None:
    with pytest.raises(InvalidEvent, match="has half a surrogate pair"):
        decode_client(item_with(b'{"audio":"' + AUDIO + b'","text":[1,"\\uDFFF"]}'))


def test_a_whole_surrogate_pair_is_read() -> None:
    assert decode_client(rb'{"type":"x","a":["\ud83d\ude00", 1]}')["a"] == ["\U0001f600", 1]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("abcd"), inner),
        max_leaves=10,
    )
)
def test_an_encoded_event_decodes_to_the_same(value: object) -> None:
    event = {"type": "x", "a": value}

    assert decode_client(encode(event)) == event


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-(2**53), max_value=2**53))
def test_any_parser_reads_the_same_number(number: float) -> None:
    assert json.loads(encode(decode_client(encode({"type": "x", "a": number})))) == {
        "type": "x",
        "a": number,
    }


def test_peek_returns_the_type_and_the_raw_delta() -> None:
    seen = peek(b'{"delta" : "AA\\/A" ,"\\u0074ype":"response.output_audio.delta","x":[1]}')

    assert seen is not None
    assert (seen.type, bytes(seen.delta)) == ("response.output_audio.delta", b'"AA\\/A"')


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b'{"type":1}', b"\xff", b"[" * 100_000])
def test_peek_returns_none_for_a_message_that_is_not_an_event(raw: bytes) -> None:
    assert peek(raw) is None
    assert decode_server(raw) is None


@pytest.mark.parametrize("x", [b'"\xff"', b"1e999", b"[" * 100_000])
def test_an_event_that_cannot_be_read_as_a_whole_is_none(x: bytes) -> None:
    assert decode_server(b'{"type":"x","x":' + x + b"}") is None


def test_a_server_event_is_read_to_a_limited_depth() -> None:
    def nested(levels: int) -> bytes:
        return b'{"type":"x","x":' + b"[" * levels + b"1" + b"]" * levels + b"}"

    assert decode_server(nested(MAX_SERVER_DEPTH - 1)) is not None
    assert decode_server(nested(MAX_SERVER_DEPTH)) is None
    assert decode_server(encode({"type": "x", "x": [{}] * 10 * MAX_SERVER_DEPTH})) is not None


def test_a_server_event_is_read() -> None:
    assert decode_server(b'{"type":"x","a":[1]}') == {"type": "x", "a": [1]}


def test_the_vocabulary_is_that_of_the_openai_package() -> None:
    from typing import get_args

    from openai.types.realtime import RealtimeClientEvent

    union, *_ = get_args(RealtimeClientEvent)
    types = {get_args(event.model_fields["type"].annotation)[0] for event in get_args(union)}

    assert types == CLIENT_EVENTS
