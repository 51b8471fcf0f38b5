"""The event loop that the relay runs on: uvloop's, with aiofastnet's TLS to the upstreams.

uvloop does TLS through Python's ``ssl`` and two buffers of its own, aiofastnet in OpenSSL itself.
Whatever is not TLS of a connection that the relay opens is uvloop's.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, TypeVar, cast

import aiofastnet
import uvloop

TLS_BUFFER_BYTES = 17 * 1024
"""Each way, for each connection: a record of TLS (RFC 8446 5.2), where aiofastnet takes sixteen."""


_Protocol = TypeVar("_Protocol", bound=asyncio.BaseProtocol)


class Loop(uvloop.Loop):
    """uvloop's loop, but for connections with TLS."""

    async def create_connection(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], _Protocol],
        *where: Any,
        ssl: ssl.SSLContext | None = None,
        **how: Any,
    ) -> tuple[asyncio.BaseTransport, _Protocol]:
        """Connect as uvloop does, with the arguments of asyncio."""
        if ssl is None:
            plain = super().create_connection(protocol_factory, *where, **how)
            return cast("tuple[asyncio.BaseTransport, _Protocol]", await plain)
        return await aiofastnet.create_connection(
            self,
            protocol_factory,
            *where,
            ssl=ssl,
            ssl_incoming_bio_size=TLS_BUFFER_BYTES,
            ssl_outgoing_bio_size=TLS_BUFFER_BYTES,
            **how,
        )
