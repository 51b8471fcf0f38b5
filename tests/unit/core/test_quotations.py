"""Tests of quotations: the persona's words reach neither the log nor the client."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.quotations import (
    CLIENT_QUOTED_CHARS,
    MAX_DETAIL_CHARS,
    MAX_QUOTED_CHARS,
    MAX_TEXT_CHARS,
    MIN_QUOTED_CHARS,
    NO_WORDS,
    PersonaWords,
    persona_words,
    unquoted,
)

TOOL = {"type": "function", "name": "opening_hours", "description": "When the clinic is open."}
SESSION = {
    "instructions": "You are the receptionist of the clinic.",
    "tools": [TOOL],
    "prompt": {"id": "pmpt_0123456789abcdef", "variables": ("of the guest",)},
    "audio": {"output": {"voice": "a voice of one's own"}},
}


def test_instructions_tools_and_prompts_are_masked_anywhere_in_a_text() -> None:
    detail = "Bad: You are the receptionist of the clinic. When the clinic is open. of the guest!"

    assert unquoted(detail, SESSION) == f"Bad: {'*' * 39} {'*' * 24} {'*' * 12}!"


def test_a_text_without_secrets_stays() -> None:
    detail = "unknown_parameter (param session.audio.output.voice): a voice of one's own, function"

    assert unquoted(detail, SESSION) == detail


def test_a_session_without_secrets_masks_nothing() -> None:
    assert unquoted("The model does not exist.", {"instructions": None}) == (
        "The model does not exist."
    )


words = st.text("ab ", min_size=MIN_QUOTED_CHARS, max_size=60)


@given(prompt=words, before=st.text("xy"), after=st.text("xy"), data=st.data())
def test_every_long_piece_of_a_prompt_is_masked(
    prompt: str, before: str, after: str, data: st.DataObject
) -> None:
    length = min(len(prompt), MAX_QUOTED_CHARS)
    start = data.draw(st.integers(0, len(prompt) - length))
    quoted = prompt[start : start + data.draw(st.integers(length, len(prompt)))]

    masked = unquoted(before + quoted + after, {"instructions": prompt})

    assert masked == f"{before}{'*' * len(quoted)}{after}"


LINES = 'Vault: 4711\nPIN: 99\nBe "kind" to née Sirius'


@pytest.mark.parametrize(
    "quoted",
    [
        repr(LINES),
        json.dumps(LINES),
        ascii(LINES),
        json.dumps(LINES, ensure_ascii=False),
        json.dumps(json.dumps(LINES)),
        f"'{LINES.upper()}'",
        f"'{' '.join(LINES.split())}'",
    ],
)
def test_a_quotation_with_escapes_or_in_another_case_is_masked(quoted: str) -> None:
    masked = unquoted(f"invalid value: input_value={quoted}, param", {"instructions": LINES})

    assert re.fullmatch(r"invalid value: input_value=['\"\\]+\*{40,}['\"\\]+, param", masked)


@given(st.text())
def test_a_text_for_the_log_is_cut(detail: str) -> None:
    assert len(unquoted(detail * 100, SESSION)) <= MAX_DETAIL_CHARS


LINE = "You are the receptionist of the clinic."
WORDS = PersonaWords(f"short\n  {LINE}  \n", None)


@given(st.text("xy"), st.text("xy"), st.integers(0, len(LINE) - CLIENT_QUOTED_CHARS))
def test_a_piece_of_a_line_is_a_quotation_from_one_length_on(
    before: str, after: str, start: int
) -> None:
    piece = LINE[start : start + CLIENT_QUOTED_CHARS]

    assert WORDS.are_in(f"{before}{piece}{after}")
    assert not WORDS.are_in(f"{before}{piece[1:]}!{after}")
    assert not NO_WORDS.are_in(f"{before}{piece}{after}")


def test_a_short_line_is_in_any_sentence_and_is_no_quotation() -> None:
    assert not WORDS.are_in("a short text that is longer than a piece")


def test_a_text_that_is_too_long_to_search_counts_as_a_quotation() -> None:
    assert not WORDS.are_in("x" * MAX_TEXT_CHARS)
    assert WORDS.are_in("x" * (MAX_TEXT_CHARS + 1))


@given(st.lists(st.text("abc ", max_size=60), max_size=5), st.text("abc ", max_size=80))
def test_a_quotation_is_any_common_piece_of_that_length(lines: list[str], text: str) -> None:
    """The blocks only find the places to compare."""
    pieces = {
        line[start : start + CLIENT_QUOTED_CHARS]
        for line in map(str.strip, lines)
        for start in range(len(line) - CLIENT_QUOTED_CHARS + 1)
    }

    assert PersonaWords(*lines).are_in(text) == any(piece in text for piece in pieces)


def test_the_sessions_of_a_persona_share_its_words() -> None:
    assert persona_words(LINE, "hint") is persona_words(LINE, "hint")
    assert persona_words(LINE) is not persona_words(LINE, "hint")


def test_a_long_word_of_the_persona_is_found_in_a_text_without_a_space() -> None:
    address = "https://clinic.example/booking/4711"

    assert PersonaWords(f"Send them to {address} first.").are_in(f"x{address}")
    assert not WORDS.are_in("conv_0123456789012345678901234567890123")
