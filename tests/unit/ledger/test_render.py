"""Formats of usage: a table and CSV; the tests of queries read JSON."""

import csv
import io
from pathlib import Path

from relay.core.tokens import TOKEN_KINDS
from relay.ledger.check import check_ledger
from relay.ledger.query import query_usage
from relay.ledger.render import FORMATS, as_csv, as_table
from relay.ledger.tables import connect


def test_csv_has_a_column_for_each_kind(recorded: Path) -> None:
    by = ("client", "day")

    rows = list(csv.DictReader(io.StringIO(as_csv(query_usage(recorded, by=by), by))))

    assert list(rows[0]) == [
        *("client", "day", "sessions", "responses", "seconds"),
        *("audio_seconds_in", "audio_seconds_out", *TOKEN_KINDS, "transcription_seconds"),
        *("cost_usd", "unpriced", "estimated", "unknown"),
    ]
    assert [row["cost_usd"] for row in rows] == ["0.002135", "0.000000", "", "0.000000"]
    assert [row["output_audio"] for row in rows] == ["40", "0", "20", "0"]


def test_a_table_omits_columns_without_usage(recorded: Path) -> None:
    table = as_table(query_usage(recorded, by=("client",)), ("client",))

    assert [line.split() for line in table.splitlines()] == [
        [
            *("client", "sessions", "responses", "seconds"),
            *("audio_seconds_in", "audio_seconds_out", "input_text", "output_audio"),
            *("transcription_seconds", "cost_usd", "unpriced", "estimated", "unknown"),
        ],
        ["kiosk", "2", "2", "60", "20", "30", "20", "40", "4.2", "0.002135", "0", "1", "0"],
        ["phone", "1", "2", "305.5", "20", "30", "10", "20", "0", "-", "1", "0", "1"],
    ]
    assert table.splitlines()[1].startswith("kiosk          2          2       60      ")


def test_an_empty_ledger_gives_an_empty_report(tmp_path: Path) -> None:
    file = tmp_path / "usage.db"
    connect(file, busy_seconds=1).close()

    assert {name: write([], ("day",)).count("\n") for name, write in FORMATS.items()} == {
        "table": 0,
        "json": 0,
        "csv": 0,
    }
    assert query_usage(file) == []
    assert str(check_ledger(file)) == "0 sessions, 0 open; 0 reports; no problems"
