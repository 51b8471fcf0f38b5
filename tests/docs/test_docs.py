"""The documents are true: samples run, tables agree with the code, the targets of links exist."""

import asyncio
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer
from documents import WRITTEN_ADDRESS, blocks, first_cells, read, rows
from fakes import FakeUpstream
from paths import ROOT
from relays import RunningRelay, receive
from simulated import simulated

from relay import app, cli, demo
from relay import serving as relay_serving
from relay.config.clients import Secrets
from relay.config.limits import Limits, PersonaLimits
from relay.config.loading import load
from relay.config.models import Config
from relay.config.upstream import Upstream
from relay.core import circuit, errors
from relay.core.close import MAX_REASON_BYTES, CloseCode
from relay.core.errors import ClientLost, OriginNotAllowed, RelayError
from relay.core.events import CLIENT_EVENTS, MAX_DEPTH, MAX_ID_CHARS, MAX_VALUES
from relay.core.redaction import HIDDEN_EVENTS
from relay.core.tokens import TOKEN_KINDS
from relay.dialects.beta.events import NAMES_DOWN
from relay.dialects.beta.fields import GONE, SESSION
from relay.endpoints import credentials
from relay.sessions.admission import MAX_HANDSHAKES
from relay.telemetry import log
from relay.telemetry.metrics import METRICS
from relay.upstreams import address, connections, entra, warm
from relay.upstreams import dialler as upstream
from relay.wire.liveness import PING_SECONDS, RETRIES, SILENCE_SECONDS
from relay.wire.peer import CLOSE_SECONDS

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
README = read("README.md")
BEHAVIOUR = read("docs/behaviour.md")
ERRORS = read("docs/errors.md")
METRICS_PAGE, LOGS_PAGE = read("docs/metrics.md").split("\n## Logs\n")
SECURITY = read("SECURITY.md")
UPSTREAMS = read("docs/upstreams.md")


@asynccontextmanager
async def serving(config: Config) -> AsyncIterator[RunningRelay]:
    logged = io.StringIO()
    application = app.create_app(config, log.create(logged, "json"))
    async with TestServer(application) as server:
        assert server.port is not None
        yield RunningRelay(server.port, application, logged)


@asynccontextmanager
async def running_demo() -> AsyncIterator[RunningRelay]:
    """Run the relay and the upstream of ``relay demo``, as fast as possible."""
    async with simulated() as upstream:
        config = load(demo.CONFIG, {"UPSTREAM": upstream.base_url})
        async with serving(config) as relay:
            yield relay


CONVERSATIONS = ("sync", "async with a tool", "beta", "raw")
"""The first Python samples of the README, in order; the next one mints a credential."""


async def printed_by_sample(number: int, relay: RunningRelay) -> str:
    """Run a Python sample of the README with the port of ``relay``; return its output."""
    program = blocks(README, "python")[number]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program.replace(WRITTEN_ADDRESS, f"127.0.0.1:{relay.port}")),
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (process.returncode, err.decode()) == (0, "")
    return out.decode().strip()


@pytest.mark.parametrize("number", range(len(CONVERSATIONS)), ids=CONVERSATIONS)
async def test_a_python_sample_of_the_readme_has_its_conversation(number: int) -> None:
    """Each sample ends by itself and prints something."""
    async with running_demo() as relay:
        assert await printed_by_sample(number, relay)
    (ended,) = relay.lines("session.ended")

    assert set(ended["responses"]) == {"completed"}
    assert ended["blocked_events"] == 0


def test_every_python_sample_of_the_readme_is_run() -> None:
    assert len(blocks(README, "python")) == len(CONVERSATIONS) + 1


ENVIRONMENT = {
    "OPENAI_API_KEY": "sk-test",
    "RELAY_SIGNING_KEY": "0123456789abcdef" * 4,
    "WEBSITE_KEY": "key-of-the-website",
}


def readme_config(folder: Path, upstream: str = "https://api.openai.com/v1") -> Config:
    """Load the YAML samples of the README, with ``upstream`` instead of the URL of OpenAI."""
    shutil.copytree(ROOT / "config/personas", folder / "personas")
    for sample in blocks(README, "yaml"):
        named = re.match(r"# config/(\S+)\n", sample)
        assert named, "a sample starts with the name of its file"
        settings = sample.replace("  openai:\n", f"  openai:\n    url: {upstream}\n")
        (folder / named[1]).write_text(settings)
    return load(folder / "relay.yaml", ENVIRONMENT)


def test_the_configuration_of_the_readme_loads_with_its_persona(tmp_path: Path) -> None:
    config = readme_config(tmp_path)

    assert set(config.personas) > {"concierge"}
    assert not config.anonymous


async def test_a_page_connects_with_a_credential_of_the_readmes_sample(tmp_path: Path) -> None:
    async with (
        FakeUpstream().running() as upstream,
        serving(readme_config(tmp_path, upstream.url)) as relay,
    ):
        value = await printed_by_sample(len(CONVERSATIONS), relay)
        async with relay.connect(
            subprotocols=["realtime", f"openai-insecure-api-key.{value}"],
            origin="https://shop.example",
        ) as page:
            assert (await receive(page))["type"] == "session.created"
    (line,) = relay.lines("session.ended")
    instructions = upstream.calls[0].received[0]["session"]["instructions"]

    assert (line["client"], line["persona"]) == ("website", "concierge")
    assert "on the phone with Ms Lovelace." in instructions


def test_the_sample_of_the_page_on_the_policy_loads(tmp_path: Path) -> None:
    (sample,) = blocks(read("docs/policy.md"), "yaml")
    shutil.copytree(ROOT / "config", tmp_path / "config")
    tutor = tmp_path / "config/personas/tutor.yaml"
    tutor.write_text(tutor.read_text() + "\n" + sample)

    config = load(tmp_path / "config/relay.yaml", {"OPENAI_API_KEY": "sk-test"})

    assert config.personas["tutor"].client.response == ("output_modalities", "max_output_tokens")


def test_the_samples_of_the_page_on_upstreams_load(tmp_path: Path) -> None:
    (tmp_path / "personas").mkdir()
    samples = blocks(UPSTREAMS, "yaml")
    for sample in samples:
        named = re.match(r"# config/(\S+)\n", sample)
        assert named, "a sample starts with the name of its file"
        (tmp_path / named[1]).write_text(sample)
    keys = dict.fromkeys(re.findall(r"\$\{(\w+)\}", "".join(samples)), "key")

    config = load(tmp_path / "relay.yaml", keys)

    assert config.personas["receptionist"].upstream == ("azure-eu", "openai")
    assert config.personas["grok"].session["audio"]["input"]["transport"] == "binary"


@pytest.mark.parametrize(
    "sentence",
    [
        f"failed {['once', 'twice', 'three times'][circuit.FAILURES - 1]} in a row",
        f"for {circuit.FIRST_SECONDS:.0f} s, then 10, 20, 40 and at most {circuit.MAX_SECONDS:.0f}",
        f"kept for {connections.CACHE_DNS_SECONDS} s",
        f"{warm.REFILL_SECONDS:g} s after a session has taken",
        f"after {warm.MAX_AGE_SECONDS * warm.MIN_AGE:.0f} to {warm.MAX_AGE_SECONDS:.0f} s",
        f"after {warm.FIRST_RETRY_SECONDS:.0f} s, then after 2, 4, 8, 16 and",
        f"2, 4, 8, 16 and {warm.MAX_RETRY_SECONDS:.0f}.",
        "five minutes before it runs out" if entra.RENEW_SECONDS == 5 * 60 else "?",
        f"scope `{entra.SCOPE}`",
        f"{address.PREVIEW_API_VERSION}, or the value of `?api-version=`",
    ],
)
def test_a_number_on_the_page_on_upstreams_agrees_with_the_code(sentence: str) -> None:
    assert sentence in UPSTREAMS


def commands(program: str) -> list[list[str]]:
    """Return the arguments of each call of ``program`` in the README's shell samples."""
    lines = "".join(blocks(README, "sh")).splitlines()
    calls = (shlex.split(line, comments=True) for line in lines)
    return [words[1:] for words in calls if words and words[0] == program]


@pytest.mark.parametrize("words", commands("relay"), ids=" ".join)
def test_a_command_of_the_readme_exists(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        cli.main([*words, "--help"])

    assert exited.value.code == 0
    usage = capsys.readouterr().out
    assert [word for word in words if word.startswith("--") and word not in usage] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_make_target_in_a_document_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    named = re.findall(r"`make ([a-z]+)[^`]*`|^make ([a-z]+)", text, re.MULTILINE)
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))

    assert {target for pair in named for target in pair if target} <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_target_of_every_link_exists(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]

    assert [target for target in local if not (document.parent / target).exists()] == []


def test_each_decision_is_short_and_states_its_costs() -> None:
    decisions = sorted(ROOT.glob("docs/decisions/[0-9]*.md"))

    for number, decision in enumerate(decisions, 1):
        text = decision.read_text(encoding="utf-8")
        assert decision.name.startswith(f"{number:03}-")
        assert text.startswith(f"# {number:03}: ")
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [*("Context", "Decision", "Costs")]
        assert len(text.splitlines()) <= 40


NOT_CLOSE_CODES = {ClientLost: "no client is there", OriginNotAllowed: "only an HTTP answer"}


@pytest.mark.parametrize("error", errors.ERRORS, ids=lambda error: error.code)
def test_an_error_is_in_the_table_with_its_codes(error: type[RelayError]) -> None:
    (row,) = (row for row in rows(ERRORS) if row[0] == f"`{error.code}`")
    close = "-" if error in NOT_CLOSE_CODES else str(int(error.close_code))

    assert row[1] in {str(error.status), "-"}
    assert row[2] == close
    assert ("no event" in row[3]) == error.silent
    wait = error.retry_after_seconds
    assert wait is None or f"`Retry-After` ({wait} s)" in row[4]


def test_the_table_of_errors_has_no_other_rows() -> None:
    assert first_cells(ERRORS) == {error.code for error in errors.ERRORS}


@pytest.mark.parametrize("code", CloseCode)
def test_a_close_code_is_explained(code: CloseCode) -> None:
    assert re.search(rf"\b{code:d}\b", ERRORS + BEHAVIOUR)


def test_each_metric_is_in_the_table_with_its_kind_and_labels() -> None:
    documented = {
        row[0].strip("`"): (row[1], tuple(re.findall(r"`(\w+)`", row[2])))
        for row in rows(METRICS_PAGE)
        if row[0].startswith("`relay_")
    }

    assert documented == {name: (metric.kind, metric.labels) for name, metric in METRICS.items()}


def test_each_kind_of_token_is_on_the_page_of_the_metrics() -> None:
    assert [kind for kind in TOKEN_KINDS if f"`{kind}`" not in METRICS_PAGE] == []


async def test_each_field_of_the_line_of_a_session_is_in_the_table() -> None:
    async with running_demo() as relay, relay.connect() as client:
        await client.recv()
    (line,) = relay.lines("session.ended")
    every_line_has = {"event", "level", "timestamp"}

    assert first_cells(LOGS_PAGE.split("### `session.ended`")[1]) == set(line) - every_line_has


def imported() -> list[Path]:
    """Return the modules that the command ``relay`` imports."""
    program = (
        "import sys, relay.cli, relay.demo;"
        "print(*(m.__spec__.name + '/__init__' * hasattr(m, '__path__')"
        " for n, m in sys.modules.items() if n.split('.')[0] == 'relay'))"
    )
    names = subprocess.check_output([sys.executable, "-c", program], text=True).split()
    sources = [ROOT / f"{name.replace('.', '/')}.py" for name in names]
    return [source for source in sources if "simulator" not in str(source)]


def test_each_event_of_the_log_is_in_the_table() -> None:
    call = r"(?<![a-z])log\.(?:info|warning|error|exception|log)\("
    name = r"\s*(?:[\w.]+,\s*)?\"([a-z_.]+)\""
    logged = {event for file in imported() for event in re.findall(call + name, file.read_text())}

    assert first_cells(LOGS_PAGE.split("### `session.ended`")[0]) == logged


def test_each_client_event_and_each_hidden_event_is_on_the_page_of_the_policy() -> None:
    page = read("docs/policy.md")
    table = page.split("\n## What a persona can open")[0]
    named = first_cells(table)
    whole = {name if not name.startswith(".") else None for name in named}

    for event in CLIENT_EVENTS:
        stem, _, last = event.rpartition(".")
        assert event in whole or (f".{last}" in named and stem in table), event
    assert [event for event in HIDDEN_EVENTS if "mcp" not in event and event not in page] == []


async def test_the_page_of_the_behaviour_lists_every_address() -> None:
    async with running_demo() as relay:
        routes = [
            (route.method, route.resource.canonical)
            for route in relay.application.router.routes()
            if route.resource
        ]
    documented = first_cells(BEHAVIOUR.split("\n## A normal session")[0])

    assert documented == {
        f"{method} {path}"
        for method, path in routes
        if method != "HEAD" and "/playground/" not in path  # aiohttp adds HEAD to GET
    }


def test_a_default_on_the_page_of_the_behaviour_agrees_with_the_code() -> None:
    defaults = {
        name: field.default
        for model in (Limits, PersonaLimits, Secrets, Upstream)
        for name, field in reversed(model.model_fields.items())
    } | {"max_sessions": Limits.model_fields["max_sessions"].default}
    stated = re.findall(r"`(?:\w+\.)?(\w+)` \((\d+)( MiB)?\)", BEHAVIOUR)

    assert len(stated) >= 8
    for name, number, unit in stated:
        assert defaults[name] == int(number) * (2**20 if unit else 1), name


@pytest.mark.parametrize(
    "sentence",
    [
        f"pings both sides every {PING_SECONDS:.0f} s",
        f"not even a pong, for {SILENCE_SECONDS:.0f} s is considered lost",
        f"within {SILENCE_SECONDS + PING_SECONDS / RETRIES:.0f} s",
        f"has {relay_serving.HEAD_SECONDS} s to send the head",
        "one second to answer" if CLOSE_SECONDS == 1 else "?",
        "an upstream half a second" if upstream.PATIENCE.close_seconds == 0.5 else "?",
        f"cut at {MAX_REASON_BYTES} bytes",
        f"{MAX_DEPTH} levels, {MAX_VALUES:,} values",
        f"ids of {MAX_ID_CHARS} characters",
        f"sessions being opened | {MAX_HANDSHAKES:,} |",
        f"is {credentials.TTL_SECONDS[0]} to {credentials.TTL_SECONDS[-1]}; left out",
        f"A body has at most {credentials.MAX_BODY_BYTES // 1024} KiB",
        f"a credential at most {credentials.MAX_CREDENTIAL_CHARS // 1024} KiB",
    ],
)
def test_a_fixed_number_on_the_page_of_the_behaviour_agrees_with_the_code(sentence: str) -> None:
    assert sentence in BEHAVIOUR


def test_each_field_of_a_beta_session_is_in_the_table_with_its_place_in_ga() -> None:
    page = read("docs/dialects.md")
    table = page.split("\n## The session\n")[1].split("\n## ")[0]
    documented = {row[0]: row[1] for row in rows(table)}

    for field in SESSION:
        assert documented[f"`{field.beta}`"] == f"`{'.'.join(field.ga)}`"
    assert {f"`{name}`" for name in GONE} == {k for k, v in documented.items() if v == "(gone)"}


def test_each_event_with_another_name_in_beta_is_in_the_table() -> None:
    table = read("docs/dialects.md").split("\n## Events of the server\n")[1].split("\n## ")[0]
    pairs = [[re.findall(r"`([^`]+)`", cell) for cell in row] for row in rows(table)]
    documented = {ga: beta for row in pairs for ga, beta in zip(row[1], row[0], strict=False)}

    for ga, beta in NAMES_DOWN.items():
        assert documented[ga] == beta


def test_the_tests_and_files_that_security_names_exist() -> None:
    tests = "".join(path.read_text() for path in ROOT.glob("tests/**/test_*.py"))
    named = re.findall(r"`(test_\w+)`", SECURITY)
    files = re.findall(r"`((?:relay|tests)/[\w/]+\.py)`", SECURITY)

    assert len(named) > 20
    assert [name for name in named if f"def {name}(" not in tests] == []
    assert [file for file in files if not (ROOT / file).exists()] == []


OUTSIDE = [
    r"/wor[k]/",
    r"\.\./share[d]",
    r"(?<![.\w])hel[p]ers?\b",
    r"\bpypi\.or[g]",
    r"pythonhosted\.or[g]",
    r"registry\.npmj[s]",
]
"""Names of the place where the project was written. No pattern matches its own source."""


def test_no_file_names_the_machine_on_which_it_was_written() -> None:
    listed = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT
    )
    files = [ROOT / name for name in listed.decode().split("\0") if name]
    texts = {
        file: file.read_text(encoding="utf-8", errors="ignore")
        for file in files
        if file.suffix not in {".wav", ".png"} and file.exists()
    }
    found = [
        f"{file.relative_to(ROOT)}: {word}"
        for file, text in texts.items()
        for word in OUTSIDE
        if re.search(word, text)
    ]

    assert found == []
