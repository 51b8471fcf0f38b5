"""The lock files in ``requirements/`` are complete, and agree with each other."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires

import pytest
from locks import ENTRY
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from paths import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
GROUPS = PYPROJECT["dependency-groups"]
EXTRAS = PROJECT["optional-dependencies"]


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group, with the groups that it includes."""
    asked = []
    for entry in GROUPS[name]:
        asked += [entry] if isinstance(entry, str) else group(entry["include-group"])
    return asked


LOCKS = {
    "pip": group("pip"),
    "build": group("build"),
    "run": PROJECT["dependencies"],
    "compile": PROJECT["dependencies"] + group("compile"),
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


def named_extras(lock: str) -> dict[str, set[str]]:
    """Return the extras that a lock names, for each name in it."""
    named: dict[str, set[str]] = {}
    for pin in ENTRY.finditer(read(lock)):
        named.setdefault(pin["name"], set()).update(re.findall(r"[a-z0-9-]+", pin["extras"] or ""))
    return named


def requirements_of(name: str, extras: set[str]) -> Iterator[Requirement]:
    """Return the requirements of an installed package with ``extras``, on this Python."""
    try:
        texts = requires(name) or []
    except PackageNotFoundError:  # its marker excludes this machine
        return
    for requirement in map(Requirement, texts):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            yield requirement


def test_every_lock_is_known() -> None:
    assert {path.stem for path in (ROOT / "requirements").iterdir()} == set(LOCKS)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_is_pins_with_hashes_and_nothing_else(lock: str) -> None:
    """No index, no host and no path: the machine decides on the index, the hashes on the files."""
    assert ENTRY.sub("", read(lock)) == ""


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_satisfies_pyproject(lock: str) -> None:
    locked = [(name, version) for (name, _), version in pins(lock).items()]

    for requirement in map(Requirement, LOCKS[lock]):
        name = canonicalize_name(requirement.name)
        versions = [version for pinned, version in locked if pinned == name]
        assert versions, f"{name} is not locked: make lock"
        assert all(map(requirement.specifier.contains, versions))


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_every_extra_that_its_packages_request(lock: str) -> None:
    """For pip 23.2.1 a name with an extra is another package than the name alone."""
    named = named_extras(lock)
    requested = [*map(Requirement, LOCKS[lock])]
    for name, extras in named.items():
        requested += requirements_of(name, extras)

    for requirement in requested:
        if requirement.extras:
            assert requirement.extras <= named[canonicalize_name(requirement.name)], requirement


def test_locks_agree_so_that_they_can_share_an_environment() -> None:
    agreed: dict[tuple[str, str | None], str] = {}
    for lock in LOCKS:
        for pin, version in pins(lock).items():
            assert agreed.setdefault(pin, version) == version


def test_the_build_requirements_are_locked() -> None:
    assert GROUPS["build"] == PYPROJECT["build-system"]["requires"]


@pytest.mark.parametrize("name", ["aiofastnet", "aiohttp"])
def test_a_package_with_private_parts_in_use_has_an_upper_limit(name: str) -> None:
    (limits,) = (r.specifier for r in map(Requirement, PROJECT["dependencies"]) if r.name == name)

    assert "<" in {limit.operator for limit in limits}
