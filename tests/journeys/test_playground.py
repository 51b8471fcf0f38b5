"""The playground in a real browser: Chromium, with a recorded human voice as its microphone."""

import base64
import json
import re
import subprocess
import sys
import threading
import urllib.request
import wave
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import pytest_asyncio
from browsers import (  # first, because it skips the tests without a browser
    MICROPHONE_FLAGS,
    running_browser,
)
from certificates import issue
from paths import AUDIO
from playwright.async_api import Browser, Locator, Page, WebSocket, expect
from relays import running_relay, write_config

from relay.simulator import speech

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

TURN_MS = 60_000
"""Time limit of a turn. The machine also runs both speech engines, Chromium and other tests."""
expect.set_options(timeout=TURN_MS)
SAMPLES_PER_MS = 24
SPEAKER_MS = 150
"""Longest time between the page that plays a sample and the loudspeaker."""
WORDS = re.compile("Go forward (ten|10) meters")
LONG = "I was told that somebody here can listen to me for quite a while. " * 4

CONTROLS = {"button", "combobox", "log", "meter", "searchbox", "textbox"}


# The relay in a process
@dataclass(frozen=True)
class Relay:
    """A relay that is listening.

    Attributes:
        page: The URL of its page.
        upstream: The URL of its upstream.
    """

    page: str
    upstream: str
    process: subprocess.Popen[str]


@contextmanager
def running(*command: str) -> Iterator[Relay]:
    """Run a relay, and kill it at the end."""
    arguments = [sys.executable, "-m", "relay", *command, "--port", "0"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            started = json.loads(process.stderr.readline())
            # Unread lines would fill the pipe, and stop the relay.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            (upstream,) = started["upstreams"].values()
            yield Relay(started["url"].removesuffix("v1"), upstream, process)
        finally:
            process.kill()


def wait_until_ready(page: str) -> None:
    """Poll ``/readyz``: no event of the log reports that the relay is ready."""
    for _ in range(300):
        try:
            with urllib.request.urlopen(page + "readyz"):  # noqa: S310  # our own relay
                return
        except URLError:
            threading.Event().wait(0.1)
    raise AssertionError("the demo did not get ready")


@pytest.fixture(scope="module")
def relay_demo() -> Iterator[Relay]:
    """Run the demo until it is ready."""
    with running("demo") as relay:
        wait_until_ready(relay.page)
        yield relay


@pytest.fixture(scope="module")
def demo(relay_demo: Relay) -> str:
    """Return the URL of the demo's page."""
    return relay_demo.page


# The browser


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording of words between silence; Chromium may lose its start."""
    path = tmp_path_factory.mktemp("voice") / "microphone.wav"
    with wave.open(str(AUDIO / "goforward.wav")) as clip, wave.open(str(path), "wb") as padded:
        padded.setparams(clip.getparams())
        second = bytes(clip.getframerate() * clip.getsampwidth())
        padded.writeframes(2 * second + clip.readframes(clip.getnframes()) + 2 * second)
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(voice: Path) -> AsyncIterator[Browser]:
    """A browser whose microphone plays the recording once, starting when the page opens it."""
    source = f"--use-file-for-fake-audio-capture={voice}%noloop"
    async with running_browser(*MICROPHONE_FLAGS, source) as browser:
        yield browser


class Playground:
    """The page with its controls, and its requests, events and console messages."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.sent: list[dict[str, Any]] = []
        self.received: list[dict[str, Any]] = []
        self.sockets: list[str] = []
        self.requested: list[str] = []
        self.console: list[str] = []
        page.on("websocket", self._listen)
        page.on("request", lambda request: self.requested.append(request.url))
        page.on("console", lambda line: self.console.append(f"{line.type}: {line.text}"))
        page.on("pageerror", lambda error: self.console.append(str(error)))
        self.log = page.get_by_role("log")
        self.message = page.get_by_role("textbox", name="Message")
        self.persona = page.get_by_role("combobox", name="Persona")
        self.problem = page.get_by_role("alert")
        self.state = page.locator("#state")
        self.talk = self.button("Talk")

    def button(self, name: str) -> Locator:
        """Return the button of this name."""
        return self.page.get_by_role("button", name=name, exact=True)

    async def send_text(self, text: str) -> None:
        """Write a message, and send it."""
        await self.message.fill(text)
        await self.message.press("Enter")

    async def played_samples(self) -> int:
        """Return the number of played samples."""
        return int(await self.page.locator("#heard").get_attribute("data-samples") or 0)

    def received_samples(self, item_id: str) -> int:
        """Return the number of received samples of an item."""
        return sum(
            len(base64.b64decode(event["delta"])) // 2
            for event in self.received
            if event["type"] == "response.output_audio.delta" and event["item_id"] == item_id
        )

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """Return the sent and received events of this type."""
        return [event for event in self.sent + self.received if event["type"] == kind]

    def _listen(self, socket: WebSocket) -> None:
        self.sockets.append(socket.url)
        socket.on("framesent", lambda frame: self.sent.append(json.loads(frame)))
        socket.on("framereceived", lambda frame: self.received.append(json.loads(frame)))


@asynccontextmanager
async def opened(browser: Browser, address: str, *, width: int = 1280) -> AsyncIterator[Playground]:
    """Open the page in a new profile; check that it sends requests to no other host."""
    context = await browser.new_context(viewport={"width": width, "height": 800})
    page = await context.new_page()
    playground = Playground(page)
    try:
        await page.goto(address)
        yield playground
    finally:
        await context.close()
    own = re.match(r"https?(://[^/]+/)", address)
    assert own is not None
    assert all(own[1] in url for url in playground.requested + playground.sockets)


# The tests


@pytest.mark.speech
@pytest.mark.skipif(not speech.is_installed(), reason='needs the extra "speech"')
async def test_spoken_words_appear_and_the_answer_is_played(browser: Browser, demo: str) -> None:
    async with opened(browser, demo) as playground:
        await playground.talk.click()
        await expect(playground.log).to_contain_text(WORDS)
        await expect(playground.state).to_have_text("Speaking")
        await expect(playground.log).to_contain_text(re.compile("You said: " + WORDS.pattern))
        await expect(playground.page.locator("#first-audio")).to_contain_text("ms")
        await expect(playground.state).to_have_text("Listening")
        answer = playground.of_type("response.output_audio.done")[0]["item_id"]

        assert await playground.played_samples() == playground.received_samples(answer)
        await playground.talk.click()
        await expect(playground.state).to_have_text("Ready")
        assert not playground.console
        used = playground.of_type("relay.usage")[0]["total"]["tokens"]
        shown = playground.page.locator("[data-kind=output_audio]")
        await expect(shown).to_have_text(f"{used['output_audio']:,}")


async def test_a_written_message_is_answered_aloud_and_a_call_has_a_form_for_its_result(
    browser: Browser, demo: str
) -> None:
    async with opened(browser, f"{demo}?persona=kiosk") as playground:
        await playground.send_text("When are you open on Monday?")
        await expect(playground.log).to_contain_text('opening_hours({"day": "monday"})')
        await playground.page.get_by_label("Result of opening_hours").fill('{"open": "at noon"}')
        await playground.button("Send result").click()
        await expect(playground.log).to_contain_text("open: at noon")
        await expect(playground.state).to_have_text("Speaking")
        await expect(playground.state).to_have_text("Ready")

        assert await playground.played_samples() > 0
        assert not playground.console


async def test_the_page_receives_only_the_answer_of_a_tool_that_the_relay_runs(
    browser: Browser, demo: str
) -> None:
    async with opened(browser, demo) as playground:
        await playground.send_text("When are you open on Saturday?")
        await expect(playground.log).to_contain_text("nine in the morning")
        await expect(playground.state).to_have_text("Ready")

        assert playground.of_type("relay.tool_finished")[0]["name"] == "opening_hours"
        assert not playground.of_type("response.function_call_arguments.done")
        assert "function_call" not in await playground.log.inner_text()


async def test_speech_stops_the_answer_and_truncates_it_after_the_played_samples(
    browser: Browser, demo: str
) -> None:
    async with opened(browser, demo) as playground:
        await playground.send_text(LONG)
        await expect(playground.state).to_have_text("Speaking")
        await playground.talk.click()
        await expect(playground.log).to_contain_text("interrupted after")
        await expect(playground.state).to_have_text("Speaking")
        await expect(playground.state).to_have_text("Listening")
        (cut,) = playground.of_type("conversation.item.truncate")
        _, next_answer = playground.of_type("response.output_audio.done")
        played = await playground.played_samples() - playground.received_samples(
            next_answer["item_id"]
        )

        assert 0 < played < playground.received_samples(cut["item_id"])
        assert played / SAMPLES_PER_MS == pytest.approx(cut["audio_end_ms"], abs=SPEAKER_MS)
        assert playground.of_type("conversation.item.truncated")
        assert not playground.of_type("error")


@pytest.mark.speech
@pytest.mark.skipif(not speech.is_installed(), reason='needs the extra "speech"')
async def test_a_persona_that_only_transcribes_shows_the_transcription(
    browser: Browser, demo: str
) -> None:
    async with opened(browser, f"{demo}?persona=transcriber") as playground:
        await playground.send_text("Hello")
        await expect(playground.log).to_contain_text("answers nothing: press Talk")
        await expect(playground.message).to_have_value("Hello")

        await playground.talk.click()
        await expect(playground.log).to_contain_text(WORDS)
        await expect(playground.state).to_have_text("Listening")
        await playground.talk.click()
        await expect(playground.state).to_have_text("Ready")
        assert not playground.of_type("response.create")
        assert not playground.console


async def test_the_url_preselects_a_persona(browser: Browser, demo: str) -> None:
    async with opened(browser, f"{demo}?persona=tutor") as playground:
        await expect(playground.persona).to_have_value("tutor")
        await playground.send_text("Hello")
        await expect(playground.log).to_contain_text("tutor")

        await playground.button("End").click()
        await expect(playground.state).to_have_text("Ended")
        assert playground.sockets[0].endswith("/v1/realtime?persona=tutor")


async def test_with_client_keys_the_page_asks_for_a_key_and_explains_its_refusal(
    browser: Browser, tmp_path: Path
) -> None:
    settings = "server: {playground: true}\nclients: {kiosk: {key: the-right-one}}\n"
    config = write_config(tmp_path, "http://127.0.0.1:1/v1", settings)
    async with (
        running_relay(config) as relay,
        opened(browser, f"http://127.0.0.1:{relay.port}/") as playground,
    ):
        key = playground.page.get_by_label("Key", exact=True)
        await key.fill("a-wrong-one")
        await key.press("Enter")
        await expect(playground.problem).to_contain_text("invalid_api_key, 401")
        await playground.send_text("Hello")
        await expect(playground.problem).to_contain_text("invalid_api_key, 3000")
        await expect(playground.message).to_have_value("Hello")

        await key.fill("the-right-one")
        await key.press("Enter")
        await expect(playground.persona).to_have_value("receptionist")
        await expect(playground.problem).to_be_hidden()
        await playground.message.press("Enter")
        await expect(playground.problem).to_contain_text("upstream_unavailable, 1013")


async def test_the_page_reports_a_lost_relay_and_offers_to_start_again(
    browser: Browser, relay_demo: Relay, tmp_path: Path
) -> None:
    config = write_config(tmp_path, relay_demo.upstream, "server: {playground: true}")
    with running("serve", "--config", str(config)) as relay:
        async with opened(browser, relay.page) as playground:
            await playground.send_text("Hello")
            await expect(playground.state).to_have_text("Speaking")
            relay.process.kill()
            await expect(playground.problem).to_contain_text("The relay is gone")
            await expect(playground.state).to_have_text("Ended")
            await playground.button("Start again").click()
            await expect(playground.problem).to_contain_text("The relay cannot be reached")


async def test_a_refused_microphone_is_explained_and_text_still_works(demo: str) -> None:
    async with (
        running_browser("--use-fake-device-for-media-stream", "--deny-permission-prompts") as other,
        opened(other, demo) as playground,
    ):
        await playground.talk.click()
        await expect(playground.problem).to_contain_text("The microphone was refused")
        await playground.send_text("Hello")
        await expect(playground.log).to_contain_text("You said: Hello")


async def test_a_page_over_https_connects_over_wss(relay_demo: Relay, tmp_path: Path) -> None:
    settings = f"server: {{playground: true, {issue(tmp_path).settings}}}"
    config = write_config(tmp_path, relay_demo.upstream, settings)
    with running("serve", "--config", str(config)) as relay:
        async with (
            running_browser("--ignore-certificate-errors") as other,
            opened(other, relay.page) as playground,
        ):
            await playground.send_text("Hello")
            await expect(playground.state).to_have_text("Speaking")
            assert await playground.page.evaluate("window.isSecureContext")
            assert playground.sockets[0].startswith("wss://")


async def test_a_narrow_page_does_not_scroll_sideways(browser: Browser, demo: str) -> None:
    async with opened(browser, f"{demo}?persona=kiosk", width=320) as playground:
        await playground.send_text("When are you open on Monday? " + "W" * 80)
        await expect(playground.button("Send result")).to_be_visible()
        await playground.page.get_by_text("Events").click()
        await expect(playground.page.locator("#journal li").first).to_be_visible()

        assert await playground.page.evaluate("document.documentElement.scrollWidth") == 320


async def test_every_control_has_an_accessible_name(browser: Browser, demo: str) -> None:
    async with opened(browser, f"{demo}?persona=kiosk") as playground:
        await playground.send_text("When are you open on Monday?")
        await expect(playground.button("Send result")).to_be_visible()
        await playground.page.get_by_text("Events").click()
        await playground.page.evaluate("document.getElementById('key-form').hidden = false")
        protocol = await playground.page.context.new_cdp_session(playground.page)
        tree = await protocol.send("Accessibility.getFullAXTree")
    shown = [node for node in tree["nodes"] if not node["ignored"]]
    named = {
        (role, node.get("name", {}).get("value", ""))
        for node in shown
        if (role := node["role"]["value"]) in CONTROLS
    }

    assert {role for role, _ in named} == CONTROLS
    assert all(name for _, name in named)
