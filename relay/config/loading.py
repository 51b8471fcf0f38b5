"""Reads relay.yaml, its personas and its prices; the only reader of YAML and the environment.

`load` either returns a `Config` that nothing can change, or raises `InvalidConfig` with every
problem that it found.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from relay.config import schema
from relay.config.models import TRANSCRIPTION, Config, Usage, check_listen, sent
from relay.config.prices import load_prices
from relay.core.events import CLIENT_EVENTS
from relay.core.variables import undeclared
from relay.tools.config import tool_problems
from relay.yaml.section import faults
from relay.yaml.source import Document, KeyPath, Problem, Sources, dotted, read
from relay.yaml.value import Scope

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


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Read relay.yaml and its personas.

    Raises:
        InvalidConfig: With every problem of all files.
    """
    root = read(path, environ)
    personas, misplaced = _read_personas(root, environ)
    sources = Sources(root, personas)
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


def _reserved(sources: Sources) -> Iterator[Problem]:
    """Find keys that the models have but a file may not write."""
    for prefix, document in sources.documents():
        given = "name" if prefix else "file"
        if given in document.value:
            yield document.problem((given,), "unknown key")


def _scope(sources: Sources) -> Scope:
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
    for fault in schema.session_faults(sent(session), extra_fields):
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
