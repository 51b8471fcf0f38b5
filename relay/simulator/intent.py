"""Selects functions and their arguments from the words of an utterance alone."""

import re
from collections.abc import Iterable

from relay.simulator.json_text import Json

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
_NAME_WEIGHT, _DESCRIPTION_WEIGHT, _OPTION_WEIGHT = 2, 1, 2


def relevance(tool: Json, utterance: str) -> int:
    """Return a score: how closely the utterance matches the function."""
    words = _words(utterance)
    name = _words(tool["name"])
    description = _words(tool.get("description", "")) - name
    options = {option for _, schema in _properties(tool) for option in _options(schema)}
    return (
        len(words & name) * _NAME_WEIGHT
        + len(words & description) * _DESCRIPTION_WEIGHT
        + any(_mentions(utterance, option) for option in options) * _OPTION_WEIGHT
    )


def arguments_for(tool: Json, utterance: str) -> Json:
    """Return arguments from the utterance; an optional one is left out if it is not found."""
    required = _schema(tool).get("required", ())
    found = {}
    for name, schema in _properties(tool):
        value = _find(name, schema, utterance)
        if value is None and name in required:
            value = _substitute(schema, utterance)
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


def _find(name: str, schema: Json, utterance: str) -> object:
    """Return the value of a parameter in the utterance, or None."""
    if options := _options(schema):
        return next((option for option in options if _mentions(utterance, option)), None)
    match schema.get("type"):
        case "integer":
            number = _number(utterance)
            return None if number is None else int(number)
        case "number":
            return _number(utterance)
        case "string":
            return (
                _day(utterance) if _words(name) & {"day", "date", "weekday"} else _name(utterance)
            )
    return None


def _substitute(schema: Json, utterance: str) -> object:
    """Return a value for a required parameter that is not in the utterance."""
    if options := _options(schema):
        return options[0]
    substitutes = {"integer": 0, "number": 0, "boolean": True, "array": [], "object": {}}
    return substitutes.get(str(schema.get("type")), utterance)


def _number(utterance: str) -> float | None:
    if digits := re.search(r"-?\d+(?:\.\d+)?", utterance):
        value = float(digits[0])
        return int(value) if value.is_integer() else value
    return next(
        (_NUMBERS[word] for word in re.findall(r"\w+", utterance.lower()) if word in _NUMBERS), None
    )


def _day(utterance: str) -> str | None:
    return next((day for day in _DAYS if day in utterance.lower()), None)


def _name(utterance: str) -> str | None:
    """Return the words after the last preposition: Paris, in "the weather in Paris?"."""
    names = re.findall(
        rf"\b{_BEFORE_NAMES}\s+(?!{_BEFORE_NAMES}\b)([^,.?!;]+)", utterance, re.IGNORECASE
    )
    if not names:
        return None
    last = re.split(rf"\s+{_BEFORE_NAMES}\s+", names[-1])[-1]
    return re.sub(r"^(?:the|a|an|my)\s+|\s+please$", "", last.strip(), flags=re.IGNORECASE) or None


def _mentions(utterance: str, option: str) -> bool:
    words = re.escape(option.replace("_", " "))
    return re.search(rf"\b{words}\b", utterance.replace("_", " "), re.IGNORECASE) is not None


def _words(text: str) -> set[str]:
    """Return the stems of all words that are not common words."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", text)
    return set(_stems(word for word in re.findall(r"[a-z]+", apart.lower()) if word not in _COMMON))


def _stems(words: Iterable[str]) -> Iterable[str]:
    """Remove the endings of English words, so that ``booking`` matches ``book``."""
    for word in words:
        yield re.sub(r"(?:ings?|ed|e?s|e)$", "", word) if len(word) > len("hours") - 1 else word
