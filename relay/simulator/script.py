"""Trouble on demand: a list of rules that say when something is to go wrong, and how.

A rule is data, in YAML or JSON: ``{on: session.updated, do: delay, seconds: 1.5}``.
``on`` is ``connect``, the type of a client event (before it is handled) or the type of a server
event (before it is sent). ``docs/simulator.md`` has them all.
"""

import base64
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from relay.simulator.commands import Close
from relay.simulator.conversation import decode_base64
from relay.simulator.errors import Json, Refused
from relay.simulator.outbox import Binary, Drop, Entry, Pause, Stall, Text
from relay.simulator.response import event
from relay.simulator.schema import Anything, Choice, ListOf, MapOf, Number, Object, Shape, Tagged
from relay.simulator.schema import Text as TextShape
from relay.simulator.vocabulary import CLIENT_EVENTS, SERVER_EVENTS

CONNECT = "connect"
_TEXT = TextShape()
# Codes that may not be sent are trouble too.
_CODE = Number(0, 65535, whole=True)
_ON = Choice((CONNECT, *CLIENT_EVENTS, *SERVER_EVENTS))


class InvalidScript(ValueError):
    """The script cannot be read; says what is wrong with it."""


class _Base64:
    """Bytes, as base64."""

    def check(self, value: object, path: str) -> None:
        """Accept what can be decoded."""
        _TEXT.check(value, path)
        decode_base64(str(value), path)


def _rule(**fields: Shape) -> Object:
    count = Number(0, 2**31, whole=True)
    common: dict[str, Shape] = {"on": _ON, "do": _TEXT, "skip": count, "times": count}
    return Object(MappingProxyType({**common, **fields}), required=("on",))


_BEFORE_THE_HANDSHAKE = frozenset({"delay", "stall", "drop", "refuse"})
_ERROR = {"code": _TEXT, "message": _TEXT, "type": _TEXT}
ACTIONS: Mapping[str, Object] = MappingProxyType(
    {
        "delay": _rule(seconds=Number(0, 3600)),
        "stall": _rule(),
        "ignore": _rule(),
        "refuse": _rule(status=Number(400, 599, whole=True), **_ERROR),
        "error": _rule(param=_TEXT, close=_CODE, **_ERROR),
        "fail": _rule(**_ERROR),
        "close": _rule(code=_CODE, reason=_TEXT),
        "drop": _rule(),
        "send": _rule(
            event=MapOf(Anything()),
            pad_bytes=Number(0, 2**26, whole=True),
            text=_TEXT,
            binary=_Base64(),
        ),
    }
)
_RULES = ListOf(Tagged(ACTIONS, tag="do"))


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One thing that goes wrong.

    Attributes:
        on: The point at which it does.
        do: What happens.
        skip: How often the point is passed unharmed first, in each session.
        times: How often it happens in all; always, if it is None.
        words: What else the rule says.
    """

    on: str
    do: str
    skip: int = 0
    times: int | None = None
    words: Mapping[str, Any] = field(default_factory=dict)

    @property
    def error(self) -> Json:
        """The error that it speaks of, as in the API's ``error`` objects."""
        defaults = {"type": "server_error", "code": "server_error", "message": "Trouble on demand."}
        return {name: self.words.get(name, default) for name, default in defaults.items()}

    @property
    def status(self) -> int:
        """The HTTP status of a refusal."""
        return int(self.words.get("status", 503))

    @property
    def seconds(self) -> float:
        """How long a delay takes."""
        return float(self.words.get("seconds", 1.0))

    def entries(self, client_event_id: str | None = None) -> list[Entry]:
        """Return what is to be sent."""
        match self.do:
            case "delay":
                return [Pause(self.seconds)]
            case "stall":
                return [Stall()]
            case "drop":
                return [Drop()]
            case "close":
                return [Close(self.words.get("code", 1011), self.words.get("reason", ""))]
            case "error":
                return self._error_entries(client_event_id)
            case "send":
                return [self._message()]
        return []

    def _error_entries(self, client_event_id: str | None) -> list[Entry]:
        error = {**self.error, "param": self.words.get("param"), "event_id": client_event_id}
        told: list[Entry] = [Text(json.dumps(event("error", error=error)))]
        if "close" in self.words:
            told.append(Close(self.words["close"], f"{error['type']}.{error['code']}"))
        return told

    def _message(self) -> Entry:
        if "binary" in self.words:
            return Binary(base64.b64decode(self.words["binary"]))
        if "text" in self.words:
            return Text(self.words["text"])
        padding = {"padding": "x" * self.words["pad_bytes"]} if "pad_bytes" in self.words else {}
        given = self.words.get("event", {"type": "simulator.unknown"})
        return Text(json.dumps({**event("simulator.unknown"), **given, **padding}))


def _check(rules: object) -> None:
    _RULES.check(rules, "script")
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        on, do = rule["on"], rule["do"]
        if not _can_happen(on, do):
            problem = f"{do} cannot happen at {on}"
            raise Refused("invalid_value", param=f"script[{index}]", problem=problem)


def _can_happen(on: str, do: str) -> bool:
    if on == CONNECT:
        return do in _BEFORE_THE_HANDSHAKE
    if do == "fail":
        return on in SERVER_EVENTS and on.startswith("response.") and on != "response.done"
    return do != "refuse"


class Script:
    """The rules of a server; it counts how often each has happened."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._rules = tuple(rules)
        self._happened: Counter[Rule] = Counter()

    @classmethod
    def load(cls, text: str) -> "Script":
        """Return the script that a YAML text holds.

        Raises:
            InvalidScript: It is not YAML, or not a script.
        """
        try:
            rules = YAML(typ="safe", pure=True).load(text)
            _check(rules or [])
        except YAMLError as error:
            raise InvalidScript(f"not YAML: {error}") from error
        except Refused as refused:
            raise InvalidScript(refused.message) from refused
        return cls(_rule_of(rule) for rule in rules or ())

    def begin(self) -> "Trouble":
        """Return what goes wrong in a new session."""
        return Trouble(self)

    @property
    def is_quiet(self) -> bool:
        """Nothing ever goes wrong."""
        return not self._rules

    def at(self, point: str, passed: int) -> list[Rule]:
        """Return what happens at a point that was passed so often before, and count it."""
        happening = [
            rule
            for rule in self._rules
            if rule.on == point
            and passed >= rule.skip
            and (rule.times is None or self._happened[rule] < rule.times)
        ]
        self._happened.update(happening)
        return happening


class Trouble:
    """What goes wrong in one session."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._passed: Counter[str] = Counter()
        self.is_quiet = script.is_quiet

    def at(self, point: str) -> list[Rule]:
        """Return what happens at this point."""
        if self.is_quiet:
            return []
        passed = self._passed[point]
        self._passed[point] += 1
        return self._script.at(point, passed)


def _rule_of(words: Json) -> Rule:
    common = {name: words[name] for name in ("on", "do", "skip", "times") if name in words}
    return Rule(**common, words={k: v for k, v in words.items() if k not in common})
