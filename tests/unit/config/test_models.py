"""Tests of the configuration: what it becomes, and what is wrong with it, where."""

import hashlib
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from paths import ROOT
from pydantic import ValidationError

from relay.config.loading import InvalidConfig, load
from relay.config.models import Config, check_listen
from relay.config.persona import Persona, session_query, session_to_send, with_variables

SECRET = "sk-planted-s3cret"
ENVIRON = {
    "OPENAI_API_KEY": SECRET,
    "RELAY_CLIENT_KEY": "client-s3cret",
    "SPLIT_SECRET": "s3cret\n",
    "BAD_URL": "https://user:s3cret@host/v1",
}
RELAY = """\
server:
  host: 0.0.0.0
  port: 8080
upstreams:
  openai:
    api_key: ${OPENAI_API_KEY}
  local:
    provider: compatible
    url: ws://127.0.0.1:9000/v1/
default_persona: receptionist
personas: personas
clients:
  kiosk:
    key: ${RELAY_CLIENT_KEY}
    personas: [receptionist]
"""
PERSONA = """\
description: Front desk
upstream: [openai, local]
session:
  model: gpt-realtime-2.1
  instructions: Be brief.
  audio:
    output: {voice: marin}
  tools:
    - type: function
      name: opening_hours
limits:
  idle_seconds: 60
"""

Load = Callable[..., Config]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "personas").mkdir()
    (tmp_path / "empty").mkdir()
    return tmp_path


@pytest.fixture
def load_text(folder: Path) -> Load:
    def load_text(relay: str = RELAY, persona: str = PERSONA, **environ: str) -> Config:
        (folder / "relay.yaml").write_text(relay)
        (folder / "personas" / "receptionist.yaml").write_text(persona)
        return load(folder / "relay.yaml", ENVIRON | environ)

    return load_text


@pytest.fixture
def complaints(load_text: Load, folder: Path) -> Callable[..., list[str]]:
    """The problems of a configuration, with the files as they are relative to its folder."""

    def complaints(relay: str = RELAY, persona: str = PERSONA, **environ: str) -> list[str]:
        with pytest.raises(InvalidConfig) as caught:
            load_text(relay, persona, **environ)
        assert "s3cret" not in str(caught.value) + repr(caught.value)
        assert list(map(str, caught.value.problems)) == str(caught.value).splitlines()
        return [line.removeprefix(f"{folder}/") for line in str(caught.value).splitlines()]

    return complaints


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new, 1)


def test_a_configuration_is_what_its_files_say(load_text: Load, folder: Path) -> None:
    loaded = load_text()

    assert loaded.file == folder / "relay.yaml"
    assert (loaded.server.host, loaded.server.port, loaded.server.log_format) == (
        "0.0.0.0",  # noqa: S104  # nothing listens
        8080,
        "auto",
    )
    openai, local = loaded.upstreams["openai"], loaded.upstreams["local"]
    assert openai.api_key is not None
    assert openai.api_key.get_secret_value() == SECRET
    assert (openai.url, openai.provider) == ("https://api.openai.com/v1", "openai")
    assert (local.url, local.api_key) == ("ws://127.0.0.1:9000/v1", None)
    assert loaded.default_persona == "receptionist"
    assert loaded.limits.max_message_bytes == 16777216
    assert not loaded.anonymous
    persona = loaded.personas["receptionist"]
    assert (persona.name, persona.model) == ("receptionist", "gpt-realtime-2.1")
    assert persona.upstream == ("openai", "local")
    assert (persona.limits.idle_seconds, persona.limits.max_session_seconds) == (60, 3600)
    assert loaded.clients["kiosk"].personas == ("receptionist",)


def test_a_client_is_known_by_digests_only(load_text: Load) -> None:
    """Plain keys and hashes come out alike, so that nothing else has to know of both."""
    digest = hashlib.sha256(b"other").hexdigest()
    keys = f"key: [a, b]\n    key_sha256: {digest.upper()}"

    client = load_text(changed(RELAY, "key: ${RELAY_CLIENT_KEY}", keys)).clients["kiosk"]

    assert client.key_sha256 == (
        digest,
        hashlib.sha256(b"a").hexdigest(),
        hashlib.sha256(b"b").hexdigest(),
    )


def test_nothing_of_it_can_be_changed(load_text: Load) -> None:
    loaded = load_text()

    with pytest.raises(ValidationError):
        loaded.server.port = 1
    with pytest.raises(TypeError):
        loaded.upstreams["x"] = loaded.upstreams["openai"]  # type: ignore[index]  # the point


def test_its_representation_shows_no_secret_and_no_prompt(load_text: Load) -> None:
    """An exception that drags a configuration into the log must not drag these along."""
    upstream = "${OPENAI_API_KEY}\n    headers: {x-gateway: header-s3cret}"
    loaded = load_text(changed(RELAY, "${OPENAI_API_KEY}", upstream))

    assert loaded.upstreams["openai"].headers["x-gateway"].get_secret_value() == "header-s3cret"
    assert "s3cret" not in repr(loaded)
    assert "Be brief" not in repr(loaded)


def test_what_the_environment_says_is_data(load_text: Load) -> None:
    relay = changed(RELAY, "port: 8080", "port: ${PORT}\n  log_format: ${FORMAT:-json}")

    loaded = load_text(relay, OPENAI_API_KEY="{a:#!*", PORT="9090")

    assert loaded.server.port == 9090
    assert loaded.server.log_format == "json"
    key = loaded.upstreams["openai"].api_key
    assert key is not None
    assert key.get_secret_value() == "{a:#!*"


def test_the_update_is_all_of_the_session_but_what_is_not_the_api_s(load_text: Load) -> None:
    session = load_text().personas["receptionist"]

    update = session_to_send(session.session)

    assert next(iter(update)) == "type"
    assert update == {
        "type": "realtime",
        "instructions": "Be brief.",
        "audio": {"output": {"voice": "marin"}},
        "tools": [{"type": "function", "name": "opening_hours"}],
    }


def test_changing_an_update_leaves_the_persona_as_it_was(load_text: Load) -> None:
    persona = load_text().personas["receptionist"]

    session_to_send(persona.session)["audio"]["output"]["voice"] = "cedar"

    assert session_to_send(persona.session)["audio"] == {"output": {"voice": "marin"}}


def test_who_runs_a_tool_stays_here(load_text: Load) -> None:
    persona = load_text().personas["receptionist"]
    tool = {"type": "function", "name": "f", "run": {"http": {"url": "http://127.0.0.1"}}}

    with_run = persona.model_copy(update={"session": {**persona.session, "tools": [tool]}})

    assert session_to_send(with_run.session)["tools"] == [{"type": "function", "name": "f"}]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_everybody_may_connect_on_loopback(host: str, load_text: Load) -> None:
    relay = RELAY[: RELAY.index("clients:")].replace("0.0.0.0", f'"{host}"')  # noqa: S104

    assert load_text(relay).anonymous
    assert check_listen(host) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.com", "[::1]"])  # noqa: S104
def test_others_need_a_key_elsewhere(host: str, complaints: Callable[..., list[str]]) -> None:
    relay = RELAY[: RELAY.index("clients:")].replace("0.0.0.0", f'"{host}"')  # noqa: S104

    assert complaints(relay) == [f"relay.yaml:2: server.host: {check_listen(host)}"]


RELAY_PROBLEMS = [
    ("port: 8080", "port: abc", "3: server.port: must be a valid integer"),
    ("port: 8080", "port: 65536", "3: server.port: must be less than or equal to 65535"),
    ("port: 8080", "port: -1", "3: server.port: must be greater than or equal to 0"),
    ("port: 8080", "port: true", "3: server.port: must be a number"),
    ("port: 8080", "prot: 8080", "3: server.prot: unknown key: did you mean port?"),
    ("port: 8080", "zzzz: 8080", "3: server.zzzz: unknown key"),
    ("port: 8080", "log_format: 3", "3: server.log_format: must be 'auto', 'json' or 'console'"),
    ("port: 8080", "host: 0.0.0.0", "3: server.host: is given twice: first on line 2"),
    ("port: 8080", "port: ${PORT}", "3: server.port: the environment variable PORT is not set"),
    ("host: 0.0.0.0", "host: 3", "2: server.host: must be text: put it in quotes"),
    ("host: 0.0.0.0", 'host: ""', "2: server.host: must not be empty"),
    ("port: 8080", "tls_cert: a.pem", "3: server.tls_cert: cannot be read: No such file"),
    ("port: 8080", "tls_key: a.pem", "3: server.tls_key: goes with tls_cert: give both"),
    ("api_key: ${OPENAI_API_KEY}", "project: p", "5: upstreams.openai.api_key: is required for"),
    ("${OPENAI_API_KEY}", '""', "6: upstreams.openai.api_key: must be printable ASCII"),
    ("${OPENAI_API_KEY}", "${SPLIT_SECRET}", "6: upstreams.openai.api_key: must be printable"),
    ("${OPENAI_API_KEY}", "[s3cret]", "6: upstreams.openai.api_key: must be text"),
    (
        "${OPENAI_API_KEY}",
        "x\n    dialect: v1",
        "7: upstreams.openai.dialect: must be 'ga' or 'beta'",
    ),
    (
        "ws://127.0.0.1:9000/v1/",
        "ws://h?api-version=1",
        "7: upstreams.local: has an api-version: only azure takes one, with dialect: beta",
    ),
    ("ws://127.0.0.1:9000/v1/", "ws://h?api-version=1&k=s3cret", "9: upstreams.local.url: must"),
    ("compatible", "other", "8: upstreams.local.provider: must be 'openai', 'azure' or"),
    ("url: ws://127.0.0.1:9000/v1/", "project: p", "7: upstreams.local: needs a url"),
    ("ws://127.0.0.1:9000/v1/", "ftp://host", "9: upstreams.local.url: must start with http://"),
    ("ws://127.0.0.1:9000/v1/", "ws://:80", "9: upstreams.local.url: must be a URL: scheme"),
    ("ws://127.0.0.1:9000/v1/", "ws://a:b", "9: upstreams.local.url: must be a URL: scheme"),
    ("ws://127.0.0.1:9000/v1/", "ws://[:1", "9: upstreams.local.url: must be a URL: scheme"),
    ("ws://127.0.0.1:9000/v1/", "ws://a b", "9: upstreams.local.url: must be a URL: scheme"),
    ("ws://127.0.0.1:9000/v1/", "${BAD_URL}", "9: upstreams.local.url: must have no user"),
    ("ws://127.0.0.1:9000/v1/", "ws://h?k=s3cret", "9: upstreams.local.url: must have no user"),
    (
        "ws://127.0.0.1:9000/v1/",
        "ws://h\n    headers: {authorization: s3cret}",
        "10: upstreams.local.headers.authorization: is set by the relay itself",
    ),
    (
        "ws://127.0.0.1:9000/v1/",
        "ws://h\n    headers:\n      Sec-WebSocket-Key: s3cret",
        "11: upstreams.local.headers.Sec-WebSocket-Key: is set by the relay itself",
    ),
    (
        "ws://127.0.0.1:9000/v1/",
        "ws://h\n    headers:\n      x y: s3cret",
        "11: upstreams.local.headers.x...: must be the name of a header",
    ),
    (
        "ws://127.0.0.1:9000/v1/",
        "ws://h\n    headers:\n      x: ${SPLIT_SECRET}",
        "11: upstreams.local.headers.x: must be printable ASCII without line breaks",
    ),
    (
        "ws://127.0.0.1:9000/v1/",
        "ws://h\n    ca_file: missing.pem",
        "10: upstreams.local.ca_file: must be a readable file of certificates",
    ),
    (
        "ws://127.0.0.1:9000/v1/",
        "ws://h\n    extra_session_fields: [a..b]",
        "10: upstreams.local.extra_session_fields[0]: must be a dotted path",
    ),
    (
        "ws://127.0.0.1:9000/v1/",
        "ws://h\n    ready_timeout_seconds: .inf",
        "10: upstreams.local.ready_timeout_seconds: must be a valid number",
    ),
    ("  local:", "  x y: {api_key: x}\n  local:", "7: upstreams.x...: must be a name"),
    ("persona: receptionist", "persona: recepcionist", "10: default_persona: there is no such"),
    ("personas: personas", "personas: missing", "11: personas: cannot be read: No such file"),
    ("personas: personas", "personas: 3", "11: personas: must name the folder of the personas"),
    ("personas: personas", "personas: empty", "11: personas: has no persona"),
    ("personas: personas\n", "", "1: personas: must name the folder of the personas"),
    ("[receptionist]", "[tutor]", "15: clients.kiosk.personas[0]: there is no such persona"),
    ("[receptionist]", "[]", "15: clients.kiosk.personas: must not be empty"),
    ("[receptionist]", "receptionist", "15: clients.kiosk.personas: must be a list"),
    ("key: ${RELAY_CLIENT_KEY}", "limits: {}", "13: clients.kiosk.key_sha256: is required, unless"),
    ("key: ${RELAY_CLIENT_KEY}", "key: []", "13: clients.kiosk.key_sha256: is required, unless"),
    ("${RELAY_CLIENT_KEY}", "12345678", "14: clients.kiosk.key: must be text: put it in quotes"),
    ("${RELAY_CLIENT_KEY}", "[a, b s3cret]", "14: clients.kiosk.key[1]: must be printable ASCII"),
    ("key: ${RELAY_CLIENT_KEY}", "key_sha256: s3cret", "14: clients.kiosk.key_sha256: must be a"),
    ("[receptionist]", "null\n    trusted: 3", "16: clients.kiosk.trusted: must be a valid bool"),
    (
        "[receptionist]",
        "null\n    limits: {usd_per_day: -3}",
        "16: clients.kiosk.limits.usd_per_day: must be",
    ),
    (
        "[receptionist]",
        "null\n    limits:\n      max_sessions: 0",
        "17: clients.kiosk.limits.max_sessions: must be greater than or equal to 1",
    ),
    (
        "[receptionist]",
        "null\n  other:\n    key: ${RELAY_CLIENT_KEY}",
        "16: clients.other: has a key of clients.kiosk: give each client its own",
    ),
    ("clients:", "usage: {pth: x}\nclients:", "12: usage.pth: unknown key: did you mean path?"),
    ("clients:", "secrets: {}\nclients:", "12: secrets.signing_keys: is required"),
    (
        "clients:",
        f"secrets:\n  signing_keys:\n    - {31 * 'x'}\nclients:",
        "14: secrets.signing_keys[0]: must have at least 32 bytes: openssl rand -hex 32",
    ),
    ("clients:", "tools: {max_running: 0}\nclients:", "12: tools.max_running: must be gr"),
    ("clients:", "file: x\nclients:", "12: file: unknown key"),
    ("clients:", "limits: {audio_rate: 0}\nclients:", "12: limits.audio_rate: must be greater"),
    ("clients:", "limits: 3\nclients:", "12: limits: must be a mapping"),
    ("clients:", "limits: {drain_seconds: 0}\nclients:", "12: limits.drain_seconds: must be gre"),
    ("clients:", "browser: {allowed_origins: ['*']}\nclients:", "12: browser.allowed_origins[0]: "),
    ("clients:", "browser: {allowed_origins: [HTTP://A]}\nclients:", "12: browser.allowed_orig"),
    ("clients:", "browser: {allowed_origins: [http://a/]}\nclients:", "12: browser.allowed_ori"),
]


@pytest.mark.parametrize(("old", "new", "complaint"), RELAY_PROBLEMS)
def test_a_problem_of_relay_yaml_is_named_with_its_line(
    old: str, new: str, complaint: str, complaints: Callable[..., list[str]]
) -> None:
    (line,) = complaints(changed(RELAY, old, new))

    assert line.startswith(f"relay.yaml:{complaint}")


PERSONA_PROBLEMS = [
    ("description: Front desk", "description: 3", "1: description: must be text"),
    ("description: Front desk", "name: x", "1: name: unknown key"),
    (
        "description: Front desk",
        "variables: {a: {default: abc, max_length: 2}}",
        "1: variables.a: has a default that does not fit: it must have at most 2 characters",
    ),
    (
        "instructions: Be brief.",
        "instructions: |\n    You are\n    {{ clinic }}.",
        "5: session.instructions: has {{ clinic }} on line 2 of the text: declare it under",
    ),
    ("[openai, local]", "opena", "2: upstream: there is no such upstream: did you mean openai?"),
    ("[openai, local]", "[openai, x]", "2: upstream[1]: there is no such upstream"),
    ("[openai, local]", "[]", "2: upstream: must not be empty"),
    ("upstream: [openai, local]\n", "", "1: upstream: is required"),
    ("model: gpt-realtime-2.1", "type: realtime", "3: session.model: is required"),
    ("model: gpt-realtime-2.1", "model: null", "4: session.model: is required"),
    ("model: gpt-realtime-2.1", 'model: ""', "4: session.model: is required"),
    ("instructions: Be brief.", "include: []", "3: session.instructions: is required: without"),
    ("instructions: Be brief.", "instructions:", "5: session.instructions: is required: without"),
    ("  audio:", "  instrctions: x\n  audio:", "6: session.instrctions: is not a field of the R"),
    ("output: {voice: marin}", "voice: marin", "7: session.audio.voice: is not a field"),
    ("output: {voice: marin}", "output: {speed: x}", "7: session.audio.output.speed: must be a nu"),
    ("name: opening_hours", "strict: true", "10: session.tools[0].strict: is not a field"),
    (
        "name: opening_hours",
        "name: opening_hours\n      run: {http: {}}",
        "11: session.tools[0].run.http.url: is required",
    ),
    ("type: function", "type: funktion", "9: session.tools[0].type: must be 'function' or 'mcp'"),
    ("  idle_seconds", "  max_sessions: 0\n  idle_seconds", "12: limits.max_sessions: must be gr"),
    ("idle_seconds: 60", "idle_seconds: 0", "12: limits.idle_seconds: must be greater than 0"),
    ("limits:", "client: {events: [session.updat]}\nlimits:", "11: client.events[0]: there is no"),
    ("limits:", "client: {session: [model]}\nlimits:", "11: client.session[0]: there is no such"),
    ("limits:", "client: {session: [type]}\nlimits:", "11: client.session[0]: there is no such"),
    ("limits:", "client: {session: [audio.x]}\nlimits:", "11: client.session[0]: there is no such"),
    ("limits:", "client: {response: [voice]}\nlimits:", "11: client.response[0]: there is no such"),
    (
        "limits:",
        "client: {respons: []}\nlimits:",
        "11: client.respons: unknown key: did you mean r",
    ),
    ("limits:", "\tlimits:", "11: is not valid YAML"),
]


@pytest.mark.parametrize(("old", "new", "complaint"), PERSONA_PROBLEMS)
def test_a_problem_of_a_persona_is_named_with_its_line(
    old: str, new: str, complaint: str, complaints: Callable[..., list[str]]
) -> None:
    (line,) = complaints(persona=changed(PERSONA, old, new))

    assert line.startswith(f"personas/receptionist.yaml:{complaint}")


TRANSCRIBER = """\
upstream: local
session:
  type: transcription
  audio:
    input:
      transcription: {model: gpt-transcribe, prompt: A visit, keywords: [aspirin, cast]}
      turn_detection: null
client:
  session: [audio.input.turn_detection]
"""


def test_a_persona_that_transcribes_needs_nothing_but_what_does(load_text: Load) -> None:
    persona = load_text(persona=TRANSCRIBER).personas["receptionist"]

    assert (persona.session_type, persona.transcribes) == ("transcription", True)
    assert persona.model == persona.transcriber == "gpt-transcribe"
    assert persona.hints == ("A visit", "aspirin", "cast")
    assert session_query(persona) == {"intent": "transcription"}
    assert session_to_send(persona.session) == dict(persona.session)


def test_a_persona_that_answers_may_transcribe_as_well(load_text: Load) -> None:
    plain = load_text().personas["receptionist"]
    hearing = "audio:\n    input: {transcription: {model: whisper-1}}"
    heard = load_text(persona=changed(PERSONA, "audio:", hearing)).personas["receptionist"]

    assert (plain.session_type, plain.transcriber, plain.hints) == ("realtime", None, ())
    assert (heard.transcribes, heard.transcriber) == (False, "whisper-1")
    assert heard.model == "gpt-realtime-2.1"
    assert session_query(heard) == {"model": "gpt-realtime-2.1"}


ANSWERS = "goes with a persona that answers: this one only transcribes"
ANOTHER = "is not a field of the Realtime API here: it goes with another `type`"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
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
def test_what_goes_with_an_answer_does_not_go_with_transcribing(
    old: str, new: str, complaint: str, complaints: Callable[..., list[str]]
) -> None:
    (line,) = complaints(persona=changed(TRANSCRIBER, old, new))

    assert line.startswith(f"personas/receptionist.yaml:{complaint}")


def test_of_a_persona_without_any_audio_the_model_that_transcribes_is_missing(
    complaints: Callable[..., list[str]],
) -> None:
    (line,) = complaints(persona="upstream: local\nsession: {type: transcription}\n")

    assert line.startswith(
        "personas/receptionist.yaml:2: session.audio.input.transcription.model: is required"
    )


def test_fields_that_only_its_upstream_knows_can_be_opened_where_it_transcribes(
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


def test_all_problems_of_all_files_come_at_once(
    complaints: Callable[..., list[str]], folder: Path
) -> None:
    (folder / "personas" / "Tutor.yml").write_text("upstream: x\nsession: {modl: a}\n")
    (folder / "personas" / "receptionist.yml").write_text("")
    (folder / "personas" / "broken.yaml").write_text("a: b: c")
    (folder / "personas" / "folder.yaml").mkdir()
    (folder / "personas" / ".hidden.yaml").write_text("- not read")
    (folder / "personas" / "notes.txt").write_text("- not read")
    relay = changed(RELAY, "port: 8080", "prot: 8080").replace("${OPENAI_API_KEY}", "${MISSING}")

    assert [line.split(": ")[0:2] for line in complaints(relay, "upstream: openai")] == [
        ["relay.yaml:3", "server.prot"],
        ["relay.yaml:6", "upstreams.openai.api_key"],
        ["personas/Tutor.yml:1", "is no name for a persona"],
        ["personas/Tutor.yml:1", "upstream"],
        ["personas/Tutor.yml:2", "session.instructions"],
        ["personas/Tutor.yml:2", "session.model"],
        ["personas/Tutor.yml:2", "session.modl"],
        ["personas/broken.yaml:1", "is not valid YAML"],
        ["personas/folder.yaml:1", "cannot be read"],
        ["personas/receptionist.yaml:1", "session"],
        ["personas/receptionist.yml:1", "has the name of another persona"],
    ]


def test_a_broken_relay_yaml_is_the_only_problem_of_it(
    complaints: Callable[..., list[str]],
) -> None:
    """What follows from one mistake is not a list of mistakes."""
    assert complaints("a: b: c") == [
        "relay.yaml:1: is not valid YAML: mapping values are not allowed here"
    ]
    assert complaints("personas: personas") == ["relay.yaml:1: upstreams: is required"]
    assert complaints("personas: personas\nupstreams: {}") == [
        "relay.yaml:2: upstreams: must not be empty"
    ]
    assert complaints("personas: personas\nupstreams: []") == [
        "relay.yaml:2: upstreams: must be a mapping"
    ]


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"relay.yaml:1: cannot be read: No such file"):
        load(tmp_path / "relay.yaml", {})


def test_extra_fields_are_those_that_every_upstream_of_the_persona_knows(
    load_text: Load, complaints: Callable[..., list[str]]
) -> None:
    relay = changed(RELAY, "/v1/", "/v1/\n    extra_session_fields: [top_k, audio.output.mood]")
    persona = changed(PERSONA, "instructions:", "top_k: 3\n  instructions:")
    on_local = changed(persona, "[openai, local]", "local\nclient: {session: [audio.output.mood]}")

    loaded = load_text(relay, on_local)

    assert session_to_send(loaded.personas["receptionist"].session)["top_k"] == 3
    assert complaints(relay, persona) == [
        "personas/receptionist.yaml:5: session.top_k: is not a field of the Realtime API"
    ]


def test_what_a_persona_opens_is_what_its_file_says(load_text: Load) -> None:
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


def test_certificates_are_beside_the_file_that_names_them(load_text: Load, folder: Path) -> None:
    bundle = ssl.get_default_verify_paths().cafile
    if bundle is None:
        pytest.skip("this machine has no file of certificates")
    (folder / "ca.pem").write_bytes(Path(bundle).read_bytes())

    loaded = load_text(changed(RELAY, "/v1/", "/v1/\n    ca_file: ca.pem"))

    assert loaded.upstreams["local"].ca_file == folder / "ca.pem"


def test_origins_are_exact(load_text: Load) -> None:
    origins = ["https://shop.example", "http://localhost:3000", "http://[::1]:80", "app://x"]

    loaded = load_text(f"{RELAY}browser: {{allowed_origins: {origins}}}\n")

    assert loaded.browser.allowed_origins == tuple(origins)


def test_what_is_written_is_read(load_text: Load) -> None:
    relay = f"""{RELAY}
    trusted: true
    limits: {{usd_per_day: 0.1}}
secrets: {{signing_keys: {"k" * 32}}}
usage: {{path: usage.db}}
"""
    persona = f"{PERSONA}variables: {{clinic: {{default: x}}}}\ndemo: [{{when: a, say: b}}]\n"

    loaded = load_text(relay, persona)

    assert loaded.clients["kiosk"].trusted
    assert str(loaded.clients["kiosk"].limits.usd_per_day) == "0.1"
    assert loaded.secrets is not None
    assert len(loaded.secrets.signing_keys) == 1
    assert loaded.usage.path == loaded.file.parent / "usage.db"
    assert loaded.personas["receptionist"].variables["clinic"].max_length == 100
    assert loaded.personas["receptionist"].demo[0].say == "b"


def test_places_are_filled_for_one_session_and_the_persona_stays(load_text: Load) -> None:
    persona = PERSONA.replace("Be brief.", "Say {{ what }}.") + "variables: {what: {default: hi}}\n"
    receptionist = load_text(persona=persona).personas["receptionist"]

    by_default, personal = (
        with_variables(receptionist, {}),
        with_variables(receptionist, {"what": "{{ what }}"}),
    )

    assert session_to_send(by_default.session)["instructions"] == "Say hi."
    assert session_to_send(personal.session)["instructions"] == "Say {{ what }}."
    assert receptionist.session["instructions"] == "Say {{ what }}."


def test_a_persona_of_a_stored_prompt_has_no_places(load_text: Load) -> None:
    stored = PERSONA.replace("instructions: Be brief.", "prompt: {id: pmpt_1}")
    persona = load_text(persona=stored).personas["receptionist"]

    assert with_variables(persona, {"name": "Ada"}) is persona


def test_models_can_be_made_without_files() -> None:
    """Other tests need a configuration without writing one."""
    persona = Persona.model_validate(
        {"name": "x", "upstream": "any", "session": {"model": "m"}, "client": {"session": ["a"]}}
    )

    assert persona.upstream == ("any",)


CONFIG = ROOT / "config"


def test_relay_yaml_needs_only_the_api_key() -> None:
    loaded = load(CONFIG / "relay.yaml", {"OPENAI_API_KEY": "sk"})

    assert loaded.anonymous
    assert check_listen(loaded.server.host) is None
    assert loaded.default_persona in loaded.personas
    assert len(loaded.personas) >= 2


def test_compose_yaml_needs_a_client_key_too() -> None:
    loaded = load(CONFIG / "compose.yaml", {"OPENAI_API_KEY": "sk", "RELAY_CLIENT_KEY": "key"})

    assert [client.key_sha256 for client in loaded.clients.values()] == [
        (hashlib.sha256(b"key").hexdigest(),)
    ]
    with pytest.raises(InvalidConfig, match="RELAY_CLIENT_KEY is not set"):
        load(CONFIG / "compose.yaml", {"OPENAI_API_KEY": "sk"})


lines = st.lists(
    st.sampled_from([*RELAY.splitlines(), *PERSONA.splitlines(), "x: [", "- {}", "session: 3"])
).map("\n".join)
texts = st.one_of(st.text(), lines)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(relay=texts, persona=texts)
def test_no_text_makes_it_raise_anything_else(relay: str, persona: str, folder: Path) -> None:
    (folder / "relay.yaml").write_bytes(relay.encode(errors="surrogatepass"))
    (folder / "personas" / "x.yaml").write_bytes(persona.encode(errors="surrogatepass"))

    with pytest.raises(InvalidConfig) as caught:
        load(folder / "relay.yaml", {})

    assert caught.value.problems
