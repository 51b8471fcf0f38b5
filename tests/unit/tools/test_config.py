"""The `run` of a tool: the valid forms, and the problems of the others."""

from typing import Any

import pytest

from relay.tools.config import Mcp, Run, run_of, tool_problems, tools_of


def function(run: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "name": "hours", "run": run, **fields}


def problems(*tools: Any) -> list[tuple[str, str]]:
    found = tool_problems({"tools": list(tools)})
    return [(".".join(map(str, path[2:])), reason) for path, reason in found]


@pytest.mark.parametrize(
    "run",
    [
        {"http": {"url": "http://127.0.0.1:9000/hours?clinic=5"}},
        {"http": {"url": "https://tools.example", "method": "PUT", "timeout_seconds": 2.5}},
        {"http": {"url": "http://[::1]:9000", "headers": {"Authorization": "Bearer x"}}},
        {"python": "clinic_tools:opening_hours", "announce": True},
        {"mcp": {"url": "http://127.0.0.1:9000/mcp"}},
        {"mcp": {"command": ["clinic-mcp", "--fast"], "tool": "hours", "env": {"KEY": "x"}}},
        {"mcp": {"command": "clinic-mcp --fast"}},
    ],
)
def test_every_documented_form_is_valid(run: dict[str, Any]) -> None:
    assert problems(function(run)) == []
    assert run_of(function(run)) == Run.model_validate(run)


def test_tools_of_the_client_and_of_the_upstream_are_left_alone() -> None:
    client = {"type": "function", "name": "map"}
    upstream = {"type": "mcp", "server_label": "shop", "server_url": "https://shop.example"}

    assert problems(client, upstream, "nonsense") == []
    assert run_of(client) is None


@pytest.mark.parametrize(
    ("run", "path", "reason"),
    [
        (5, "run", "must be a mapping"),
        ({}, "run", "needs exactly one of http, python and mcp"),
        ({"python": "a:b", "mcp": {"url": "http://x"}}, "run", "needs exactly one of"),
        ({"htpp": {"url": "http://x"}}, "run.htpp", "unknown key: did you mean http?"),
        ({"http": {}}, "run.http.url", "is required"),
        ({"http": {"url": "http://x", "urll": 1}}, "run.http.urll", "did you mean url?"),
        ({"http": {"url": "ftp://x"}}, "run.http.url", "must be a URL"),
        ({"http": {"url": "http://"}}, "run.http.url", "must be a URL"),
        ({"http": {"url": "http://x:99999"}}, "run.http.url", "must be a URL"),
        ({"http": {"url": "http://x/a b"}}, "run.http.url", "must be a URL"),
        ({"http": {"url": "http://me:PLANTED@x"}}, "run.http.url", "no user, password"),
        ({"http": {"url": "http://x", "method": "GET"}}, "run.http.method", "must be 'POST'"),
        ({"http": {"url": "http://x", "timeout_seconds": 0}}, "run.http.timeout_seconds", "0"),
        ({"http": {"url": "http://x", "headers": 5}}, "run.http.headers", "must be a mapping"),
        (
            {"http": {"url": "http://x", "headers": {"Relay-User": "x"}}},
            "run.http.headers.Relay-User",
            "is set by the relay itself",
        ),
        (
            {"http": {"url": "http://x", "headers": {"Host": "x"}}},
            "run.http.headers.Host",
            "is set by the relay itself",
        ),
        (
            {"http": {"url": "http://x", "headers": {"a b": "x"}}},
            "run.http.headers.a b",
            "must be the name of a header",
        ),
        (
            {"http": {"url": "http://x", "headers": {"a": "PLANTED\n"}}},
            "run.http.headers.a",
            "must be printable ASCII",
        ),
        ({"python": "opening_hours"}, "run.python", "must be package.module:function"),
        ({"python": "clinic_tools:missing"}, "run.python", "is not in its module"),
        ({"mcp": {}}, "run.mcp", "needs either a url or a command"),
        ({"mcp": {"url": "http://x", "command": "y"}}, "run.mcp", "needs either"),
        ({"mcp": {"command": []}}, "run.mcp.command", "must not be empty"),
        ({"mcp": {"command": "'"}}, "run.mcp.command", "a quotation mark is missing"),
    ],
)
def test_anything_else_is_a_problem_with_its_key(run: Any, path: str, reason: str) -> None:
    [(where, message)] = problems(function(run))

    assert where == path
    assert reason in message
    assert "PLANTED" not in message


def test_the_relay_runs_only_functions() -> None:
    tool = {"type": "mcp", "server_label": "shop", "run": {"python": "a:b"}}

    assert problems(tool) == [
        ("run", "goes with tools of the type function: the upstream runs the others")
    ]


def test_two_tools_with_one_name_are_a_problem() -> None:
    run = {"http": {"url": "http://x"}}

    assert problems(function(run), function(run)) == [("name", "is the name of another tool")]


def test_parameters_are_checked_as_a_schema_and_against_the_function() -> None:
    http, python = {"http": {"url": "http://x"}}, {"python": "clinic_tools:opening_hours"}

    assert problems(function(http, parameters={"type": "object", "required": 5})) == [
        ("parameters.required", "is not valid JSON Schema")
    ]
    assert problems(function(python, parameters={"type": "object"})) == [
        ("parameters.required", "must name day: the function needs it")
    ]


def test_without_the_package_an_mcp_tool_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.tools.config.find_spec", lambda _: None)

    assert problems(function({"mcp": {"url": "http://x"}})) == [
        ("run.mcp", 'needs the extra "mcp": pip install "realtime-relay[mcp]"')
    ]


def test_a_representation_shows_no_secret() -> None:
    run = Run.model_validate({"http": {"url": "http://x", "headers": {"Authorization": "PLANTED"}}})

    assert "PLANTED" not in repr(run)


def test_a_server_is_identified_by_its_address_and_credentials() -> None:
    def server(**headers: str) -> object:
        return Mcp.model_validate({"url": "http://x", "headers": headers, "tool": "a"}).server

    assert server(key="1") == server(key="1")
    assert server(key="1") != server(key="2")


@pytest.mark.parametrize("tools", [None, 5, [5]])
def test_a_session_without_a_list_of_tools_has_none(tools: Any) -> None:
    assert tools_of({"tools": tools}) == ()
    assert list(tool_problems({"tools": tools})) == []


def test_a_tool_that_the_relay_runs_has_a_name() -> None:
    session = {"tools": [{"type": "function", "run": {"http": {"url": "http://127.0.0.1:1/"}}}]}

    (problem,) = tool_problems(session)

    assert problem == (("tools", 0, "name"), "is required: the model calls the tool by its name")
