"""What a service is told of its caller."""

from __future__ import annotations

import json
import re
from functools import lru_cache

from authgate.request import Identity
from authgate.wire.headers import RawHeaders
from authgate.wire.identity_headers import ASSERTION, IDENTITY_HEADERS, USER_EMAIL, USER_ID, USER_NAME, USER_ROLES

# C0, DEL, C1 and the two Unicode line ends: a reader may take any of them for the end of the header.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def build_identity_headers(identity: Identity | None, assertion: str) -> RawHeaders:
    """Every identity header, always all of them; empty when nobody is known."""
    if identity is None:
        return [(name, b"") for name in IDENTITY_HEADERS]
    return [
        (USER_ID, header_value(identity.subject)),
        (USER_EMAIL, header_value(identity.email)),
        (USER_NAME, header_value(identity.name)),
        (USER_ROLES, roles_value(identity.roles)),
        (ASSERTION, assertion.encode("ascii")),
    ]


@lru_cache(maxsize=1024)
def roles_value(roles: frozenset[str]) -> bytes:
    return json.dumps(sorted(roles)).encode("ascii")


def header_value(text: str) -> bytes:
    """UTF-8; empty when a control character could end the header early, or when a reader that trims would take it
    for somebody else (" alice"). The assertion has the exact text."""
    return b"" if _CONTROL.search(text) or text != text.strip() else text.encode("utf-8", "replace")
