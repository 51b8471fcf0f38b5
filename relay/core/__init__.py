"""The decisions of the relay: pure functions and state machines, without I/O, clock or log."""
