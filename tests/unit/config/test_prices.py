"""Reading the price list, and the shipped list."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from paths import ROOT

from relay.config.prices import load_prices
from relay.core.pricing import Price, Prices

SHIPPED = ROOT / "config/prices.yaml"
ROW = "{model: m, from: 2026-07-01, usd_per_minute: 1}"


def load(folder: Path, text: str) -> tuple[Prices, list[str]]:
    """Return the prices of a list, and its problems without the folder."""
    file = folder / "prices.yaml"
    file.write_text(text)
    prices, problems = load_prices(file, {})
    return prices, [str(problem).removeprefix(f"{folder}/") for problem in problems]


def test_a_list_becomes_prices(tmp_path: Path) -> None:
    text = """# What it costs.
- model: gpt-realtime*
  from: 2026-07-01
  usd_per_million: {input_text: 4, cached_text: 0.40}
- model: gpt-transcribe
  from: "2026-08-01"
  usd_per_minute: 0.0045
"""

    prices, problems = load(tmp_path, text)

    assert problems == []
    assert prices.rows == (
        Price(
            "gpt-realtime*",
            date(2026, 7, 1),
            {"input_text": Decimal(4), "cached_text": Decimal("0.4")},
        ),
        Price("gpt-transcribe", date(2026, 8, 1), {}, Decimal("0.0045")),
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- model: m", "1: [0].from: is required"),
        ("\n- {model: m, from: 2026-02-30, usd_per_minute: 1}", "2: [0].from: must be a day"),
        ("- {model: m, from: 7, usd_per_minute: 1}", "1: [0].from: must be a day"),
        ("- {model: 7, from: 2026-07-01, usd_per_minute: 1}", "1: [0].model: must be text"),
        (
            "- model: m\n  from: 2026-07-01\n  usd_per_million: {input_txt: 1}",
            "3: [0].usd_per_million.input_txt: there is no such kind of token: did you mean",
        ),
        (
            "- model: m\n  from: 2026-07-01\n  usd_per_million:\n    input_text: -1",
            "4: [0].usd_per_million.input_text: must be greater than or equal to 0",
        ),
        ("- {model: m, from: 2026-07-01, usd_per_minute: true}", "1: [0].usd_per_minute: must"),
        ("- {model: m, from: 2026-07-01, usd_per_minute: free}", "1: [0].usd_per_minute: must"),
        ("- {model: m, from: 2026-07-01, usd_per_minute: .inf}", "1: [0].usd_per_minute: must"),
        (f"- {ROW}\n- {ROW[:-1]}, form: x}}", "2: [1].form: unknown key: did you mean from?"),
        ("- {model: m, from: 2026-07-01}", "1: [0]: must have either usd_per_million or"),
        (
            "- {model: m, from: 2026-07-01, usd_per_minute: 1, usd_per_million: {}}",
            "1: [0]: must have either usd_per_million or usd_per_minute",
        ),
        (f"- {ROW}\n- {ROW}", "2: [1]: has the model and the date of [0]"),
        ("", "1: is empty"),
        ("model: m", "1: must be a list"),
        ("prices:\n- model: m", "1: must be a list"),
        ("- m", "1: [0]: must be a mapping"),
        (f"- {ROW}\n- [", "2: is not valid YAML"),
        ("- model: m\n  model: n", "2: [0].model: is given twice: first on line 1"),
        (f"---\n[{ROW},\n{ROW}]", "3: [1]: has the model and the date of [0]: remove one of them"),
        ("---\n# comment\n- model: m", "3: [0].from: is required"),
        ("[{model: m,\n  from: 7, usd_per_minute: 1}]", "2: [0].from: must be a day"),
    ],
)
def test_a_problem_has_its_line(tmp_path: Path, text: str, problem: str) -> None:
    prices, problems = load(tmp_path, text)

    assert prices == Prices()
    assert len(problems) == 1
    assert problems[0].startswith(f"prices.yaml:{problem}")


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("[]", 0),
        ("--- []\n", 0),
        (f"[{ROW}]", 1),
        (f"[\n  {ROW},\n  {ROW.replace('07', '08')},\n]", 2),
        (f"---\n- {ROW}\n", 1),
        (f"%YAML 1.2\n---\n# comment\n- {ROW}\n...\n", 1),
    ],
)
def test_a_list_may_have_any_form_of_yaml(tmp_path: Path, text: str, rows: int) -> None:
    prices, problems = load(tmp_path, text)

    assert problems == []
    assert len(prices.rows) == rows


def test_each_repeated_row_is_a_problem(tmp_path: Path) -> None:
    _, problems = load(tmp_path, f"[{ROW},\n{ROW},\n{ROW}]")

    assert problems == [
        "prices.yaml:2: [1]: has the model and the date of [0]: remove one of them",
        "prices.yaml:3: [2]: has the model and the date of [0]: remove one of them",
    ]


def test_all_problems_are_found_in_the_order_of_lines(tmp_path: Path) -> None:
    text = "- model: m\n  from: never\n- model: n\n  from: 2026-07-01\n  usd_per_minute: x\n"

    _, problems = load(tmp_path, text)

    assert [problem.split(":")[1] for problem in problems] == ["2", "5"]


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"- model: caf\xe9\n")

    missing, not_utf8 = (load_prices(file, {})[1] for file in (tmp_path / "none.yaml", latin))

    assert str(missing[0]).endswith("none.yaml:1: cannot be read: No such file or directory")
    assert str(not_utf8[0]).endswith("latin.yaml:1: is not UTF-8: save it with that encoding")


@pytest.mark.parametrize(
    "model",
    [
        "gpt-realtime-2.1",
        "gpt-realtime-2.1-mini",
        "gpt-realtime-2",
        "gpt-realtime-1.5",
        "gpt-realtime",
        "gpt-realtime-2025-08-28",
        "gpt-realtime-mini",
        "gpt-realtime-mini-2025-12-15",
        "gpt-transcribe",
        "gpt-live-transcribe",
        "gpt-realtime-whisper",
    ],
)
def test_the_shipped_list_has_a_price_for_the_model(model: str) -> None:
    prices, problems = load_prices(SHIPPED, {})

    assert problems == ()
    assert prices.unpriced([model], date(2026, 7, 1)) == ()


def test_the_shipped_list_names_the_source_of_its_prices() -> None:
    assert "https://platform.openai.com/docs/pricing" in SHIPPED.read_text()


def test_the_demo_has_the_shipped_list() -> None:
    assert (ROOT / "relay/demo/prices.yaml").read_text() == SHIPPED.read_text()
