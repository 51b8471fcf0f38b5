"""The API's errors as one table: each code with its message, its type and its close code.

The codes, types and close codes were observed on the API. Only a code of the table can be raised.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from relay.simulator.json_text import Json


@dataclass(frozen=True, slots=True)
class ErrorDefinition:
    """One row of the table.

    Attributes:
        message: The text for the client; ``{placeholders}`` are filled in.
        type: The API's class of errors.
        close_code: The WebSocket close code, if the error ends the session.
    """

    message: str
    type: str = "invalid_request_error"
    close_code: int | None = None


ERRORS: Mapping[str, ErrorDefinition] = MappingProxyType(
    {
        "invalid_api_key": ErrorDefinition(
            "Incorrect API key provided. You can find your API key at "
            "https://platform.openai.com/account/api-keys.",
            close_code=3000,
        ),
        "missing_model": ErrorDefinition("You must provide a model parameter.", close_code=4000),
        "invalid_model": ErrorDefinition(
            "Model {model} is not supported in realtime mode.", close_code=4000
        ),
        "invalid_script": ErrorDefinition("The script cannot be read: {problem}", close_code=4000),
        "beta_api_shape_disabled": ErrorDefinition(
            "The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA API.",
            close_code=4000,
        ),
        "invalid_json": ErrorDefinition("The event is not valid JSON."),
        "invalid_event": ErrorDefinition("{problem}"),
        "unknown_parameter": ErrorDefinition("Unknown parameter: '{param}'."),
        "missing_required_parameter": ErrorDefinition("Missing required parameter: '{param}'."),
        "invalid_value": ErrorDefinition("Invalid value for '{param}': {problem}."),
        "invalid_parameter": ErrorDefinition("{problem}"),
        "cannot_update_voice": ErrorDefinition(
            "Cannot update a conversation's voice if assistant audio is present."
        ),
        "item_not_found": ErrorDefinition("The item with id '{item_id}' was not found."),
        "item_already_exists": ErrorDefinition("An item with id '{item_id}' already exists."),
        "item_truncate_invalid_item_id": ErrorDefinition(
            "Error truncating item: the item with id '{item_id}' does not exist."
        ),
        "item_delete_invalid_item_id": ErrorDefinition(
            "Error deleting item: the item with id '{item_id}' does not exist."
        ),
        "item_retrieve_invalid_item_id": ErrorDefinition(
            "Error retrieving item: the item with id '{item_id}' does not exist."
        ),
        "invalid_tool_call_id": ErrorDefinition(
            "Tool call ID '{call_id}' not found in conversation."
        ),
        "input_audio_buffer_commit_empty": ErrorDefinition(
            "Error committing input audio buffer: buffer too small. "
            "Expected at least 100ms of audio, but buffer only has {milliseconds:.2f}ms of audio."
        ),
        "conversation_already_has_active_response": ErrorDefinition(
            "Conversation already has an active response in progress: {response_id}. "
            "Wait until the response is finished before creating a new one."
        ),
        "response_cancel_not_active": ErrorDefinition(
            "Cancellation failed: no active response found"
        ),
        "server_error": ErrorDefinition(
            "The server had an error while processing your request.", type="server_error"
        ),
    }
)


class RequestRefused(Exception):
    """The API does not do this; nothing was changed.

    Args:
        code: A key of ``ERRORS``.
        param: The path of the wrong parameter.
        **details: Values for the placeholders of the message.
    """

    def __init__(self, code: str, *, param: str | None = None, **details: object) -> None:
        self.code = code
        self.param = param
        self.definition = ERRORS[code]
        self.message = self.definition.message.format(param=param, **details)
        super().__init__(self.message)

    def as_error(self, client_event_id: str | None = None) -> Json:
        """Return the object for the field ``error`` of an ``error`` event."""
        return {
            "type": self.definition.type,
            "code": self.code,
            "message": self.message,
            "param": self.param,
            "event_id": client_event_id,
        }

    def as_status(self) -> Json:
        """Return the object for ``status_details.error`` of a failed response."""
        return {"type": self.definition.type, "code": self.code, "message": self.message}
