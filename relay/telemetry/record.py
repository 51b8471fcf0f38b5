"""The record of one session: its line in the log and its share of the metrics.

Both read the same counts, so they always agree.
"""

import statistics
from collections.abc import Iterator
from typing import Any

from relay.core.commands import End, Side
from relay.sessions.running import RunningSession

Measure = tuple[str, tuple[str, ...], float]
"""A metric, the values of its labels, and the amount that this session adds to it."""


def measures(session: RunningSession) -> Iterator[Measure]:
    """Yield the amounts that the session adds to the metrics so far."""
    counts, persona = session.bridge.session.counts, session.persona
    for side in Side:
        peer = session.bridge.peers[side]
        yield "relay_messages_total", (f"to_{side.value}",), peer.messages_sent
        yield "relay_message_bytes_total", (f"to_{side.value}",), peer.bytes_sent
    audio = "relay_audio_seconds_total"
    yield audio, (persona, "to_upstream"), counts.audio_seconds_to_upstream
    yield audio, (persona, "to_client"), counts.audio_seconds_to_client
    for model, used in counts.used.items():
        for kind, tokens in used.tokens.by_kind().items():
            yield "relay_tokens_total", (persona, model, kind), tokens
        seconds = used.transcription_seconds
        yield "relay_transcription_seconds_total", (persona, model), seconds
        yield "relay_cost_usd_total", (persona, model), float(used.cost_usd)
        yield "relay_unpriced_reports_total", (persona, model), used.unpriced
    for status, responses in counts.responses.items():
        yield "relay_responses_total", (persona, status), responses
    for (kind, reason), events in counts.blocked.items():
        yield "relay_blocked_events_total", (kind, reason), events
    for code, errors in counts.upstream_errors.items():
        yield "relay_upstream_errors_total", (code,), errors


def line(session: RunningSession, end: End, duration_seconds: float) -> dict[str, Any]:
    """Return the fields of the canonical log line of the session."""
    counts = session.bridge.session.counts
    client, upstream = session.bridge.peers[Side.CLIENT], session.bridge.peers[Side.UPSTREAM]
    return {
        "session_id": session.session_id,
        "upstream_session_id": session.upstream_session_id,
        "persona": session.persona,
        "client": session.client,
        "model": session.model,
        "duration_seconds": round(duration_seconds, 3),
        "ended_by": end.by,
        "outcome": end.outcome,
        "close_code": end.client_code,
        "reason": end.reason,
        "messages_to_upstream": upstream.messages_sent,
        "messages_to_client": client.messages_sent,
        "bytes_to_upstream": upstream.bytes_sent,
        "bytes_to_client": client.bytes_sent,
        "audio_seconds_to_upstream": round(counts.audio_seconds_to_upstream, 3),
        "audio_seconds_to_client": round(counts.audio_seconds_to_client, 3),
        "responses": dict(counts.responses),
        "tokens": counts.tokens.by_kind(),
        "transcription_seconds": round(counts.transcription_seconds, 3),
        "cost_usd": None if counts.cost_usd is None else f"{counts.cost_usd:.6f}",
        "estimated": counts.estimated,
        "unknown": counts.unknown,
        "first_audio_p50_seconds": _median(counts.first_audio_seconds),
        "tool_calls": counts.tool_calls,
        "tools_cancelled": list(session.bridge.cancelled_tools),
        "stripped_fields": list(counts.stripped_fields),
        "blocked_events": sum(counts.blocked.values()),
        "upstream_errors": dict(counts.upstream_errors),
    }


def _median(seconds: list[float]) -> float | None:
    return round(statistics.median(seconds), 3) if seconds else None
