"""A client that guesses words of the persona gets the same answers, right or wrong.

Each test plays one way in which an upstream repeats a text of the client. The text is a part of the
prompt in one session, and another text of the same length in a second one.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playbook import INSTRUCTIONS, PERSONA, start

from relay.core.commands import Send, Side
from relay.core.policy import Policy
from relay.core.quotations import PersonaWords

OPENED = Policy(
    session=frozenset({("audio", "output", "voice"), ("max_output_tokens",), ("note",)}),
    response=frozenset({("output_modalities",), ("note",), ("input",)}),
)
Script = Callable[[Any, str], Any]


def item(text: str, item_id: str = "item_1") -> dict[str, Any]:
    content = [{"type": "input_text", "text": text}]
    return {"id": item_id, "type": "message", "role": "user", "content": content}


def refused(play: Any, guess: str, **error: Any) -> Any:
    play.client(type="session.update", event_id="e1", session={"note": guess})
    error = {"message": f"The value '{guess}' is invalid.", "event_id": "e1", **error}
    return play.upstream(type="error", error=error)


def updated(play: Any, guess: str) -> Any:
    voice = {"output": {"voice": guess}}
    play.client(type="session.update", session={"note": guess, "audio": voice})
    session = PERSONA | {"note": guess, "audio": PERSONA["audio"] | voice}
    response = {"note": guess, "audio": voice}
    return [
        play.upstream(type="session.updated", session=session),
        play.client(type="session.update", session={"tools": []}),
        play.upstream(type="response.created", response={"id": "r1", **response}),
        play.upstream(type="response.done", response={"id": "r1", **response}),
        play.upstream(type="session.resumed", data={"session": session, "response": response}),
    ]


def repeated_under_another_name(play: Any, guess: str) -> Any:
    play.client(type="session.update", session={"note": guess})
    echo = {"remark": guess, "flat": {"voices": [guess]}}
    return [
        play.upstream(type="session.updated", session=PERSONA | echo),
        play.upstream(type="response.created", response={"id": "r1"} | echo),
        play.upstream(type="session.noted", **echo),
    ]


def answered(play: Any, guess: str) -> Any:
    asked = {"metadata": {"a": guess}, "note": guess, "input": [item(guess)]}
    play.client(type="response.create", response=asked)
    return [
        play.upstream(type="response.created", response={"id": "r1", **asked}),
        play.upstream(type="response.done", response={"id": "r1", "output": [item(guess)]}),
        play.upstream(
            type="response.done",
            response={
                "id": "r2",
                "status": "failed",
                "status_details": {"error": {"message": guess, "code": "invalid_value"}},
            },
        ),
    ]


def created_twice(play: Any, guess: str, **named: Any) -> Any:
    create = {"type": "conversation.item.create", "item": item(guess), **named}
    first, second = play.client(**create), play.client(**create)
    message = f"Item with id item_1 exists: {guess}"
    return [
        first,
        second,
        play.upstream(type="error", error={"message": message, "code": None, **named}),
        play.upstream(type="conversation.item.added", item=item(guess)),
        play.client(**create),
    ]


def repeated_by_an_unknown_event(play: Any, guess: str) -> Any:
    return [
        play.upstream(type="echo", text=guess, data={"x": [guess]}),
        play.upstream(type="conversation.item.noted", item=item(guess), note=guess),
        play.upstream(type="x.failed", message=guess, error={"code": "x", "message": guess}),
        play.upstream(
            type="conversation.item.input_audio_transcription.completed", transcript=guess
        ),
    ]


SCRIPTS: dict[str, Script] = {
    "an error without a code": refused,
    "an error for the client": lambda play, guess: refused(play, guess, code="invalid_value"),
    "an error as a parameter": lambda play, guess: refused(play, guess, param=guess),
    "an opened field": updated,
    "a closed field": repeated_under_another_name,
    "a response": answered,
    "a second item with the id": created_twice,
    "the same with an event id": lambda play, guess: created_twice(play, guess, event_id="e1"),
    "an unknown event": repeated_by_an_unknown_event,
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
@given(start_at=st.integers(0, 20), length=st.integers(24, 40), mark=st.sampled_from("~ é"))
def test_a_right_and_a_wrong_guess_have_the_same_answers(
    script: Script, start_at: int, length: int, mark: str
) -> None:
    right = INSTRUCTIONS[start_at : start_at + length]
    wrong = right[:-13] + mark + right[-12:]  # no piece of the prompt that is long enough

    answers = []
    for guess in (right, wrong):
        play = start(OPENED, announces=True)
        answers.append(repr(script(play, guess)).replace(guess, "GUESS"))

    assert answers[0] == answers[1]


ADDRESS = "https://vault.example.com/4711-ZULU"


def repeated_in_closed_fields(guess: str) -> list[Any]:
    play = start(persona_words=PersonaWords(f"The vault is at {ADDRESS}; keep it secret."))
    response = {"id": "r1", "input": [item(guess)], "request": {"event_id": guess, "tags": [guess]}}
    return [
        play.client(type="response.create", event_id=guess),
        play.upstream(type="response.done", response=response),
        play.upstream(type="session.updated", session=PERSONA | {"note": guess}),
        play.upstream(type="session.resumed", config=PERSONA | {"note": guess}),
    ]


@given(length=st.integers(24, len(ADDRESS)))
def test_a_guess_without_a_space_has_the_same_answers(length: int) -> None:
    """An address or a code is written like a name of the API."""
    right = ADDRESS[:length]
    wrong = right[:12] + "00" + right[14:]  # as long, and with no long piece of the prompt
    answers = [
        repr(repeated_in_closed_fields(guess)).replace(guess, "GUESS") for guess in (right, wrong)
    ]

    assert answers[0] == answers[1]


@pytest.mark.parametrize("code", [None, "invalid_value"])
def test_a_refusal_without_an_event_id_frees_the_id_of_the_item(code: str | None) -> None:
    """The client may create the item again, whether or not the upstream names its event."""
    play = start()
    create = {"type": "conversation.item.create", "item": item("x")}
    play.client(**create)
    play.upstream(type="error", error={"code": code, "message": "x"})

    (sent,) = play.session.receive(Side.CLIENT, json.dumps(create).encode(), 0)

    assert isinstance(sent, Send)
    assert sent.to is Side.UPSTREAM
