"""The public URL as visitors see it: the gateway is asked there, by way of whatever stands in front of it, what of a
request has reached it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress

from django.conf import settings

from authgate.doctor import forwarded
from authgate.doctor.certificates import judge_end
from authgate.doctor.finding import Finding, error, ok, warning
from authgate.doctor.registry import Subject, register
from authgate.outbound.certificate import valid_until
from authgate.outbound.errors import ProviderError
from authgate.outbound.fetch import Answer, look
from authgate.own_hosts import public_host, public_origin, public_port
from authgate.pages.reflection import COOKIE, PATH, PROOF, Reflection, new_question, read_reflection

_WHAT = "public URL"
# As long as that of a session with many groups.
_COOKIE_VALUE = "x" * 3000
_UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "ZG9jdG9yIG9mIGF1dGhnYQ==",
    "Sec-WebSocket-Version": "13",
}
_POINT_HERE = "Point the proxy in front at this gateway, for every path, and let it keep Host."
_UNREACHED = "Is the gateway running? See DNS, firewall and port of AUTHGATE_PUBLIC_URL."
_UNTRUSTED = "Bring a certificate that visitors trust (docs/deployment.md), or name its CA in SSL_CERT_FILE."
_NO_GATEWAY = {502, 503, 504, 521, 522, 523}


class _Strange(Exception):
    """Not the gateway has answered, or it has refused. Its text says how."""


@register(Subject.PUBLIC_URL)
def examine_public_url() -> Iterator[Finding]:
    if public_origin().scheme == "https":
        yield from _certificate()
    try:
        seen = _ask({})
    except ProviderError as problem:
        yield error("reach", problem.detail, _UNTRUSTED if problem.is_untrusted else _UNREACHED)
        return
    except _Strange as problem:
        yield error("reach", str(problem), _POINT_HERE)
        return
    yield ok("reach", f"{settings.AUTHGATE_PUBLIC_URL} leads to this gateway")
    if seen.problem:
        yield error("readiness", f"the gateway is not ready: {seen.problem}", "See its log, and the database above.")
    yield from forwarded.judge(seen, _ask_with)
    yield _cookies()
    yield _websocket()
    if public_origin().scheme == "https" and public_port() == 443:
        yield judge_redirect(f"http://{public_host()}/")


def _certificate() -> Iterator[Finding]:
    with suppress(ProviderError):  # asking says it
        yield judge_end("certificate", valid_until(str(public_origin()), _WHAT))


def _ask(headers: Mapping[str, str]) -> Reflection:
    """Raises ProviderError or _Strange."""
    _, seen = _answer(headers)
    return seen


def _ask_with(headers: Mapping[str, str]) -> Reflection | str:
    """What was seen, or how the request was refused."""
    try:
        return _ask(headers)
    except _Strange as refused:
        return str(refused)
    except ProviderError as problem:
        return problem.detail


def _answer(headers: Mapping[str, str]) -> tuple[Answer, Reflection]:
    question = new_question()
    answer = look(f"{settings.AUTHGATE_PUBLIC_URL}{PATH}", _WHAT, {PROOF: question.proof, **headers})
    seen = read_reflection(answer.body, question) if answer.status == 200 else None
    if seen is None:
        raise _Strange(_words(answer))
    return answer, seen


def _words(answer: Answer) -> str:
    if place := answer.headers.get("Location"):
        return f"it redirects to {place[:200]!r} (status {answer.status})"
    reason = _reason(answer.body)
    if reason:
        return f"the gateway refuses the request: {reason} (status {answer.status})"
    if answer.status in _NO_GATEWAY:
        return f"something in front answers that it does not reach the gateway (status {answer.status})"
    return f"something else answers there, or a gateway with another AUTHGATE_SECRET_KEY (status {answer.status})"


def _reason(body: bytes) -> str:
    """Of the gateway's own refusals; a 404 is also what other gateways answer."""
    with suppress(ValueError, AttributeError, RecursionError):
        reason = json.loads(body).get("reason")
        return reason[:40] if isinstance(reason, str) and reason != "not_found" else ""
    return ""


def _cookies() -> Finding:
    try:
        answer, seen = _answer({"Cookie": f"{COOKIE}={_COOKIE_VALUE}"})
    except (ProviderError, _Strange) as problem:
        said = problem.detail if isinstance(problem, ProviderError) else str(problem)
        text = f"a cookie as large as a session's is refused: {said}"
        return error("cookies", text, "Raise the proxy's limits for headers (nginx: proxy_buffer_size 16k).")
    if not seen.has_cookie:
        return error("cookies", "the proxy in front drops the visitors' cookies", "Let it pass Cookie on.")
    returned = answer.headers.get("Set-Cookie", "")
    if COOKIE not in returned:
        return error("cookies", "the proxy in front drops the gateway's cookies", "Let it pass Set-Cookie on.")
    missing = _missing(returned)
    if missing:
        text = f"the proxy in front changes the gateway's cookies: {missing} is missing"
        return error("cookies", text, "Let it pass Set-Cookie on as it is.")
    return ok("cookies", "reach the gateway, and come back as they were sent")


def _missing(cookie: str) -> str:
    wanted = ["HttpOnly", "SameSite=Lax", "Path=/", *(["Secure"] if settings.SECURE else [])]
    given = {part.strip().lower() for part in cookie.split(";")}
    return ", ".join(attribute for attribute in wanted if attribute.lower() not in given)


def _websocket() -> Finding:
    seen = _ask_with(_UPGRADE)
    if isinstance(seen, Reflection) and seen.wants_upgrade:
        return ok("WebSocket", "an upgrade reaches the gateway")
    text = "an upgrade does not reach the gateway" if isinstance(seen, Reflection) else f"an upgrade is refused: {seen}"
    remedy = "If an application needs WebSockets, let the proxy pass Upgrade and Connection on (docs/deployment.md)."
    return warning("WebSocket", text, remedy)


def judge_redirect(url: str) -> Finding:
    remedy = "Redirect plain http to https in the proxy, or by serve --redirect-http."
    try:
        answer = look(url, "plain http", {})
    except ProviderError as problem:
        return ok("plain http", f"not served: {problem.detail}")
    place = answer.headers.get("Location", "")
    if 300 <= answer.status < 400 and place.startswith(f"https://{public_host()}"):
        return ok("plain http", "is redirected to https")
    text = f"{url} is not redirected to https (status {answer.status})"
    return warning("plain http", text, remedy)
