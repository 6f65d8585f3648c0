"""A message of JSON-RPC from its text; what holds none is answered, in words of ours."""

import json

from mcp_types import (
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError

NOTIFICATIONS = "notifications/"


class Unreadable(Exception):
    """A line that holds no message, with the answer its sender gets."""

    def __init__(self, code: int, sentence: str, request_id: str | int | None) -> None:
        super().__init__(sentence)
        fault = ErrorData(code=code, message=sentence)
        self.answer = JSONRPCError(jsonrpc="2.0", id=request_id, error=fault)


def read_message(line: str | bytes) -> JSONRPCMessage:
    """The line's message.

    Raises:
        Unreadable: it holds none; without an answer its sender might wait for ever.
    """
    try:
        message = jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        request_id = _find_id(line)
        if fault["type"] == "json_invalid":
            raise Unreadable(PARSE_ERROR, fault["msg"], request_id) from None
        raise Unreadable(INVALID_REQUEST, "Not a JSON-RPC message", request_id) from None
    if _lacks_only_an_id(message) and "id" in json.loads(line):
        raise Unreadable(INVALID_REQUEST, "The id must be a string or an integer", None)
    return message


def _lacks_only_an_id(message: JSONRPCMessage) -> bool:
    """Whether it reads as a notification by nothing but the want of a usable id."""
    return isinstance(message, JSONRPCNotification) and not message.method.startswith(NOTIFICATIONS)


def _find_id(line: str | bytes) -> str | int | None:
    """The id of the request in a line that is no message, where one can be told."""
    try:
        found = json.loads(line)  # takes what the stricter reader of messages does not
        if not isinstance(found, dict) or found.keys() & {"result", "error"}:
            return None
        request_id = found.get("id")
        if isinstance(request_id, str):
            request_id.encode()  # a lone surrogate can't be sent back
    except (ValueError, RecursionError):
        return None
    is_id = isinstance(request_id, str | int) and not isinstance(request_id, bool)
    return request_id if is_id else None
