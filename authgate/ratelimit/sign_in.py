"""Rate limits of the pages for signing in and out.

They are counted on the event loop, in the memory of this machine, before anything else: a refusal takes no thread, no
connection and no lock that a sign-in needs. Redis is never used, since an operator must get in while it is down.
"""

from __future__ import annotations

from typing import NamedTuple

from django.conf import settings

from authgate.own_hosts import public_host
from authgate.own_pages import own_pages
from authgate.policy.table import Limit
from authgate.ratelimit import client_key, take_here
from authgate.request import RequestFacts
from authgate.wire.headers import RawHeaders
from authgate.wire.target import is_below

ADMIN_SIGN_IN = "/admin/login"
_auth = settings.AUTHGATE_AUTH_PREFIX
_LOGIN = f"{_auth}/login"
_public_host = public_host()
_rate: int = settings.AUTHGATE_SIGN_IN_RATE


class _Page(NamedTuple):
    method: str
    path: str  # with everything below it
    limit: Limit  # counted under its name, apart from all others: no name in a policy has a slash
    elsewhere: Limit  # on all hosts but the public one: a sign-in there asks for a page on each of the two


def _page(method: str, path: str, *, interval: float, burst: int) -> _Page:
    limits = [Limit(name, interval, burst, "client") for name in (path, f"{path} elsewhere")]
    return _Page(method, path, *limits)


_PAGES = (
    *(
        _page(page.limited_method, page.path, interval=1 / _rate, burst=2 * _rate)
        for page in own_pages(_auth)
        if page.limited_method
    ),
    # A provider sends the logouts of all its people from one address, and events about them.
    _page("POST", f"{_auth}/backchannel-logout", interval=1 / 250, burst=500),
    _page("POST", f"{_auth}/events", interval=1 / 250, burst=500),
    # Against one password tried on many accounts. Tries at one account are counted where its name is read.
    _page("POST", ADMIN_SIGN_IN, interval=3.0, burst=20),
)  # fmt: skip


def seconds_to_wait(facts: RequestFacts) -> float:
    """0.0 if the request may go on: it was counted, or it is for none of these pages."""
    for page in _PAGES:
        if facts.method == page.method and is_below(facts.path, page.path):
            limit = page.limit if facts.authority.host == _public_host else page.elsewhere
            return 0.0 if _is_bystander(page, facts.headers) else take_here(limit, client_key(facts.client))
    return 0.0


def _is_bystander(page: _Page, headers: RawHeaders) -> bool:
    """Whether a page only loads this URL as an image or a script. That redirects to the sign-in page too, but begins no
    sign-in, so it must not use up the limit of its page.
    """
    return page.path == _LOGIN and any(name == b"sec-fetch-dest" and value != b"document" for name, value in headers)
