"""The terms of a new session: the parts of persona, limits and tools that the core needs."""

import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from relay.access.auth import Principal
from relay.config.limits import Limits
from relay.config.models import Config
from relay.config.persona import Persona
from relay.config.upstream import Upstream
from relay.core.commands import Side
from relay.core.events import Event, encode
from relay.core.paths import Path
from relay.core.policy import Policy
from relay.core.quotations import persona_words
from relay.core.terms import Billing, SessionLimits, Terms, ToolTerms
from relay.dialects.beta.events import unflattened
from relay.tools.toolbox import Toolbox
from relay.wire.peer import Patience
from relay.wire.waiting_data import WaitingData


def _new_session_id() -> str:
    return f"sess_{secrets.token_hex(16)[:21]}"  # as long as OpenAI's


def _new_relay_ids() -> str:
    return f"relay_{secrets.token_hex(16)}_"


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that a client asked for, before it starts.

    Attributes:
        persona: with the variables filled in and the tools as the upstream receives them.
        announces: the client receives the relay's own events.
        relay_ids: the start of the ids of the relay's own events at the upstream.
    """

    principal: Principal
    persona: Persona
    config: Config
    toolbox: Toolbox
    announces: bool
    session_id: str = field(default_factory=_new_session_id)
    relay_ids: str = field(default_factory=_new_relay_ids)


def client_patience(limits: Limits, waiting_data: WaitingData | None = None) -> Patience:
    """Return how long a client may take, and how much data may wait for it.

    ``waiting_data`` limits the data that waits for all clients together.
    """
    return Patience(
        limits.slow_client_seconds,
        limits.max_buffered_bytes,
        frames_per_second=limits.events_per_second,
        waiting_data=waiting_data,
    )


def terms_of(new: NewSession, upstream: Upstream) -> Terms:
    """Return the terms of a session that starts now on an upstream."""
    persona, limits, toolbox = new.persona, new.config.limits, new.toolbox
    opened = {*persona.client.session, *persona.client.response}
    return Terms(
        session_id=new.session_id,
        expires_at=int(time.time() + persona.limits.max_session_seconds),
        relay_ids=new.relay_ids,
        policy=Policy(
            session_type=persona.session_type,
            events=frozenset(persona.client.events),
            session=opened_fields(persona),
            response=_paths(persona.client.response),
        ),
        limits=SessionLimits(
            max_session_seconds=persona.limits.max_session_seconds,
            idle_seconds=persona.limits.idle_seconds,
            max_blocked_events=limits.max_blocked_events,
            audio_rate=limits.audio_rate,
            audio_burst_seconds=limits.audio_burst_seconds,
            events_per_second=limits.events_per_second,
        ),
        billing=Billing(
            model=persona.model,
            prices=new.config.prices,
            started_at=datetime.now(UTC),
            transcriber=persona.transcriber,
            prompt_chars=_prompt_chars(persona),
        ),
        tools=ToolTerms(
            served=toolbox.served,
            # None: the client may bring tools of its own.
            delegated=None if "tools" in opened else toolbox.delegated,
            announced=toolbox.announced,
            follow_up=toolbox.follow_up,
        ),
        persona_words=persona_words(persona.session.get("instructions"), *persona.hints),
        closed_fields=closed_fields(upstream),
        announces=new.announces,
        greeting=_greeting(persona),
        binary_audio=_binary_audio(persona, upstream),
        to_ga=unflattened,
    )


def opened_fields(persona: Persona) -> frozenset[Path]:
    """Return the paths of the session fields that a persona opens to clients."""
    return _paths(persona.client.session)


def closed_fields(*upstreams: Upstream) -> frozenset[Path]:
    """Return the paths of the session fields that only these upstreams know."""
    return frozenset(
        path for upstream in upstreams for path in _paths(upstream.extra_session_fields)
    )


def _paths(dotted: tuple[str, ...]) -> frozenset[Path]:
    return frozenset(tuple(path.split(".")) for path in dotted)


def _prompt_chars(persona: Persona) -> int:
    """Return the length of the texts that each response reads: the instructions and the tools."""
    instructions, tools = persona.session.get("instructions"), persona.session.get("tools")
    return len(instructions or "") + (len(encode(tools).decode()) if tools else 0)


def _greeting(persona: Persona) -> Event | None:
    """Return the other fields of the ``response.create`` with which a persona speaks first."""
    if not persona.greeting:
        return None
    # A model that has tools may call one before it has said a word.
    return {"response": {"tool_choice": "none"}} if persona.session.get("tools") else {}


def _binary_audio(persona: Persona, upstream: Upstream) -> frozenset[Side]:
    """Return the sides whose binary messages are audio.

    A compatible upstream may always send audio in binary messages. Its client may do so only if
    the persona asks for it, as xAI can (``audio.input.transport: binary``): many servers read an
    event in a binary message as they do in a text message, and no policy has judged that event.
    """
    if upstream.provider != "compatible":
        return frozenset()
    configured = (persona.session.get("audio") or {}).get("input") or {}
    asked = configured.get("transport") == "binary"
    return frozenset({Side.UPSTREAM, Side.CLIENT} if asked else {Side.UPSTREAM})
