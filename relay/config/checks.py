"""Checks that a section cannot make alone: across sections, across files, against the API."""

import re
from collections.abc import Collection, Iterator
from datetime import date
from typing import Any

from relay.config import schema
from relay.config.limits import ClientLimits, PersonaLimits, UserLimits
from relay.config.models import Config, check_listen
from relay.config.persona import TRANSCRIPTION, session_to_send
from relay.config.sources import Sources, Values
from relay.core.variables import undeclared
from relay.tools.config import tool_problems
from relay.yaml.source import Document, KeyPath, Problem, dotted

BUDGET_KEYS = ("usd_per_session", "usd_per_day")

OPENS_TRANSCRIBER = frozenset(
    {"audio", "audio.input", "audio.input.transcription", "audio.input.transcription.model"}
)
"""Fields that let a client set the transcription model."""

CONVERSATION_KEYS: tuple[KeyPath, ...] = (
    ("variables",),
    ("greeting",),
    ("client", "events"),
    ("client", "response"),
    ("demo",),
)
"""Keys of a persona that answers; a persona that only transcribes may not have them."""


def reserved_key_problems(sources: Sources) -> Iterator[Problem]:
    """Find keys that the models have and that a file may not have."""
    for path, document in sources.documents():
        reserved = "name" if path else "file"
        if reserved in document.value:
            yield document.problem((reserved,), "unknown key")


def shared_key_problems(config: Config, root: Document[Values]) -> Iterator[Problem]:
    """Find clients with the same key: the relay could not distinguish them."""
    owners: dict[str, str] = {}
    for name, client in config.clients.items():
        for digest in client.key_sha256:
            if owners.setdefault(digest, name) != name:
                message = f"has a key of clients.{owners[digest]}: give each client its own"
                yield root.problem(("clients", name), message)


def budget_problems(config: Config, today: date) -> Iterator[Problem]:
    """Find budgets for a model without a price: they would never take effect."""
    for path, names in _budgets(config):
        models = {model for name in names for model in config.personas[name].models}
        if unpriced := config.prices.unpriced(models, today):
            message = f"needs a price in {config.usage.prices.name} for {', '.join(unpriced)}"
            yield config.problem(path, message)


def opened_model_problems(config: Config, today: date) -> Iterator[Problem]:
    """Find personas whose clients may set the transcription model, if no such model has a price.

    The relay would refuse each model that a client sets.
    """
    if config.prices.can_price_transcriptions(today):
        return
    for name, persona in config.personas.items():
        for index, field in enumerate(persona.client.session):
            if field in OPENS_TRANSCRIBER:
                message = (
                    f"opens the transcription model: {config.usage.prices.name} needs a price for "
                    "a model that transcribes"
                )
                yield config.problem(("personas", name, "client", "session", index), message)


def _budgets(config: Config) -> Iterator[tuple[KeyPath, Collection[str]]]:
    """Yield the path of each budget, and the personas whose sessions draw on it."""
    for name, client in config.clients.items():
        for key in _set_budgets(client.limits):
            yield ("clients", name, "limits", key), client.personas or tuple(config.personas)
    for name, persona in config.personas.items():
        for key in _set_budgets(persona.limits):
            yield ("personas", name, "limits", key), (name,)
    for key in _set_budgets(config.limits.user):
        yield ("limits", "user", key), tuple(config.personas)


def _set_budgets(limits: ClientLimits | PersonaLimits | UserLimits) -> list[str]:
    return [key for key in BUDGET_KEYS if getattr(limits, key, None) is not None]


def public_anonymous_problems(root: Document[Values]) -> list[Problem]:
    """Find an anonymous relay at an address that other machines can reach."""
    host = root.at("server", "host")
    if root.at("clients") or not isinstance(host, str):
        return []
    message = check_listen(host)
    return [root.problem(("server", "host"), message)] if message else []


def persona_problems(persona: Document[Values], root: Document[Values]) -> Iterator[Problem]:
    """Find the errors in the session of a persona, and variables without a declaration."""
    yield from _session_problems(persona, _extra_fields(persona, root))
    yield from _variable_problems(persona)


def extra_fields_of(upstream: Any, root: Document[Values]) -> frozenset[str]:
    """Return the ``extra_session_fields`` of an upstream, also if its section is invalid."""
    fields = root.at("upstreams", upstream, "extra_session_fields")
    listed = fields if isinstance(fields, list) else []
    return frozenset(field for field in listed if isinstance(field, str))


def _extra_fields(persona: Document[Values], root: Document[Values]) -> frozenset[str]:
    """Return the fields that every upstream of a persona accepts in addition to the API's."""
    upstreams = persona.at("upstream")
    names = upstreams if isinstance(upstreams, list) else [upstreams]
    fields = [extra_fields_of(name, root) for name in names]
    return frozenset.intersection(*fields) if fields else frozenset()


def _session_problems(persona: Document[Values], extra_fields: frozenset[str]) -> Iterator[Problem]:
    """Find values that the upstream would refuse, and gaps that it would fill with a default."""
    session = persona.at("session")
    if not isinstance(session, dict):
        return
    if session.get("type") == TRANSCRIPTION:
        yield from _transcription_problems(persona)
        yield from _opened_field_problems(persona, schema.transcription_fields() | extra_fields)
    else:
        yield from _conversation_problems(persona)
    for problem in schema.session_problems(session_to_send(session), extra_fields):
        yield persona.problem(("session", *problem.path), problem.message)


def _conversation_problems(persona: Document[Values]) -> Iterator[Problem]:
    session = persona.at("session")
    model = session.get("model")
    if not isinstance(model, str) or not re.fullmatch(r"[\x21-\x7e]+", model):
        yield persona.problem(("session", "model"), "is required: the name of a Realtime model")
    if session.get("instructions") is None and session.get("prompt") is None:
        message = 'is required: without it the upstream uses its own prompt ("" means no prompt)'
        yield persona.problem(("session", "instructions"), message)
    for path, message in tool_problems(session):
        yield persona.problem(("session", *path), message)


def _transcription_problems(persona: Document[Values]) -> Iterator[Problem]:
    """Find a missing transcription model, and keys that only a persona that answers can have."""
    path = ("session", "audio", "input", "transcription", "model")
    if not persona.at(*path):
        yield persona.problem(path, "is required: the name of a model that transcribes")
    if persona.at("session", "model") is not None:
        message = "goes with another `type`: audio.input.transcription.model transcribes"
        yield persona.problem(("session", "model"), message)
    for key in filter(lambda key: persona.at(*key), CONVERSATION_KEYS):
        yield persona.problem(key, "goes with a persona that answers: this one only transcribes")


def _opened_field_problems(persona: Document[Values], fields: Collection[str]) -> Iterator[Problem]:
    """Find fields that are opened to clients and that the session does not have."""
    opened = persona.at("client", "session")
    for index, field in enumerate(opened if isinstance(opened, list) else ()):
        if field not in fields:
            message = "is not a field of a session that only transcribes"
            yield persona.problem(("client", "session", index), message)


def _variable_problems(persona: Document[Values]) -> Iterator[Problem]:
    """Find variables in the instructions that ``variables`` does not declare."""
    variables, instructions = persona.at("variables"), persona.at("session", "instructions")
    if not isinstance(instructions, str):
        return
    for place in undeclared(instructions, variables if isinstance(variables, dict) else ()):
        line = instructions.count("\n", 0, place.offset) + 1
        shown = f"{{{{ {dotted((place.name,))} }}}}"
        message = f"has {shown} on line {line} of the text: declare it under `variables`"
        yield persona.problem(("session", "instructions"), message)
