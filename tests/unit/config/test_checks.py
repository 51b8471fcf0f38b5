"""Checks of a persona against the API and its upstreams."""

from pathlib import Path

import pytest
from configurations import PERSONA, PRICES, RELAY, TRANSCRIBER, Load, ProblemsOf, changed

from relay.config.loading import InvalidConfig
from relay.config.persona import session_to_send

ANSWERS = "goes with a persona that answers: this one only transcribes"
ANOTHER = "is not a field of the Realtime API here: it goes with another `type`"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  type:", "  model: gpt-realtime-2.1\n  type:", "3: session.model: goes with another"),
        ("  type:", "  instructions: Listen.\n  type:", f"3: session.instructions: {ANOTHER}"),
        ("  type:", "  tools: [3]\n  type:", f"3: session.tools: {ANOTHER}"),
        ("  audio:\n", "  audio:\n    output: {}\n", f"5: session.audio.output: {ANOTHER}"),
        ("  type:", "  instrctions: x\n  type:", "3: session.instrctions: is not a field"),
        (
            "model: gpt-transcribe, ",
            "",
            "6: session.audio.input.transcription.model: is required: the name of a model that",
        ),
        ("upstream:", "greeting: true\nupstream:", f"1: greeting: {ANSWERS}"),
        ("upstream:", "variables: {a: {}}\nupstream:", f"1: variables: {ANSWERS}"),
        ("upstream:", "demo: [{when: a, say: b}]\nupstream:", f"1: demo: {ANSWERS}"),
        ("  session:", "  events: [response.create]\n  session:", f"9: client.events: {ANSWERS}"),
        ("  session:", "  response: [metadata]\n  session:", f"9: client.response: {ANSWERS}"),
        (
            "[audio.input.turn_detection]",
            "[include, audio.output.voice]",
            "9: client.session[1]: is not a field of a session that only transcribes",
        ),
    ],
)
def test_a_persona_that_transcribes_has_no_keys_for_answers(
    old: str, new: str, message: str, problems_of: ProblemsOf
) -> None:
    (line,) = problems_of(persona=changed(TRANSCRIBER, old, new))

    assert line.startswith(f"personas/receptionist.yaml:{message}")


def test_without_audio_a_transcription_model_is_missing(
    problems_of: ProblemsOf,
) -> None:
    (line,) = problems_of(persona="upstream: local\nsession: {type: transcription}\n")

    assert line.startswith(
        "personas/receptionist.yaml:2: session.audio.input.transcription.model: is required"
    )


def test_extra_fields_of_an_upstream_can_be_opened_for_transcription(
    load_text: Load,
) -> None:
    relay = changed(RELAY, "/v1/", "/v1/\n    extra_session_fields: [audio.input.chunk]")
    persona = changed(TRANSCRIBER, "[audio.input.turn_detection]", "[audio.input.chunk]")

    assert load_text(relay, persona).personas["receptionist"].client.session == (
        "audio.input.chunk",
    )


@pytest.mark.parametrize(
    ("persona", "keys"),
    [
        ("upstream: openai\nsession: text", ["session"]),
        ("upstream: openai", ["session"]),
        ("upstream: openai\nsession:", ["session"]),
        (
            "upstream: openai\nsession: {model: m, instructions: '', tools: {a: 1}}",
            ["session.tools"],
        ),
        (
            "upstream: openai\nsession: {model: m, instructions: '', tools: [1]}",
            ["session.tools[0]"],
        ),
        ("- a", [""]),
    ],
)
def test_a_persona_of_another_shape_is_a_problem(
    persona: str, keys: list[str], load_text: Load
) -> None:
    with pytest.raises(InvalidConfig) as caught:
        load_text(persona=persona)

    assert [problem.key for problem in caught.value.problems] == keys


def test_instructions_may_be_empty_or_a_stored_prompt(load_text: Load) -> None:
    load_text(persona=changed(PERSONA, "instructions: Be brief.", 'instructions: ""'))
    load_text(persona=changed(PERSONA, "instructions: Be brief.", "prompt: {id: pmpt_1}"))


def test_an_extra_field_must_be_known_to_each_upstream_of_the_persona(
    load_text: Load, problems_of: ProblemsOf
) -> None:
    relay = changed(RELAY, "/v1/", "/v1/\n    extra_session_fields: [top_k, audio.output.mood]")
    persona = changed(PERSONA, "instructions:", "top_k: 3\n  instructions:")
    on_local = changed(persona, "[openai, local]", "local\nclient: {session: [audio.output.mood]}")

    loaded = load_text(relay, on_local)

    assert session_to_send(loaded.personas["receptionist"].session)["top_k"] == 3
    assert problems_of(relay, persona) == [
        "personas/receptionist.yaml:5: session.top_k: is not a field of the Realtime API"
    ]


CLIENT_BUDGET = f"{RELAY}    limits: {{usd_per_day: 1}}\n"
USER_BUDGET = f"{RELAY}limits: {{user: {{usd_per_day: 1}}}}\n"
TRANSCRIBED = PERSONA.replace(
    "    output: {voice: marin}\n",
    "    output: {voice: marin}\n    input: {transcription: {model: whisper-1}}\n",
)
NEEDS = "needs a price in prices.yaml for"


@pytest.mark.parametrize(
    ("relay", "persona", "problem"),
    [
        (CLIENT_BUDGET, PERSONA, f"relay.yaml:16: clients.kiosk.limits.usd_per_day: {NEEDS} {{}}"),
        (USER_BUDGET, PERSONA, f"relay.yaml:16: limits.user.usd_per_day: {NEEDS} {{}}"),
        (
            RELAY,
            f"{PERSONA}  usd_per_session: 1\n",
            f"personas/receptionist.yaml:13: limits.usd_per_session: {NEEDS} {{}}",
        ),
    ],
)
def test_a_budget_needs_a_price_for_each_model_that_draws_on_it(
    problems_of: ProblemsOf, load_text: Load, folder: Path, relay: str, persona: str, problem: str
) -> None:
    """Usage without a price costs nothing, so the budget would never take effect."""
    assert problems_of(relay, persona) == [problem.format("gpt-realtime-2.1")]

    (folder / "prices.yaml").write_text(PRICES)
    load_text(relay, persona)
    transcribed = persona.replace(PERSONA, TRANSCRIBED)
    assert [line.rpartition(" ")[2] for line in problems_of(relay, transcribed)] == ["whisper-1"]

    (folder / "prices.yaml").write_text(PRICES.replace("2020", "2999"))
    assert len(problems_of(relay, persona)) == 1


@pytest.mark.parametrize(
    "field",
    [
        "audio",
        "audio.input",
        "audio.input.transcription",
        "audio.input.transcription.model",
    ],
)
def test_an_opened_transcription_model_needs_a_price_list_with_such_models(
    problems_of: ProblemsOf, load_text: Load, folder: Path, field: str
) -> None:
    """Otherwise the relay refuses each model that a client sets."""
    opened = f"{PERSONA}client: {{session: [instructions, {field}]}}\n"
    problem = (
        "personas/receptionist.yaml:13: client.session[1]: opens the transcription model: "
        "prices.yaml needs a price for a model that transcribes"
    )
    assert problems_of(RELAY, opened) == [problem]
    (folder / "prices.yaml").write_text(PRICES)
    assert problems_of(RELAY, opened) == [problem]

    by_time = PRICES.replace("[{", "[{model: t, from: 2020-01-01, usd_per_minute: 1}, {")
    (folder / "prices.yaml").write_text(
        by_time.replace("2020-01-01, usd_per_m", "2999-01-01, usd_per_m", 1)
    )
    assert problems_of(RELAY, opened) == [problem]
    (folder / "prices.yaml").write_text(by_time)
    load_text(RELAY, opened)


def test_an_opened_language_needs_no_price(load_text: Load) -> None:
    load_text(RELAY, f"{PERSONA}client: {{session: [audio.input.transcription.language]}}\n")


def test_without_a_budget_no_price_is_needed(load_text: Load) -> None:
    assert load_text().prices.rows == ()


def test_a_broken_price_list_is_the_only_problem(problems_of: ProblemsOf, folder: Path) -> None:
    (folder / "prices.yaml").write_text("[{model: x}]\n")

    assert {line.partition(":")[0] for line in problems_of(CLIENT_BUDGET)} == {"prices.yaml"}
