"""The limit of open files of the process."""

import math
import resource

FILES_PER_SESSION, OTHER_FILES = 2, 256
"""Open files: two sockets for each session, and ``OTHER_FILES`` for the ledger, tools, scrapes and
refused clients."""


def needed_files(max_sessions: int, warm_connections: int = 0) -> int:
    """Return the number of files that these numbers of sessions and of warm connections need."""
    return FILES_PER_SESSION * max_sessions + warm_connections + OTHER_FILES


def file_limit() -> float:
    """Return the number of files that the process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if soft == resource.RLIM_INFINITY else soft


def raise_file_limit(needed: int) -> float:
    """Raise the soft limit of open files to the hard limit, and return it.

    Without a hard limit, which no Linux has, raise it to ``needed``: some systems refuse more.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return math.inf
    allowed = max(soft, needed) if hard == resource.RLIM_INFINITY else hard
    if soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed
