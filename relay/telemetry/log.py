"""Structured logs: JSON lines on stderr, or a readable form on a terminal.

Event names are ``noun.past_verb``; every variable is a field. The relay never logs audio, prompts,
transcripts and query strings. As a second line of defence, text that looks like a key is masked.
"""

import logging
import re
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import structlog
from aiohttp.http_exceptions import HttpProcessingError
from structlog.typing import FilteringBoundLogger as Logger

from relay.telemetry.log_stream import LogStream

MAX_FIELD_CHARS = 1_000
_KEY = re.compile(
    r"\b(?:sk|ek|rk)[-_][\w*.\-]{4,}|(?<=earer )[^\s,'\"]+|openai-insecure-api-key\.[^\s,'\"]+"
)


def create(stream: TextIO | LogStream, form: str = "auto") -> Logger:
    """Return the logger that is passed to all parts of the relay.

    ``form`` is ``json``, ``console``, or ``auto``: console on a terminal.
    """
    console = form == "console" or (form == "auto" and stream.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty())
        if console
        else structlog.processors.JSONRenderer()
    )
    logger: Logger = structlog.wrap_logger(
        structlog.WriteLogger(cast(TextIO, stream)),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            mask,
            _event_first,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        context_class=dict,
    )
    return logger


def mask(
    _logger: object, _method: str, fields: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Mask text that looks like a key, and cut text that is too long for a line."""
    for name, value in fields.items():
        fields[name] = _masked(value, None if name == "exception" else MAX_FIELD_CHARS)
    return fields


def _masked(value: Any, max_chars: int | None) -> Any:
    match value:
        case str():
            return _KEY.sub("***", value)[:max_chars]
        case list() | tuple():
            return [_masked(item, max_chars) for item in value]
        case dict():
            return {name: _masked(item, max_chars) for name, item in value.items()}
        case _:
            return value


def _event_first(
    _logger: object, _method: str, fields: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Put the time, the level and the event first in a line."""
    first = {name: fields.pop(name) for name in ("timestamp", "level", "event")}
    return {**first, **fields}


class _LibraryHandler(logging.Handler):
    """Passes the records of libraries to our logger, so that they are masked and in one form."""

    def __init__(self, log: Logger) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info and record.exc_info[1]
        if isinstance(error, HttpProcessingError):
            # Its message quotes the malformed line, which may contain a key.
            self._log.info("request.malformed", error=type(error).__name__)
            return
        self._log.log(
            record.levelno,
            "library.logged",
            logger=record.name,
            message=record.getMessage(),
            exc_info=record.exc_info,
        )


def adopt_libraries(log: Logger) -> None:
    """Pass the warnings and errors of libraries to our logger."""
    logging.basicConfig(handlers=[_LibraryHandler(log)], level=logging.WARNING, force=True)
    # This logger warns with the list of the client's subprotocols, and one of them may be a key.
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)
