"""Shapes of the session object, and shapes that ``response.create`` shares with it.

The names are those of the API's schema; ``openai.types.realtime`` has the same names.
"""

from relay.simulator.api_names import TRANSCRIPTION_MODELS, VOICES
from relay.simulator.schema import (
    ANYTHING,
    BOOLEAN,
    STRING,
    Choice,
    Either,
    ListOf,
    MapOf,
    Nullable,
    Number,
    Object,
    one_of,
    tagged,
)

STRINGS = ListOf(STRING)
_MILLISECONDS = Number(0, 3_600_000, whole=True)

FORMAT = tagged(
    {
        "audio/pcm": Object.of(type=STRING, rate=Number(24_000, 24_000, whole=True)),
        "audio/pcmu": Object.of(type=STRING),
        "audio/pcma": Object.of(type=STRING),
    }
)
_TURN_DETECTION = tagged(
    {
        "server_vad": Object.of(
            type=STRING,
            threshold=Number(0, 1),
            prefix_padding_ms=_MILLISECONDS,
            silence_duration_ms=_MILLISECONDS,
            idle_timeout_ms=Nullable(Number(5_000, 30_000, whole=True)),
            create_response=BOOLEAN,
            interrupt_response=BOOLEAN,
        ),
        "semantic_vad": Object.of(
            type=STRING,
            eagerness=one_of("low", "medium", "high", "auto"),
            create_response=BOOLEAN,
            interrupt_response=BOOLEAN,
        ),
    }
)
_TRANSCRIPTION = Object.of(
    model=Choice(TRANSCRIPTION_MODELS),
    language=STRING,
    languages=STRINGS,
    prompt=STRING,
    keywords=STRINGS,
    delay=one_of("minimal", "low", "medium", "high", "xhigh"),
)
_AUDIO_INPUT = Object.of(
    format=FORMAT,
    noise_reduction=Nullable(
        Object.of(type=one_of("near_field", "far_field"), strength=Number(0, 1))
    ),
    transcription=Nullable(_TRANSCRIPTION),
    turn_detection=Nullable(_TURN_DETECTION),
)
VOICE = Either(Choice(VOICES), Object.of("id", id=STRING))
_TOOL_FILTER = Object.of(read_only=BOOLEAN, tool_names=STRINGS)
TOOL = tagged(
    {
        "function": Object.of(
            "name", type=STRING, name=STRING, description=STRING, parameters=ANYTHING
        ),
        "mcp": Object.of(
            "server_label",
            type=STRING,
            server_label=STRING,
            server_url=STRING,
            server_description=STRING,
            connector_id=STRING,
            tunnel_id=STRING,
            authorization=STRING,
            headers=Nullable(MapOf(STRING)),
            allowed_callers=Nullable(ListOf(one_of("direct", "programmatic"))),
            allowed_tools=ANYTHING,
            require_approval=Nullable(
                Either(
                    one_of("always", "never"), Object.of(always=_TOOL_FILTER, never=_TOOL_FILTER)
                )
            ),
            defer_loading=BOOLEAN,
        ),
    }
)
TOOL_CHOICE = Either(
    one_of("auto", "none", "required"),
    tagged(
        {
            "function": Object.of("name", type=STRING, name=STRING),
            "mcp": Object.of("server_label", type=STRING, server_label=STRING, name=STRING),
        }
    ),
)
PROMPT = Nullable(
    Object.of("id", id=STRING, version=Nullable(STRING), variables=Nullable(ANYTHING))
)
MODALITIES = ListOf(one_of("text", "audio"), min_length=1, max_length=1)
REASONING = Object.of(effort=one_of("none", "minimal", "low", "medium", "high", "xhigh"))
_INCLUDE = Nullable(ListOf(one_of("item.input_audio_transcription.logprobs")))


class _TokenCounts:
    """A number of output tokens, or ``inf``."""

    _count = Number(1, 4096, whole=True)

    def check(self, value: object, path: str) -> None:
        """Accept ``inf``, or a number from 1 to 4096."""
        if value != "inf":
            self._count.check(value, path)


MAX_OUTPUT_TOKENS = _TokenCounts()

REALTIME_SESSION = Object.of(
    "type",
    type=STRING,
    model=STRING,
    output_modalities=MODALITIES,
    instructions=STRING,
    audio=Object.of(
        input=_AUDIO_INPUT,
        output=Object.of(format=FORMAT, voice=VOICE, speed=Number(0.25, 1.5)),
    ),
    tools=ListOf(TOOL),
    tool_choice=TOOL_CHOICE,
    parallel_tool_calls=BOOLEAN,
    reasoning=REASONING,
    max_output_tokens=MAX_OUTPUT_TOKENS,
    truncation=Either(
        one_of("auto", "disabled"),
        tagged(
            {
                "retention_ratio": Object.of(
                    "retention_ratio",
                    type=STRING,
                    retention_ratio=Number(0, 1),
                    token_limits=Object.of(post_instructions=Number(0, 2**31, whole=True)),
                )
            }
        ),
    ),
    tracing=Nullable(
        Either(one_of("auto"), Object.of(workflow_name=STRING, group_id=STRING, metadata=ANYTHING))
    ),
    prompt=PROMPT,
    include=_INCLUDE,
)
TRANSCRIPTION_SESSION = Object.of(
    "type", type=STRING, audio=Object.of(input=_AUDIO_INPUT), include=_INCLUDE
)
