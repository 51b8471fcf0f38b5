"""The files of the playground over HTTP."""

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


async def test_the_headers_restrict_the_page_to_its_own_relay(client: Client) -> None:
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


@pytest.mark.parametrize("host", ["x; script-src *", "a b", "x,y", "[::1]; x"])
async def test_a_host_that_is_none_adds_nothing_to_the_policy(client: Client, host: str) -> None:
    answer = await client.get("/", headers={"Host": host})

    policy = answer.headers["Content-Security-Policy"]
    assert policy.endswith("; connect-src 'self'")
    assert host not in policy


@pytest.mark.parametrize("host", ["relay.example", "relay.example:8443", "[::1]", "[::1]:80"])
async def test_the_policy_names_the_sockets_of_the_host(client: Client, host: str) -> None:
    answer = await client.get("/", headers={"Host": host})

    policy = answer.headers["Content-Security-Policy"]
    assert policy.endswith(f" connect-src 'self' ws://{host} wss://{host}")


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


def test_the_page_contains_no_script_and_no_style() -> None:
    """The policy forbids scripts and styles in the page, so the browser would ignore them."""
    page = (pages.FOLDER / pages.INDEX).read_text()

    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)


def test_the_page_explains_every_error_that_ends_a_session() -> None:
    shown_by_its_message = {"internal_error", "invalid_request"}
    ends_no_session = {"invalid_event", "event_not_allowed"}
    never_read = {"client_lost", "message_too_big", "slow_client"}
    codes = errors.codes() - shown_by_its_message - ends_no_session - never_read
    problems = (pages.FOLDER / "problems.js").read_text()

    assert codes <= set(re.findall(r"^  (\w+): \[", problems, re.MULTILINE))
