"""The one canonicalisation of a request target. It decides what the path is, not who may have it."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from urllib.parse import quote, unquote, unquote_to_bytes

# Nothing to decode and nothing to doubt: by far most requests.
_PLAIN_PATH = re.compile(rb"/|(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/?")
# RFC 3986 pchar without ";" (servers cut "/admin;x" to "/admin"), plus "|^[]", which browsers leave bare.
_ILLEGAL = re.compile(rb"[^A-Za-z0-9._~!$&'()*+,=:@|^\[\]/%-]|%(?![0-9A-Fa-f]{2})")
_LEGAL_QUERY = re.compile(rb"[!\"$-~]*")
_QUERY = re.compile("[?#]")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
# "/", "\" and controls: an application that decodes once more would see another path than the policy did.
_NEVER_ESCAPED = frozenset(b"/\\\x7f") | frozenset(range(0x20))
# What follows a "%" → the canonical spelling of the whole escape; what may not be escaped is not in it.
_CANONICAL_ESCAPES = {
    digits.encode("ascii"): bytes((byte,)) if byte in _UNRESERVED else b"%%%02X" % byte
    for byte in sorted(frozenset(range(256)) - _NEVER_ESCAPED)
    for digits in {f"{byte:02x}", f"{byte:02X}", f"{byte >> 4:x}{byte & 15:X}", f"{byte >> 4:X}{byte & 15:x}"}
}
_NAMES = {"%2F": "slash", "%5C": "backslash"}
# Decoding and folding cost time, before any limit; paths of more than 340 characters of Chinese are nobody's.
MAX_ESCAPES = 1024
# The one character that folds to more (eighteen) than its escapes have.
_LONG_LIGATURE, _MAX_LIGATURES = "\ufdfa", 20
# UAX #15 13: normal text has no more combining characters in a row, and sorting them takes their number squared.
_LONG_RUN_OF_MARKS = re.compile(rb"[^\0]{31}")
# What normalising leaves, and some code page of Windows takes for a slash or a backslash.
_SLASHES = dict.fromkeys(map(ord, "\\\u00a5\u20a9\u2044\u2215\u2216\u29f5\u29f8\u29f9"), "/")
# Of no combining class themselves, but they decompose to characters that have one.
_HIDDEN_MARKS = dict.fromkeys(map(ord, "\u0f73\u0f75\u0f81\uff9e\uff9f"), "\u0301")
# In decoded text, also as IIS writes it.
_STILL_ESCAPED = re.compile("%(?:[0-9A-Fa-f]{2}|[uU][0-9A-Fa-f]{4})")
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
    """The query as it came, "?" included. Controls, spaces, "#" and bytes outside ASCII raise TargetRefused."""
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


def fold_case(path: str) -> str:
    """The spelling that all spellings in upper and lower case share; of a canonical path or a careless reading."""
    return path.lower() if "%" not in path else _fold_decoded(path)


def character_named(found: bytes) -> str:
    """In words for a log: what a path may not have. Of the path itself no more than this one character."""
    text = found.decode("latin-1").upper()
    if text.startswith("%"):
        name = _NAMES.get(text, "control character")
        return f"an encoded {name} ({text})" if text[1:] else "a broken escape"
    return f"a bare {text}" if text.isascii() and text.isprintable() else "a byte that must be percent-encoded"


@lru_cache(maxsize=512)  # of up to 8 KiB each, and the client chooses them
def _canonicalise(raw: bytes) -> str:
    if not raw.startswith(b"/"):
        raise TargetRefused("the path does not begin with a slash")
    if (found := _ILLEGAL.search(raw)) is not None:
        raise TargetRefused(f"the path has {character_named(found[0])}")
    path = _with_canonical_escapes(raw)
    if b"//" in path:
        raise TargetRefused("the path has an empty segment (//)")
    canonical = path.decode("ascii")
    text = decoded_and_folded(canonical)
    if _STILL_ESCAPED.search(text):
        raise TargetRefused("the path is encoded twice")
    if _DOT_SEGMENT.search(text):
        raise TargetRefused("the path has a dot segment")
    return canonical


def _with_canonical_escapes(raw: bytes) -> bytes:
    first, *others = raw.split(b"%")
    if len(others) > MAX_ESCAPES:
        raise TargetRefused(f"the path has more than {MAX_ESCAPES} escapes")
    try:
        return first + b"".join([_CANONICAL_ESCAPES[piece[:2]] + piece[2:] for piece in others])
    except KeyError as error:
        raise TargetRefused(f"the path has {character_named(b'%' + error.args[0])}") from None


@lru_cache(maxsize=512)
def _read_carelessly(path: str) -> str:
    text = _QUERY.split(decoded_and_folded(path), maxsplit=1)[0]
    *above, last = (segment.partition(";")[0].rstrip(". ") for segment in text.split("/"))
    return quote("/".join(("", *filter(None, above), last)), safe="/")


@lru_cache(maxsize=512)
def _fold_decoded(path: str) -> str:
    return quote(unquote(path).casefold(), safe="/")


@lru_cache(maxsize=8)  # both who check a path and who read it carelessly ask, one after the other
def decoded_and_folded(path: str) -> str:
    # Overlong forms such as %C0%AF decode to "/" in careless decoders; strict UTF-8 has none.
    try:
        text = unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise TargetRefused("the path is not UTF-8") from error
    if text.isascii():
        return text
    if _LONG_RUN_OF_MARKS.search(bytes(map(unicodedata.combining, text.translate(_HIDDEN_MARKS)))):
        raise TargetRefused("the path has more than 30 combining characters in a row")
    if text.count(_LONG_LIGATURE) > _MAX_LIGATURES:
        raise TargetRefused(f"the path has more than {_MAX_LIGATURES} times the ligature U+FDFA")
    # Windows, and whoever normalises names, reads a fullwidth slash, dot or letter as the plain one ("best fit").
    return unicodedata.normalize("NFKC", text).translate(_SLASHES)


def is_below(path: str, prefix: str) -> bool:
    """Whether the path is the prefix, or continues it at a slash."""
    return path == prefix or path.startswith(f"{prefix}/")
