"""The error codes of the Realtime API, in groups. Each code is in one group."""

from collections.abc import Mapping
from typing import Final

CLIENT_ERRORS: Final[Mapping[str, str]] = {
    "audio_unintelligible": "The audio could not be understood.",
    "cannot_update_voice": "The voice cannot change after the first audio of the session.",
    "conversation_already_has_active_response": (
        "Conversation already has an active response in progress. Wait for its end."
    ),
    "input_audio_buffer_commit_empty": "Error committing input audio buffer: it is too small.",
    "invalid_event": "The event is not valid.",
    "invalid_json": "The event is not valid JSON.",
    "invalid_parameter": "A parameter of the event is not valid.",
    "invalid_value": "A value in the event is not valid.",
    "item_already_exists": "There is an item with this id already.",
    "item_delete_invalid_item_id": "There is no item with this id to delete.",
    "item_not_found": "There is no item with this id.",
    "item_retrieve_invalid_item_id": "There is no item with this id to retrieve.",
    "item_truncate_invalid_item_id": "There is no item with this id to truncate.",
    "missing_required_parameter": "A required parameter of the event is missing.",
    "response_cancel_not_active": "Cancellation failed: no active response found",
    "session_expired": "The session has reached its maximum length.",
    "unknown_parameter": "A parameter of the event is unknown.",
}
"""Errors about an action of the client, and the sentence that the client receives.

Some sentences begin as OpenAI's do, because agent frameworks compare the beginning.

A client never receives the upstream's own message: a message can quote the persona, and a relay
that masks quotations lets a client read the persona by guessing it.
"""

ACCOUNT_ERRORS: Final = frozenset(
    {
        "account_deactivated",
        "beta_api_shape_disabled",
        "billing_hard_limit_reached",
        "insufficient_quota",
        "invalid_api_key",
        "invalid_model",
        "missing_model",
        "model_not_found",
    }
)
"""Errors about the key, the account or the model."""

TEMPORARY_ERRORS: Final = frozenset(
    {"inference_rate_limit_exceeded", "rate_limit_exceeded", "server_error"}
)
"""Errors that pass by themselves."""

KNOWN_ERRORS: Final = (
    frozenset(CLIENT_ERRORS) | ACCOUNT_ERRORS | TEMPORARY_ERRORS | {"call_id_not_found"}
)
"""All known codes: a closed set, so it can be a label of metrics."""
