"""Looks up the names of upstreams; a name that no server answers for delays no other name.

The loop's own lookups share a few threads: uvloop has four, and at most two of them look up names.
While two unanswered names wait for their timeout, not even ``localhost`` is found.
"""

import asyncio
import socket
from functools import partial

from aiohttp.abc import AbstractResolver, ResolveResult

from relay.wire.threads import Threads

MAX_LOOKUPS = 64
"""Lookups at a time. aiohttp never looks up a name twice at the same time, and keeps the answer."""


class Resolver(AbstractResolver):
    """Asks the system; each lookup runs in a thread of its own."""

    def __init__(self) -> None:
        self._threads = Threads("resolver", MAX_LOOKUPS)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name.

        Raises:
            OSError: the name is unknown, or cannot be looked up.
        """
        look_up = partial(
            socket.getaddrinfo,
            *(host, port),
            family=family,
            type=socket.SOCK_STREAM,
            flags=socket.AI_ADDRCONFIG,
        )
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=int(address[1]),
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Do nothing: a lookup ends by itself."""
