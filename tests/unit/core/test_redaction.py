"""Tests of the redaction of events for the client."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playbook import INSTRUCTIONS, PERSONA, SHOWN

from relay.core.api_errors import CLIENT_ERRORS, KNOWN_ERRORS
from relay.core.quotations import MAX_SEARCHED_CHARS, PersonaWords
from relay.core.redaction import REDACTED, redact_error, redact_response, redact_session

NOT_ACTIVE = {"type": "invalid_request_error", "code": "response_cancel_not_active"}
NOTHING_ELSE = {"param": None, "event_id": None}


def test_a_session_has_nothing_of_the_persona() -> None:
    assert redact_session(PERSONA, session_id="sess_1", expires_at=5000) == SHOWN


def test_a_transcription_session_gets_no_fields_that_its_type_does_not_have() -> None:
    transcription = {"model": "gpt-transcribe", "prompt": "PLANTED", "keywords": ["PLANTED"]}
    session = {"type": "transcription", "audio": {"input": {"transcription": transcription}}}

    assert redact_session(session, session_id="sess_1", expires_at=5000) == {
        "type": "transcription",
        "audio": {"input": {"transcription": {"model": "gpt-transcribe"}}},
        "id": "sess_1",
        "expires_at": 5000,
    }


@pytest.mark.parametrize(
    ("theirs", "shown"), [(4000, 4000), (9000, 5000), (0, 5000), (None, 5000), ("4000", 5000)]
)
def test_a_session_expires_at_the_earlier_of_two_times(theirs: Any, shown: int) -> None:
    session = {"expires_at": theirs}

    assert redact_session(session, session_id="s", expires_at=5000)["expires_at"] == shown


def test_secret_fields_are_found_at_any_depth() -> None:
    session = {"agents": [{"name": "a", "instructions": "x", "tools": [1]}], "speed": 1}

    shown = redact_session(session, session_id="s", expires_at=1)

    assert (shown["agents"], shown["speed"]) == ([{"name": "a"}], 1)


def test_a_field_with_a_new_name_cannot_repeat_the_persona() -> None:
    session = {"directive": f"Now: {INSTRUCTIONS[5:35]}", "voice": "marin", "hint": "short words"}

    shown = redact_session(
        session, session_id="s", expires_at=1, persona_words=PersonaWords(INSTRUCTIONS)
    )

    assert (shown["directive"], shown["voice"], shown["hint"]) == ("", "marin", "short words")


RESPONSE = {
    "id": "resp_1",
    "status": "completed",
    "status_details": None,
    "output": [{"type": "message", "content": [{"type": "output_text", "text": INSTRUCTIONS}]}],
    "metadata": {"prompt": "the client's own"},
    "usage": {"total_tokens": 3},
    "audio": {"output": {"voice": "marin"}},
}


def test_a_response_without_secrets_stays_unchanged() -> None:
    """The relay does not redact the words of the model and the client's metadata."""
    assert redact_response(RESPONSE, PersonaWords(INSTRUCTIONS)) == RESPONSE


def test_a_response_has_nothing_of_the_persona() -> None:
    secrets = {"instructions": "x", "tools": [], "tool_choice": "x", "prompt": {}, "tracing": "x"}
    hidden = [{"type": "mcp_list_tools"}, {"type": "message", "role": "system"}]
    echoed = RESPONSE | secrets | {"output": [*hidden, *RESPONSE["output"]]}  # type: ignore[misc]  # a list

    assert redact_response(echoed) == RESPONSE


def test_an_output_that_is_not_a_list_stays() -> None:
    assert redact_response({"output": None}) == {"output": None}


@pytest.mark.parametrize(
    ("details", "shown"),
    [
        (
            {"type": "cancelled", "reason": "turn_detected"},
            {"type": "cancelled", "reason": "turn_detected"},
        ),
        (
            {"type": "incomplete", "reason": "Because of you."},
            {"type": "incomplete", "reason": None},
        ),
        ({"type": "failed", "message": "x", "error": None}, {"type": "failed"}),
        (
            {
                "type": "failed",
                "error": {"code": "insufficient_quota", "message": "Pay, org-abcd."},
            },
            {
                "type": "failed",
                "error": {
                    "type": None,
                    "code": "insufficient_quota",
                    "message": REDACTED,
                    **NOTHING_ELSE,
                },
            },
        ),
        (
            {"error": "Pay."},
            {"error": {"type": None, "code": None, "message": REDACTED, **NOTHING_ELSE}},
        ),
        ("The response was cancelled.", REDACTED),
        ("Key sk-1234 is wrong.", REDACTED),
    ],
)
def test_the_details_of_a_status_have_nothing_of_the_account(details: Any, shown: Any) -> None:
    assert redact_response({"status_details": details}) == {"status_details": shown}


@given(st.text() | st.just(INSTRUCTIONS) | st.none() | st.dictionaries(st.text(), st.text()))
def test_no_word_of_the_upstream_is_in_an_error(message: Any) -> None:
    """So a right guess of the persona's words and a wrong one have the same answer."""
    assert redact_error(NOT_ACTIVE | {"message": message}) == {
        **NOT_ACTIVE,
        "message": "Cancellation failed: no active response found",
        **NOTHING_ELSE,
    }


@given(length=st.integers(0, len(INSTRUCTIONS)), nested=st.booleans())
def test_a_text_in_an_opened_field_is_never_compared_with_the_persona(
    *, length: int, nested: bool
) -> None:
    """A client that sets an opened field sees its own text, whether it guesses right or wrong."""
    guess = INSTRUCTIONS[:length]
    session = {"audio": {"output": {"voice": guess}}} if nested else {"label": guess}
    opened = frozenset({("label",), ("audio", "output", "voice")})
    words = PersonaWords(INSTRUCTIONS)

    shown = redact_session(
        session, session_id="s", expires_at=1, persona_words=words, opened=opened
    )
    response = redact_response(session, words, opened)

    assert {key: shown[key] for key in session} == response == session


def test_a_closed_field_beside_an_opened_one_is_compared() -> None:
    session = {"audio": {"input": {"label": INSTRUCTIONS}, "output": {"voice": INSTRUCTIONS}}}
    opened = frozenset({("audio", "output", "voice")})

    assert redact_response(session, PersonaWords(INSTRUCTIONS), opened) == {
        "audio": {"input": {"label": ""}, "output": {"voice": INSTRUCTIONS}}
    }


def test_only_names_are_shown_in_a_closed_field_with_an_unknown_name() -> None:
    """If only quotations were hidden, a client could learn that it has guessed one."""
    names = {"model": "gpt-4o-mini-transcribe-2025-12-15", "short": "Any words here."}
    sentences = {"a": "A sentence that is not in the prompt.", "b": "A" * 513, "c": "\u3042" * 24}

    shown = redact_response(names | sentences, PersonaWords(INSTRUCTIONS))

    assert shown == names | dict.fromkeys(sentences, "")


def test_the_text_of_an_object_is_searched_up_to_a_limit() -> None:
    name = "gpt-4o-mini-transcribe-2025-12-15"
    shown = redact_response({"include": [name] * 5_000}, PersonaWords(INSTRUCTIONS))

    assert shown["include"].count(name) == MAX_SEARCHED_CHARS // len(name)
    assert redact_response({"include": [name] * 5_000}) == {"include": [name] * 5_000}


def test_a_sentence_is_hidden_without_words_of_a_persona_too() -> None:
    """The lines of the instructions can be short, and the descriptions of tools are no words."""
    response = {"error": {"message": "The tool 'refund' does not exist."}, "model": "m" * 30}

    assert redact_response(response) == {"error": {"message": ""}, "model": "m" * 30}


@pytest.mark.parametrize(
    "code", ["insufficient_quota", "what_is_not_known_yet", None, ["x"], "X Y"]
)
def test_an_error_of_any_other_code_loses_its_message(code: Any) -> None:
    assert redact_error({"code": code, "message": "Some words."})["message"] == REDACTED


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("type", "invalid_request_error", "invalid_request_error"),
        ("type", "A sentence.", None),
        ("param", "session.tools[0].name", "session.tools[0].name"),
        ("param", "x" * 129, None),
        ("code", "UPPER", None),
        ("code", {"x": 1}, None),
        ("event_id", "Any words of the client's.", "Any words of the client's."),
        ("event_id", {"x": 1}, None),
        ("event_id", None, None),
    ],
)
def test_a_field_of_an_error_is_a_name_or_null(field: str, value: Any, shown: Any) -> None:
    assert redact_error({field: value})[field] == shown


def test_the_known_codes_include_those_of_the_client() -> None:
    assert set(CLIENT_ERRORS) < KNOWN_ERRORS
