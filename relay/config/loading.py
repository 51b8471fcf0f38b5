"""Loads the configuration: relay.yaml, the personas and the price list.

`load` returns a frozen `Config`, or raises `InvalidConfig` with every problem that it found.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from relay.config import schema
from relay.config.checks import (
    budget_problems,
    extra_fields_of,
    opened_model_problems,
    persona_problems,
    public_anonymous_problems,
    reserved_key_problems,
    shared_key_problems,
)
from relay.config.models import Config, Usage
from relay.config.prices import load_prices
from relay.config.sources import Sources, Values
from relay.core.events import CLIENT_EVENTS
from relay.yaml.composer import MAPPING
from relay.yaml.reader import read
from relay.yaml.section import validation_problems
from relay.yaml.source import Document, Problem
from relay.yaml.value import Scope

FILE_SUFFIXES = frozenset({".yaml", ".yml"})
"""The suffixes of persona files."""

_PERSONA_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_PERSONA_NAME_MESSAGE = (
    "is no name for a persona: lower-case letters, digits, hyphens and underscores"
)


class InvalidConfig(Exception):
    """The relay cannot use the configuration.

    Attributes:
        problems: Every problem, in the order of files and lines.
    """

    def __init__(self, problems: Collection[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Load relay.yaml, its personas and its price list.

    Args:
        path: The path of relay.yaml.
        environ: The values of the references ``${NAME}``.

    Raises:
        InvalidConfig: With every problem of all files.
    """
    root = read(path, environ, MAPPING)
    personas, folder_problems = _read_personas(root, environ)
    sources = Sources(root, personas)
    causes = [problem for _, document in sources.documents() for problem in document.problems]
    causes += reserved_key_problems(sources)
    found = [*folder_problems, *public_anonymous_problems(root)]
    for document in personas.values():
        found += persona_problems(document, root)
    config: Config | None = None
    try:
        config = Config.model_validate(sources.values(), context=_scope(sources))
        config._sources = sources  # noqa: SLF001  # only `load` has it
        found += shared_key_problems(config, root)
        price_problems = _read_prices(config, environ)
        today = datetime.now(UTC).date()
        # Without the price list, every budget would be a problem too.
        found += price_problems or budget_problems(config, today)
        found += () if price_problems else opened_model_problems(config, today)
    except ValidationError as error:
        found += [sources.problem(*problem) for problem in validation_problems(error, Config)]
    problems = causes + [problem for problem in found if not _follows(problem, causes)]
    if problems or config is None:
        raise InvalidConfig(sorted(problems, key=lambda problem: _reading_order(problem, root)))
    return config


def load_usage(path: Path, environ: Mapping[str, str]) -> Usage:
    """Load only the section ``usage``; the keys of clients and upstreams may be missing.

    Raises:
        InvalidConfig: With every problem of this section, and of the YAML of the file.
    """
    root = read(path, environ, MAPPING)
    problems = [problem for problem in root.problems if _parts(problem)[:1] in ([], ["usage"])]
    scope = Scope(root.file.parent, {})
    try:
        usage = Usage.model_validate(root.value.get("usage", {}), context=scope)
    except ValidationError as error:
        problems += [
            root.problem(("usage", *where), message)
            for where, message in validation_problems(error, Usage)
        ]
        raise InvalidConfig(sorted(problems)) from None
    if problems:
        raise InvalidConfig(sorted(problems))
    return usage


def _read_prices(config: Config, environ: Mapping[str, str]) -> Sequence[Problem]:
    """Read the price list into the configuration; return its problems."""
    named = "prices" in config.usage.model_fields_set
    if not named and not config.usage.prices.exists():
        return ()
    config._prices, problems = load_prices(config.usage.prices, environ)  # noqa: SLF001
    return problems


def _read_personas(
    root: Document[Values], environ: Mapping[str, str]
) -> tuple[dict[str, Document[Values]], list[Problem]]:
    """Read every file of the personas' folder; return the problems of the folder."""
    folder = root.at("personas")
    if not isinstance(folder, str):
        return {}, [root.problem(("personas",), "must name the folder of the personas")]
    try:
        files = _persona_files(root.file.parent / folder)
    except OSError as error:
        return {}, [root.problem(("personas",), f"cannot be read: {error.strerror}")]
    if not files:
        return {}, [root.problem(("personas",), "has no persona in it: write a NAME.yaml there")]
    documents: dict[str, Document[Values]] = {}
    problems = []
    for file in files:
        if not _PERSONA_NAME.fullmatch(file.stem):
            problems.append(Problem(file, 1, "", _PERSONA_NAME_MESSAGE))
        if file.stem in documents:
            problems.append(Problem(file, 1, "", "has the name of another persona: rename it"))
        else:
            documents[file.stem] = read(file, environ, MAPPING)
    return documents, problems


def _persona_files(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix in FILE_SUFFIXES and not file.name.startswith(".")
    )


def _scope(sources: Sources) -> Scope:
    upstreams = sources.root.at("upstreams")
    names = upstreams if isinstance(upstreams, dict) else {}
    extra = {field for name in names for field in extra_fields_of(name, sources.root)}
    openable = (schema.session_fields() | extra) - {"model", "type"}
    known: dict[str, Collection[str]] = {
        "client event": CLIENT_EVENTS,
        "session field that can be opened": openable,
        "field of response.create": schema.response_fields(),
    }
    # Without any upstream, the missing upstreams are the problem, and not each use of a name.
    known |= {"upstream": names} if names else {}
    known |= {"persona": sources.personas} if sources.personas else {}
    return Scope(sources.root.file.parent, known)


def _follows(problem: Problem, causes: Collection[Problem]) -> bool:
    """Return whether a problem only follows from a cause at its own path or at a parent."""
    parts = _parts(problem)
    return any(
        problem.file == cause.file and parts[: len(_parts(cause))] == _parts(cause)
        for cause in causes
    )


def _parts(problem: Problem) -> list[str]:
    return re.findall(r"[^.\[\]]+", problem.key)


def _reading_order(problem: Problem, root: Document[Values]) -> tuple[bool, Problem]:
    return problem.file != root.file, problem
