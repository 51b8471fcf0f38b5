"""The upstream of the benchmarks: the part of the Realtime API that the load needs.

``python bench/upstream.py PORT [CERTIFICATE KEY]``. It confirms a session, answers every fifth
append with a delta, and ends a response with its usage every five seconds. It checks the order and
each byte of the appends, and closes the connection at the first wrong one.
"""

import gc
import json
import ssl
import sys

import uvloop
from events import (
    APPEND,
    APPEND_HEAD,
    DELTA,
    Stamp,
    WrongAudio,
    delta_head,
    ends_response,
    is_answered,
    response_created,
    response_done,
    session_event,
    speech_stopped,
)
from machine import HOST
from picows import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
)

TEXT, CLOSE = WSMsgType.TEXT, WSMsgType.CLOSE


class UpstreamSession(WSListener):
    """One session on the side of the upstream."""

    def __init__(self) -> None:
        self._transport: WSTransport
        self._session: int | None = None
        self._next = 0
        self._response = 0
        self._delta_head = b""

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Send ``session.created``, as the API does."""
        self._transport = transport
        self._send(session_event("session.created"))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Answer a message."""
        if frame.msg_type == CLOSE:
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
            return
        message = frame.get_payload_as_bytes()
        try:
            if message.startswith(APPEND_HEAD):
                self._receive_append(message)
            else:
                self._receive_event(message)
        except (WrongAudio, ValueError, KeyError) as wrong:
            transport.send_close(WSCloseCode.POLICY_VIOLATION, str(wrong)[:100].encode())
            transport.disconnect()

    def _receive_event(self, message: bytes) -> None:
        event = json.loads(message)
        if event["type"] == "session.update":
            self._send(session_event("session.updated", **event["session"]))
        else:
            self._receive_append(message)

    def _receive_append(self, message: bytes) -> None:
        stamp = _, session, sequence = APPEND.stamp(message, APPEND_HEAD)
        if self._session is None:
            self._session = session
            self._begin_response()
        if session != self._session or sequence != self._next:
            raise WrongAudio(f"append {sequence} of {session}, not {self._next} of {self._session}")
        self._next += 1
        if is_answered(session, sequence):
            self._answer(stamp)

    def _answer(self, stamp: Stamp) -> None:
        _, session, sequence = stamp
        self._send(DELTA.encode(self._delta_head, stamp))
        if ends_response(session, sequence):
            self._send(response_done(session, self._response))
            self._response += 1
            self._begin_response()

    def _begin_response(self) -> None:
        assert self._session is not None, "an append names the session"  # noqa: S101
        self._delta_head = delta_head(self._session, self._response)
        self._send(speech_stopped(self._session, self._response))
        self._send(response_created(self._session, self._response))

    def _send(self, message: bytes) -> None:
        self._transport.send(TEXT, message)


def _new_session(_request: WSUpgradeRequest) -> UpstreamSession:
    return UpstreamSession()


async def _serve(port: int, *certificate: str) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if certificate else None
    if tls:
        tls.load_cert_chain(*certificate)
    server = await ws_create_server(_new_session, HOST, port, ssl=tls, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    # A garbage collection of the upstream would look like a delay of the relay.
    gc.disable()
    uvloop.run(_serve(int(sys.argv[1]), *sys.argv[2:]))
