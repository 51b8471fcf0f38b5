"""The targets of make, the locks and the versions of the project agree with one another."""

import os
import re
import subprocess
import tomllib

import pytest
from locks import ENTRY
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from paths import ROOT

import relay

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
GROUPS = PYPROJECT["dependency-groups"]

EXTRAS = PROJECT["optional-dependencies"]


def group(name: str) -> list[str]:
    """Return what a dependency group asks for, with the groups that it includes."""
    asked = []
    for entry in GROUPS[name]:
        asked += [entry] if isinstance(entry, str) else group(entry["include-group"])
    return asked


LOCKS = {
    "build": group("build"),
    "run": PROJECT["dependencies"],
    "image": PROJECT["dependencies"] + EXTRAS["azure"] + EXTRAS["mcp"],
    "speech": PROJECT["dependencies"] + EXTRAS["speech"],
    "bench": PROJECT["dependencies"] + group("bench"),
    "dev": PROJECT["dependencies"] + group("dev"),
}


def read(lock: str) -> str:
    return (ROOT / "requirements" / f"{lock}.txt").read_text()


def pins(lock: str) -> dict[tuple[str, str | None], str]:
    """Return the version of each name and marker in a lock."""
    return {(pin["name"], pin["marker"]): pin["version"] for pin in ENTRY.finditer(read(lock))}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_is_pins_with_hashes_and_nothing_else(lock: str) -> None:
    """No index, no host and no path: whoever installs decides where from, the hashes what."""
    assert ENTRY.sub("", read(lock)) == ""


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_satisfies_pyproject(lock: str) -> None:
    locked = [(name, version) for (name, _), version in pins(lock).items()]

    for requirement in map(Requirement, LOCKS[lock]):
        name = canonicalize_name(requirement.name)
        versions = [version for pinned, version in locked if pinned == name]
        assert versions, f"{name} is not locked: make lock"
        assert all(map(requirement.specifier.contains, versions))


def test_locks_agree_so_that_they_can_share_an_environment() -> None:
    agreed: dict[tuple[str, str | None], str] = {}
    for lock in LOCKS:
        for pin, version in pins(lock).items():
            assert agreed.setdefault(pin, version) == version


def test_what_builds_the_package_is_locked() -> None:
    assert GROUPS["build"] == PYPROJECT["build-system"]["requires"]


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("demo", ".venv/bin/relay demo --port 9000"),
        ("run", ".venv/bin/relay serve --config config/relay.yaml --port 9000"),
        ("test", ".venv/bin/pytest"),
        ("clients", ".venv/bin/pytest tests/clients/test_clients.py"),
        ("clients-slow", ".venv/bin/pytest tests/clients/test_clients.py -m slow"),
        ("check", ".venv/bin/mypy"),
        ("bench", ".venv/bin/python bench"),
        ("fix", ".venv/bin/ruff format"),
        ("lock", "pip compile"),
        ("clients-lock", "--omit-lockfile-registry-resolved"),
    ],
)
def test_make_has_the_target(target: str, command: str) -> None:
    # If make runs this test, its variables must not reach the inner make.
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    make = ["make", "--dry-run", f"--directory={ROOT}", target, "ARGS=--port 9000"]

    assert command in subprocess.check_output(make, env=environment, text=True)


def test_ci_runs_the_documented_targets() -> None:
    script = ROOT / ".ci/run"

    assert os.access(script, os.X_OK)
    assert script.read_text().endswith("\nmake check\nmake test\nmake clients\n")


def test_the_changelog_the_package_and_the_module_have_the_same_version() -> None:
    versions = re.findall(r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert versions[0] == PROJECT["version"] == relay.__version__
