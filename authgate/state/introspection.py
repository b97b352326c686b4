"""Asking issuers about their tokens: once for all who wait for the same one, and never more at a time than a bound.

What is kept here belongs to one event loop and to one way of asking: a change of the issuer's entry starts anew.
Answers about active tokens are kept with the other identities, by whoever asks.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Mapping
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from authgate.authn.foreign import KeysWanted
from authgate.authn.introspection import JSON, SIGNED, AnswerRefused, client_credentials, read_answer
from authgate.authn.issuers import Introspection, Issuer, KeySource
from authgate.authn.trust import TrustSnapshot
from authgate.bounded import Bounded
from authgate.outbound.client import NoAnswer, send
from authgate.outbound.errors import ProviderError
from authgate.outbound.fetch import SECONDS, Answer, read_object
from authgate.state.breaker import PAUSE_SECONDS, Breaker, BreakerOpen
from authgate.state.issuer_keys import endpoint_of, newer_keys, well_known_urls
from authgate.state.turns import Turns

logger = logging.getLogger(__name__)

AT_ONCE = 48  # of tokens that nobody knows
AT_ONCE_KNOWN = 16  # and of those that were active before: made-up ones do not take their places
MOST_WAITING = 2048
# Of the ten that a request waits at most, those for its turn: so much is left that no answer then is a failure.
TURN_SECONDS = 7.5
INACTIVE_SECONDS = 3.0
_MOST_REMEMBERED = 10_000
_MOST_ASKERS = 256
_DISCOVERY_SECONDS = 600.0
_LOG_SECONDS = 10.0
# They say nothing of the token: something in front of the endpoint has no endpoint to ask, or no more time for us.
_OVERLOADED = frozenset((429, 502, 503, 504))


class IssuerUnavailable(Exception):
    """The issuer gave no answer about the token."""


class Told(NamedTuple):
    """What the issuer said of a token, and when it was asked."""

    claims: Mapping[str, Any] | None  # None: it is not active
    asked_at: float


class _Endpoint(NamedTuple):
    url: str
    signs: bool  # RFC 9701


class Asker:
    def __init__(self, slug: str, asked: Introspection) -> None:
        self._slug = slug
        self._asked = asked
        self._endpoint = _Endpoint(asked.endpoint, False) if asked.endpoint else None
        self._discovered_at = float("-inf")
        self._discovering: asyncio.Task[None] | None = None
        self._breaker = Breaker()
        self._unknown, self._known = Turns(AT_ONCE, TURN_SECONDS), Turns(AT_ONCE_KNOWN, TURN_SECONDS)
        self._flights: dict[bytes, asyncio.Task[Told]] = {}
        self._in_the_air = 0
        self._inactive: Bounded[bytes, float] = Bounded(_MOST_REMEMBERED)  # until when
        self._were_active: Bounded[bytes, None] = Bounded(_MOST_REMEMBERED)
        self._problem = ""
        self._told_at = float("-inf")

    async def ask(self, token: bytes, issuer: Issuer, trust: TrustSnapshot) -> Told:
        """Raises IssuerUnavailable. Whoever leaves ends only the own wait."""
        digest = hashlib.sha256(token).digest()
        if not self._asked.seconds:
            # Nobody takes an answer that was asked for before: it may be older than a revocation.
            return await asyncio.shield(self._take_off(token, digest, issuer, trust))
        until = self._inactive.get(digest)
        if until is not None and time.monotonic() < until:
            return Told(None, time.time())
        flight = self._flights.get(digest)
        if flight is None:
            flight = self._flights[digest] = self._take_off(token, digest, issuer, trust)
            flight.add_done_callback(lambda _: self._flights.pop(digest, None))
        return await asyncio.shield(flight)

    def _take_off(self, token: bytes, digest: bytes, issuer: Issuer, trust: TrustSnapshot) -> asyncio.Task[Told]:
        self._check_breaker()
        if self._in_the_air >= MOST_WAITING:
            raise IssuerUnavailable
        self._in_the_air += 1
        flight = asyncio.get_running_loop().create_task(self._fly(token, digest, issuer, trust))
        flight.add_done_callback(self._landed)
        return flight

    def _landed(self, flight: asyncio.Task[Told]) -> None:
        self._in_the_air -= 1
        # Retrieves the exception: maybe nobody is left to do so.
        if not flight.cancelled():
            flight.exception()

    async def _fly(self, token: bytes, digest: bytes, issuer: Issuer, trust: TrustSnapshot) -> Told:
        turns = self._known if digest in self._were_active else self._unknown
        ends_at = time.monotonic() + SECONDS
        try:
            await turns.take()
        except TimeoutError:
            raise IssuerUnavailable from None
        began = time.monotonic()
        try:
            asked_at = time.time()
            claims = await self._answer(token, issuer, trust, ends_at)
        except BreakerOpen:
            raise IssuerUnavailable from None
        except ProviderError as error:
            self._tell(error.detail)
            raise IssuerUnavailable from None
        finally:
            turns.give_back(time.monotonic() - began)
        self._tell("")
        if claims is not None:
            self._were_active.put(digest, None)
        elif self._asked.seconds:
            self._inactive.put(digest, time.monotonic() + min(INACTIVE_SECONDS, self._asked.seconds))
        return Told(claims, asked_at)

    def _check_breaker(self) -> None:
        try:
            self._breaker.check()
        except BreakerOpen:
            raise IssuerUnavailable from None

    async def _answer(
        self, token: bytes, issuer: Issuer, trust: TrustSnapshot, ends_at: float
    ) -> Mapping[str, Any] | None:
        """Raises ProviderError or BreakerOpen."""
        if self._asked.client_secret is None:
            raise ProviderError("provider_unavailable", "the client secret cannot be opened: enter it again")
        with self._breaker.call(NoAnswer):
            answer = await self._post(token, issuer, trust, ends_at)
            if answer.status in _OVERLOADED:
                raise NoAnswer("provider_unavailable", f"the introspection endpoint answered with {answer.status}")
        if answer.status != 200:
            raise ProviderError("provider_unavailable", f"the introspection endpoint answered with {answer.status}")
        try:
            return await _read(answer, issuer)
        except AnswerRefused as refused:
            raise ProviderError("provider_unavailable", f"the introspection endpoint's answer {refused}") from None

    async def _post(self, token: bytes, issuer: Issuer, trust: TrustSnapshot, ends_at: float) -> Answer:
        endpoint = await self._find_endpoint(issuer)
        authorization, form = client_credentials(self._asked, issuer.issuer, trust, time.time())
        headers = {"Accept": f"{SIGNED}, {JSON}" if endpoint.signs else JSON}
        if authorization:
            headers["Authorization"] = authorization
        form = {"token": token.decode("ascii"), "token_type_hint": "access_token", **form}
        return await send(
            endpoint.url, "introspection endpoint", ca_certificates=issuer.source.ca_certificates, headers=headers,
            form=form, seconds=ends_at - time.monotonic(),
        )  # fmt: skip

    # -- where the endpoint is ----------------------------------------------------------------------------------

    async def _find_endpoint(self, issuer: Issuer) -> _Endpoint:
        """Nobody waits for an issuer that is asked again where its endpoint is. Raises ProviderError."""
        is_due = not self._asked.endpoint and time.monotonic() >= self._discovered_at + _DISCOVERY_SECONDS
        if is_due and self._discovering is None:
            self._discovering = asyncio.get_running_loop().create_task(self._discover(issuer))
            self._discovering.add_done_callback(self._discovered)
        if self._endpoint is None and self._discovering is not None:
            await asyncio.shield(self._discovering)
        if self._endpoint is None:
            raise ProviderError("provider_unavailable", "the introspection endpoint is not known")
        return self._endpoint

    def _discovered(self, task: asyncio.Task[None]) -> None:
        self._discovering = None
        if not task.cancelled() and isinstance(error := task.exception(), ProviderError):
            self._discovered_at = time.monotonic() - _DISCOVERY_SECONDS + PAUSE_SECONDS
            self._tell(error.detail)

    async def _discover(self, issuer: Issuer) -> None:
        document = await _discovery_document(issuer)
        url = endpoint_of(document, issuer.issuer, "introspection_endpoint")
        offered = document.get("introspection_signing_alg_values_supported")
        signs = isinstance(offered, list) and any(
            name in issuer.algorithms for name in offered if isinstance(name, str)
        )
        self._endpoint = _Endpoint(url, signs)
        self._discovered_at = time.monotonic()

    def _tell(self, problem: str) -> None:
        """Once for each cause, and once when it is over; not more often, whatever strangers send."""
        now = time.monotonic()
        if problem == self._problem or now < self._told_at + _LOG_SECONDS:
            return
        self._problem, self._told_at = problem, now
        if problem:
            logger.error("issuer %s: %s; tokens that it has to be asked about are refused", self._slug, problem)
        else:
            logger.info("issuer %s: it answers about tokens again", self._slug)


async def _discovery_document(issuer: Issuer) -> Mapping[str, Any]:
    status = 0
    for url in well_known_urls(issuer.issuer):
        answer = await send(
            url, "discovery document", ca_certificates=issuer.source.ca_certificates, headers={"Accept": JSON}
        )
        if answer.status == 200:
            return read_object(answer.body, "discovery document")
        status = answer.status
    raise ProviderError("provider_unavailable", f"the discovery document answered with status {status}")


async def _read(answer: Answer, issuer: Issuer) -> Mapping[str, Any] | None:
    """Raises AnswerRefused."""
    content_type = answer.headers.get("Content-Type", "")
    try:
        return read_answer(content_type, answer.body, issuer, time.time())
    except KeysWanted:
        await newer_keys(issuer)
    try:
        return read_answer(content_type, answer.body, issuer, time.time())
    except KeysWanted:
        raise AnswerRefused("is signed with a key that the issuer does not publish") from None


_Way = tuple[str, Introspection, KeySource]
_askers: WeakKeyDictionary[asyncio.AbstractEventLoop, Bounded[_Way, Asker]] = WeakKeyDictionary()


def asker_of(issuer: Issuer) -> Asker:
    """The same for all who ask in the same way, on this event loop. Raises IssuerUnavailable: it is never asked."""
    if issuer.introspection is None:
        raise IssuerUnavailable
    askers = _askers.setdefault(asyncio.get_running_loop(), Bounded(_MOST_ASKERS))
    way = (issuer.issuer, issuer.introspection, issuer.source)
    asker = askers.get(way)
    if asker is None:
        asker = Asker(issuer.slug, issuer.introspection)
        askers.put(way, asker)
    return asker
