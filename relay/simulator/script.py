"""Fault injection: a list of rules that define which fault happens at which point.

A rule is data, in YAML or JSON: ``{on: session.updated, do: delay, seconds: 1.5}``.
``on`` is ``connect``, the type of a client event (before it is handled) or the type of a server
event (before it is sent). ``docs/simulator.md`` lists all actions.
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

from relay.simulator.api_names import SERVER_EVENTS
from relay.simulator.conversation import decode_base64
from relay.simulator.errors import RequestRefused
from relay.simulator.event_shapes import CLIENT_EVENTS
from relay.simulator.json_text import Json
from relay.simulator.outbox import (
    BinaryFrame,
    CloseFrame,
    Delay,
    Drop,
    OutboxEntry,
    Stall,
    TextFrame,
)
from relay.simulator.schema import (
    ANYTHING,
    STRING,
    Choice,
    JsonShape,
    ListOf,
    MapOf,
    Number,
    Object,
    tagged,
)
from relay.simulator.server_events import event

CONNECT = "connect"
# A close code that RFC 6455 does not allow is a fault too.
_CODE = Number(0, 65535, whole=True)
_ON = Choice((CONNECT, *CLIENT_EVENTS, *SERVER_EVENTS))


class InvalidScript(ValueError):
    """The script cannot be read; the message states the problem."""


class _Base64:
    """Bytes in base64."""

    def check(self, value: object, path: str) -> None:
        """Accept a string that can be decoded."""
        STRING.check(value, path)
        decode_base64(str(value), path)


def _rule(**fields: JsonShape) -> Object:
    count = Number(0, 2**31, whole=True)
    common: dict[str, JsonShape] = {"on": _ON, "do": STRING, "skip": count, "times": count}
    return Object.of("on", **common, **fields)


_BEFORE_THE_HANDSHAKE = frozenset({"delay", "stall", "drop", "refuse"})
_ERROR = {"code": STRING, "message": STRING, "type": STRING}
ACTIONS: Mapping[str, Object] = MappingProxyType(
    {
        "delay": _rule(seconds=Number(0, 3600)),
        "stall": _rule(),
        "ignore": _rule(),
        "refuse": _rule(status=Number(400, 599, whole=True), **_ERROR),
        "error": _rule(param=STRING, close=_CODE, **_ERROR),
        "fail": _rule(**_ERROR),
        "close": _rule(code=_CODE, reason=STRING),
        "drop": _rule(),
        "send": _rule(
            event=MapOf(ANYTHING),
            pad_bytes=Number(0, 2**26, whole=True),
            text=STRING,
            binary=_Base64(),
        ),
    }
)
_RULES = ListOf(tagged(ACTIONS, tag="do"))


@dataclass(frozen=True, slots=True, eq=False)
class FaultRule:
    """One fault.

    Attributes:
        on: The point of the fault: ``connect``, or the type of an event.
        do: The action, a key of ``ACTIONS``.
        skip: The number of times that each session passes the point without the fault first.
        times: The number of faults in all sessions together; None means no limit.
        options: The other keys of the rule.
    """

    on: str
    do: str
    skip: int = 0
    times: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def error(self) -> Json:
        """The error of the rule, as in the API's ``error`` objects."""
        defaults = {"type": "server_error", "code": "server_error", "message": "Trouble on demand."}
        return {name: self.options.get(name, default) for name, default in defaults.items()}

    @property
    def status(self) -> int:
        """The HTTP status of a refusal."""
        return int(self.options.get("status", 503))

    @property
    def seconds(self) -> float:
        """The duration of a delay."""
        return float(self.options.get("seconds", 1.0))

    def entries(self, client_event_id: str | None = None) -> list[OutboxEntry]:
        """Return the entries for the outbox."""
        match self.do:
            case "delay":
                return [Delay(self.seconds)]
            case "stall":
                return [Stall()]
            case "drop":
                return [Drop()]
            case "close":
                return [CloseFrame(self.options.get("code", 1011), self.options.get("reason", ""))]
            case "error":
                return self._error_entries(client_event_id)
            case "send":
                return [self._message()]
        return []

    def _error_entries(self, client_event_id: str | None) -> list[OutboxEntry]:
        error = {**self.error, "param": self.options.get("param"), "event_id": client_event_id}
        entries: list[OutboxEntry] = [TextFrame(json.dumps(event("error", error=error)))]
        if "close" in self.options:
            entries.append(CloseFrame(self.options["close"], f"{error['type']}.{error['code']}"))
        return entries

    def _message(self) -> OutboxEntry:
        if "binary" in self.options:
            return BinaryFrame(base64.b64decode(self.options["binary"]))
        if "text" in self.options:
            return TextFrame(self.options["text"])
        padding = (
            {"padding": "x" * self.options["pad_bytes"]} if "pad_bytes" in self.options else {}
        )
        given = self.options.get("event", {"type": "simulator.unknown"})
        return TextFrame(json.dumps({**event("simulator.unknown"), **given, **padding}))


def _check(rules: object) -> None:
    _RULES.check(rules, "script")
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        on, do = rule["on"], rule["do"]
        if not _can_happen(on, do):
            problem = f"{do} cannot happen at {on}"
            raise RequestRefused("invalid_value", param=f"script[{index}]", problem=problem)


def _can_happen(on: str, do: str) -> bool:
    if on == CONNECT:
        return do in _BEFORE_THE_HANDSHAKE
    if do == "fail":
        return on in SERVER_EVENTS and on.startswith("response.") and on != "response.done"
    return do != "refuse"


class Script:
    """The rules of a server, and a count of the faults of each rule."""

    def __init__(self, rules: Iterable[FaultRule] = ()) -> None:
        self._rules = tuple(rules)
        self._faults: Counter[FaultRule] = Counter()

    @classmethod
    def load(cls, text: str) -> "Script":
        """Return the script in a YAML text.

        Raises:
            InvalidScript: The text is not YAML, or not a script.
        """
        try:
            rules = YAML(typ="safe", pure=True).load(text)
            _check(rules or [])
        except YAMLError as error:
            raise InvalidScript(f"not YAML: {error}") from error
        except RequestRefused as refused:
            raise InvalidScript(refused.message) from refused
        return cls(_rule_of(rule) for rule in rules or ())

    def begin(self) -> "SessionScript":
        """Return the script for a new session."""
        return SessionScript(self)

    @property
    def is_empty(self) -> bool:
        """Whether it has no rules."""
        return not self._rules

    def rules_at(self, point: str, passed: int) -> list[FaultRule]:
        """Return the rules that apply at a point, and count their faults.

        Args:
            point: ``connect``, or the type of an event.
            passed: The number of times that the session has passed the point before.
        """
        rules = [
            rule
            for rule in self._rules
            if rule.on == point
            and passed >= rule.skip
            and (rule.times is None or self._faults[rule] < rule.times)
        ]
        self._faults.update(rules)
        return rules


class SessionScript:
    """The script in one session: it counts how often the session passes each point."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._passed: Counter[str] = Counter()
        self.is_empty = script.is_empty

    def rules_at(self, point: str) -> list[FaultRule]:
        """Return the rules that apply at this point, and count that it was passed."""
        if self.is_empty:
            return []
        passed = self._passed[point]
        self._passed[point] += 1
        return self._script.rules_at(point, passed)


def _rule_of(rule: Json) -> FaultRule:
    common = {name: rule[name] for name in ("on", "do", "skip", "times") if name in rule}
    return FaultRule(**common, options={k: v for k, v in rule.items() if k not in common})
