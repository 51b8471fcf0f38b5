"""The event loop that the relay runs on: uvloop's, with aiofastnet's TLS to the upstreams.

uvloop does TLS through Python's ``ssl`` and two buffers of its own, aiofastnet in OpenSSL itself.
Whatever is not TLS of a connection that the relay opens is uvloop's.
"""

import asyncio
from collections.abc import Callable
from ssl import SSLContext, SSLError
from typing import Any, TypeVar, cast

import aiofastnet
import uvloop
from aiofastnet import ssl_transport  # type: ignore[attr-defined]

TLS_BUFFER_BYTES = 17 * 1024
"""Each way, for each connection: a record of TLS (RFC 8446 5.2), where aiofastnet takes sixteen."""


TLS_HANDSHAKE_SECONDS = 10.0
"""Who gives a connection up before leaves it to aiofastnet for that long, with its buffers."""

TLS_SHUTDOWN_SECONDS = 1.0
"""The same for who closes one."""

_Protocol = TypeVar("_Protocol", bound=asyncio.BaseProtocol)


def _without_files(engine: Any) -> Any:
    """Return aiofastnet's engine for TLS, but one that writes no files.

    At the end of a handshake it decodes the peer's certificate, by way of a temporary file: on a
    disk that is full or read-only no handshake would succeed. It was verified before, by OpenSSL,
    and nobody asks for what stands in it.
    """

    class Engine(engine):  # type: ignore[misc]
        __slots__ = ()

        def getpeercert(self, binary_form: bool = False) -> Any:  # noqa: FBT001, FBT002  # as in ssl
            return super().getpeercert(binary_form=True) if binary_form else {}

    return Engine


if ssl_transport.SSLEngineDirect is not None:  # pragma: no branch  # it is optional there
    ssl_transport.SSLEngineDirect = _without_files(ssl_transport.SSLEngineDirect)


class Loop(uvloop.Loop):
    """uvloop's loop, but for connections with TLS."""

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
            # What is wrong with a certificate is not where Python's ssl and aiohttp have it.
            error.args = error.args or (error.errno, error.strerror)
            raise
