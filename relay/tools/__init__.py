"""The tools that the server owns: what may be written about them, and how they are run."""

from relay.tools.context import Context

__all__ = ["Context"]
