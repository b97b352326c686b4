"""Who may try a password at the admin's form, and how often. Decided on the event loop, before a thread has it.

Each try costs a processor a third of a second, so strangers share a slow rate: no number of addresses buys more. A
browser in which a password was right before carries a signed cookie, and is not crowded out by them.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from itertools import islice
from math import ceil
from typing import TypeVar

from django.conf import settings
from django.core.signing import BadSignature, TimestampSigner
from django.http import HttpResponse

from authgate.decision import Denied
from authgate.policy.table import Limit
from authgate.ratelimit import client_key, take_here
from authgate.ratelimit.sign_in import ADMIN_SIGN_IN
from authgate.reason import Reason
from authgate.request import RequestFacts
from authgate.threads import Turns
from authgate.wire.address import parse_address
from authgate.wire.cookies import cookie_line, cookie_pairs
from authgate.wire.headers import RawHeaders
from authgate.wire.target import is_below

T = TypeVar("T")

STRANGERS = Limit("/admin/login strangers", 2.0, 10, "client")
KNOWN_DEVICE = Limit("/admin/login device", 6.0, 10, "client")
# One check at a time, and so many that wait. A device that is known waits for devices that are known alone.
_turns_of_strangers, _turns_of_known = Turns(1, waiting=3, share=2), Turns(1, waiting=8, share=4)

COOKIE = "__Secure-authgate_device" if settings.SECURE else "authgate_device"
_COOKIE_SECONDS = 180 * 24 * 3600
_MOST_COOKIES = 20  # of this name; each costs a signature
_signer = TimestampSigner(salt="authgate.device")


def is_attempt(facts: RequestFacts) -> bool:
    return facts.method == "POST" and is_below(facts.path, ADMIN_SIGN_IN)


def is_open_to(address: str) -> bool:
    networks = settings.AUTHGATE_ADMIN_LOCAL_SIGN_IN
    if networks is None:
        return True
    client = parse_address(address)  # the peer of a unix socket has none
    return client is not None and any(client in network for network in networks)


def find_objection(facts: RequestFacts) -> Denied | None:
    """None: this attempt may go on, and is counted."""
    if not is_open_to(facts.client):
        return Denied(Reason.LOCAL_SIGN_IN_CLOSED)
    device = _device(facts.headers)
    seconds = take_here(KNOWN_DEVICE, device) if device else take_here(STRANGERS, "")
    return Denied(Reason.RATE_LIMITED, retry_after=ceil(seconds)) if seconds else None


async def in_turn(facts: RequestFacts, page: Callable[[], Awaitable[T]]) -> T:
    """Raises TooBusy."""
    turns = _turns_of_known if is_known(facts.headers) else _turns_of_strangers
    return await turns.run(client_key(facts.client), page)


def remember_device(response: HttpResponse) -> None:
    """After a password that was right. The cookie opens nothing, and its path keeps it from every service."""
    response.set_cookie(
        COOKIE,
        _signer.sign(secrets.token_urlsafe(16)),
        max_age=_COOKIE_SECONDS,
        path="/admin/",
        secure=settings.SECURE,
        httponly=True,
        samesite="Strict",
    )


def is_known(headers: RawHeaders) -> bool:
    """Whether a password was right in this browser before."""
    return bool(_device(headers))


def _device(headers: RawHeaders) -> str:
    """Empty: no password was ever right there.

    Not by the first cookie alone: whoever may set cookies for this host can put others of the same name before it.
    """
    prefix = f"{COOKIE}=".encode("ascii")
    pairs = (pair for pair in cookie_pairs(cookie_line(headers)) if pair.startswith(prefix))
    values = (pair.removeprefix(prefix).decode("ascii", "replace") for pair in pairs)
    return next(filter(None, map(_verified, islice(values, _MOST_COOKIES))), "")


def _verified(unverified_device: str) -> str:
    try:
        return _signer.unsign(unverified_device, max_age=_COOKIE_SECONDS)
    except BadSignature:
        return ""
