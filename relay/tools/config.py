"""The configuration of a tool that the relay runs: the ``run`` of a function tool in a persona.

    run:
      http: {url: "http://127.0.0.1:9000/hours"}      # or
      python: clinic.hours:opening_hours              # or
      mcp: {command: [clinic-mcp], tool: hours}
      announce: true

The relay never sends it to the upstream.
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
from relay.tools.function import Function, ToolUnusable
from relay.yaml.section import Section, validation_problems
from relay.yaml.source import KeyPath
from relay.yaml.value import FieldName, HeaderValue, Seconds, Text, empty_mapping

_OWN_HEADERS = frozenset(
    {"accept-encoding", "connection", "content-encoding", "content-length", "content-type"}
    | {"host", "idempotency-key", "transfer-encoding", "upgrade"}
)
ENCODED_KEY = "whsec_"
"""The start of a signing key that a library of Standard Webhooks has made."""

_OWN_PREFIXES = ("relay-", "webhook-", "mcp-", "sec-")


def _address(value: str) -> str:
    """Accept the address of an HTTP server, with an optional query."""
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


def _split_command(value: Any) -> Any:
    """Split a command as a shell does; expand nothing."""
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
CommandLine = Annotated[tuple[Text, ...], BeforeValidator(_split_command), Field(min_length=1)]


class Http(Section):
    """A tool that is called over HTTP."""

    url: Address
    """The address. The relay follows no redirect."""
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    """The method of the request; its body is the arguments, as JSON."""
    headers: SecretHeaders = Field(default_factory=empty_mapping)
    """Additional headers; their values are secrets."""
    timeout_seconds: Seconds | None = None
    """The longest time that a call may take, if it is less than `max_tool_seconds`."""


class Mcp(Section):
    """A tool of an MCP server that the relay connects to itself."""

    url: Address | None = None
    """The address of a server that uses streamable HTTP."""
    command: CommandLine | None = None
    """The command that starts a server, which the relay connects to over stdin and stdout: a list,
    or a line that is split at spaces. No shell reads it."""
    tool: Text | None = None
    """The name of the tool on the server; the same name if left out."""
    headers: SecretHeaders = Field(default_factory=empty_mapping)
    """Additional headers for a `url`; their values are secrets."""
    env: Environment = Field(default_factory=empty_mapping)
    """The environment of a `command`, in addition to HOME, PATH and the like; its values are
    secrets."""

    @property
    def server(self) -> Hashable:
        """The identity of the server: all tools with the same identity share one server."""
        headers, env = sorted(self.headers.items()), sorted(self.env.items())
        return (self.url, self.command, tuple(headers), tuple(env))

    @model_validator(mode="after")
    def _is_one_server(self) -> Self:
        if (self.url is None) == (self.command is None):
            raise ValueError("needs either a url or a command")
        return self


class Run(Section):
    """The way in which the relay runs a tool."""

    http: Http | None = None
    """The relay calls it over HTTP."""
    python: Target | None = None
    """The relay imports it as a Python function: `package.module:function`."""
    mcp: Mcp | None = None
    """The relay calls it on an MCP server."""
    announce: bool = False
    """Whether a client with the subprotocol `relay.events` receives an event when the tool starts
    and finishes. The event has its name, and nothing else."""

    @model_validator(mode="after")
    def _has_one_runner(self) -> Self:
        if sum(way is not None for way in (self.http, self.python, self.mcp)) != 1:
            raise ValueError("needs exactly one of http, python and mcp")
        return self


def run_of(tool: Mapping[str, Any]) -> Run | None:
    """Return the ``run`` of a tool in a checked session; None if the client runs the tool."""
    return Run.model_validate(tool["run"]) if "run" in tool else None


def tools_of(session: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Return the tools of a session, without entries that are not mappings."""
    tools = session.get("tools")
    listed = tools if isinstance(tools, (list, tuple)) else ()
    return tuple(tool for tool in listed if isinstance(tool, Mapping))


def tool_problems(session: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Yield the problems of the tools that the relay runs; do not ask any MCP server."""
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
            yield from ((("tools", index, *path), reason) for path, reason in _problems(tool))


def _problems(tool: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    if tool.get("type") != "function":
        yield ("run",), "goes with tools of the type function: the upstream runs the others"
        return
    if not isinstance(tool.get("name"), str):
        yield ("name",), "is required: the model calls the tool by its name"
    if "parameters" in tool:
        yield from (
            (("parameters", *path), reason) for path, reason in schema_faults(tool["parameters"])
        )
    try:
        run = Run.model_validate(tool["run"])
    except ValidationError as error:
        yield from ((("run", *path), reason) for path, reason in validation_problems(error, Run))
        return
    if run.python is not None:
        yield from _function_problems(run.python, tool.get("parameters"))
    if run.mcp is not None and not has_mcp():
        yield ("run", "mcp"), 'needs the extra "mcp": pip install "realtime-relay[mcp]"'


def _function_problems(target: str, parameters: Any) -> Iterator[tuple[KeyPath, str]]:
    try:
        function = Function.load(target)
    except ToolUnusable as unusable:
        yield ("run", "python"), str(unusable)
        return
    if isinstance(parameters, dict):
        found = function.faults(parameters)
        yield from ((("parameters", *path), reason) for path, reason in found)


def signing_bytes(secret: str) -> bytes:
    """Return the signing key: the decoded base64 after ``whsec_``, or the secret itself.

    Raises:
        ValueError: the secret starts with ``whsec_``, and the rest is not base64.
    """
    if secret.startswith(ENCODED_KEY):
        return base64.b64decode(secret.removeprefix(ENCODED_KEY), validate=True)
    return secret.encode()


def has_mcp() -> bool:
    """Return whether the ``mcp`` package is installed."""
    return find_spec("mcp") is not None
