"""What the API refuses, as one table: each code with its words, its type and how it ends.

The codes, types and close codes are those seen from the API; a code that is not in the table
cannot be raised.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the table.

    Attributes:
        message: What the client reads; ``{words}`` are filled in.
        type: The API's class of errors.
        close_code: The WebSocket close code if the session ends with it.
    """

    message: str
    type: str = "invalid_request_error"
    close_code: int | None = None


FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        "invalid_api_key": Fault(
            "Incorrect API key provided. You can find your API key at "
            "https://platform.openai.com/account/api-keys.",
            close_code=3000,
        ),
        "missing_model": Fault("You must provide a model parameter.", close_code=4000),
        "invalid_model": Fault("Model {model} is not supported in realtime mode.", close_code=4000),
        "invalid_script": Fault("The script cannot be read: {problem}", close_code=4000),
        "beta_api_shape_disabled": Fault(
            "The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA API.",
            close_code=4000,
        ),
        "invalid_json": Fault("The event is not valid JSON."),
        "invalid_event": Fault("{problem}"),
        "unknown_parameter": Fault("Unknown parameter: '{param}'."),
        "missing_required_parameter": Fault("Missing required parameter: '{param}'."),
        "invalid_value": Fault("Invalid value for '{param}': {problem}."),
        "invalid_parameter": Fault("{problem}"),
        "cannot_update_voice": Fault(
            "Cannot update a conversation's voice if assistant audio is present."
        ),
        "item_not_found": Fault("The item with id '{item_id}' was not found."),
        "item_already_exists": Fault("An item with id '{item_id}' already exists."),
        "item_truncate_invalid_item_id": Fault(
            "Error truncating item: the item with id '{item_id}' does not exist."
        ),
        "item_delete_invalid_item_id": Fault(
            "Error deleting item: the item with id '{item_id}' does not exist."
        ),
        "item_retrieve_invalid_item_id": Fault(
            "Error retrieving item: the item with id '{item_id}' does not exist."
        ),
        "invalid_tool_call_id": Fault("Tool call ID '{call_id}' not found in conversation."),
        "input_audio_buffer_commit_empty": Fault(
            "Error committing input audio buffer: buffer too small. "
            "Expected at least 100ms of audio, but buffer only has {milliseconds:.2f}ms of audio."
        ),
        "conversation_already_has_active_response": Fault(
            "Conversation already has an active response in progress: {response_id}. "
            "Wait until the response is finished before creating a new one."
        ),
        "response_cancel_not_active": Fault("Cancellation failed: no active response found"),
        "server_error": Fault(
            "The server had an error while processing your request.", type="server_error"
        ),
    }
)


class Refused(Exception):
    """The client asked for something that the API does not do; nothing was changed."""

    def __init__(self, code: str, *, param: str | None = None, **words: object) -> None:
        self.code = code
        self.param = param
        self.fault = FAULTS[code]
        self.message = self.fault.message.format(param=param, **words)
        super().__init__(self.message)

    def as_error(self, client_event_id: str | None = None) -> Json:
        """Return the ``error`` object of the event that tells the client."""
        return {
            "type": self.fault.type,
            "code": self.code,
            "message": self.message,
            "param": self.param,
            "event_id": client_event_id,
        }

    def as_status(self) -> Json:
        """Return the ``error`` object of a response that failed with it."""
        return {"type": self.fault.type, "code": self.code, "message": self.message}
