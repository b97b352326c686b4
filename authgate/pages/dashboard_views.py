"""Who I am, what I may open, and where I am signed in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from authgate.models.people import Person, Session
from authgate.models.service_tokens import ServiceToken, in_force
from authgate.pages import responses
from authgate.pages.sign_in_pages import AUTH, explains_outages, facts_of, identity_of, session_id, snapshot_of
from authgate.policy.rules import evaluate_access
from authgate.policy.schema import Route
from authgate.policy.table import RouteEntry
from authgate.ratelimit import client_key
from authgate.reason import LETTING_IN, Reason
from authgate.request import Identity
from authgate.sessions.browser import name_browser
from authgate.sessions.live import live_sessions
from authgate.state import service_tokens
from authgate.state.snapshot import Snapshot
from authgate.threads import database_lanes

MOST_ROUTES = 200


class Door(NamedTuple):
    """A route somebody may open."""

    name: str
    place: str
    url: str  # empty: no single address


class SignedIn(NamedTuple):
    """A session as its person sees it."""

    session: Session
    browser: str
    is_this: bool


class Known(NamedTuple):
    """A personal token as its person sees it."""

    token: ServiceToken
    expires_soon: bool


class Tokens(NamedTuple):
    own: Sequence[Known] = ()
    expiring: Sequence[ServiceToken] = ()  # of services, for their owner


@require_safe
@explains_outages
async def dashboard(request: HttpRequest) -> HttpResponse:
    identity, snapshot = identity_of(request), snapshot_of(request)
    error: Reason | None = request.identity_error  # type: ignore[attr-defined]
    if identity is None or snapshot is None:
        return responses.refuse_django(request, error or Reason.NO_CREDENTIAL)
    sid = session_id(request)
    client = client_key(facts_of(request).client)
    sessions, tokens = await database_lanes.run(client, _what_belongs_to, sid) if sid else ([], Tokens())
    doors = _doors(request, identity, snapshot)
    context = {
        "identity": identity,
        "roles": sorted(identity.roles),
        "doors": doors[:MOST_ROUTES],
        "more_doors": max(0, len(doors) - MOST_ROUTES),
        "sessions": sessions,
        "has_session": sid is not None,
        "tokens": tokens,
        "may_make_tokens": settings.AUTHGATE_PERSONAL_TOKEN_DAYS > 0,
        "logout_url": f"{AUTH}/logout",
        "end_url": f"{AUTH}/sessions/end",
    }
    return render(request, "dashboard.html", context)


def _doors(request: HttpRequest, identity: Identity, snapshot: Snapshot) -> list[Door]:
    """Of what a browser may open; a redirect leads to one of the others, or away."""
    routes = (entry.route for entry in _entries(identity, snapshot))
    opened = (route for route in routes if route.redirect is None and "GET" in (route.methods or ("GET",)))
    return [_door(request, route) for route in opened]


def _entries(identity: Identity, snapshot: Snapshot) -> Iterator[RouteEntry]:
    return (entry for entry in snapshot.table.entries if evaluate_access(entry, identity) in LETTING_IN)


def _door(request: HttpRequest, route: Route) -> Door:
    place = f"{route.host}{route.path}"
    if route.host.startswith("*"):
        return Door(route.name, place, "")
    if not route.host:
        return Door(route.name, place, route.path)
    facts = facts_of(request)
    port = "" if facts.authority.port is None else f":{facts.authority.port}"
    return Door(route.name, place, f"{facts.scheme}://{route.host}{port}{route.path}")


def doors_of(request: HttpRequest, identity: Identity, snapshot: Snapshot) -> list[Door]:
    return [_door(request, entry.route) for entry in _entries(identity, snapshot) if entry.route.access != "public"]


def _what_belongs_to(sid: str) -> tuple[list[SignedIn], Tokens]:
    own = Session.objects.select_related("person__provider").filter(sid=sid).first()
    return ([], Tokens()) if own is None else (_sessions_of(own), _tokens_of(own.person))


def _sessions_of(own: Session) -> list[SignedIn]:
    """This one first."""
    sessions = sorted(live_sessions(own.person), key=lambda session: session.sid != own.sid)
    return [SignedIn(session, name_browser(session.user_agent), session.sid == own.sid) for session in sessions]


def _tokens_of(person: Person) -> Tokens:
    now = timezone.now()
    soon = now + service_tokens.WARNED_BEFORE
    own = [Known(token, token.expires_at <= soon) for token in in_force(now).filter(person=person)]
    owners = [person.subject, *([person.email] if person.email_verified else [])]
    return Tokens(own, list(service_tokens.expiring(now).filter(owner__in=owners)))
