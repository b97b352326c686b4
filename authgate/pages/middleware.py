from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from django.utils.cache import patch_vary_headers

from authgate.gate.authenticate import MustAsk, authenticate
from authgate.gate.cross_site import is_cross_site
from authgate.gate.service_tokens import use
from authgate.observe.access_log import Record
from authgate.reason import Reason
from authgate.request import Identity, InvalidCredential, RequestFacts, TokenTerms
from authgate.security_headers import OWN_PAGES_CSP, SECURITY_HEADERS
from authgate.state import newest
from authgate.state.snapshot import Snapshot
from authgate.wire.headers import RawHeaders

_SAME_FOR_EVERYBODY = "/.well-known/jwks.json"
Response = HttpResponseBase
GetResponse = Callable[[HttpRequest], Response | Awaitable[Response]]


class Middleware:
    """Both modes of Django, so that neither costs a thread: `before` the view, `after` it."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Response | Awaitable[Response]:
        if self.is_async:
            return self._call_async(request)
        return self.after(request, self.before(request) or cast(Response, self.get_response(request)))

    async def _call_async(self, request: HttpRequest) -> Response:
        early = self.before(request)
        return self.after(request, early or await cast(Awaitable[Response], self.get_response(request)))

    def before(self, request: HttpRequest) -> Response | None:
        """A response stands for the view's."""
        return None

    def after(self, request: HttpRequest, response: Response) -> Response:
        return response


class JWTAuthenticationMiddleware(Middleware):
    """Sets request.identity and request.identity_error by the gate's own `authenticate`; refuses nothing.

    Pages go on as nobody, so that a stale cookie does not lock anyone out; `identity_required` refuses.
    """

    async def _call_async(self, request: HttpRequest) -> Response:
        # Somebody else may have signed out since this request came: wait for that change, and do not doubt the caller.
        await _find_identity(request, await newest.newest())
        return await cast(Awaitable[Response], self.get_response(request))

    def before(self, request: HttpRequest) -> Response | None:
        _set_identity(request, newest.known())
        return None


class SecurityHeadersMiddleware(Middleware):
    """The security headers of everything Django serves, and no shared copy of what may be personal."""

    def after(self, request: HttpRequest, response: Response) -> Response:
        for name, value in _HEADERS:
            response.setdefault(name, value)
        if request.path != _SAME_FOR_EVERYBODY:
            response["Cache-Control"] = "no-store"
            patch_vary_headers(response, ("Cookie", "Authorization"))
        return response


_HEADERS = [
    (name.decode().title(), value.decode())
    for name, value in (*SECURITY_HEADERS, (b"content-security-policy", OWN_PAGES_CSP))
]


def _set_identity(request: HttpRequest, snapshot: Snapshot | None) -> None:
    """Without a wait: a credential that only its issuer can tell about is refused."""
    try:
        _tell(request, _identify(request, snapshot), None)
    except InvalidCredential as refused:
        _tell(request, None, refused.reason)


async def _find_identity(request: HttpRequest, snapshot: Snapshot | None) -> None:
    try:
        try:
            identity = _identify(request, snapshot)
        except MustAsk as question:
            identity = await question.ask()
    except InvalidCredential as refused:
        _tell(request, None, refused.reason)
    else:
        _tell(request, identity, None)


def _identify(request: HttpRequest, snapshot: Snapshot | None) -> Identity | None:
    """Raises InvalidCredential."""
    if snapshot is None:
        raise InvalidCredential(Reason.NO_POLICY)
    record = _record_of(request)
    facts = record.facts if record is not None else None
    identity = authenticate(_raw_headers(request), snapshot, facts=facts)
    if identity is not None and identity.terms is not None:
        _check_terms(identity, identity.terms, facts, request.META.get("REMOTE_ADDR", ""))
    return identity


def _check_terms(identity: Identity, terms: TokenTerms, facts: RequestFacts | None, address: str) -> None:
    """A token that was made for some routes opens no page of the gateway's own. Raises InvalidCredential."""
    if facts is not None and identity.by_basic and is_cross_site(facts):
        raise InvalidCredential(Reason.CROSS_SITE)
    if refusal := use(terms, facts.client if facts is not None else address, ""):
        raise InvalidCredential(refusal)


def _record_of(request: HttpRequest) -> Record | None:
    return getattr(request, "scope", {}).get("state", {}).get("record")  # type: ignore[no-any-return]


def _tell(request: HttpRequest, identity: Identity | None, error: Reason | None) -> None:
    request.identity = identity  # type: ignore[attr-defined]
    request.identity_error = error  # type: ignore[attr-defined]
    record = _record_of(request)
    if record is not None:
        record.identity = identity


def _raw_headers(request: HttpRequest) -> RawHeaders:
    scope = getattr(request, "scope", None)
    if scope is not None:
        return cast(RawHeaders, scope["headers"])
    # WSGI (Django's test client) has joined repeated headers already: two Authorization headers became one
    # with a comma, which is no token.
    names = (("HTTP_AUTHORIZATION", b"authorization"), ("HTTP_COOKIE", b"cookie"))
    return [(raw, request.META[name].encode("latin-1")) for name, raw in names if name in request.META]
