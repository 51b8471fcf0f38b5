"""A persona: its section, and the session of the Realtime API that the upstream receives."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from relay.config.limits import PersonaLimits
from relay.core.variables import render, unfit
from relay.yaml.section import Section
from relay.yaml.value import (
    ClientEvent,
    Count,
    Named,
    OneOrMore,
    ResponseField,
    SessionField,
    Text,
    UpstreamName,
    empty_mapping,
)

TRANSCRIPTION = "transcription"
"""The type of a session that the upstream transcribes and does not answer, and its ``intent``."""


class Variable(Section):
    """A variable in the instructions of a persona. A trusted client may set it."""

    default: str = ""
    """Text of the variable if the client sets none."""
    max_length: Count = 100
    """Maximum length of the text in characters."""

    @model_validator(mode="after")
    def _has_a_default_that_fits(self) -> Self:
        if wrong := unfit(self.default, self.max_length):
            raise ValueError(f"has a default that does not fit: it {wrong}")
        return self


class PersonaClient(Section):
    """Events and fields that clients may send, in addition to the safe defaults."""

    events: tuple[ClientEvent, ...] = ()
    """More client event types of the API to let through."""
    session: tuple[SessionField, ...] = ()
    """Session fields that a client may set, as dotted paths: `audio.input.turn_detection`. The
    fields `model` and `type` cannot be opened."""
    response: tuple[ResponseField, ...] = ()
    """Fields of `response.create` that a client may set."""


class DemoReply(Section):
    """A scripted reply of the local upstream."""

    when: Text
    """Regular expression to search for in the words of the user, in any case of letters."""
    say: Text
    """Text of the reply."""


class Persona(Section):
    """A session of the Realtime API, and the permissions of its clients."""

    name: str
    """The name of its file without the suffix."""
    description: str = ""
    """One line for people."""
    upstream: Annotated[OneOrMore[UpstreamName], Field(min_length=1)]
    """Upstream of the sessions, or a list: the others are fallbacks while the relay connects."""
    session: Mapping[str, Any] = Field(repr=False)
    """Session object of the Realtime API with its GA names. The relay sends it as written, except
    `model`, which goes in the URL, and the `run` of a tool. `type` defaults to `realtime`. `model`
    is required, and so is either `instructions` or `prompt`. Fields that the types of the `openai`
    package do not have are refused. With the type `transcription`, the upstream transcribes the
    user and does not answer: `audio.input.transcription.model` is required, and the session has no
    model, no instructions, no tools and no voice."""
    variables: Named[Variable] = Field(default_factory=empty_mapping)
    """Variables for each `{{ name }}` in the instructions."""
    greeting: bool = False
    """Request the first response when the client has connected."""
    client: PersonaClient = PersonaClient()
    """Events and fields that clients may send, in addition to the safe defaults."""
    limits: PersonaLimits = PersonaLimits()
    """Limits of the sessions of one persona."""
    demo: tuple[DemoReply, ...] = ()
    """Scripted replies of the local upstream."""

    @property
    def session_type(self) -> str:
        """The type of its sessions: `realtime` or `transcription`."""
        return str(self.session.get("type", "realtime"))

    @property
    def transcribes(self) -> bool:
        """Whether the upstream only transcribes its sessions and does not answer."""
        return self.session_type == TRANSCRIPTION

    @property
    def model(self) -> str:
        """The name of the model that its sessions run on."""
        return str(self.transcriber if self.transcribes else self.session["model"])

    @property
    def models(self) -> frozenset[str]:
        """The names of the models whose usage is billed."""
        return frozenset(filter(None, (self.model, self.transcriber)))

    @property
    def transcriber(self) -> str | None:
        """The name of the model that transcribes the user; None without transcription."""
        return self._transcription.get("model")

    @property
    def hints(self) -> tuple[str, ...]:
        """The persona's texts for the model that transcribes: its prompt and its keywords."""
        hints = (self._transcription.get("prompt"), *(self._transcription.get("keywords") or ()))
        return tuple(filter(None, hints))

    @property
    def _transcription(self) -> Mapping[str, Any]:
        audio = self.session.get("audio") or {}
        return (audio.get("input") or {}).get("transcription") or {}


def with_variables(persona: Persona, variables: Mapping[str, str]) -> Persona:
    """Return a persona with the variables in its instructions replaced by their texts.

    Args:
        persona: It stays unchanged.
        variables: Texts by name; a missing variable gets its default.
    """
    instructions = persona.session.get("instructions")
    if not isinstance(instructions, str):
        return persona
    text = render(instructions, persona.variables, variables)
    return _with_session(persona, instructions=text)


def with_tools(persona: Persona, session_tools: Sequence[Mapping[str, Any]] | None) -> Persona:
    """Return a persona with the tools that the upstream receives.

    Args:
        persona: It stays unchanged. Its own tools may lack their descriptions, if an MCP server or
            a Python function has them.
        session_tools: None for a persona without tools.
    """
    return persona if session_tools is None else _with_session(persona, tools=session_tools)


def _with_session(persona: Persona, **fields: Any) -> Persona:
    return persona.model_copy(update={"session": {**persona.session, **fields}})


def session_query(persona: Persona) -> dict[str, str]:
    """Return the query of the URL at which an upstream opens a session of a persona."""
    return {"intent": TRANSCRIPTION} if persona.transcribes else {"model": persona.model}


def session_to_send(session: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``session`` of the ``session.update`` for an upstream.

    Its first key is ``type``. It is a deep copy without ``model``, which is in the URL, and
    without the ``run`` of a tool, which is not part of the API.
    """
    to_send = {"type": "realtime", **deepcopy(dict(session))}
    to_send.pop("model", None)
    tools = to_send.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict):
            tool.pop("run", None)
    return to_send
