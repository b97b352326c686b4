"""Signing out: here, at the provider, from elsewhere. A session that has ended here stays ended whatever follows."""

from __future__ import annotations

import logging
from urllib.parse import quote, unquote, urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from authgate.gate.cross_site import is_cross_site
from authgate.models.people import IdentityProvider, Session
from authgate.outbound.errors import ProviderError
from authgate.own_hosts import public_host
from authgate.pages import responses
from authgate.pages.sign_in_pages import (
    AUTH,
    add_cookies,
    arrived_cookie,
    checked_next,
    explains_outages,
    facts_of,
    identity_of,
    is_on_public_host,
    login_url,
    next_of,
    onward_page,
    origin_of,
    session_id,
    snapshot_of,
)
from authgate.reason import Reason
from authgate.redirect_uri import host_origin
from authgate.security_headers import framed_by
from authgate.sessions import logout as provider_logout
from authgate.sessions import logout_filter, store
from authgate.sessions.posted import known_provider
from authgate.state.hosts import is_known
from authgate.threads import TooBusy, database_threads, logout_lanes, provider_threads
from authgate.wire.authority import parse_origin

logger = logging.getLogger(__name__)

# The page to come back to, while the provider signs somebody out. Its path keeps it from every service.
_NEXT_COOKIE, _NEXT_PATH = f"{'__Secure-' if settings.SECURE else ''}authgate_next", f"{AUTH}/signed-out"
_NEXT_SECONDS = 600


# These forms also appear on pages that Django does not render, so they carry no CSRF token. is_cross_site() protects
# them, as it protects every service behind the gateway.
@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
@explains_outages
async def logout(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return render(request, "sign_out.html", {"identity": identity_of(request), "action": f"{AUTH}/logout"})
    if is_cross_site(facts_of(request)):
        return responses.refuse_django(request, Reason.CROSS_SITE)
    sid = session_id(request)
    session = await database_threads.run(_end_mine, sid) if sid else None
    if settings.SESSION_COOKIE_NAME in request.COOKIES:
        # Of the admin. Anybody can write such a cookie, and Django would take a thread and a connection for each.
        await database_threads.run(request.session.flush)
    return _without_cookies(await _leave(request, session))


@require_GET
async def signed_out(request: HttpRequest) -> HttpResponse:
    if (left := _left_host(request)) is not None:
        return onward_page(request, "You are signed out", f"{left}{_NEXT_PATH}")
    # The provider sends people back without our query.
    next_path = next_of(request) if "next" in request.GET else checked_next(request, _remembered(request))
    context = {"again": login_url(next_path), "next": next_path, "identity": identity_of(request)}
    response = render(request, "signed_out.html", context)
    if _NEXT_COOKIE in request.COOKIES:
        response.delete_cookie(_NEXT_COOKIE, path=_NEXT_PATH, samesite="Lax")
    return response


@csrf_exempt
@require_POST
@explains_outages
async def backchannel_logout(request: HttpRequest, slug: str) -> HttpResponse:
    """OpenID Connect Back-Channel Logout 1.0: the provider itself says that somebody is gone."""
    try:
        await logout_filter.log_out(slug, request.body, facts_of(request).client)
    except ProviderError as error:
        logger.warning("a logout of %s is refused: %s: %s", slug, error.code, error.detail)
        # Not the token's fault, so the provider may send it again.
        status = 503 if error.code == "provider_unavailable" else 400
        return HttpResponse("the logout token was not accepted\n", status=status, content_type="text/plain")
    return HttpResponse(status=200, content_type="text/plain")


@require_GET
@explains_outages
async def frontchannel_logout(request: HttpRequest, slug: str) -> HttpResponse:
    """OpenID Connect Front-Channel Logout 1.0: the provider shows this in a frame, to which no cookie of ours comes."""
    provider = await known_provider(slug)
    unverified_issuer, unverified_sid = request.GET.get("iss", ""), request.GET.get("sid", "")
    if provider is not None and provider_logout.names_a_session(provider, unverified_issuer, unverified_sid):
        # One lane for all of them: whoever guesses keeps no provider's own word waiting.
        await logout_lanes.run("frames", provider_logout.frontchannel, provider.slug, unverified_issuer, unverified_sid)
    response = HttpResponse(status=200, content_type="text/plain")
    # Browsers let this stand above X-Frame-Options.
    response["Content-Security-Policy"] = framed_by(_frames_of(provider))
    return response


@csrf_exempt
@require_POST
@explains_outages
async def end_sessions(request: HttpRequest) -> HttpResponse:
    """One session of mine, all others, or all of them."""
    if is_cross_site(facts_of(request)):
        return responses.refuse_django(request, Reason.CROSS_SITE)
    sid = session_id(request)
    if identity_of(request) is None or sid is None:
        return responses.refuse_django(request, Reason.NO_CREDENTIAL)
    was_mine = await database_threads.run(_end_chosen, sid, request.POST)
    if was_mine:
        return _without_cookies(HttpResponseRedirect(f"{AUTH}/signed-out", status=303))
    return HttpResponseRedirect("/dashboard", status=303)


def _end_chosen(own_sid: str, form: QueryDict) -> bool:
    """Whether the session that asks has ended with it."""
    which, chosen_sid = form.get("which", ""), form.get("sid", "")
    own = Session.objects.select_related("person__provider").filter(sid=own_sid, ended_at=None).first()
    if own is None:
        return True
    if which == "everywhere":
        store.end_all(own.person, "signed out everywhere")
    elif which == "others":
        store.end_others(own.person, own_sid)
    elif Session.objects.filter(sid=chosen_sid, person=own.person).exists():
        store.end(chosen_sid, "signed out from another session")
    return which == "everywhere" or chosen_sid == own_sid


def _end_mine(sid: str) -> Session | None:
    """As it was: what the provider needs to know of it goes with its end."""
    session = Session.objects.select_related("person__provider").filter(sid=sid, ended_at=None).first()
    store.end(sid, "signed out")
    return session


async def _leave(request: HttpRequest, session: Session | None) -> HttpResponse:
    location = None
    if session is not None:
        try:
            location = await provider_threads.run(provider_logout.provider_logout_url, session, origin_of(request))
        except (ProviderError, TooBusy) as error:
            logger.warning("signed out here only, not at the provider: %s", error)
    if location is None:
        return HttpResponseRedirect(_signed_out_url(request), status=303)
    # A page and not a redirect: `form-action` would stop a form from being led to another origin.
    response = render(request, "signing_out.html", {"location": location})
    return _remember(response, _page_before(request))


def _left_host(request: HttpRequest) -> str | None:
    """The origin of another host of ours, on which somebody signed out and the page to come back to is remembered.

    With the scheme and the port of the public URL: who made the `state` may have named another port in its request.
    """
    left = provider_logout.left_origin(request.GET.get("state", "")) if is_on_public_host(request) else ""
    host = parse_origin(left).authority.host if left else public_host()
    if host == public_host() or not is_known(host, snapshot_of(request)):
        return None
    return host_origin(host)


def _signed_out_url(request: HttpRequest) -> str:
    return login_url(_page_before(request)).replace("/login?", "/signed-out?", 1)


def _page_before(request: HttpRequest) -> str:
    """Where to come back to: the form's `next`, or else the page that the form stood on."""
    if unverified_next := request.POST.get("next", ""):
        return checked_next(request, unverified_next)
    try:
        unverified_from = urlsplit(request.headers.get("Referer", ""))
    except ValueError:
        unverified_from = urlsplit("")
    target = f"{unverified_from.path}?{unverified_from.query}" if unverified_from.query else unverified_from.path
    return checked_next(request, target)


def _remember(response: HttpResponse, next_path: str) -> HttpResponse:
    """In a cookie, so that the provider does not learn which page somebody wanted."""
    response.set_cookie(
        _NEXT_COOKIE, quote(next_path, safe=""), max_age=_NEXT_SECONDS, path=_NEXT_PATH, secure=settings.SECURE,
        httponly=True, samesite="Lax",
    )  # fmt: skip
    return response


def _remembered(request: HttpRequest) -> str:
    return unquote(request.COOKIES.get(_NEXT_COOKIE, ""))


def _without_cookies(response: HttpResponse) -> HttpResponse:
    return add_cookies(response, [store.clear_cookie(), arrived_cookie(seconds=0)])


def _frames_of(provider: IdentityProvider | None) -> list[str]:
    """The origins that may show us in a frame."""
    if provider is None:
        return []
    urls = (provider.issuer, provider.authorization_endpoint, provider.end_session_endpoint)
    return sorted({f"{parts.scheme}://{parts.netloc}" for parts in map(urlsplit, filter(None, urls))})
