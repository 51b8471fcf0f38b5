"""A Python function as a tool: its description, its parameters, and how it is called.

What a tool is for stands in the docstring, and what it takes in the annotations; pydantic makes a
JSON Schema of them and turns arguments into what the annotations say. A coroutine runs on the
relay's loop, beside the audio, so it must never block; a plain function has a thread of its own.
"""

import asyncio
import inspect
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from operator import attrgetter
from typing import Any, NotRequired, Required, get_type_hints

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError, with_config
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticSerializationError, to_json
from typing_extensions import TypedDict

from relay.core.events import Event
from relay.tools.arguments import misfit
from relay.tools.context import Context
from relay.tools.outcome import InvalidArguments, ToolFailed, TooManyCalls
from relay.wire.threads import TooManyThreads
from relay.yaml.source import KeyPath

_SECTION = re.compile(r"^(Args|Arguments|Parameters|Returns|Yields|Raises|Examples?|Notes?):\s*$")
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Unusable(Exception):
    """What is configured cannot be a tool; the message says why, in the words of a problem."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function that a model can call.

    Attributes:
        declaration: the ``description`` from its docstring, up to the first section, and the
            ``parameters`` from its signature.
        required: the parameters without a default.
    """

    call: Callable[..., Any]
    declaration: Event
    required: frozenset[str]
    _arguments: TypeAdapter[dict[str, Any]]
    _context_parameters: tuple[str, ...]

    @classmethod
    def load(cls, target: str) -> "Function":
        """Import the function that ``package.module:function`` names.

        Raises:
            Unusable: there is none, or no schema can be made of its annotations.
        """
        function = _imported(target)
        try:
            hints = get_type_hints(function, include_extras=True)
            signature = inspect.signature(function)
        except (NameError, TypeError, ValueError) as error:
            raise Unusable(f"has annotations that cannot be read: {error}") from None
        parameters = signature.parameters.values()
        if any(parameter.kind not in _NAMED for parameter in parameters):
            raise Unusable("must take its arguments by name: no *args, **kwargs or /")
        taken = [p for p in parameters if hints.get(p.name) is not Context]
        required = frozenset(p.name for p in taken if p.default is p.empty)
        fields = {p.name: _field(hints.get(p.name, Any), p.name in required) for p in taken}
        adapter, schema = _schema(fields)
        contexts = tuple(p.name for p in parameters if hints.get(p.name) is Context)
        declaration = {"description": _description(function), "parameters": schema}
        return cls(function, declaration, required, adapter, contexts)

    def faults(self, parameters: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
        """Find why arguments that fit these ``parameters`` would not fit the function."""
        properties = parameters.get("properties")
        for name in properties if isinstance(properties, dict) else ():
            if name not in self.declaration["parameters"]["properties"]:
                yield ("properties", name), "is no parameter of the function"
        stated = parameters.get("required")
        for name in sorted(self.required - set(stated if isinstance(stated, list) else ())):
            yield ("required",), f"must name {name}: the function needs it"

    async def run(self, arguments: Event, context: Context, threads: Executor) -> str:
        """Call it; return what it returns: text as it is, anything else as JSON.

        Cancelling it cancels a coroutine, and leaves a thread alone until it ends.

        Raises:
            InvalidArguments: they are not what the annotations say.
            ToolFailed, TooManyCalls: it could not be called, or did not end well.
        """
        values = self._values(arguments) | dict.fromkeys(self._context_parameters, context)
        call = partial(self.call, **values)
        try:
            if inspect.iscoroutinefunction(self.call):
                result = await call()
            else:
                result = await asyncio.get_running_loop().run_in_executor(threads, call)
        except TooManyThreads as full:
            raise TooManyCalls(str(full)) from None
        except (Exception, SystemExit) as error:
            raise ToolFailed(_place(error)) from error
        return result if isinstance(result, str) else _json(result)

    def _values(self, arguments: Event) -> dict[str, Any]:
        try:
            return self._arguments.validate_python(arguments)
        except ValidationError as error:
            [first, *_] = error.errors(include_url=False, include_context=False)
            path = ".".join(map(str, ("$", *first["loc"])))
            cause = f"the annotations refuse them: {first['type']}"
            raise InvalidArguments(cause, misfit(path, first["msg"])) from None


def _imported(target: str) -> Callable[..., Any]:
    module, _, name = target.partition(":")
    try:
        function = attrgetter(name)(import_module(module))
    except ModuleNotFoundError as error:
        raise Unusable(f"cannot be imported: there is no module {error.name}") from None
    except AttributeError:
        raise Unusable("names nothing in its module") from None
    except Exception as error:
        # Its message may hold anything, so only its name is told.
        raise Unusable(f"cannot be imported: {type(error).__name__}") from error
    if not callable(function):
        raise Unusable("names something that cannot be called")
    return function  # type: ignore[no-any-return]  # callable() tells mypy nothing of the rest


def _field(hint: Any, required: bool) -> Any:  # noqa: FBT001  # it reads like the table it fills
    return Required[hint] if required else NotRequired[hint]


class _Plain(GenerateJsonSchema):
    """JSON Schema without titles, which say the names again."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Tell that no field gets one."""
        del schema
        return False


def _schema(fields: Mapping[str, Any]) -> tuple[TypeAdapter[dict[str, Any]], Event]:
    closed = with_config(ConfigDict(extra="forbid"))
    try:
        arguments = closed(TypedDict("Arguments", dict(fields)))  # type: ignore[operator]
        adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(arguments)
        schema = adapter.json_schema(schema_generator=_Plain)
    except PydanticUserError as error:
        raise Unusable(f"has annotations without a JSON Schema: {error.code}") from None
    definitions = schema.pop("$defs", {})
    for part in (schema, *definitions.values()):
        part.pop("title", None)
    return adapter, _inlined(schema, definitions)


def _inlined(schema: Any, definitions: Mapping[str, Any], within: tuple[str, ...] = ()) -> Any:
    """Write each definition where it is referred to: not every server follows references."""
    match schema:
        case {"$ref": str(reference), **beside}:
            name = reference.rpartition("/")[2]
            if name in within:
                raise Unusable(f"has annotations without a plain schema: {name} contains itself")
            return _inlined({**definitions[name], **beside}, definitions, (*within, name))
        case dict():
            return {key: _inlined(part, definitions, within) for key, part in schema.items()}
        case list():
            return [_inlined(part, definitions, within) for part in schema]
    return schema


def _description(function: Callable[..., Any]) -> str:
    lines = (inspect.getdoc(function) or "").splitlines()
    end = next((n for n, line in enumerate(lines) if _SECTION.match(line)), len(lines))
    return "\n".join(lines[:end]).strip()


def _json(result: Any) -> str:
    try:
        return to_json(result).decode()
    except (PydanticSerializationError, UnicodeError, ValueError) as error:
        cause = f"what it returned is no JSON: {type(error).__name__}"
        raise ToolFailed(cause, "The tool was run, but its output cannot be read.") from None


def _place(error: BaseException) -> str:
    """Say what was raised and where; its message may hold anything."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {frame.filename}:{frame.lineno}"
