"""The cost of a report, and the choice of its price."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.pricing import MICRO_DOLLAR, RATES, Price, Prices, micros, usd
from relay.core.tokens import TOKEN_KINDS, Tokens

DAY = date(2026, 11, 1)
REALTIME = Price(
    "gpt-realtime-2.1",
    date(2026, 7, 1),
    {
        "input_text": Decimal(4),
        "cached_text": Decimal("0.40"),
        "output_text": Decimal(24),
        "input_audio": Decimal(32),
        "cached_audio": Decimal("0.40"),
        "output_audio": Decimal(64),
        "input_image": Decimal(5),
        "cached_image": Decimal("0.50"),
    },
)
BY_THE_MINUTE = Price("gpt-transcribe", date(2026, 7, 1), {}, Decimal("0.0045"))
PRICES = Prices((REALTIME, BY_THE_MINUTE))

counts = st.integers(0, 10**9)
usages = st.builds(Tokens, *(counts for _ in TOKEN_KINDS))
rates = st.decimals("0", "1000", places=4)


def cost(model: str, tokens: Tokens, seconds: float = 0) -> Decimal | None:
    price = PRICES.of(model, DAY)
    return None if price is None else price.cost(tokens, seconds)


def test_each_kind_has_its_price() -> None:
    """The example of the API's reference, by hand.

    132 in: 119 of text (64 of them cached) and 13 of audio; 121 out: 30 of text, 91 of audio.

        55 * 4 + 64 * 0.40 + 13 * 32 + 30 * 24 + 91 * 64 = 220 + 25.6 + 416 + 720 + 5824 = 7205.6
    """
    tokens = Tokens(input_text=55, cached_text=64, input_audio=13, output_text=30, output_audio=91)

    assert cost("gpt-realtime-2.1", tokens) == Decimal("0.007206")


def test_a_cost_is_rounded_once_and_half_to_even() -> None:
    half = Price("m", DAY, {"input_text": Decimal("0.5"), "output_text": Decimal("0.5")})

    assert half.cost(Tokens(input_text=1)) == Decimal("0.000000")
    assert half.cost(Tokens(input_text=3)) == Decimal("0.000002")
    assert half.cost(Tokens(input_text=1, output_text=1)) == Decimal("0.000001")


def test_time_is_priced_by_the_minute() -> None:
    assert cost("gpt-transcribe", Tokens(), 90) == Decimal("0.006750")
    assert cost("gpt-transcribe", Tokens(), 0.1) == Decimal("0.000008")  # 7.5 to even


def test_a_transcription_by_tokens_has_the_audio_and_text_prices_of_its_own_model() -> None:
    row = Price("t", DAY, {"input_audio": Decimal(6), "output_text": Decimal(10)})

    tokens = Tokens(transcription_input=1000, transcription_output=100)

    assert row.cost(tokens) == Decimal("0.007000")


@pytest.mark.parametrize(
    ("rates", "text_tokens", "cost"),
    [
        ({"input_text": Decimal(2)}, 0, "0.006000"),
        ({"input_text": Decimal(2)}, 250, "0.005000"),
        ({"input_text": Decimal(2)}, 9999, "0.002000"),
        ({}, 250, "0.006000"),  # without a price for text, it is not free
    ],
)
def test_the_text_that_a_transcription_reads_has_the_price_of_text(
    rates: dict[str, Decimal], text_tokens: int, cost: str
) -> None:
    row = Price("t", DAY, {"input_audio": Decimal(6), **rates})
    tokens = Tokens(transcription_input=1000)

    assert row.cost(tokens, text_tokens=text_tokens) == Decimal(cost)


@pytest.mark.parametrize(
    ("model", "tokens", "seconds"),
    [
        ("gpt-unheard-of", Tokens(input_text=1), 0),
        ("gpt-transcribe", Tokens(transcription_input=1), 0),
        ("gpt-transcribe", Tokens(transcription_input=1), 1),
        ("gpt-realtime-2.1", Tokens(), 1),
    ],
)
def test_usage_without_a_price_has_no_cost(model: str, tokens: Tokens, seconds: float) -> None:
    """The cost is not zero: that would be a guess."""
    assert cost(model, tokens, seconds) is None


def test_no_usage_of_a_model_with_a_price_costs_zero() -> None:
    assert cost("gpt-realtime-2.1", Tokens()) == 0
    assert cost("gpt-unheard-of", Tokens()) is None


def test_the_latest_row_of_the_past_counts() -> None:
    rows = [replace(REALTIME, since=date(2026, month, 15)) for month in (3, 9, 6)]

    def since(day: date) -> date | None:
        row = Prices(tuple(rows)).of("gpt-realtime-2.1", day)
        return None if row is None else row.since

    assert since(date(2026, 3, 14)) is None
    assert since(date(2026, 6, 14)) == date(2026, 3, 15)
    assert since(date(2026, 6, 15)) == date(2026, 6, 15)
    assert since(date(2027, 1, 1)) == date(2026, 9, 15)


def test_a_name_takes_precedence_over_patterns_and_longer_patterns_over_shorter() -> None:
    """Also if the patterns are newer: a row for all models does not hide the exact rows."""
    models = ["*", "gpt-*", "gpt-realtime", "gpt-realtime*", "gpt-realtime-2.1[a-z]"]
    prices = Prices(
        tuple(Price(m, date(2026, 12 - at, 1), {}) for at, m in enumerate(reversed(models)))
    )

    def chosen(model: str) -> str | None:
        row = prices.of(model, date(2027, 1, 1))
        return None if row is None else row.model

    assert chosen("gpt-realtime") == "gpt-realtime"
    assert chosen("gpt-realtime-2") == "gpt-realtime*"
    assert chosen("gpt-realtime-2.1b") == "gpt-realtime-2.1[a-z]"
    assert chosen("gpt-4o") == "gpt-*"
    assert chosen("llama") == "*"
    assert chosen("GPT-realtime") == "*"


def test_models_without_a_price_are_named_once() -> None:
    models = ["x", "gpt-realtime-2.1", "a", "x"]

    assert PRICES.unpriced(models, DAY) == ("a", "x")
    assert PRICES.unpriced(models, date(2026, 1, 1)) == ("a", "gpt-realtime-2.1", "x")


@given(usages, st.fixed_dictionaries(dict.fromkeys(RATES, rates)))
def test_a_cost_is_the_exact_sum_of_its_kinds(
    tokens: Tokens, usd_per_million: dict[str, Decimal]
) -> None:
    """Checked in integers: a price with four places is a number of ten-thousandths."""
    row = Price("m", DAY, usd_per_million)
    rate_of = {"transcription_input": "input_audio", "transcription_output": "output_text"}

    exact = sum(
        count * int(usd_per_million[rate_of.get(kind, kind)] * 10_000)
        for kind, count in tokens.by_kind().items()
    )
    whole, rest = divmod(exact, 10_000)
    rounded = whole + (rest > 5_000 or (rest == 5_000 and whole % 2 == 1))

    result = row.cost(tokens)
    assert result is not None
    assert micros(result) == rounded
    assert result.as_tuple().exponent == -6


@given(usages, usages)
def test_the_cost_of_two_reports_is_that_of_their_sum_except_for_rounding(
    one: Tokens, two: Tokens
) -> None:
    apart = [REALTIME.cost(tokens) for tokens in (one, two)]
    together = REALTIME.cost(one + two)

    assert together is not None
    assert abs(sum(c for c in apart if c is not None) - together) <= MICRO_DOLLAR * 3 / 2


@given(st.integers(0, 10**15))
def test_micro_dollars_and_dollars_are_the_same(amount: int) -> None:
    assert micros(usd(amount)) == amount
    assert f"{usd(amount):f}" == f"{amount // 10**6}.{amount % 10**6:06}"


def test_a_price_list_names_models_and_those_that_transcribe() -> None:
    speaks = Price("speaks", DAY, dict.fromkeys(RATES, Decimal(1)))
    by_time = Price("by-time-*", DAY, {}, Decimal(1))
    by_token = Price("by-token", DAY, {"input_audio": Decimal(1), "output_text": Decimal(1)})
    writes = Price("writes", DAY, {"input_text": Decimal(1), "output_text": Decimal(1)})

    assert Prices((speaks, by_time, writes)).names == {"speaks", "writes"}
    assert [row.transcribes for row in (speaks, by_time, by_token, writes)] == [
        *(False, True, True, False)
    ]
    assert Prices((speaks, by_token)).can_price_transcriptions(DAY)
    assert not Prices((speaks, writes)).can_price_transcriptions(DAY)
    assert not Prices((by_time,)).can_price_transcriptions(date(2000, 1, 1))


def test_a_charge_is_never_zero_if_a_kind_has_no_price() -> None:
    row = Price("m", DAY, {"input_text": Decimal(4), "output_audio": Decimal(64)})

    assert row.cost(Tokens(input_image=1000, input_text=1000)) is None
    assert row.charge(Tokens(input_image=1000, input_text=1000)) == Decimal("0.068000")
    assert Price("m", DAY, {}, Decimal(1)).charge(Tokens(input_text=1000)) == 0
