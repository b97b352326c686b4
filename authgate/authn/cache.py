"""Remembers which tokens were verified, so that the signature is checked once. Decides nothing by itself."""

from __future__ import annotations

import hashlib

from authgate.authn.revocations import is_issued_before
from authgate.authn.tokens import Kind
from authgate.authn.trust import TrustSnapshot
from authgate.bounded import Bounded
from authgate.request import Identity


def cache_key(kind: Kind, token: bytes) -> tuple[Kind, bytes]:
    """A digest, so that a dump of the cache holds no credential; the kind, so that none passes as another."""
    return kind, hashlib.sha256(token).digest()


class IdentityCache:
    """Bounded, oldest out first. Belongs to one policy snapshot, so any change of policy or trust starts a new one.

    Only successes are kept: a refusal costs no more than a look at the header or one signature, and remembered
    refusals would let a stranger push out everybody's entries.
    """

    __slots__ = ("_identities", "put")

    def __init__(self, maxsize: int = 10_000) -> None:
        # The event loop and Django's threads share it.
        self._identities: Bounded[tuple[Kind, bytes], Identity] = Bounded(maxsize)
        self.put = self._identities.put

    def __len__(self) -> int:
        return len(self._identities)

    def get(self, key: tuple[Kind, bytes], now: float, trust: TrustSnapshot) -> Identity | None:
        """None when the token must be verified (again); expiry and revocation are checked on every hit."""
        identity = self._identities.get(key)
        if identity is None:
            return None
        if (
            identity.expires_at <= now
            or identity.token_id in trust.revoked
            or (trust.issued_before is not None and is_issued_before(identity, trust.issued_before))
        ):
            self._identities.pop(key, None)
            return None
        return identity
