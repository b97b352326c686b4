from __future__ import annotations

import sys

from django.conf import settings
from django.db import Error as DatabaseProblem
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse

from authgate.observe.access_log import Record
from authgate.pages.outages import say_outage
from authgate.pages.refusal import Refused, Ways, is_operator, is_own_machine, render_refusal
from authgate.pages.representation import headers_of, may_be_page
from authgate.pages.words import DATABASE_AWAY, OUT_OF_DATE, Words
from authgate.ratelimit import client_key
from authgate.sessions.operators import local_user
from authgate.state import watcher
from authgate.state.trouble import is_outage
from authgate.threads import TooBusy, database_lanes
from authgate.wire.refusal import Refusal, refusal_json


async def ready(request: HttpRequest) -> JsonResponse:
    problem = watcher.not_ready()
    body: dict[str, object] = {"ready": problem is None}
    if problem is not None:
        body["problem"] = problem
    return JsonResponse(body, status=200 if problem is None else 503)


async def default_page(request: HttpRequest) -> HttpResponse:
    """Shown where no route is. Only operators are told to add one."""
    record = _record(request)
    facts, state, identity = record.facts, record.snapshot, record.identity
    operator = is_own_machine(facts) or is_operator(state, identity) or await _has_local_account(request)
    context = {
        "admin_url": reverse("admin:index") if operator else "",
        "can_sign_in": identity is not None or (state is not None and state.trust.has_providers),
    }
    return render(request, "default_page.html", context)


async def _has_local_account(request: HttpRequest) -> bool:
    """Whether somebody is signed in to the admin with a password."""
    if settings.SESSION_COOKIE_NAME not in request.COOKIES:
        return False
    # Anybody can send such a cookie, so strangers take turns at the database.
    try:
        return await database_lanes.run(client_key(request.META["REMOTE_ADDR"]), _is_staff, request)
    except (TooBusy, DatabaseProblem):
        return False


def _is_staff(request: HttpRequest) -> bool:
    user = local_user(request)
    return user is not None and user.is_staff


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _error(request, 400, "bad_request", "The request is malformed.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _error(request, 403, "forbidden", "You may not do this.")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return _error(
        request, 403, "forbidden", "The form is out of date. Go back, reload the page and try again.", words=OUT_OF_DATE
    )


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _error(request, 404, "not_found", "There is nothing here.")


def server_error(request: HttpRequest) -> HttpResponse:
    error = sys.exc_info()[1]
    if isinstance(error, Exception) and is_outage(error):
        say_outage(error, _record(request).request_id)
        return unavailable(request)
    return _error(request, 500, "unavailable", "Something went wrong here; it has been logged.")


def unavailable(request: HttpRequest, again: str = "") -> HttpResponse:
    """`again`: where another try begins, unless the same page may answer next time."""
    message = "The database is busy or away. Nothing was changed; try again."
    return _error(request, 503, "unavailable", message, again, words=DATABASE_AWAY)


def too_many_attempts(request: HttpRequest, retry_after: int, again: str = "") -> HttpResponse:
    response = _error(
        request,
        429,
        "rate_limited",
        "Too many attempts. Try again after the seconds in Retry-After.",
        again,
        retry_after=retry_after,
    )
    response["Retry-After"] = str(retry_after)
    return response


def _error(
    request: HttpRequest,
    status: int,
    error: str,
    message: str,
    again: str = "",
    *,
    retry_after: int = 0,
    words: Words | None = None,
) -> HttpResponse:
    """What Django's own pages answer with; what the gate refuses is worded in `responses`."""
    record = _record(request)
    if may_be_page(request.method or "", headers_of(request)):
        if not again and status in (429, 503) and request.method == "GET":
            again = request.get_full_path()
        refused = Refused(status, error, message, retry_after, words=words)
        response = HttpResponse(render_refusal(record, refused, record.identity, Ways(again=again)), status=status)
    else:
        body = refusal_json(Refusal(status, error, message), error, record.request_id, retry_after=retry_after)
        response = HttpResponse(body, status=status, content_type="application/json")
    response["Cache-Control"] = "no-store"
    return response


def _record(request: HttpRequest) -> Record:
    return getattr(request, "scope", {}).get("state", {}).get("record") or Record("")
