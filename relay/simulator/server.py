"""The aiohttp application: it checks the handshake, then a ``SessionConnection`` takes over."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from aiohttp import web

from relay.simulator.api_names import MODELS
from relay.simulator.connection import SessionConnection
from relay.simulator.context import ServerContext
from relay.simulator.engines import SpeechEngines
from relay.simulator.errors import RequestRefused
from relay.simulator.fallback import ENGINES
from relay.simulator.observation import Connected, Observer, ignore
from relay.simulator.responder import Responder, ScriptedReply
from relay.simulator.script import CONNECT, InvalidScript, Script, SessionScript
from relay.simulator.session import SimulatedSession

SUBPROTOCOL = "realtime"
KEY_SUBPROTOCOL = "openai-insecure-api-key."
BETA_SUBPROTOCOL = "openai-beta."
BETA_HEADER = "OpenAI-Beta"
# An append may contain 15 MiB of audio: 20 MiB of base64, and JSON around it.
MAX_MESSAGE_BYTES = 32 * 1024 * 1024
SESSION_SECONDS = 3600.0
PACE = 3.0
_THREADS = 8
_TRANSCRIPTION = "transcription"


def create_app(
    *,
    api_key: str | None = None,
    replies: Sequence[ScriptedReply] = (),
    script: Script | None = None,
    engines: SpeechEngines = ENGINES,
    observer: Observer = ignore,
    session_seconds: float = SESSION_SECONDS,
    pace: float = PACE,
) -> web.Application:
    """Return a server of the Realtime API, at ``/v1/realtime``.

    Args:
        api_key: The only valid key; if it is None, all keys are valid, also none.
        replies: Scripted replies; the first one that matches is given.
        script: The faults to inject.
        engines: The speech engines.
        observer: Called with each connection and each message of both directions.
        session_seconds: The maximum duration of a session.
        pace: The seconds of audio that are sent in a second, after the first second.
    """
    # More threads than cores: a short sentence must not wait for a long one.
    executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="speech")
    context = ServerContext(
        responder=Responder(tuple(replies)),
        engines=engines,
        executor=executor,
        pace=pace,
        session_seconds=session_seconds,
        observer=observer,
    )
    endpoint = _Endpoint(api_key, script or Script(), context, set())

    async def threads(_: web.Application) -> AsyncIterator[None]:
        yield
        executor.shutdown(wait=False, cancel_futures=True)

    # aiohttp cancels a handler when its client disconnects, so that no handler waits for it.
    app = web.Application(handler_args={"handler_cancellation": True})
    app.router.add_get("/v1/realtime", endpoint.serve)
    app.on_shutdown.append(endpoint.stop)
    app.cleanup_ctx.append(threads)
    return app


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """Answers the handshakes of one application."""

    api_key: str | None
    script: Script
    context: ServerContext
    connections: set[SessionConnection]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer the handshake and serve the client.

        The API answers 101 first, and sends the error for a wrong key or model afterwards.
        """
        if "call_id" in request.query:
            return _refusal(404, "call_id_not_found", "No call with this id was found.")
        script, refused = self._script_of(request)
        if (refusal := await _inject_on_connect(script, request)) is not None:
            return refusal
        socket = web.WebSocketResponse(
            protocols=(SUBPROTOCOL,),
            compress=False,  # base64 of audio does not get smaller
            autoclose=False,
            autoping=False,
            max_msg_size=MAX_MESSAGE_BYTES,
        )
        await socket.prepare(request)
        session = SimulatedSession(
            model=None if _transcribes(request) else request.query.get("model", ""),
            expires_at=int(time.time() + self.context.session_seconds),
        )
        self.context.observer(
            Connected(
                session.id,
                request.path_qs,
                {name.lower(): value for name, value in request.headers.items()},
            )
        )
        transport = request.transport
        if transport is not None:  # pragma: no branch  # aiohttp cancels a lost client's handler
            await self._run(
                SessionConnection(socket, transport, session, script, self.context),
                refused or self._refused(request),
            )
        return socket

    async def _run(self, connection: SessionConnection, refused: RequestRefused | None) -> None:
        self.connections.add(connection)
        try:
            await connection.run(refused)
        finally:
            self.connections.remove(connection)

    async def stop(self, _: web.Application) -> None:
        """Close all connections with 1001."""
        for connection in self.connections:
            connection.stop(1001, "The server is shutting down.")

    def _script_of(self, request: web.Request) -> tuple[SessionScript, RequestRefused | None]:
        if "script" not in request.query:
            return self.script.begin(), None
        try:
            return Script.load(request.query["script"]).begin(), None
        except InvalidScript as error:
            return Script().begin(), RequestRefused(
                "invalid_script", param="script", problem=str(error)
            )

    def _refused(self, request: web.Request) -> RequestRefused | None:
        """Return the error of the handshake, or None; the order of the checks is the API's."""
        offered = _subprotocols(request)
        if BETA_HEADER in request.headers or any(p.startswith(BETA_SUBPROTOCOL) for p in offered):
            return RequestRefused("beta_api_shape_disabled")
        if self.api_key is not None and not _is_key(self.api_key, _credential(request, offered)):
            return RequestRefused("invalid_api_key")
        model = request.query.get("model")
        if _transcribes(request):
            problem = "You must not provide a model parameter for transcription sessions."
            return (
                RequestRefused("invalid_parameter", param="model", problem=problem)
                if model
                else None
            )
        if not model:
            return RequestRefused("missing_model", param="model")
        return (
            None if model in MODELS else RequestRefused("invalid_model", param="model", model=model)
        )


def _transcribes(request: web.Request) -> bool:
    return request.query.get("intent") == _TRANSCRIPTION


def _subprotocols(request: web.Request) -> list[str]:
    offered = request.headers.getall("Sec-WebSocket-Protocol", [])
    return [name.strip() for line in offered for name in line.split(",")]


def _credential(request: web.Request, offered: list[str]) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    if "api-key" in request.headers:
        return request.headers["api-key"]
    keys = (name for name in offered if name.startswith(KEY_SUBPROTOCOL))
    return next(keys, "").removeprefix(KEY_SUBPROTOCOL)


def _is_key(expected: str, given: str) -> bool:
    return secrets.compare_digest(expected.encode(), given.encode(errors="surrogateescape"))


async def _inject_on_connect(script: SessionScript, request: web.Request) -> web.Response | None:
    """Inject the faults before the answer to the handshake; return a refusal, if there is one."""
    for rule in script.rules_at(CONNECT):
        match rule.do:
            case "delay":
                await asyncio.sleep(rule.seconds)
            case "stall":
                await asyncio.Event().wait()
            case "refuse":
                error = rule.error
                return _refusal(rule.status, error["code"], error["message"], error["type"])
            case "drop":  # pragma: no branch  # there are no others before the handshake
                if request.transport is not None:  # pragma: no branch  # as above
                    request.transport.abort()
    return None


def _refusal(
    status: int, code: str, message: str, type_: str = "invalid_request_error"
) -> web.Response:
    error = {"message": message, "type": type_, "code": code, "param": None}
    return web.json_response({"error": error}, status=status)
