"""The provider's public keys, kept for a while."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from authgate.authn import jwk
from authgate.authn.jwk import KeysUnreadable, PublicKey
from authgate.outbound.cache import Fetched
from authgate.outbound.errors import ProviderError
from authgate.outbound.fetch import get_object

TTL = 3600.0
REFETCH_SECONDS = 60.0

_key_sets: Fetched[Sequence[PublicKey]] = Fetched(TTL)


def load_keys(jwks_uri: str, ca_certificates: str, is_meant: Callable[[PublicKey], bool]) -> Sequence[PublicKey]:
    """Cached; when none is meant they are fetched again, once a minute however many ask. Raises ProviderError."""
    return _key_sets.again(
        (jwks_uri, ca_certificates),
        lambda: fetch_keys(jwks_uri, ca_certificates),
        lambda keys: any(map(is_meant, keys)),
        REFETCH_SECONDS,
    )


def cached_keys(jwks_uri: str, ca_certificates: str) -> Sequence[PublicKey] | None:
    """None: they would have to be fetched."""
    return _key_sets.kept((jwks_uri, ca_certificates))


def may_ask_again(jwks_uri: str, ca_certificates: str) -> bool:
    """Whether the provider would be asked for a key that is not among them."""
    return _key_sets.may_ask((jwks_uri, ca_certificates), REFETCH_SECONDS)


def fetch_keys(jwks_uri: str, ca_certificates: str) -> Sequence[PublicKey]:
    """Raises ProviderError."""
    return read_keys(get_object(jwks_uri, "JWKS", ca_certificates=ca_certificates))


def read_keys(document: Mapping[str, Any]) -> Sequence[PublicKey]:
    """Raises ProviderError."""
    try:
        return jwk.read_keys(document)
    except KeysUnreadable as error:
        raise ProviderError("provider_unavailable", str(error)) from None
