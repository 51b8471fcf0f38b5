"""The check of a session against the types of the ``openai`` package."""

import runpy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paths import ROOT

from relay.config.schema import (
    response_fields,
    session_fields,
    session_problems,
    transcription_fields,
)
from relay.yaml.source import dotted

COMPLETE: dict[str, Any] = {
    "type": "realtime",
    "instructions": "Be brief.",
    "output_modalities": ["audio"],
    "max_output_tokens": "inf",
    "parallel_tool_calls": True,
    "reasoning": {"effort": "low"},
    "tracing": {"workflow_name": "x", "metadata": {"any": ["thing", 1, None]}},
    "truncation": {"type": "retention_ratio", "retention_ratio": 1},
    "include": ["item.input_audio_transcription.logprobs"],
    "prompt": {"id": "pmpt_1", "variables": {"a": "b", "c": {"type": "input_text", "text": "d"}}},
    "tool_choice": {"type": "function", "name": "f"},
    "tools": [
        {"type": "function", "name": "f", "parameters": {"type": "object", "strict": [1, None]}},
        {
            "type": "mcp",
            "server_label": "s",
            "server_url": "https://mcp.example",
            "headers": {"x-a": "b"},
            "allowed_tools": ["a"],
            "require_approval": {"never": {"tool_names": ["a"]}},
        },
    ],
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "noise_reduction": {"type": "near_field", "strength": 0.5},
            "transcription": {"model": "gpt-4o-mini-transcribe", "language": "en"},
            "turn_detection": {"type": "server_vad", "threshold": 1, "idle_timeout_ms": None},
        },
        "output": {"format": {"type": "audio/pcmu"}, "voice": {"id": "voice_1"}, "speed": 1.5},
    },
}
OFF: dict[str, Any] = {
    "tracing": None,
    "prompt": None,
    "tools": [],
    "audio": {"input": {"noise_reduction": None, "transcription": None, "turn_detection": None}},
}


def problems(session: dict[str, Any], *extra_fields: str) -> dict[str, str]:
    found = session_problems({"type": "realtime", **session}, extra_fields)
    return {dotted(problem.path): problem.message for problem in found}


TRANSCRIPTION: dict[str, Any] = {
    "type": "transcription",
    "include": ["item.input_audio_transcription.logprobs"],
    "audio": {"input": COMPLETE["audio"]["input"]},
}


@pytest.mark.parametrize("session", [{}, COMPLETE, OFF, TRANSCRIPTION])
def test_an_accepted_session_has_no_problem(session: dict[str, Any]) -> None:
    assert problems(session) == {}


UNKNOWN = "is not a field of the Realtime API"


@pytest.mark.parametrize(
    ("session", "expected"),
    [
        ({"instrctions": ""}, {"instrctions": f"{UNKNOWN}: did you mean instructions?"}),
        ({"zzz": 1}, {"zzz": UNKNOWN}),
        ({"voice": "x"}, {"voice": f"{UNKNOWN} here: it belongs at audio.output.voice"}),
        (
            {"turn_detection": None},
            {"turn_detection": f"{UNKNOWN} here: it belongs at audio.input.turn_detection"},
        ),
        (
            {"input_audio_format": "pcm16"},
            {"input_audio_format": f"{UNKNOWN} here: it belongs at audio.input.format"},
        ),
        ({"modalities": []}, {"modalities": f"{UNKNOWN} here: it belongs at output_modalities"}),
        (
            {"temperature": 1},
            {"temperature": f"{UNKNOWN}: the beta interface had it, leave it out"},
        ),
        (
            {"audio": {"format": {}}},
            {
                "audio.format": f"{UNKNOWN} here: it belongs at audio.input.format"
                " or audio.output.format"
            },
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "server_vad", "treshold": 1}}}},
            {"audio.input.turn_detection.treshold": f"{UNKNOWN}: did you mean threshold?"},
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "server_vad", "eagerness": "low"}}}},
            {
                "audio.input.turn_detection.eagerness": f"{UNKNOWN} here: it goes with another"
                " `type`"
            },
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "vad"}}}},
            {"audio.input.turn_detection.type": "must be 'server_vad' or 'semantic_vad'"},
        ),
        (
            {"audio": {"input": {"turn_detection": {"threshold": 1}}}},
            {"audio.input.turn_detection.type": "is required"},
        ),
        (
            {"audio": {"input": {"format": {"rate": 16000}}}},
            {"audio.input.format.rate": "must be 24000"},
        ),
        (
            {"audio": {"input": {"format": {"rate": 24000.0}}}},
            {"audio.input.format.rate": "must be 24000"},
        ),
        (
            {"audio": {"output": {"voice": 3, "speed": "fast"}}},
            {
                "audio.output.voice": "must be text or a mapping",
                "audio.output.speed": "must be a number",
            },
        ),
        (
            {"audio": {"output": {"format": {"type": "audio/mp3"}}}},
            {
                "audio.output.format.type": "must be 'audio/pcm' or 'audio/pcmu' or 'audio/pcma'",
            },
        ),
        (
            {"tools": [{"type": "function", "strict": True}, {"type": "mcp"}, {"type": []}, 3]},
            {
                "tools[0].strict": UNKNOWN,
                "tools[1].server_label": "is required",
                "tools[2].type": "must be 'function' or 'mcp'",
                "tools[3]": "must be a mapping",
            },
        ),
        (
            {"tools": [{"type": "mcp", "server_label": "a", "headers": {"b": 1}}]},
            {"tools[0].headers.b": "must be text"},
        ),
        ({"tools": {}}, {"tools": "must be a list"}),
        (
            {"tool_choice": "x"},
            {"tool_choice": "must be 'none' or 'auto' or 'required' or a mappi"},
        ),
        ({"tool_choice": {"type": "function"}}, {"tool_choice.name": "is required"}),
        ({"max_output_tokens": True}, {"max_output_tokens": "must be a whole number or 'inf'"}),
        ({"max_output_tokens": 1.5}, {"max_output_tokens": "must be a whole number or 'inf'"}),
        ({"parallel_tool_calls": 1}, {"parallel_tool_calls": "must be true or false"}),
        ({"tracing": "on"}, {"tracing": "must be 'auto' or a mapping"}),
        ({"include": ["x"]}, {"include[0]": "must be 'item.input_audio_transcription.logprobs'"}),
        ({"instructions": 3}, {"instructions": "must be text"}),
        ({"prompt": {"variables": []}}, {"prompt.id": "is required"}),
        ({"type": "conversation"}, {"type": "must be 'realtime' or 'transcription'"}),
        (
            {
                "type": "transcription",
                "instructions": "x",
                "tools": [],
                "audio": {"output": {"voice": "marin"}},
            },
            {
                "instructions": f"{UNKNOWN} here: it goes with another `type`",
                "tools": f"{UNKNOWN} here: it goes with another `type`",
                "audio.output": f"{UNKNOWN} here: it goes with another `type`",
            },
        ),
        (
            {"type": "transcription", "transcription": {"model": "whisper-1"}},
            {"transcription": f"{UNKNOWN} here: it belongs at audio.input.transcription"},
        ),
        (
            {"type": "transcription", "audio": {"input": {"transcription": {"langage": "en"}}}},
            {"audio.input.transcription.langage": f"{UNKNOWN}: did you mean language?"},
        ),
    ],
)
def test_a_refused_part_of_a_session_is_a_problem(
    session: dict[str, Any], expected: dict[str, str]
) -> None:
    found = problems(session)

    for path, message in expected.items():
        assert found[path].startswith(message)


def test_one_mistake_is_one_problem() -> None:
    """Only the best fitting kind of turn detection or tool reports a problem."""
    turn_detection = {"type": "semantic_vad", "eagernes": "low"}

    found = problems({"audio": {"input": {"turn_detection": turn_detection}}, "tools": [{"a": 1}]})

    assert list(found) == ["audio.input.turn_detection.eagernes", "tools[0].a"]


def test_an_extra_field_is_accepted_with_its_content() -> None:
    session = {
        "top_k": 3,
        "audio": {"output": {"emotion": {"joy": 1}}},
        "tools": [{"type": "function", "strict": True}],
        "reasoning": {"effort": "none"},
    }
    extra = ["top_k", "audio.output.emotion", "tools.strict", "reasoning.effort"]

    assert problems(session, *extra) == {}
    assert list(problems(session, *extra[1:])) == ["top_k"]


def test_the_schema_file_is_generated_from_the_package() -> None:
    """Run ``python docs/generate_session.py`` if this fails."""
    generated = runpy.run_path(str(ROOT / "docs" / "generate_session.py"))["session"]()

    assert generated == (ROOT / "relay" / "config" / "session.json").read_text(encoding="utf-8")


def test_the_fields_are_the_fields_of_the_package() -> None:
    assert {"model", "instructions", "audio.input.turn_detection.eagerness"} <= session_fields()
    assert {"instructions", "metadata", "conversation", "input"} <= response_fields()
    assert {"include", "audio.input.transcription.prompt"} <= transcription_fields()
    assert transcription_fields() < session_fields()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just("server_vad"),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(
                [*sorted({part for path in session_fields() for part in path.split(".")}), "x"]
            ),
            inner,
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*sorted(session_fields()), "x"]), values))
def test_no_session_raises_an_exception(session: dict[str, Any]) -> None:
    session_problems(session)
