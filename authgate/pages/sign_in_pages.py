"""What the pages of sign-in share: who asks, from where, and how they are answered."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from functools import wraps
from typing import Any, Concatenate, NamedTuple, ParamSpec, cast
from urllib.parse import quote

from django.conf import settings
from django.db import Error as DatabaseProblem
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render

from authgate.authn.credentials import find_credential, verify_session
from authgate.observe import metrics
from authgate.observe.access_log import Record
from authgate.oidc import login_state
from authgate.oidc.departure import Departure, read, unseal
from authgate.oidc.login_state import PendingLogin
from authgate.oidc.next_url import safe_next
from authgate.own_hosts import public_host
from authgate.pages.outages import say_outage
from authgate.pages.representation import may_be_page
from authgate.pages.views import unavailable
from authgate.request import Identity, InvalidCredential, RequestFacts
from authgate.state.hosts import is_known, is_services
from authgate.state.snapshot import Snapshot
from authgate.state.trouble import is_outage
from authgate.threads import TooBusy
from authgate.wire.refusal import Refusal, refusal_json
from authgate.wire.target import is_below

logger = logging.getLogger(__name__)

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], Coroutine[Any, Any, HttpResponse]]

AUTH = settings.AUTHGATE_AUTH_PREFIX
_PREFIX = "__Host-" if settings.SECURE else ""
# Set for 20 s after a sign-in. /auth/login seeing it without a session means that the browser drops our cookie: show a
# page, do not redirect.
ARRIVED_COOKIE, _ARRIVED_SECONDS = f"{_PREFIX}authgate_arrived", 20
_public_host = public_host()


class Failure(NamedTuple):
    status: int
    error: str  # the contract's word
    message: str
    advice: str


_AGAIN = "Sign in again. If it keeps failing, give the request below to whoever runs this site."
_FAILURES = {
    "oauth2_error": Failure(
        400, "bad_request", "The identity provider did not let you in.",
        "You may have cancelled, or it needs something else from you first. You can try again.",
    ),
    "missing_code": Failure(
        400, "bad_request", "The identity provider's answer is incomplete.",
        "This page is a step of signing in and cannot be opened by itself. Begin again with the button.",
    ),
    "login_expired": Failure(
        400, "bad_request", "This sign-in attempt has expired.",
        "It took more than ten minutes, was used already, or was begun in another browser or one that keeps no "
        "cookies. Begin again with the button.",
    ),
    "not_allowed": Failure(
        403, "forbidden", "This account may not sign in here.",
        "Use another account, or ask whoever runs this site. To be asked for one, sign out at the identity "
        "provider first.",
    ),
    "token_exchange_failed": Failure(502, "bad_gateway", "The identity provider did not confirm your sign-in.", _AGAIN),
    "userinfo_failed": Failure(502, "bad_gateway", "The identity provider did not say who you are.", _AGAIN),
    "invalid_id_token": Failure(502, "bad_gateway", "The identity provider's answer cannot be trusted.", _AGAIN),
    "provider_unavailable": Failure(
        503, "unavailable", "The identity provider cannot be reached.",
        "Nothing is wrong with your account. Wait a moment and sign in again.",
    ),
    "unknown_provider": Failure(
        404, "not_found", "There is no such identity provider here.", "Choose one on the sign-in page."
    ),
    "unknown_host": Failure(
        404, "not_found", "The site you came from is not served here any more.",
        "Check its address, or ask whoever runs this site.",
    ),
    "no_provider": Failure(
        503, "unavailable", "Nobody can sign in here yet.",
        "No identity provider is set up. Whoever runs this site can add one in the admin.",
    ),
    "busy": Failure(
        503, "unavailable", "Too many people are signing in right now.", "Wait a moment and sign in again."
    ),
    "cookies_refused": Failure(
        400, "bad_request", "You signed in, but your browser did not send the session cookie.",
        "Allow cookies for this site, or delete the ones it has, and sign in again.",
    ),
    "session_not_valid": Failure(
        401, "unauthorized", "Your session is no longer valid.",
        "Your browser did send the session cookie, so cookies are allowed. The keys of this site were changed, or "
        "another site with this host name replaced the cookie. Sign in again; if this page comes back, delete the "
        "cookies of this site first.",
    ),
}  # fmt: skip


def record_of(request: HttpRequest) -> Record:
    return cast(Record, request.scope["state"]["record"])  # type: ignore[attr-defined]


def facts_of(request: HttpRequest) -> RequestFacts:
    return _facts(record_of(request))


def _facts(record: Record) -> RequestFacts:
    facts = record.facts
    assert facts is not None  # noqa: S101  the front door sets them first
    return facts


def snapshot_of(request: HttpRequest) -> Snapshot | None:
    return record_of(request).snapshot


def identity_of(request: HttpRequest) -> Identity | None:
    return cast("Identity | None", request.identity)  # type: ignore[attr-defined]


def login_cookies(request: HttpRequest) -> dict[str, str]:
    """What binds sign-ins to this browser."""
    return login_state.read_cookies(facts_of(request).headers)


def session_id(request: HttpRequest) -> str | None:
    """Of the cookie that came, even when it is past its few minutes: the session behind it is not."""
    snapshot = snapshot_of(request)
    if snapshot is None:
        return None
    with suppress(InvalidCredential):
        facts = facts_of(request)
        found = find_credential(facts.headers, snapshot.trust.session_cookie)
        claims = verify_session(found, snapshot.trust, time.time(), facts.authority.host)
        return None if claims is None else claims.session_id
    return None


def is_on_public_host(request: HttpRequest) -> bool:
    return facts_of(request).authority.host == _public_host


def origin_of(request: HttpRequest) -> str:
    """Where this browser's cookies are: sign-in comes back there."""
    facts = facts_of(request)
    if is_on_public_host(request):
        return str(settings.AUTHGATE_PUBLIC_URL)
    return f"{facts.scheme}://{facts.authority}"


def next_of(request: HttpRequest) -> str:
    return checked_next(request, request.GET.get("next", ""))


def checked_next(request: HttpRequest, unverified_next: str) -> str:
    return _checked_next(record_of(request), unverified_next)


def _checked_next(record: Record, unverified_next: str) -> str:
    if unverified_next and safe_next(unverified_next) == unverified_next:
        return unverified_next
    # There the dashboard's path is the service's.
    return "/" if is_services(_facts(record).authority.host, record.snapshot) else "/dashboard"


def login_url(next_path: str) -> str:
    return f"{AUTH}/login?next={quote(next_path, safe='/')}"


def new_sign_in(record: Record) -> str:
    """In the place of a callback that did not answer: its state may be used up. Empty for any other page."""
    path = _facts(record).path
    is_callback = any(is_below(path, f"{AUTH}/{page}") for page in ("callback", "arrive"))
    return _begin_again(record, "") if is_callback else ""


def _begin_again(record: Record, next_path: str) -> str:
    """On the host on which this sign-in began."""
    if (departure := departure_in(record)) is not None:
        return departure.login_url
    if not next_path:
        pending, query = _pending(record), QueryDict(_facts(record).query[1:])
        next_path = pending.next if pending is not None else query.get("next", "")
    return login_url(_checked_next(record, next_path))


def departure_in(record: Record) -> Departure | None:
    """The one that this request is a step of, if its host is still ours."""
    query, pending = QueryDict(_facts(record).query[1:]), _pending(record)
    sealed = query.get("for") or query.get("state") or ""
    departure = unseal(sealed) if pending is None else read(pending.departure)
    return departure if departure is not None and is_known(departure.host, record.snapshot) else None


def _pending(record: Record) -> PendingLogin | None:
    facts = _facts(record)
    state = QueryDict(facts.query[1:]).get("state", "")
    return login_state.find(state, login_state.read_cookies(facts.headers), time.time()) if state else None


def explains_outages(view: View[P]) -> View[P]:
    """Too much to do, or no database: a page that says so."""

    @wraps(view)
    async def answer(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        try:
            return await view(request, *args, **kwargs)
        except TooBusy:
            return failure_page(request, "busy")
        except (DatabaseProblem, OSError) as error:
            if not is_outage(error):
                raise
            say_outage(error, record_of(request).request_id)
            return unavailable(request, new_sign_in(record_of(request)))

    return answer


def failure_page(request: HttpRequest, code: str, next_path: str = "") -> HttpResponse:
    """It offers one button and goes nowhere by itself, so that a failure never becomes a loop."""
    failure = _FAILURES.get(code, _FAILURES["token_exchange_failed"])
    metrics.count_sign_in(code if code in _FAILURES else metrics.OTHER)
    request_id = record_of(request).request_id
    context = {"failure": failure, "reason": code, "request_id": request_id}
    if not may_be_page(request.method or "", facts_of(request).headers):
        document = refusal_json(Refusal(failure.status, failure.error, failure.message), code, request_id)
        response = HttpResponse(document, status=failure.status, content_type="application/json")
    else:
        leads_nowhere = code in ("no_provider", "unknown_host")
        context["again"] = "" if leads_nowhere else _begin_again(record_of(request), next_path)
        response = render(request, "sign_in_failed.html", context, status=failure.status)
    return response


def onward_page(request: HttpRequest, heading: str, location: str) -> HttpResponse:
    """To another host, from a step to which a form of the provider has led. A page and not a redirect: its page's
    `form-action` may name the public host alone, and holds for every redirect that follows.
    """
    return render(request, "onward.html", {"heading": heading, "location": location})


def add_cookies(response: HttpResponse, lines: Iterable[str]) -> HttpResponse:
    """`lines` are values of Set-Cookie."""
    for line in lines:
        response.cookies.load(line)
    return response


def arrived_cookie(*, seconds: int = _ARRIVED_SECONDS) -> str:
    secure = "; Secure" if settings.SECURE else ""
    return f"{ARRIVED_COOKIE}=1; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Lax{secure}"
