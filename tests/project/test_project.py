"""The commands, the versions and the commits of the project are as its documents state."""

import os
import re
import subprocess
import tomllib

import pytest
from paths import ROOT

import relay

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
SUBJECT_CHARACTERS = 72
HISTORY = "ad44baa80a37ac9a7d8e28b753d3a65175461719"
"""The last commit that was made before the limits of a message were checked."""


def git(*arguments: str) -> str:
    return subprocess.check_output(["git", *arguments], cwd=ROOT, text=True)


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("demo", ".venv/bin/relay demo --port 9000"),
        ("run", ".venv/bin/relay serve --config config/relay.yaml --port 9000"),
        ("test", ".venv/bin/pytest"),
        ("test-compiled", ".venv/compiled/bin/pytest"),
        ("wheel", "RELAY_COMPILE=1 .venv/compile/bin/python -m pip"),
        ("test-core", ".venv/bin/pytest"),
        ("test-unit", ".venv/bin/pytest"),
        ("test-pythons", "/bin/pytest"),
        ("newest", ".venv/newest/bin/pytest"),
        ("clients", ".venv/bin/pytest tests/clients/test_clients.py"),
        ("clients-slow", ".venv/bin/pytest tests/clients/test_clients.py -m slow"),
        ("check", ".venv/bin/mypy"),
        ("check-locks", "--dry-run"),
        ("bench", ".venv/bin/python bench"),
        ("bench-guard", ".venv/bin/python bench/guard.py"),
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
    assert script.read_text().endswith(
        "\nmake check\nmake check-locks\nmake test\nmake test-compiled\nmake test-pythons"
        "\nmake bench-guard\nmake clients\n"
    )


def test_the_changelog_the_package_and_the_module_have_the_same_version() -> None:
    versions = re.findall(r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert versions[0] == PROJECT["version"] == relay.__version__


def test_a_commit_has_a_short_subject_and_a_body() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    if git("rev-parse", "--is-shallow-repository").strip() == "true":
        pytest.skip("a shallow clone has no history")

    log = git("log", "-z", "--no-merges", "--format=%h%n%s%n%b", f"{HISTORY}..HEAD")
    for message in filter(None, log.split("\0")):
        commit, subject, *body = message.splitlines()
        assert len(subject) <= SUBJECT_CHARACTERS, f"{commit}: {subject}"
        assert any(body), f"{commit} has no body: {subject}"
