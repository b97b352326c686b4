"""What providers post here unasked, logout tokens and security events: judged on the event loop, by what is in memory.

Anybody can send one. Only what the provider has signed for us, in time, takes a place among the threads, where it is
verified once more, by the rows as they are then. Until a provider's keys are known here, and for a key that is not
among them, one thread asks for all who wait. Which were sent before is remembered, so that one that somebody has read
on its way is worth nothing either.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from authgate.authn.jwk import PublicKey
from authgate.bounded import Bounded
from authgate.models.people import IdentityProvider
from authgate.oidc.signed import FindKeys
from authgate.outbound.errors import ProviderError
from authgate.policy.table import Limit
from authgate.ratelimit import client_key, take_here
from authgate.sessions.signers import ProviderSigner, Signer, all_signers
from authgate.threads import Shared, TooBusy, logout_threads

PROVIDERS_SECONDS = 1.0
MOST_REMEMBERED = 256
MOST_USED = 10_000  # tokens; of older ones the database knows

T = TypeVar("T")
Verify = Callable[[Collection[str], FindKeys], T]  # of the algorithms and the keys

_asked = Shared(logout_threads, most_waiting=64)
_signers: dict[str, Signer] = {}
_signers_until = float("-inf")


class Guard:
    """Of one kind of token."""

    def __init__(self, strangers: Limit) -> None:
        """`strangers`: the signatures checked for clients that have never sent a good one, all of them together. How
        many tokens one client may send is limited in the front door.
        """
        self._strangers = strangers
        self._good_clients: Bounded[str, None] = Bounded(MOST_REMEMBERED)
        self.used: Bounded[str, None] = Bounded(MOST_USED)

    def admit(self, address: str) -> None:
        """Raises TooBusy."""
        if client_key(address) not in self._good_clients and take_here(self._strangers, ""):
            raise TooBusy

    def remember_good(self, address: str) -> None:
        self._good_clients.put(client_key(address), None)


class _KeyMissing(Exception):
    def __init__(self, is_meant: Callable[[PublicKey], bool]) -> None:
        self.is_meant = is_meant


async def known_signer(slug: str) -> Signer | None:
    """As it was a second ago at most: made-up names make nobody look into the database more often."""
    if time.monotonic() >= _signers_until:
        await _asked.run("", _load_signers)
    return _signers.get(slug)


async def known_provider(slug: str) -> IdentityProvider | None:
    signer = await known_signer(slug)
    return signer.provider if isinstance(signer, ProviderSigner) else None


def _load_signers() -> None:
    global _signers, _signers_until
    _signers = {signer.slug: signer for signer in all_signers()}
    _signers_until = time.monotonic() + PROVIDERS_SECONDS


async def verify_by(signer: Signer, verify: Verify[T]) -> T:
    """What `verify` makes of it, with the signer's keys. Raises ProviderError, TooBusy, and what `verify` raises."""
    try:
        return _verify_with(signer, verify, _or_missing)
    except _KeyMissing as missing:
        await _asked.run(signer.slug, signer.keys, missing.is_meant)
        return _verify_with(signer, verify, _as_they_are)


def _verify_with(signer: Signer, verify: Verify[T], find: Callable[[Sequence[PublicKey]], FindKeys]) -> T:
    """Raises _KeyMissing when the signer may be asked. Asks nobody."""
    known = signer.known()
    if known is None:
        raise _KeyMissing(lambda _: True)
    try:
        return verify(known.algorithms, find(known.keys))
    except _KeyMissing:
        if not signer.may_ask():
            raise ProviderError("provider_unavailable", "its key is unknown, and was asked for a moment ago") from None
        raise


def _or_missing(keys: Sequence[PublicKey]) -> FindKeys:
    def find(is_meant: Callable[[PublicKey], bool]) -> Sequence[PublicKey]:
        if not any(map(is_meant, keys)):
            raise _KeyMissing(is_meant)
        return keys

    return find


def _as_they_are(keys: Sequence[PublicKey]) -> FindKeys:
    return lambda _: keys
