"""MCP servers that list their tools on several pages."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from relay.tools.config import has_mcp

if not has_mcp():
    pytest.skip('needs the extra "mcp"', allow_module_level=True)


class Paged:
    """A server with one tool on each page; the last page may name a next page too."""

    def __init__(self, pages: int, *, endless: bool = False) -> None:
        self._pages, self._endless = pages, endless
        self.requested: list[str | None] = []

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Any]:
        yield self

    async def list_tools(self, *, cursor: str | None) -> Any:
        self.requested.append(cursor)
        number = int(cursor or 0)
        tool = SimpleNamespace(name=f"tool_{number}", description=None, input_schema={})
        is_last = number + 1 == self._pages and not self._endless
        return SimpleNamespace(tools=[tool], next_cursor=None if is_last else f"{number + 1}")


async def test_all_pages_are_read() -> None:
    from relay.tools.mcp_server import list_tools

    server = Paged(3)
    tools: Any = await list_tools(server)

    assert list(tools) == ["tool_0", "tool_1", "tool_2"]
    assert server.requested == [None, "1", "2"]


async def test_a_list_without_end_is_cut() -> None:
    from relay.tools.mcp_server import MAX_PAGES, list_tools

    server = Paged(1, endless=True)
    tools: Any = await list_tools(server)

    assert len(tools) == len(server.requested) == MAX_PAGES
