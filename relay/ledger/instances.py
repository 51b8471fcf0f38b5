"""Process locks: which of the relays that share a ledger still run.

Each relay that writes to a ledger is an `Instance` and holds a lock on a file of its own. The
kernel releases the lock when the process ends, also after a crash. So another relay needs no clock
and no heartbeat to find the sessions that a crash left open.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4


class Instance:
    """One relay that writes to a ledger; it counts as running while it holds its lock."""

    def __init__(self, file: Path) -> None:
        self.name = uuid4().hex
        self._lock = _lock_path(file, self.name)
        self._held: int | None = None

    def acquire(self) -> None:
        """Hold the lock; required before the first session is written.

        A lock whose file is gone is taken again, because other relays look for the file.

        Raises:
            OSError: the lock file cannot be created.
        """
        if self._held is not None and not _is_open_file(self._held, self._lock):
            os.close(self._held)
            self._held = None
        while self._held is None:
            handle = os.open(self._lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if _is_open_file(handle, self._lock):
                self._held = handle
            else:  # another relay removed the file before this one held the lock
                os.close(handle)

    def release(self) -> None:
        """Release the lock and remove its file."""
        if self._held is not None:
            self._lock.unlink(missing_ok=True)
            os.close(self._held)
            self._held = None


def is_running(file: Path, instance: str) -> bool:
    """Return whether an instance still runs."""
    try:
        # A shared lock, so that two relays that check at once do not see each other's lock.
        with _trying_lock(_lock_path(file, instance), fcntl.LOCK_SH) as acquired:
            return not acquired
    except FileNotFoundError:
        return False


def remove_stale_locks(file: Path) -> None:
    """Remove the lock files of instances that no longer run."""
    for lock in file.parent.iterdir():
        if lock.name.startswith(f"{file.name}-") and lock.suffix == ".lock":
            with suppress(FileNotFoundError), _trying_lock(lock, fcntl.LOCK_EX) as acquired:
                if acquired:
                    lock.unlink()


def _lock_path(file: Path, instance: str) -> Path:
    return file.with_name(f"{file.name}-{instance}.lock")


def _is_open_file(handle: int, path: Path) -> bool:
    """Return whether the open file is still the file at this path."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def _trying_lock(lock: Path, operation: int) -> Iterator[bool]:
    """Try to hold a lock inside the block; yield whether it was free."""
    handle = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, operation | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(handle)
