"""The limit of open files after a reload of the configuration."""

import resource
import signal
from pathlib import Path

from processes import serving
from relays import write_config

LIMITS = "limits: {max_sessions: %d}"


async def test_a_reload_raises_the_limit_of_open_files_for_more_sessions(tmp_path: Path) -> None:
    """The relay needs two files for each session, and 256 others. It never lowers the limit."""
    soft_limits = []
    path = write_config(tmp_path, "http://127.0.0.1:1/v1", LIMITS % 100)
    async with serving(path, "sh", "-c", 'ulimit -Sn 200 && exec "$@"', "sh") as relay:
        soft_limits.append(resource.prlimit(relay.process.pid, resource.RLIMIT_NOFILE)[0])
        for max_sessions in (200, 100):
            write_config(tmp_path, "http://127.0.0.1:1/v1", LIMITS % max_sessions)
            relay.signal(signal.SIGHUP)
            await relay.until("config.reloaded")
            soft_limits.append(resource.prlimit(relay.process.pid, resource.RLIMIT_NOFILE)[0])
        relay.signal(signal.SIGTERM)
        assert await relay.ends() == 0

    assert soft_limits == [456, 656, 656]
