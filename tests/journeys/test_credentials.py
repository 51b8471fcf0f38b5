"""Short-lived credentials over HTTP: the permission to request one, its content, and its use."""

import asyncio
import base64
import hashlib
import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import openai
import openai.resources.beta  # takes seconds, in which a running relay would stand still
import pytest
import websockets
from aiohttp import ClientSession
from conformance import check_type
from fakes import FakeUpstream, listens
from multidict import CIMultiDict
from openai.types.beta.realtime import SessionCreateResponse, TranscriptionSession
from pydantic import SecretStr
from relays import PERSONA, RunningRelay, receive, relaying, write_config

from relay.access import auth
from relay.access.auth import ANONYMOUS, Principal
from relay.access.claims import Claims, issue, verify
from relay.config.loading import load
from relay.config.models import Config
from relay.core.errors import (
    CredentialsNotOffered,
    InvalidApiKey,
    InvalidRequest,
    PersonaNotAllowed,
    PersonaNotFound,
    RelayError,
)
from relay.endpoints import credentials

NOW = 1_800_000_000.0
SIGNING_KEY = SecretStr("signing-key-PLANTED-0123456789abcdef")
SECRETS = f"secrets: {{signing_keys: ['{SIGNING_KEY.get_secret_value()}']}}\n"
CLIENTS = f"""
{SECRETS}
browser: {{allowed_origins: ['https://shop.example']}}
clients:
  backend: {{key: key-of-backend, trusted: true}}
  narrow: {{key: key-of-narrow, trusted: true, personas: [receptionist]}}
  kiosk: {{key: key-of-kiosk}}
"""
TUTOR = """
    upstream: fake
    session:
      model: gpt-realtime-2.1
      instructions: |
        You teach {{ name }} with the canary PLANTED-PROMPT.
        You are patient with {{name}} of {{ town }}.
      output_modalities: [text]
      audio:
        input:
          format: {type: audio/pcmu}
          transcription: {model: gpt-transcribe, prompt: PLANTED-WORDS}
          turn_detection: {type: server_vad, silence_duration_ms: 400}
        output: {voice: cedar, speed: 1.25}
    variables:
      name: {default: everybody, max_length: 20}
      town: {default: Paris}
"""
CLERK = """
    upstream: fake
    session:
      type: transcription
      include: [item.input_audio_transcription.logprobs]
      audio:
        input:
          format: {type: audio/pcm, rate: 24000}
          transcription: {model: gpt-transcribe, keywords: [PLANTED-WORD], language: en}
          noise_reduction: {type: near_field}
          turn_detection: {type: server_vad, silence_duration_ms: 400}
"""
PERSONAS = {"receptionist": PERSONA, "tutor": TUTOR}
BACKEND = Principal("backend", trusted=True)

Asked = Mapping[str, Any]


def configured(folder: Path, settings: str = CLIENTS) -> Config:
    return load(write_config(folder, "http://127.0.0.1:1/v1", settings, PERSONAS), {})


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return configured(tmp_path)


def claims_in(answer: Asked) -> Claims:
    return verify(answer["value"], [SIGNING_KEY], NOW)


def issued(config: Config, principal: Principal = BACKEND, **body: Any) -> Claims:
    return claims_in(credentials.client_secret(body, principal, config, NOW))


# The content of a credential.


def test_a_credential_contains_client_persona_user_and_lifetime(config: Config) -> None:
    user = hashlib.sha256(b"ada@example.com").hexdigest()
    principal = Principal("backend", trusted=True, user=user)

    claims = issued(config, principal, persona="tutor", variables={"name": "Ada"})

    assert re.fullmatch("[0-9a-f]{16}", claims.credential_id)
    assert claims == Claims(
        credential_id=claims.credential_id,
        client="backend",
        persona="tutor",
        variables={"name": "Ada"},
        user=user,
        issued_at=int(NOW),
        expires_at=int(NOW) + 600,
    )


def test_no_two_credentials_are_the_same(config: Config) -> None:
    assert len({issued(config).credential_id for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("body", "persona"),
    [
        ({}, "receptionist"),
        ({"persona": "tutor"}, "tutor"),
        ({"session": {"model": "tutor"}}, "tutor"),
        ({"session": {"model": "gpt-realtime"}}, "receptionist"),
        ({"session": None, "persona": None}, "receptionist"),
        ({"persona": "receptionist", "session": {"model": "tutor"}}, "receptionist"),
        ({"session": {"type": "transcription", "instructions": "mine"}}, "receptionist"),
    ],
)
def test_a_persona_is_chosen_as_on_connecting(config: Config, body: Asked, persona: str) -> None:
    assert issued(config, **body).persona == persona


def test_in_the_old_shape_the_model_is_a_top_level_field(config: Config) -> None:
    body = {"model": "tutor", "client_secret": {"expires_after": {"seconds": 30}}}

    answer = credentials.session(body, BACKEND, config, NOW)

    assert claims_in(answer["client_secret"]).persona == "tutor"
    assert answer["client_secret"]["expires_at"] == NOW + 30


@pytest.mark.parametrize(("seconds", "lifetime"), [(10, 10), (7200, 7200), (None, 600)])
def test_the_lifetime_comes_from_the_caller_or_the_configuration(
    config: Config, seconds: int | None, lifetime: int
) -> None:
    body = {"expires_after": {"anchor": "created_at", "seconds": seconds}}

    answer = credentials.client_secret(body, BACKEND, config, NOW)

    assert answer["expires_at"] == claims_in(answer).expires_at == NOW + lifetime


REFUSED_BODIES: list[tuple[Asked, type[RelayError]]] = [
    *(
        ({"expires_after": {"anchor": "created_at", "seconds": seconds}}, InvalidRequest)
        for seconds in (9, 7201, 0, -600, 60.0, "60", True, 1e400)
    ),
    ({"expires_after": {"anchor": "now", "seconds": 60}}, InvalidRequest),
    ({"expires_after": 60}, InvalidRequest),
    ({"persona": "nobody"}, PersonaNotFound),
    ({"persona": ""}, PersonaNotFound),
    ({"persona": ["tutor"]}, InvalidRequest),
    ({"session": "tutor"}, InvalidRequest),
    ({"session": {"model": {}}}, InvalidRequest),
    ({"session": {"type": 3}}, InvalidRequest),
    ({"persona": "tutor", "variables": {"name": "x" * 21}}, InvalidRequest),
    ({"persona": "tutor", "variables": {"instructions": "mine"}}, InvalidRequest),
    ({"persona": "receptionist", "variables": {"name": "Ada"}}, InvalidRequest),
    ({"persona": "tutor", "variables": {"name": "\x1b[2J"}}, InvalidRequest),
    ({"persona": "tutor", "variables": "Ada"}, InvalidRequest),
]


@pytest.mark.parametrize(("body", "error"), REFUSED_BODIES)
def test_an_invalid_body_is_refused(config: Config, body: Asked, error: type[RelayError]) -> None:
    with pytest.raises(error):
        issued(config, **body)


def test_variables_that_do_not_fit_in_a_header_are_refused(tmp_path: Path) -> None:
    """Otherwise the credential would be issued, and every connection with it refused."""
    personas = {"receptionist": TUTOR.replace("max_length: 20", "max_length: 100000")}
    config = load(write_config(tmp_path, "http://127.0.0.1:1/v1", CLIENTS, personas), {})

    assert issued(config, variables={"name": "é" * 2000}).variables["name"] == "é" * 2000
    with pytest.raises(InvalidRequest, match="header"):
        issued(config, variables={"name": "é" * 4000})


# The permission to issue.


def test_only_a_trusted_client_issues_credentials(config: Config) -> None:
    with pytest.raises(PersonaNotAllowed, match="trusted"):
        issued(config, Principal("kiosk"))


def test_a_client_issues_only_for_personas_that_it_may_use(config: Config) -> None:
    principal = Principal("narrow", ("receptionist",), trusted=True)

    assert issued(config, principal).persona == "receptionist"
    with pytest.raises(PersonaNotAllowed):
        issued(config, principal, persona="tutor")


def test_a_credential_cannot_issue_another(config: Config) -> None:
    value = credentials.client_secret({}, BACKEND, config, NOW)["value"]
    bearer = authenticated(value, config)

    with pytest.raises(PersonaNotAllowed, match="issue"):
        issued(config, bearer)


def test_on_an_anonymous_relay_every_client_issues_and_none_is_trusted(tmp_path: Path) -> None:
    """All callers have the same permissions; none of them may write into a prompt."""
    config = configured(tmp_path, SECRETS)

    assert issued(config, Principal(ANONYMOUS), persona="tutor").persona == "tutor"
    with pytest.raises(PersonaNotAllowed, match="variables"):
        issued(config, Principal(ANONYMOUS), persona="tutor", variables={"name": "Ada"})
    value = credentials.client_secret({}, Principal(ANONYMOUS), config, NOW)["value"]
    with pytest.raises(PersonaNotAllowed, match="issue"):
        issued(config, authenticated(value, config))


def test_without_signing_keys_no_credential_is_issued(tmp_path: Path) -> None:
    config = configured(tmp_path, "")

    with pytest.raises(CredentialsNotOffered) as refusal:
        issued(config, Principal(ANONYMOUS))

    assert (refusal.value.status, refusal.value.code) == (404, "invalid_request")


# The session in the answer.


def test_the_answer_shows_the_session_without_the_persona_s_prompt(config: Config) -> None:
    body = {"persona": "tutor", "variables": {"name": "PLANTED"}, "session": {"instructions": "x"}}

    answer = credentials.client_secret(body, BACKEND, config, NOW)

    session = answer["session"]
    assert session.pop("id").startswith("sess_")
    assert session == {
        "type": "realtime",
        "object": "realtime.session",
        "model": "tutor",
        "expires_at": 0,
        "instructions": "",
        "tools": [],
        "tool_choice": "auto",
        "prompt": None,
        "tracing": None,
        "output_modalities": ["text"],
        "audio": {
            "input": {
                "format": {"type": "audio/pcmu"},
                "transcription": {"model": "gpt-transcribe"},
                "turn_detection": {"type": "server_vad", "silence_duration_ms": 400},
            },
            "output": {"voice": "cedar", "speed": 1.25},
        },
    }
    assert "PLANTED" not in json.dumps(answer)


def test_the_old_shape_is_flat(config: Config) -> None:
    answer = credentials.session({"persona": "tutor"}, BACKEND, config, NOW)

    check_type(answer, SessionCreateResponse, allowed=NAMED)
    assert answer.pop("id").startswith("sess_")
    assert answer.pop("client_secret").keys() == {"value", "expires_at"}
    assert answer == {
        "object": "realtime.session",
        "model": "tutor",
        "instructions": "",
        "tools": [],
        "tool_choice": "auto",
        "tracing": None,
        "temperature": 0.8,
        "modalities": ["text"],
        "voice": "cedar",
        "speed": 1.25,
        "input_audio_format": "g711_ulaw",
        "input_audio_transcription": {"model": "gpt-transcribe"},
        "turn_detection": {"type": "server_vad", "silence_duration_ms": 400},
    }


def test_a_persona_without_modalities_speaks(config: Config) -> None:
    answer = credentials.session({}, BACKEND, config, NOW)

    assert answer["modalities"] == ["audio", "text"]


def test_the_old_shape_of_a_transcriber_is_flat_too(config: Config) -> None:
    secret = {"expires_at": {"anchor": "created_at", "seconds": 30}}

    answer = credentials.transcription_session(
        {"persona": "tutor", "client_secret": secret}, BACKEND, config, NOW
    )

    named = {"TranscriptionSession": NAMED["SessionCreateResponse"]}
    check_type(answer, TranscriptionSession, allowed=named)
    assert answer.pop("id").startswith("sess_")
    assert answer.pop("client_secret")["expires_at"] == NOW + 30
    assert answer == {
        "object": "realtime.transcription_session",
        "model": "tutor",
        "modalities": ["text"],
        "input_audio_format": "g711_ulaw",
        "input_audio_transcription": {},  # its model is newer than the types
        "turn_detection": {"type": "server_vad", "silence_duration_ms": 400},
    }


NAMED = {"SessionCreateResponse": frozenset({"id", "object", "model"})}
"""Fields that are in OpenAI's published examples, but not in the types."""


# The use of a credential.


def authenticated(value: str, config: Config, now: float = NOW) -> Principal:
    headers = CIMultiDict({"Authorization": f"Bearer {value}"})
    return auth.authenticate(headers, {}, config, now)


def test_a_credential_acts_for_its_client_and_its_persona(config: Config) -> None:
    body = {"persona": "tutor", "variables": {"name": "Ada"}}
    value = credentials.client_secret(body, BACKEND, config, NOW)["value"]

    principal = authenticated(value, config)

    assert (principal.client, principal.personas) == ("backend", ("tutor",))
    assert (principal.trusted, principal.variables) == (False, {"name": "Ada"})
    assert principal.limits == config.clients["backend"].limits


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({}, None),
        ({"model": "gpt-realtime"}, None),
        ({"model": "tutor"}, None),
        ({"persona": "tutor"}, None),
        ({"persona": "receptionist"}, PersonaNotAllowed),
        ({"model": "receptionist"}, PersonaNotAllowed),
        ({"persona": "nobody"}, PersonaNotFound),
    ],
)
def test_a_credential_is_valid_for_no_other_persona(
    config: Config, query: Mapping[str, str], error: type[RelayError] | None
) -> None:
    value = credentials.client_secret({"persona": "tutor"}, BACKEND, config, NOW)["value"]
    bearer = authenticated(value, config)

    if error is None:
        assert auth.choose_persona(bearer, query, config).name == "tutor"
    else:
        with pytest.raises(error):
            auth.choose_persona(bearer, query, config)


def sealed(**changes: Any) -> str:
    claims = Claims(
        credential_id="1",
        client="backend",
        persona="receptionist",
        variables={},
        user=None,
        issued_at=int(NOW),
        expires_at=int(NOW) + 600,
    )
    return issue(msgspec.structs.replace(claims, **changes), [SIGNING_KEY])


@pytest.mark.parametrize(
    "value",
    [
        sealed(client="kiosk"),
        sealed(client="dismissed"),
        sealed(client=ANONYMOUS),
        sealed(expires_at=int(NOW)),
        sealed()[:-1],
        "ek_",
        "ek_" + base64.urlsafe_b64encode(b"x" * 100).decode(),
    ],
)
def test_a_credential_of_a_client_that_may_not_issue_is_refused(config: Config, value: str) -> None:
    """A client that is removed or no longer trusted loses the credentials that it issued."""
    assert authenticated(sealed(), config).client == "backend"
    with pytest.raises(InvalidApiKey):
        authenticated(value, config)


def test_a_client_that_loses_a_persona_loses_its_credentials_for_it(config: Config) -> None:
    bearer = authenticated(sealed(client="narrow", persona="tutor"), config)

    with pytest.raises(PersonaNotAllowed):
        auth.choose_persona(bearer, {}, config)


def test_a_credential_for_a_removed_persona_finds_none(config: Config) -> None:
    with pytest.raises(PersonaNotFound):
        auth.choose_persona(authenticated(sealed(persona="gone"), config), {}, config)


@pytest.mark.parametrize("settings", ["", CLIENTS.replace(SECRETS, "")])
def test_without_signing_keys_no_credential_is_valid(tmp_path: Path, settings: str) -> None:
    """This holds on an anonymous relay too, which accepts any other credential."""
    with pytest.raises(InvalidApiKey):
        authenticated(sealed(), configured(tmp_path, settings))


def named_user(config: Config, key: str, value: str) -> str | None:
    headers = CIMultiDict({"Authorization": f"Bearer {key}", "OpenAI-Safety-Identifier": value})
    return auth.authenticate(headers, {}, config, NOW).user


def test_a_trusted_client_names_its_end_user_and_only_the_hash_is_kept(config: Config) -> None:
    known_as = hashlib.sha256(b"ada@example.com").hexdigest()

    assert named_user(config, "key-of-backend", " ada@example.com") == known_as
    assert named_user(config, "key-of-backend", " ") is None
    assert named_user(config, "key-of-kiosk", "ada@example.com") is None
    assert named_user(config, sealed(), "ada@example.com") is None
    assert named_user(config, sealed(user="ab"), "ada@example.com") == "ab"


# Over HTTP, with the stock SDK.


@asynccontextmanager
async def issuing(
    folder: Path, settings: str = CLIENTS
) -> AsyncIterator[tuple[RunningRelay, FakeUpstream]]:
    async with relaying(folder, listens, settings, **PERSONAS) as running:
        yield running


async def connects(relay: RunningRelay, credential: str) -> None:
    """Connect with the stock SDK, as a browser with a credential from its backend."""
    async with (
        relay.sdk(credential) as browser,
        browser.realtime.connect(model="gpt-realtime") as connection,
    ):
        assert (await connection.recv()).type == "session.created"


async def test_the_stock_sdk_requests_a_credential_and_connects(tmp_path: Path) -> None:
    async with issuing(tmp_path) as (relay, upstream), relay.sdk("key-of-backend") as backend:
        secret = await backend.realtime.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 60},
            session={"type": "realtime", "model": "tutor", "instructions": "mine"},
            extra_body={"variables": {"name": "Ada {{ town }}"}},
            extra_headers={"OpenAI-Safety-Identifier": "ada@example.com"},
        )
        assert secret.value.startswith("ek_")
        assert 50 < secret.expires_at - time.time() <= 60
        assert secret.session.type == "realtime"
        assert secret.session.instructions == ""

        await connects(relay, secret.value)

    call = upstream.calls[0]
    assert call.received[0]["session"]["instructions"] == (
        "You teach Ada {{ town }} with the canary PLANTED-PROMPT.\n"
        "You are patient with Ada {{ town }} of Paris.\n"
    )
    user = hashlib.sha256(b"ada@example.com").hexdigest()
    assert call.request.headers["OpenAI-Safety-Identifier"] == user
    assert "ada@example.com" not in relay.logged.getvalue()


async def test_the_stock_sdk_requests_a_credential_for_a_transcriber(tmp_path: Path) -> None:
    """The intent chooses the only transcriber. The session in the answer has its type."""
    asked: Any = {"type": "transcription", "audio": {"input": {"transcription": {"prompt": "x"}}}}
    personas = PERSONAS | {"clerk": CLERK}
    async with (
        relaying(tmp_path, listens, CLIENTS, **personas) as (relay, upstream),
        relay.sdk("key-of-backend") as backend,
    ):
        secret = await backend.realtime.client_secrets.create(session=asked)
        await connects(relay, secret.value)

    assert secret.session.type == "transcription"
    shown = secret.session.model_dump(exclude_unset=True)
    assert shown.pop("id").startswith("sess_")
    assert shown == {
        "type": "transcription",
        "object": "realtime.transcription_session",
        "expires_at": 0,
        "include": ["item.input_audio_transcription.logprobs"],
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "transcription": {"model": "gpt-transcribe", "language": "en"},
                "noise_reduction": {"type": "near_field"},
                "turn_detection": {"type": "server_vad", "silence_duration_ms": 400},
            }
        },
    }
    assert dict(upstream.calls[0].request.query) == {"intent": "transcription"}
    assert relay.lines("session.ended")[0]["persona"] == "clerk"


async def test_the_blocking_sdk_requests_a_credential(tmp_path: Path) -> None:
    async with issuing(tmp_path) as (relay, _):
        with openai.OpenAI(base_url=relay.base_url, api_key="key-of-backend") as backend:
            secret = await asyncio.to_thread(
                backend.realtime.client_secrets.create, extra_body={"persona": "tutor"}
            )

    assert secret.value.startswith("ek_")
    assert secret.session.type == "realtime"
    assert secret.session.model == "tutor"


async def test_the_stock_sdk_requests_a_session_in_the_old_shape_and_connects(
    tmp_path: Path,
) -> None:
    async with issuing(tmp_path) as (relay, upstream), relay.sdk("key-of-backend") as backend:
        session = await backend.beta.realtime.sessions.create(
            model="tutor",  # type: ignore[arg-type]  # a persona's name
            instructions="mine",
            client_secret={"expires_after": {"anchor": "created_at", "seconds": 60}},
        )
        assert (session.voice, session.modalities, session.instructions) == ("cedar", ["text"], "")
        assert session.turn_detection
        assert session.turn_detection.silence_duration_ms == 400
        assert 50 < session.client_secret.expires_at - time.time() <= 60

        await connects(relay, session.client_secret.value)

    assert "You teach everybody" in upstream.calls[0].received[0]["session"]["instructions"]


async def test_the_stock_sdk_requests_a_transcription_session_and_connects(tmp_path: Path) -> None:
    async with issuing(tmp_path) as (relay, _), relay.sdk("key-of-backend") as backend:
        session = await backend.beta.realtime.transcription_sessions.create(
            input_audio_format="pcm16",
            client_secret={"expires_at": {"anchor": "created_at", "seconds": 60}},
            extra_body={"persona": "tutor"},
        )
        assert session.input_audio_format == "g711_ulaw"
        assert 50 < session.client_secret.expires_at - time.time() <= 60

        await connects(relay, session.client_secret.value)


async def test_the_blocking_sdk_requests_credentials_in_the_old_shapes(tmp_path: Path) -> None:
    async with issuing(tmp_path) as (relay, _):
        with openai.OpenAI(base_url=relay.base_url, api_key="key-of-backend") as backend:
            old = backend.beta.realtime
            session = await asyncio.to_thread(old.sessions.create, extra_body={"persona": "tutor"})
            transcription = await asyncio.to_thread(old.transcription_sessions.create)

    assert session.voice == "cedar"
    assert session.client_secret.value.startswith("ek_")
    assert transcription.client_secret.value.startswith("ek_")


async def test_a_page_connects_with_a_credential_as_a_subprotocol(tmp_path: Path) -> None:
    async with issuing(tmp_path) as (relay, _), relay.sdk("key-of-backend") as backend:
        secret = await backend.realtime.client_secrets.create()
        protocols = ["realtime", f"openai-insecure-api-key.{secret.value}"]
        async with relay.connect(
            subprotocols=protocols, origin="https://shop.example"
        ) as connection:
            assert connection.subprotocol == "realtime"
            assert (await receive(connection))["type"] == "session.created"


REFUSED_KEYS = [
    ("key-of-kiosk", openai.PermissionDeniedError, "persona_not_allowed"),
    ("unknown", openai.AuthenticationError, "invalid_api_key"),
    ("ek_unknown", openai.AuthenticationError, "invalid_api_key"),
]


@pytest.mark.parametrize(("key", "error", "code"), REFUSED_KEYS)
async def test_the_stock_sdk_reads_the_reason_of_a_refusal(
    tmp_path: Path, key: str, error: type[openai.APIStatusError], code: str
) -> None:
    async with issuing(tmp_path) as (relay, _), relay.sdk(key) as client:
        with pytest.raises(error) as refusal:
            await client.realtime.client_secrets.create()

        assert refusal.value.code == code
        assert (await relay.metrics())[f'relay_refusals_total{{code="{code}"}}'] == 1


async def test_a_relay_without_signing_keys_answers_404(tmp_path: Path) -> None:
    async with issuing(tmp_path, "") as (relay, _), relay.sdk() as client:
        with pytest.raises(openai.NotFoundError, match="no short-lived credentials"):
            await client.realtime.client_secrets.create()


async def post(
    relay: RunningRelay, data: Any, **headers: str
) -> tuple[int, Any, Mapping[str, str]]:
    """Post a raw body as the backend; return status, answer and headers."""
    url = f"{relay.base_url}/realtime/client_secrets"
    named = {"Authorization": "Bearer key-of-backend", **headers}
    async with ClientSession() as http, http.post(url, data=data, headers=named) as answer:
        return answer.status, await answer.json(), answer.headers


def padded(size: int) -> bytes:
    return b'{"session": {"instructions": "' + b"x" * (size - 33) + b'"}}'


async def test_a_body_is_json_of_limited_size(tmp_path: Path) -> None:
    async with issuing(tmp_path) as (relay, _):
        for body in (b"", b"{}", padded(64 * 1024)):
            assert (await post(relay, body))[0] == 200
        for body in (
            padded(64 * 1024 + 1),
            b"{",
            b"[]",
            b"\xff",
            b"[" * 60_000,
            b'{"persona": ' + b"1" * 60_000 + b"}",
        ):
            status, answer, _ = await post(relay, body)
            assert (status, answer["error"]["code"]) == (400, "invalid_request")


async def test_a_body_of_unknown_length_is_not_read_to_its_end(tmp_path: Path) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 16_384
            yield b" " * 16_384

    async with issuing(tmp_path) as (relay, _):
        try:
            status, _, _ = await post(relay, endless())
        except ConnectionError:  # the answer came while the test was still sending
            status = 400

    assert status == 400
    assert sent < 64 * 1024 * 1024


# Browsers.


async def preflight(relay: RunningRelay, path: str, origin: str) -> tuple[int, Mapping[str, str]]:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang",
    }
    url = f"{relay.base_url}/realtime/{path}"
    async with ClientSession() as http, http.options(url, headers=headers) as answer:
        return answer.status, answer.headers


@pytest.mark.parametrize("path", ["client_secrets", "sessions", "transcription_sessions"])
async def test_a_page_of_an_allowed_origin_may_post(tmp_path: Path, path: str) -> None:
    async with issuing(tmp_path) as (relay, _):
        status, headers = await preflight(relay, path, "https://shop.example")

    assert status == 204
    assert headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert headers["Access-Control-Allow-Methods"] == "POST"
    assert headers["Access-Control-Allow-Headers"] == "authorization, *"
    assert headers["Vary"] == "Origin"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "https://shop.example.evil", "http://shop.example", "null"]
)
async def test_a_page_of_a_foreign_origin_may_not(tmp_path: Path, origin: str) -> None:
    async with issuing(tmp_path) as (relay, _):
        status, headers = await preflight(relay, "client_secrets", origin)
        posted, answer, posted_headers = await post(relay, b"{}", Origin=origin)

    assert (status, posted, answer["error"]["code"]) == (403, 403, "origin_not_allowed")
    assert "Access-Control-Allow-Origin" not in {**headers, **posted_headers}
    assert "value" not in answer


async def test_an_allowed_page_can_read_refusals_too(tmp_path: Path) -> None:
    async with issuing(tmp_path) as (relay, _):
        for body, status in ((b"{}", 200), (b"{", 400)):
            answered, _, headers = await post(relay, body, Origin="https://shop.example")

            assert answered == status
            assert headers["Access-Control-Allow-Origin"] == "https://shop.example"


async def test_the_relay_s_own_pages_need_no_permission(tmp_path: Path) -> None:
    async with issuing(tmp_path) as (relay, _):
        own = f"http://127.0.0.1:{relay.port}"
        status, _, headers = await post(relay, b"{}", Origin=own)

    assert status == 200
    assert "Access-Control-Allow-Origin" not in headers


# Single use, and limits of end users.


async def outcome(relay: RunningRelay, key: str) -> int:
    """Connect and close; return 101, or the status of the refusal."""
    headers = {"Authorization": f"Bearer {key}"}
    try:
        async with relay.connect(additional_headers=headers) as connection:
            await receive(connection)
    except websockets.InvalidStatus as refusal:
        return refusal.response.status_code
    return 101


SINGLE_USE = CLIENTS.replace("']}", "'], single_use: true}", 1)


async def test_of_many_concurrent_uses_of_a_credential_one_succeeds(tmp_path: Path) -> None:
    async with issuing(tmp_path, SINGLE_USE) as (relay, upstream):
        async with relay.sdk("key-of-backend") as backend:
            secret = await backend.realtime.client_secrets.create()

        outcomes = await asyncio.gather(*(outcome(relay, secret.value) for _ in range(20)))

        assert sorted(outcomes) == [101] + [401] * 19
        assert await outcome(relay, secret.value) == 401
        assert len(upstream.calls) == 1


async def test_a_credential_whose_session_did_not_start_is_not_used_up(tmp_path: Path) -> None:
    async with issuing(tmp_path, SINGLE_USE) as (relay, upstream):
        async with relay.sdk("key-of-backend") as backend:
            secret = await backend.realtime.client_secrets.create()
        opens, upstream.script = upstream.script, hangs_up

        assert await outcome(relay, secret.value) == 502
        upstream.script = opens
        assert await outcome(relay, secret.value) == 101


async def hangs_up(call: Any) -> None:
    await call.socket.close()


async def test_each_end_user_has_a_limit_of_its_own(tmp_path: Path) -> None:
    settings = CLIENTS + "limits: {user: {max_sessions: 1}}\n"
    async with issuing(tmp_path, settings) as (relay, _), relay.sdk("key-of-backend") as backend:
        ada, other_ada, bob = [
            (
                await backend.realtime.client_secrets.create(
                    extra_headers={"OpenAI-Safety-Identifier": user}
                )
            ).value
            for user in ("ada", "ada", "bob")
        ]
        headers = {"Authorization": f"Bearer {ada}"}
        async with relay.connect(additional_headers=headers) as connection:
            await receive(connection)

            assert await outcome(relay, other_ada) == 429
            assert await outcome(relay, bob) == 101
            assert await outcome(relay, "key-of-backend") == 101
