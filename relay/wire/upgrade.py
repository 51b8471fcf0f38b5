"""The two opening handshakes of RFC 6455: an HTTP connection becomes a ``Peer``.

aiohttp does the HTTP of both: it accepts and parses, or resolves, connects and verifies.
"""

import base64
import hashlib
import os
import ssl
from collections.abc import Mapping

import aiohttp
from aiohttp import web
from aiohttp.http import WebSocketWriter
from yarl import URL

from relay.wire.peer import Patience, Peer

_KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
SWITCHING_PROTOCOLS = 101


class NotUpgraded(Exception):
    """A server did not answer the handshake with 101 and the right key.

    Attributes:
        status: The HTTP status; 101 if the server accepted another key than ours.
    """

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"the server answered the handshake with {status}")


class Acceptance(web.WebSocketResponse[bool]):
    """The 101 to a client's handshake; the connection then belongs to a peer.

    Attributes:
        peer: The client, once the response is prepared.
    """

    peer: Peer

    def __init__(
        self, subprotocols: tuple[str, ...], patience: Patience, max_message_bytes: int
    ) -> None:
        super().__init__(protocols=subprotocols, compress=False)
        self._patience, self._max_message_bytes = patience, max_message_bytes

    def _post_start(
        self, request: web.BaseRequest, protocol: str | None, writer: WebSocketWriter
    ) -> None:
        """Give the connection to a peer, where aiohttp would begin to queue messages."""
        if request.transport is None:  # pragma: no cover  # aiohttp fails before, at the headers
            raise ConnectionResetError("the client left")
        self._ws_protocol, self._writer = protocol, writer
        request.protocol.keep_alive(False)
        self.peer = Peer(
            request.transport, self._patience, max_message_bytes=self._max_message_bytes
        )
        # The bytes behind the handshake; aiohttp calls nothing else of its own parser.
        request.protocol.set_parser(self.peer.intake)  # type: ignore[arg-type]

    async def close(self, **_how: object) -> bool:
        """Do nothing: the peer closes the connection."""
        return False


async def connect(
    http: aiohttp.ClientSession,
    url: URL,
    *,
    headers: Mapping[str, str],
    tls: ssl.SSLContext,
    patience: Patience,
    max_message_bytes: int,
) -> Peer:
    """Open a WebSocket; cancelling it leaves nothing open.

    Raises:
        NotUpgraded: The server did not answer with 101 and the right key.
        aiohttp.ClientError, OSError: The connection failed.
    """
    key = base64.b64encode(os.urandom(16))
    upgrade = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": key.decode(),
    }
    response = await http.get(url, headers={**headers, **upgrade}, ssl=tls, read_until_eof=False)
    protocol = response.connection.protocol if response.connection else None
    accepted = _is_accepted(response, key)
    if not accepted or protocol is None or protocol.transport is None:
        response.close()
        raise NotUpgraded(response.status)
    peer = Peer(
        protocol.transport,
        patience,
        max_message_bytes=max_message_bytes,
        masks=True,
        release=response.close,
    )
    protocol.set_parser(peer.intake, None)  # the bytes behind the handshake
    return peer


def _is_accepted(response: aiohttp.ClientResponse, key: bytes) -> bool:
    accept = base64.b64encode(hashlib.sha1(key + _KEY_SUFFIX, usedforsecurity=False).digest())
    return (
        response.status == SWITCHING_PROTOCOLS
        and response.headers.get("Upgrade", "").lower() == "websocket"
        and response.headers.get("Sec-WebSocket-Accept") == accept.decode()
    )
