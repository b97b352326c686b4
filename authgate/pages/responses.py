"""Decisions become HTTP here and nowhere else. Bodies carry the reason, never claims, tokens or input."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from authgate.authn.credentials import sends_token, uses_dpop
from authgate.decision import Denied, retry_seconds
from authgate.gate.preflight import cors_headers
from authgate.observe.access_log import Record
from authgate.oidc.next_url import MAX_LENGTH
from authgate.pages.challenges import CREDENTIAL_REASONS, challenge_of, nonce_for
from authgate.pages.json_rpc import write_answers
from authgate.pages.protected_resource import metadata_url
from authgate.pages.refusal import Refused, Ways, render_refusal
from authgate.pages.representation import headers_of, may_be_page, may_be_redirect
from authgate.policy.redirects import location_of
from authgate.policy.shaping import CorsRules
from authgate.reason import Reason
from authgate.request import RequestFacts
from authgate.security_headers import OWN_PAGES_CSP, SECURITY_HEADERS, without_referrer
from authgate.state.snapshot import Snapshot
from authgate.wire.framing import has_body
from authgate.wire.headers import Headers, RawHeaders
from authgate.wire.refusal import METHODS, Answer, refusal_json, refusal_of

Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]


_DOUBTFUL = frozenset((Reason.BAD_TARGET, Reason.BAD_HOST, Reason.BAD_HEADER, Reason.BAD_METHOD, Reason.BAD_FRAMING))
# Nothing behind these is a request: what was announced may still come.
_LAST = _DOUBTFUL | {Reason.BODY_TOO_LARGE, Reason.BODY_TIMEOUT, Reason.BAD_UPGRADE}


# What signing in would heal. Of the others, a route that nobody may open stays closed to whoever signs in.
_HEALED_BY_SIGNING_IN = frozenset((Reason.NO_CREDENTIAL, *CREDENTIAL_REASONS))
_BASIC = b'Basic realm="authgate", charset="UTF-8"'
_LOGIN = f"{settings.AUTHGATE_AUTH_PREFIX}/login"


_NO_PROVIDER = (
    "No identity provider is set up, so nobody can sign in. Add one in the admin or with manage.py provider add. "
    "Programs send a token as Authorization: Bearer TOKEN."
)


def refuse(decision: Denied, request_id: str, facts: RequestFacts | None = None) -> Answer:
    """The refusal as JSON, for programs."""
    body = refusal_json(
        refusal_of(decision.reason), decision.reason, request_id,
        roles=roles_to_name(decision), retry_after=decision.retry_after,
    )  # fmt: skip
    return _refused(decision, body + b"\n", request_id, facts, b"application/json")


def answer_refusal(record: Record, decision: Denied, method: str, headers: RawHeaders, *, again: str = "") -> Answer:
    """JSON for programs; for people a page, or a redirect to the sign-in. `again`: where another try begins.

    `method` and `headers` are the request's own, since it may have been refused before it had facts.
    """
    cors = decision.entry.cors if decision.entry is not None else None
    if cors is not None:
        return _across_origins(record, decision, method, headers, cors, again=again)
    return _answer_refusal(record, decision, method, headers, again=again)


def _across_origins(
    record: Record, decision: Denied, method: str, headers: RawHeaders, cors: CorsRules, *, again: str
) -> Answer:
    """So that a script of another origin can read why it was refused."""
    if decision.reason is Reason.CORS_PREFLIGHT:
        return _answer_preflight(record.request_id, cors_headers(cors, headers, is_preflight=True))
    answer = _answer_refusal(record, decision, method, headers, again=again)
    return answer._replace(headers=[*answer.headers, *cors_headers(cors, headers)])


def _answer_preflight(request_id: str, headers: RawHeaders) -> Answer:
    """Without a length, which a 204 must not have (RFC 9110 8.6)."""
    answer = _answer(204, b"", request_id, *headers)
    return answer._replace(headers=[pair for pair in answer.headers if pair[0] != b"content-length"])


def _answer_refusal(record: Record, decision: Denied, method: str, headers: RawHeaders, *, again: str) -> Answer:
    if decision.calls:
        body = write_answers(decision, record.request_id)
        return _answer(200, body, record.request_id, (b"content-type", b"application/json"))
    if decision.reason is Reason.REDIRECT:
        return _lead_elsewhere(record, decision)
    if not may_be_page(method, headers):
        return refuse(decision, record.request_id, record.facts)
    sign_in = sign_in_url(record.facts, record.snapshot, decision.reason)
    if sign_in and may_be_redirect(method, headers):
        return _redirect(sign_in, record.request_id)
    identity = decision.identity or record.identity
    body = render_refusal(record, _describe(decision, record.snapshot), identity, Ways(sign_in, again)).encode()
    return _refused(decision, body, record.request_id, record.facts, b"text/html; charset=utf-8")


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


def _refused(decision: Denied, body: bytes, request_id: str, facts: RequestFacts | None, content_type: bytes) -> Answer:
    status = refusal_of(decision.reason).status
    answer = _answer(status, body, request_id, (b"content-type", content_type), *_explain(decision, facts))
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
    body = answer.body if has_body(method, answer.status) else b""
    record.status, record.bytes_sent = answer.status, len(body)
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": body})


def refuse_django(request: HttpRequest, reason: Reason) -> HttpResponse:
    """The same refusal for a page or an endpoint that Django serves."""
    record: Record = getattr(request, "scope", {}).get("state", {}).get("record") or Record("")
    answer = answer_refusal(
        record, Denied(reason, retry_after=retry_seconds(reason)), request.method or "", headers_of(request)
    )
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


def _lead_elsewhere(record: Record, decision: Denied) -> Answer:
    """As the route says."""
    entry, facts = decision.entry, record.facts
    if entry is None or entry.route.redirect is None or facts is None:
        raise ValueError("no route that redirects")
    location = location_of(entry.route.redirect, entry.route, facts.path, facts.query)
    return _answer(entry.route.redirect.status, b"", record.request_id, (b"location", location.encode("ascii")))


def _redirect(location: str, request_id: str) -> Answer:
    return _answer(302, b"", request_id, (b"location", location.encode("ascii")))


def roles_to_name(decision: Denied) -> tuple[str, ...]:
    """Which roles would do: told only to somebody who has proven who they are."""
    return decision.missing_roles if decision.identity is not None else ()


def _explain(decision: Denied, facts: RequestFacts | None) -> RawHeaders:
    """Retry-After, or a challenge. Nothing of the request is echoed but its host."""
    reason = decision.reason
    if reason in _LAST:
        # Client and proxies may disagree about where this request ends: close, and read no request behind it.
        close = [(b"connection", b"close")]
        return [*close, (b"allow", METHODS)] if reason is Reason.BAD_METHOD else close
    if decision.retry_after:
        return [(b"retry-after", str(decision.retry_after).encode())]
    challenge = challenge_of(reason, by_dpop=facts is not None and uses_dpop(facts.headers))
    if not challenge:
        return []
    headers = [(b"www-authenticate", challenge.encode() + _parameters(decision, facts)), *nonce_for(reason)]
    if decision.entry is None or not decision.entry.route.basic or reason not in _HEALED_BY_SIGNING_IN:
        return headers
    # git, pip and clients of container registries send a password only where one is asked for. The latter take any
    # Bearer for the address of a token server (its realm), and ask there instead: only who sends a token is told of it.
    tells_bearer = decision.entry.mcp is not None or (facts is not None and sends_token(facts.headers))
    return [*(headers if tells_bearer else []), (b"www-authenticate", _BASIC)]


def _parameters(decision: Denied, facts: RequestFacts | None) -> bytes:
    """The scopes that are necessary (RFC 6750 3) and where a client learns who gives out tokens (RFC 9728 5.1)."""
    entry = decision.entry
    if entry is None:
        return b""
    metadata = metadata_url(entry, facts)
    asks = decision.reason is Reason.INSUFFICIENT_SCOPE or (metadata and decision.reason in _HEALED_BY_SIGNING_IN)
    scopes = f', scope="{" ".join(entry.route.scopes)}"' if asks and entry.route.scopes else ""
    return (scopes + (f', resource_metadata="{metadata}"' if metadata else "")).encode()
