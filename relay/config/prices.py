"""Reads the price list: a YAML file with a list at its root."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, model_validator

from relay.core.pricing import RATES, Price, Prices
from relay.yaml.composer import LIST
from relay.yaml.reader import read
from relay.yaml.section import Section, validation_problems
from relay.yaml.source import Document, Problem
from relay.yaml.value import UsdRate, did_you_mean


def load_prices(file: Path, environ: Mapping[str, str]) -> tuple[Prices, tuple[Problem, ...]]:
    """Read a price list; the prices are empty if there are problems.

    Args:
        file: Each item of its list has a model, a first day and one of two units.
        environ: The values of the references ``${NAME}``.
    """
    document = read(file, environ, LIST)
    if document.problems:
        return Prices(), tuple(sorted(document.problems))
    try:
        rows = _ROWS.validate_python(document.value)
    except ValidationError as error:
        found = [document.problem(*problem) for problem in validation_problems(error, _Row)]
        return Prices(), tuple(sorted(found))
    if repeated := tuple(_repeated(rows, document)):
        return Prices(), repeated
    return Prices(tuple(row.price() for row in rows)), ()


def _repeated(rows: Sequence["_Row"], document: Document[list[Any]]) -> Iterator[Problem]:
    """Find rows with the model and the date of an earlier row."""
    seen: dict[tuple[str, date], int] = {}
    for index, row in enumerate(rows):
        first = seen.setdefault((row.model, row.since), index)
        if first != index:
            message = f"has the model and the date of [{first}]: remove one of them"
            yield document.problem((index,), message)


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
    """One item of the price list."""

    model: Annotated[str, Field(min_length=1)]
    since: Annotated[date, BeforeValidator(_day), Field(alias="from")]
    usd_per_million: Mapping[_Rate, UsdRate] | None = None
    usd_per_minute: UsdRate | None = None

    @model_validator(mode="after")
    def _has_one_unit(self) -> Self:
        """Keep the relay from charging a model by two units."""
        if (self.usd_per_million is None) == (self.usd_per_minute is None):
            raise ValueError("must have either usd_per_million or usd_per_minute")
        return self

    def price(self) -> Price:
        return Price(self.model, self.since, self.usd_per_million or {}, self.usd_per_minute)


_ROWS = TypeAdapter(list[_Row])
