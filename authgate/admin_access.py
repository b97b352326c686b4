"""Administrators by single sign-on: what the roles of a signed-in person open in /admin/, for one request at a time.

A local account that has signed in there comes first, so that there is a way in without any identity provider.
"""

from __future__ import annotations

from typing import Any

from asgiref.sync import iscoroutinefunction
from django.contrib.auth import get_user
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest
from django.utils.decorators import sync_and_async_middleware
from django.utils.functional import SimpleLazyObject

from authgate.decision import Identity
from authgate.models import Session
from authgate.policy import snapshot
from authgate.sessions.renewal import is_live
from authgate.sso_accounts import PREFIX, username_of

_NAME_LENGTH = 150  # of Django's first names


@sync_and_async_middleware
def admin_access(get_response: Any) -> Any:
    """After the middleware that sets request.user and request.identity. Asks nothing before a page does."""

    def prepare(request: HttpRequest) -> None:
        if request.path.startswith("/admin/"):
            request.user = SimpleLazyObject(lambda: _user(request))  # type: ignore[assignment]

    async def handle_async(request: HttpRequest) -> Any:
        prepare(request)
        return await get_response(request)

    def handle(request: HttpRequest) -> Any:
        prepare(request)
        return get_response(request)

    return handle_async if iscoroutinefunction(get_response) else handle


def access_of(identity: Identity | None) -> str:
    """ "superuser", "staff" or "none", by the policy in force now. Only a session gives any: never a bearer token."""
    current = snapshot.current()
    if identity is None or current is None or identity.credential != "session":
        return "none"
    given = {role.admin for name, role in current.document.roles.items() if name in identity.roles}
    return next((access for access in ("superuser", "staff") if access in given), "none")


def _user(request: HttpRequest) -> User | AnonymousUser:
    user: User | AnonymousUser | None = getattr(request, "_authgate_user", None)
    if user is None:
        user = _local_user(request) or _provider_user(getattr(request, "identity", None)) or AnonymousUser()
        request._authgate_user = user  # type: ignore[attr-defined]
    return user


def _local_user(request: HttpRequest) -> User | None:
    user: Any = get_user(request)
    return user if user.is_authenticated and not user.username.startswith(PREFIX) else None


def _provider_user(identity: Identity | None) -> User | None:
    access = access_of(identity)
    if identity is None or access == "none" or not _is_live(identity):
        return None
    user = _row(identity)
    if not user.is_active:
        return None
    # On the instance alone: what is stored opens nothing, so a lost role needs nobody to clean up.
    user.is_staff, user.is_superuser = True, access == "superuser"
    return user


def _is_live(identity: Identity) -> bool:
    """An access token in the cookie is a session to the proxy, but here only what has a row is one."""
    sid = identity.claims.get("sid")
    if not isinstance(sid, str) or sid != identity.token_id:
        return False
    session = Session.objects.select_related("person__provider").filter(sid=sid).first()
    return session is not None and is_live(session) and session.person.subject == identity.subject


def _row(identity: Identity) -> User:
    """Their account: what edits are logged under, and what Django's permissions of staff hang on."""
    known = {"email": identity.email[:254], "first_name": identity.name[:_NAME_LENGTH]}
    user, is_new = User.objects.get_or_create(username=username_of(identity.subject), defaults=known)
    if not is_new and any(getattr(user, name) != value for name, value in known.items()):
        User.objects.filter(pk=user.pk).update(**known)
        user.refresh_from_db()
    return user
