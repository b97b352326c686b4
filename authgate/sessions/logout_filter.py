"""Which logout tokens are worth a thread: decided on the event loop, by what is in memory.

Anybody can send one. Only what the provider has signed for us, in time, takes a place among the threads, where it is
verified once more, by the rows as they are then. Until a provider's keys are known here, and for a key that is not
among them, one thread asks for all who wait. Which were sent before is remembered, so that one that somebody has read
on its way is worth nothing either.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from authgate.authn.jwk import PublicKey
from authgate.bounded import Bounded
from authgate.models.people import IdentityProvider
from authgate.oidc.id_token import FindKeys
from authgate.oidc.jwks import cached_keys, may_ask_again
from authgate.oidc.logout_token import REFUSED, LogoutToken, already_used, read_form, refusal, verify
from authgate.oidc.metadata import cached_metadata
from authgate.oidc.provider import ProviderClient
from authgate.outbound.errors import ProviderError
from authgate.policy.table import Limit
from authgate.ratelimit import client_key, take_here
from authgate.sessions.logout import backchannel, used_key
from authgate.threads import Shared, TooBusy, logout_lanes, logout_threads

PROVIDERS_SECONDS = 1.0
# Signatures checked for clients that have never sent a good one, all of them together. How many tokens one client may
# send is limited in the front door.
STRANGERS = Limit("/logout tokens of strangers", 1 / 500, 1000, "client")
MOST_REMEMBERED = 256
MOST_USED = 10_000  # tokens; of older ones the database knows

_asked = Shared(logout_threads, most_waiting=64)
_providers: dict[str, IdentityProvider] = {}
_providers_until = float("-inf")
_good_clients: Bounded[str, None] = Bounded(MOST_REMEMBERED)
_used: Bounded[str, None] = Bounded(MOST_USED)  # or on their way


class _KeyMissing(Exception):
    def __init__(self, is_meant: Callable[[PublicKey], bool]) -> None:
        self.is_meant = is_meant


async def log_out(slug: str, body: bytes, address: str) -> None:
    """Raises ProviderError, or TooBusy."""
    key = used_key(slug, (await _check(slug, body, address)).jti)
    if key in _used:
        raise already_used()
    _used.put(key, None)
    _good_clients.put(client_key(address), None)
    try:
        await logout_lanes.run(slug, backchannel, slug, body)
    except BaseException as error:
        if not (isinstance(error, ProviderError) and error.code == REFUSED):
            _used.pop(key, None)  # nothing was said about the token: it may come again
        raise


async def _check(slug: str, body: bytes, address: str) -> LogoutToken:
    raw = read_form(body)
    provider = await known_provider(slug)
    if provider is None:
        raise refusal("there is no such OpenID provider, or it is disabled")
    if client_key(address) not in _good_clients and take_here(STRANGERS, ""):
        raise TooBusy
    return await _verify(raw, provider)


async def known_provider(slug: str) -> IdentityProvider | None:
    """As it was a second ago at most: made-up names make nobody look into the database more often."""
    if time.monotonic() >= _providers_until:
        await _asked.run("", _load_providers)
    return _providers.get(slug)


def _load_providers() -> None:
    global _providers, _providers_until
    rows = IdentityProvider.objects.filter(kind=IdentityProvider.Kind.OIDC, enabled=True)
    _providers = {provider.slug: provider for provider in rows}
    _providers_until = time.monotonic() + PROVIDERS_SECONDS


async def _verify(raw: str, provider: IdentityProvider) -> LogoutToken:
    try:
        return _verify_with(raw, provider, _or_missing)
    except _KeyMissing as missing:
        await _asked.run(provider.slug, ProviderClient(provider).keys, missing.is_meant)
        return _verify_with(raw, provider, _as_they_are)


def _verify_with(raw: str, provider: IdentityProvider, find: Callable[[Sequence[PublicKey]], FindKeys]) -> LogoutToken:
    """Raises _KeyMissing when the provider may be asked. Asks nobody."""
    metadata = cached_metadata(provider)
    keys = None if metadata is None else cached_keys(metadata.jwks_uri, provider.ca_certificates)
    if metadata is None or keys is None:
        raise _KeyMissing(lambda _: True)
    try:
        return verify(raw, metadata, find(keys), provider.client_id, time.time())
    except _KeyMissing:
        if not may_ask_again(metadata.jwks_uri, provider.ca_certificates):
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
