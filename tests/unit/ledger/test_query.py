"""Queries of the ledger: usage by group, periods, and their arguments."""

from collections import Counter
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledgers import MIDNIGHT, NOON, as_objects, end, locked, report, session

from relay.core.tokens import TOKEN_KINDS, Tokens
from relay.ledger import entries
from relay.ledger.check import check_ledger
from relay.ledger.entries import Entry, SessionReport
from relay.ledger.query import (
    GROUPINGS,
    GroupUsage,
    parse_grouping,
    parse_moment,
    query_usage,
)
from relay.ledger.tables import connect


def brief(file: Path, *by: str, **period: datetime) -> list[tuple[Any, ...]]:
    """Return the group, sessions, responses, seconds and cost of each row."""
    keys = (*by, "sessions", "responses", "seconds", "cost_usd")
    return [tuple(row[key] for key in keys) for row in as_objects(file, *by, **period)]


def test_a_row_has_all_usage_of_its_group(recorded: Path) -> None:
    assert as_objects(recorded, "persona")[0] == {
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


def test_usage_is_grouped_by_the_given_columns(recorded: Path) -> None:
    assert brief(recorded, "client") == [
        ("kiosk", 2, 2, 60.0, "0.002135"),
        ("phone", 1, 2, 305.5, None),
    ]
    assert brief(recorded, "session") == [
        ("one", 1, 2, 60.0, "0.002135"),
        ("three", 1, 0, 0.0, "0.000000"),
        ("two", 1, 2, 305.5, None),
    ]
    assert brief(recorded, "persona", "day") == [
        ("clerk", "2026-11-01", 1, 2, 60.0, "0.002135"),
        ("clerk", "2026-11-02", 1, 0, 0.0, "0.000000"),
        ("guide", "2026-11-01", 1, 1, 305.5, None),
        ("guide", "2026-11-02", 0, 1, 0.0, "0.000000"),
    ]


def test_a_transcription_counts_under_its_own_model(recorded: Path) -> None:
    assert brief(recorded, "model") == [
        ("gpt-realtime-2.1", 3, 4, 365.5, "0.001820"),
        ("gpt-transcribe", 0, 0, 0.0, "0.000315"),
    ]


def test_without_a_grouping_there_is_one_row(recorded: Path) -> None:
    assert brief(recorded) == [(3, 4, 365.5, "0.002135")]


def test_usage_without_a_price_has_no_cost_and_is_counted(recorded: Path) -> None:
    """If only a part has no price, the cost is that of the rest, and `unpriced` counts the part."""
    guide = as_objects(recorded, "persona")[1]
    everything = as_objects(recorded)[0]

    assert (guide["cost_usd"], guide["unpriced"], guide["unknown"]) == (None, 1, 1)
    assert (everything["cost_usd"], everything["unpriced"]) == ("0.002135", 1)


def test_a_session_over_midnight_counts_on_the_first_day_and_its_usage_on_both(
    recorded: Path,
) -> None:
    assert brief(recorded, until=MIDNIGHT) == [(2, 3, 365.5, "0.002135")]
    assert brief(recorded, since=MIDNIGHT) == [(1, 1, 0.0, "0.000000")]
    assert brief(recorded, "client", since=MIDNIGHT + timedelta(days=1)) == []
    assert brief(recorded, since=MIDNIGHT + timedelta(days=1)) == []


def test_usage_can_be_read_while_a_relay_writes(recorded: Path) -> None:
    with locked(recorded):
        assert len(query_usage(recorded)) == 2
        assert check_ledger(recorded).problems == ()


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
    assert parse_moment(text) == at


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "1"])
def test_a_text_that_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a day or a moment"):
        parse_moment(text)


def test_a_grouping_is_read_strictly() -> None:
    assert parse_grouping("persona, day") == ("persona", "day")
    for text in ("", "persona,", "person", "day,day", "session_id; DROP TABLE"):
        with pytest.raises(ValueError, match="must be some of persona,client,model,day,session"):
            parse_grouping(text)


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
    """For each grouping, and for the usage before and after a time."""
    file = tmp_path / f"{uuid4()}.db"
    write(file, had)
    (whole,) = query_usage(file, by=()) or (None,)

    assert check_ledger(file).problems == ()
    cuts = [query_usage(file, by=(name,)) for name in GROUPINGS]
    cuts.append(query_usage(file, by=(), until=cut) + query_usage(file, by=(), since=cut))
    cuts.append(query_usage(file, by=tuple(GROUPINGS)))
    for parts in cuts:
        assert added(parts) == added([whole] if whole else [])
    expected = Counter[str]()
    for *_, made in had:
        for one in made:
            expected.update(one["tokens"].by_kind())
            expected["cost"] += one["cost_usd_micros"] or 0
    assert +added([whole] if whole else [])["sums"] == +expected


def write(file: Path, had: list[tuple[str, str, datetime, list[dict[str, Any]]]]) -> None:
    with closing(connect(file, busy_seconds=1)) as connection:
        for number, (client, persona, started_at, made) in enumerate(had):
            name = str(number)
            start = session(name, client=client, persona=persona, started_at=started_at)
            last = replace(end(name, ended_at=started_at), reports_made=len(made))
            rows: list[Entry] = [start, last]
            rows += [
                SessionReport(*report(name, str(at), **one), at) for at, one in enumerate(made, 1)
            ]
            entries.write(connection, rows, "instance")


def added(rows: list[GroupUsage]) -> dict[str, Any]:
    """Return the sums of rows."""
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
