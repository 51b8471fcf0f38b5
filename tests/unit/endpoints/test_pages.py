"""The playground's files, as they are served."""

import re
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from relay.core import errors
from relay.endpoints import pages

Client = TestClient[web.Request, web.Application]
NAMED = re.compile(r"""["'](?:\./|playground/)?([\w-]+\.(?:css|js|svg))["']""")


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    app = web.Application()
    app.add_routes(pages.routes())
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_the_page_keeps_to_itself(client: Client) -> None:
    answer = await client.get("/")
    headers = answer.headers
    policy = headers["Content-Security-Policy"]

    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Cache-Control"] == "no-cache"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Permissions-Policy"] == "microphone=(self)"
    assert policy.startswith("default-src 'self'; ")
    assert "frame-ancestors 'none'" in policy
    assert f" ws://127.0.0.1:{client.port} " in policy
    assert "unsafe" not in policy


async def test_every_file_that_the_page_names_is_served(client: Client) -> None:
    named, seen = {"main.js"}, set[str]()
    while left := named - seen:
        name = left.pop()
        answer = await client.get(f"/playground/{name}")
        assert answer.status == 200, name
        seen.add(name)
        named |= set(NAMED.findall(await answer.text()))
    page = await (await client.get("/")).text()

    assert set(NAMED.findall(page)) - seen == {"icon.svg", "style.css"}
    served = {path.name for path in pages.FOLDER.iterdir() if path.is_file()}
    assert seen | {"icon.svg", "index.html", "style.css"} == served


async def test_only_the_files_of_the_page_are_served(client: Client) -> None:
    for path in ("/playground/", "/playground/%2e%2e/cli.py", "/playground/index.html"):
        assert (await client.get(path)).status == 404


def test_nothing_is_written_into_the_page_itself() -> None:
    """The policy forbids scripts and styles in the page, so one there would be dead."""
    page = (pages.FOLDER / pages.INDEX).read_text()

    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)


def test_every_error_that_ends_a_session_has_words_on_the_page() -> None:
    told_by_its_message = {"internal_error", "invalid_request"}
    ends_nothing_alone = {"invalid_event", "event_not_allowed"}
    never_read = {"client_lost", "message_too_big", "slow_client"}
    codes = errors.codes() - told_by_its_message - ends_nothing_alone - never_read
    words = (pages.FOLDER / "problems.js").read_text()

    assert codes <= set(re.findall(r"^  (\w+): \[", words, re.MULTILINE))
