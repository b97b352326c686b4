"""Numbered, immutable policies. Workers run the published one, whatever happens to the rows meanwhile."""

from __future__ import annotations

from typing import NamedTuple

from django.db import transaction

from authgate.models import versions
from authgate.models.policy import PolicyRevision
from authgate.policy.changes import describe_changes
from authgate.policy.compiler import check, compile_rows
from authgate.policy.document import PolicyDocument, PolicyError, PolicyInvalid, parse_json, to_json
from authgate.policy.lost_names import warn_of_lost
from authgate.policy.new_hosts import warn_of_new
from authgate.policy.powers import Actor, PowersRefused, find_refusals, read_powers
from authgate.policy.rows import apply_document

__all__ = [
    "Published", "compile_for", "describe_changes", "latest", "live_document", "live_powers", "publish", "replace",
    "rollback",
]  # fmt: skip


class Published(NamedTuple):
    revision: PolicyRevision
    warnings: tuple[str, ...] = ()  # of what an operator may not have meant, or has still to do


def latest() -> PolicyRevision | None:
    return PolicyRevision.objects.order_by("-number").first()


def live_document() -> PolicyDocument:
    """The published policy; an empty one, which denies everything, before the first revision."""
    revision = latest()
    return parse_json(revision.document) if revision else PolicyDocument()


def live_powers() -> PolicyDocument:
    """Roles and grants of the newest revision in the database, whatever this process runs. Raises PolicyInvalid."""
    revision = latest()
    return read_powers(revision.document) if revision else PolicyDocument()


def compile_for(actor: Actor) -> PolicyDocument:
    """The policy of the rows. Raises PolicyInvalid if it is not valid, or if this actor may not publish it.

    Call it inside the lock: it reads the actor's permissions and the live policy as they are now.
    """
    document = compile_rows()
    if errors := check(document):
        raise PolicyInvalid(errors)
    previous = latest()
    if refusals := find_refusals(actor, previous.document if previous else None, document):
        raise PowersRefused(refusals)
    return document


def publish(actor: Actor, comment: str = "") -> Published:
    """Makes the rows the live policy. Raises PolicyInvalid; call it in the transaction that edited the rows.

    No new revision is made if the rows say the same as the live policy.
    """
    with transaction.atomic():
        # The second of two operators waits here, and then compiles rows that include the edits of the first.
        versions.lock("policy")
        text = to_json(compile_for(actor))
        previous = latest()
        # Compared as text: in Python a grant for true equals one for 1.
        if previous is not None and previous.document == text:
            return Published(previous)
        revision = PolicyRevision.objects.create(
            number=previous.number + 1 if previous else 1,
            author=_printable(actor.name)[:150],
            comment=_printable(comment)[:200],
            document=text,
        )
        versions.bump("policy")
        before = previous.document if previous else ""
        return Published(revision, (*warn_of_lost(before, text), *warn_of_new(before, text)))


class WouldBeEmpty(PolicyInvalid):
    """A policy without any route would replace one that has routes."""


def replace(document: PolicyDocument, actor: Actor, comment: str = "", *, allow_empty: bool = False) -> Published:
    """Sets the rows to the document and publishes it. On PolicyInvalid nothing has changed."""
    if errors := check(document):
        raise PolicyInvalid(errors)
    with transaction.atomic():
        # Before anything else: two imports would otherwise wait for each other's rows.
        versions.lock("policy")
        if not allow_empty and not document.routes and _serves_something():
            raise WouldBeEmpty([PolicyError(("routes",), "none: every request would be refused")])
        apply_document(document)
        return publish(actor, comment)


def _serves_something() -> bool:
    try:
        return bool(live_document().routes)
    except PolicyInvalid:
        return False  # a policy that cannot be read serves nothing


def rollback(number: int, actor: Actor) -> Published:
    """Publishes an earlier revision again. Raises PolicyRevision.DoesNotExist, or PolicyInvalid by today's rules."""
    document = parse_json(PolicyRevision.objects.get(number=number).document)
    return replace(document, actor, f"rollback to {number}", allow_empty=True)


def _printable(text: str) -> str:
    # These texts end up in terminals and logs, and a file name may contain anything.
    return "".join(character if character.isprintable() else "?" for character in text)
