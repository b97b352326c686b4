"""Signing in on an application's host by way of the public one: away, and back with a code."""

from __future__ import annotations

import time
from typing import NamedTuple
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from authgate.models.people import IdentityProvider
from authgate.oidc import login_state
from authgate.oidc.departure import Departure, find, new_departure, unseal
from authgate.outbound.errors import ProviderError
from authgate.pages.sign_in_pages import (
    AUTH,
    add_cookies,
    facts_of,
    is_on_public_host,
    login_cookies,
    session_id,
    snapshot_of,
)
from authgate.sessions import hand_over, store
from authgate.state.hosts import is_known
from authgate.state.snapshot import Snapshot


class Arrival(NamedTuple):
    next_path: str
    set_cookie: str
    onward: str = ""  # to the host on which the sign-in began; empty: that is this one


def signs_in_elsewhere(request: HttpRequest, provider: IdentityProvider) -> bool:
    return not is_on_public_host(request) and provider.callbacks == IdentityProvider.Callbacks.PUBLIC


def leave(request: HttpRequest, next_path: str, provider: str) -> HttpResponse:
    """To the public host's sign-in. `provider`: the one that was chosen already."""
    now, cookies = time.time(), login_cookies(request)
    departure = new_departure(facts_of(request).authority.host, next_path, cookies, now)
    query = {"for": departure.seal(), **({"provider": provider} if provider else {})}
    response = HttpResponseRedirect(f"{settings.AUTHGATE_PUBLIC_URL}{AUTH}/login?{urlencode(query)}")
    return add_cookies(response, login_state.bind(departure, cookies, now))


def departure_of(request: HttpRequest) -> Departure:
    """The one from which somebody came here. Raises ProviderError."""
    departure = unseal(request.GET.get("for", ""))
    if departure is None or not is_on_public_host(request):
        raise ProviderError("login_expired", "no host of ours has sent this browser here")
    check_host(departure, snapshot_of(request))
    if not login_state.is_in_time(departure.issued_at, time.time()):
        raise ProviderError("login_expired", f"the sign-in for {departure.host} took too long")
    return departure


def check_host(departure: Departure, snapshot: Snapshot | None) -> None:
    """A route may have gone meanwhile, and its host with it. Raises ProviderError."""
    if not is_known(departure.host, snapshot):
        raise ProviderError("unknown_host", f"no route names the host {departure.host} any more")


def onward_url(sid: str, departure: Departure) -> str:
    """Back to where the sign-in began, with a code; empty if the session is over."""
    code = hand_over.give(sid, departure)
    return departure.arrival_url(code) if code else ""


def take_over(request: HttpRequest, snapshot: Snapshot) -> Arrival:
    """Raises ProviderError."""
    facts = facts_of(request)
    departure = find(request.GET.get("state", ""), facts.authority.host, login_cookies(request), time.time())
    session = hand_over.take(request.GET.get("code", ""), departure, address=facts.client, replaces=session_id(request))
    return Arrival(departure.next if departure else "", store.cookie_for(session, snapshot, facts.authority.host))
