"""The WebSocket wire: handshakes, frames, connections, TLS, the event loop."""
