"""The limit of open files, at the start and after a reload of the configuration."""

import resource
import signal
from pathlib import Path

from processes import serving
from relays import write_config

LIMITS = "limits: {max_sessions: %d}"


async def test_the_relay_raises_its_limit_of_open_files_to_the_hard_limit(tmp_path: Path) -> None:
    """It warns, at the start and after a reload, if its sessions need more: 2 each, 256 others."""
    path = write_config(tmp_path, "http://127.0.0.1:1/v1", LIMITS % 100)
    limited = 'ulimit -Sn 200 && ulimit -Hn 500 && exec "$@"'
    async with serving(path, "sh", "-c", limited, "sh") as relay:
        assert resource.prlimit(relay.process.pid, resource.RLIMIT_NOFILE) == (500, 500)
        write_config(tmp_path, "http://127.0.0.1:1/v1", LIMITS % 200)
        relay.signal(signal.SIGHUP)
        warned = await relay.until("files.limited")
        relay.signal(signal.SIGTERM)
        assert await relay.ends() == 0

    assert (warned["limit"], warned["needed"]) == (500, 656)
    assert [line["event"] for line in relay.lines].count("files.limited") == 1
