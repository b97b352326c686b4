"""Numbered, unchangeable policies: what was published is what workers run, whatever happens to rows meanwhile."""

from __future__ import annotations

from django.db import transaction

from authgate import state
from authgate.models import PolicyRevision
from authgate.policy.changes import describe_changes
from authgate.policy.compiler import apply_document, check, compile_rows
from authgate.policy.document import PolicyDocument, PolicyInvalid, parse_json, to_json

__all__ = ["describe_changes", "latest", "live_document", "publish", "replace", "rollback"]


def latest() -> PolicyRevision | None:
    return PolicyRevision.objects.order_by("-number").first()


def live_document() -> PolicyDocument:
    """The published policy; an empty one, which denies everything, before the first revision."""
    revision = latest()
    return parse_json(revision.document) if revision else PolicyDocument()


def publish(author: str, comment: str = "") -> PolicyRevision:
    """The rows become the live policy. Raises PolicyInvalid; call it in the transaction that edited the rows.

    Rows that say what is live already make no new revision.
    """
    with transaction.atomic():
        # Whoever comes second waits here, and then compiles rows that include the first one's edits.
        state.lock("policy")
        document = compile_rows()
        if errors := check(document):
            raise PolicyInvalid(errors)
        previous = latest()
        text = to_json(document)
        # As text: in Python a grant for true equals one for 1.
        if previous is not None and previous.document == text:
            return previous
        revision = PolicyRevision.objects.create(
            number=previous.number + 1 if previous else 1,
            author=_printable(author)[:150],
            comment=_printable(comment)[:200],
            document=text,
        )
        state.bump("policy")
        return revision


def replace(document: PolicyDocument, author: str, comment: str = "") -> PolicyRevision:
    """All rows give way to the document, which goes live; on PolicyInvalid nothing has changed."""
    if errors := check(document):
        raise PolicyInvalid(errors)
    with transaction.atomic():
        # First of all: two imports would otherwise wait for each other's rows.
        state.lock("policy")
        apply_document(document)
        return publish(author, comment)


def rollback(number: int, author: str) -> PolicyRevision:
    """Raises PolicyRevision.DoesNotExist, or PolicyInvalid when that policy would not be accepted today."""
    document = parse_json(PolicyRevision.objects.get(number=number).document)
    return replace(document, author, f"rollback to {number}")


def _printable(text: str) -> str:
    # These end up in terminals and logs, and a file name may hold anything.
    return "".join(character if character.isprintable() else "?" for character in text)
