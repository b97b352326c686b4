"""How large a request body may be, where its route says so."""

from __future__ import annotations

from authgate.decision import Allowed


def is_too_large(allowed: Allowed, length: int) -> bool:
    """`length`: of the body, or as much of it as is known; below 0 where nothing is."""
    largest = allowed.entry.route.max_body
    return largest is not None and length > largest
