"""Refusals of the server itself: what never becomes a request. Fixed sentences, nothing of the input."""

from __future__ import annotations

from http import HTTPStatus

from authgate.observe import metrics
from authgate.observe.access_log import new_request_id
from authgate.reason import Reason
from authgate.security_headers import SECURITY_HEADERS, without_referrer
from authgate.wire.refusal import METHODS, Answer, refusal_json, refusal_of

# Of which page the address would have been is not known here.
_SECURITY_HEADERS = without_referrer(SECURITY_HEADERS)
# Where no route or policy can be the cause, the sentence is plainer.
_MESSAGES = {
    Reason.BAD_HOST: "The Host header is missing, repeated or malformed. Send one.",
    Reason.BAD_TARGET: "The request target is malformed. Send the path alone, percent-encoded.",
}
_HEADERS = {Reason.BAD_METHOD: (b"allow", METHODS), Reason.SERVER_FULL: (b"retry-after", b"1")}


class RequestRefused(ValueError):
    def __init__(self, reason: Reason, rule: str = "") -> None:
        """`rule`: for the log, what exactly was refused."""
        super().__init__(reason.value)
        self.reason, self.rule = reason, rule


def build_refusal(reason: Reason) -> Answer:
    refusal = refusal_of(reason)
    metrics.count_refusal(reason)
    if reason in _MESSAGES:
        refusal = refusal._replace(message=_MESSAGES[reason])
    request_id = new_request_id()
    body = refusal_json(refusal, reason, request_id) + b"\n"
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-request-id", request_id.encode()),
        *_SECURITY_HEADERS,
    ]
    if reason in _HEADERS:
        headers.append(_HEADERS[reason])
    return Answer(refusal.status, headers, body)


def encode_refusal(answer: Answer, date_line: bytes, *, body: bool = True) -> bytes:
    """The whole message as the last one of its connection."""
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n".encode(), date_line]
    lines += [b"%b: %b\r\n" % header for header in answer.headers]
    lines.append(b"connection: close\r\n\r\n")
    return b"".join((*lines, answer.body if body else b""))
