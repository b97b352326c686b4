"""Refusals become HTTP here and nowhere else. Bodies carry the reason, never claims, tokens or input."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from authgate.access_log import Record
from authgate.decision import Decision, Identity, RawHeaders, Reason, RequestFacts
from authgate.oidc.next_url import MAX_LENGTH
from authgate.security_headers import OWN_PAGES_CSP, SECURITY_HEADERS, without_referrer

if TYPE_CHECKING:
    from authgate.policy.snapshot import Snapshot

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Refusal(NamedTuple):
    status: int
    error: str  # the contract's word
    message: str  # a fixed sentence


_INVALID = Refusal(401, "unauthorized", "The credential is not valid here.")
_REFUSALS = {
    Reason.BAD_TARGET: Refusal(400, "bad_request", "The request target is malformed or ambiguous."),
    Reason.BAD_HOST: Refusal(
        400, "bad_request", "The Host header is missing, repeated or malformed, or not served here."
    ),
    Reason.BAD_HEADER: Refusal(400, "bad_request", "A request header is malformed."),
    Reason.BAD_METHOD: Refusal(405, "bad_request", "This method is not served."),
    Reason.BAD_FRAMING: Refusal(400, "bad_request", "The length of the request body is in doubt."),
    Reason.BODY_TOO_LARGE: Refusal(413, "bad_request", "The request body is too large."),
    Reason.BODY_TIMEOUT: Refusal(408, "bad_request", "The request body took too long to arrive."),
    Reason.MALFORMED_CREDENTIAL: Refusal(400, "bad_request", "The Authorization header is malformed."),
    Reason.NO_CREDENTIAL: Refusal(401, "unauthorized", "Sign in or send a bearer token."),
    Reason.MISSING_ROLE: Refusal(403, "forbidden", "Your roles do not allow this."),
    Reason.CROSS_SITE: Refusal(403, "forbidden", "The request came from another site."),
    Reason.ROUTE_INVALID: Refusal(403, "forbidden", "The policy of this route is not valid, so it is closed."),
    Reason.LOCAL_SIGN_IN_CLOSED: Refusal(
        403, "forbidden", "Passwords are not accepted from here. Sign in with your identity provider."
    ),
    Reason.NO_ROUTE: Refusal(404, "not_found", "No route serves this."),
    Reason.ROUTE_DISABLED: Refusal(404, "not_found", "This route is switched off."),
    Reason.RATE_LIMITED: Refusal(429, "rate_limited", "Too many requests; try again later."),
    Reason.NO_POLICY: Refusal(503, "unavailable", "The gateway has no policy loaded yet."),
    Reason.GATE_ERROR: Refusal(503, "unavailable", "The gateway could not decide, so the answer is no."),
    Reason.BUSY: Refusal(503, "unavailable", "Too many people ask for this page right now; try again."),
    Reason.UPGRADE_NOT_SUPPORTED: Refusal(
        501, "bad_request", "The gateway does not carry WebSocket or other upgraded connections."
    ),
    Reason.UPSTREAM_UNREACHABLE: Refusal(502, "bad_gateway", "The service behind the gateway cannot be reached."),
    Reason.UPSTREAM_BROKEN: Refusal(502, "bad_gateway", "The service behind the gateway answered nonsense."),
    Reason.UPSTREAM_TIMEOUT: Refusal(504, "gateway_timeout", "The service behind the gateway took too long."),
}

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
_LOGOUT = f"{settings.AUTHGATE_AUTH_PREFIX}/logout"


class Answer(NamedTuple):
    """A complete response of our own."""

    status: int
    headers: RawHeaders
    body: bytes


def refusal_of(reason: Reason) -> Refusal:
    return _REFUSALS.get(reason, _INVALID)


def refuse(decision: Decision, request_id: str, *, page: bool = False, sign_in: str = "", again: str = "") -> Answer:
    """JSON for programs; for somebody who looks at it (`page`, of `is_navigation`) a page, or the way to `sign_in`.

    `again`: where another try begins.
    """
    refusal = refusal_of(decision.reason)
    if page and sign_in:
        return _redirect(sign_in, request_id)
    if page:
        content_type, body = b"text/html; charset=utf-8", _page_body(refusal, decision, request_id, again)
    else:
        content_type, body = b"application/json", _json_body(refusal, decision.reason, request_id)
    answer = _answer(refusal.status, body, request_id, (b"content-type", content_type), *_explain(decision))
    # An address that could not be read may hold anything.
    return answer._replace(headers=without_referrer(answer.headers)) if decision.reason in _DOUBTFUL else answer


def sign_in_url(facts: RequestFacts | None, snapshot: Snapshot | None, reason: Reason) -> str:
    """Where to sign in and come back to this very request; empty when that would not help."""
    if facts is None or snapshot is None or not snapshot.trust.has_providers or reason not in _HEALED_BY_SIGNING_IN:
        return ""
    # A browser that sends a token of its own would send it again.
    if reason is not Reason.NO_CREDENTIAL and any(name == b"authorization" for name, _ in facts.headers):
        return ""
    target = f"{facts.path}{facts.query.decode('ascii')}"
    return _LOGIN if len(target) > MAX_LENGTH else f"{_LOGIN}?next={quote(target, safe='/')}"


async def send_refusal(record: Record, decision: Decision, send: Send) -> None:
    """Refuse over ASGI, and write down that this is what was answered."""
    facts = record.facts
    page = facts is not None and is_navigation(facts.method, facts.headers)
    sign_in = sign_in_url(facts, record.snapshot, decision.reason) if page else ""
    await _send(record, decision, refuse(decision, record.request_id, page=page, sign_in=sign_in), send)


async def send_page_refusal(record: Record, decision: Decision, send: Send, *, again: str) -> None:
    """In the place of a page of the gateway's own, which may be what a form was sent to."""
    assert record.facts is not None  # noqa: S101  it was found by its path
    accepted = b",".join(value for name, value in record.facts.headers if name == b"accept")
    page = b"text/html" in accepted
    await _send(record, decision, refuse(decision, record.request_id, page=page, again=again), send)


async def _send(record: Record, decision: Decision, answer: Answer, send: Send) -> None:
    body = b"" if record.facts is not None and record.facts.method == "HEAD" else answer.body
    record.decision, record.status, record.bytes_sent = decision, answer.status, len(body)
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": body})


def refuse_django(request: HttpRequest, reason: Reason) -> HttpResponse:
    """The same refusal for a page or an endpoint that Django serves."""
    record: Record | None = getattr(request, "scope", {}).get("state", {}).get("record")
    headers = [(name.lower().encode(), value.encode()) for name, value in request.headers.items()]
    page = is_navigation(request.method or "", headers)
    sign_in = sign_in_url(record.facts, record.snapshot, reason) if record else ""
    answer = refuse(Decision(False, reason), record.request_id if record else "", page=page, sign_in=sign_in)
    response = HttpResponse(answer.body, status=answer.status)
    for name, value in answer.headers:
        if name != b"x-request-id":  # the front door's, on everything that Django answers
            response[name.decode()] = value.decode()
    return response


def is_navigation(method: str, headers: RawHeaders) -> bool:
    """Whether a person looks at the answer: GET or HEAD, Sec-Fetch-Mode navigate or Accept text/html, not XHR."""
    if method not in ("GET", "HEAD"):
        return False
    seen = {name: value.lower() for name, value in headers}
    if b"x-requested-with" in seen:
        return False
    mode = seen.get(b"sec-fetch-mode")
    return mode == b"navigate" if mode is not None else b"text/html" in seen.get(b"accept", b"")


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


def _json_body(refusal: Refusal, reason: Reason, request_id: str) -> bytes:
    document = {
        "error": refusal.error,
        "message": refusal.message,
        "reason": reason.value,
        "request_id": request_id,
    }
    return json.dumps(document).encode() + b"\n"


def _page_body(refusal: Refusal, decision: Decision, request_id: str, again: str) -> bytes:
    identity = decision.identity
    context = {
        "status": refusal.status,
        "message": refusal.message,
        "reason": decision.reason.value,
        "request_id": request_id,
        "again": again,
        # Which role would do is told only to somebody who has proven who they are.
        "missing_roles": decision.missing_roles if identity is not None else (),
        "who": _known_as(identity) if identity is not None else "",
        "sign_out_url": _LOGOUT if identity is not None and identity.credential == "session" else "",
    }
    return render_to_string("refusal.html", context).encode()


def _known_as(identity: Identity) -> str:
    if identity.name and identity.email:
        return f"{identity.name} ({identity.email})"
    return identity.name or identity.email or identity.subject


def _explain(decision: Decision) -> RawHeaders:
    """Retry-After, or the challenge of RFC 6750 section 3. Constants only: nothing of the request is echoed."""
    reason = decision.reason
    if reason in _LAST:
        # Whoever sent it and whoever carried it may differ on where it ends: nothing behind it is a request.
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
