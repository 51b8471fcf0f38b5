"""The cost of a report of usage: dated prices by model, in Decimal arithmetic.

A session has two models: one answers and one transcribes. So each report is priced on its own, with
the model that it reports on. Its cost is the exact sum over the kinds of tokens, rounded once, half
to even, to the micro-dollar. The cost of a session is the sum of the costs of its reports, so the
order of addition does not matter.

No price is guessed: if the row has no price for a kind that a report used, the cost is None.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from fnmatch import fnmatchcase

from relay.core.tokens import TOKEN_KINDS, Tokens

MICRO_DOLLAR = Decimal("0.000001")

RATE_OF: Mapping[str, str] = dict(zip(TOKEN_KINDS, TOKEN_KINDS, strict=True)) | {
    "transcription_input": "input_audio",
    "transcription_output": "output_text",
}
"""The price in a row for each kind of token.

A transcription has the prices of its own model. Its input counts as audio, except for the text that
the upstream reports on its own.
"""

RATES = tuple(dict.fromkeys(RATE_OF.values()))
"""The names of prices in ``usd_per_million``."""

_WILDCARDS = re.compile(r"\[.+?\]|[*?]")


@dataclass(frozen=True, slots=True)
class Price:
    """The prices of a model, or of the models that match a pattern, from one day on.

    Attributes:
        model: a name, or a pattern with ``*``, ``?`` or ``[...]``.
        since: the first day (UTC) of these prices.
        usd_per_million: the price of a million tokens, by the names in `RATES`.
        usd_per_minute: the price of a minute of transcribed audio, if the model is billed by time.
    """

    model: str
    since: date
    usd_per_million: Mapping[str, Decimal]
    usd_per_minute: Decimal | None = None

    def cost(
        self, tokens: Tokens, transcription_seconds: float = 0, text_tokens: int = 0
    ) -> Decimal | None:
        """Return the cost of usage in USD; None if a price is missing.

        ``text_tokens`` of the ``transcription_input`` are text. Without a price for text they have
        that of audio.
        """
        usd = self._cost_of_time(transcription_seconds)
        text_tokens = min(text_tokens, tokens.transcription_input)
        if text_tokens and "input_text" in self.usd_per_million:
            audio_tokens = tokens.transcription_input - text_tokens
            tokens += Tokens(transcription_input=audio_tokens - tokens.transcription_input)
            tokens += Tokens(input_text=text_tokens)
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
        # By way of str, which keeps the reported digits; Decimal(seconds) has those of the float.
        return Decimal(str(seconds)) * self.usd_per_minute / 60

    def charge(self, tokens: Tokens) -> Decimal:
        """Return the most that tokens cost: a kind without a price has the highest of the row."""
        highest = max(self.usd_per_million.values(), default=Decimal(0))
        rates = {rate: self.usd_per_million.get(rate, highest) for rate in RATES}
        cost = replace(self, usd_per_million=rates).cost(tokens)
        return cost or Decimal(0)

    @property
    def transcribes(self) -> bool:
        """Whether these are prices of a model that transcribes, and not of one that speaks."""
        if self.usd_per_minute is not None:
            return True
        rates = self.usd_per_million
        return "input_audio" in rates and "output_text" in rates and "output_audio" not in rates

    @property
    def is_pattern(self) -> bool:
        """Whether the row is for all models that match a pattern."""
        return _WILDCARDS.search(self.model) is not None

    @property
    def precedence(self) -> tuple[bool, int, date]:
        """The sort key of rows that match: a name first, then the longer pattern, then the day."""
        literal = _WILDCARDS.sub("", self.model)
        return literal == self.model, len(literal), self.since


@dataclass(frozen=True, slots=True)
class Prices:
    """A price list."""

    rows: tuple[Price, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """The names of models in the list, without the patterns."""
        return frozenset(row.model for row in self.rows if not row.is_pattern)

    def can_price_transcriptions(self, on: date) -> bool:
        """Return whether a model that transcribes has a price on a day."""
        return any(row.transcribes and row.since <= on for row in self.rows)

    def of(self, model: str, on: date) -> Price | None:
        """Return the row for a model on a day (UTC); None without a row.

        A name takes precedence over a pattern, and a pattern with more literal characters over one
        with fewer. Of the rows for the same name or pattern, the latest of the past applies.
        """
        rows = (r for r in self.rows if r.since <= on and fnmatchcase(model, r.model))
        return max(rows, key=lambda row: row.precedence, default=None)

    def unpriced(self, models: Iterable[str], on: date) -> tuple[str, ...]:
        """Return the models without a price on a day, each once, sorted."""
        return tuple(sorted(model for model in set(models) if self.of(model, on) is None))


def micros(usd: Decimal) -> int:
    """Return an amount in micro-dollars, the unit in which amounts are stored and added up."""
    return int(usd.quantize(MICRO_DOLLAR, ROUND_HALF_EVEN).scaleb(6))


def usd(amount_micros: int) -> Decimal:
    """Return an amount of micro-dollars in USD, with six decimals."""
    return Decimal(amount_micros).scaleb(-6).quantize(MICRO_DOLLAR)
