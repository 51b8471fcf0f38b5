"""The command ``relay usage``: its formats, its periods, its exit status."""

import csv
import io
import json
import sqlite3
import subprocess
import sys
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ledgers import end, opened, report, select, session
from paths import ROOT
from relays import write_config

from relay import cli
from relay.core.tokens import TOKEN_KINDS, Tokens

MONDAY, TUESDAY = datetime(2026, 11, 2, 9, tzinfo=UTC), datetime(2026, 11, 3, 9, tzinfo=UTC)

CONTRACT = (
    *("sessions", "responses", "seconds", "audio_seconds_in", "audio_seconds_out"),
    *("tokens", "cost_usd", "estimated", "unknown"),
)
"""The fields of each JSON object besides its groups."""


@dataclass(frozen=True)
class Run:
    """The exit status and the output of a command."""

    status: int | str | None
    stdout: str
    stderr: str


def relay(config: Path, *arguments: str) -> Run:
    """Run ``relay usage`` in this process, because a new process takes long to start."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with redirect_stdout(stdout), redirect_stderr(stderr), pytest.raises(SystemExit) as left:
        sys.exit(cli.main(["usage", "--config", str(config), *arguments]))
    return Run(left.value.code, stdout.getvalue(), stderr.getvalue())


def printed(config: Path, *arguments: str) -> str:
    """Return the output of a command that succeeds."""
    run = relay(config, *arguments)
    assert (run.status, run.stderr) == (0, "")
    return run.stdout


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path, "http://127.0.0.1:1/v1")


@pytest.fixture
def file(config: Path) -> Path:
    return config.parent / "data" / "usage.db"


@pytest.fixture
async def ledger_file(file: Path) -> Path:
    """A session on Monday with three kinds of responses, and one on Tuesday without a price."""
    async with opened(file) as ledger:
        await ledger.session_started(session("one", started_at=MONDAY))
        await ledger.used(*report("one", "a", reported_at=MONDAY))
        await ledger.used(*report("one", "b", reported_at=MONDAY, estimated=True))
        nothing: dict[str, Any] = {"tokens": Tokens(), "cost_usd_micros": None, "unknown": True}
        await ledger.used(*report("one", "c", reported_at=MONDAY, **nothing))
        await ledger.session_ended(end("one", ended_at=MONDAY))
        await ledger.session_started(session("two", started_at=TUESDAY, client="phone"))
        await ledger.used(*report("two", "a", reported_at=TUESDAY, cost_usd_micros=None))
        await ledger.session_ended(end("two", ended_at=TUESDAY, seconds=1.25))
    return file


@pytest.mark.usefixtures("ledger_file")
def test_json_is_a_list_of_objects_with_the_fields_of_the_contract(config: Path) -> None:
    monday, tuesday = json.loads(printed(config, "--format", "json", "--by", "persona,client,day"))

    assert list(monday)[:3] == ["persona", "client", "day"]
    assert {name: monday[name] for name in CONTRACT} == {
        "sessions": 1,
        "responses": 3,
        "seconds": 60.0,
        "audio_seconds_in": 20.0,
        "audio_seconds_out": 30.0,
        "tokens": dict.fromkeys(TOKEN_KINDS, 0) | {"input_text": 20, "output_audio": 40},
        "cost_usd": "0.002640",
        "estimated": 1,
        "unknown": 1,
    }
    assert [monday[name] for name in ("persona", "client", "day")] == [
        "clerk",
        "kiosk",
        "2026-11-02",
    ]
    assert (tuesday["client"], tuesday["cost_usd"], tuesday["seconds"]) == ("phone", None, 1.25)


@pytest.mark.usefixtures("ledger_file")
def test_csv_has_a_row_for_each_group_under_one_head(config: Path) -> None:
    text = printed(config, "--format", "csv", "--by", "session")

    head, *rows = csv.reader(io.StringIO(text))
    assert set(head) >= {"session", *CONTRACT, *TOKEN_KINDS} - {"tokens"}
    assert [dict(zip(head, row, strict=True))["cost_usd"] for row in rows] == ["0.002640", ""]
    assert text.count("\n") == 3


@pytest.mark.usefixtures("ledger_file")
def test_the_default_is_a_table_by_persona(config: Path) -> None:
    head, row = (line.split() for line in printed(config).splitlines())

    assert dict(zip(head, row, strict=True)) == {
        "persona": "clerk",
        "sessions": "2",
        "responses": "4",
        "seconds": "61.2",
        "audio_seconds_in": "40",
        "audio_seconds_out": "60",
        "input_text": "30",
        "output_audio": "60",
        "cost_usd": "0.002640",
        "unpriced": "1",
        "estimated": "1",
        "unknown": "1",
    }


@pytest.mark.usefixtures("ledger_file")
@pytest.mark.parametrize(
    ("period", "sessions"),
    [
        (["--since", "2026-11-03"], ["two"]),
        (["--until", "2026-11-03"], ["one"]),
        (["--since", "2026-11-02T10:00+01:00", "--until", "2026-11-03T09:00"], ["one"]),
        (["--since", "2026-12-01"], []),
    ],
)
def test_a_period_includes_its_beginning_and_excludes_its_end(
    config: Path, period: list[str], sessions: list[str]
) -> None:
    rows = json.loads(printed(config, "--format", "json", "--by", "session", *period))

    assert [row["session"] for row in rows] == sessions


def test_the_check_of_a_good_ledger_prints_no_problems(config: Path, ledger_file: Path) -> None:
    command = [sys.executable, "-m", "relay", "usage", "--config", str(config), "--check"]

    output = subprocess.check_output(command, cwd=ROOT, text=True)

    assert output == "2 sessions, 0 open; 4 reports; no problems\n" == printed(config, "--check")
    assert ledger_file.exists()


def test_the_check_of_a_bad_ledger_prints_each_problem_and_exits_with_1(
    config: Path, ledger_file: Path
) -> None:
    with closing(sqlite3.connect(ledger_file, isolation_level=None)) as connection:
        connection.execute("UPDATE sessions SET output_audio = 0 WHERE session_id = 'one'")
        connection.execute("DELETE FROM reports WHERE session_id = 'two'")

    run = relay(config, "--check")

    assert run.status == 1
    assert "session one: its output_audio is 0, the sum of its reports 40\n" in run.stdout
    assert "session two: its reports is 1, the sum of its reports 0\n" in run.stdout
    assert run.stderr.startswith("relay: ")
    assert run.stderr.endswith(f" problems in {ledger_file}\n")
    assert "Traceback" not in run.stderr


def test_prune_deletes_old_sessions(config: Path, ledger_file: Path) -> None:
    assert printed(config, "--prune", "2026-11-03") == "1 sessions deleted\n"

    assert select(ledger_file, "SELECT session_id FROM sessions") == [("two",)]
    assert select(ledger_file, "SELECT session_id FROM reports") == [("two",)]
    assert printed(config, "--check").endswith("no problems\n")


async def test_usage_is_read_while_a_relay_writes_and_after_it_was_killed(
    config: Path, file: Path
) -> None:
    async with opened(file) as ledger:
        await ledger.session_started(session("one"))
        await ledger.used(*report("one", "a"))
        assert "0.001320" in printed(config)
        assert printed(config, "--check") == "1 sessions, 1 open; 1 reports; no problems\n"

    left = ", 1 of them left by a crash"
    assert printed(config, "--check") == f"1 sessions, 1 open{left}; 1 reports; no problems\n"


def test_without_a_ledger_it_prints_an_error_and_creates_none(config: Path, file: Path) -> None:
    run = relay(config)

    assert (run.status, run.stdout) == (1, "")
    assert run.stderr == f"relay: there is no ledger at {file}\n"
    assert not file.parent.exists()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--since", "yesterday"], "--since: yesterday: must be a day or a moment"),
        (["--until", "2026-13-01"], "--until: 2026-13-01: must be a day or a moment"),
        (["--prune", ""], "--prune: : must be a day or a moment"),
        (["--by", "person"], "--by: person: must be some of persona,client,model,day,session"),
        (["--format", "xml"], "--format: invalid choice"),
        (["--check", "--prune", "2026-11-03"], "not allowed with argument --check"),
    ],
)
def test_wrong_usage_prints_the_reason_and_exits_with_2(
    config: Path, arguments: list[str], why: str
) -> None:
    run = relay(config, *arguments)

    assert (run.status, run.stdout) == (2, "")
    assert why in run.stderr


@pytest.mark.usefixtures("ledger_file")
def test_settings_without_effect_on_the_ledger_may_be_missing(config: Path) -> None:
    config.write_text("upstreams: {openai: {api_key: '${NOT_SET_ANYWHERE}'}}\npersonas: nowhere\n")

    assert printed(config, "--check").endswith("no problems\n")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ("usage: {path: []}", "relay.yaml:4: usage.path: "),
        ("usage: {path: '${NOT_SET_ANYWHERE}'}", "relay.yaml:4: usage.path: the environment"),
        ("usage: {paths: x}", "relay.yaml:4: usage.paths: unknown key: did you mean path?"),
        ("usage: [}", "relay.yaml:4: is not valid YAML"),
    ],
)
def test_a_broken_configuration_exits_with_2(config: Path, settings: str, problem: str) -> None:
    config.write_text(config.read_text() + settings)

    run = relay(config)

    assert run.status == 2
    assert problem in run.stderr
