"""What a report of usage costs: dated prices by model, in Decimal arithmetic.

A session has two models, the one that answers and the one that transcribes, so what is priced is
one report at a time, with the model that it is about. Its cost is the exact sum over its kinds,
rounded once, half to even, to the micro-dollar; a session's cost is the sum of those of its
reports, so no other order of adding gives another result.

Nothing is guessed: a report that has used something for which the row has no price costs None.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from fnmatch import fnmatchcase

from relay.core.metering import TOKEN_KINDS, Tokens

MICRO_DOLLAR = Decimal("0.000001")

RATE_OF: Mapping[str, str] = dict(zip(TOKEN_KINDS, TOKEN_KINDS, strict=True)) | {
    "transcription_input": "input_audio",
    "transcription_output": "output_text",
}
"""Which price of a row a kind of token has.

A transcription is priced by the row of its own model. What it takes in counts as audio: the API's
report need not say how much of it was the text of a prompt.
"""

RATES = tuple(dict.fromkeys(RATE_OF.values()))
"""What ``usd_per_million`` may name."""

_WILDCARDS = re.compile(r"\[.+?\]|[*?]")


@dataclass(frozen=True, slots=True)
class Price:
    """What the models of one name, or of one pattern of names, cost from one day on.

    Attributes:
        model: a name, or a pattern with ``*``, ``?`` or ``[...]``.
        since: the first day (UTC) on which it counts.
        usd_per_million: of tokens, by the names in `RATES`.
        usd_per_minute: of audio transcribed, where that is how the model is billed.
    """

    model: str
    since: date
    usd_per_million: Mapping[str, Decimal]
    usd_per_minute: Decimal | None = None

    def cost(self, tokens: Tokens, transcription_seconds: float = 0) -> Decimal | None:
        """Return what was used costs, in USD; None where a price is missing."""
        usd = self._cost_of_time(transcription_seconds)
        for kind, count in tokens.by_kind().items():
            rate = self.usd_per_million.get(RATE_OF[kind])
            if rate is None or usd is None:
                return None
            usd += (count * rate).scaleb(-6)
        return None if usd is None else usd.quantize(MICRO_DOLLAR, ROUND_HALF_EVEN)

    def _cost_of_time(self, seconds: float) -> Decimal | None:
        if not seconds:
            return Decimal(0)
        if self.usd_per_minute is None:
            return None
        # The digits that were reported, not those of the binary number nearest to them.
        return Decimal(str(seconds)) * self.usd_per_minute / 60

    @property
    def precedence(self) -> tuple[bool, int, date]:
        """What decides between rows that match: a name, then the longer pattern, then the day."""
        literal = _WILDCARDS.sub("", self.model)
        return literal == self.model, len(literal), self.since


@dataclass(frozen=True, slots=True)
class Prices:
    """A price list."""

    rows: tuple[Price, ...] = ()

    def of(self, model: str, on: date) -> Price | None:
        """Return the row that counts for a model on a day (UTC).

        A name wins over patterns, and of patterns the one with the most literal characters; of
        rows for the same, the latest that is not in the future.
        """
        rows = (r for r in self.rows if r.since <= on and fnmatchcase(model, r.model))
        return max(rows, key=lambda row: row.precedence, default=None)

    def cost(
        self, model: str, tokens: Tokens, transcription_seconds: float, on: date
    ) -> Decimal | None:
        """Return what one report costs, in USD to the micro-dollar; None without a price."""
        row = self.of(model, on)
        return None if row is None else row.cost(tokens, transcription_seconds)

    def unpriced(self, models: Iterable[str], on: date) -> tuple[str, ...]:
        """Return the models that have no price on a day, to warn of them."""
        return tuple(sorted(model for model in set(models) if self.of(model, on) is None))


def micros(usd: Decimal) -> int:
    """Return an amount in micro-dollars, which is how it is stored and added up."""
    return int(usd.quantize(MICRO_DOLLAR, ROUND_HALF_EVEN).scaleb(6))


def usd(amount_micros: int) -> Decimal:
    """Return an amount of micro-dollars in USD, with six decimals."""
    return Decimal(amount_micros).scaleb(-6).quantize(MICRO_DOLLAR)
