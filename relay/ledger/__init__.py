"""The ledger: the usage of each session, on disk.

The rest of the relay uses `accounts`, which holds a `ledger` and the budgets, and the start and the
end of a session in `entries`. The command ``relay usage`` uses `query`, `render`, `check` and
`prune`. The other modules are internal: `writer` is the thread behind the ledger, `connection` and
`tables` are the file, `file_identity` and `open_sessions` are for a file that was replaced,
`instances` and `crashes` are process locks and recovery.
"""
