"""The WebSocket handshake with a client: what is one, how it is answered, how it is refused."""

from aiohttp import web

from relay import auth
from relay.config import Limits
from relay.core.beta.peers import BetaClient
from relay.core.dialects import GA, Dialect
from relay.core.errors import ClientLost, InvalidRequest, OriginNotAllowed, RelayError
from relay.core.events import encode
from relay.peer import Patience, Peer
from relay.upgrade import Acceptance

SUBPROTOCOL = "realtime"
EVENTS_SUBPROTOCOL = "relay.events"
"""Offered besides ``realtime`` by a client that wants the relay's own events too."""

SUBPROTOCOLS = (SUBPROTOCOL, EVENTS_SUBPROTOCOL)
"""What the relay may answer, the first that is offered."""

HANDSHAKE_HEADERS = ("Upgrade", "Sec-WebSocket-Version", "Sec-WebSocket-Key")
BETA_HEADER, BETA_VERSION = "OpenAI-Beta", "realtime=v1"
BETA_SUBPROTOCOL = "openai-beta.realtime-v1"


def check(request: web.Request) -> None:
    """Let only a WebSocket handshake pass.

    Raises:
        InvalidRequest: it is something else.
    """
    if not is_upgrade(request):
        raise InvalidRequest("This address speaks WebSocket (RFC 6455), and nothing else.")


def dialect(request: web.Request) -> Dialect:
    """Return what a client speaks: the beta interface if it says so, for the whole session."""
    offered = auth.subprotocols(request.headers)
    named = ",".join(request.headers.getall(BETA_HEADER, ())).split(",")
    if BETA_SUBPROTOCOL in offered or BETA_VERSION in map(str.strip, named):
        return BetaClient(announces=EVENTS_SUBPROTOCOL in offered)
    return GA


def _without_credentials(request: web.Request) -> web.Request:
    """Return the handshake as aiohttp may see it: it logs subprotocols, and one may be a key."""
    offered = auth.subprotocols(request.headers)
    headers = [(name, request.headers.get(name, "")) for name in HANDSHAKE_HEADERS]
    headers += [("Sec-WebSocket-Protocol", name) for name in SUBPROTOCOLS if name in offered][:1]
    # It reads the key with a decoder that fails on anything but ASCII.
    return request.clone(headers=[(name, _ascii(value)) for name, value in headers])


def _ascii(value: str) -> str:
    return value.encode("ascii", "replace").decode()


def is_upgrade(request: web.Request) -> bool:
    """Tell whether a request is a WebSocket handshake."""
    return bool(web.WebSocketResponse().can_prepare(_without_credentials(request)))


async def accept(request: web.Request, limits: Limits) -> tuple[web.StreamResponse, Peer]:
    """Answer the handshake with 101; return what the handler returns, and the client.

    Raises:
        ClientLost: the client is gone.
    """
    patience = Patience(limits.slow_client_seconds, limits.max_buffered_bytes)
    answer = Acceptance(SUBPROTOCOLS, patience, limits.max_message_bytes)
    try:
        await answer.prepare(_without_credentials(request))
    except ConnectionError:
        raise ClientLost from None
    return answer, answer.peer


async def refuse(request: web.Request, error: RelayError, limits: Limits) -> web.StreamResponse:
    """Tell a client why it gets no session.

    Browsers cannot read a refused handshake, so whoever offers the subprotocol ``realtime`` gets
    101, the error as an event, and the close code; a page of a foreign origin never does.
    """
    offers = SUBPROTOCOL in auth.subprotocols(request.headers)
    in_band = offers and not isinstance(error, OriginNotAllowed)
    if not in_band or not is_upgrade(request):
        return refusal(error)
    try:
        answer, client = await accept(request, limits)
    except ClientLost:
        return refusal(error)
    event = {"type": "error", "event_id": "relay_1", "error": error.body() | {"event_id": None}}
    await client.leave(error.close_code, str(error), encode(event))
    return answer


def refusal(error: RelayError) -> web.Response:
    """Return an error as an HTTP response in OpenAI's shape."""
    wait = error.retry_after_seconds
    headers = {} if wait is None else {"Retry-After": str(wait)}
    return web.json_response({"error": error.body()}, status=error.status, headers=headers)
