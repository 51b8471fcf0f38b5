"""A Python function as a tool: its description, its parameters, and how it is called.

The docstring is the description, and the annotations are the parameters: pydantic makes a JSON
Schema of them and converts arguments to the annotated types. A coroutine runs on the relay's loop,
beside the audio, so it must never block; a plain function runs in a thread of its own.
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
from relay.tools.arguments import correction
from relay.tools.context import Context
from relay.tools.outcome import InvalidArguments, ToolFailed, TooManyCalls
from relay.wire.threads import TooManyThreads
from relay.yaml.source import KeyPath

_SECTION = re.compile(r"^(Args|Arguments|Parameters|Returns|Yields|Raises|Examples?|Notes?):\s*$")
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class ToolUnusable(Exception):
    """A configured tool cannot be run; the message is the text of a problem."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function that a model can call.

    Attributes:
        declaration: the ``description``, which is its docstring up to the first section, and the
            ``parameters``, which come from its signature.
        required: the names of the parameters without a default.
    """

    call: Callable[..., Any]
    declaration: Event
    required: frozenset[str]
    _arguments: TypeAdapter[dict[str, Any]]
    _context_parameters: tuple[str, ...]

    @classmethod
    def load(cls, target: str) -> "Function":
        """Import the function ``package.module:function``.

        Raises:
            ToolUnusable: the function does not exist, or its annotations have no JSON Schema.
        """
        function = _imported(target)
        try:
            hints = get_type_hints(function, include_extras=True)
            signature = inspect.signature(function)
        except (NameError, TypeError, ValueError) as error:
            raise ToolUnusable(f"has annotations that cannot be read: {error}") from None
        parameters = signature.parameters.values()
        if any(parameter.kind not in _NAMED for parameter in parameters):
            raise ToolUnusable("must take its arguments by name: no *args, **kwargs or /")
        from_model = [p for p in parameters if hints.get(p.name) is not Context]
        required = frozenset(p.name for p in from_model if p.default is p.empty)
        fields = {p.name: _field(hints.get(p.name, Any), p.name in required) for p in from_model}
        adapter, schema = _schema(fields)
        contexts = tuple(p.name for p in parameters if hints.get(p.name) is Context)
        declaration = {"description": _description(function), "parameters": schema}
        return cls(function, declaration, required, adapter, contexts)

    def faults(self, parameters: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
        """Yield the reasons why arguments that fit ``parameters`` do not fit the function."""
        properties = parameters.get("properties")
        for name in properties if isinstance(properties, dict) else ():
            if name not in self.declaration["parameters"]["properties"]:
                yield ("properties", name), "is no parameter of the function"
        stated = parameters.get("required")
        for name in sorted(self.required - set(stated if isinstance(stated, list) else ())):
            yield ("required",), f"must name {name}: the function needs it"

    async def run(self, arguments: Event, context: Context, threads: Executor) -> str:
        """Call it; return its result: text unchanged, anything else as JSON.

        Cancelling this cancels a coroutine; a thread runs on to its end.

        Raises:
            InvalidArguments: they do not fit the annotations.
            ToolFailed: it raised an exception, or its result is not JSON.
            TooManyCalls: too many threads run.
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
            raise ToolFailed(_origin(error)) from error
        return result if isinstance(result, str) else _json(result)

    def _values(self, arguments: Event) -> dict[str, Any]:
        try:
            return self._arguments.validate_python(arguments)
        except ValidationError as error:
            [first, *_] = error.errors(include_url=False, include_context=False)
            path = ".".join(map(str, ("$", *first["loc"])))
            cause = f"the annotations refuse them: {first['type']}"
            raise InvalidArguments(cause, correction(path, first["msg"])) from None


def _imported(target: str) -> Callable[..., Any]:
    module, _, name = target.partition(":")
    try:
        function = attrgetter(name)(import_module(module))
    except ModuleNotFoundError as error:
        raise ToolUnusable(f"cannot be imported: there is no module {error.name}") from None
    except AttributeError:
        raise ToolUnusable("is not in its module") from None
    except Exception as error:
        # The message of the exception may contain anything, so only its type is reported.
        raise ToolUnusable(f"cannot be imported: {type(error).__name__}") from error
    if not callable(function):
        raise ToolUnusable("cannot be called")
    return function  # type: ignore[no-any-return]  # callable() proves no return type to mypy


def _field(hint: Any, required: bool) -> Any:  # noqa: FBT001  # private, with one caller
    return Required[hint] if required else NotRequired[hint]


class _UntitledSchema(GenerateJsonSchema):
    """JSON Schema without titles, because titles only repeat the names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Return that no field gets a title."""
        del schema
        return False


def _schema(fields: Mapping[str, Any]) -> tuple[TypeAdapter[dict[str, Any]], Event]:
    closed = with_config(ConfigDict(extra="forbid"))
    try:
        arguments = closed(TypedDict("Arguments", dict(fields)))  # type: ignore[operator]
        adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(arguments)
        schema = adapter.json_schema(schema_generator=_UntitledSchema)
    except PydanticUserError as error:
        raise ToolUnusable(f"has annotations without a JSON Schema: {error.code}") from None
    definitions = schema.pop("$defs", {})
    for part in (schema, *definitions.values()):
        part.pop("title", None)
    return adapter, _inlined(schema, definitions)


def _inlined(schema: Any, definitions: Mapping[str, Any], within: tuple[str, ...] = ()) -> Any:
    """Replace each reference by its definition, because not every server follows references."""
    match schema:
        case {"$ref": str(reference), **beside}:
            name = reference.rpartition("/")[2]
            if name in within:
                reason = f"has annotations without a plain schema: {name} contains itself"
                raise ToolUnusable(reason)
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
        cause = f"its result is no JSON: {type(error).__name__}"
        raise ToolFailed(cause, "The tool was run, but its output cannot be read.") from None


def _origin(error: BaseException) -> str:
    """Return the type and the line of an exception; its message may contain anything."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {frame.filename}:{frame.lineno}"
