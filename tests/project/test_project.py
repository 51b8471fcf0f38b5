"""The commands and the versions of the project are as its documents state."""

import os
import re
import subprocess
import tomllib

import pytest
from paths import ROOT

import relay

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


@pytest.mark.parametrize(
    ("verb", "command"),
    [
        ("demo", ".venv/bin/relay demo --port 9000"),
        ("run", ".venv/bin/relay serve --config config/relay.yaml --port 9000"),
        ("test", ".venv/bin/pytest"),
        ("test-unit", ".venv/bin/pytest"),
        ("test-pythons", "/bin/pytest"),
        ("newest", ".venv/newest/bin/pytest"),
        ("clients", ".venv/bin/pytest tests/clients/test_clients.py"),
        ("clients-slow", ".venv/bin/pytest tests/clients/test_clients.py -m slow"),
        ("check", ".venv/bin/mypy"),
        ("check-locks", "--dry-run"),
        ("bench", ".venv/bin/python bench"),
        ("fix", ".venv/bin/ruff format"),
        ("lock", "pip compile"),
        ("clients-lock", "--omit-lockfile-registry-resolved"),
    ],
)
def test_make_has_the_verb(verb: str, command: str) -> None:
    # What make told its own children is not for this one.
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    make = ["make", "--dry-run", f"--directory={ROOT}", verb, "ARGS=--port 9000"]

    assert command in subprocess.check_output(make, env=environment, text=True)


def test_ci_runs_the_documented_commands() -> None:
    script = ROOT / ".ci/run"

    assert os.access(script, os.X_OK)
    assert script.read_text().endswith(
        "\nmake check\nmake check-locks\nmake test\nmake test-pythons\nmake clients\n"
    )


def test_the_changelog_the_package_and_the_module_have_one_version() -> None:
    versions = re.findall(r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert versions[0] == PROJECT["version"] == relay.__version__
