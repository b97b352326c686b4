"""X-Auth-Assertion: the gateway's signed word to one service about who calls. Never a credential for the gateway."""

from __future__ import annotations

import msgspec

from authgate.authn.tokens import Kind, sign_payload
from authgate.authn.trust import TrustSnapshot
from authgate.policy.table import RouteEntry
from authgate.request import Identity

ASSERTION_SECONDS = 300
# Signed once for every new caller and route: several times as fast as the standard library's.
_encode = msgspec.json.Encoder().encode


def mint_assertion(identity: Identity, entry: RouteEntry, trust: TrustSnapshot, now: int) -> str:
    """The JWT. Its audience is the route's name, so no service can use it at another's."""
    claims = {
        "iss": trust.issuer,
        "aud": entry.route.name,
        "sub": identity.subject,
        "email": identity.email,
        "name": identity.name,
        "roles": sorted(identity.roles),
        "iat": now,
        "exp": now + ASSERTION_SECONDS,
    }
    return sign_payload(_encode(claims), trust.assertion_signer, Kind.ASSERTION)
