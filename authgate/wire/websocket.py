"""The opening handshake of a WebSocket (RFC 6455 section 4), as gate and proxy must read it alike."""

from __future__ import annotations

import base64
import hashlib
import re

from authgate.wire.headers import Headers, RawHeaders

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")  # sixteen bytes in base64
VERSION = b"13"
# Of the protocols that Upgrade may name, those that only carry the same request in another way. Clients offer them to
# every server, and go on as before when nobody takes the offer (RFC 9110 7.8).
_STILL_HTTP = frozenset((b"", b"h2c", b"h2", b"http", b"tls"))


def names_another_protocol(offers: tuple[bytes, ...]) -> bool:
    """Whether Upgrade headers ask for something that is no longer HTTP."""
    return bool(offers) and any(_protocol(offer) not in _STILL_HTTP for offer in b",".join(offers).split(b","))


def _protocol(offer: bytes) -> bytes:
    """The name alone, without its version; in any case."""
    return offer.partition(b"/")[0].strip(b" \t").lower()


def handshake_problem(method: str, headers: Headers) -> str:
    """What is wrong with a request whose Upgrade names websocket; empty: nothing (RFC 6455 4.2.1)."""
    if method != "GET":
        return "a WebSocket begins with GET"
    options = tokens(headers.values(b"connection"))
    if b"upgrade" not in options:
        return "Connection does not name upgrade"
    if any(option.startswith(b"sec-websocket-") for option in options):
        return "Connection names a part of the handshake, which the service would not get"
    if headers.values(b"transfer-encoding") or headers.values(b"content-length") not in ((), (b"0",)):
        return "it has a body"
    if headers.values(b"sec-websocket-version") != (VERSION,):
        return f"Sec-WebSocket-Version is not {VERSION.decode()}"
    keys = headers.values(b"sec-websocket-key")
    if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
        return "Sec-WebSocket-Key is not one key of sixteen bytes in base64"
    return ""


def accept_of(key: bytes) -> bytes:
    """The Sec-WebSocket-Accept by which a service shows that it has understood the handshake (RFC 6455 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def is_accepted(headers: RawHeaders, accept: bytes) -> bool:
    """Whether the head of a 101 answers the handshake with this `accept_of`."""

    def values(name: bytes) -> tuple[bytes, ...]:
        return tuple([value for known, value in headers if known == name])

    return (
        tokens(values(b"upgrade")) == [b"websocket"]
        and b"upgrade" in tokens(values(b"connection"))
        and values(b"sec-websocket-accept") == (accept,)
    )


def tokens(values: tuple[bytes, ...]) -> list[bytes]:
    """Of a list header in lower case."""
    return [token.strip(b" \t").lower() for value in values for token in value.split(b",")]
