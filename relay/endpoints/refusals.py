"""Refusals: the answers to a client that gets no session."""

from aiohttp import web

from relay.config.limits import Limits
from relay.core.errors import ClientLost, OriginNotAllowed, RelayError
from relay.core.events import encode
from relay.sessions.terms import client_patience
from relay.wire.handshake import SUBPROTOCOL, accept, is_upgrade, subprotocols


async def refuse(request: web.Request, error: RelayError, limits: Limits) -> web.StreamResponse:
    """Answer a client that gets no session.

    Browsers cannot read a refused handshake. A client that offers the subprotocol ``realtime``
    therefore receives 101, the error as an event, and the close code; a page of a foreign origin
    always receives 403.
    """
    offers = SUBPROTOCOL in subprotocols(request.headers)
    in_band = offers and not isinstance(error, OriginNotAllowed)
    if not in_band or not is_upgrade(request):
        return refusal(error)
    try:
        answer, client = await accept(
            request, client_patience(limits), max_message_bytes=limits.max_message_bytes
        )
    except ClientLost:
        return refusal(error)
    event = {"type": "error", "event_id": "relay_1", "error": error.body() | {"event_id": None}}
    await client.leave(error.close_code, str(error), encode(event))
    return answer  # pragma: no cover  # aiohttp cancels the handler of a lost client


def refusal(error: RelayError) -> web.Response:
    """Return an error as an HTTP response in OpenAI's shape."""
    wait = error.retry_after_seconds
    headers = {} if wait is None else {"Retry-After": str(wait)}
    return web.json_response({"error": error.body()}, status=error.status, headers=headers)
