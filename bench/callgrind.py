"""Counts instructions with callgrind: user space, all threads, without the kernel.

The same code takes the same number of instructions on a busy machine. Hashes have no random seed,
or the lengths of the chains in dictionaries would differ.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

PROGRAMS = ("valgrind", "callgrind_control")
MISSING = "valgrind is not installed: apt-get install --no-install-recommends valgrind"
ENVIRONMENT = os.environ | {"PYTHONHASHSEED": "0"}

_COLLECTED = re.compile(r"==(\d+)== Collected : (\d+)")
_SUMMARY = re.compile(r"^summary: (\d+)$", re.MULTILINE)


class Failed(Exception):
    """A program under callgrind failed; the text is its output."""


def is_installed() -> bool:
    """Return whether valgrind is installed."""
    return all(map(shutil.which, PROGRAMS))


def run(command: Sequence[str]) -> tuple[str, Mapping[int, int]]:
    """Run a command; return its output, and the instructions of each of its processes by id.

    Raises:
        Failed: The command failed.
    """
    counted = [*prefix(Path(os.devnull)), *command]
    done = subprocess.run(counted, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    if done.returncode:
        raise Failed(done.stderr[-2000:])
    counts = {int(pid): int(count) for pid, count in _COLLECTED.findall(done.stderr)}
    return done.stdout, counts


def prefix(out: Path, *options: str) -> list[str]:
    """Return the arguments before a command that count its instructions into a file."""
    return ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *options]


class Counter:
    """Reads the instructions of a server that runs under callgrind with ``--instr-atstart=no``."""

    def __init__(self, pid: int, out: Path) -> None:
        """Read the process that writes its counts next to this file."""
        self._pid = pid
        self._out = out
        self._dumps = 0
        self._control("-i", "on")

    def count(self) -> int:
        """Return the instructions since the last call."""
        self._control("-d")
        self._dumps += 1
        dump = self._out.with_name(f"{self._out.name}.{self._dumps}")
        found = _SUMMARY.search(dump.read_text())
        dump.unlink()
        return int(found[1]) if found else 0

    def _control(self, *arguments: str) -> None:
        command = ["callgrind_control", *arguments, str(self._pid)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
