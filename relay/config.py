"""The configuration: frozen, closed, discreet; the only reader of YAML and the environment.

`load` reads relay.yaml and its personas, and either returns a `Config` that nothing can change or
raises `InvalidConfig` with every problem that it found. The models are the reference of what can
be written: docs/configuration.md is made of them.
"""

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
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
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from relay import schema, tls
from relay.core.events import CLIENT_EVENTS
from relay.core.pricing import Prices
from relay.core.variables import render, undeclared, unfit
from relay.prices import load_prices
from relay.section import Section, faults
from relay.source import Document, KeyPath, Problem, dotted, read
from relay.tools.config import signing_bytes, tool_problems
from relay.value import (
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
    Scope,
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
    "InvalidConfig",
    "Persona",
    "check_listen",
    "equipped",
    "filled",
    "load",
    "load_usage",
    "session_query",
    "session_update",
]

TRANSCRIPTION = "transcription"
"""The type of a session that is heard and not answered, and the intent that opens one."""

CONVERSATION_KEYS: tuple[KeyPath, ...] = (
    ("variables",),
    ("greeting",),
    ("client", "events"),
    ("client", "response"),
    ("demo",),
)
"""What only a persona that answers can have, besides fields of the session."""

FILE_SUFFIXES = frozenset({".yaml", ".yml"})
"""What the files of personas end with."""

_PERSONA_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_PERSONA_NAME_MESSAGE = (
    "is no name for a persona: lower-case letters, digits, hyphens and underscores"
)


class InvalidConfig(Exception):
    """The configuration cannot be used.

    Attributes:
        problems: Everything that is wrong with it, in the order of files and lines.
    """

    def __init__(self, problems: Collection[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


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
    _sources: "_Sources" = PrivateAttr()

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
    return _sent(persona.session)


def session_query(persona: Persona) -> dict[str, str]:
    """Return the query of the address at which an upstream opens a persona's session."""
    return {"intent": TRANSCRIPTION} if persona.transcribes else {"model": persona.model}


def _sent(session: Mapping[str, Any]) -> dict[str, Any]:
    """Leave away what is not the API's: the model goes in the URL, `run` is the relay's own."""
    sent = {"type": "realtime", **deepcopy(dict(session))}
    sent.pop("model", None)
    tools = sent.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict):
            tool.pop("run", None)
    return sent


@dataclass(frozen=True, slots=True)
class _Sources:
    """The files of a configuration, as they were read."""

    root: Document
    personas: Mapping[str, Document]

    def documents(self) -> Iterator[tuple[KeyPath, Document]]:
        """Yield each file with the path at which it stands in the configuration."""
        yield (), self.root
        for name, document in self.personas.items():
            yield ("personas", name), document

    def problem(self, path: KeyPath, message: str) -> Problem:
        """Return a problem at a path of the configuration, in the file that it leads to."""
        match path:
            case ("personas", str() as name, *rest):
                return self.personas[name].problem(tuple(rest), message)
            case _:
                return self.root.problem(path, message)

    def values(self) -> dict[str, Any]:
        """Return what `Config` is made of."""
        personas = {name: {**read.value, "name": name} for name, read in self.personas.items()}
        return {**self.root.value, "personas": personas, "file": self.root.file}


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Read relay.yaml and its personas.

    Raises:
        InvalidConfig: With every problem of all files.
    """
    root = read(path, environ)
    personas, misplaced = _read_personas(root, environ)
    sources = _Sources(root, personas)
    causes = [problem for _, document in sources.documents() for problem in document.problems]
    causes += _reserved(sources)
    found = misplaced + _exposed(root)
    for document in personas.values():
        found += _session_problems(document, _extra_fields(document, root))
        found += _place_problems(document)
    config: Config | None = None
    try:
        config = Config.model_validate(sources.values(), context=_scope(sources))
        config._sources = sources  # noqa: SLF001  # known to nobody else
        found += _shared_keys(config, root)
        found += _read_prices(config, environ)
    except ValidationError as error:
        found += [sources.problem(path, said) for path, said in faults(error, Config)]
    problems = causes + [problem for problem in found if not _follows(problem, causes)]
    if problems or config is None:
        raise InvalidConfig(sorted(problems, key=lambda problem: _reading_order(problem, root)))
    return config


def load_usage(path: Path, environ: Mapping[str, str]) -> Usage:
    """Read only what relay.yaml says of the ledger; no key of anybody has to be there for it.

    Raises:
        InvalidConfig: With every problem of that section, and of the file as a whole.
    """
    root = read(path, environ)
    problems = [problem for problem in root.problems if _parts(problem)[:1] in ([], ["usage"])]
    scope = Scope(root.file.parent, {})
    try:
        usage = Usage.model_validate(root.value.get("usage", {}), context=scope)
    except ValidationError as error:
        problems += [root.problem(("usage", *where), said) for where, said in faults(error, Usage)]
        raise InvalidConfig(sorted(problems)) from None
    if problems:
        raise InvalidConfig(sorted(problems))
    return usage


def _read_prices(config: Config, environ: Mapping[str, str]) -> Sequence[Problem]:
    """Read the price list into the configuration; return what is wrong with it."""
    named = "prices" in config.usage.model_fields_set
    if not named and not config.usage.prices.exists():
        return ()
    config._prices, problems = load_prices(config.usage.prices, environ)  # noqa: SLF001
    return problems


def _read_personas(
    root: Document, environ: Mapping[str, str]
) -> tuple[dict[str, Document], list[Problem]]:
    """Read every file of the personas' folder."""
    folder = root.at("personas")
    if not isinstance(folder, str):
        return {}, [root.problem(("personas",), "must name the folder of the personas")]
    try:
        files = _persona_files(root.file.parent / folder)
    except OSError as error:
        return {}, [root.problem(("personas",), f"cannot be read: {error.strerror}")]
    if not files:
        return {}, [root.problem(("personas",), "has no persona in it: write a NAME.yaml there")]
    documents: dict[str, Document] = {}
    problems = []
    for file in files:
        if not _PERSONA_NAME.fullmatch(file.stem):
            problems.append(Problem(file, 1, "", _PERSONA_NAME_MESSAGE))
        if file.stem in documents:
            problems.append(Problem(file, 1, "", "has the name of another persona: rename it"))
        else:
            documents[file.stem] = read(file, environ)
    return documents, problems


def _persona_files(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix in FILE_SUFFIXES and not file.name.startswith(".")
    )


def _reserved(sources: _Sources) -> Iterator[Problem]:
    """Find keys that the models have but a file may not write."""
    for prefix, document in sources.documents():
        given = "name" if prefix else "file"
        if given in document.value:
            yield document.problem((given,), "unknown key")


def _scope(sources: _Sources) -> Scope:
    upstreams = sources.root.at("upstreams")
    names = upstreams if isinstance(upstreams, dict) else {}
    extra = {field for name in names for field in _extra_fields_of(name, sources.root)}
    openable = (schema.session_fields() | extra) - {"model", "type"}
    known: dict[str, Collection[str]] = {
        "client event": CLIENT_EVENTS,
        "session field that can be opened": openable,
        "field of response.create": schema.response_fields(),
    }
    # Where there is none at all, that is the problem, and not each name that is used.
    known |= {"upstream": names} if names else {}
    known |= {"persona": sources.personas} if sources.personas else {}
    return Scope(sources.root.file.parent, known)


def _shared_keys(config: Config, root: Document) -> Iterator[Problem]:
    """Find clients that could not be told apart."""
    owners: dict[str, str] = {}
    for name, client in config.clients.items():
        for digest in client.key_sha256:
            if owners.setdefault(digest, name) != name:
                message = f"has a key of clients.{owners[digest]}: give each client its own"
                yield root.problem(("clients", name), message)


def _exposed(root: Document) -> list[Problem]:
    """Find an anonymous relay on an address that others can reach."""
    host = root.at("server", "host")
    if root.at("clients") or not isinstance(host, str):
        return []
    message = check_listen(host)
    return [root.problem(("server", "host"), message)] if message else []


def _session_problems(persona: Document, extra_fields: frozenset[str]) -> Iterator[Problem]:
    """Find what the upstream would refuse in a session, or fill in with a default of its own."""
    session = persona.at("session")
    if not isinstance(session, dict):
        return
    if session.get("type") == TRANSCRIPTION:
        yield from _transcription_problems(persona)
        yield from _unopenable(persona, schema.transcription_fields() | extra_fields)
    else:
        yield from _conversation_problems(persona)
    for fault in schema.session_faults(_sent(session), extra_fields):
        yield persona.problem(("session", *fault.path), fault.message)


def _conversation_problems(persona: Document) -> Iterator[Problem]:
    session = persona.at("session")
    model = session.get("model")
    if not isinstance(model, str) or not re.fullmatch(r"[\x21-\x7e]+", model):
        yield persona.problem(("session", "model"), "is required: the name of a Realtime model")
    if session.get("instructions") is None and session.get("prompt") is None:
        message = 'is required: without it the upstream\'s own prompt answers ("" is none at all)'
        yield persona.problem(("session", "instructions"), message)
    for path, said in tool_problems(session):
        yield persona.problem(("session", *path), said)


def _transcription_problems(persona: Document) -> Iterator[Problem]:
    """Find what is missing where a persona only transcribes, and what goes with an answer."""
    path = ("session", "audio", "input", "transcription", "model")
    if not persona.at(*path):
        yield persona.problem(path, "is required: the name of a model that transcribes")
    if persona.at("session", "model") is not None:
        message = "goes with another `type`: audio.input.transcription.model transcribes"
        yield persona.problem(("session", "model"), message)
    for key in filter(lambda key: persona.at(*key), CONVERSATION_KEYS):
        yield persona.problem(key, "goes with a persona that answers: this one only transcribes")


def _unopenable(persona: Document, fields: Collection[str]) -> Iterator[Problem]:
    """Find what is opened to clients and is not among the fields of the session."""
    opened = persona.at("client", "session")
    for index, field in enumerate(opened if isinstance(opened, list) else ()):
        if field not in fields:
            message = "is not a field of a session that only transcribes"
            yield persona.problem(("client", "session", index), message)


def _place_problems(persona: Document) -> Iterator[Problem]:
    """Find places in the instructions that nothing would ever fill."""
    variables, instructions = persona.at("variables"), persona.at("session", "instructions")
    if not isinstance(instructions, str):
        return
    for place in undeclared(instructions, variables if isinstance(variables, dict) else ()):
        line = instructions.count("\n", 0, place.offset) + 1
        shown = f"{{{{ {dotted((place.name,))} }}}}"
        message = f"has {shown} on line {line} of the text: declare it under `variables`"
        yield persona.problem(("session", "instructions"), message)


def _extra_fields(persona: Document, root: Document) -> frozenset[str]:
    """Return the fields that every upstream of a persona knows besides the API's."""
    upstreams = persona.at("upstream")
    names = upstreams if isinstance(upstreams, list) else [upstreams]
    fields = [_extra_fields_of(name, root) for name in names]
    return frozenset.intersection(*fields) if fields else frozenset()


def _extra_fields_of(upstream: Any, root: Document) -> frozenset[str]:
    fields = root.at("upstreams", upstream, "extra_session_fields")
    listed = fields if isinstance(fields, list) else []
    return frozenset(field for field in listed if isinstance(field, str))


def _follows(problem: Problem, causes: Collection[Problem]) -> bool:
    """Tell whether a problem is only a consequence of one at the same place or around it."""
    place = _parts(problem)
    return any(
        problem.file == cause.file and place[: len(_parts(cause))] == _parts(cause)
        for cause in causes
    )


def _parts(problem: Problem) -> list[str]:
    return re.findall(r"[^.\[\]]+", problem.key)


def _reading_order(problem: Problem, root: Document) -> tuple[bool, Problem]:
    return problem.file != root.file, problem
