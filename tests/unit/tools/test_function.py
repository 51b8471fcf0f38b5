"""A Python function as a tool: its description, its arguments, its call."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import clinic_tools
import pytest

from relay.tools import Context
from relay.tools.function import Function, ToolUnusable
from relay.tools.outcome import InvalidArguments, ToolFailed, TooManyCalls
from relay.wire.threads import Threads


@pytest.fixture(autouse=True)
def _release() -> Iterator[None]:
    """End the hanging threads of a test with the test."""
    clinic_tools.released.clear()
    yield
    clinic_tools.released.set()


CONTEXT = Context("sess_1", "receptionist", "kiosk", "ana", "call_1")


def load(name: str) -> Function:
    return Function.load(f"clinic_tools:{name}")


async def run(name: str, threads: Threads | None = None, **arguments: Any) -> str:
    return await load(name).run(arguments, CONTEXT, threads or Threads("tool", 2))


def test_the_docstring_and_the_signature_describe_the_function() -> None:
    assert load("opening_hours").declaration == {
        "description": "The hours at which the clinic is open.\n\nOn holidays it is closed.",
        "parameters": {
            "type": "object",
            "properties": {
                "day": {"type": "string", "enum": ["monday", "sunday"]},
                "detail": {"type": "boolean", "description": "Breaks too."},
            },
            "required": ["day"],
            "additionalProperties": False,
        },
    }


def test_a_function_without_parameters_takes_an_empty_object() -> None:
    assert load("nothing").declaration["parameters"] == {
        "type": "object",
        "properties": {},
        "additionalProperties": False,
    }


def test_the_schema_of_a_model_stands_where_the_model_is_used() -> None:
    assert load("admit").declaration["parameters"]["properties"]["patient"] == {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer", "default": 0}},
        "required": ["name"],
    }


async def test_a_coroutine_gets_typed_arguments_and_the_context() -> None:
    assert await run("opening_hours", day="sunday", detail=True) == "SUNDAY True call_1 ana"


async def test_a_plain_function_runs_in_a_thread_and_answers_with_json() -> None:
    answer = json.loads(await run("slot", day="2026-11-23"))

    assert answer == {"day": "2026-11-23", "free": True}


async def test_models_are_converted_in_arguments_and_in_the_result() -> None:
    answer = json.loads(await run("admit", patient={"name": "Ana"}, room=5))

    assert answer == {"patient": {"name": "Ana", "age": 0}, "room": 5, "young": True}


@pytest.mark.parametrize(("name", "output"), [("text", "plain"), ("nothing", "null")])
async def test_a_text_is_returned_unchanged_and_anything_else_as_json(
    name: str, output: str
) -> None:
    assert await run(name) == output


async def test_a_method_can_be_a_tool() -> None:
    assert await run("Desk.ring", times=2) == "dingding"


@pytest.mark.parametrize(
    ("arguments", "path"),
    [({"day": "someday"}, "$.day"), ({}, "$.day"), ({"day": "sunday", "x": 1}, "$.x")],
)
async def test_arguments_that_the_annotations_refuse_are_explained(
    arguments: dict[str, Any], path: str
) -> None:
    with pytest.raises(InvalidArguments) as refused:
        await run("opening_hours", **arguments)

    assert f"Correct them: {path}: " in refused.value.message
    assert "someday" not in refused.value.cause


@pytest.mark.parametrize("name", ["raises", "leaves"])
async def test_the_cause_of_an_exception_is_its_type_and_place_only(name: str) -> None:
    with pytest.raises(ToolFailed) as failed:
        await run(name, secret="PLANTED-SECRET")

    assert "clinic_tools.py:" in failed.value.cause
    assert "PLANTED" not in failed.value.cause + failed.value.output


@pytest.mark.parametrize("name", ["unprintable", "half_a_pair_inside"])
async def test_an_output_that_is_no_json_is_a_failure(name: str) -> None:
    with pytest.raises(ToolFailed, match="no JSON"):
        await run(name)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_package.tools:f", "there is no module no_such_package"),
        ("clinic_tools:missing", "is not in its module"),
        ("clinic_tools:NOT_A_FUNCTION", "cannot be called"),
        ("clinic_tools:takes_anything", "must take its arguments by name"),
        ("clinic_tools:unknown_type", "annotations that cannot be read"),
        ("clinic_tools:no_schema", "annotations without a JSON Schema"),
        ("clinic_tools:visit", "Visit contains itself"),
        ("broken_tools:f", "cannot be imported: RuntimeError"),
    ],
)
def test_a_target_that_cannot_be_a_tool_is_a_problem_with_its_reason(
    target: str, message: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_tools.py").write_text("raise RuntimeError('PLANTED')")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ToolUnusable, match=message) as unusable:
        Function.load(target)

    assert "PLANTED" not in str(unusable.value)


def test_written_parameters_must_fit_the_function() -> None:
    written = {"properties": {"day": {}, "hour": {}}, "required": ["hour"]}

    assert list(load("opening_hours").faults(written)) == [
        (("properties", "hour"), "is no parameter of the function"),
        (("required",), "must name day: the function needs it"),
    ]
    assert list(load("opening_hours").faults({})) == [
        (("required",), "must name day: the function needs it")
    ]
    assert list(load("nothing").faults({"properties": 5, "required": 5})) == []


def test_a_hanging_thread_does_not_delay_the_end_of_the_process() -> None:
    program = (
        "import threading; from relay.wire.threads import Threads;"
        "Threads('tool', 1).submit(threading.Event().wait)"
    )

    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


async def test_a_hanging_thread_delays_no_other_and_counts_until_it_ends() -> None:
    threads = Threads("tool", 2)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await run("hangs_in_a_thread", threads)

    assert await run("text", threads) == "plain"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await run("hangs_in_a_thread", threads)
    with pytest.raises(TooManyCalls):
        await run("text", threads)
    clinic_tools.released.set()
    for thread in threading.enumerate():
        if thread.name == "tool":
            thread.join()
    assert await run("text", threads) == "plain"
