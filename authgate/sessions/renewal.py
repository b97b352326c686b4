"""A session cookie near or past its end becomes a new one, while its session lives. What the front door calls.

The database is asked in threads, and only after our signature has proven that we gave out this cookie.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any, NamedTuple

from django.db import Error as DatabaseProblem
from django.utils import timezone

from authgate.authn.credentials import beside_the_services, find_credential, verify_session
from authgate.authn.trust import TrustSnapshot
from authgate.bounded import Bounded
from authgate.decision import Decision
from authgate.models.people import Session
from authgate.oidc.claims import is_still_allowed
from authgate.reason import Reason
from authgate.request import InvalidCredential
from authgate.sessions.cookie import mint_cookie, set_cookie
from authgate.sessions.purge import purge_sometimes
from authgate.sessions.refresh import is_due, refresh
from authgate.state import snapshot as policy_snapshot
from authgate.threads import Threads, TooBusy
from authgate.wire.headers import Headers

logger = logging.getLogger(__name__)

RENEW_BEFORE = 60  # seconds before the cookie's end, or half its life when that is less
_EXPIRED_WAIT, _ALIVE_WAIT = 12.0, 2.0
_REFRESH_WAIT = 5.0
_HUNG_SECONDS = 60.0
# For tabs that still send the old cookie, and for whoever sends that of an ended session again and again.
_TOKEN_EXPIRED, _PUBLIC = Reason.TOKEN_EXPIRED, Reason.PUBLIC  # the look-up in the class costs more than a comparison
_REMEMBERED_SECONDS, _REMEMBERED = 10.0, 4096
_MAX_FLIGHTS = 1024
_TROUBLE_SECONDS = 2.0

_rows = Threads("sessions", 4)
_turns = asyncio.Semaphore(32)  # within the places of those threads
# A provider that hangs keeps these busy, and renewal goes on without it.
_providers = Threads("refresh", 8)
# By session and host: each host has a cookie of its own.
_flights: dict[tuple[str, str], _Flight] = {}
_recent: Bounded[tuple[str, str], tuple[float, Renewed | None]] = Bounded(_REMEMBERED)
_troubled_until = 0.0
_hung_until: dict[int, float] = {}  # by provider


class Renewed(NamedTuple):
    token: bytes
    set_cookie: bytes


class Due(NamedTuple):
    """A cookie of ours that wants to be renewed."""

    sid: str
    host: str
    token: bytes
    expired: bool

    @property
    def key(self) -> tuple[str, str]:
        return self.sid, self.host


class NotRenewed(Exception):
    """Whether the session lives is not known yet; what is left of the cookie counts."""


class BeingRefreshed(NotRenewed):
    """A refresh is in progress. A request with a valid cookie goes on, and a later one gets the result."""


class RenewalFailed(NotRenewed):
    """The database or time."""


class _Flight(NamedTuple):
    """One renewal, whoever waits for it."""

    task: asyncio.Task[Renewed | None]
    asks: asyncio.Future[None]  # done as soon as it waits for the provider


def may_be_due(decision: Decision, headers: Headers) -> bool:
    """The cheap question, for every request that could; `find_due` knows."""
    identity = decision.identity
    if identity is not None:
        return identity.by_cookie and identity.expires_at - time.time() < RENEW_BEFORE
    if decision.reason is not _TOKEN_EXPIRED and decision.reason is not _PUBLIC:
        return False
    found = headers.credential
    if found is None or found[1] is None:
        return False
    return found[1].by_cookie or passes_authorization(decision)


def passes_authorization(decision: Decision | None) -> bool:
    """Whether a session may count beside a bearer token, which is the service's."""
    return decision is not None and decision.entry is not None and decision.entry.route.pass_authorization


def find_due(headers: Headers, host: str, trust: TrustSnapshot, decision: Decision | None = None) -> Due | None:
    with suppress(InvalidCredential):
        found = find_credential(headers, trust.session_cookie)
        if passes_authorization(decision):
            found = beside_the_services(found, headers, trust)
        now = time.time()
        claims = verify_session(found, trust, now, host)
        if found is None or claims is None:
            return None
        left = claims.expires_at - now
        if left < min(RENEW_BEFORE, (claims.expires_at - claims.all["iat"]) / 2):
            return Due(claims.session_id, host, found.unverified_token, left <= 0)
    return None


async def renew(due: Due, address: str) -> Renewed | None:
    """None: the session is over. Raises NotRenewed. Requests of one session and host share one renewal."""
    remembered = _recent.get(due.key)
    if remembered is not None and remembered[0] > time.monotonic():
        return remembered[1]
    if not due.expired and time.monotonic() < _troubled_until:
        raise RenewalFailed("it failed a moment ago")
    flight = _flights.get(due.key) or _take_off(due, address)
    until: tuple[asyncio.Future[Any], ...] = (flight.task,) if due.expired else flight
    # A client that leaves does not take the renewal of the others with it: who waits here cancels nothing.
    done, _ = await asyncio.wait(
        until, timeout=_EXPIRED_WAIT if due.expired else _ALIVE_WAIT, return_when=asyncio.FIRST_COMPLETED
    )
    if flight.task in done:
        return flight.task.result()
    if done:
        raise BeingRefreshed
    _have_trouble()
    raise RenewalFailed("it took too long")


def with_cookie(headers: Headers, old: bytes, new: bytes) -> Headers:
    return Headers((name, value.replace(old, new) if name == b"cookie" else value) for name, value in headers)


def _take_off(due: Due, address: str) -> _Flight:
    if len(_flights) >= _MAX_FLIGHTS:
        raise RenewalFailed("too many at once")
    loop = asyncio.get_running_loop()
    asks: asyncio.Future[None] = loop.create_future()
    flight = _flights[due.key] = _Flight(loop.create_task(_renew(due, address, asks)), asks)

    def landed(task: asyncio.Task[Renewed | None]) -> None:
        _flights.pop(due.key, None)
        if not task.cancelled() and task.exception() is not None:
            _have_trouble()

    flight.task.add_done_callback(landed)
    return flight


def _have_trouble() -> None:
    """For a moment, who is still let in is not made to wait for a database that does not answer."""
    global _troubled_until
    _troubled_until = time.monotonic() + _TROUBLE_SECONDS


async def _renew(due: Due, address: str, asks: asyncio.Future[None]) -> Renewed | None:
    try:
        async with _turns:
            session = await _rows.run(seen, due.sid, address)
        if session is not None and is_due(session, timezone.now()):
            asks.set_result(None)
            session = await _refreshed(session)
        renewed = None
        if session is not None:
            async with _turns:
                renewed = await _rows.run(_mint, session, due.host)
    except DatabaseProblem as error:
        raise RenewalFailed(f"database: {error}") from error
    except Exception as error:
        logger.exception("a renewal failed")
        raise RenewalFailed(type(error).__name__) from error
    _remember(due, renewed)
    return renewed


async def _refreshed(session: Session) -> Session | None:
    """The session as it is, when the provider takes long: the answer is for the next renewal."""
    provider = session.person.provider_id
    asking = asyncio.ensure_future(_providers.run(refresh, session))
    asking.add_done_callback(_log_failure)
    patience = 0.0 if time.monotonic() < _hung_until.get(provider, 0.0) else _REFRESH_WAIT
    done, _ = await asyncio.wait((asking,), timeout=patience)
    if not done and patience:
        # Whoever comes next does not wait for it as well.
        _hung_until[provider] = time.monotonic() + _HUNG_SECONDS
    return asking.result() if done and asking.exception() is None else session


def _log_failure(asking: asyncio.Future[Session | None]) -> None:
    error = None if asking.cancelled() else asking.exception()
    if error is not None:
        logger.warning("a session was not refreshed: %s", error, exc_info=None if _is_outage(error) else error)


def _is_outage(error: BaseException) -> bool:
    return isinstance(error, DatabaseProblem | TooBusy)


def _remember(due: Due, renewed: Renewed | None) -> None:
    _recent.put(due.key, (time.monotonic() + _REMEMBERED_SECONDS, renewed))


def seen(sid: str, address: str) -> Session | None:
    """The session, if it lives; and it was used now."""
    purge_sometimes()
    now = timezone.now()
    session = Session.objects.select_related("person__provider").filter(sid=sid).first()
    if session is None or not is_live(session):
        return None
    # It may have ended since it was read.
    live = Session.objects.filter(sid=sid, ended_at=None).update(last_seen_at=now, address=address[:64])
    return session if live else None


def is_live(session: Session) -> bool:
    now, person = timezone.now(), session.person
    idle = (now - session.last_seen_at).total_seconds()
    in_time = session.ends_at > now and idle < person.provider.session_idle
    return session.ended_at is None and in_time and person.is_active and person.provider.enabled


def may_go_on(session: Session) -> bool:
    """By what the provider said last, and by the rules of today."""
    return is_live(session) and is_still_allowed(session.person.provider, session.claims)


def _mint(session: Session, host: str) -> Renewed | None:
    if not may_go_on(session):
        return None
    snapshot = policy_snapshot.current()
    if snapshot is None:
        raise RenewalFailed("no policy is loaded")
    token = mint_cookie(session, snapshot, host)
    left = int(session.ends_at.timestamp() - time.time())
    return Renewed(token.encode("ascii"), set_cookie(token, left).encode("ascii"))
