"""The decisions of the relay: pure functions and state machines, with no I/O, no clock and no log."""
