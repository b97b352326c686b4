"""Credentials that prove nothing, sent where callers are limited by who they are: counted for the client."""

from __future__ import annotations

import time

from authgate.bounded import Bounded
from authgate.policy.table import Limit
from authgate.ratelimit import client_key, take_here

# Clients that this worker remembers as over a limit; a further one is found out again by its next guess.
MOST_REMEMBERED = 10_000

_over: Bounded[tuple[str, str], float] = Bounded(MOST_REMEMBERED)  # by limit and client: until when


def seconds_left(limit: Limit, address: str) -> float:
    """Until this client may try again. Looks nothing up while nobody has to wait."""
    if not _over:
        return 0.0
    key = (limit.name, client_key(address))
    left = (_over.get(key) or 0.0) - time.monotonic()
    if left <= 0:
        _over.pop(key, None)
        return 0.0
    return left


def count(limit: Limit, address: str) -> float:
    """One more, with the rate and the burst of `limit`. Seconds to wait when it was one too many."""
    client = client_key(address)
    wait = take_here(limit, f"guesses {client}")
    if wait:
        _over.put((limit.name, client), time.monotonic() + wait)
    return wait
