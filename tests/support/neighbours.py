"""What the tests of hostile requests share: a policy with every kind of neighbour, and what "refused" means."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote, unquote

from tests.support import raw
from tests.support.gateway import Gateway
from tests.support.upstream import RecordingUpstream

IDENTITY = ("x-auth-user-id", "x-auth-user-email", "x-auth-user-name", "x-auth-user-roles", "x-auth-assertion")
OURS = (
    *IDENTITY, "x-request-id", "x-real-ip", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host",
    "x-forwarded-port", "x-forwarded-prefix", "host",
)  # fmt: skip


def neighbour_policy(target: str) -> str:
    """Below each open prefix lies something that only an administrator may see."""
    return f"""\
version: 1
upstreams:
  api: {{targets: ["{target}"]}}
roles: {{admin: {{}}}}
routes:
  - {{name: open,        path: /open,           access: public, upstream: api}}
  - {{name: secret,      path: /open/admin,     access: roles, roles: [admin], upstream: api}}
  - {{name: strip,       path: /strip,          access: public, upstream: api, strip_prefix: true}}
  - {{name: stripsecret, path: /strip/admin,    access: roles, roles: [admin], upstream: api, strip_prefix: true}}
  - {{name: session,     path: /session,        access: authenticated, upstream: api}}
  - {{name: pass,        path: /pass,           access: public, upstream: api, pass_authorization: true}}
  - {{name: preserve,    path: /preserve,       access: public, upstream: api, preserve_host: true}}
  - {{name: read,        path: /things,         access: public, methods: [GET, POST], upstream: api}}
  - {{name: write,       path: /things,         access: roles, roles: [admin], methods: [PUT, DELETE], upstream: api}}
  - {{name: exact,       path: /exact,          access: public, match: exact, upstream: api}}
  - {{name: off,         path: /open/off,       access: public, enabled: false, upstream: api}}
  - {{name: wiki,        path: /, host: wiki.test, access: roles, roles: [admin], upstream: api}}
  - {{name: tenants,     path: /, host: "*.tenant.test", access: roles, roles: [admin], upstream: api}}
"""


def upstream_sees_nothing(gateway: Gateway, upstream: RecordingUpstream, data: bytes) -> raw.Response:
    """The answer to the bytes, which must be a 4xx; nothing of them, and nothing behind them, reaches the upstream."""
    with gateway.connect() as client:
        client.send(data + raw.request(target="/open/behind"))
        response = client.response(data.split(b" ", 1)[0].decode("latin-1"))
        assert 400 <= response.status < 500, response.raw_head
        assert client.is_closed(), "the request behind was looked at"
    assert upstream.requests == []
    return response


def careless_readings(path: str) -> set[str]:
    """What the path means to applications that decode, fold, trim, cut and resolve more than they should."""
    decoded = path
    while unquote(decoded) != decoded:
        decoded = unquote(decoded)
    folded = unicodedata.normalize("NFKC", decoded).replace("\\", "/")
    cut = folded.replace("#", "?").split("?", 1)[0]
    trimmed = "/".join(segment.split(";", 1)[0].rstrip(". ") or segment for segment in cut.split("/"))
    readings = {
        _resolve(text) for text in (decoded, folded, cut, folded.split(";", 1)[0], cut.split(";", 1)[0], trimmed)
    }
    return {quote(text, safe="/") for text in readings}


def _resolve(path: str) -> str:
    """Dot segments and empty ones resolved."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            kept = kept[:-1]
        elif segment not in ("", "."):
            kept.append(segment)
    return "/" + "/".join(kept)
