"""The configuration: frozen, closed, discreet.

The models are the reference of what can be written: docs/configuration.md is made of them. What
reads them from files is in `loading.py`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from relay.core.pricing import Prices
from relay.core.variables import render, unfit
from relay.tools.config import signing_bytes
from relay.wire import tls
from relay.yaml.section import Section
from relay.yaml.source import KeyPath, Problem, Sources
from relay.yaml.value import (
    Certificates,
    ClientEvent,
    Count,
    FieldPath,
    FilePath,
    Headers,
    Named,
    OneOrMore,
    Origin,
    PersonaName,
    Port,
    Rate,
    ResponseField,
    Seconds,
    Secret,
    SessionField,
    Sha256,
    SigningKey,
    Some,
    Text,
    Token,
    UpstreamName,
    Url,
    Usd,
    nothing,
)

__all__ = [
    "Config",
    "Persona",
    "check_listen",
    "equipped",
    "filled",
    "session_query",
    "session_update",
]

TRANSCRIPTION = "transcription"
"""The type of a session that is heard and not answered, and the intent that opens one."""


class Server(Section):
    """Where the relay listens, and what it writes."""

    host: Text = "127.0.0.1"
    """The address to listen on."""
    port: Port = 8080
    """The port to listen on; 0 takes any that is free."""
    tls_cert: FilePath | None = None
    """The relay's certificate and its chain, in PEM format: with it, clients use https and wss. It
    is read again when it changes."""
    tls_key: FilePath | None = Field(default=None, validate_default=True)
    """The key of the certificate, in PEM format without a passphrase; likewise."""
    playground: bool = False
    """Whether `GET /` is a page to talk to the personas."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """How the log is written; `auto` is `console` on a terminal and `json` elsewhere."""

    @field_validator("tls_cert")
    @classmethod
    def _is_a_certificate(cls, cert: Path | None) -> Path | None:
        if cert is not None:
            tls.valid_until(cert)
        return cert

    @field_validator("tls_key")
    @classmethod
    def _is_its_key(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if "tls_cert" not in info.data:
            return key  # what is wrong with the certificate is told already
        cert = info.data["tls_cert"]
        if (cert is None) != (key is None):
            raise ValueError("goes with tls_cert: give both or neither")
        if cert is not None and key is not None:
            tls.create_context(cert, key)
        return key


class Upstream(Section):
    """A server that speaks the Realtime API."""

    provider: Literal["openai", "azure", "compatible"] = "openai"
    """Whose server it is; `compatible` is any other server that speaks the protocol."""
    url: Url = "https://api.openai.com/v1"
    """Its address, with http, https, ws or wss; required unless the provider is `openai`. For
    `azure`, that of the resource, with `?api-version=...` to choose another preview."""
    dialect: Literal["ga", "beta"] = "ga"
    """The interface that it speaks: what it cannot say of a session in `beta` is left out."""
    api_key: Secret | None = Field(default=None, validate_default=True)
    """The key that the relay shows to it. A `compatible` upstream can do without, and `azure` with
    the extra `azure`, which gets tokens of Entra ID."""
    organization: Token | None = None
    """Sent as `OpenAI-Organization`."""
    project: Token | None = None
    """Sent as `OpenAI-Project`."""
    headers: Headers = Field(default_factory=nothing)
    """More headers of the handshake; their values are treated as secrets."""
    ca_file: Certificates | None = None
    """The certificates to trust instead of the system's, in PEM format."""
    ready_timeout_seconds: Seconds = 8
    """How long connecting may take until the persona is confirmed, fallbacks included."""
    extra_session_fields: tuple[FieldPath, ...] = ()
    """Session fields that this server knows and the `openai` package's types do not, as dotted
    paths."""

    @field_validator("api_key")
    @classmethod
    def _needed(cls, key: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        provider = info.data.get("provider")
        if key is None and provider == "openai":
            raise ValueError("is required for this provider")
        if key is None and provider == "azure" and not _entra_is_installed():
            message = 'is required, or the extra "azure": pip install "realtime-relay[azure]"'
            raise ValueError(message)
        return key

    @model_validator(mode="after")
    def _has_its_own_url(self) -> Self:
        """Keep the key of another server from being sent to OpenAI."""
        if self.provider != "openai" and "url" not in self.model_fields_set:
            raise ValueError("needs a url: only the provider openai has a default")
        return self

    @model_validator(mode="after")
    def _has_a_version_only_where_one_is_asked_for(self) -> Self:
        if "?" in self.url and (self.provider, self.dialect) != ("azure", "beta"):
            raise ValueError("has an api-version: only azure takes one, with dialect: beta")
        return self


def _entra_is_installed() -> bool:
    try:
        return find_spec("azure.identity") is not None
    except ModuleNotFoundError:  # of `azure` itself
        return False


class ClientLimits(Section):
    """What one client may use."""

    max_sessions: Count | None = None
    """Sessions at a time."""
    sessions_per_minute: Rate | None = None
    """New sessions a minute."""
    usd_per_session: Usd | None = None
    """What one session may cost."""
    usd_per_day: Usd | None = None
    """What a day (UTC) may cost."""


class Client(Section):
    """A caller with a key of its own."""

    key: OneOrMore[Secret] = Field(default=(), exclude=True, repr=False)
    """The key, or a list of keys while one replaces the other; read it from the environment."""
    key_sha256: OneOrMore[Sha256] = Field(default=(), validate_default=True)
    """The SHA-256 of the key in hexadecimal, or a list; what `relay key new` prints. A client
    needs a `key` or a `key_sha256`."""
    personas: Some[PersonaName] | None = None
    """The personas that it may use; all, if left out."""
    trusted: bool = False
    """Whether it may mint credentials, fill in variables and name its end user."""
    limits: ClientLimits = ClientLimits()
    """What it may use."""

    @field_validator("key_sha256")
    @classmethod
    def _of_plain_keys_too(cls, digests: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        """Know a client by digests only, whichever way its keys were given."""
        keys = info.data.get("key")
        if keys == () and not digests:
            raise ValueError("is required, unless there is a key")
        return (*digests, *(_sha256(key) for key in keys or ()))


def _sha256(key: SecretStr) -> str:
    return hashlib.sha256(key.get_secret_value().encode()).hexdigest()


class Secrets(Section):
    """Short-lived credentials; not offered if left out."""

    signing_keys: Annotated[OneOrMore[SigningKey], Field(min_length=1)]
    """The first signs, all verify."""
    ttl_seconds: Seconds = 600
    """How long a credential is good for."""
    single_use: bool = False
    """Whether a credential opens one session only; each instance counts for itself."""


class Browser(Section):
    """Which web pages may connect."""

    allowed_origins: tuple[Origin, ...] = ()
    """Exact origins, `https://shop.example`; the relay's own is always allowed."""


class UserLimits(Section):
    """What one end user may use, whom a trusted client names."""

    max_sessions: Count | None = None
    """Sessions at a time."""
    usd_per_day: Usd | None = None
    """What a day (UTC) may cost."""


class Limits(Section):
    """What the relay takes on."""

    max_sessions: Count = 1000
    """Sessions at a time, of all clients."""
    max_message_bytes: Count = 16_777_216
    """The size of a message, both ways."""
    max_buffered_bytes: Count = 4_194_304
    """What may wait behind the message that is being written."""
    slow_client_seconds: Seconds = 10
    """How long a client may not read."""
    drain_seconds: Seconds = 30
    """How long sessions go on after the relay is told to stop."""
    audio_rate: Rate = 2
    """Seconds of audio a second that a client may send, after a burst."""
    audio_burst_seconds: Seconds = 120
    """Seconds of audio that a client may send at once."""
    events_per_second: Rate = 200
    """Events a second that a client may send."""
    max_blocked_events: Count = 100
    """Refused events after which a session is closed with 1008."""
    user: UserLimits = UserLimits()
    """What one end user may use."""


class Usage(Section):
    """The ledger: what was used, on disk."""

    path: FilePath = Field(default=Path("data/usage.db"), validate_default=True)
    """The database; a relative path starts at the folder of this file."""
    prices: FilePath = Field(default=Path("prices.yaml"), validate_default=True)
    """The price list; a relative path starts at the folder of this file. Unless it is named here,
    there need not be one: then tokens are counted without a cost."""
    on_failure: Literal["refuse", "continue"] = "refuse"
    """Whether new sessions are refused when the ledger cannot be written."""


def _signing(key: SecretStr) -> SecretStr:
    signing_bytes(key.get_secret_value())
    return key


class Tools(Section):
    """The tools that the relay runs itself."""

    signing_key: Annotated[Secret, AfterValidator(_signing)] | None = None
    """Signs the requests to tools (https://www.standardwebhooks.com); with the prefix `whsec_` it
    is base64."""
    max_running: Count = 1000
    """Calls at a time."""


class Variable(Section):
    """A place in the instructions that a trusted client may fill in."""

    default: str = ""
    """What stands there if nobody fills it in."""
    max_length: Count = 100
    """The characters that it may have."""

    @model_validator(mode="after")
    def _has_a_default_that_fits(self) -> Self:
        if wrong := unfit(self.default, self.max_length):
            raise ValueError(f"has a default that does not fit: it {wrong}")
        return self


class PersonaClient(Section):
    """What a persona opens to clients, beyond the safe default."""

    events: tuple[ClientEvent, ...] = ()
    """More client event types of the API that are let through."""
    session: tuple[SessionField, ...] = ()
    """Session fields that a client may set, as dotted paths: `audio.input.turn_detection`. The
    model and the type cannot be opened."""
    response: tuple[ResponseField, ...] = ()
    """Fields of `response.create` that a client may set."""


class PersonaLimits(Section):
    """What one session of a persona may use."""

    max_session_seconds: Seconds = 3600
    """How long a session lasts at most."""
    idle_seconds: Seconds = 300
    """How long nobody may speak."""
    max_tool_seconds: Seconds = 20
    """How long a tool may run."""
    max_sessions: Count | None = None
    """Sessions at a time."""
    usd_per_session: Usd | None = None
    """What one session may cost."""
    usd_per_day: Usd | None = None
    """What a day (UTC) may cost."""


class Reply(Section):
    """A scripted reply of the local upstream."""

    when: Text
    """A regular expression that is looked for in what was said."""
    say: Text
    """The answer."""


class Persona(Section):
    """What answers: a session of the Realtime API, and what clients may do with it."""

    name: str
    """The stem of its file."""
    description: str = ""
    """One line for people."""
    upstream: Annotated[OneOrMore[UpstreamName], Field(min_length=1)]
    """The upstream it runs on, or a list: the rest are fallbacks when connecting."""
    session: Mapping[str, Any] = Field(repr=False)
    """The Realtime session object with its GA names. It is sent as written, but for `model`, which
    goes in the URL, and a tool's `run`; `type` defaults to `realtime`. `model` and `instructions`
    are required; fields that the `openai` package's types do not know are refused. With the type
    `transcription` it is heard and not answered: `audio.input.transcription.model` is required, and
    there is no model, no instructions, no tools and no voice."""
    variables: Named[Variable] = Field(default_factory=nothing)
    """What `{{ name }}` in the instructions stands for."""
    greeting: bool = False
    """Whether the relay asks for the first response when the client is in."""
    client: PersonaClient = PersonaClient()
    """What it opens to clients."""
    limits: PersonaLimits = PersonaLimits()
    """What one session may use."""
    demo: tuple[Reply, ...] = ()
    """Scripted replies of the local upstream."""

    @property
    def session_type(self) -> str:
        """What its sessions are: `realtime` or `transcription`."""
        return str(self.session.get("type", "realtime"))

    @property
    def transcribes(self) -> bool:
        """Whether its sessions are heard and not answered."""
        return self.session_type == TRANSCRIPTION

    @property
    def model(self) -> str:
        """The model that its sessions run on."""
        return str(self.transcriber if self.transcribes else self.session["model"])

    @property
    def transcriber(self) -> str | None:
        """The model that transcribes the user, if one does."""
        return self._transcription.get("model")

    @property
    def hints(self) -> tuple[str, ...]:
        """What the persona tells the model that transcribes, in its own words."""
        hints = (self._transcription.get("prompt"), *(self._transcription.get("keywords") or ()))
        return tuple(filter(None, hints))

    @property
    def _transcription(self) -> Mapping[str, Any]:
        audio = self.session.get("audio") or {}
        return (audio.get("input") or {}).get("transcription") or {}


class Config(Section):
    """All of relay.yaml and its personas."""

    server: Server = Server()
    """Where the relay listens, and what it writes."""
    upstreams: Annotated[Named[Upstream], Field(min_length=1)]
    """The servers that sessions run on, by name."""
    default_persona: PersonaName | None = None
    """Who answers a client that names nobody; without it such a client gets `persona_not_found`."""
    personas: Annotated[Mapping[str, Persona], AfterValidator(MappingProxyType)] = Field(
        json_schema_extra={"format": "folder"}
    )
    """A folder beside this file: one YAML file per persona, whose name is the persona's."""
    clients: Named[Client] = Field(default_factory=nothing)
    """The callers, by name. Without any, everybody may connect, and the relay listens on loopback
    only."""
    secrets: Secrets | None = None
    """Short-lived credentials; not offered if left out."""
    browser: Browser = Browser()
    """Which web pages may connect."""
    limits: Limits = Limits()
    """What the relay takes on."""
    usage: Usage = Field(default_factory=nothing, validate_default=True)
    """The ledger: what was used, on disk."""
    tools: Tools = Tools()
    """The tools that the relay runs itself."""
    file: Path
    """Where it was read from."""
    _prices: Prices = PrivateAttr(default=Prices())
    _sources: Sources = PrivateAttr()

    @property
    def prices(self) -> Prices:
        """What things cost: the price list that `usage.prices` names."""
        return self._prices

    @property
    def anonymous(self) -> bool:
        """Whether everybody may connect, because no client is configured."""
        return not self.clients

    def problem(self, path: KeyPath, message: str) -> Problem:
        """Return a problem at a path of the configuration, with the file and line of it."""
        return self._sources.problem(path, message)


def check_listen(host: str) -> str | None:
    """Return why an anonymous relay may not listen on a host; `None` if it may."""
    try:
        loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if loopback:
        return None
    return "would let anybody in: listen on 127.0.0.1, or give a client a key under `clients`"


def filled(persona: Persona, variables: Mapping[str, str]) -> Persona:
    """Return a persona with a text in each place of its instructions."""
    instructions = persona.session.get("instructions")
    if not isinstance(instructions, str):
        return persona
    text = render(instructions, persona.variables, variables)
    return persona.model_copy(update={"session": {**persona.session, "instructions": text}})


def equipped(persona: Persona, session_tools: Sequence[Mapping[str, Any]] | None) -> Persona:
    """Return a persona with its tools as the upstream is told of them, whoever describes them."""
    if session_tools is None:
        return persona
    return persona.model_copy(update={"session": {**persona.session, "tools": session_tools}})


def session_update(persona: Persona) -> dict[str, Any]:
    """Return the ``session`` of the update that configures an upstream: ``type`` comes first."""
    return sent(persona.session)


def session_query(persona: Persona) -> dict[str, str]:
    """Return the query of the address at which an upstream opens a persona's session."""
    return {"intent": TRANSCRIPTION} if persona.transcribes else {"model": persona.model}


def sent(session: Mapping[str, Any]) -> dict[str, Any]:
    """Leave away what is not the API's: the model goes in the URL, `run` is the relay's own."""
    sent = {"type": "realtime", **deepcopy(dict(session))}
    sent.pop("model", None)
    tools = sent.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict):
            tool.pop("run", None)
    return sent
