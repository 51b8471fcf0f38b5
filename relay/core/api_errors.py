"""The error codes of the Realtime API, in groups. Each code is in one group."""

from typing import Final

CLIENT_ERRORS: Final = frozenset(
    {
        "audio_unintelligible",
        "cannot_update_voice",
        "conversation_already_has_active_response",
        "input_audio_buffer_commit_empty",
        "invalid_event",
        "invalid_json",
        "invalid_parameter",
        "invalid_value",
        "item_already_exists",
        "item_delete_invalid_item_id",
        "item_not_found",
        "item_retrieve_invalid_item_id",
        "item_truncate_invalid_item_id",
        "missing_required_parameter",
        "response_cancel_not_active",
        "session_expired",
        "unknown_parameter",
    }
)
"""Errors about an action of the client. Only their messages may reach the client."""

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

KNOWN_ERRORS: Final = CLIENT_ERRORS | ACCOUNT_ERRORS | TEMPORARY_ERRORS | {"call_id_not_found"}
"""All known codes: a closed set, so it can be a label of metrics."""
