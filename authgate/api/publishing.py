"""Changes of the policy: each in its caller's turn, as one revision, or as what that would be."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from authgate.api.bodies import show
from authgate.api.callers import Caller, turn
from authgate.api.lists import flag, flag_of
from authgate.policy import revisions
from authgate.policy.document import PolicyDocument
from authgate.policy.revisions import Published
from authgate.policy.schema import Strict

DRY_RUN = flag("dry_run", "Say what would change, and change nothing.")
REVISION, WARNING = "Authgate-Revision", "Authgate-Warning"


class Publication(Strict, frozen=True):
    """What a change of the policy has done, or would do."""

    revision: int  # that is live after it
    changed: bool
    dry_run: bool
    changes: tuple[str, ...]  # in words
    warnings: tuple[str, ...]  # such as tokens that name a role which it has removed


class Changed(NamedTuple):
    """What a change has published (None: nothing), and the answer to it if that is not to be the publication."""

    published: Published | None
    response: Response | None = None


def publishing(request: Request, change: Callable[[Caller, PolicyDocument], Changed]) -> Response:
    """`change` is given the live policy and publishes another. A dry run is taken back, and answered with what it
    would have done.
    """
    is_dry = bool(flag_of(request, "dry_run"))
    with turn(request) as caller:
        before, number = revisions.live_document(), _live_number()
        published, response = change(caller, before)
        warnings = published.warnings if published is not None else ()
        if is_dry or response is None:
            response = Response(show(_publication(before, number, warnings, is_dry=is_dry)))
        if is_dry:
            transaction.set_rollback(True)
        else:
            response[REVISION] = str(_live_number())
            if warnings:
                response[WARNING] = "; ".join(warnings)
    return response


def removal(published: Published) -> Changed:
    """Answered with 204, unless there is something to say."""
    return Changed(published, None if published.warnings else Response(status=204))


def _publication(before: PolicyDocument, number: int, warnings: tuple[str, ...], *, is_dry: bool) -> Publication:
    lines = revisions.describe_changes(before, revisions.live_document())
    now = _live_number()
    return Publication(revision=now, changed=now != number, dry_run=is_dry, changes=tuple(lines), warnings=warnings)


def _live_number() -> int:
    newest = revisions.latest()
    return newest.number if newest else 0
