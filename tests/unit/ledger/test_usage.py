"""Reading the books: sums by group, in each format; the proof of them; and forgetting."""

import csv
import io
import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledgers import NOON, end, locked, opened, report, session

from relay.core.metering import TOKEN_KINDS, Tokens
from relay.ledger import books, usage
from relay.ledger.books import Entry, LedgerUnusable

MIDNIGHT = datetime(2026, 11, 2, tzinfo=UTC)
COPIED = f"""session_id, 'copy', number, kind, model, status, reported_at,
    {", ".join(TOKEN_KINDS)}, transcription_microseconds, cost_usd_micros, estimated, unknown"""


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """Books of two clients with two personas, one of them over midnight."""
    file = tmp_path / "usage.db"
    async with opened(file) as ledger:
        await ledger.session_started(session("one"))
        await ledger.used(report("one", "a"))
        await ledger.used(report("one", "b", estimated=True, cost_usd_micros=500))
        await ledger.used(
            report(
                "one",
                "item",
                kind="transcription",
                model="gpt-transcribe",
                tokens=Tokens(),
                transcription_seconds=4.2,
                cost_usd_micros=315,
            )
        )
        await ledger.session_ended(end("one"))
        late = MIDNIGHT - timedelta(minutes=5)
        await ledger.session_started(
            session("two", client="phone", persona="guide", started_at=late)
        )
        await ledger.used(report("two", "c", reported_at=late, cost_usd_micros=None))
        await ledger.used(
            report(
                "two",
                "d",
                reported_at=MIDNIGHT,
                unknown=True,
                tokens=Tokens(),
                cost_usd_micros=None,
            )
        )
        await ledger.session_ended(end("two", ended_at=MIDNIGHT, seconds=305.5))
        await ledger.session_started(session("three", started_at=MIDNIGHT))
    return file


def as_objects(file: Path, *by: str, **period: datetime) -> list[dict[str, Any]]:
    objects: list[dict[str, Any]] = json.loads(usage.as_json(usage.query(file, by=by, **period)))
    return objects


def brief(file: Path, *by: str, **period: datetime) -> list[tuple[Any, ...]]:
    """Return the group, sessions, responses, seconds and cost of each row."""
    keys = (*by, "sessions", "responses", "seconds", "cost_usd")
    return [tuple(row[key] for key in keys) for row in as_objects(file, *by, **period)]


def test_a_row_has_all_that_was_used(file: Path) -> None:
    assert as_objects(file, "persona")[0] == {
        "persona": "clerk",
        "sessions": 2,
        "responses": 2,
        "seconds": 60.0,
        "audio_seconds_in": 20.0,
        "audio_seconds_out": 30.0,
        "tokens": dict.fromkeys(TOKEN_KINDS, 0) | {"input_text": 20, "output_audio": 40},
        "transcription_seconds": 4.2,
        "cost_usd": "0.002135",
        "unpriced": 0,
        "estimated": 1,
        "unknown": 0,
    }


def test_usage_is_grouped_by_what_is_asked(file: Path) -> None:
    assert brief(file, "client") == [
        ("kiosk", 2, 2, 60.0, "0.002135"),
        ("phone", 1, 2, 305.5, None),
    ]
    assert brief(file, "session") == [
        ("one", 1, 2, 60.0, "0.002135"),
        ("three", 1, 0, 0.0, "0.000000"),
        ("two", 1, 2, 305.5, None),
    ]
    assert brief(file, "persona", "day") == [
        ("clerk", "2026-11-01", 1, 2, 60.0, "0.002135"),
        ("clerk", "2026-11-02", 1, 0, 0.0, "0.000000"),
        ("guide", "2026-11-01", 1, 1, 305.5, None),
        ("guide", "2026-11-02", 0, 1, 0.0, "0.000000"),
    ]


def test_a_transcription_counts_under_its_own_model(file: Path) -> None:
    assert brief(file, "model") == [
        ("gpt-realtime-2.1", 3, 4, 365.5, "0.001820"),
        ("gpt-transcribe", 0, 0, 0.0, "0.000315"),
    ]


def test_without_a_grouping_there_is_one_row(file: Path) -> None:
    assert brief(file) == [(3, 4, 365.5, "0.002135")]


def test_what_has_no_price_has_no_cost_and_is_counted(file: Path) -> None:
    """Where only a part has none, the cost is that of the rest, and a number says so."""
    guide = as_objects(file, "persona")[1]
    everything = as_objects(file)[0]

    assert (guide["cost_usd"], guide["unpriced"], guide["unknown"]) == (None, 1, 1)
    assert (everything["cost_usd"], everything["unpriced"]) == ("0.002135", 1)


def test_a_session_over_midnight_is_used_on_both_days_and_counted_on_the_first(file: Path) -> None:
    assert brief(file, until=MIDNIGHT) == [(2, 3, 365.5, "0.002135")]
    assert brief(file, since=MIDNIGHT) == [(1, 1, 0.0, "0.000000")]
    assert brief(file, "client", since=MIDNIGHT + timedelta(days=1)) == []
    assert brief(file, since=MIDNIGHT + timedelta(days=1)) == []


def test_csv_has_a_column_for_each_kind(file: Path) -> None:
    by = ("client", "day")

    rows = list(csv.DictReader(io.StringIO(usage.as_csv(usage.query(file, by=by), by))))

    assert list(rows[0]) == [
        *("client", "day", "sessions", "responses", "seconds"),
        *("audio_seconds_in", "audio_seconds_out", *TOKEN_KINDS, "transcription_seconds"),
        *("cost_usd", "unpriced", "estimated", "unknown"),
    ]
    assert [row["cost_usd"] for row in rows] == ["0.002135", "0.000000", "", "0.000000"]
    assert [row["output_audio"] for row in rows] == ["40", "0", "20", "0"]


def test_a_table_leaves_out_what_nobody_used(file: Path) -> None:
    table = usage.as_table(usage.query(file, by=("client",)), ("client",))

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


def test_books_without_anything_in_them_make_an_empty_report(tmp_path: Path) -> None:
    file = tmp_path / "usage.db"
    books.connect(file, busy_seconds=1).close()

    assert {name: write([], ("day",)).count("\n") for name, write in usage.FORMATS.items()} == {
        "table": 0,
        "json": 0,
        "csv": 0,
    }
    assert usage.query(file) == []
    assert str(usage.check(file)) == "0 sessions, 0 open; 0 reports; no problems"


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T12:30", datetime(2026, 11, 1, 12, 30, tzinfo=UTC)),
        ("2026-11-01T12:30:15Z", datetime(2026, 11, 1, 12, 30, 15, tzinfo=UTC)),
        ("2026-11-01T01:00+02:00", datetime(2026, 10, 31, 23, tzinfo=UTC)),
    ],
)
def test_a_moment_is_a_day_or_a_time_in_utc(text: str, at: datetime) -> None:
    assert usage.parse_moment(text) == at


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "1"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a day or a moment"):
        usage.parse_moment(text)


def test_a_grouping_is_read_strictly() -> None:
    assert usage.parse_grouping("persona, day") == ("persona", "day")
    for text in ("", "persona,", "person", "day,day", "session_id; DROP TABLE"):
        with pytest.raises(ValueError, match="must be some of persona,client,model,day,session"):
            usage.parse_grouping(text)


def test_without_a_ledger_there_is_nothing_to_read(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("These are no books. " * 100)
    reads: list[Callable[[Path], object]] = [
        usage.query,
        usage.check,
        lambda file: usage.prune(file, NOON),
    ]

    for read in reads:
        with pytest.raises(FileNotFoundError, match="there is no ledger at"):
            read(tmp_path / "usage.db")
        with pytest.raises(LedgerUnusable, match=r"notes\.txt: file is not a database"):
            read(notes)
    assert list(tmp_path.iterdir()) == [notes]


def test_a_ledger_of_another_version_is_not_read(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA user_version = 99")

    with pytest.raises(LedgerUnusable, match="its version is 99"):
        usage.query(file)


def test_usage_can_be_read_while_somebody_writes(file: Path) -> None:
    with locked(file):
        assert len(usage.query(file)) == 2
        assert usage.check(file).problems == ()


def test_the_check_says_what_it_has_checked(file: Path) -> None:
    """The ledger of the fixture is closed, so the session that it left open is nobody's."""
    checked = usage.check(file)

    assert str(checked) == "3 sessions, 1 open, 1 of them left by a crash; 5 reports; no problems"


@pytest.mark.parametrize(
    ("tampering", "problem"),
    [
        (
            "UPDATE reports SET output_audio = 21 WHERE report_id = 'a'",
            "session one: its output_audio is 40, the sum of its reports 41",
        ),
        (
            "UPDATE sessions SET cost_usd_micros = 0 WHERE session_id = 'one'",
            "session one: its cost_usd_micros is 0, the sum of its reports 2135",
        ),
        (
            "DELETE FROM reports WHERE report_id = 'a'",
            "session one: has 2 reports, numbered to 3: some are missing or there twice",
        ),
        (
            "DELETE FROM reports WHERE report_id = 'item'",
            "session one: was to have 3 reports and has 2",
        ),
        (
            "DELETE FROM sessions WHERE session_id = 'two'",
            "session two: is not there, but its report c is",
        ),
        (
            "UPDATE sessions SET outcome = NULL WHERE session_id = 'two'",
            "session two: is neither open nor closed",
        ),
        (
            "UPDATE sessions SET seconds = -1 WHERE session_id = 'two'",
            "session two: is neither open nor closed",
        ),
        (
            f"INSERT INTO reports SELECT {COPIED} FROM reports WHERE report_id = 'a'",  # noqa: S608
            "session one: has 4 reports, numbered to 3: some are missing or there twice",
        ),
    ],
)
def test_books_that_were_tampered_with_are_found_out(
    file: Path, tampering: str, problem: str
) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        if tampering.startswith("DELETE FROM reports WHERE report_id = 'item'"):
            connection.execute("UPDATE sessions SET reports = 2 WHERE session_id = 'one'")
        connection.execute(tampering)

    assert problem in usage.check(file).problems


def test_a_file_that_is_damaged_is_found_out(file: Path) -> None:
    content = bytearray(file.read_bytes())
    page = int.from_bytes(content[16:18], "big")
    for number in range(1, len(content) // page):
        content[number * page : number * page + 8] = bytes(8)
    file.write_bytes(content)

    try:
        problems = usage.check(file).problems
    except LedgerUnusable as unusable:
        problems = (str(unusable),)

    assert problems


def test_old_sessions_are_forgotten_with_their_reports(file: Path) -> None:
    assert usage.prune(file, MIDNIGHT) == 1

    assert [row["session"] for row in as_objects(file, "session")] == ["three", "two"]
    assert usage.check(file).problems == ()
    assert usage.prune(file, MIDNIGHT) == 0
    assert usage.prune(file, MIDNIGHT + timedelta(days=365)) == 1
    assert [row["session"] for row in as_objects(file, "session")] == ["three"]


def test_what_is_forgotten_is_in_no_file_any_more(file: Path) -> None:
    usage.prune(file, MIDNIGHT + timedelta(days=365))

    for left in file.parent.iterdir():
        assert b"sess_upstreamcompleted" not in left.read_bytes()
        assert b"gpt-transcribe" not in left.read_bytes()


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_a_relay_writes_on_while_old_sessions_are_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "usage.db"
    async with opened(file) as ledger:
        for number in range(5):
            await ledger.session_started(session(str(number), client="forgotten"))
            await ledger.used(report(str(number), "r"))
            await ledger.session_ended(end(str(number)))
        await ledger.session_started(session("now"))

        assert usage.prune(file, NOON + timedelta(seconds=1)) == 5
        assert not any(b"forgotten" in left.read_bytes() for left in files(tmp_path))
        await ledger.used(report("now", "r"))

    assert [row["session"] for row in as_objects(file, "session")] == ["now"]
    assert usage.check(file).problems == ()


names = st.sampled_from(["a", "b"])
moments = st.integers(0, 72).map(lambda hours: NOON + timedelta(hours=hours))
amounts = st.integers(0, 10**9)
reports = st.builds(
    lambda **changes: changes,
    reported_at=moments,
    model=st.sampled_from(["gpt-realtime-2.1", "gpt-realtime-mini"]),
    kind=st.sampled_from(["response", "transcription"]),
    tokens=st.builds(Tokens, *(amounts for _ in TOKEN_KINDS)),
    transcription_seconds=st.integers(0, 10**6).map(lambda ms: ms / 1000),
    cost_usd_micros=st.none() | amounts,
    estimated=st.booleans(),
    unknown=st.booleans(),
)
sessions = st.tuples(names, names, moments, st.lists(reports, max_size=4))


@settings(
    max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.lists(sessions, max_size=5), moments)
def test_the_parts_of_a_period_add_up_to_the_whole(
    tmp_path: Path, had: list[tuple[str, str, datetime, list[dict[str, Any]]]], cut: datetime
) -> None:
    """In whatever way it is cut: by each grouping, and into before and after."""
    file = tmp_path / f"{uuid4()}.db"
    write(file, had)
    (whole,) = usage.query(file, by=()) or (None,)

    assert usage.check(file).problems == ()
    cuts = [usage.query(file, by=(name,)) for name in usage.GROUPINGS]
    cuts.append(usage.query(file, by=(), until=cut) + usage.query(file, by=(), since=cut))
    cuts.append(usage.query(file, by=tuple(usage.GROUPINGS)))
    for parts in cuts:
        assert added(parts) == added([whole] if whole else [])
    expected = Counter[str]()
    for *_, made in had:
        for one in made:
            expected.update(one["tokens"].by_kind())
            expected["cost"] += one["cost_usd_micros"] or 0
    assert +added([whole] if whole else [])["sums"] == +expected


def write(file: Path, had: list[tuple[str, str, datetime, list[dict[str, Any]]]]) -> None:
    with closing(books.connect(file, busy_seconds=1)) as connection:
        for number, (client, persona, started_at, made) in enumerate(had):
            name = str(number)
            start = session(name, client=client, persona=persona, started_at=started_at)
            entries = [Entry(start, 0), Entry(end(name, ended_at=started_at), len(made))]
            entries += [Entry(report(name, str(at), **one), at) for at, one in enumerate(made, 1)]
            books.write(connection, entries, "instance")


def added(rows: list[usage.UsageOf]) -> dict[str, Any]:
    """Return what rows add up to."""
    sums = Counter[str]()
    for row in rows:
        sums.update(row.tokens)
        sums["cost"] += row.cost_usd_micros or 0
    return {
        "sums": sums,
        "sessions": sum(row.sessions for row in rows),
        "responses": sum(row.responses for row in rows),
        "seconds": sum(row.seconds for row in rows),
        "time": round(sum(Decimal(str(row.transcription_seconds)) for row in rows), 3),
        "flags": [
            sum(row.estimated for row in rows),
            sum(row.unknown for row in rows),
            sum(row.unpriced for row in rows),
        ],
    }
