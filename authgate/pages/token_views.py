"""Personal tokens, for the person who is signed in. On the gateway's own hosts alone: elsewhere these paths are a
service's, whose scripts could make one.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import NON_FIELD_ERRORS, PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST

from authgate.gate.cross_site import is_cross_site
from authgate.pages import responses
from authgate.pages.dashboard_views import MOST_ROUTES, doors_of
from authgate.pages.sign_in_pages import explains_outages, facts_of, identity_of, session_id, snapshot_of
from authgate.reason import Reason
from authgate.request import Identity
from authgate.sessions import personal_tokens
from authgate.state.service_tokens import DEFAULT_DAYS, Made
from authgate.state.snapshot import Snapshot
from authgate.threads import database_threads


# As with the forms of sessions, is_cross_site() protects these.
@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
@explains_outages
async def tokens(request: HttpRequest) -> HttpResponse:
    """The form for a new one, and the one page that shows it."""
    identity, snapshot, sid = identity_of(request), snapshot_of(request), session_id(request)
    if identity is None or snapshot is None or sid is None:
        return responses.refuse_django(request, Reason.NO_CREDENTIAL)
    if request.method != "POST":
        return _form(request, identity, snapshot)
    if not _is_sent_by_form(request):
        return responses.refuse_django(request, Reason.CROSS_SITE)
    try:
        made = await database_threads.run(_create, sid, request.POST, snapshot)
    except ValidationError as refused:
        return _form(request, identity, snapshot, refused)
    except PermissionDenied:
        return responses.refuse_django(request, Reason.TOKEN_REVOKED)
    return render(request, "personal_token.html", {"made": made, **_examples(made)}, status=201)


@csrf_exempt
@require_POST
@explains_outages
async def end_token(request: HttpRequest) -> HttpResponse:
    sid = session_id(request)
    if is_cross_site(facts_of(request)):
        return responses.refuse_django(request, Reason.CROSS_SITE)
    if identity_of(request) is None or sid is None:
        return responses.refuse_django(request, Reason.NO_CREDENTIAL)
    number = request.POST.get("token", "")
    if number.isascii() and number.isdigit() and len(number) < 19:
        try:
            await database_threads.run(personal_tokens.end, sid, int(number))
        except PermissionDenied:
            return responses.refuse_django(request, Reason.TOKEN_REVOKED)
    return HttpResponseRedirect("/dashboard", status=303)


def _is_sent_by_form(request: HttpRequest) -> bool:
    """Not by a script or from a frame: a service on this very host must not make tokens in the background."""
    headers = facts_of(request).headers
    destination = headers.values(b"sec-fetch-dest")
    return not is_cross_site(facts_of(request)) and destination in ((), (b"document",))


def _create(sid: str, form: QueryDict, snapshot: Snapshot) -> Made:
    days = form.get("days", "")
    if not (days.isascii() and days.isdigit() and len(days) < 6):
        raise ValidationError({"expires_at": "must be a whole number of days"})
    routes, known = form.getlist("routes"), {entry.route.name for entry in snapshot.table.entries}
    if not known.issuperset(routes):
        raise ValidationError({"routes": "one of these is no route any more"})
    return personal_tokens.create(
        sid, form.get("name", "").strip(), snapshot.grants, lasts=timedelta(days=int(days)),
        roles=form.getlist("roles"), routes=routes,
    )  # fmt: skip


def _form(
    request: HttpRequest, identity: Identity, snapshot: Snapshot, refused: ValidationError | None = None
) -> HttpResponse:
    longest = settings.AUTHGATE_PERSONAL_TOKEN_DAYS
    doors = doors_of(request, identity, snapshot)
    entered = request.POST
    context = {
        "is_on": longest > 0,
        "longest": longest,
        "days": entered.get("days", min(DEFAULT_DAYS, longest)),
        "name": entered.get("name", ""),
        "roles": [(role, role in entered.getlist("roles")) for role in sorted(identity.roles)],
        "doors": [(door, door.name in entered.getlist("routes")) for door in doors[:MOST_ROUTES]],
        "more_doors": max(0, len(doors) - MOST_ROUTES),
        "errors": {} if refused is None else _errors(refused),
    }
    return render(request, "personal_token_form.html", context, status=200 if refused is None else 400)


def _errors(refused: ValidationError) -> dict[str, str]:
    if not hasattr(refused, "error_dict"):
        return {"form": " ".join(refused.messages)}
    found = refused.message_dict.items()
    return {"form" if field == NON_FIELD_ERRORS else field: " ".join(messages) for field, messages in found}


def _examples(made: Made) -> dict[str, Any]:
    url = urlsplit(settings.AUTHGATE_PUBLIC_URL)
    return {
        "me_url": f"{settings.AUTHGATE_PUBLIC_URL}{settings.AUTHGATE_AUTH_PREFIX}/me" if not made.row.routes else "",
        "public_url": settings.AUTHGATE_PUBLIC_URL,
        "with_password": f"{url.scheme}://__token__:{made.token}@{url.netloc}",
        "host": url.netloc,
    }
