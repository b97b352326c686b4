"""How often one client may ask for the pages of signing in and out.

Counted on the event loop, in the memory of this machine, before anything else is done: a refusal takes no thread, no
connection and no lock that a sign-in needs. Never in Redis: while that is away an operator must still get in.
"""

from __future__ import annotations

from typing import NamedTuple

from django.conf import settings

from authgate.policy.places import is_below
from authgate.policy.table import Limit
from authgate.ratelimit import client_key, take_here
from authgate.request import RequestFacts
from authgate.wire.headers import RawHeaders

ADMIN_SIGN_IN = "/admin/login"
_auth = settings.AUTHGATE_AUTH_PREFIX
_LOGIN = f"{_auth}/login"
_rate: int = settings.AUTHGATE_SIGN_IN_RATE


class _Page(NamedTuple):
    method: str
    path: str  # and all below it
    limit: Limit  # by its name, it counts apart from all others: no name in a policy has a slash


def _page(method: str, path: str, *, interval: float, burst: int) -> _Page:
    return _Page(method, path, Limit(path, interval, burst, "client"))


_PAGES = (
    *(
        _page(method, f"{_auth}/{name}", interval=1 / _rate, burst=2 * _rate)
        for method, name in (
            ("GET", "login"), ("GET", "callback"), ("POST", "logout"), ("GET", "frontchannel-logout"),
            ("POST", "sessions/end"),
        )
    ),
    # A provider has one address for the logouts of all its people.
    _page("POST", f"{_auth}/backchannel-logout", interval=1 / 250, burst=500),
    # One password tried on many accounts. How often one account is tried is counted where its name is read.
    _page("POST", ADMIN_SIGN_IN, interval=3.0, burst=20),
)  # fmt: skip


def seconds_to_wait(facts: RequestFacts) -> float:
    """0.0: this client may go on, and this request is counted; or it is for none of these pages."""
    for page in _PAGES:
        if facts.method == page.method and is_below(facts.path, page.path):
            return 0.0 if _is_bystander(page, facts.headers) else take_here(page.limit, client_key(facts.client))
    return 0.0


def _is_bystander(page: _Page, headers: RawHeaders) -> bool:
    """A picture or a script that needs a session leads to the sign-in page too. None begins there for it, so it must
    not use up what its page may ask for.
    """
    return page.path == _LOGIN and any(name == b"sec-fetch-dest" and value != b"document" for name, value in headers)
