"""The caller of a request, determined from its head only."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from multidict import CIMultiDict
from relays import PERSONA, write_config

from relay.access.auth import (
    ANONYMOUS,
    CREDENTIAL_PARAMETERS,
    Principal,
    authenticate,
    choose_persona,
)
from relay.config.loading import load
from relay.config.models import Config
from relay.core.errors import InvalidApiKey, InvalidRequest, PersonaNotAllowed, PersonaNotFound

CLIENTS = """
    clients:
      kiosk: {key: [kiosk-key-one, kiosk-key-two], personas: [receptionist]}
      hashed: {key_sha256: 4d9d77a1e9a78aab4ea95ab8f6e3a5d3ca12f4c3a0b9d2a53a9e4ff2e5ba0a31}
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    personas = {"receptionist": PERSONA, "concierge": PERSONA}
    return load(write_config(tmp_path, "http://127.0.0.1:1/v1", CLIENTS, personas), {})


@pytest.fixture
def anonymous(tmp_path: Path) -> Config:
    return load(write_config(tmp_path, "http://127.0.0.1:1/v1"), {})


def caller(config: Config, headers: Mapping[str, str], **query: str) -> Principal:
    return authenticate(CIMultiDict(headers), query, config, now=0)


def protocol(key: str) -> str:
    return f"openai-insecure-api-key.{key}"


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer kiosk-key-one"},
        {"Authorization": "bearer   kiosk-key-one "},
        {"Authorization": "Bearer kiosk-key-two"},
        {"api-key": "kiosk-key-one"},
        {"API-Key": " kiosk-key-two "},
        {"Sec-WebSocket-Protocol": protocol("kiosk-key-one")},
        {"Sec-WebSocket-Protocol": f"realtime, {protocol('kiosk-key-two')}"},
        {"Authorization": "Basic a2lvc2s6", "api-key": "kiosk-key-one"},
        {"Authorization": "Bearer ", "api-key": "kiosk-key-one"},
    ],
)
def test_each_key_of_a_client_is_accepted_in_each_allowed_place(
    config: Config, headers: Mapping[str, str]
) -> None:
    assert caller(config, headers) == Principal("kiosk", ("receptionist",))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "kiosk-key-one"},
        {"Authorization": "Basic kiosk-key-one"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer KIOSK-KEY-ONE"},
        {"Authorization": "Bearer kiosk-key-one kiosk-key-one"},
        {"Authorization": "Bearer wrong", "api-key": "kiosk-key-one"},
        {"Authorization": "Bearer \udcff\udcfe"},
        {"Authorization": "Bearer ' OR '1'='1"},
        {"api-key": "é"},
        {"Sec-WebSocket-Protocol": protocol("")},
        {"Sec-WebSocket-Protocol": "kiosk-key-one"},
        {"Sec-WebSocket-Protocol": protocol("\udcff")},
        {"Cookie": "api-key=kiosk-key-one"},
        # The digest of a key, which the configuration contains, is no key.
        {
            "Authorization": "Bearer "
            "4d9d77a1e9a78aab4ea95ab8f6e3a5d3ca12f4c3a0b9d2a53a9e4ff2e5ba0a31"
        },
    ],
)
def test_a_request_without_a_known_key_is_refused(
    config: Config, headers: Mapping[str, str]
) -> None:
    with pytest.raises(InvalidApiKey):
        caller(config, headers)


@pytest.mark.parametrize("credential", ["", "Bearer whatever", "Bearer sk-of-openai"])
def test_without_clients_any_credential_is_ignored(anonymous: Config, credential: str) -> None:
    assert caller(anonymous, {"Authorization": credential}) == Principal(ANONYMOUS)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer ek_made_up"},
        {"api-key": "ek_made_up"},
        {"Sec-WebSocket-Protocol": protocol("ek_made_up")},
    ],
)
def test_a_short_lived_credential_is_checked_even_without_clients(
    anonymous: Config, headers: Mapping[str, str]
) -> None:
    with pytest.raises(InvalidApiKey):
        caller(anonymous, headers)


@pytest.mark.parametrize("name", sorted(CREDENTIAL_PARAMETERS))
def test_a_credential_in_the_query_is_refused_under_each_name(
    config: Config, anonymous: Config, name: str
) -> None:
    for settings in (config, anonymous):
        with pytest.raises(InvalidRequest):
            caller(settings, {"api-key": "kiosk-key-one"}, **{name.upper(): "kiosk-key-one"})


@pytest.mark.parametrize(
    ("query", "persona"),
    [
        ({}, "receptionist"),
        ({"model": "gpt-realtime-2.1"}, "receptionist"),
        ({"model": "concierge"}, "concierge"),
        ({"persona": "concierge"}, "concierge"),
        ({"persona": "receptionist", "model": "concierge"}, "receptionist"),
        ({"model": "", "voice": "marin"}, "receptionist"),
    ],
)
def test_the_persona_is_the_named_one_or_the_model_or_the_default(
    config: Config, query: Mapping[str, str], persona: str
) -> None:
    assert choose_persona(Principal("hashed"), query, config).name == persona


TRANSCRIBER = """
    upstream: fake
    session: {type: transcription, audio: {input: {transcription: {model: gpt-transcribe}}}}
"""
TRANSCRIPTION = {"intent": "transcription"}


def with_transcribers(folder: Path, *transcribers: str, default: str = "receptionist") -> Config:
    """Load a configuration with a receptionist and these transcribers."""
    personas = {"receptionist": PERSONA} | dict.fromkeys(transcribers, TRANSCRIBER)
    path = write_config(folder, "http://127.0.0.1:1/v1", personas=personas)
    path.write_text(path.read_text().replace("_persona: receptionist", f"_persona: {default}"))
    return load(path, {})


@pytest.mark.parametrize(
    ("transcribers", "default", "query", "persona"),
    [
        (["clerk"], "receptionist", {}, "clerk"),
        (["clerk"], "receptionist", {"model": "gpt-transcribe"}, "clerk"),
        (["clerk"], "clerk", {}, "clerk"),
        (["clerk", "notary"], "notary", {}, "notary"),
        (["clerk", "notary"], "receptionist", {"persona": "notary"}, "notary"),
        (["clerk", "notary"], "receptionist", {"model": "notary"}, "notary"),
        (["clerk"], "receptionist", {"persona": "receptionist"}, "receptionist"),
        ([], "receptionist", {}, "receptionist"),
    ],
)
def test_the_intent_to_transcribe_chooses_if_no_name_does(
    tmp_path: Path, transcribers: list[str], default: str, query: dict[str, str], persona: str
) -> None:
    config = with_transcribers(tmp_path, *transcribers, default=default)
    chosen = choose_persona(Principal(ANONYMOUS), TRANSCRIPTION | query, config)

    assert chosen.name == persona
    assert choose_persona(Principal(ANONYMOUS), {"intent": "x"}, config).name == default


def test_a_persona_must_be_named_if_several_transcribe(tmp_path: Path) -> None:
    config = with_transcribers(tmp_path, "clerk", "notary")

    with pytest.raises(PersonaNotFound, match="Several personas transcribe"):
        choose_persona(Principal(ANONYMOUS), TRANSCRIPTION, config)
    with pytest.raises(PersonaNotFound, match="no such persona"):
        choose_persona(Principal(ANONYMOUS), TRANSCRIPTION | {"persona": "nobody"}, config)


def test_the_intent_chooses_among_the_personas_that_the_client_may_use(tmp_path: Path) -> None:
    config = with_transcribers(tmp_path, "clerk", "notary")

    narrow = Principal("narrow", ("receptionist", "notary"))
    deaf = Principal("deaf", ("receptionist",))
    assert choose_persona(narrow, TRANSCRIPTION, config).name == "notary"
    assert choose_persona(deaf, TRANSCRIPTION, config).name == "receptionist"


@pytest.mark.parametrize("name", ["nobody", "", "Receptionist", "../receptionist"])
def test_the_default_does_not_replace_an_unknown_persona(config: Config, name: str) -> None:
    with pytest.raises(PersonaNotFound):
        choose_persona(Principal("hashed"), {"persona": name}, config)


def test_without_a_default_a_persona_must_be_named(tmp_path: Path) -> None:
    path = write_config(tmp_path, "http://127.0.0.1:1/v1")
    path.write_text(path.read_text().replace("default_persona: receptionist\n", ""))
    config = load(path, {})
    with pytest.raises(PersonaNotFound):
        choose_persona(Principal("hashed"), {"model": "gpt-realtime-2.1"}, config)
    assert choose_persona(Principal("hashed"), {"model": "receptionist"}, config).name


def test_a_client_may_use_only_its_own_personas(config: Config) -> None:
    kiosk = caller(config, {"api-key": "kiosk-key-one"})
    assert choose_persona(kiosk, {}, config).name == "receptionist"
    for query in ({"persona": "concierge"}, {"model": "concierge"}):
        with pytest.raises(PersonaNotAllowed):
            choose_persona(kiosk, query, config)
