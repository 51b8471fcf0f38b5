"""The caller of a request: its credential, its origin, its persona."""
