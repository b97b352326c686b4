"""Guesses: credentials that prove nothing, on routes limited `per: subject`. They count against the client."""

from __future__ import annotations

import time

from authgate.bounded import Bounded
from authgate.policy.table import Limit
from authgate.ratelimit import client_key, take_here

# Clients that this worker remembers as over a limit; a forgotten one is recognised again by its next guess.
MOST_REMEMBERED = 10_000

_over: Bounded[tuple[str, str], float] = Bounded(
    MOST_REMEMBERED
)  # by limit and client: the time until which it is refused


def seconds_left(limit: Limit, address: str) -> float:
    """Seconds until this client may try again. No look-up while no client has to wait."""
    if not _over:
        return 0.0
    key = (limit.name, client_key(address))
    left = (_over.get(key) or 0.0) - time.monotonic()
    if left <= 0:
        _over.pop(key, None)
        return 0.0
    return left


def count(limit: Limit, address: str) -> float:
    """Counts one guess, with the rate and the burst of `limit`. Returns the seconds to wait if it was one too many."""
    client = client_key(address)
    wait = take_here(limit, f"guesses {client}")
    if wait:
        _over.put((limit.name, client), time.monotonic() + wait)
    return wait
