"""The further identity headers of a route, filled in for one caller."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable
from typing import Any

from authgate.identity.headers import header_value, roles_value
from authgate.policy.schema import IdentityValue
from authgate.policy.told import Told
from authgate.request import Identity
from authgate.wire.headers import RawHeaders


def build_told_headers(told: Told, identity: Identity) -> RawHeaders:
    """All but those with the caller's token. Empty where nothing is known, or nothing that every reader reads alike."""
    return [(name, _value(source, identity)) for name, source in told.values]


def token_lines(told: Told, token: bytes) -> bytes:
    return b"".join(b"%b: %b\r\n" % (name, token) for name in told.tokens)


def _value(source: str | IdentityValue, identity: Identity) -> bytes:
    if isinstance(source, str):
        return roles_value(identity.roles) if source == "roles" else header_value(_word(source, identity))
    if source.basic_from:
        return _basic(_word(source.basic_from, identity))
    value = sorted(identity.roles) if source.roles else identity.claims.get(source.claim)
    if source.join:
        return _joined(value if isinstance(value, (list, tuple)) else (value,), source.join)
    if isinstance(value, (list, tuple, dict)):
        return _json(value)
    return header_value(_text(value))


def _word(word: str, identity: Identity) -> str:
    if word in ("subject", "email", "name"):
        return str(getattr(identity, word))
    return _text(identity.claims.get(word))


def _text(value: Any) -> str:
    """Empty for what is no single value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (str, int, float)) else ""


def _joined(items: Iterable[Any], join: str) -> bytes:
    """An item with a character of the separator could be read as several, and perhaps as a group of another name:
    between "::" also "x:" beside ":admin".
    """
    apart = frozenset(join.strip() or join)
    texts = [text for item in items if (text := _text(item)) and header_value(text) and apart.isdisjoint(text)]
    return join.join(texts).encode("utf-8", "replace")


def _json(value: Any) -> bytes:
    try:
        return json.dumps(value, default=lambda _: None).encode("ascii")
    except (ValueError, RecursionError):
        return b""


def _basic(name: str) -> bytes:
    """A user name with an empty password (RFC 7617). What follows a colon would be read as the password."""
    return b"Basic " + b64encode(value + b":") if (value := header_value(name)) and b":" not in value else b""
