"""The event loop of the relay: uvloop's, with aiofastnet's TLS to the upstreams.

uvloop does TLS through Python's ``ssl`` and two buffers of its own; aiofastnet calls OpenSSL
directly. aiofastnet does the TLS of the connections that the relay opens, uvloop all the rest.
"""

import asyncio
from collections.abc import Callable
from ssl import SSLContext, SSLError
from typing import Any, TypeVar, cast

import aiofastnet
import uvloop
from aiofastnet import ssl_transport  # type: ignore[attr-defined]

TLS_BUFFER_BYTES = 17 * 1024
"""The buffer of each direction of a connection: one TLS record (RFC 8446 5.2). aiofastnet's default
is sixteen records."""

TLS_HANDSHAKE_SECONDS = 10.0
"""aiofastnet keeps a connection that the relay gives up earlier, and its buffers, for this long."""

TLS_SHUTDOWN_SECONDS = 1.0
"""aiofastnet keeps a connection that the relay closes for this long at most."""

_Protocol = TypeVar("_Protocol", bound=asyncio.BaseProtocol)


def _without_files(engine: Any) -> Any:
    """Return aiofastnet's engine for TLS, changed so that it writes no files.

    At the end of a handshake the engine decodes the peer's certificate through a temporary file: on
    a disk that is full or read-only, every handshake would fail. OpenSSL has verified the
    certificate before, and no code reads its fields.
    """

    class Engine(engine):  # type: ignore[misc]
        __slots__ = ()

        def getpeercert(self, binary_form: bool = False) -> Any:  # noqa: FBT001, FBT002  # as in ssl
            return super().getpeercert(binary_form=True) if binary_form else {}

    return Engine


if ssl_transport.SSLEngineDirect is not None:  # pragma: no branch  # it is optional there
    ssl_transport.SSLEngineDirect = _without_files(ssl_transport.SSLEngineDirect)


class Loop(uvloop.Loop):
    """uvloop's loop, with aiofastnet for the connections that it opens with TLS."""

    async def create_connection(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], _Protocol],
        *where: Any,
        ssl: SSLContext | None = None,
        **how: Any,
    ) -> tuple[asyncio.BaseTransport, _Protocol]:
        """Connect as uvloop does, with the arguments of asyncio."""
        if ssl is None:
            plain = super().create_connection(protocol_factory, *where, **how)
            return cast("tuple[asyncio.BaseTransport, _Protocol]", await plain)
        try:
            return await aiofastnet.create_connection(
                self,
                protocol_factory,
                *where,
                ssl=ssl,
                ssl_incoming_bio_size=TLS_BUFFER_BYTES,
                ssl_outgoing_bio_size=TLS_BUFFER_BYTES,
                ssl_handshake_timeout=TLS_HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=TLS_SHUTDOWN_SECONDS,
                **how,
            )
        except SSLError as error:
            # The reason is not in `args`, where Python's ssl has it and aiohttp reads it.
            error.args = error.args or (error.errno, error.strerror)
            raise
