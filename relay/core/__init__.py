"""What the relay decides: pure functions and state machines, with no I/O, no clock and no log."""
