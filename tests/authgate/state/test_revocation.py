"""Revocations of a whole subject or issuer, and who is meant by them."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from authgate.authn.revocations import Revocations
from authgate.authn.tokens import MAX_TTL
from authgate.gate.authenticate import authenticate, is_still_known
from authgate.models.issuers import TokenIssuer
from authgate.models.trust import Revocation, StateVersion
from authgate.policy.powers import Machine
from authgate.reason import Reason
from authgate.request import InvalidCredential
from authgate.sessions import purge
from authgate.sessions.revoking import revoke_issuer, revoke_subject
from authgate.state.trust import load_trust, read_trust
from authgate.wire.headers import Headers
from tests.support.signing import make_snapshot, make_trust, sign_token

ACTOR = Machine("test")
NOW = 1_800_000_000


@pytest.mark.parametrize(
    ("rows", "issuer", "subject", "issued_at", "expected"),
    [
        ({("", "alice"): NOW}, "gateway", "alice", NOW - 1, True),
        ({("", "alice"): NOW}, "gateway", "alice", NOW, False),
        ({("", "alice"): NOW}, "ci", "alice", NOW - 1, True),
        ({("", "alice"): NOW}, "gateway", "alicia", NOW - 1, False),
        ({("", "alice"): NOW}, "gateway", "", NOW - 1, False),
        ({("ci", ""): NOW}, "ci", "ci|anybody", NOW - 1, True),
        ({("ci", ""): NOW}, "gateway", "ci|anybody", NOW - 1, False),
        ({("ci", ""): NOW}, "ci", "ci|anybody", 0, True),
        ({("", "alice"): NOW}, "gateway", "bob", 0, False),
        ({("ci", ""): NOW, ("", "ci|a"): NOW + 9}, "ci", "ci|a", NOW + 8, True),
    ],
)
def test_what_was_issued_before_is_refused(rows, issuer, subject, issued_at, expected):
    assert Revocations(rows).refuses(issuer, subject, issued_at) is expected


def caller(token, snapshot):
    return authenticate(Headers([(b"authorization", b"Bearer " + token)]), snapshot)


def refusing(subject, before):
    return make_trust(issued_before=Revocations({("", subject): before}))


def test_a_token_that_was_verified_before_is_refused_too():
    now, token = int(time.time()), sign_token()
    snapshot = make_snapshot()
    assert caller(token, snapshot).subject == "alice"
    later = snapshot.with_trust(refusing("alice", now + 9), snapshot.identities)
    for _ in range(2):
        with pytest.raises(InvalidCredential) as refusal:
            caller(token, later)
        assert refusal.value.reason is Reason.TOKEN_REVOKED


def test_a_token_that_was_issued_afterwards_is_good():
    now = int(time.time())
    snapshot = make_snapshot(refusing("alice", now - 1))
    assert caller(sign_token(claims={"iat": now}), snapshot).subject == "alice"
    assert caller(sign_token(claims={"sub": "bob", "iat": now - 9}), snapshot).subject == "bob"


def test_a_session_is_ended_by_its_id_and_not_by_its_age():
    now = int(time.time())
    token = sign_token(header={"typ": "session+jwt"}, claims={"jti": "s", "sid": "s", "iat": now})
    cookie = Headers([(b"cookie", b"auth_token=" + token)])
    assert authenticate(cookie, make_snapshot(refusing("alice", now + 9))).session_id == "s"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"revoked": frozenset({"t-1"})}, False),
        ({"issued_before": Revocations({("gateway", ""): 2**40})}, False),
        ({"issued_before": Revocations({("ci", ""): 2**40})}, True),
        ({"token_keys": {}}, False),
    ],
)
def test_whoever_was_let_in_is_known_until_something_is_taken_away(changes, expected):
    identity = caller(sign_token(), make_snapshot())
    assert is_still_known(identity, make_trust(**changes)) is expected


@pytest.mark.django_db
def test_the_moment_is_later_than_any_token_that_is_out_and_is_only_ever_raised():
    load_trust()
    revoke_subject("alice", "lost", ACTOR)
    [row] = Revocation.objects.all()
    assert timedelta(seconds=4) < row.issued_before - timezone.now() <= timedelta(seconds=6)
    assert row.expires_at - row.issued_before == timedelta(seconds=MAX_TTL)
    Revocation.objects.update(issued_before=timezone.now() + timedelta(hours=1))
    revoke_subject("alice", "again", ACTOR)
    [row] = Revocation.objects.all()
    assert row.issued_before > timezone.now() + timedelta(minutes=59)
    assert row.reason == "again"


@pytest.mark.django_db
def test_an_issuer_whose_clock_may_be_ahead_is_given_that_much_more():
    TokenIssuer.objects.create(slug="ci", issuer="https://ci.example.com", audiences=["api"], leeway=120)
    revoke_issuer("ci", "stolen", ACTOR)
    revoke_subject("ci|job", "stolen", ACTOR)
    for row in Revocation.objects.all():
        assert row.issued_before - timezone.now() > timedelta(seconds=119)


@pytest.mark.django_db
def test_one_that_is_in_force_cannot_be_taken_back_or_moved():
    load_trust()
    revoke_subject("alice", "lost", ACTOR)
    row = Revocation.objects.get()
    with pytest.raises(ValidationError, match="stays revoked"), transaction.atomic():
        row.delete()
    for change in ({"subject": "bob"}, {"issued_before": timezone.now()}, {"expires_at": timezone.now()}):
        row = Revocation.objects.get()
        for name, value in change.items():
            setattr(row, name, value)
        with pytest.raises(ValidationError, match="stays revoked"), transaction.atomic():
            row.save()


@pytest.mark.django_db
def test_one_that_means_nothing_any_more_is_removed_and_nobody_reloads():
    load_trust()
    long_ago = timezone.now() - timedelta(days=2)
    Revocation.objects.create(subject="alice", issued_before=long_ago, expires_at=long_ago)
    assert read_trust().issued_before == []
    before = StateVersion.objects.get(name="trust").value
    purge.purge()
    assert not Revocation.objects.exists()
    assert StateVersion.objects.get(name="trust").value == before
