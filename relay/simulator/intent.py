"""Which function somebody wants, and with which arguments, from the words alone."""

import re
from collections.abc import Iterable

from relay.simulator.errors import Json

_COMMON_WORDS = (
    "a about all an and any are as at be by can could do does for from get give go has have how i "
    "if in is it its just know let like me my of on or our out please say should tell than that "
    "the their them then there they this to use user want was we what when where which who will "
    "with would you your call function current specific s t"
)
_COMMON = frozenset(_COMMON_WORDS.split())
_NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
)
_NUMBERS = {word: number for number, word in enumerate(_NUMBER_WORDS.split())}
_DAYS = (
    *("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
    *("today", "tomorrow", "tonight"),
)
_BEFORE_NAMES = r"(?:in|for|at|to|of|about|named|called|from|on)"
_NAME_WORDS, _MENTION, _OPTION = 2, 1, 2


def relevance(tool: Json, said: str) -> int:
    """Return how much what was said is about the function."""
    spoken = _words(said)
    name = _words(tool["name"])
    about = _words(tool.get("description", "")) - name
    options = {option for _, schema in _properties(tool) for option in _options(schema)}
    named = len(spoken & name) * _NAME_WORDS
    return (
        named
        + len(spoken & about) * _MENTION
        + _OPTION * any(_mentions(said, option) for option in options)
    )


def arguments_for(tool: Json, said: str) -> Json:
    """Return arguments taken from what was said; what is not required stays out if unsaid."""
    required = _schema(tool).get("required", ())
    found = {}
    for name, schema in _properties(tool):
        value = _find(name, schema, said)
        if value is None and name in required:
            value = _make_do(schema, said)
        if value is not None:
            found[name] = value
    return found


def _schema(tool: Json) -> Json:
    parameters = tool.get("parameters")
    return parameters if isinstance(parameters, dict) else {}


def _properties(tool: Json) -> list[tuple[str, Json]]:
    properties = _schema(tool).get("properties", {})
    return [(name, schema) for name, schema in properties.items() if isinstance(schema, dict)]


def _options(schema: Json) -> list[str]:
    return [option for option in schema.get("enum", ()) if isinstance(option, str)]


def _find(name: str, schema: Json, said: str) -> object:
    """Return what was said for a parameter; None if nothing was."""
    if options := _options(schema):
        return next((option for option in options if _mentions(said, option)), None)
    match schema.get("type"):
        case "integer":
            number = _number(said)
            return None if number is None else int(number)
        case "number":
            return _number(said)
        case "string":
            return _day(said) if _words(name) & {"day", "date", "weekday"} else _name(said)
    return None


def _make_do(schema: Json, said: str) -> object:
    """Return something for a parameter that must be there."""
    if options := _options(schema):
        return options[0]
    substitutes = {"integer": 0, "number": 0, "boolean": True, "array": [], "object": {}}
    return substitutes.get(str(schema.get("type")), said)


def _number(said: str) -> float | None:
    if digits := re.search(r"-?\d+(?:\.\d+)?", said):
        value = float(digits[0])
        return int(value) if value.is_integer() else value
    return next(
        (_NUMBERS[word] for word in re.findall(r"\w+", said.lower()) if word in _NUMBERS), None
    )


def _day(said: str) -> str | None:
    return next((day for day in _DAYS if day in said.lower()), None)


def _name(said: str) -> str | None:
    """Return the last thing that a preposition points at: Paris, in "the weather in Paris?"."""
    names = re.findall(
        rf"\b{_BEFORE_NAMES}\s+(?!{_BEFORE_NAMES}\b)([^,.?!;]+)", said, re.IGNORECASE
    )
    if not names:
        return None
    last = re.split(rf"\s+{_BEFORE_NAMES}\s+", names[-1])[-1]
    return re.sub(r"^(?:the|a|an|my)\s+|\s+please$", "", last.strip(), flags=re.IGNORECASE) or None


def _mentions(said: str, option: str) -> bool:
    spoken = re.escape(option.replace("_", " "))
    return re.search(rf"\b{spoken}\b", said.replace("_", " "), re.IGNORECASE) is not None


def _words(text: str) -> set[str]:
    """Return the words that mean something, in their plain form."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", text)
    return set(_plain(word for word in re.findall(r"[a-z]+", apart.lower()) if word not in _COMMON))


def _plain(words: Iterable[str]) -> Iterable[str]:
    """Cut what English hangs on its words, so that ``booking`` is about ``book``."""
    for word in words:
        yield re.sub(r"(?:ings?|ed|e?s|e)$", "", word) if len(word) > len("hours") - 1 else word
