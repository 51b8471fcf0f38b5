"""Names of models as labels of metrics and in the ledger: from closed sets only.

A client may be allowed to set the transcription model, and an upstream confirms any name.
"""

from typing import Final

from relay.core.terms import Billing

UNKNOWN: Final = "unknown"
"""Model name used when neither the upstream nor the persona names a transcription model."""

OTHER: Final = "other"

TRANSCRIPTION_MODELS: Final = frozenset(
    {
        "whisper-1",
        "gpt-transcribe",
        "gpt-live-transcribe",
        "gpt-4o-mini-transcribe",
        "gpt-4o-mini-transcribe-2025-12-15",
        "gpt-4o-transcribe",
        "gpt-4o-transcribe-diarize",
        "gpt-realtime-whisper",
    }
)
"""The models of the API (``openai.types.realtime.AudioTranscription.model``)."""


def model_label(model: str, billing: Billing) -> str:
    """Return the name of a model that the persona, the price list or the API names; else other."""
    named = {billing.model, billing.transcriber, UNKNOWN}
    known = model in named or model in TRANSCRIPTION_MODELS or model in billing.prices.names
    return model if known else OTHER
