"""JSON-RPC messages to an MCP server, read so that no service can find another method or tool in them."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from authgate.wire.strict_json import read_json

MAX_MESSAGES = 50  # of a batch; each is a line of the log
_MAX_DEPTH = 64
_MAX_ID_CHARACTERS = 256
_CALL = frozenset(("jsonrpc", "id", "method", "params"))
_RESULT = frozenset(("jsonrpc", "id", "result"))
_ERROR = frozenset(("jsonrpc", "id", "error"))

# As the specification of MCP has them. Without blanks, escapes and letters that others fold or normalize.
is_name = re.compile(r"[A-Za-z0-9_.:/-]{1,128}").fullmatch
_NOT_A_LETTER = re.compile(r"[^a-z]")
_DECIDED = {"toolscall": "tools/call", "toolslist": "tools/list"}


class BadMessage(ValueError):
    """Nothing that may be sent to a service. Its text says why, and holds nothing of the input."""


class Message(NamedTuple):
    method: str  # empty: the answer to a question of the service
    tool: str  # of tools/call
    id: str | int | None  # None: nobody waits for an answer


class Messages(NamedTuple):
    all: tuple[Message, ...]
    is_batch: bool


def read_messages(body: bytes) -> Messages:
    """Raises ValueError: BadMessage, or NotStrictJson."""
    value = read_json(body, _MAX_DEPTH)
    if not isinstance(value, list):
        return Messages((_read_message(value),), False)
    if not value or len(value) > MAX_MESSAGES:
        raise BadMessage(f"a batch of none, or of more than {MAX_MESSAGES}")
    return Messages(tuple(map(_read_message, value)), True)


def _read_message(value: Any) -> Message:
    if not isinstance(value, dict) or value.get("jsonrpc") != "2.0":
        raise BadMessage("not JSON-RPC 2.0")
    # Members of other names: some readers ignore case, and a message that is call and answer at once is either.
    if "method" not in value:
        if value.keys() != _RESULT and value.keys() != _ERROR:
            raise BadMessage("neither a call nor an answer")
        return Message("", "", None)
    if not value.keys() <= _CALL:
        raise BadMessage("a call with unknown members")
    method = _read_method(value["method"])
    params = value.get("params")
    if params is not None and not isinstance(params, dict):
        raise BadMessage("params that are not an object")
    tool = _read_tool(params) if method == "tools/call" else ""
    return Message(method, tool, _read_id(value["id"]) if "id" in value else None)


def _read_method(method: Any) -> str:
    if not isinstance(method, str) or not is_name(method):
        raise BadMessage("a method that is no name")
    if _DECIDED.get(_NOT_A_LETTER.sub("", method.lower()), method) != method:
        raise BadMessage("a method that is tools/call or tools/list in another spelling")
    return method


def _read_tool(params: dict[str, Any] | None) -> str:
    tool = (params or {}).get("name")
    if not isinstance(tool, str) or not is_name(tool):
        raise BadMessage("tools/call without the name of a tool")
    if any(member != "name" and member.casefold() == "name" for member in params or ()):
        raise BadMessage("tools/call with two names")
    return tool


def _read_id(value: Any) -> str | int:
    # A null would be a call for some and a notification for others.
    if isinstance(value, bool) or not isinstance(value, str | int) or len(str(value)) > _MAX_ID_CHARACTERS:
        raise BadMessage("an id that is neither a string nor a whole number")
    return value
