"""Refusals of the server itself: what never becomes a request. Fixed sentences, nothing of the input."""

from __future__ import annotations

import json
from enum import StrEnum
from http import HTTPStatus
from typing import NamedTuple

from authgate.observe.access_log import new_request_id
from authgate.security_headers import SECURITY_HEADERS, without_referrer

# Of which page the address would have been is not known here.
_SECURITY_HEADERS = without_referrer(SECURITY_HEADERS)


class Fault(StrEnum):
    BAD_REQUEST = "bad_request"
    BAD_FRAMING = "bad_framing"
    BAD_HOST = "bad_host"
    BAD_TARGET = "bad_target"
    BAD_METHOD = "bad_method"
    HEAD_TIMEOUT = "head_timeout"
    BODY_TIMEOUT = "body_timeout"
    TARGET_TOO_LONG = "target_too_long"
    UNKNOWN_EXPECTATION = "unknown_expectation"
    HEADER_TOO_LONG = "header_too_long"
    COOKIES_TOO_LARGE = "cookies_too_large"
    HEADERS_TOO_LARGE = "headers_too_large"
    TOO_MANY_HEADERS = "too_many_headers"
    HTTP_VERSION = "http_version"
    SERVER_FULL = "server_full"
    SERVER_ERROR = "server_error"


class RequestRefused(ValueError):
    def __init__(self, fault: Fault, rule: str = "") -> None:
        """`rule`: for the log, what exactly was refused."""
        super().__init__(fault.value)
        self.fault, self.rule = fault, rule


class _Answer(NamedTuple):
    status: int
    error: str  # the contract's word
    message: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


_ALLOW = ((b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),)
_ANSWERS = {
    Fault.BAD_REQUEST: _Answer(
        400, "bad_request", "The request is not HTTP/1.1. Check scheme, port and what sends it."
    ),
    Fault.BAD_FRAMING: _Answer(
        400,
        "bad_request",
        "The length of the request body is ambiguous. Send one Content-Length, or Transfer-Encoding: chunked.",
    ),
    Fault.BAD_HOST: _Answer(400, "bad_request", "The Host header is missing, repeated or malformed. Send one."),
    Fault.BAD_TARGET: _Answer(
        400, "bad_request", "The request target is malformed. Send the path alone, percent-encoded."
    ),
    Fault.BAD_METHOD: _Answer(405, "bad_request", "This method is not served. Use one of those in Allow.", _ALLOW),
    Fault.HEAD_TIMEOUT: _Answer(408, "bad_request", "The request took too long to arrive. Send it again."),
    Fault.BODY_TIMEOUT: _Answer(408, "bad_request", "The request body took too long to arrive. Send it again."),
    Fault.TARGET_TOO_LONG: _Answer(414, "bad_request", "The request target is too long. Send less in the query."),
    Fault.UNKNOWN_EXPECTATION: _Answer(
        417, "bad_request", "This expectation is not supported. Send Expect: 100-continue or none."
    ),
    Fault.HEADER_TOO_LONG: _Answer(431, "bad_request", "A request header is too long. Shorten it."),
    Fault.COOKIES_TOO_LARGE: _Answer(
        431,
        "bad_request",
        "The cookies are too large. This answer expires all but the session's: send the request again.",
    ),
    Fault.HEADERS_TOO_LARGE: _Answer(
        431, "bad_request", "The request headers are too large. Send fewer or shorter ones."
    ),
    Fault.TOO_MANY_HEADERS: _Answer(431, "bad_request", "The request has too many headers. Send fewer."),
    Fault.HTTP_VERSION: _Answer(505, "bad_request", "Only HTTP/1.1 and HTTP/1.0 are spoken here. Send one of them."),
    Fault.SERVER_FULL: _Answer(
        503, "unavailable", "The gateway is busy. Try again shortly.", ((b"retry-after", b"1"),)
    ),
    Fault.SERVER_ERROR: _Answer(500, "unavailable", "The gateway failed to answer this request. The log says why."),
}


class Refusal(NamedTuple):
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def build_refusal(fault: Fault) -> Refusal:
    answer = _ANSWERS[fault]
    request_id = new_request_id()
    document = {
        "error": answer.error, "message": answer.message, "reason": fault.value, "request_id": request_id,
    }  # fmt: skip
    body = json.dumps(document).encode() + b"\n"
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-request-id", request_id.encode()),
        *_SECURITY_HEADERS,
        *answer.headers,
    ]
    return Refusal(answer.status, headers, body)


def encode_refusal(refusal: Refusal, date_line: bytes, *, body: bool = True) -> bytes:
    """The whole message as the last one of its connection."""
    lines = [f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}\r\n".encode(), date_line]
    lines += [b"%b: %b\r\n" % header for header in refusal.headers]
    lines.append(b"connection: close\r\n\r\n")
    return b"".join((*lines, refusal.body if body else b""))
