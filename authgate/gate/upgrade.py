"""Whether a request that asks for another protocol can be carried. Asked of those whom the policy lets in."""

from __future__ import annotations

from authgate.policy.table import RouteEntry
from authgate.reason import Reason
from authgate.request import RequestFacts
from authgate.wire.websocket import handshake_problem, tokens


def refuse_upgrade(facts: RequestFacts, entry: RouteEntry) -> tuple[Reason, str] | None:
    """With what exactly is wrong. None: it is a WebSocket, and may begin."""
    if b"websocket" not in tokens(facts.headers.values(b"upgrade")):
        # The service would answer a plain request, and the client wait for a protocol that never begins.
        return Reason.UPGRADE_NOT_SUPPORTED, ""
    if entry.mcp is not None:
        # What passes through a WebSocket is not read, so no tool could be refused.
        return Reason.UPGRADE_NOT_SUPPORTED, "no WebSocket leads to an MCP server"
    problem = handshake_problem(facts.method, facts.headers)
    return (Reason.BAD_UPGRADE, problem) if problem else None
