"""Who calls the API: an access token with a role that opens it, or an operator who is signed in to /admin/."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from rest_framework.authentication import BaseAuthentication, CSRFCheck
from rest_framework.request import Request

from authgate.api.problems import Problem
from authgate.gate.cross_site import is_cross_site
from authgate.pages.challenges import challenge_of, nonce_for
from authgate.policy.powers import Actor
from authgate.policy.schema import AdminAccess
from authgate.policy.turns import turn_of
from authgate.reason import Reason
from authgate.request import Identity
from authgate.sessions.api_tokens import TokenOperator, token_access
from authgate.sessions.operators import offered_access, operator_of, resolve_again
from authgate.state import snapshot
from authgate.wire.refusal import refusal_of


@dataclass(frozen=True)
class Caller:
    actor: Actor
    request: HttpRequest
    is_token: bool

    def may(self, *permissions: str) -> bool:
        """By an account, staff do here what they are permitted in /admin/. A token has none: it may what staff may."""
        return self.is_token or all(self.request.user.has_perm(f"authgate.{name}") for name in permissions)

    def require_view(self, model: str) -> None:
        if not (self.may(f"view_{model}") or self.may(f"change_{model}")):
            raise PermissionDenied

    def require(self, *permissions: str) -> None:
        if not self.may(*permissions):
            raise PermissionDenied


def caller_of(request: Request) -> Caller:
    return cast(Caller, request.auth)


@contextmanager
def turn(request: Request, needed: AdminAccess = "staff") -> Iterator[Caller]:
    """The caller's turn to change something, with all that they may asked again. Raises PermissionDenied."""
    caller = caller_of(request)
    with turn_of(caller.actor, needed):
        if not caller.is_token:
            resolve_again(caller.request)
        yield caller


class CallerAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Any, Caller]:
        """Raises Problem. A token is sent on purpose; cookies come by themselves, so they are asked for more."""
        http_request = request._request
        identity: Identity | None = http_request.identity  # type: ignore[attr-defined]
        reason: Reason | None = http_request.identity_error  # type: ignore[attr-defined]
        if "Authorization" in http_request.headers:
            if identity is None or identity.is_ambient or reason is not None:
                raise _refusal(reason, http_request)
            return AnonymousUser(), _by_token(identity, http_request)
        if offered_access(http_request) == "none":
            if identity is None:
                raise _refusal(reason, http_request)
            raise Problem(403, "You have no role that opens this.")
        _refuse_forged(http_request)
        return http_request.user, Caller(operator_of(http_request), http_request, is_token=False)


def _by_token(identity: Identity, http_request: HttpRequest) -> Caller:
    current = snapshot.current()
    if current is None or token_access(identity, current.document) == "none":
        raise Problem(403, "The token has no role that opens the API: one with `admin: api`.")
    return Caller(TokenOperator(identity), http_request, is_token=True)


def _refusal(reason: Reason | None, http_request: HttpRequest) -> Problem:
    if reason is None:
        text, reason = "Send an access token, or sign in to /admin/.", Reason.NO_CREDENTIAL
    else:
        text = f"The credential is refused: {reason.value}."
    if refusal_of(reason).status == 503:
        return Problem(503, text)  # nothing is wrong with the credential
    by_dpop = http_request.headers.get("Authorization", "")[:5].lower() == "dpop "
    challenge = challenge_of(reason, by_dpop=by_dpop) or challenge_of(Reason.NO_CREDENTIAL, by_dpop=by_dpop)
    headers = {name.decode(): value.decode() for name, value in nonce_for(reason)}
    return Problem(401, text, headers={"WWW-Authenticate": challenge, **headers})


def _refuse_forged(http_request: HttpRequest) -> None:
    """As browsers tell, and as Django's forms do: with the token of the CSRF cookie in X-CSRFToken."""
    record = getattr(http_request, "scope", {}).get("state", {}).get("record")
    if record is not None and record.facts is not None and is_cross_site(record.facts):
        raise Problem(403, "Another site sent this request.")
    check = CSRFCheck(_unanswered)
    check.process_request(http_request)
    if why := check.process_view(http_request, _unanswered, (), {}):
        raise Problem(403, f"{why} Send the CSRF cookie's token in X-CSRFToken.")


def _unanswered(*_: Any) -> HttpResponse:
    return HttpResponse()
