"""Reads the price list; what is wrong with it is told with its file and line.

The file is a list, and a document of `relay.source` is a mapping: it is read as what stands
beneath a key, on a line of its own before the first.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BeforeValidator,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from relay.core.pricing import RATES, Price, Prices
from relay.yaml.section import Section, faults
from relay.yaml.source import Document, Problem, parse
from relay.yaml.value import UsdRate, did_you_mean

_KEY = "the list"
_ABOVE = f"{_KEY}:\n"


def load_prices(file: Path, environ: Mapping[str, str]) -> tuple[Prices, tuple[Problem, ...]]:
    """Read a price list; where there are problems, the prices are empty."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        return Prices(), (Problem(file, 1, "", f"cannot be read: {error.strerror}"),)
    except UnicodeDecodeError:
        return Prices(), (Problem(file, 1, "", "is not UTF-8: save it with that encoding"),)
    document = parse(file, _ABOVE + text, environ)
    rows, problems = _rows(document)
    shown = tuple(sorted(map(_as_written, problems)))
    return (Prices() if shown else rows), shown


def _rows(document: Document) -> tuple[Prices, list[Problem]]:
    """Return the prices of a document that holds them beneath the key."""
    if document.problems:
        return Prices(), list(document.problems)
    if set(document.value) != {_KEY} or not isinstance(document.at(_KEY), list):
        return Prices(), [document.problem((), "must be a list: `- model: ...` for each price")]
    try:
        rows = _LIST.validate_python(document.at(_KEY))
    except ValidationError as error:
        return Prices(), [
            document.problem((_KEY, *path), said) for path, said in faults(error, _Row)
        ]
    return Prices(tuple(row.price() for row in rows)), list(_given_twice(rows, document))


def _given_twice(rows: list["_Row"], document: Document) -> Iterator[Problem]:
    seen: dict[tuple[str, date], int] = {}
    for number, row in enumerate(rows):
        first = seen.setdefault((row.model, row.since), number)
        if first != number:
            message = f"has the model and the date of [{first}]: remove one of them"
            yield document.problem((_KEY, number), message)


def _as_written(problem: Problem) -> Problem:
    """Return a problem with the line and the key that it has in the file itself."""
    message = re.sub(r"(?<=on line )\d+", lambda n: str(int(n[0]) - 1), problem.message)
    key = re.sub(r"^[^\[]*", "", problem.key)
    return replace(problem, line=max(1, problem.line - 1), key=key, message=message)


def _day(value: Any) -> date:
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError("must be a day: 2026-07-01") from None


def _rate(name: str) -> str:
    if name not in RATES:
        raise ValueError(f"there is no such kind of token{did_you_mean(name, RATES)}")
    return name


_Rate = Annotated[str, BeforeValidator(_rate)]


class _Row(Section):
    """A row of the list as it is written."""

    model: Annotated[str, Field(min_length=1)]
    since: Annotated[date, BeforeValidator(_day), Field(alias="from")]
    usd_per_million: Mapping[_Rate, UsdRate] | None = None
    usd_per_minute: UsdRate | None = None

    @model_validator(mode="after")
    def _has_one_unit(self) -> Self:
        """Keep a model from being billed by two units at once."""
        if (self.usd_per_million is None) == (self.usd_per_minute is None):
            raise ValueError("must have either usd_per_million or usd_per_minute")
        return self

    def price(self) -> Price:
        return Price(self.model, self.since, self.usd_per_million or {}, self.usd_per_minute)


_LIST = TypeAdapter(list[_Row])
