"""Each field of the beta interface and its place in GA, written out for the reader."""

from typing import Any

import pytest
from beta import check_client_events, check_server_events

from relay.dialects.beta.events import ServerUp, client_down, client_up, server_down, unflattened

Json = dict[str, Any]

SESSION: list[tuple[Json, Json]] = [
    ({}, {}),
    ({"modalities": ["text"]}, {"output_modalities": ["text"]}),
    ({"modalities": ["audio", "text"]}, {"output_modalities": ["audio"]}),
    ({"instructions": "x"}, {"instructions": "x"}),
    ({"voice": "marin"}, {"audio": {"output": {"voice": "marin"}}}),
    ({"speed": 1.25}, {"audio": {"output": {"speed": 1.25}}}),
    (
        {"input_audio_format": "pcm16"},
        {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 24000}}}},
    ),
    ({"input_audio_format": "g711_ulaw"}, {"audio": {"input": {"format": {"type": "audio/pcmu"}}}}),
    (
        {"output_audio_format": "g711_alaw"},
        {"audio": {"output": {"format": {"type": "audio/pcma"}}}},
    ),
    (
        {"input_audio_transcription": {"model": "whisper-1", "language": "de", "prompt": "x"}},
        {
            "audio": {
                "input": {"transcription": {"model": "whisper-1", "language": "de", "prompt": "x"}}
            }
        },
    ),
    ({"input_audio_transcription": None}, {"audio": {"input": {"transcription": None}}}),
    (
        {"input_audio_noise_reduction": {"type": "near_field"}},
        {"audio": {"input": {"noise_reduction": {"type": "near_field"}}}},
    ),
    (
        {"turn_detection": {"type": "server_vad", "threshold": 0.5, "create_response": False}},
        {
            "audio": {
                "input": {
                    "turn_detection": {
                        "type": "server_vad",
                        "threshold": 0.5,
                        "create_response": False,
                    }
                }
            }
        },
    ),
    (
        {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}},
        {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}}}},
    ),
    ({"turn_detection": None}, {"audio": {"input": {"turn_detection": None}}}),
    ({"max_response_output_tokens": "inf"}, {"max_output_tokens": "inf"}),
    ({"tool_choice": "required"}, {"tool_choice": "required"}),
    (
        {"tools": [{"type": "function", "name": "hours", "parameters": {"type": "object"}}]},
        {"tools": [{"type": "function", "name": "hours", "parameters": {"type": "object"}}]},
    ),
    ({"tracing": "auto"}, {"tracing": "auto"}),
    (
        {"voice": "ash", "speed": 1, "turn_detection": None, "output_audio_format": "pcm16"},
        {
            "audio": {
                "input": {"turn_detection": None},
                "output": {
                    "voice": "ash",
                    "speed": 1,
                    "format": {"type": "audio/pcm", "rate": 24000},
                },
            }
        },
    ),
]


@pytest.mark.parametrize(("flat", "nested"), SESSION)
def test_a_field_of_a_session_has_its_place_in_ga(flat: Json, nested: Json) -> None:
    update, event_id = {"type": "session.update", "event_id": "e"}, {"event_id": "e"}
    sent, sent_up = (
        update | {"session": flat},
        update | {"session": {"type": "realtime"} | nested},
    )
    answer = {"type": "session.updated", **event_id, "session": flat}
    answer_up = {"type": "session.updated", **event_id, "session": {"type": "realtime"} | nested}

    assert client_up(sent) == sent_up
    assert client_down(sent_up) == sent
    assert ServerUp().translate(answer) == (answer_up,)
    assert server_down(answer_up) == answer | {"session": flat | {"temperature": 0.8}}
    check_client_events([sent])
    check_server_events([answer])


UP_ONLY: list[tuple[Json, Json]] = [
    ({"temperature": 0.8}, {}),
    ({"client_secret": {"expires_after": {"anchor": "created_at"}}}, {}),
    ({"modalities": ["audio"]}, {"output_modalities": ["audio"]}),
    ({"modalities": ["text", "audio"]}, {"output_modalities": ["audio"]}),
    (
        {"turn_detection": {"threshold": 0.5, "eagerness": "low"}},
        {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.5}}}},
    ),
    (
        {"turn_detection": {"type": "semantic_vad", "threshold": 0.5, "silence_duration_ms": 1}},
        {"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}},
    ),
    (
        {"tool_choice": {"type": "function", "function": {"name": "hours"}}},
        {"tool_choice": {"type": "function", "name": "hours"}},
    ),
    (
        {"voice": "ash", "audio": {"output": {"speed": 1, "voice": "sage"}, "input": 1}},
        {"audio": {"output": {"speed": 1, "voice": "ash"}, "input": 1}},
    ),
    ({"turn_detection": None, "audio": 1}, {"audio": {"input": {"turn_detection": None}}}),
]
"""Fields that do not come back from GA unchanged."""

REFUSED_LATER: list[tuple[Json, Json]] = [
    ({"modalities": "audio"}, {"output_modalities": "audio"}),
    ({"input_audio_format": "opus"}, {"audio": {"input": {"format": "opus"}}}),
    ({"input_audio_format": ["pcm16"]}, {"audio": {"input": {"format": ["pcm16"]}}}),
    ({"turn_detection": "none"}, {"audio": {"input": {"turn_detection": "none"}}}),
    ({"turn_detection": {"type": 1}}, {"audio": {"input": {"turn_detection": {"type": 1}}}}),
    ({"tool_choice": 1, "what": "ever"}, {"tool_choice": 1, "what": "ever"}),
]
"""Values without a meaning: they stay, so that the policy or the upstream refuses them."""


@pytest.mark.parametrize(("flat", "nested"), UP_ONLY + REFUSED_LATER)
def test_a_field_of_a_client_goes_up(flat: Json, nested: Json) -> None:
    sent = {"type": "session.update", "session": flat}

    assert client_up(sent) == {"type": "session.update", "session": {"type": "realtime"} | nested}


DOWN_ONLY: list[tuple[Json, Json]] = [
    ({"output_modalities": ["audio", "text"]}, {"modalities": ["audio", "text"]}),
    ({"output_modalities": "audio"}, {}),
    ({"audio": {"input": {"format": {"type": "audio/opus"}}}}, {}),
    ({"audio": {"input": {"format": {"type": ["audio/pcm"]}}}}, {}),
    ({"audio": {"input": {"format": "audio/pcm"}, "output": 1}}, {}),
    ({"audio": {"output": {"voice": {"id": "voice_1"}}}}, {}),
    (
        {"audio": {"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 5000}}}},
        {"turn_detection": {"type": "server_vad"}},
    ),
    (
        {"audio": {"input": {"noise_reduction": {"type": "far_field", "strength": 1}}}},
        {"input_audio_noise_reduction": {"type": "far_field"}},
    ),
    (
        {"audio": {"input": {"transcription": {"model": "gpt-transcribe", "keywords": ["x"]}}}},
        {"input_audio_transcription": {"model": "gpt-transcribe"}},
    ),
    (
        {"tools": [{"type": "mcp", "server_label": "x"}, {"type": "function", "name": "y"}]},
        {"tools": [{"type": "function", "name": "y"}]},
    ),
    ({"tool_choice": {"type": "mcp", "server_label": "x"}}, {}),
    ({"truncation": "auto", "prompt": {"id": "x"}, "reasoning": {"effort": "low"}}, {}),
    ({"parallel_tool_calls": True, "include": ["item.input_audio_transcription.logprobs"]}, {}),
    ({"object": "realtime.session", "expires_at": 1, "model": "gpt-realtime-2.1"}, {}),
]
"""Fields that the beta interface does not have, or has in another form."""


@pytest.mark.parametrize(("nested", "flat"), DOWN_ONLY)
def test_a_field_of_ga_goes_down(nested: Json, flat: Json) -> None:
    session = {"type": "realtime"} | nested
    sent = {"type": "session.update", "session": session}
    created = {"type": "session.created", "event_id": "e", "session": session}

    assert client_down(sent) == {"type": "session.update", "session": flat}
    assert server_down(created) == created | {"session": flat | {"temperature": 0.8}}


def test_a_chosen_tool_is_nested_for_an_upstream_and_unknown_to_a_client() -> None:
    session = {"type": "realtime", "tool_choice": {"type": "function", "name": "hours"}}
    nested = {"tool_choice": {"type": "function", "function": {"name": "hours"}}}

    sent = client_down({"type": "session.update", "session": session})
    updated = server_down({"type": "session.updated", "event_id": "e", "session": session})

    assert sent == {"type": "session.update", "session": nested}
    assert updated == {"type": "session.updated", "event_id": "e", "session": {"temperature": 0.8}}


def test_fields_that_only_this_upstream_knows_pass_unchanged() -> None:
    session = {"type": "realtime", "smooth_output": True, "turn_detection": {"type": "none"}}

    sent = client_down(
        {"type": "session.update", "session": session}, ("smooth_output", "turn_detection", "seed")
    )

    assert sent == {
        "type": "session.update",
        "session": {"smooth_output": True, "turn_detection": {"type": "none"}},
    }


RESPONSE_CREATE: list[tuple[Json, Json]] = [
    ({"modalities": ["text"]}, {"output_modalities": ["text"]}),
    ({"instructions": "x", "metadata": {"a": "b"}}, {"instructions": "x", "metadata": {"a": "b"}}),
    ({"conversation": "none"}, {"conversation": "none"}),
    (
        {"voice": "ash", "output_audio_format": "g711_ulaw"},
        {"audio": {"output": {"voice": "ash", "format": {"type": "audio/pcmu"}}}},
    ),
    ({"max_response_output_tokens": 7}, {"max_output_tokens": 7}),
    (
        {"tool_choice": {"type": "function", "function": {"name": "hours"}}},
        {"tool_choice": {"type": "function", "name": "hours"}},
    ),
    (
        {"input": [{"type": "item_reference", "id": "item_1"}]},
        {"input": [{"type": "item_reference", "id": "item_1"}]},
    ),
    (
        {
            "input": [
                {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "x"}]}
            ]
        },
        {
            "input": [
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "x"}],
                }
            ]
        },
    ),
]


@pytest.mark.parametrize(("beta", "ga"), RESPONSE_CREATE)
def test_a_field_of_response_create_has_its_place_in_ga(beta: Json, ga: Json) -> None:
    sent, sent_up = (
        {"type": "response.create", "response": beta},
        {"type": "response.create", "response": ga},
    )

    assert client_up(sent) == sent_up
    assert client_down(sent_up) == sent


def test_a_request_for_a_response_loses_the_fields_that_the_other_interface_lacks() -> None:
    beta = {"temperature": 0.7, "modalities": ["audio", "text"]}
    ga = {"reasoning": {"effort": "low"}, "prompt": {"id": "x"}, "output_modalities": ["audio"]}

    assert client_up({"type": "response.create", "response": beta}) == {
        "type": "response.create",
        "response": {"output_modalities": ["audio"]},
    }
    assert client_down({"type": "response.create", "response": ga}) == {
        "type": "response.create",
        "response": {"modalities": ["audio", "text"]},
    }
    assert client_down({"type": "response.create"}) == {"type": "response.create"}


ASSISTANT_BETA = {
    "id": "item_1",
    "object": "realtime.item",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "text", "text": "x"}, {"type": "audio", "transcript": "y"}],
}
ASSISTANT_GA = ASSISTANT_BETA | {
    "content": [{"type": "output_text", "text": "x"}, {"type": "output_audio", "transcript": "y"}]
}


def test_parts_of_an_item_have_other_types() -> None:
    create = {"type": "conversation.item.create", "item": ASSISTANT_BETA}
    retrieved = {"type": "conversation.item.retrieved", "event_id": "e", "item": ASSISTANT_GA}

    assert client_up(create) == create | {"item": ASSISTANT_GA}
    assert client_down(create | {"item": ASSISTANT_GA}) == create
    assert server_down(retrieved) == retrieved | {"item": ASSISTANT_BETA}
    assert ServerUp().translate(retrieved | {"item": ASSISTANT_BETA}) == (retrieved,)


def test_an_item_that_the_beta_interface_does_not_have_is_left_out() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    text = {"type": "input_text", "text": "What is this?"}
    user = {"type": "message", "role": "user", "content": [image, text]}
    approval = {"type": "mcp_approval_response", "id": "x", "approve": True}

    assert client_down({"type": "conversation.item.create", "item": user}) == {
        "type": "conversation.item.create",
        "item": user | {"content": [text]},
    }
    assert client_down({"type": "conversation.item.create", "item": approval}) is None


RESPONSE_BETA = {
    "id": "resp_1",
    "object": "realtime.response",
    "status": "completed",
    "status_details": None,
    "output": [ASSISTANT_BETA],
    "conversation_id": "conv_1",
    "modalities": ["audio", "text"],
    "voice": "marin",
    "output_audio_format": "pcm16",
    "max_output_tokens": "inf",
    "usage": {
        "total_tokens": 3,
        "input_tokens": 1,
        "output_tokens": 2,
        "input_token_details": {"text_tokens": 1, "audio_tokens": 0, "cached_tokens": 0},
        "output_token_details": {"text_tokens": 1, "audio_tokens": 1},
    },
    "metadata": {"a": "b"},
}
RESPONSE_GA = {
    "id": "resp_1",
    "object": "realtime.response",
    "status": "completed",
    "status_details": None,
    "output": [ASSISTANT_GA],
    "conversation_id": "conv_1",
    "output_modalities": ["audio"],
    "audio": {
        "output": {"voice": "marin", "format": {"type": "audio/pcm", "rate": 24000}},
    },
    "max_output_tokens": "inf",
    "usage": RESPONSE_BETA["usage"],
    "metadata": {"a": "b"},
}


def test_all_levels_of_a_response_are_translated() -> None:
    done = {"type": "response.done", "event_id": "e"}

    assert server_down(done | {"response": RESPONSE_GA}) == done | {"response": RESPONSE_BETA}
    assert ServerUp().translate(done | {"response": RESPONSE_BETA}) == (
        done | {"response": RESPONSE_GA},
    )
    check_server_events([done | {"response": RESPONSE_BETA}])


@pytest.mark.parametrize(
    ("metadata", "kept"), [({"a": "b", "c": 1}, {"metadata": {"a": "b"}}), (["a"], {}), ("a", {})]
)
def test_metadata_is_text_by_name(metadata: Any, kept: Json) -> None:
    done = {"type": "response.done", "event_id": "e"}

    assert server_down(done | {"response": {"metadata": metadata}}) == done | {"response": kept}


def test_usage_loses_counts_that_the_types_do_not_have() -> None:
    details = {"text_tokens": 1, "image_tokens": 2, "cached_tokens_details": {"text_tokens": 1}}
    response = {"id": "resp_1", "usage": {"input_tokens": 3, "input_token_details": details}}
    done = {"type": "response.done", "event_id": "e"}

    assert server_down(done | {"response": response}) == done | {
        "response": {
            "id": "resp_1",
            "usage": {"input_tokens": 3, "input_token_details": {"text_tokens": 1}},
        }
    }


PARAMS = [
    ("session.voice", "session.audio.output.voice"),
    ("session.turn_detection.threshold", "session.audio.input.turn_detection.threshold"),
    ("session.modalities[0]", "session.output_modalities[0]"),
    ("session.max_response_output_tokens", "session.max_output_tokens"),
    ("session.instructions", "session.instructions"),
    ("session.tools[0].name", "session.tools[0].name"),
    ("response.output_audio_format", "response.audio.output.format"),
    ("response.input[0].content", "response.input[0].content"),
    ("session.voices", "session.voices"),
    ("item.content[0].type", "item.content[0].type"),
    ("", ""),
    (None, None),
]


@pytest.mark.parametrize(("beta", "ga"), PARAMS)
def test_an_error_names_the_field_by_its_name(beta: str | None, ga: str | None) -> None:
    error = {"type": "invalid_request_error", "code": "invalid_value", "message": "x"}
    event = {"type": "error", "event_id": "e"}

    assert server_down(event | {"error": error | {"param": ga}}) == event | {
        "error": error | {"param": beta}
    }
    assert ServerUp().translate(event | {"error": error | {"param": beta}}) == (
        event | {"error": error | {"param": ga}},
    )


def test_a_required_field_that_a_server_left_out_gets_a_default() -> None:
    completed = "conversation.item.input_audio_transcription.completed"
    sent = [
        server_down({"type": "error", "error": {}}),
        server_down({"type": completed, "item_id": "item_1", "transcript": "x"}),
    ]

    assert sent == [
        {"type": "error", "event_id": "relay_0", "error": {"type": "server_error", "message": ""}},
        {
            "type": completed,
            "event_id": "relay_0",
            "item_id": "item_1",
            "content_index": 0,
            "transcript": "x",
            "usage": {"type": "duration", "seconds": 0},
        },
    ]
    check_server_events(event for event in sent if event)


OF_ANOTHER_TYPE: list[tuple[str, str, Any]] = [
    ("item_id", "input_audio_buffer.committed", 1),
    ("audio_start_ms", "input_audio_buffer.speech_started", True),
    ("audio_start_ms", "input_audio_buffer.speech_started", 1.5),
    ("audio_start_ms", "input_audio_buffer.speech_started", None),
    ("item", "conversation.item.added", []),
    ("rate_limits", "rate_limits.updated", {}),
    ("session", "session.updated", None),
]


@pytest.mark.parametrize(("name", "kind", "value"), OF_ANOTHER_TYPE)
def test_an_event_without_a_required_field_is_not_sent(name: str, kind: str, value: Any) -> None:
    event = {"type": kind, "event_id": "e", "item_id": "item_1"}

    assert server_down(event | {name: value}) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threshold", "0.5"),
        ("threshold", True),
        ("prefix_padding_ms", 0.5),
        ("prefix_padding_ms", False),
        ("create_response", 1),
        ("type", "their_own_vad"),
    ],
)
def test_a_value_that_the_types_do_not_have_is_left_out(name: str, value: Any) -> None:
    session = {"audio": {"input": {"turn_detection": {name: value, "eagerness": "low"}}}}
    sent = server_down({"type": "session.updated", "event_id": "e", "session": session})

    assert sent is not None
    assert sent["session"]["turn_detection"] == {"eagerness": "low"}
    check_server_events([sent])


# Transcription.

TRANSCRIBING = {
    "input_audio_format": "g711_ulaw",
    "input_audio_transcription": {"model": "whisper-1", "language": "de"},
    "turn_detection": {"type": "server_vad", "threshold": 0.5},
}
TRANSCRIBING_GA = {
    "type": "transcription",
    "audio": {
        "input": {
            "format": {"type": "audio/pcmu"},
            "transcription": {"model": "whisper-1", "language": "de"},
            "turn_detection": {"type": "server_vad", "threshold": 0.5},
        }
    },
}


def test_a_transcription_session_has_events_of_its_own() -> None:
    include = {"include": ["item.input_audio_transcription.logprobs"]}
    sent = {"type": "transcription_session.update", "session": TRANSCRIBING | include}
    updated = {"type": "transcription_session.updated", "event_id": "e"}

    assert client_up(sent) == {"type": "session.update", "session": TRANSCRIBING_GA | include}
    assert client_down(client_up(sent)) == sent
    assert ServerUp().translate(updated | {"session": TRANSCRIBING}) == (
        {"type": "session.updated", "event_id": "e", "session": TRANSCRIBING_GA},
    )
    check_client_events([sent])


def test_its_client_receives_only_fields_that_the_types_have() -> None:
    """The types require a secret, which only a minted session has."""
    session = TRANSCRIBING_GA | {"id": "sess_1", "object": "realtime.transcription_session"}

    sent = server_down({"type": "session.updated", "event_id": "e", "session": session})

    assert sent == {
        "type": "transcription_session.updated",
        "event_id": "e",
        "session": TRANSCRIBING | {"client_secret": {"value": "", "expires_at": 0}},
    }
    check_server_events([sent])


def test_its_start_has_no_name_of_its_own_in_the_types() -> None:
    created = {
        "type": "session.created",
        "event_id": "e",
        "session": TRANSCRIBING_GA | {"id": "sess_1"},
    }

    sent = server_down(created)

    assert sent == created | {"session": TRANSCRIBING | {"id": "sess_1", "temperature": 0.8}}
    check_server_events([sent])
    assert ServerUp().translate(
        {"type": "transcription_session.created", "session": TRANSCRIBING}
    ) == ({"type": "session.created", "session": TRANSCRIBING_GA},)


# A flat session of a GA client.

FLAT = [
    ({"voice": "ash"}, {"type": "realtime", "audio": {"output": {"voice": "ash"}}}),
    (
        {"modalities": ["text"], "instructions": "x"},
        {"type": "realtime", "instructions": "x", "output_modalities": ["text"]},
    ),
    ({"temperature": 1}, {"type": "realtime"}),
    ({"type": "realtime", "voice": "ash"}, {"type": "realtime", "voice": "ash"}),
    ({"instructions": "x"}, {"instructions": "x"}),
    ({"audio": {"output": {"voice": "ash"}}}, {"audio": {"output": {"voice": "ash"}}}),
    ("flat", "flat"),
    (None, None),
]


@pytest.mark.parametrize(("session", "read"), FLAT)
def test_a_flat_session_is_recognized_by_its_names(session: Any, read: Any) -> None:
    event = {"type": "session.update", "event_id": "e"}

    assert unflattened(event | {"session": session}) == event | {"session": read}


def test_only_an_update_has_a_session() -> None:
    event = {"type": "response.create", "session": {"voice": "ash"}}

    assert unflattened(event) is event


# Parts that only GA has.

CALL = {
    "id": "item_1",
    "type": "function_call",
    "call_id": "call_1",
    "name": "hours",
    "arguments": "",
}
IN_RESPONSE = {"response_id": "resp_1", "output_index": 0}
ARGUMENTS = {
    "type": "response.function_call_arguments.done",
    "event_id": "e",
    **IN_RESPONSE,
    "item_id": "item_1",
    "call_id": "call_1",
    "arguments": "{}",
}


def test_the_arguments_of_a_call_get_its_name() -> None:
    server = ServerUp()
    server.translate({"type": "response.output_item.added", **IN_RESPONSE, "item": CALL})
    server.translate(
        {
            "type": "response.output_item.added",
            **IN_RESPONSE,
            "item": CALL | {"id": "item_2", "name": "bill"},
        }
    )

    assert server.translate(ARGUMENTS) == (ARGUMENTS | {"name": "hours"},)
    assert server.translate(ARGUMENTS | {"item_id": "item_2"}) == (
        ARGUMENTS | {"item_id": "item_2", "name": "bill"},
    )
    assert server_down(ARGUMENTS | {"name": "hours"}) == ARGUMENTS


def test_the_name_of_a_call_that_was_never_added_is_unknown() -> None:
    assert ServerUp().translate(ARGUMENTS) == (ARGUMENTS,)


def test_a_complete_item_is_added_and_done() -> None:
    item = {"id": "item_1", "type": "message", "role": "user", "status": "completed"}
    created = {
        "type": "conversation.item.created",
        "event_id": "e",
        "previous_item_id": "item_0",
        "item": item,
    }

    assert ServerUp().translate(created) == (
        created | {"type": "conversation.item.added"},
        created | {"type": "conversation.item.done", "event_id": "e_done"},
    )


def test_an_item_in_progress_is_done_with_the_output() -> None:
    server = ServerUp()
    begun = {
        "id": "item_1",
        "type": "message",
        "role": "assistant",
        "status": "in_progress",
        "content": [],
    }
    created = {
        "type": "conversation.item.created",
        "event_id": "e",
        "previous_item_id": "item_0",
        "item": begun,
    }
    done = {
        "type": "response.output_item.done",
        "event_id": "f",
        **IN_RESPONSE,
        "item": ASSISTANT_BETA,
    }

    assert server.translate(created) == (created | {"type": "conversation.item.added"},)
    assert server.translate(done) == (
        {
            "type": "conversation.item.done",
            "event_id": "e_done",
            "previous_item_id": "item_0",
            "item": ASSISTANT_GA,
        },
        done | {"item": ASSISTANT_GA},
    )
    assert server.translate(done) == (done | {"item": ASSISTANT_GA},)
