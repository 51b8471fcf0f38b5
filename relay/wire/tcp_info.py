"""How much the peer's machine has received, from the kernel."""

import asyncio
import socket
import sys

ACKNOWLEDGED = slice(120, 128)
"""The place of ``tcpi_bytes_acked`` in ``struct tcp_info`` (linux/tcp.h, since 4.1)."""


def acknowledged_bytes(transport: asyncio.Transport) -> int:
    """Return the bytes that the peer's machine has acknowledged; 0 where the system is not Linux.

    Behind TLS, the write buffer keeps its size until the peer has read the bytes that were
    encrypted before.
    """
    if sys.platform != "linux" or transport.is_closing():
        return 0
    connection = transport.get_extra_info("socket")
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, ACKNOWLEDGED.stop)
    return int.from_bytes(info[ACKNOWLEDGED], sys.byteorder)
