"""Formats of ``relay usage``: a table, JSON, CSV."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from relay.core.pricing import usd
from relay.core.tokens import TOKEN_KINDS
from relay.ledger.query import GroupUsage


def as_json(usages: Sequence[GroupUsage]) -> str:
    """Return usage as a JSON list of objects."""
    return json.dumps([_object(usage) for usage in usages], indent=2)


def as_csv(usages: Sequence[GroupUsage], by: Sequence[str]) -> str:
    """Return usage as CSV, with a column per kind of token; a cost without a price is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_columns(by))
    writer.writerows(_cells(usage) for usage in usages)
    return text.getvalue().rstrip("\n")


def as_table(usages: Sequence[GroupUsage], by: Sequence[str]) -> str:
    """Return usage as a table for readers; it omits kinds of tokens without any use."""
    table = [_columns(by), *([_shown(cell) for cell in _cells(usage)] for usage in usages)]
    used = [
        number
        for number, name in enumerate(table[0])
        if name not in _OMITTED_WHEN_UNUSED or any(row[number] != "0" for row in table[1:])
    ]
    widths = [max(len(row[number]) for row in table) for number in used]
    words = len(by)
    return "\n".join(
        "  ".join(
            row[number].ljust(width) if number < words else row[number].rjust(width)
            for number, width in zip(used, widths, strict=True)
        ).rstrip()
        for row in table
    )


_OMITTED_WHEN_UNUSED = frozenset({*TOKEN_KINDS, "transcription_seconds", "unpriced"})

FORMATS: Mapping[str, Callable[[Sequence[GroupUsage], Sequence[str]], str]] = {
    "table": as_table,
    "json": lambda usages, _by: as_json(usages),
    "csv": as_csv,
}
"""The values of ``--format``, each with its function."""


def _object(usage: GroupUsage) -> dict[str, Any]:
    """Return usage as an object of ``relay usage --format json``."""
    cost = usage.cost_usd_micros
    return {
        **usage.group,
        "sessions": usage.sessions,
        "responses": usage.responses,
        "seconds": usage.seconds,
        "audio_seconds_in": usage.audio_seconds_in,
        "audio_seconds_out": usage.audio_seconds_out,
        "tokens": dict(usage.tokens),
        "transcription_seconds": usage.transcription_seconds,
        "cost_usd": None if cost is None else str(usd(cost)),
        "unpriced": usage.unpriced,
        "estimated": usage.estimated,
        "unknown": usage.unknown,
    }


def _columns(by: Sequence[str]) -> list[str]:
    before = ("sessions", "responses", "seconds", "audio_seconds_in", "audio_seconds_out")
    after = ("transcription_seconds", "cost_usd", "unpriced", "estimated", "unknown")
    return [*by, *before, *TOKEN_KINDS, *after]


def _cells(usage: GroupUsage) -> list[Any]:
    cells = _object(usage)
    cells |= cells.pop("tokens")
    return [cells[name] for name in _columns(tuple(usage.group))]


def _shown(cell: Any) -> str:
    match cell:
        case None:
            return "-"
        case float():
            return f"{cell:.1f}".removesuffix(".0")
        case _:
            return str(cell)
