"""A backup does not know of anything that was taken away after it was made: all of that has to stay refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import DatabaseError, connection, models, transaction
from django.utils import timezone

from authgate.models.issuers import TokenIssuer
from authgate.models.people import IdentityProvider, Person, Session, UsedOnce
from authgate.models.service_tokens import ServiceToken
from authgate.models.trust import MintedToken, Revocation, RevokedToken, SigningKey, StateVersion
from authgate.policy.powers import Machine
from authgate.request import OWN_ISSUER
from authgate.sessions.live import count
from authgate.sessions.revoking import revoke_issuer
from authgate.sessions.store import REVOKED_FOR
from authgate.state import service_tokens, signing_keys
from authgate.state.signing_keys import Purpose

_AT_ONCE = 1000
# Only a command restores: its user owns the database.
_ACTOR = Machine("restore")
_NAME = ("provider__slug", "provider_subject")  # of a person
# Of a local account: whichever of the two databases gives less counts.
_POWERS = ("is_active", "is_staff", "is_superuser")


@dataclass(frozen=True)
class Former:
    """The database that a restored one replaces."""

    versions: dict[str, int]
    keys: dict[str, bool]  # kid: retired
    sessions: list[str]  # those that have not ended
    revoked: list[RevokedToken]
    revocations: list[Revocation]
    service_tokens: set[str]  # digests of those that have not ended
    people: set[tuple[str, str]]  # provider and subject of those that are active
    claims: dict[tuple[str, str], Any]  # of people who have tokens, which may do what these say
    used: list[UsedOnce]
    minted: list[MintedToken]
    providers: set[str]  # that are enabled
    issuers: set[str]  # that are enabled
    accounts: dict[str, User]

    def goes_on_from_the_backup(self) -> bool:
        """Whether it is a later state of the same gateway, and so knows what was taken away since."""
        kids = set(SigningKey.objects.values_list("kid", flat=True))
        version = StateVersion.objects.filter(name="trust").values_list("value", flat=True).first() or 0
        return bool(kids) and kids <= self.keys.keys() and version <= self.versions.get("trust", -1)


def read_former() -> Former | None:
    """None: it is not there, or cannot be read."""
    try:
        with _savepoint():
            return _read()
    except DatabaseError:
        return None


def _savepoint() -> AbstractContextManager[None]:
    """Where a transaction would not outlive a failure. By itself, SQLite's would wait for whoever writes."""
    return transaction.atomic() if connection.in_atomic_block else nullcontext()


def _read() -> Former:
    now = timezone.now()
    with_tokens = Person.objects.filter(pk__in=ServiceToken.objects.filter(ended_at=None).values("person"))
    return Former(
        versions=dict(StateVersion.objects.values_list("name", "value")),
        keys={kid: at is not None for kid, at in SigningKey.objects.values_list("kid", "retired_at")},
        sessions=list(Session.objects.filter(ended_at=None).values_list("sid", flat=True)),
        revoked=list(RevokedToken.objects.all()),
        revocations=list(Revocation.objects.all()),
        service_tokens=set(ServiceToken.objects.filter(ended_at=None).values_list("digest", flat=True)),
        people=set(Person.objects.filter(is_active=True).values_list(*_NAME)),
        providers=set(IdentityProvider.objects.filter(enabled=True).values_list("slug", flat=True)),
        issuers=set(TokenIssuer.objects.filter(enabled=True).values_list("slug", flat=True)),
        claims={(slug, subject): claims for slug, subject, claims in with_tokens.values_list(*_NAME, "claims")},
        used=list(UsedOnce.objects.filter(expires_at__gt=now)),
        minted=list(MintedToken.objects.filter(expires_at__gt=now)),
        accounts={user.username: user for user in User.objects.all()},
    )


def refuse_again(former: Former) -> Iterator[str]:
    """Take away whatever the replaced database had taken away. Yields what it did, in words for an operator."""
    revoked = [RevokedToken(jti=row.jti, expires_at=row.expires_at, reason=row.reason) for row in former.revoked]
    until = timezone.now() + REVOKED_FOR
    ended = [RevokedToken(jti=sid, expires_at=until, reason="session: restored") for sid in former.sessions]
    RevokedToken.objects.bulk_create(
        revoked, batch_size=_AT_ONCE, update_conflicts=True, unique_fields=["jti"], update_fields=["expires_at"]
    )
    RevokedToken.objects.bulk_create(ended, batch_size=_AT_ONCE, ignore_conflicts=True)
    UsedOnce.objects.bulk_create(former.used, batch_size=_AT_ONCE, ignore_conflicts=True)
    _keep_minted(former)
    for row in former.revocations:
        _extend(row)
    retired = [kid for kid, is_retired in former.keys.items() if is_retired]
    signing_keys.retire(SigningKey.objects.filter(kid__in=retired, retired_at=None), _ACTOR)
    tokens = ServiceToken.objects.filter(ended_at=None).values_list("pk", "digest")
    gone = [pk for pk, digest in tokens if digest not in former.service_tokens]
    yield from _said(service_tokens.end_these(ServiceToken.objects.filter(pk__in=gone), "revoked"), "service token")
    yield from _said(_deactivate_people(former), "person", "people")
    _take_claims(former)
    for name, model, enabled in (
        ("identity provider", IdentityProvider, former.providers),
        ("token issuer", TokenIssuer, former.issuers),
    ):
        rows: models.QuerySet[Any] = model.objects.filter(enabled=True).exclude(slug__in=enabled)
        yield from _said(rows.update(enabled=False), name)
    yield from _said(sum(map(_take_less, _pairs(former))), "local account")


def refuse_everything() -> Iterator[str]:
    """Nobody knows what was taken away since the backup, so nothing that was given out before is taken any more."""
    issuers = list(TokenIssuer.objects.values_list("slug", flat=True))
    # New keys hold at once; a revocation also refuses what is issued in the next seconds.
    if signing_keys.in_files(Purpose.TOKENS):
        issuers.append(OWN_ISSUER)
    signing_keys.retire(signing_keys.find_current(Purpose.TOKENS), _ACTOR)
    # Here: a gateway that runs, perhaps with another secret key, would seal it with that.
    signing_keys.find_or_create(Purpose.TOKENS)
    ended = service_tokens.end(ServiceToken.objects.filter(ended_at=None), _ACTOR)
    for slug in issuers:
        revoke_issuer(slug, "restored from a backup", _ACTOR)
    yield f"Revoked: {count(ended, 'service token')}."
    yield "Access tokens of the gateway and of all token issuers that were issued until now are refused."


def count_on(former: Former | None) -> None:
    """Each counter goes past what any worker has seen, so that all of them load the restored state."""
    seen = former.versions if former else {}
    for name in {"policy", "trust", *seen, *StateVersion.objects.values_list("name", flat=True)}:
        row, _ = StateVersion.objects.get_or_create(name=name)
        row.value = max(row.value, seen.get(name, 0)) + 1
        row.save()


def _extend(former: Revocation) -> None:
    row = Revocation.objects.filter(issuer=former.issuer, subject=former.subject).first()
    row = row or Revocation(issuer=former.issuer, subject=former.subject, reason=former.reason)
    row.issued_before = max(row.issued_before or former.issued_before, former.issued_before)
    row.expires_at = max(row.expires_at or former.expires_at, former.expires_at)
    row.save()


def _deactivate_people(former: Former) -> int:
    active = Person.objects.filter(is_active=True).values_list("pk", *_NAME)
    gone = [pk for pk, slug, subject in active if (slug, subject) not in former.people]
    for first in range(0, len(gone), _AT_ONCE):
        Person.objects.filter(pk__in=gone[first : first + _AT_ONCE]).update(is_active=False)
    return len(gone)


def _take_claims(former: Former) -> None:
    """What the provider said last: a group that somebody has left since must not come back to their tokens."""
    holders = ServiceToken.objects.filter(ended_at=None).values("person")
    for person in Person.objects.filter(pk__in=holders).select_related("provider"):
        name = (person.provider.slug, person.provider_subject)
        if name in former.claims and former.claims[name] != person.claims:
            Person.objects.filter(pk=person.pk).update(claims=former.claims[name])


def _keep_minted(former: Former) -> None:
    """They stay valid, so that they have to be found when one is to be revoked."""
    for row in former.minted:
        row.pk = None
    MintedToken.objects.bulk_create(former.minted, batch_size=_AT_ONCE, ignore_conflicts=True)


def _pairs(former: Former) -> Iterator[tuple[User, User | None]]:
    return ((account, former.accounts.get(account.username)) for account in User.objects.all())


def _take_less(pair: tuple[User, User | None]) -> bool:
    """Whether anything was taken from the account. Its newer password counts."""
    account, former = pair
    before = [getattr(account, power) for power in _POWERS]
    for power in _POWERS:
        setattr(account, power, getattr(account, power) and former is not None and getattr(former, power))
    if former is not None:
        account.password = former.password
    account.save()
    return before != [getattr(account, power) for power in _POWERS]


def _said(number: int, noun: str, plural: str = "") -> Iterator[str]:
    if number:
        yield f"Revoked or switched off, as after the backup was made: {count(number, noun, plural)}."
