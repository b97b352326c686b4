"""What the body of a request to an MCP server asks for, and whether its caller may. Access was decided before."""

from __future__ import annotations

from typing import NamedTuple

from authgate.decision import Allowed, CallRefused, Denied, McpCall
from authgate.policy.mcp import TOOLS_CALL, TOOLS_LIST, ToolRules
from authgate.reason import Reason
from authgate.wire.headers import Headers
from authgate.wire.json_rpc import BadMessage, Message, Messages, is_name, read_messages

MAX_BODY = 1024 * 1024
_BODILESS_METHODS = frozenset(("GET", "HEAD", "DELETE", "OPTIONS"))  # streams, the end of a session, CORS
_CONTENT_TYPES = frozenset(
    (b"application/json", b"application/json;charset=utf-8", b'application/json;charset="utf-8"')
)
_NOBODY: frozenset[str] = frozenset()


class Checked(NamedTuple):
    calls: tuple[McpCall, ...]
    denied: Denied | None
    lists_tools: bool  # the answer names tools, of which the caller gets to see those they may call


def check_head(allowed: Allowed, announced: int) -> Denied | None:
    """Before a body is read. `announced`: bytes of it; below 1 where that is not known."""
    facts = allowed.facts
    if announced > MAX_BODY:
        return too_large(allowed)
    if facts.method in _BODILESS_METHODS:
        return None
    if facts.method != "POST":
        return _bad(allowed, "a method that MCP does not use")
    encodings = facts.headers.values(b"content-encoding")
    if any(value.lower() != b"identity" for value in encodings):
        return _bad(allowed, "a Content-Encoding")
    types = facts.headers.values(b"content-type")
    if len(types) != 1 or types[0].lower().replace(b" ", b"") not in _CONTENT_TYPES:
        return _bad(allowed, "a Content-Type other than application/json in UTF-8")
    return None


def too_large(allowed: Allowed) -> Denied:
    return _denied(allowed, Reason.BODY_TOO_LARGE)


def may_call(allowed: Allowed, tool: str) -> bool:
    rules = allowed.entry.mcp
    return rules is None or (is_name(tool) is not None and rules.may_call(_roles(allowed), tool))


def check_body(allowed: Allowed, body: bytes) -> Checked:
    """The whole body of a request whose head was checked."""
    rules = allowed.entry.mcp
    if rules is None:
        raise ValueError("not a route to an MCP server")
    if allowed.facts.method != "POST":
        return Checked((), _bad(allowed, f"a body with {allowed.facts.method}") if body else None, False)
    try:
        messages = read_messages(body)
        _check_mirrored(allowed.facts.headers, messages)
    except ValueError as error:
        return Checked((), _bad(allowed, str(error)), False)
    roles = _roles(allowed)
    refusals = [_refusal(rules, roles, message) for message in messages.all]
    calls = tuple(
        McpCall(message.method, message.tool, refusal)
        for message, refusal in zip(messages.all, refusals, strict=True)
        if message.method
    )
    denied = _deny(allowed, messages, refusals) if any(refusals) else None
    return Checked(calls, denied, any(message.method == TOOLS_LIST for message in messages.all))


def _refusal(rules: ToolRules, roles: frozenset[str], message: Message) -> Reason | None:
    if message.method == TOOLS_CALL:
        return None if rules.may_call(roles, message.tool) else Reason.TOOL_NOT_ALLOWED
    if message.method and not rules.may_use(roles, message.method):
        return Reason.MCP_METHOD_NOT_ALLOWED
    return None


def _deny(allowed: Allowed, messages: Messages, refusals: list[Reason | None]) -> Denied:
    """Of a batch nothing is sent then: the service gets what the client wrote, or nothing."""
    answers = tuple(
        CallRefused(message.id, refusal or Reason.BATCH_REFUSED)
        for message, refusal in zip(messages.all, refusals, strict=True)
        if message.id is not None
    )
    reason = next(refusal for refusal in refusals if refusal is not None)
    return Denied(reason, allowed.revision, allowed.entry, allowed.identity, calls=answers, is_batch=messages.is_batch)


def _check_mirrored(headers: Headers, messages: Messages) -> None:
    """What newer clients say of the message in headers, by which a service may go instead of the body.

    Raises BadMessage.
    """
    methods, names = headers.values(b"mcp-method"), headers.values(b"mcp-name")
    if not methods and not names:
        return
    first = messages.all[0]
    is_same = all(value == first.method.encode("ascii") for value in methods)
    if first.method == TOOLS_CALL:
        is_same &= all(value == first.tool.encode("ascii") for value in names)
    if messages.is_batch or not is_same:
        raise BadMessage("Mcp-Method or Mcp-Name say something else than the body")


def _roles(allowed: Allowed) -> frozenset[str]:
    return allowed.identity.roles if allowed.identity is not None else _NOBODY


def _bad(allowed: Allowed, rule: str) -> Denied:
    return _denied(allowed, Reason.BAD_MESSAGE, rule)


def _denied(allowed: Allowed, reason: Reason, rule: str = "") -> Denied:
    return Denied(reason, allowed.revision, allowed.entry, allowed.identity, rule=rule)
