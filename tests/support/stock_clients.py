"""The stock clients that have a conversation with the relay, and how each of them is run.

What a client needs is locked in its folder in ``tests/clients/``, beside the script that talks.
What the script is told is in its environment; what it saw is the last line that it prints.
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
"""The variables that make a failure of a program that is missing."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Where clients are installed.

    Attributes:
        lock: Pins what is in it.
        stamp: Is as new as what is installed.
        interpreter: Runs scripts in it.
    """

    lock: Path
    stamp: Path
    interpreter: str

    def version(self, package: str) -> str:
        """Return the version of a package that the lock pins."""
        text = self.lock.read_text()
        if self.lock.suffix == ".json":
            return str(json.loads(text)["packages"][f"node_modules/{package}"]["version"])
        (version,) = re.findall(rf"^{package}==(\S+)", text, re.MULTILINE)
        return str(version)

    def is_installed(self) -> bool:
        """Tell whether what is installed is what the lock pins."""
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
"""The one that the tests themselves run in."""
AGENTS, PIPECAT, LIVEKIT = map(_python, ("openai-agents", "pipecat", "livekit"))
OPENAI_NPM, AGENTS_NPM = map(_node, ("openai-npm", "openai-agents-npm"))


@dataclass(frozen=True, slots=True)
class StockClient:
    """A client, and one of the ways to use it.

    Attributes:
        name: What the compatibility table calls it.
        package: The package whose version counts.
        script: The script in ``tests/clients/``, and its arguments.
        transport: What it speaks the protocol with.
        needs: Programs that must be there.
        tls: Whether it is given a relay that speaks TLS.
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
        """Return what is missing to run it; None if nothing is.

        Raises:
            RuntimeError: a program is missing that must not be, here.
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
