"""The stock clients that have a conversation with the relay, and the command of each.

The folder of a client in ``tests/clients/`` has its lock file and its script. The script reads its
options from the environment, and prints its results as one JSON object on its last line.
"""

import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from paths import ROOT

FOLDERS = ROOT / "tests/clients"

REQUIRED = {"node": "RELAY_REQUIRE_NODE", "chromium": "RELAY_REQUIRE_BROWSER"}
"""Environment variables by program: with the variable set, a missing program is a failure."""


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment that clients are installed in.

    Attributes:
        lock: The lock file of its packages.
        stamp: A file as new as the installation.
        interpreter: The program that runs scripts in it.
    """

    lock: Path
    stamp: Path
    interpreter: str

    def version(self, package: str) -> str:
        """Return the locked version of a package."""
        text = self.lock.read_text()
        if self.lock.suffix == ".json":
            return str(json.loads(text)["packages"][f"node_modules/{package}"]["version"])
        (version,) = re.findall(rf"^{package}==(\S+)", text, re.MULTILINE)
        return str(version)

    def is_installed(self) -> bool:
        """Return whether the locked packages are installed."""
        if not self.stamp.exists():
            return False
        return self.stamp.stat().st_mtime >= self.lock.stat().st_mtime


def _python(name: str) -> Environment:
    home = ROOT / ".venv/clients" / name
    lock = FOLDERS / name / "requirements.txt"
    return Environment(lock, home.with_suffix(".stamp"), str(home / "bin/python"))


def _node(name: str) -> Environment:
    folder = FOLDERS / name
    return Environment(
        folder / "package-lock.json", folder / "node_modules/.package-lock.json", "node"
    )


_DEV_LOCK = ROOT / "requirements/dev.txt"
OWN = Environment(_DEV_LOCK, stamp=_DEV_LOCK, interpreter=sys.executable)
"""The environment of the tests themselves."""
AGENTS, PIPECAT, LIVEKIT = map(_python, ("openai-agents", "pipecat", "livekit"))
OPENAI_NPM, AGENTS_NPM = map(_node, ("openai-npm", "openai-agents-npm"))


@dataclass(frozen=True, slots=True)
class StockClient:
    """A client, and one of the ways to use it.

    Attributes:
        name: Its name in the compatibility table.
        package: The package with the version of the table.
        script: The script in ``tests/clients/``, and its arguments.
        transport: The WebSocket library, and TLS if it uses TLS.
        needs: Programs that it needs.
        tls: Whether the relay serves it over TLS.
        slow: Whether its environment is large.
    """

    name: str
    package: str
    environment: Environment
    script: str
    transport: str
    needs: tuple[str, ...] = ()
    tls: bool = False
    slow: bool = False

    def command(self) -> list[str]:
        """Return the command that runs the script."""
        script, *arguments = self.script.split()
        return [self.environment.interpreter, str(FOLDERS / script), *arguments]

    def missing(self) -> str | None:
        """Return a missing requirement, in words; None if the script can run.

        Raises:
            RuntimeError: a program is missing, and its variable in ``REQUIRED`` is set.
        """
        for program in self.needs:
            if shutil.which(program) is None:
                if os.environ.get(REQUIRED[program]):
                    raise RuntimeError(f"needs {program}")
                return f"needs {program}"
        if not self.environment.is_installed():
            return f"make clients{'-slow' if self.slow else ''} installs it"
        return None


CLIENTS = (
    StockClient(
        name="`openai` (Python), async",
        package="openai",
        environment=OWN,
        script="openai-python/asynchronous.py ga",
        transport="websockets",
    ),
    StockClient(
        name="`openai` (Python), sync",
        package="openai",
        environment=OWN,
        script="openai-python/synchronous.py ga",
        transport="websockets",
    ),
    StockClient(
        name="`openai` (Python), beta, async",
        package="openai",
        environment=OWN,
        script="openai-python/asynchronous.py beta",
        transport="websockets",
    ),
    StockClient(
        name="`openai` (Python), beta, sync",
        package="openai",
        environment=OWN,
        script="openai-python/synchronous.py beta",
        transport="websockets",
    ),
    StockClient(
        name="`openai-agents` (Python)",
        package="openai-agents",
        environment=AGENTS,
        script="openai-agents/turns.py",
        transport="websockets",
    ),
    StockClient(
        name="`openai` (npm), `realtime/ws`",
        package="openai",
        environment=OPENAI_NPM,
        script="openai-npm/ws.mjs",
        transport="ws, TLS",
        needs=("node",),
        tls=True,
    ),
    StockClient(
        name="`openai` (npm), `realtime/websocket`",
        package="openai",
        environment=OPENAI_NPM,
        script="openai-npm/browser.mjs",
        transport="Chromium, TLS",
        needs=("node", "chromium"),
        tls=True,
    ),
    StockClient(
        name="`@openai/agents` (npm)",
        package="@openai/agents",
        environment=AGENTS_NPM,
        script="openai-agents-npm/turns.mjs",
        transport="ws",
        needs=("node",),
    ),
    StockClient(
        name="`pipecat-ai` (Python)",
        package="pipecat-ai",
        environment=PIPECAT,
        script="pipecat/turns.py",
        transport="websockets",
        slow=True,
    ),
    StockClient(
        name="`livekit-plugins-openai` (Python)",
        package="livekit-plugins-openai",
        environment=LIVEKIT,
        script="livekit/turns.py",
        transport="aiohttp",
        slow=True,
    ),
)
