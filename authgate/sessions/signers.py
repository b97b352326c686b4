"""Whoever signs what comes to us unasked: providers of sign-in, and issuers of tokens. No two have one slug."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from django.conf import settings

from authgate.authn.jwk import PublicKey
from authgate.models.issuers import TokenIssuer
from authgate.models.people import IdentityProvider
from authgate.oidc.event_endpoint import Transmitter
from authgate.oidc.jwks import cached_keys, may_ask_again
from authgate.oidc.metadata import cached_metadata
from authgate.oidc.provider import ProviderClient
from authgate.sessions.signals import Sender
from authgate.state.issuer_keys import issuer_keys, load_keys
from authgate.state.trust import row_of


class Known(NamedTuple):
    algorithms: Collection[str]
    keys: Sequence[PublicKey]


class Signer(Protocol):
    @property
    def slug(self) -> str: ...

    @property
    def transmitter(self) -> Transmitter:
        """As the operator has described it."""

    @property
    def sender(self) -> Sender:
        """Of its events."""

    def known(self) -> Known | None:
        """What is in memory. None: it would have to be asked."""

    def may_ask(self) -> bool:
        """Whether `keys` would ask it for one that is not in memory."""

    def algorithms(self) -> Collection[str]:
        """Blocks. Raises ProviderError."""

    def keys(self, is_meant: Callable[[PublicKey], bool]) -> Sequence[PublicKey]:
        """Blocks: asks again when none is meant. Raises ProviderError."""


@dataclass(frozen=True, slots=True)
class ProviderSigner:
    provider: IdentityProvider

    @property
    def slug(self) -> str:
        return self.provider.slug

    @property
    def transmitter(self) -> Transmitter:
        return self.provider

    @property
    def sender(self) -> Sender:
        audiences = (self.provider.client_id, _address(self.slug))
        return Sender(self.slug, self.provider.issuer, frozenset(audiences))

    def known(self) -> Known | None:
        metadata = cached_metadata(self.provider)
        keys = None if metadata is None else cached_keys(metadata.jwks_uri, self.provider.ca_certificates)
        return None if metadata is None or keys is None else Known(metadata.algorithms, keys)

    def may_ask(self) -> bool:
        metadata = cached_metadata(self.provider)
        return metadata is None or may_ask_again(metadata.jwks_uri, self.provider.ca_certificates)

    def algorithms(self) -> Collection[str]:
        return ProviderClient(self.provider).metadata().algorithms

    def keys(self, is_meant: Callable[[PublicKey], bool]) -> Sequence[PublicKey]:
        return ProviderClient(self.provider).keys(is_meant)


@dataclass(frozen=True, slots=True)
class IssuerSigner:
    issuer: TokenIssuer

    @property
    def slug(self) -> str:
        return self.issuer.slug

    @property
    def transmitter(self) -> Transmitter:
        return self.issuer

    @property
    def sender(self) -> Sender:
        audiences = (*self.issuer.audiences, _address(self.slug))
        return Sender(self.slug, self.issuer.issuer, frozenset(audiences), is_issuer=True)

    def known(self) -> Known | None:
        keys = issuer_keys.ring_of(row_of(self.issuer).source).keys
        return None if keys is None else Known(self.issuer.algorithms, keys)

    def may_ask(self) -> bool:
        return issuer_keys.may_ask(row_of(self.issuer).source)

    def algorithms(self) -> Collection[str]:
        return frozenset(self.issuer.algorithms)

    def keys(self, is_meant: Callable[[PublicKey], bool]) -> Sequence[PublicKey]:
        return load_keys(row_of(self.issuer).source, is_meant)


def all_signers(**conditions: str) -> Iterator[Signer]:
    """The enabled ones. `conditions`: on the columns that both have."""
    for provider in IdentityProvider.objects.filter(kind=IdentityProvider.Kind.OIDC, enabled=True, **conditions):
        yield ProviderSigner(provider)
    for issuer in TokenIssuer.objects.filter(enabled=True, **conditions):
        yield IssuerSigner(issuer)


def _address(slug: str) -> str:
    """A transmitter calls a receiver by this, or by a name of its own for it."""
    return f"{settings.AUTHGATE_PUBLIC_URL}{settings.AUTHGATE_AUTH_PREFIX}/events/{slug}"
