"""What may be written about who runs a tool: the ``run`` of a function tool in a persona.

    run:
      http: {url: "http://127.0.0.1:9000/hours"}      # or
      python: clinic.hours:opening_hours              # or
      mcp: {command: [clinic-mcp], tool: hours}
      announce: true

The upstream never sees it.
"""

import base64
import re
import shlex
from collections.abc import Hashable, Iterator, Mapping
from importlib.util import find_spec
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from relay.tools.arguments import schema_faults
from relay.tools.function import Function, Unusable
from relay.yaml.section import Section, validation_problems
from relay.yaml.source import KeyPath
from relay.yaml.value import FieldName, HeaderValue, Seconds, Text, empty_mapping

_OWN_HEADERS = frozenset(
    {"accept-encoding", "connection", "content-encoding", "content-length", "content-type"}
    | {"host", "idempotency-key", "transfer-encoding", "upgrade"}
)
ENCODED_KEY = "whsec_"
"""What starts a signing key that Standard Webhooks' libraries have made."""

_OWN_PREFIXES = ("relay-", "webhook-", "mcp-", "sec-")


def _address(value: str) -> str:
    """Accept what can be called over HTTP; a query may be part of it."""
    if not re.fullmatch(r"[\x21-\x7e]+", value) or not _has_host(value):
        raise ValueError("must be a URL: http or https://host[:port][/path][?query]")
    if {"@", "#"} & set(value):
        raise ValueError("must have no user, password or fragment: use headers")
    return value


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _header(name: str) -> str:
    if name.lower() in _OWN_HEADERS or name.lower().startswith(_OWN_PREFIXES):
        raise ValueError("is set by the relay itself and cannot be configured")
    return name


def _target(value: str) -> str:
    if not re.fullmatch(r"\w+(\.\w+)*:\w+(\.\w+)*", value):
        raise ValueError("must be package.module:function")
    return value


def _words(value: Any) -> Any:
    """Read a command as a shell would, but for what only a shell can do."""
    try:
        return shlex.split(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("must be a command: a quotation mark is missing") from None


Address = Annotated[str, AfterValidator(_address)]
SecretHeaders = Annotated[
    Mapping[Annotated[FieldName, AfterValidator(_header)], HeaderValue],
    AfterValidator(MappingProxyType),
]
Environment = Annotated[Mapping[Text, SecretStr], AfterValidator(MappingProxyType)]
Target = Annotated[str, AfterValidator(_target)]
CommandLine = Annotated[tuple[Text, ...], BeforeValidator(_words), Field(min_length=1)]


class Http(Section):
    """A tool that is called over HTTP."""

    url: Address
    """Where it is called. Redirects are not followed."""
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    """How it is called; the arguments are the body, as JSON."""
    headers: SecretHeaders = Field(default_factory=empty_mapping)
    """More headers; their values are treated as secrets."""
    timeout_seconds: Seconds | None = None
    """How long it may take, if less than `max_tool_seconds`."""


class Mcp(Section):
    """A tool of an MCP server that the relay reaches itself."""

    url: Address | None = None
    """A server that speaks streamable HTTP."""
    command: CommandLine | None = None
    """A server that is started by the relay and speaks over stdin and stdout: a list, or one line
    that is split at spaces. No shell reads it."""
    tool: Text | None = None
    """The name that the tool has there; the same if left out."""
    headers: SecretHeaders = Field(default_factory=empty_mapping)
    """More headers for a `url`; their values are treated as secrets."""
    env: Environment = Field(default_factory=empty_mapping)
    """The environment of a `command`, besides HOME, PATH and the like; its values are treated as
    secrets."""

    @property
    def server(self) -> Hashable:
        """What tells one server from another: one is enough for all that name it alike."""
        headers, env = sorted(self.headers.items()), sorted(self.env.items())
        return (self.url, self.command, tuple(headers), tuple(env))

    @model_validator(mode="after")
    def _is_one_server(self) -> Self:
        if (self.url is None) == (self.command is None):
            raise ValueError("needs either a url or a command")
        return self


class Run(Section):
    """Who runs a tool."""

    http: Http | None = None
    """It is called over HTTP."""
    python: Target | None = None
    """It is a Python function that the relay can import: `package.module:function`."""
    mcp: Mcp | None = None
    """It is a tool of an MCP server."""
    announce: bool = False
    """Whether a client with the subprotocol `relay.events` is told when the tool starts and
    finishes: its name, and nothing else."""

    @model_validator(mode="after")
    def _has_one_runner(self) -> Self:
        if sum(way is not None for way in (self.http, self.python, self.mcp)) != 1:
            raise ValueError("needs exactly one of http, python and mcp")
        return self


def run_of(tool: Mapping[str, Any]) -> Run | None:
    """Return who runs a tool of a session that was checked; None if the client does."""
    return Run.model_validate(tool["run"]) if "run" in tool else None


def tools_of(session: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Return the tools of a session; nothing where they are no list of mappings."""
    tools = session.get("tools")
    listed = tools if isinstance(tools, (list, tuple)) else ()
    return tuple(tool for tool in listed if isinstance(tool, Mapping))


def tool_problems(session: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Find what is wrong with the tools of a session that the relay runs, but for MCP servers."""
    tools = session.get("tools")
    seen: set[Any] = set()
    for index, tool in enumerate(tools if isinstance(tools, list) else ()):
        if not isinstance(tool, dict):
            continue
        name = tool.get("name")
        if isinstance(name, str) and name in seen:
            yield ("tools", index, "name"), "is the name of another tool"
        seen.add(name if isinstance(name, str) else None)
        if "run" in tool:
            yield from ((("tools", index, *path), said) for path, said in _problems(tool))


def _problems(tool: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    if tool.get("type") != "function":
        yield ("run",), "goes with tools of the type function: the upstream runs the others"
        return
    if not isinstance(tool.get("name"), str):
        yield ("name",), "is required: what the model calls it by"
    if "parameters" in tool:
        yield from (
            (("parameters", *path), said) for path, said in schema_faults(tool["parameters"])
        )
    try:
        run = Run.model_validate(tool["run"])
    except ValidationError as error:
        yield from ((("run", *path), said) for path, said in validation_problems(error, Run))
        return
    if run.python is not None:
        yield from _function_problems(run.python, tool.get("parameters"))
    if run.mcp is not None and not has_mcp():
        yield ("run", "mcp"), 'needs the extra "mcp": pip install "realtime-relay[mcp]"'


def _function_problems(target: str, parameters: Any) -> Iterator[tuple[KeyPath, str]]:
    try:
        function = Function.load(target)
    except Unusable as unusable:
        yield ("run", "python"), str(unusable)
        return
    if isinstance(parameters, dict):
        found = function.faults(parameters)
        yield from ((("parameters", *path), said) for path, said in found)


def signing_bytes(secret: str) -> bytes:
    """Return the key that a secret stands for: base64 behind ``whsec_``, else its own letters.

    Raises:
        ValueError: it starts with ``whsec_``, and the rest is not base64.
    """
    if secret.startswith(ENCODED_KEY):
        return base64.b64decode(secret.removeprefix(ENCODED_KEY), validate=True)
    return secret.encode()


def has_mcp() -> bool:
    """Tell whether the ``mcp`` package is installed."""
    return find_spec("mcp") is not None
