"""Loading a configuration: every problem, with file and line."""

import hashlib
from pathlib import Path

import pytest
from configurations import PERSONA, RELAY, ProblemsOf, changed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from paths import ROOT

from relay.config.loading import InvalidConfig, load
from relay.config.models import check_listen

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


@pytest.mark.parametrize(("old", "new", "message"), RELAY_PROBLEMS)
def test_a_problem_of_relay_yaml_is_named_with_its_line(
    old: str, new: str, message: str, problems_of: ProblemsOf
) -> None:
    (line,) = problems_of(changed(RELAY, old, new))

    assert line.startswith(f"relay.yaml:{message}")


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


@pytest.mark.parametrize(("old", "new", "message"), PERSONA_PROBLEMS)
def test_a_problem_of_a_persona_is_named_with_its_line(
    old: str, new: str, message: str, problems_of: ProblemsOf
) -> None:
    (line,) = problems_of(persona=changed(PERSONA, old, new))

    assert line.startswith(f"personas/receptionist.yaml:{message}")


def test_the_problems_of_all_files_are_reported_together(
    problems_of: ProblemsOf, folder: Path
) -> None:
    (folder / "personas" / "Tutor.yml").write_text("upstream: x\nsession: {modl: a}\n")
    (folder / "personas" / "receptionist.yml").write_text("")
    (folder / "personas" / "broken.yaml").write_text("a: b: c")
    (folder / "personas" / "folder.yaml").mkdir()
    (folder / "personas" / ".hidden.yaml").write_text("- not read")
    (folder / "personas" / "notes.txt").write_text("- not read")
    relay = changed(RELAY, "port: 8080", "prot: 8080").replace("${OPENAI_API_KEY}", "${MISSING}")

    assert [line.split(": ")[0:2] for line in problems_of(relay, "upstream: openai")] == [
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
    problems_of: ProblemsOf,
) -> None:
    """The consequences of a problem are not reported as more problems."""
    assert problems_of("a: b: c") == [
        "relay.yaml:1: is not valid YAML: mapping values are not allowed here"
    ]
    assert problems_of("personas: personas") == ["relay.yaml:1: upstreams: is required"]
    assert problems_of("personas: personas\nupstreams: {}") == [
        "relay.yaml:2: upstreams: must not be empty"
    ]
    assert problems_of("personas: personas\nupstreams: []") == [
        "relay.yaml:2: upstreams: must be a mapping"
    ]


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"relay.yaml:1: cannot be read: No such file"):
        load(tmp_path / "relay.yaml", {})


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
def test_no_text_raises_another_exception(relay: str, persona: str, folder: Path) -> None:
    (folder / "relay.yaml").write_bytes(relay.encode(errors="surrogatepass"))
    (folder / "personas" / "x.yaml").write_bytes(persona.encode(errors="surrogatepass"))

    with pytest.raises(InvalidConfig) as caught:
        load(folder / "relay.yaml", {})

    assert caught.value.problems
