"""Whom a socket's peer counts as, where what one client takes is counted."""

from __future__ import annotations

from functools import lru_cache

from authgate.gate.facts import is_trusted_proxy
from authgate.ratelimit import client_key


@lru_cache(maxsize=16384)
def client_of(peer: str) -> str | None:
    """None for a trusted proxy, which brings many, and for a peer without an address."""
    return None if not peer or is_trusted_proxy(peer) else client_key(peer)
