"""Administrators by single sign-on: what the roles of a signed-in person open in /admin/, for one request at a time.

A local account that has signed in there comes first, so that there is a way in without any identity provider.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest
from django.utils import timezone
from django.utils.decorators import sync_and_async_middleware
from django.utils.functional import SimpleLazyObject

from authgate.authn.tokens import RESERVED_CLAIMS
from authgate.models.people import Session
from authgate.models.trust import RevokedToken
from authgate.own_pages import API
from authgate.policy import revisions
from authgate.policy.compiler import check
from authgate.policy.errors import PolicyInvalid
from authgate.policy.powers import highest_access
from authgate.policy.rules import GrantRules
from authgate.policy.schema import AdminAccess
from authgate.request import Identity
from authgate.sessions.renewal import may_go_on
from authgate.sessions.sso_accounts import PREFIX, username_of
from authgate.state import snapshot

_NAME_LENGTH = 150  # of Django's first names
_FOR_OPERATORS = ("/admin/", f"{settings.AUTHGATE_AUTH_PREFIX}{API}/")


@sync_and_async_middleware
def admin_access(get_response: Any) -> Any:
    """After the middleware that sets request.user and request.identity. Asks nothing before a page does."""

    def prepare(request: HttpRequest) -> None:
        if request.path.startswith(_FOR_OPERATORS):
            request.user = SimpleLazyObject(lambda: _user(request))  # type: ignore[assignment]

    async def handle_async(request: HttpRequest) -> Any:
        prepare(request)
        return await get_response(request)

    def handle(request: HttpRequest) -> Any:
        prepare(request)
        return get_response(request)

    return handle_async if iscoroutinefunction(get_response) else handle


@dataclass(frozen=True)
class Operator:
    """Who is behind a request to /admin/ or the API: a local account, or a session and the account of its person."""

    name: str
    account: int
    session: Identity | None = None

    def access(self) -> AdminAccess:
        """By the rows as they are now: the account's, the session's and the newest revision's."""
        user = User.objects.filter(pk=self.account, is_active=True).first()
        if user is None:
            return "none"
        if user.username.startswith(PREFIX):
            return _access_now(self.session)
        return _access_of(user)


def offered_access(request: HttpRequest) -> AdminAccess:
    """By what this request was let in with: for what a page offers. An operation asks its actor, in their turn."""
    return _access_of(request.user)


def operator_of(request: HttpRequest) -> Operator:
    name = request.user.get_username()
    session = _identity(request) if name.startswith(PREFIX) else None
    return Operator(name, request.user.pk or 0, session)


def resolve_again(request: HttpRequest) -> None:
    """Sets request.user by the database as it is now. What the request was let in with may be gone since."""
    has_session = request.session.exists(request.session.session_key or "")
    user = (local_user(request) if has_session else None) or _provider_user(_identity(request), _access_now)
    request._authgate_user = request.user = user or AnonymousUser()  # type: ignore[attr-defined]


def access_in_force(identity: Identity) -> AdminAccess:
    """By the policy that this worker runs, and by what the cookie says."""
    current = snapshot.current()
    return highest_access(current.document, identity.roles) if current else "none"


def _access_of(user: User | AnonymousUser) -> AdminAccess:
    # Django's admin is closed to a superuser who is no staff.
    return "none" if not user.is_staff else "superuser" if user.is_superuser else "staff"


def _access_now(identity: Identity | None) -> AdminAccess:
    """By the newest revision there is, and by what both the cookie and the session's row say."""
    session = _live_session(identity)
    if identity is None or session is None:
        return "none"
    try:
        policy = revisions.live_powers()
    except PolicyInvalid:
        return "none"
    rules, provider = GrantRules(policy.grants, check(policy)), session.person.provider.slug
    known = (identity.claims, _claims_of(session, identity))
    roles = [rules.roles_of(claims, provider) for claims in known]
    return highest_access(policy, frozenset.intersection(*roles))


def _claims_of(session: Session, identity: Identity) -> dict[str, Any]:
    """What a cookie made now would say. The provider may have taken a group back since this one was made."""
    own = {name: value for name, value in identity.claims.items() if name in RESERVED_CLAIMS}
    said = {name: value for name, value in session.claims.items() if name not in RESERVED_CLAIMS}
    return {**own, "email": session.person.email, "name": session.person.name, **said}


def _user(request: HttpRequest) -> User | AnonymousUser:
    user: User | AnonymousUser | None = getattr(request, "_authgate_user", None)
    if user is None:
        user = local_user(request) or _provider_user(_identity(request), access_in_force) or AnonymousUser()
        request._authgate_user = user  # type: ignore[attr-defined]
    return user


def _identity(request: HttpRequest) -> Identity | None:
    """Only a session gives access: never a bearer token."""
    identity: Identity | None = getattr(request, "identity", None)
    return identity if identity is not None and identity.by_cookie else None


def local_user(request: HttpRequest) -> User | None:
    user: Any = get_user(request)
    return user if user.is_authenticated and not user.username.startswith(PREFIX) else None


def _provider_user(identity: Identity | None, access_of: Callable[[Identity], AdminAccess]) -> User | None:
    access = access_of(identity) if identity is not None else "none"
    if identity is None or access == "none" or _live_session(identity) is None:
        return None
    user = _row(identity)
    if not user.is_active:
        return None
    # On the instance alone: what is stored opens nothing, so a lost role needs nobody to clean up.
    user.is_staff, user.is_superuser = True, access == "superuser"
    return user


def _live_session(identity: Identity | None) -> Session | None:
    if identity is None or not identity.session_id:
        return None
    sid = identity.session_id
    session = Session.objects.select_related("person__provider").filter(sid=sid).first()
    if session is None or not may_go_on(session) or session.person.subject != identity.subject:
        return None
    return None if RevokedToken.objects.filter(jti=sid, expires_at__gt=timezone.now()).exists() else session


def _row(identity: Identity) -> User:
    """Their account: what edits are logged under, and what Django's permissions of staff hang on."""
    known = {"email": identity.email[:254], "first_name": identity.name[:_NAME_LENGTH]}
    user, is_new = User.objects.get_or_create(username=username_of(identity.subject), defaults=known)
    if not is_new and any(getattr(user, name) != value for name, value in known.items()):
        User.objects.filter(pk=user.pk).update(**known)
        user.refresh_from_db()
    return user
