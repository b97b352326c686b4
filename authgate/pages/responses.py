"""Refusals become HTTP here and nowhere else. Bodies carry the reason, never claims, tokens or input."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from urllib.parse import quote

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from authgate.decision import Denied
from authgate.observe.access_log import Record
from authgate.oidc.next_url import MAX_LENGTH
from authgate.pages.refusal import Refused, Ways, render_refusal
from authgate.pages.representation import headers_of, may_be_page, may_be_redirect
from authgate.reason import Reason
from authgate.request import RequestFacts
from authgate.security_headers import OWN_PAGES_CSP, SECURITY_HEADERS, without_referrer
from authgate.state.snapshot import Snapshot
from authgate.wire.headers import Headers, RawHeaders

Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Refusal(NamedTuple):
    status: int
    error: str  # the contract's word
    message: str  # a fixed sentence


# For the developer or operator who reads it, with what to do. None tells more than the reason does, which is
# known to whoever sent the request; docs/reasons.md says the rest.
_REFUSALS = {
    Reason.BAD_TARGET: Refusal(
        400, "bad_request",
        "The request target is malformed or ambiguous. Send a plain path: no dot segments, no empty ones, no encoded "
        "slashes.",
    ),
    Reason.BAD_HOST: Refusal(
        400, "bad_request",
        "The Host header is missing, repeated or malformed, or not served here. Use the host of AUTHGATE_PUBLIC_URL or "
        "of a route.",
    ),
    Reason.BAD_HEADER: Refusal(
        400, "bad_request",
        "A request header is malformed. Behind a proxy, check the X-Forwarded-Proto, -Host and -Port that it sends.",
    ),
    Reason.BAD_METHOD: Refusal(405, "bad_request", "This method is not served. Use one of those in Allow."),
    Reason.BAD_FRAMING: Refusal(
        400, "bad_request",
        "The length of the request body is ambiguous. Send one Content-Length, or Transfer-Encoding: chunked.",
    ),
    Reason.BODY_TOO_LARGE: Refusal(413, "bad_request", "The request body is too large. Send less to this page."),
    Reason.BODY_TIMEOUT: Refusal(408, "bad_request", "The request body took too long to arrive. Send it again."),
    Reason.MALFORMED_CREDENTIAL: Refusal(
        400, "bad_request",
        "The Authorization header is malformed or there twice. Send one: Authorization: Bearer TOKEN.",
    ),
    Reason.NO_CREDENTIAL: Refusal(401, "unauthorized", "Sign in, or send a token as Authorization: Bearer TOKEN."),
    Reason.INVALID_TOKEN: Refusal(
        401, "unauthorized",
        "The token or session cookie is not one that this gateway makes. Copy the token whole, make one with "
        "mint_token, or sign in again.",
    ),
    Reason.TOKEN_EXPIRED: Refusal(
        401, "unauthorized", "The token or session has expired. Ask for a new token or sign in again."
    ),
    Reason.TOKEN_NOT_YET_VALID: Refusal(
        401, "unauthorized", "The token is not valid yet. Compare the clocks of its maker and of the gateway."
    ),
    Reason.TOKEN_REVOKED: Refusal(
        401, "unauthorized", "The token was revoked or the session ended. Ask for a new token or sign in again."
    ),
    Reason.BAD_SIGNATURE: Refusal(
        401, "unauthorized", "The signature does not match the token: it was cut or changed. Copy it again, whole."
    ),
    Reason.UNKNOWN_KEY: Refusal(
        401, "unauthorized",
        "The token was signed with a key that this gateway does not have: it comes from another gateway or another "
        "data directory (AUTHGATE_DATA_DIR), or the key was retired. Ask for a new token or sign in again.",
    ),
    Reason.WRONG_ISSUER: Refusal(
        401, "unauthorized",
        "The token was made for another gateway address; see AUTHGATE_PUBLIC_URL. Make it again with the address of "
        "this gateway.",
    ),
    Reason.WRONG_AUDIENCE: Refusal(
        401, "unauthorized", "The token was made for another audience. Ask for one that is made for this gateway."
    ),
    Reason.MISSING_ROLE: Refusal(
        403, "forbidden", "Your roles do not allow this. Ask whoever runs this site for one that does."
    ),
    Reason.CROSS_SITE: Refusal(
        403, "forbidden",
        "The request came from another site, which may not use the session. Send it from a page of this one, or with "
        "a bearer token.",
    ),
    Reason.ROUTE_INVALID: Refusal(
        403, "forbidden", "The policy of this route is not valid, so it is closed. The policy admin shows the error."
    ),
    Reason.LOCAL_SIGN_IN_CLOSED: Refusal(
        403, "forbidden", "Passwords are not accepted from here. Sign in with your identity provider."
    ),
    Reason.NO_ROUTE: Refusal(404, "not_found", "No route serves this. Check host, path and method."),
    Reason.ROUTE_DISABLED: Refusal(404, "not_found", "This route is switched off. The policy admin switches it on."),
    Reason.RATE_LIMITED: Refusal(429, "rate_limited", "Too many requests. Try again after the seconds in Retry-After."),
    Reason.NO_POLICY: Refusal(503, "unavailable", "The gateway has no policy loaded yet. Try again shortly."),
    Reason.GATE_ERROR: Refusal(
        503, "unavailable",
        "The gateway could not check your access, so the request was refused. The log has the cause under the request "
        "ID.",
    ),
    Reason.BUSY: Refusal(
        503, "unavailable", "Too many people are requesting this page right now. Try again shortly."
    ),
    Reason.UPGRADE_NOT_SUPPORTED: Refusal(
        501, "bad_request",
        "The gateway carries no WebSocket or other upgraded connection. Use plain requests, such as long polling.",
    ),
    Reason.UPSTREAM_UNREACHABLE: Refusal(
        502, "bad_gateway", "The service behind the gateway cannot be reached. The log says why."
    ),
    Reason.UPSTREAM_BROKEN: Refusal(
        502, "bad_gateway", "The service behind the gateway sent an invalid response. The log says what was wrong."
    ),
    Reason.UPSTREAM_TIMEOUT: Refusal(
        504, "gateway_timeout",
        "The service behind the gateway took too long. Try again, or raise the timeouts of the route.",
    ),
}  # fmt: skip

_CREDENTIAL_REASONS = frozenset(
    (
        Reason.INVALID_TOKEN, Reason.TOKEN_EXPIRED, Reason.TOKEN_NOT_YET_VALID, Reason.TOKEN_REVOKED,
        Reason.BAD_SIGNATURE, Reason.UNKNOWN_KEY, Reason.WRONG_ISSUER, Reason.WRONG_AUDIENCE,
    )
)  # fmt: skip


_DOUBTFUL = frozenset((Reason.BAD_TARGET, Reason.BAD_HOST, Reason.BAD_HEADER, Reason.BAD_METHOD, Reason.BAD_FRAMING))
# Nothing behind these is a request: what was announced may still come.
_LAST = _DOUBTFUL | {Reason.BODY_TOO_LARGE, Reason.BODY_TIMEOUT}
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"


# What signing in would heal. Of the others, a route that nobody may open stays closed to whoever signs in.
_HEALED_BY_SIGNING_IN = frozenset((Reason.NO_CREDENTIAL, *_CREDENTIAL_REASONS))
_LOGIN = f"{settings.AUTHGATE_AUTH_PREFIX}/login"


_NO_PROVIDER = (
    "No identity provider is set up, so nobody can sign in. Add one in the admin or with manage.py provider add. "
    "Programs send a token as Authorization: Bearer TOKEN."
)


class Answer(NamedTuple):
    """A complete response of our own."""

    status: int
    headers: RawHeaders
    body: bytes


def refusal_of(reason: Reason) -> Refusal:
    return _REFUSALS[reason]


def refuse(decision: Denied, request_id: str) -> Answer:
    """The refusal as JSON, for programs."""
    refusal = refusal_of(decision.reason)
    body = _json_body(refusal, decision, request_id)
    return _refused(decision, body, request_id, b"application/json")


def answer_refusal(record: Record, decision: Denied, method: str, headers: RawHeaders, *, again: str = "") -> Answer:
    """JSON for programs; for people a page, or a redirect to the sign-in. `again`: where another try begins.

    `method` and `headers` are the request's own, since it may have been refused before it had facts.
    """
    if not may_be_page(method, headers):
        return refuse(decision, record.request_id)
    sign_in = sign_in_url(record.facts, record.snapshot, decision.reason)
    if sign_in and may_be_redirect(method, headers):
        return _redirect(sign_in, record.request_id)
    identity = decision.identity or record.identity
    body = render_refusal(record, _describe(decision, record.snapshot), identity, Ways(sign_in, again)).encode()
    return _refused(decision, body, record.request_id, b"text/html; charset=utf-8")


def _describe(decision: Denied, snapshot: Snapshot | None) -> Refused:
    refusal, entry = refusal_of(decision.reason), decision.entry
    nobody_can = snapshot is not None and not snapshot.trust.has_providers
    return Refused(
        refusal.status,
        decision.reason.value,
        _NO_PROVIDER if nobody_can and decision.reason is Reason.NO_CREDENTIAL else refusal.message,
        decision.retry_after,
        entry.route.name if entry is not None else "",
        entry.route.upstream if entry is not None else "",
        roles_to_name(decision),
    )


def _refused(decision: Denied, body: bytes, request_id: str, content_type: bytes) -> Answer:
    status = refusal_of(decision.reason).status
    answer = _answer(status, body, request_id, (b"content-type", content_type), *_explain(decision))
    # An address that could not be read may hold anything.
    return answer._replace(headers=without_referrer(answer.headers)) if decision.reason in _DOUBTFUL else answer


def sign_in_url(facts: RequestFacts | None, snapshot: Snapshot | None, reason: Reason) -> str:
    """Where to sign in and come back to this very page; empty when that would not help."""
    if facts is None or snapshot is None or not snapshot.trust.has_providers or reason not in _HEALED_BY_SIGNING_IN:
        return ""
    # A browser that sends a token of its own would send it again.
    if reason is not Reason.NO_CREDENTIAL and any(name == b"authorization" for name, _ in facts.headers):
        return ""
    if facts.method == "POST":
        return _LOGIN  # reloading sends a form again; its address alone would not
    target = f"{facts.path}{facts.query.decode('ascii')}"
    return _LOGIN if len(target) > MAX_LENGTH else f"{_LOGIN}?next={quote(target, safe='/')}"


async def send_refusal(
    record: Record, decision: Denied, send: Send, *, unread: Scope | None = None, again: str = ""
) -> None:
    """Refuse over ASGI and record the answer. `unread`: the scope of a request that has no facts."""
    facts = record.facts
    if facts is not None:
        method, headers = facts.method, facts.headers
    else:
        method, headers = (unread["method"], unread["headers"]) if unread is not None else ("", Headers())
    answer = answer_refusal(record, decision, method, headers, again=again)
    record.decision = decision
    await _send_answer(record, answer, method, send)


async def send_text(record: Record, facts: RequestFacts, text: bytes, send: Send) -> None:
    """Answer 200 with plain text."""
    answer = _answer(200, text, record.request_id, (b"content-type", b"text/plain"))
    await _send_answer(record, answer, facts.method, send)


async def _send_answer(record: Record, answer: Answer, method: str, send: Send) -> None:
    body = b"" if method == "HEAD" else answer.body
    record.status, record.bytes_sent = answer.status, len(body)
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": body})


def refuse_django(request: HttpRequest, reason: Reason) -> HttpResponse:
    """The same refusal for a page or an endpoint that Django serves."""
    record: Record = getattr(request, "scope", {}).get("state", {}).get("record") or Record("")
    answer = answer_refusal(record, Denied(reason), request.method or "", headers_of(request))
    response = HttpResponse(answer.body, status=answer.status)
    for name, value in answer.headers:
        if name != b"x-request-id":  # the front door's, on everything that Django answers
            response[name.decode()] = value.decode()
    return response


def _answer(status: int, body: bytes, request_id: str, *headers: tuple[bytes, bytes]) -> Answer:
    common = [
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"vary", b"Cookie, Authorization"),
        (b"x-request-id", request_id.encode()),
        (b"content-security-policy", OWN_PAGES_CSP),
        *SECURITY_HEADERS,
    ]
    return Answer(status, [*headers, *common], body)


def _redirect(location: str, request_id: str) -> Answer:
    return _answer(302, b"", request_id, (b"location", location.encode("ascii")))


def _json_body(refusal: Refusal, decision: Denied, request_id: str) -> bytes:
    document: dict[str, str | int | tuple[str, ...]] = {
        "error": refusal.error,
        "message": refusal.message,
        "reason": decision.reason.value,
        "request_id": request_id,
    }
    if roles := roles_to_name(decision):
        document["roles"] = roles
    if decision.retry_after:
        document["retry_after"] = decision.retry_after
    return json.dumps(document).encode() + b"\n"


def roles_to_name(decision: Denied) -> tuple[str, ...]:
    """Which roles would do: told only to somebody who has proven who they are."""
    return decision.missing_roles if decision.identity is not None else ()


def _explain(decision: Denied) -> RawHeaders:
    """Retry-After, or the challenge of RFC 6750 section 3. Constants only: nothing of the request is echoed."""
    reason = decision.reason
    if reason in _LAST:
        # Client and proxies may disagree about where this request ends: close, and read no request behind it.
        close = [(b"connection", b"close")]
        return [*close, (b"allow", _METHODS)] if reason is Reason.BAD_METHOD else close
    if reason is Reason.RATE_LIMITED:
        return [(b"retry-after", str(decision.retry_after).encode())]
    challenge = _CHALLENGES.get(reason)
    return [(b"www-authenticate", challenge)] if challenge else []


def _challenge(error: str, description: str) -> bytes:
    return f'Bearer realm="authgate", error="{error}", error_description="{description}"'.encode()


_CHALLENGES = {
    Reason.NO_CREDENTIAL: b'Bearer realm="authgate"',
    Reason.MALFORMED_CREDENTIAL: _challenge("invalid_request", "The Authorization header is malformed"),
    Reason.MISSING_ROLE: _challenge("insufficient_scope", "A role is missing"),
    **{reason: _challenge("invalid_token", reason.value.replace("_", " ")) for reason in _CREDENTIAL_REASONS},
}
