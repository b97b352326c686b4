"""Where to go after signing in: a path on this very origin, or the dashboard."""

from __future__ import annotations

import re
from urllib.parse import unquote

from django.conf import settings

DEFAULT = "/dashboard"
MAX_LENGTH = 2000  # it travels in the address, by way of the provider
# What a browser leaves as it is in the address of a page, and the gate lets through. In a query that is any visible
# ASCII but "#": a backslash there is no slash to anybody (URL Standard, query state).
_PATH_AND_QUERY = re.compile(
    r"/[A-Za-z0-9\-._~!$&'()*+,;=:@/%\[\]{}|^`]*(?:\?[!\"$-~]*)?(?:#[A-Za-z0-9\-._~!$&'()*+,;=:@/?%]*)?"
)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffd\\\\]")
_NO_PATH = re.compile(r"/\s*/")  # whoever drops the space sees "//host"
_DOT_SEGMENT = re.compile(r"/\.{1,2}(?=/|$)")


def safe_next(text: str) -> str:
    """Checked when it is stored and again when it is used."""
    if len(text) > MAX_LENGTH or not _PATH_AND_QUERY.fullmatch(text):
        return DEFAULT
    return text if _is_plain_path(re.split(r"[?#]", text, maxsplit=1)[0]) else DEFAULT


def _is_plain_path(path: str) -> bool:
    """Whoever decodes the path on the way, once or thrice, must not see another host in it."""
    for _ in range(4):
        if _NO_PATH.match(path) or _CONTROL.search(path) or _DOT_SEGMENT.search(path):
            return False
        if _is_own(path):
            return False
        path = unquote(path)
    return True


def _is_own(path: str) -> bool:
    # Back to the login page, or to the callback: that is how a sign-in goes round in circles.
    prefix = settings.AUTHGATE_AUTH_PREFIX
    return path == prefix or path.startswith(f"{prefix}/")
