"""An MCP server of the official package, for tests: over stdio, or over HTTP on a port."""

import asyncio
import os
import sys

from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, ToolAnnotations

server = MCPServer("clinic")


@server.tool()
def opening_hours(day: str, *, breaks: bool = False) -> str:
    """The hours at which the clinic is open."""
    return f"{day} {breaks} 9-17"


@server.tool()
def slots() -> dict[str, int]:
    """Free slots by day."""
    return {"monday": 2}


@server.tool()
def silent() -> CallToolResult:
    """Return structured content and no text."""
    return CallToolResult(content=[], structured_content={"free": 2})


@server.tool(annotations=ToolAnnotations(title="A map"))
def floor_plan() -> Image:
    """Show a picture."""
    return Image(data=b"png", format="png")


@server.tool()
def refuses(day: str) -> str:
    """Fail with a text for the model."""
    raise ToolError(f"closed on {day}")


@server.tool()
def process() -> str:
    """Return the process id and variables of the environment."""
    return f"{os.getpid()} {os.environ.get('CLINIC_KEY')} {os.environ.get('PLANTED')}"


@server.tool()
def dies() -> str:
    """Write a secret to stderr, and end the process."""
    os.write(2, b"PLANTED on stderr\n")
    os._exit(3)


@server.tool()
async def hangs() -> str:
    """Never answer."""
    await asyncio.Event().wait()
    return "never"


@server.tool()
def large(size: int) -> str:
    """Return a large output."""
    return "x" * size


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--port", port]:
            server.run("streamable-http", host="127.0.0.1", port=int(port))
        case _:
            server.run("stdio")
