"""Log, metrics, and the record of one session."""
