"""The page about the local upstream documents all errors and actions."""

import re

import pytest
from paths import ROOT

from relay.simulator import Script
from relay.simulator.errors import ERRORS
from relay.simulator.script import ACTIONS

PAGE = (ROOT / "docs" / "simulator.md").read_text()
RULES = re.findall(r"^- (\{on: .*\})$|`(\{on: .*\})`", PAGE, re.MULTILINE)


@pytest.mark.parametrize("code", ERRORS)
def test_each_error_is_documented(code: str) -> None:
    assert f"`{code}`" in PAGE


@pytest.mark.parametrize("action", ACTIONS)
def test_each_action_is_documented_with_its_keys(action: str) -> None:
    row = re.search(rf"^\| `{action}` \|.*$", PAGE, re.MULTILINE)

    assert row is not None
    for key in set(ACTIONS[action].fields) - {"on", "do", "skip", "times"}:
        assert f"`{key}`" in row[0]


@pytest.mark.parametrize("rule", ["".join(rule) for rule in RULES])
def test_each_documented_rule_can_be_loaded(rule: str) -> None:
    assert not Script.load(f"[{rule}]").is_empty


def test_rules_are_documented() -> None:
    assert len(RULES) > 10
