"""The snippets of docs/snippets.md run unchanged, except for the address."""

import asyncio
import json
import os
import re
import shutil
import sys
import wave
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from certificates import issue
from documents import WRITTEN_ADDRESS, blocks, read
from fakes import CLOSE, Wire
from paths import ROOT
from relays import RunningRelay, running_relay
from simulated import BYTES_PER_SECOND, simulated, tone

from relay import demo

PAGE = read("docs/snippets.md")
RECORDING, TOGETHER, MICROCONTROLLER = blocks(PAGE, "python")
ANY_WEBSOCKET, NPM_PACKAGE = blocks(PAGE, "js")
PACKAGES = ROOT / "tests" / "clients" / "openai-npm" / "node_modules"


@asynccontextmanager
async def running_demo(folder: Path, server: str = "") -> AsyncIterator[RunningRelay]:
    """Run the relay of the demo, with the persona of the page."""
    shutil.copytree(demo.CONFIG.parent, folder, dirs_exist_ok=True)
    (doorbell,) = blocks(PAGE, "yaml")
    named = re.match(r"# (personas/\w+\.yaml)\n", doorbell)
    assert named is not None
    (folder / named[1]).write_text(doorbell)
    path = folder / demo.CONFIG.name
    async with simulated() as upstream:
        written = path.read_text().replace("${UPSTREAM}", upstream.base_url)
        path.write_text(written.replace("{playground: true}", f"{{playground: true, {server}}}"))
        async with running_relay(path) as relay:
            yield relay


def with_address_of(snippet: str, relay: RunningRelay) -> str:
    """Return a snippet with the address of the relay."""
    return (
        snippet.replace(WRITTEN_ADDRESS, f"127.0.0.1:{relay.port}")
        .replace('"127.0.0.1", 8080', f'"127.0.0.1", {relay.port}')
        .replace(f"http://127.0.0.1:{relay.port}", relay.root)
    )


async def run(*command: str, folder: Path, **environment: str) -> list[str]:
    """Run a program in a folder; return the lines of its output."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=os.environ | environment, stdout=PIPE, stderr=PIPE
    )
    out, err = await process.communicate()
    assert (process.returncode, err.decode()) == (0, "")
    return out.decode().splitlines()


async def check_ended(relay: RunningRelay, *personas: str) -> None:
    """Check that each session completed, and that none of its events was refused."""
    await relay.ended()
    ended = relay.lines("session.ended")
    assert sorted(line["persona"] for line in ended) == sorted(personas)
    for line in ended:
        assert (line["outcome"], line["blocked_events"]) == ("completed", 0)
        assert set(line["responses"]) == {"completed"}


def program(name: str) -> str:
    """Return the path of a program; skip the test if it is missing."""
    found = shutil.which(name)
    if found is None:
        (pytest.fail if os.environ.get("RELAY_REQUIRE_NODE") else pytest.skip)(f"needs {name}")
    return found


async def test_the_sync_client_sends_a_recording_and_stores_the_answer(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "question.wav"), "wb") as question:
        question.setparams((1, 2, 24_000, 0, "NONE", "not compressed"))
        question.writeframes(tone(1) + bytes(BYTES_PER_SECOND))
    async with running_demo(tmp_path) as relay:
        printed = await run(
            sys.executable, "-c", with_address_of(RECORDING, relay), folder=tmp_path
        )
        await check_ended(relay, "receptionist")

    with wave.open(str(tmp_path / "answer.wav")) as answer:
        assert answer.getframerate() == 24_000
        assert answer.getnframes() > 24_000
    assert len(printed) == 1


@pytest.mark.parametrize("secure", ["http", "https"])
async def test_the_async_client_has_two_sessions_at_once(tmp_path: Path, secure: str) -> None:
    pair = issue(tmp_path)
    server = pair.settings if secure == "https" else ""
    async with running_demo(tmp_path, server) as relay:
        snippet = with_address_of(TOGETHER, relay)
        assert secure == relay.root.partition(":")[0]
        printed = await run(
            sys.executable, "-c", snippet, folder=tmp_path, SSL_CERT_FILE=str(pair.cert)
        )
        await check_ended(relay, "receptionist", "kiosk")

    assert len(printed) == 2
    assert all(printed)


async def test_the_microcontroller_sends_and_receives_g711(tmp_path: Path) -> None:
    async with running_demo(tmp_path) as relay:
        snippet = with_address_of(MICROCONTROLLER, relay)
        printed = await run(sys.executable, "-W", "error", "-c", snippet, folder=tmp_path)
        await check_ended(relay, "doorbell")

    assert sum(int(line.removesuffix(" ms")) for line in printed) > 500


async def test_javascript_without_a_package_runs_in_node(tmp_path: Path) -> None:
    node = program("node")
    async with running_demo(tmp_path) as relay:
        (tmp_path / "snippet.mjs").write_text(with_address_of(ANY_WEBSOCKET, relay))
        transcript, closed = await run(
            node, "--experimental-websocket", "--no-warnings", "snippet.mjs", folder=tmp_path
        )
        await check_ended(relay, "receptionist")

    assert transcript
    assert closed == "closed 1000 client closed"


@pytest.mark.browser
async def test_javascript_without_a_package_runs_in_a_page(tmp_path: Path) -> None:
    from browsers import running_browser

    printed: list[str] = []
    async with running_demo(tmp_path) as relay, running_browser() as browser:
        page = await browser.new_page()
        page.on("console", lambda line: printed.append(line.text))
        await page.goto(relay.root)
        closed = page.wait_for_event("console", lambda line: line.text.startswith("closed"))
        async with asyncio.TaskGroup() as tasks:
            closing = tasks.create_task(closed)
            await page.evaluate(f"() => {{ {with_address_of(ANY_WEBSOCKET, relay)} }}")
            await closing
        await check_ended(relay, "receptionist")

    assert len(printed) == 2
    assert printed[-1] == "closed 1000 client closed"


async def test_the_npm_package_connects_over_tls(tmp_path: Path) -> None:
    node = program("node")
    if not PACKAGES.exists():
        pytest.skip("needs the npm package openai: make clients")
    pair = issue(tmp_path)
    (tmp_path / "node_modules").symlink_to(PACKAGES)
    async with running_demo(tmp_path, pair.settings) as relay:
        (tmp_path / "snippet.mjs").write_text(with_address_of(NPM_PACKAGE, relay))
        printed = await run(
            node, "snippet.mjs", folder=tmp_path, NODE_EXTRA_CA_CERTS=str(pair.cert)
        )
        await check_ended(relay, "receptionist")

    assert len(printed) == 1


async def test_the_bare_exchange_of_bytes_completes(tmp_path: Path) -> None:
    (head,), (events,) = blocks(PAGE, "http"), blocks(PAGE, "json")
    async with running_demo(tmp_path) as relay:
        wire = await Wire.dial(relay.port)
        wire.writer.write(with_address_of(head, relay).replace("\n", "\r\n").encode() + b"\r\n")
        answer = await wire.reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 ")
        # RFC 6455, section 1.3: the page uses the nonce of its example.
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer
        for event in events.splitlines():
            wire.send(event.encode())
        types: list[str] = []
        while not types or types[-1] != "response.done":
            types.append(json.loads((await wire.receive())[1])["type"])
        wire.close_frame(1000)
        assert (await wire.receive())[0] == CLOSE
        await wire.hang_up()
        await check_ended(relay, "receptionist")

    assert types[0] == "session.created"
    assert "response.output_audio_transcript.done" in types


def test_swift_and_kotlin_send_the_events_of_the_exchange() -> None:
    (events,) = blocks(PAGE, "json")
    for language in ("swift", "kotlin"):
        (snippet,) = blocks(PAGE, language)
        quoted = re.findall(r'"(type|role|text|item|content)": "?([\w.!]*)', snippet)
        asked = re.findall(r'"(type|role|text|item|content)": "?([\w.!]*)', events)
        assert {(k, v) for k, v in asked if v} <= set(quoted)


def test_the_page_has_no_other_snippets() -> None:
    written = re.findall(r"^```(\w+)$", PAGE, re.MULTILINE)

    assert written == [
        *("python", "python", "js", "js", "http", "json", "swift", "kotlin", "yaml", "python")
    ]
