"""The opening handshake with a client: recognise it, and answer it with 101."""

from aiohttp import web
from multidict import MultiMapping

from relay.core.errors import ClientLost, InvalidRequest
from relay.wire.peer import Patience, Peer
from relay.wire.upgrade import Acceptance

SUBPROTOCOL = "realtime"
EVENTS_SUBPROTOCOL = "relay.events"
"""A client offers it with ``realtime`` to receive the relay's own events too."""

SUBPROTOCOLS = (SUBPROTOCOL, EVENTS_SUBPROTOCOL)
"""The relay answers with the first of these that the client offers."""

HANDSHAKE_HEADERS = ("Upgrade", "Sec-WebSocket-Version", "Sec-WebSocket-Key")


def subprotocols(headers: MultiMapping[str]) -> tuple[str, ...]:
    """Return the subprotocols that the client offers, in one header or in several."""
    offered = ",".join(headers.getall("Sec-WebSocket-Protocol", ())).split(",")
    return tuple(name for protocol in offered if (name := protocol.strip()))


def check(request: web.Request) -> None:
    """Check that a request is a WebSocket handshake.

    Raises:
        InvalidRequest: It is another request.
    """
    if not is_upgrade(request):
        raise InvalidRequest("This address speaks WebSocket (RFC 6455), and nothing else.")


def is_upgrade(request: web.Request) -> bool:
    """Return whether a request is a WebSocket handshake."""
    return bool(web.WebSocketResponse().can_prepare(_without_credentials(request)))


async def accept(
    request: web.Request, patience: Patience, *, max_message_bytes: int
) -> tuple[web.StreamResponse, Peer]:
    """Answer the handshake with 101; return the response for aiohttp, and the client.

    Raises:
        ClientLost: The client has left.
    """
    answer = Acceptance(SUBPROTOCOLS, patience, max_message_bytes)
    try:
        await answer.prepare(_without_credentials(request))
    except ConnectionError:
        raise ClientLost from None
    return answer, answer.peer


def _without_credentials(request: web.Request) -> web.Request:
    """Return the handshake for aiohttp: it logs subprotocols, and one may be a key."""
    offered = subprotocols(request.headers)
    headers = [(name, request.headers.get(name, "")) for name in HANDSHAKE_HEADERS]
    headers += [("Sec-WebSocket-Protocol", name) for name in SUBPROTOCOLS if name in offered][:1]
    # aiohttp decodes the key as ASCII, and fails on any other character.
    return request.clone(headers=[(name, _ascii(value)) for name, value in headers])


def _ascii(value: str) -> str:
    return value.encode("ascii", "replace").decode()
