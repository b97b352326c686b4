"""Changes of the policy: each in its caller's turn, as one revision, or as what that would be."""

from __future__ import annotations

from collections.abc import Callable

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from authgate.api.bodies import show
from authgate.api.callers import Caller, turn
from authgate.api.lists import flag, flag_of
from authgate.policy import revisions
from authgate.policy.document import PolicyDocument
from authgate.policy.schema import Strict

DRY_RUN = flag("dry_run", "Say what would change, and change nothing.")
REVISION = "Authgate-Revision"


class Publication(Strict, frozen=True):
    """What a change of the policy has done, or would do."""

    revision: int  # that is live after it
    changed: bool
    dry_run: bool
    changes: tuple[str, ...]  # in words


def publishing(request: Request, change: Callable[[Caller, PolicyDocument], Response]) -> Response:
    """The response of `change`, which is given the live policy and publishes another. A dry run is taken back, and
    answered with what it would have done.
    """
    is_dry = bool(flag_of(request, "dry_run"))
    with turn(request) as caller:
        before, number = revisions.live_document(), _live_number()
        response = change(caller, before)
        if is_dry:
            response = Response(show(_publication(before, number, is_dry=True)))
            transaction.set_rollback(True)
        else:
            response[REVISION] = str(_live_number())
    return response


def publish_whole(request: Request, change: Callable[[Caller], object]) -> Response:
    """As `publishing`, answered with the publication."""

    def changing(caller: Caller, before: PolicyDocument) -> Response:
        number = _live_number()
        change(caller)
        return Response(show(_publication(before, number, is_dry=False)))

    return publishing(request, changing)


def _publication(before: PolicyDocument, number: int, *, is_dry: bool) -> Publication:
    lines = revisions.describe_changes(before, revisions.live_document())
    now = _live_number()
    return Publication(revision=now, changed=now != number, dry_run=is_dry, changes=tuple(lines))


def _live_number() -> int:
    newest = revisions.latest()
    return newest.number if newest else 0
