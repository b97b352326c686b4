"""Paths that have no canonical form, for routes that take them as sent. Decides which stay below their first segments
whoever reads them, never who may have them.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from authgate.wire.target import MAX_ESCAPES, TargetRefused, character_named, decoded_and_folded

# RFC 3986 pchar and "/", with what clients leave bare.
_ILLEGAL = re.compile(rb"[^A-Za-z0-9._~!$&'()*+,;=:@|^\[\]{}/%-]|%(?![0-9A-Fa-f]{2})")
# Controls, the backslash, and a form of escape that IIS alone decodes.
_NEVER_ESCAPED = re.compile("%(?:[01][0-9A-F]|7F|5C|u[0-9A-F]{4})", re.IGNORECASE)
_ESCAPE = re.compile("%[0-9A-Fa-f]{2}")
# Nothing real is encoded more often: a name with a slash, in an address that is itself a part of an address.
_MAX_LAYERS = 4
# Shown by nobody, trimmed or dropped by some: white space and what Unicode lets a reader ignore (default ignorable).
_IGNORED = re.compile(
    "[\\s\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# Of any number of dots: some systems took three for a climb as well. Also with something behind that is cut off by
# some: parameters, a query, a space ("+" in forms), the name of a stream (NTFS).
_DOT_SEGMENT = re.compile(r"/\.++(?:[/;?#:+\s]|\Z)")
_CUT = re.compile("[;?#]")


def path_as_sent(raw: bytes) -> str:
    """The path itself, ASCII. Raises TargetRefused when some reader could climb out of a segment, or see a control
    character: dot segments, backslashes, and anything but UTF-8, however often they are encoded.
    """
    if (found := _ILLEGAL.search(raw)) is not None:
        raise TargetRefused(f"the path has {character_named(found[0])}")
    if not raw.startswith(b"/"):
        raise TargetRefused("the path does not begin with /")
    path = raw.decode("ascii")
    text = _fully_decoded(path)
    bare = "".join(letter for letter in _IGNORED.sub("", text) if not unicodedata.combining(letter))
    if _DOT_SEGMENT.search(text) or _DOT_SEGMENT.search(bare):
        raise TargetRefused("the path has a dot segment")
    return path


def may_be_below(path: str, prefix: str) -> bool:
    """Whether the checked path is at or below the prefix to whoever decodes, folds, trims and cuts all they can."""
    text = _IGNORED.sub("", _fully_decoded(path))
    segments = (_CUT.split(segment, maxsplit=1)[0].rstrip(".") for segment in text.split("/"))
    reading = "/".join(("", *filter(None, segments), "")).casefold()
    return reading.startswith(f"{prefix.casefold()}/")


def may_name_host(path: str) -> bool:
    """Whether the checked path is "//host/…" to somebody: a URL without its scheme."""
    return _IGNORED.sub("", _fully_decoded(path)).startswith("//")


@lru_cache(maxsize=64)
def _fully_decoded(path: str) -> str:
    """Whatever is a slash, a dot or a delimiter to a reader who decodes less is one here as well."""
    text = path
    for _ in range(_MAX_LAYERS):
        text = _decoded_once(text)
        if _ESCAPE.search(text) is None and _NEVER_ESCAPED.search(text) is None:
            return text
    raise TargetRefused(f"the path is encoded more than {_MAX_LAYERS} times")


def _decoded_once(text: str) -> str:
    if text.count("%") > MAX_ESCAPES:
        raise TargetRefused(f"the path has more than {MAX_ESCAPES} escapes")
    if (found := _NEVER_ESCAPED.search(text)) is not None:
        raise TargetRefused(f"the path has {character_named(found[0].encode())}")
    # Taken apart: a mark that joins the last letter of an escape ("%2f" and U+0307) would hide it from the next layer.
    return unicodedata.normalize("NFKD", decoded_and_folded(text))
