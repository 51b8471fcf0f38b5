"""Personas: sessions to send, transcription, variables."""

from configurations import PERSONA, TRANSCRIBER, Load, changed

from relay.config.persona import Persona, session_query, session_to_send, with_tools, with_variables


def test_the_sent_session_has_only_fields_of_the_api(load_text: Load) -> None:
    persona = load_text().personas["receptionist"]

    update = session_to_send(persona.session)

    assert next(iter(update)) == "type"
    assert update == {
        "type": "realtime",
        "instructions": "Be brief.",
        "audio": {"output": {"voice": "marin"}},
        "tools": [{"type": "function", "name": "opening_hours"}],
    }


def test_a_change_of_a_sent_session_does_not_change_the_persona(load_text: Load) -> None:
    persona = load_text().personas["receptionist"]

    session_to_send(persona.session)["audio"]["output"]["voice"] = "cedar"

    assert session_to_send(persona.session)["audio"] == {"output": {"voice": "marin"}}


def test_the_run_of_a_tool_is_not_sent(load_text: Load) -> None:
    persona = load_text().personas["receptionist"]
    tool = {"type": "function", "name": "f", "run": {"http": {"url": "http://127.0.0.1"}}}

    with_run = persona.model_copy(update={"session": {**persona.session, "tools": [tool]}})

    assert session_to_send(with_run.session)["tools"] == [{"type": "function", "name": "f"}]


def test_a_persona_that_transcribes_needs_only_a_transcription_model(load_text: Load) -> None:
    persona = load_text(persona=TRANSCRIBER).personas["receptionist"]

    assert (persona.session_type, persona.transcribes) == ("transcription", True)
    assert persona.model == persona.transcriber == "gpt-transcribe"
    assert persona.hints == ("A visit", "aspirin", "cast")
    assert session_query(persona) == {"intent": "transcription"}
    assert session_to_send(persona.session) == dict(persona.session)


def test_a_persona_that_answers_may_also_transcribe(load_text: Load) -> None:
    plain = load_text().personas["receptionist"]
    transcription = "audio:\n    input: {transcription: {model: whisper-1}}"
    transcribed = load_text(persona=changed(PERSONA, "audio:", transcription)).personas[
        "receptionist"
    ]

    assert (plain.session_type, plain.transcriber, plain.hints) == ("realtime", None, ())
    assert (transcribed.transcribes, transcribed.transcriber) == (False, "whisper-1")
    assert transcribed.model == "gpt-realtime-2.1"
    assert session_query(transcribed) == {"model": "gpt-realtime-2.1"}


def test_a_persona_opens_the_events_and_fields_of_its_file(load_text: Load) -> None:
    opened = """\
client:
  events: [output_audio_buffer.clear]
  session: [instructions, audio.input.turn_detection]
  response: [instructions, output_modalities]
"""

    client = load_text(persona=PERSONA + opened).personas["receptionist"].client

    assert client.events == ("output_audio_buffer.clear",)
    assert client.session == ("instructions", "audio.input.turn_detection")
    assert client.response == ("instructions", "output_modalities")


def test_variables_are_set_for_one_session_and_the_persona_stays(load_text: Load) -> None:
    persona = PERSONA.replace("Be brief.", "Say {{ what }}.") + "variables: {what: {default: hi}}\n"
    receptionist = load_text(persona=persona).personas["receptionist"]

    by_default = with_variables(receptionist, {})
    personal = with_variables(receptionist, {"what": "{{ what }}"})

    assert session_to_send(by_default.session)["instructions"] == "Say hi."
    assert session_to_send(personal.session)["instructions"] == "Say {{ what }}."
    assert receptionist.session["instructions"] == "Say {{ what }}."


def test_a_persona_with_a_stored_prompt_has_no_variables(load_text: Load) -> None:
    stored = PERSONA.replace("instructions: Be brief.", "prompt: {id: pmpt_1}")
    persona = load_text(persona=stored).personas["receptionist"]

    assert with_variables(persona, {"name": "Ada"}) is persona


def test_tools_are_replaced_for_one_session_and_the_persona_stays(load_text: Load) -> None:
    persona = load_text().personas["receptionist"]
    tools = [{"type": "function", "name": "directions"}]

    assert with_tools(persona, tools).session == {**persona.session, "tools": tools}
    assert with_tools(persona, None) is persona
    assert persona.session["tools"] == [{"type": "function", "name": "opening_hours"}]


def test_a_persona_can_be_made_without_files() -> None:
    """Other tests use a configuration without files."""
    persona = Persona.model_validate(
        {"name": "x", "upstream": "any", "session": {"model": "m"}, "client": {"session": ["a"]}}
    )

    assert persona.upstream == ("any",)
