"""The benchmarks run, and detect the faults of a relay: otherwise their results mean nothing."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import callgrind
import guard
import instructions
import load_generator
import message_path
import observed
import pytest
from events import APPEND, APPEND_HEAD, DELTA, WrongAudio, delta_head, ends_response, is_answered
from job import Job, LoadReport
from load_generator import LoadGenerator
from paths import ROOT
from picows import WSMsgType, ws_connect, ws_create_server
from runner import DIRECT, Results, Workload
from session import LoadSession, Measurements
from table import summary, table
from tail import cause_rows, latency_rows
from upstream import UpstreamSession

from relay.core.events import read_append

HOST = "127.0.0.1"
SECONDS = 5.0

Corrupt = Callable[[bytes], list[bytes]]


def lengthened(message: bytes) -> bytes:
    """Return a message with more audio after the stamp."""
    noise_at = message.rindex(b'"', 0, -2) + 1 + 24
    return message[:noise_at] + b"AAAA" + message[noise_at:]


CORRUPTED: dict[str, Corrupt] = {
    "lost": lambda _message: [],
    "twice": lambda message: [message, message],
    "changed": lambda message: [message[:-9] + b"AAAAAAA" + message[-2:]],
    "cut short": lambda message: [message[:-10] + message[-2:]],
    "longer": lambda message: [lengthened(message)],
    "another event": lambda _message: [b'{"type":"response.output_audio.delta","delta":"AAAA"}'],
    "no event": lambda _message: [b"AAAA"],
}


class CorruptingSession(UpstreamSession):
    """An upstream, or a relay before it, that corrupts the second delta."""

    def __init__(self, corrupt: Corrupt) -> None:
        super().__init__()
        self._corrupt = corrupt
        self._deltas = 0

    def _send(self, message: bytes) -> None:
        is_delta = message.startswith(b'{"type":"response.output_audio.delta"')
        self._deltas += is_delta
        for sent in self._corrupt(message) if is_delta and self._deltas == 2 else [message]:
            super()._send(sent)


@asynccontextmanager
async def serving(new_session: Callable[[], UpstreamSession]) -> AsyncIterator[int]:
    server = await ws_create_server(lambda _request: new_session(), HOST, 0)
    port: int = server.sockets[0].getsockname()[1]
    try:
        yield port
    finally:
        server.close()


async def connected(port: int) -> tuple[LoadSession, Measurements]:
    measurements = Measurements()
    session = LoadSession(0, measurements, configures=True)
    await ws_connect(lambda: session, f"ws://{HOST}:{port}/")
    await session.ready
    return session, measurements


def appends(corrupt: Corrupt) -> list[bytes]:
    """Return eight appends; the fourth one is corrupted."""
    messages = [APPEND.encode(APPEND_HEAD, (1, 0, number)) for number in range(8)]
    return [*messages[:3], *corrupt(messages[3]), *messages[4:]]


def test_the_bench_runs_and_the_relay_loses_nothing() -> None:
    command = ["bench", "--quick", "--only", "relay", "--sessions", "4", "--seconds", "1"]
    # The modules of the bench are beside its main module.
    environment = {name: os.environ[name] for name in os.environ if name != "PYTHONSAFEPATH"}

    printed = subprocess.check_output(
        [sys.executable, *command, "--work", "paced"],
        cwd=ROOT,
        env=environment,
        text=True,
        stderr=subprocess.PIPE,
    )

    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in printed.splitlines()]
    cells = {row[1]: row[2:] for row in rows if len(row) == 4}
    assert cells["faults"] == ["0", "0"]
    assert float(cells["CPU per message, us"][1]) > 0
    assert float(cells["added latency p50, ms"][1])


def test_an_append_has_the_form_of_the_sdk_and_is_an_append_for_the_relay() -> None:
    message = APPEND.encode(APPEND_HEAD, (1, 2, 3))
    audio = read_append(message)

    assert json.dumps(json.loads(message)).encode() == message
    assert audio is not None
    assert len(audio) == 960


@pytest.mark.parametrize("session", range(7))
def test_a_response_ends_with_a_delta_every_five_seconds(session: int) -> None:
    ends = [n for n in range(1000) if ends_response(session, n)]

    assert len(ends) == 4
    assert all(is_answered(session, n) for n in ends)


def test_audio_that_a_relay_encoded_again_is_the_same_audio() -> None:
    head, stamp = delta_head(7, 0), (1, 7, 3)
    message = DELTA.encode(head, stamp)
    encoded_again = json.dumps(json.loads(message), indent=1).encode()

    assert DELTA.stamp(message, head) == DELTA.stamp(encoded_again, head) == stamp
    with pytest.raises(WrongAudio):
        APPEND.stamp(encoded_again, APPEND_HEAD)


async def test_a_correct_session_has_no_faults() -> None:
    async with serving(UpstreamSession) as port:
        session, measurements = await connected(port)
        for _ in range(60):
            session.ask()
        await session.leave(SECONDS)

    assert measurements.faults == []
    assert measurements.answered == 60


@pytest.mark.parametrize("corrupt", CORRUPTED.values(), ids=CORRUPTED)
async def test_a_delta_that_was_changed_is_a_fault(corrupt: Corrupt) -> None:
    async with serving(lambda: CorruptingSession(corrupt)) as port:
        session, measurements = await connected(port)
        for _ in range(3):
            session.ask()
        await session.leave(SECONDS)

    assert measurements.faults


@pytest.mark.parametrize("corrupt", CORRUPTED.values(), ids=CORRUPTED)
async def test_an_append_that_was_changed_is_a_fault(corrupt: Corrupt) -> None:
    async with serving(UpstreamSession) as port:
        session, measurements = await connected(port)
        for message in appends(corrupt):
            session._transport.send(WSMsgType.TEXT, message)
        async with asyncio.timeout(SECONDS):
            await session.closed

    assert "closed with" in measurements.faults[0]


async def test_an_answer_that_does_not_come_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_generator, "ANSWER_SECONDS", 0.05)
    async with serving(lambda: CorruptingSession(CORRUPTED["lost"])) as port:
        load = LoadGenerator(
            Job("paced", port, None, configures=True, sessions=2, seconds=0, pids={})
        )
        async with load.sessions() as sessions:
            for session in sessions:
                session.ask()
                session.ask()
            await load.finish(sessions)

    assert [fault.partition(": ")[2] for fault in load.measurements.faults] == ["unanswered"] * 2


def test_the_table_compares_medians_and_adds_faults() -> None:
    results, workload = Results(), Workload("paced", 50, 2)
    for latency_ms, faults in ((1.0, 0), (9.0, 2), (2.0, 1)):
        results.add(workload, DIRECT, LoadReport(seconds=2, latency_ms={"99": 0.5}))
        results.add(
            workload,
            "relay",
            LoadReport(
                messages=1000,
                seconds=2,
                cpu_ns={"relay": 30_000_000},
                latency_ms={"99": latency_ms},
                faults=faults,
            ),
        )
    rows = table(results, {DIRECT: DIRECT, "relay": "relay 1.0"}).splitlines()
    work = "| 50 sessions in real time, TLS |"

    assert f"{work} CPU per message, us |  | 30.0 |" in rows
    assert f"{work} added latency p99, ms | (0.50) | 1.50 |" in rows
    assert f"{work} faults | 0 | 3 |" in rows


async def test_each_kind_of_work_relays_its_messages() -> None:
    path = message_path.Path(3)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(path.bridge.run())
        for _ in range(10):
            await asyncio.sleep(0)
        for work in path.work().values():
            work(3)
        running.cancel()


async def test_work_that_relays_nothing_is_not_counted() -> None:
    path = message_path.Path(3)  # no task listens to its peers

    for kind in ("append", "delta"):
        with pytest.raises(AssertionError, match="0 messages instead of 3"):
            path.work()[kind](3)


COUNTED = {"reference": 1000.0, "append": 400.0}


@pytest.mark.parametrize(("cost", "status"), [(0.3, 0), (0.43, 0), (0.45, 1)])
def test_the_guard_fails_when_a_message_costs_a_tenth_more(
    cost: float, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guard.compare({"append": cost}, {"append": 0.4}, COUNTED) == status
    assert ("append" in capsys.readouterr().err) == bool(status)


def test_the_guard_has_recorded_the_costs_of_several_versions_of_python() -> None:
    recorded = json.loads(guard.RECORDED.read_text())

    assert {"3.11", "3.12", "3.13"} <= recorded.keys()
    assert all({"append", "delta", "response"} <= costs.keys() for costs in recorded.values())


@pytest.mark.parametrize("command", [guard.main, instructions.main])
def test_without_valgrind_one_line_says_so(
    command: Callable[[], int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(callgrind, "PROGRAMS", ("no-such-program",))
    monkeypatch.setattr(sys, "argv", ["bench"])

    assert command() == 1
    assert capsys.readouterr().err == f"{callgrind.MISSING}\n"


@pytest.mark.skipif(not callgrind.is_installed(), reason="valgrind is not installed")
def test_the_same_work_has_the_same_number_of_instructions() -> None:
    _, (first, second) = zip(
        *(callgrind.run(["python3", "-SEc", "print(sum(range(999)))"]) for _ in range(2)),
        strict=True,
    )

    assert sum(first.values()) == pytest.approx(sum(second.values()), rel=0.001)
    with pytest.raises(callgrind.Failed):
        callgrind.run(["false"])


def test_the_mean_of_a_conversation_has_250_appends_and_50_deltas_a_response() -> None:
    costs = {"append": 302.0, "delta": 604.0, "response": 3020.0}

    rows = instructions.table({"relay": costs}).splitlines()

    assert rows[-1] == "| mean of a conversation | 0.4 |"


def test_the_summary_has_the_metrics_that_matter_of_200_sessions_with_tls() -> None:
    results = Results()
    for sessions, tls in ((50, True), (200, True), (200, False)):
        for name, cpu_ns in (("nginx", 20_000_000), ("relay", 35_000_000)):
            report = LoadReport(messages=1000, seconds=2, cpu_ns={"relay": cpu_ns})
            results.add(Workload("paced", sessions, 2, tls), name, report)
    results.capacity = {"relay": ">= 300"}

    rows = summary(results, {"nginx": "nginx 1.0", "relay": "relay 1.0"}).splitlines()

    assert rows.count("| CPU per message, times nginx's | 1.00 | 1.75 |") == 1
    assert rows[-1] == "| sessions in time (added p99 < 5 ms) |  | >= 300 |"


def test_the_causes_of_a_tail_have_a_share_of_the_time() -> None:
    rounds = [{observed.EVENTS: [(5.0, 0.010), (6.0, 0.030)]}, {observed.EVENTS: [(2.0, 0.020)]}]

    rows = list(cause_rows(rounds, seconds=1.5))

    assert f"| {observed.EVENTS} | 1 | 20.00 | 30.00 | 30.00 | 2.0 |" in rows
    assert f"| {observed.COLLECTOR} | 0 | | | | 0.0 |" in rows


def test_the_latency_of_a_variant_is_what_it_adds() -> None:
    def report(ms: float) -> LoadReport:
        latency_ms = {"50": ms, "99": 2 * ms, "99.9": 3 * ms}
        return LoadReport(messages=1000, cpu_ns={"relay": 40_000_000}, latency_ms=latency_ms)

    rows = list(latency_rows({DIRECT: [report(1.0)], "relay": [report(1.5), report(9), report(1)]}))

    assert rows[-1] == "| relay | 0.50 | 1.00 | 1.50 | 40.0 |"


def test_a_relay_reports_what_keeps_its_loop(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, str(ROOT / "bench/observed.py"), str(report), observed.COLLECTOR]

    subprocess.check_output([*command, "--version"])

    assert json.loads(report.read_text()).keys() >= {observed.LEDGER, observed.EVENTS}
