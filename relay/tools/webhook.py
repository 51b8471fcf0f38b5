"""A tool over HTTP: the request has the arguments as signed JSON, the reply has the output.

The signature is that of Standard Webhooks (https://www.standardwebhooks.com), which has libraries
for many languages: HMAC-SHA256 over id, time and body. It does not cover the headers that start
with ``relay-``, but it covers the id, which contains session and call.

The model decides on the body only; the operator decides on address, method and headers. The relay
follows no redirect, uses no proxy of the environment, keeps no cookie and decompresses nothing.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import quote

import aiohttp

import relay
from relay.core.events import Event, encode
from relay.tools.config import Http
from relay.tools.context import Context
from relay.tools.outcome import MAX_OUTPUT_BYTES, TOO_LARGE, UNREADABLE, ToolFailed

ATTEMPTS: Final = 2
"""The second only if no reply came to the first; both have the same ``idempotency-key``."""

EMPTY_OUTPUT: Final = "null"
"""The output of a tool that answers with an empty body."""


class Webhook:
    """Calls one tool over HTTP."""

    def __init__(self, http: aiohttp.ClientSession, config: Http, key: bytes | None) -> None:
        self._http = http
        self._config = config
        self._key = key

    async def run(self, arguments: Event, context: Context) -> str:
        """Send the arguments; return the body of the reply. Cancelling this closes the connection.

        Raises:
            ToolFailed: no reply came, or the reply cannot be used.
        """
        body = encode(arguments)
        headers = self._headers(body, context)
        for attempts_left in reversed(range(ATTEMPTS)):
            try:
                return await self._attempt(body, headers)
            except aiohttp.ClientConnectionError as error:
                if not attempts_left:
                    raise ToolFailed(f"no reply: {type(error).__name__}") from error
            except (aiohttp.ClientError, ValueError) as error:
                raise ToolFailed(f"no request or reply: {type(error).__name__}") from error
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, body: bytes, headers: Mapping[str, str]) -> str:
        config = self._config
        async with self._http.request(
            config.method, config.url, data=body, headers=headers, allow_redirects=False
        ) as response:
            if not response.ok or response.status >= FIRST_REDIRECT:
                message = f"The tool answered with an error (HTTP {response.status})."
                raise ToolFailed(f"HTTP {response.status}", message)
            try:
                return await _output(response)
            except aiohttp.ClientError as error:
                raise ToolFailed(f"the reply broke off: {type(error).__name__}") from error

    def _headers(self, body: bytes, context: Context) -> dict[str, str]:
        values = {
            "relay-session-id": context.session_id,
            "relay-persona": context.persona,
            "relay-client": context.client,
            "relay-user": context.user,
            "relay-call-id": context.call_id,
            "idempotency-key": f"{context.session_id}:{context.call_id}",
        }
        own = {name: quote(value, safe=SAFE) for name, value in values.items() if value}
        own["content-type"] = "application/json"
        configured = self._config.headers.items()
        others = {name: value.get_secret_value() for name, value in configured}
        return others | own | self._signature(own["idempotency-key"], body)

    def _signature(self, webhook_id: str, body: bytes) -> dict[str, str]:
        if self._key is None:
            return {}
        timestamp = int(time.time())
        return {
            "webhook-id": webhook_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(self._key, webhook_id, timestamp, body),
        }


FIRST_REDIRECT: Final = 300
SAFE: Final = " !#$&'()*+,/:;<=>?@[]^`{|}~"
"""The characters that a header carries without percent-encoding; ``%`` is not one of them."""


def sign(key: bytes, webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return the signature of a message: version 1 of Standard Webhooks."""
    signed = b"%b.%d.%b" % (webhook_id.encode(), timestamp, body)
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


async def _output(response: aiohttp.ClientResponse) -> str:
    """Return the body of a reply; stop reading when it is too large.

    Raises:
        ToolFailed: it is too large, compressed, or not UTF-8.
    """
    if response.headers.get("content-encoding", "identity") != "identity":
        raise ToolFailed("the reply is compressed, and the request forbade it", UNREADABLE)
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_OUTPUT_BYTES:
            raise ToolFailed(f"the reply is larger than {MAX_OUTPUT_BYTES} bytes", TOO_LARGE)
    try:
        return body.decode() or EMPTY_OUTPUT
    except UnicodeDecodeError:
        raise ToolFailed("the reply is not valid UTF-8", UNREADABLE) from None


@asynccontextmanager
async def connections() -> AsyncIterator[aiohttp.ClientSession]:
    """Provide the connections to tools: one pool without a limit, because calls are limited."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        headers={
            "User-Agent": f"realtime-relay/{relay.__version__}",
            "Accept-Encoding": "identity",
        },
        auto_decompress=False,
        trust_env=False,
    ) as http:
        yield http
