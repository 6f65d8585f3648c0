"""JSON-RPC messages from lines of text, and the answer to a line that is not one."""

import json

import mcp_types as types
from pydantic import ValidationError
from pydantic_core import from_json

from millimetric_mcp.contract.json_text import repair_json


class Unreadable(Exception):
    """A line that is not a message; ``answer`` is for its sender, who may wait for one."""

    def __init__(self, code: int, sentence: str, request_id: str | int | None) -> None:
        super().__init__(sentence)
        error = types.ErrorData(code=code, message=sentence)
        self.answer = types.JSONRPCError(jsonrpc="2.0", id=request_id, error=error)


def read_message(line: bytes) -> types.JSONRPCMessage:
    """Return the message of a line.

    Raises:
        Unreadable: the line is not a message.
    """
    line = repair_json(line)
    try:
        found = from_json(line)
    except ValueError as error:
        raise Unreadable(types.PARSE_ERROR, str(error), _find_id(line)) from None
    try:
        message = types.jsonrpc_message_adapter.validate_python(found, by_name=False)
    except ValidationError:
        raise Unreadable(types.INVALID_REQUEST, "Not a JSON-RPC message", _find_id(line)) from None
    has_wrong_id = isinstance(message, types.JSONRPCNotification) and "id" in found
    if has_wrong_id and not found["method"].startswith("notifications/"):
        raise Unreadable(types.INVALID_REQUEST, "The id must be a string or an integer", None)
    return message


def _find_id(line: bytes) -> str | int | None:
    """Return the id of the request in a line that is not a message, if it has one."""
    try:
        found = json.loads(line)  # more lenient than the reader of messages
        if not isinstance(found, dict) or found.keys() & {"result", "error"}:
            return None
        request_id = found.get("id")
        if isinstance(request_id, str):
            request_id.encode()  # a lone surrogate can't be sent back
    except (ValueError, RecursionError):
        return None
    is_id = isinstance(request_id, str | int) and not isinstance(request_id, bool)
    return request_id if is_id else None
