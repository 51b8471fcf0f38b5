"""The relay: a WebSocket relay between thin clients and the OpenAI Realtime API."""

__version__ = "0.1.0"
