"""The tools that the relay runs: their configuration, and their calls."""

from relay.tools.context import Context

__all__ = ["Context"]
