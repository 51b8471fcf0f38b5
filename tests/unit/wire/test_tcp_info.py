"""The bytes that the peer's machine has acknowledged."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from relay.wire import tcp_info
from relay.wire.tcp_info import acknowledged_bytes, is_unreachable


async def test_acknowledged_bytes_are_counted_until_the_connection_closes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(1000))
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        transport = cast("asyncio.Transport", writer.transport)
        before = acknowledged_bytes(transport)
        writer.write(bytes(1000))
        await reader.readexactly(1000)  # with this, the acknowledgement has arrived, too

        assert acknowledged_bytes(transport) - before == 1000
        assert not is_unreachable(transport)
        with monkeypatch.context() as patched:
            patched.setattr(tcp_info, "sys", SimpleNamespace(platform="darwin"))
            assert acknowledged_bytes(transport) == 0
            assert not is_unreachable(transport)

        writer.close()
        assert acknowledged_bytes(transport) == 0
        assert not is_unreachable(transport)
        await writer.wait_closed()
