"""Changes that cut people off: tried first, and taken back until the operator has seen whom they meet."""

from __future__ import annotations

from typing import NamedTuple

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from authgate.policy.powers import includes
from authgate.policy.schema import AdminAccess

CONFIRMED = "_confirmed"
OWN_ACCESS = "own access"
ENDED = "An ended session cannot be resumed: they have to sign in again."
MAY_RETURN = (
    "Whoever is still signed in at the identity provider may come back without being asked. To keep somebody out, "
    "deactivate the person."
)
_LOST = {
    "none": "You would lose your own access to /admin/ with this change.",
    "staff": "You would no longer be a superuser yourself after this change.",
}
_FIELDS_OF_OURS = (CONFIRMED, "csrfmiddlewaretoken")


class Consequence(NamedTuple):
    """`kind` is what the operator confirms: other consequences that came up meanwhile are asked about again."""

    kind: str
    lines: tuple[str, ...]


def warn(request: HttpRequest, kind: str, *lines: str) -> None:
    """Said by whoever makes the change, in its transaction."""
    _consequences(request).append(Consequence(kind, lines))


def warn_of_lost_access(request: HttpRequest, before: AdminAccess, after: AdminAccess) -> None:
    """By whatever way an operator has taken it from themselves: their account, role, grant, session or provider."""
    if not includes(after, before):
        warn(request, OWN_ACCESS, _LOST[after], "Only another superuser, or a command on this machine, can undo that.")


def find_unconfirmed(request: HttpRequest) -> list[Consequence]:
    """Everything this change would do, if the operator has not agreed to all of it."""
    found = _consequences(request)
    return found if {item.kind for item in found} - set(request.POST.getlist(CONFIRMED)) else []


def confirmation_page(request: HttpRequest, consequences: list[Consequence]) -> HttpResponse:
    """The same form once more, with what it would do. A secret is never repeated in a page."""
    list(messages.get_messages(request))  # so that no later page shows them either
    posted = [(name, value) for name, values in request.POST.lists() for value in values]
    context = {
        **admin.site.each_context(request),
        "title": "Please confirm",
        "messages": [],  # in the place of those that say what was done, and has been taken back
        "consequences": consequences,
        "kinds": sorted({item.kind for item in consequences}),
        "confirmed": CONFIRMED,
        "posted": [(name, value) for name, value in posted if not _is_secret(name) and name not in _FIELDS_OF_OURS],
        "has_secret": any(value for name, value in posted if _is_secret(name)),
        "back": request.get_full_path(),
    }
    return TemplateResponse(request, "admin/confirm.html", context)


def _consequences(request: HttpRequest) -> list[Consequence]:
    if not hasattr(request, "_authgate_consequences"):
        request._authgate_consequences = []  # type: ignore[attr-defined]
    found: list[Consequence] = request._authgate_consequences  # type: ignore[attr-defined]
    return found


def _is_secret(name: str) -> bool:
    return "secret" in name or "password" in name
