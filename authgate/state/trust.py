"""What this process trusts: its keys, and which tokens are revoked. Loaded whole, swapped whole."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import cast

import msgspec
from django.conf import settings
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from authgate.authn.issuers import ClientAuthentication, Dpop, Introspection, Issuer, KeyRing, KeySource, Strategy
from authgate.authn.keys import KeyPair, KeyUnusable, unseal
from authgate.authn.revocations import Revocations
from authgate.authn.trust import TrustSnapshot
from authgate.models import versions
from authgate.models.issuers import TokenIssuer
from authgate.models.people import IdentityProvider
from authgate.models.service_tokens import ServiceToken
from authgate.models.trust import Revocation, RevokedToken, SigningKey
from authgate.outbound.errors import ProviderError
from authgate.sealing import opening_secrets
from authgate.state import revocation, signing_keys
from authgate.state.issuer_keys import issuer_keys
from authgate.state.issuers import open_client_secret
from authgate.state.key_files import file_keys
from authgate.state.signing_keys import Purpose, signer_of
from authgate.state.token_rows import TokenRows, build_tokens, read_tokens

logger = logging.getLogger(__name__)


class KeyRow(msgspec.Struct, frozen=True):
    kid: str
    purpose: str
    algorithm: str
    sealed: str
    signs_from: float


class IssuerRow(msgspec.Struct, frozen=True):
    """An enabled issuer, with all that decides about its tokens."""

    slug: str
    issuer: str
    audiences: list[str]
    strategy: str
    algorithms: list[str]
    typ: str
    dpop: str
    required_scopes: list[str]
    required_claims: dict[str, str | int | bool]
    claim_mapping: dict[str, str]
    leeway: int
    max_age: int
    jwks_url: str
    pasted_keys: str
    introspection_endpoint: str
    client_id: str
    sealed_client_secret: str
    client_authentication: str
    introspection_seconds: int
    ca_certificates: str

    @property
    def source(self) -> KeySource:
        # Where every token is asked about, only a signed answer needs a key.
        when_asked = self.strategy == TokenIssuer.Strategy.INTROSPECTION
        return KeySource(self.issuer, self.jwks_url, self.pasted_keys, self.ca_certificates, when_asked)


class TrustRows(msgspec.Struct, frozen=True):
    """As the database holds it; of each purpose the newest key first."""

    token_keys: list[KeyRow]
    assertion_keys: list[KeyRow]
    revoked: list[str]
    has_providers: bool
    issuers: list[IssuerRow] = []
    issued_before: list[tuple[str, str, int]] = []  # issuer, subject and the moment, as Revocations has them
    service_tokens: TokenRows = TokenRows()

    def has_keys_of(self, other: TrustRows) -> bool:
        """Whether whoever was proven by the others is proven by these."""
        return (self.token_keys, self.assertion_keys, self.issuers) == (
            other.token_keys, other.assertion_keys, other.issuers,
        )  # fmt: skip

    def beside(self, trust: TrustSnapshot, before: TrustRows) -> TrustSnapshot:
        """The trust of these rows, with the keys of `trust`, which was made of `before` with the same ones."""
        has_same_tokens = self.service_tokens == before.service_tokens
        return replace(
            trust,
            token_signer=_token_signer(self, trust.token_keys),
            assertion_signer=_signer(self.assertion_keys, trust.assertion_keys),
            revoked=frozenset(self.revoked),
            issued_before=_build_revocations(self),
            has_providers=self.has_providers,
            service_tokens=trust.service_tokens if has_same_tokens else build_tokens(self.service_tokens),
        )

    def next_signer_from(self, now: float) -> float:
        """When another key begins to sign."""
        later = (row.signs_from for row in (*self.token_keys, *self.assertion_keys) if row.signs_from > now)
        return min(later, default=float("inf"))


def load_trust() -> TrustSnapshot:
    """Makes the keys that are missing. Raises KeyUnusable or DatabaseError; then there is nothing to trust."""
    return build_trust(read_trust())


def read_trust(before: TrustRows | None = None) -> TrustRows:
    """Makes the keys that are missing. `before`: as it was read last. Raises DatabaseError."""
    return TrustRows(
        token_keys=[_key_row(row) for row in signing_keys.find_or_create(Purpose.TOKENS)],
        assertion_keys=[_key_row(row) for row in signing_keys.find_or_create(Purpose.ASSERTIONS)],
        revoked=list(revocation.in_force().values_list("jti", flat=True)),
        issued_before=_read_revocations(),
        has_providers=IdentityProvider.objects.filter(enabled=True).exists(),
        issuers=_read_issuers(),
        service_tokens=read_tokens(None if before is None else before.service_tokens),
    )


def build_trust(rows: TrustRows) -> TrustSnapshot:
    """Raises KeyUnusable."""
    token_keys = MappingProxyType({pair.kid: pair for pair in file_keys()} | _unseal_all(rows.token_keys))
    assertion_keys = MappingProxyType(_unseal_all(rows.assertion_keys))
    return TrustSnapshot(
        issuer=settings.AUTHGATE_PUBLIC_URL,
        audience=settings.AUTHGATE_PUBLIC_URL,
        session_cookie=settings.AUTHGATE_SESSION_COOKIE.encode("ascii"),
        token_keys=token_keys,
        assertion_keys=assertion_keys,
        token_signer=_token_signer(rows, token_keys),
        assertion_signer=_signer(rows.assertion_keys, assertion_keys),
        revoked=frozenset(rows.revoked),
        issued_before=_build_revocations(rows),
        jwks=_build_jwks([*token_keys.values(), *assertion_keys.values()]),
        has_providers=rows.has_providers,
        issuers=MappingProxyType({row.issuer: issuer_of(row, issuer_keys.ring_of(row.source)) for row in rows.issuers}),
        service_tokens=build_tokens(rows.service_tokens),
    )


def unseal_keys() -> None:
    """Whether the keys that are in use can be: makes none. Raises KeyUnusable or DatabaseError."""
    file_keys()
    for purpose in Purpose:
        _unseal_all([_key_row(row) for row in signing_keys.find_current(purpose)])


@receiver([post_save, post_delete], sender=SigningKey)
@receiver([post_save, post_delete], sender=RevokedToken)
@receiver([post_save, post_delete], sender=Revocation)
@receiver([post_save, post_delete], sender=TokenIssuer)
def announce_change(**_: object) -> None:
    """Whoever changes such a row, every worker reloads: in the same transaction when there is one, as in admin."""
    versions.bump("trust")


@receiver([post_save, post_delete], sender=IdentityProvider)
@receiver([post_save, post_delete], sender=ServiceToken)
def announce_tokens(**_: object) -> None:
    """The same, also of what personal tokens rest on."""
    versions.bump_service_tokens()


def _read_issuers() -> list[IssuerRow]:
    rows = TokenIssuer.objects.filter(enabled=True).order_by("slug").values(*IssuerRow.__struct_fields__)
    return [msgspec.convert(row, IssuerRow) for row in rows]


def row_of(issuer: TokenIssuer) -> IssuerRow:
    return msgspec.convert({name: getattr(issuer, name) for name in IssuerRow.__struct_fields__}, IssuerRow)


def issuer_of(row: IssuerRow, ring: KeyRing) -> Issuer:
    return Issuer(
        slug=row.slug,
        issuer=row.issuer,
        algorithms=frozenset(row.algorithms),
        audiences=frozenset(row.audiences),
        source=row.source,
        ring=ring,
        strategy=cast(Strategy, row.strategy),
        strict_type=row.typ == TokenIssuer.Type.STRICT,
        required_scopes=frozenset(row.required_scopes),
        required_claims=row.required_claims,
        mapping=row.claim_mapping,
        leeway=row.leeway,
        max_age=row.max_age,
        dpop=cast(Dpop, row.dpop),
        introspection=_introspection_of(row),
    )


def _introspection_of(row: IssuerRow) -> Introspection | None:
    if row.strategy == TokenIssuer.Strategy.JWT:
        return None
    return Introspection(
        row.introspection_endpoint,
        row.client_id,
        cast(ClientAuthentication, row.client_authentication),
        _open_secret(row),
        row.introspection_seconds,
    )


def _open_secret(row: IssuerRow) -> str | None:
    """None: it cannot be opened. Other issuers, and the gateway's own tokens, go on."""
    try:
        return open_client_secret(row.slug, row.sealed_client_secret)
    except ProviderError as error:
        logger.error("issuer %s: %s", row.slug, error.detail)
        return None


def _key_row(row: SigningKey) -> KeyRow:
    return KeyRow(row.kid, row.purpose, row.algorithm, row.private_key, row.signs_from.timestamp())


def _read_revocations() -> list[tuple[str, str, int]]:
    return [(row.issuer, row.subject, int(row.issued_before.timestamp())) for row in revocation.all_in_force()]


def _build_revocations(rows: TrustRows) -> Revocations | None:
    moments = {(issuer, subject): moment for issuer, subject, moment in rows.issued_before}
    return Revocations(moments) if moments else None


def _token_signer(rows: TrustRows, pairs: Mapping[str, KeyPair]) -> KeyPair:
    files = file_keys()
    return files[0] if files else _signer(rows.token_keys, pairs)


def _signer(rows: list[KeyRow], pairs: Mapping[str, KeyPair]) -> KeyPair:
    """Raises KeyUnusable."""
    signer = signer_of(rows, time.time())
    if signer is None:
        raise KeyUnusable("there is no key to sign with")
    return pairs[signer.kid]


def _unseal_all(rows: list[KeyRow]) -> dict[str, KeyPair]:
    source = settings.AUTHGATE_SECRET_KEY_SOURCE
    pairs = (unseal(row.sealed, row.kid, row.purpose, row.algorithm, opening_secrets(), source) for row in rows)
    return {pair.kid: pair for pair in pairs}


def _build_jwks(pairs: list[KeyPair]) -> bytes:
    return json.dumps({"keys": [pair.public_jwk for pair in pairs]}, separators=(",", ":")).encode("ascii")
