"""The policy as lines of text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from authgate.models.policy import PolicyRevision
from authgate.policy.changes import describe_changes
from authgate.policy.document import PolicyDocument, PolicyInvalid, Route, parse_json
from authgate.policy.table import match_order

MOST_CHANGES = 40
_HEADINGS = ("HOST", "PATH", "METHODS", "ACCESS", "UPSTREAM", "LIMIT", "ROUTE")


def route_lines(document: PolicyDocument) -> Iterator[str]:
    """The routes in the order in which they win against each other."""
    rows = [_HEADINGS, *(_route_row(route) for route in sorted(document.routes, key=match_order))]
    return _aligned(rows)


def revision_lines() -> Iterator[str]:
    """The revisions, newest first."""
    rows = [("REVISION", "TIME (UTC)", "AUTHOR", "CHANGES", "COMMENT")]
    before = PolicyDocument()
    for revision in PolicyRevision.objects.order_by("number").iterator():
        document = _document(revision)
        count = "?" if document is None else str(len(describe_changes(before, document)))
        before = document or before
        time = f"{revision.created_at:%Y-%m-%d %H:%M:%S}"
        rows.insert(1, (str(revision.number), time, revision.author, count, revision.comment))
    return _aligned(rows)


def change_lines(before: PolicyRevision, after: PolicyRevision) -> Iterator[str]:
    """The changes made by `after`."""
    old, new = _document(before), _document(after)
    lines = describe_changes(old, new) if old is not None and new is not None else ["the policy before cannot be read"]
    yield from lines[:MOST_CHANGES]
    if len(lines) > MOST_CHANGES:
        yield f"… and {len(lines) - MOST_CHANGES} more"


def _route_row(route: Route) -> tuple[str, ...]:
    below = "" if route.match == "exact" else "*" if route.path == "/" else "/*"
    return (
        route.host or "any",
        route.path + below,
        ",".join(route.methods) or "all",
        f"roles {','.join(route.roles)}" if route.access == "roles" else route.access,
        route.upstream if route.redirect is None else f"→ {route.redirect.to}",
        route.rate_limit or "-",
        route.name + ("" if route.enabled else " (disabled)"),
    )


def _document(revision: PolicyRevision) -> PolicyDocument | None:
    try:
        return parse_json(revision.document)
    except PolicyInvalid:
        return None


def _aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
