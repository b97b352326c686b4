"""Signing in: away to the identity provider, and back from it. No step here can become a redirect loop."""

from __future__ import annotations

import logging

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_safe

from authgate.models.people import IdentityProvider
from authgate.models.trust import RevokedToken
from authgate.observe import metrics
from authgate.oidc.departure import Departure
from authgate.oidc.login import begin, complete
from authgate.outbound.errors import ProviderError
from authgate.pages.other_hosts import (
    Arrival,
    check_host,
    departure_of,
    leave,
    onward_url,
    signs_in_elsewhere,
    take_over,
)
from authgate.pages.sign_in_pages import (
    ARRIVED_COOKIE,
    AUTH,
    add_cookies,
    arrived_cookie,
    checked_next,
    departure_in,
    explains_outages,
    facts_of,
    failure_page,
    identity_of,
    login_cookies,
    login_url,
    next_of,
    onward_page,
    origin_of,
    record_of,
    session_id,
    snapshot_of,
)
from authgate.reason import Reason
from authgate.sessions import store
from authgate.sessions.purge import purge_sometimes
from authgate.state.snapshot import Snapshot
from authgate.threads import database_threads, provider_threads

logger = logging.getLogger(__name__)


@require_safe
@explains_outages
async def login(request: HttpRequest) -> HttpResponse:
    refusal = _refuse_bystander(request)
    if refusal is not None:
        return refusal
    if "for" in request.GET:
        return await _login_for(request)
    next_path = next_of(request)
    if await _is_signed_in(request):
        return HttpResponseRedirect(next_path)
    return await _choose(request, next_path)


async def _login_for(request: HttpRequest) -> HttpResponse:
    """Somebody has come from another host, to sign in here."""
    try:
        departure = departure_of(request)
    except ProviderError as error:
        return _failed(request, "another host", error)
    sid = session_id(request)
    if sid is not None and await _is_signed_in(request):
        onward = await database_threads.run(onward_url, sid, departure)
        if onward:
            return HttpResponseRedirect(onward)
    return await _choose(request, "", departure)


@require_GET
@explains_outages
async def callback(request: HttpRequest, slug: str = "") -> HttpResponse:
    refusal = _refuse_prefetch(request)
    if refusal is not None:
        return refusal
    snapshot = snapshot_of(request)
    if snapshot is None:
        return failure_page(request, "provider_unavailable")
    try:
        arrival = await provider_threads.run(_arrive, request, slug, snapshot)
    except ProviderError as error:
        return _not_arrived(request, slug, error)
    metrics.count_sign_in(metrics.SIGNED_IN)
    if arrival.onward:
        response = onward_page(request, "You are signed in", arrival.onward)
    else:
        response = HttpResponseRedirect(checked_next(request, arrival.next_path))
    return add_cookies(response, [arrival.set_cookie, arrived_cookie()])


@require_GET
@explains_outages
async def arrive(request: HttpRequest) -> HttpResponse:
    """On the host on which the sign-in began: with a code of the public host."""
    refusal = _refuse_bystander(request)
    if refusal is not None:
        return refusal
    snapshot = snapshot_of(request)
    if snapshot is None:
        return failure_page(request, "provider_unavailable")
    try:
        arrival = await database_threads.run(take_over, request, snapshot)
    except ProviderError as error:
        return _not_arrived(request, "another host", error)
    response = HttpResponseRedirect(checked_next(request, arrival.next_path))
    return add_cookies(response, [arrival.set_cookie, arrived_cookie()])


async def _is_signed_in(request: HttpRequest) -> bool:
    """Ask the database. The workers of two machines learn of a session's end one after the other, and two that disagree
    would send the browser back and forth.
    """
    identity = identity_of(request)
    return identity is not None and not await database_threads.run(_is_revoked, identity.token_id)


async def _choose(request: HttpRequest, next_path: str, departure: Departure | None = None) -> HttpResponse:
    providers = await database_threads.run(_enabled)
    wanted = request.GET.get("provider", "")
    if not providers:
        return failure_page(request, "no_provider", next_path)
    if wanted and wanted not in {provider.slug for provider in providers}:
        return failure_page(request, "unknown_provider", next_path)
    if not wanted and (lost := _how_lost(request)):
        response = failure_page(request, lost, next_path)
        return add_cookies(response, [arrived_cookie(seconds=0)])
    possible = [provider for provider in providers if wanted in ("", provider.slug)]
    if all(signs_in_elsewhere(request, provider) for provider in possible):
        return leave(request, next_path, wanted)
    if len(possible) == 1:
        return await _begin(request, possible[0], next_path, departure)
    here = login_url(next_path) if departure is None else f"{AUTH}/login?for={departure.seal()}"
    choices = [(provider.name, f"{here}&provider={provider.slug}") for provider in providers]
    return render(request, "sign_in.html", {"choices": choices})


async def _begin(
    request: HttpRequest, provider: IdentityProvider, next_path: str, departure: Departure | None
) -> HttpResponse:
    origin, cookies = origin_of(request), login_cookies(request)
    try:
        begun = await provider_threads.run(begin, provider, origin, next_path, cookies, departure)
    except ProviderError as error:
        _log(request, provider.slug, error)
        return failure_page(request, error.code, next_path)
    return add_cookies(HttpResponseRedirect(begun.location), begun.set_cookies)


def _arrive(request: HttpRequest, slug: str, snapshot: Snapshot) -> Arrival:
    purge_sometimes()  # here too, for sites where no sign-in ever succeeds
    completed = complete(slug or _only_slug(), origin_of(request), request.GET, login_cookies(request))
    departure = completed.departure
    if departure is not None:
        check_host(departure, snapshot)
    session = store.start(
        completed.proven,
        completed.tokens,
        completed.provider,
        host=str(facts_of(request).authority),
        address=facts_of(request).client,
        user_agent=request.headers.get("User-Agent", ""),
        replaces=session_id(request),
        beginning=completed.beginning,
    )
    onward = "" if departure is None else onward_url(session.sid, departure)
    return Arrival(completed.next, store.cookie_for(session, snapshot, facts_of(request).authority.host), onward)


def _not_arrived(request: HttpRequest, slug: str, error: ProviderError) -> HttpResponse:
    if error.code == "login_expired" and identity_of(request) is not None:
        # The browser's back button leads here.
        _log(request, slug, error)
        departure = departure_in(record_of(request))
        following = departure.login_url if departure else checked_next(request, error.next)
        context = {"identity": identity_of(request), "next": following}
        return render(request, "signed_in_already.html", context)
    return _failed(request, slug, error)


def _failed(request: HttpRequest, slug: str, error: ProviderError) -> HttpResponse:
    _log(request, slug, error)
    return failure_page(request, error.code, error.next)


def _refuse_bystander(request: HttpRequest) -> HttpResponse | None:
    """Pictures, frames and whoever only asks for the head take no part in a sign-in."""
    if request.method == "HEAD" or request.headers.get("Sec-Fetch-Dest", "document") != "document":
        return HttpResponse(status=204)
    return _refuse_prefetch(request)


def _refuse_prefetch(request: HttpRequest) -> HttpResponse | None:
    # Not 204: a browser would keep that, and show it to whoever follows the link. It forgets a failure and asks again.
    purposes = ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")
    asked_ahead = any("pre" in request.headers.get(name, "").lower() for name in purposes)
    return HttpResponse(status=503) if asked_ahead else None


def _how_lost(request: HttpRequest) -> str:
    """Why the session that has just begun is not here: a code of failure_page(). Empty if none has, or if it was
    ended: neither can become a redirect loop.
    """
    error: Reason | None = request.identity_error  # type: ignore[attr-defined]
    was_ended = identity_of(request) is not None or error is Reason.TOKEN_REVOKED
    if ARRIVED_COOKIE not in request.COOKIES or was_ended or error is Reason.NO_POLICY:
        return ""
    return "cookies_refused" if error is None else "session_not_valid"


def _is_revoked(token_id: str) -> bool:
    return RevokedToken.objects.filter(jti=token_id).exists()


def _enabled() -> list[IdentityProvider]:
    return list(IdentityProvider.objects.filter(enabled=True))


def _only_slug() -> str:
    providers = _enabled()
    return providers[0].slug if len(providers) == 1 else ""


def _log(request: HttpRequest, slug: str, error: ProviderError) -> None:
    request_id = record_of(request).request_id
    logger.warning("sign-in at %s failed: %s: %s (request %s)", slug, error.code, error.detail, request_id)
