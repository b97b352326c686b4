"""The one canonicalisation of a request target. It decides what the path is, not who may have it."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from urllib.parse import quote, unquote, unquote_to_bytes

# Nothing to decode and nothing to doubt: by far most requests.
_PLAIN_PATH = re.compile(rb"/|(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/?")
# RFC 3986 pchar without ";" (servers cut "/admin;x" to "/admin"), plus "|^[]", which browsers leave bare.
_LEGAL_PATH = re.compile(rb"/(?:[A-Za-z0-9._~!$&'()*+,=:@|^\[\]/-]|%[0-9A-Fa-f]{2})*")
_LEGAL_QUERY = re.compile(rb"[!\"$-~]*")
_QUERY = re.compile("[?#]")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
# "/", "\" and controls: an application that decodes once more would see another path than the policy did.
_NEVER_ESCAPED = frozenset(b"/\\\x7f") | frozenset(range(0x20))
_DOUBLE_ESCAPE = re.compile(rb"%25[0-9A-Fa-f]{2}")
# In decoded text, and also disguised by what an application may cut off there ("/..%3Bx/", "/..%20/").
_DOT_SEGMENT = re.compile(r"/\.{1,2}(?:[/;?# ]|\Z)")


class TargetRefused(ValueError):
    """The target is malformed, or an application could read it in another way than the policy would."""


def canonical_path(raw: bytes) -> str:
    """The path (without query) that is matched by policy and sent upstream; ASCII.

    Unreserved characters are decoded and hexadecimal digits upper-cased (RFC 3986 6.2.2), so that one resource
    has one spelling. Whatever stays ambiguous is refused with TargetRefused.
    """
    if _PLAIN_PATH.fullmatch(raw) is not None:
        return raw.decode("ascii")
    return _canonicalise(raw)


def check_query(raw: bytes) -> bytes:
    """The query as it came; controls, spaces, "#" and bytes outside ASCII are refused with TargetRefused."""
    if raw and _LEGAL_QUERY.fullmatch(raw) is None:
        raise TargetRefused("the query has characters that must be percent-encoded")
    return raw


def careless_path(path: str) -> str:
    """How an application that reads a canonical path carelessly could understand it; for most paths the same.

    Decoded, look-alikes folded, "?", "#" and ";" taken for delimiters, dots and spaces trimmed as Windows does.
    """
    if "%" not in path and "./" not in path and path[-1] != ".":
        return path
    return _read_carelessly(path)


@lru_cache(maxsize=512)  # of up to 8 KiB each, and the client chooses them
def _canonicalise(raw: bytes) -> str:
    if _LEGAL_PATH.fullmatch(raw) is None:
        raise TargetRefused("the path has characters that must be percent-encoded, or a broken escape")
    path = _ESCAPE.sub(_canonical_escape, raw)
    if b"//" in path:
        raise TargetRefused("the path has an empty segment")
    if _DOUBLE_ESCAPE.search(path):
        raise TargetRefused("the path is encoded twice")
    _check_text(unquote_to_bytes(path))
    return path.decode("ascii")


def _canonical_escape(escape: re.Match[bytes]) -> bytes:
    byte = int(escape[1], 16)
    if byte in _NEVER_ESCAPED:
        raise TargetRefused("the path has an encoded slash, backslash or control character")
    return bytes((byte,)) if byte in _UNRESERVED else escape[0].upper()


def _check_text(decoded: bytes) -> None:
    # Overlong forms such as %C0%AF decode to "/" in careless decoders; strict UTF-8 has none.
    try:
        text = decoded.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TargetRefused("the path is not UTF-8") from error
    if _DOT_SEGMENT.search(_fold(text)):
        raise TargetRefused("the path has a dot segment")


@lru_cache(maxsize=512)
def _read_carelessly(path: str) -> str:
    text = _QUERY.split(_fold(unquote(path)), maxsplit=1)[0]
    *above, last = (segment.partition(";")[0].rstrip(". ") for segment in text.split("/"))
    return quote("/".join(("", *filter(None, above), last)), safe="/")


def _fold(text: str) -> str:
    # Windows, and whoever normalises names, reads a fullwidth slash, dot or letter as the plain one ("best fit").
    return unicodedata.normalize("NFKC", text).replace("\\", "/")
