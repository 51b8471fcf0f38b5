"""The sessions that run: terms, bridge, registry."""
