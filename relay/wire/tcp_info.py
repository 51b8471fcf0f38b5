"""What the kernel knows about a connection: how much has arrived, and whether anything arrives."""

import asyncio
import socket
import sys

RETRANSMITS = 2
"""The place of ``tcpi_retransmits`` in ``struct tcp_info``: how often in a row the kernel sent the
same bytes again. An acknowledgement of new bytes sets it to 0."""

ACKNOWLEDGED = slice(120, 128)
"""The place of ``tcpi_bytes_acked`` in ``struct tcp_info`` (linux/tcp.h, since 4.1)."""


def acknowledged_bytes(transport: asyncio.Transport) -> int:
    """Return the bytes that the peer's machine has acknowledged; 0 where the system is not Linux.

    Behind TLS, the write buffer keeps its size until the peer has read the bytes that were
    encrypted before.
    """
    if sys.platform != "linux" or transport.is_closing():
        return 0
    return int.from_bytes(_tcp_info(transport)[ACKNOWLEDGED], sys.byteorder)


def is_unreachable(transport: asyncio.Transport) -> bool:
    """Return whether the peer's machine acknowledges nothing; False where the system is not Linux.

    The machine of a program that stops reading still acknowledges: its window becomes 0, and then
    the kernel sends probes (``tcpi_probes``), and sends no bytes again.
    """
    if sys.platform != "linux" or transport.is_closing():
        return False
    return _tcp_info(transport)[RETRANSMITS] > 0


def _tcp_info(transport: asyncio.Transport) -> bytes:
    connection: socket.socket = transport.get_extra_info("socket")
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, ACKNOWLEDGED.stop)
