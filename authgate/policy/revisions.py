"""Numbered, unchangeable policies: what was published is what workers run, whatever happens to rows meanwhile."""

from __future__ import annotations

from django.db import transaction

from authgate.models import versions
from authgate.models.policy import PolicyRevision
from authgate.policy.changes import describe_changes
from authgate.policy.compiler import check, compile_rows
from authgate.policy.document import PolicyDocument, PolicyError, PolicyInvalid, parse_json, to_json
from authgate.policy.powers import Actor, PowersRefused, find_refusals, read_powers
from authgate.policy.rows import apply_document

__all__ = [
    "compile_for", "describe_changes", "latest", "live_document", "live_powers", "publish", "replace", "rollback",
]  # fmt: skip


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
    """What the rows say. Raises PolicyInvalid if it is not valid, or not this actor's to publish.

    Belongs inside the lock: the actor's rights and the live policy are read here, as they are now.
    """
    document = compile_rows()
    if errors := check(document):
        raise PolicyInvalid(errors)
    previous = latest()
    if refusals := find_refusals(actor, previous.document if previous else None, document):
        raise PowersRefused(refusals)
    return document


def publish(actor: Actor, comment: str = "") -> PolicyRevision:
    """The rows become the live policy. Raises PolicyInvalid; call it in the transaction that edited the rows.

    Rows that say what is live already make no new revision.
    """
    with transaction.atomic():
        # Whoever comes second waits here, and then compiles rows that include the first one's edits.
        versions.lock("policy")
        text = to_json(compile_for(actor))
        previous = latest()
        # As text: in Python a grant for true equals one for 1.
        if previous is not None and previous.document == text:
            return previous
        revision = PolicyRevision.objects.create(
            number=previous.number + 1 if previous else 1,
            author=_printable(actor.name)[:150],
            comment=_printable(comment)[:200],
            document=text,
        )
        versions.bump("policy")
        return revision


class WouldBeEmpty(PolicyInvalid):
    """A live policy would give way to one without any route."""


def replace(document: PolicyDocument, actor: Actor, comment: str = "", *, allow_empty: bool = False) -> PolicyRevision:
    """The rows are made to say what the document says, which goes live; on PolicyInvalid nothing has changed."""
    if errors := check(document):
        raise PolicyInvalid(errors)
    with transaction.atomic():
        # First of all: two imports would otherwise wait for each other's rows.
        versions.lock("policy")
        if not allow_empty and not document.routes and _serves_something():
            raise WouldBeEmpty([PolicyError(("routes",), "none: every request would be refused")])
        apply_document(document)
        return publish(actor, comment)


def _serves_something() -> bool:
    try:
        return bool(live_document().routes)
    except PolicyInvalid:
        return False  # one that cannot be read serves nothing


def rollback(number: int, actor: Actor) -> PolicyRevision:
    """Raises PolicyRevision.DoesNotExist, or PolicyInvalid when that policy would not be accepted today."""
    document = parse_json(PolicyRevision.objects.get(number=number).document)
    return replace(document, actor, f"rollback to {number}", allow_empty=True)


def _printable(text: str) -> str:
    # These end up in terminals and logs, and a file name may hold anything.
    return "".join(character if character.isprintable() else "?" for character in text)
