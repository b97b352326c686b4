"""Refusals as JSON-RPC answers, to clients that wait for one for each of their calls."""

from __future__ import annotations

import json

from authgate.decision import CallRefused, Denied
from authgate.wire.refusal import refusal_of

# Of the numbers that servers may choose; MCP and its SDKs use those next to -32000.
_REFUSED = -32043


def write_answers(decision: Denied, request_id: str) -> bytes:
    answers = [_answer(call, request_id) for call in decision.calls]
    return json.dumps(answers if decision.is_batch else answers[0]).encode()


def _answer(call: CallRefused, request_id: str) -> dict[str, object]:
    data = {"reason": call.reason, "request_id": request_id}
    error = {"code": _REFUSED, "message": refusal_of(call.reason).message, "data": data}
    return {"jsonrpc": "2.0", "id": call.id, "error": error}
