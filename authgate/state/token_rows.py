"""Service tokens and personal tokens as the database holds them, and what follows from that for the gate."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import msgspec
from django.conf import settings
from django.utils import timezone

from authgate.authn.service_tokens import ServiceToken
from authgate.authn.tokens import RESERVED_CLAIMS
from authgate.models import service_tokens as models
from authgate.models.people import Person
from authgate.models.versions import service_tokens_version
from authgate.oidc.claims import is_still_allowed
from authgate.request import TokenTerms
from authgate.wire.address import canonical_network

# Afterwards whoever sends one is told that it is unknown, no longer that it is over.
KEPT_FOR = timedelta(days=30)


class TokenRow(msgspec.Struct, frozen=True):
    number: int
    digest: str
    subject: str
    name: str
    is_personal: bool
    roles: list[str]
    networks: list[str]
    routes: list[str]
    issued_at: int
    expires_at: int
    is_over: bool
    email: str
    provider: str
    claims: str  # JSON, which may have numbers that no other form takes


class TokenRows(msgspec.Struct, frozen=True):
    """All that may be sent. With the same `version` they are the same."""

    version: int = 0
    rows: list[TokenRow] = []


def read_tokens(before: TokenRows | None) -> TokenRows:
    """`before`: as they were read last; thousands of people's claims are not read again when somebody signs out."""
    version = service_tokens_version()  # first: what changes meanwhile has another one
    if before is not None and before.version == version:
        return before
    recent = models.ServiceToken.objects.filter(expires_at__gt=timezone.now() - KEPT_FOR)
    return TokenRows(version, [_row(token) for token in recent.select_related("person__provider").order_by("pk")])


def build_tokens(tokens: TokenRows) -> Mapping[bytes, ServiceToken]:
    """By digest."""
    known = map(_token_of, tokens.rows)
    return MappingProxyType({token.terms.digest: token for token in known})


def claims_of(person: Person) -> dict[str, Any]:
    """What the grants are asked about, as a session's cookie of now would have it."""
    said = {name: value for name, value in (person.claims or {}).items() if name not in RESERVED_CLAIMS}
    return {**said, "sub": person.subject, "email": person.email, "name": person.name}


def _row(token: models.ServiceToken) -> TokenRow:
    person = token.person
    is_over = token.ended_at is not None or (person is not None and not _may_have_tokens(person))
    claims: dict[str, Any] = {"sub": token.subject}
    return TokenRow(
        number=token.pk,
        digest=token.digest,
        subject=token.subject,
        name=token.name if person is None else person.name,
        is_personal=person is not None,
        roles=token.roles,
        networks=token.networks,
        routes=token.routes,
        issued_at=int(token.created_at.timestamp()),
        expires_at=_end_of(token),
        is_over=is_over,
        email="" if person is None else person.email,
        provider="" if person is None else person.provider.slug,
        claims=json.dumps(claims if person is None or is_over else claims_of(person)),
    )


def _may_have_tokens(person: Person) -> bool:
    """By the rules of today, as for a session."""
    is_let_in = person.is_active and person.provider.enabled
    is_on = settings.AUTHGATE_PERSONAL_TOKEN_DAYS > 0
    return is_on and is_let_in and is_still_allowed(person.provider, person.claims or {})


def _end_of(token: models.ServiceToken) -> int:
    """Sooner than was said when it was made, where the operator allows less by now."""
    ends_at = token.expires_at
    if token.person is not None:
        ends_at = min(ends_at, token.created_at + timedelta(days=settings.AUTHGATE_PERSONAL_TOKEN_DAYS))
    return int(ends_at.timestamp())


def _token_of(row: TokenRow) -> ServiceToken:
    return ServiceToken(
        terms=TokenTerms(
            row.number,
            bytes.fromhex(row.digest),
            "personal_token" if row.is_personal else "service_token",
            tuple(canonical_network(ipaddress.ip_network(network)) for network in row.networks),
            frozenset(row.routes),
        ),
        subject=row.subject,
        issued_at=row.issued_at,
        expires_at=row.expires_at,
        roles=frozenset(row.roles),
        is_over=row.is_over,
        email=row.email,
        name=row.name,
        provider=row.provider,
        claims=MappingProxyType(json.loads(row.claims)),
    )
