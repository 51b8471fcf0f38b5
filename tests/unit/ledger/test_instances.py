"""Process locks: a running instance holds its lock, and an instance that stopped leaves none."""

import fcntl
from pathlib import Path

import pytest
from ledgers import opened

from relay.ledger.instances import Instance, is_running


async def test_a_relay_that_stopped_leaves_no_lock(file: Path) -> None:
    async with opened(file):
        assert len(list(file.parent.glob("*.lock"))) == 1

    assert list(file.parent.iterdir()) == [file]


def test_a_lock_file_that_is_removed_during_acquire_is_created_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the second attempt the relay would hold a removed file and count as stopped."""
    file.parent.mkdir()
    instance = Instance(file)
    real = fcntl.flock

    def tidied_away(handle: int, how: int) -> None:
        monkeypatch.undo()
        real(handle, how)
        for lock in file.parent.glob("*.lock"):
            lock.unlink()

    monkeypatch.setattr(fcntl, "flock", tidied_away)
    instance.acquire()

    assert is_running(file, instance.name)
    instance.release()
    assert not is_running(file, instance.name)
