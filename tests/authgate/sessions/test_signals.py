"""What a security event does to sessions and people, and which ones do nothing at all."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import time
from datetime import timedelta

import pytest
from django.utils import timezone

from authgate.models.people import IdentityProvider, Person, Session, UsedOnce
from authgate.models.trust import Revocation, RevokedToken
from authgate.oidc.claims import ProvenPerson
from authgate.oidc.provider import TokenSet
from authgate.oidc.security_event import EventRefused
from authgate.sessions import store
from authgate.sessions.purge import purge
from authgate.sessions.receiving import receive_event
from tests.support.token_provider import CLIENT_ID, LOGOUT_EVENT, TokenProvider

pytestmark = pytest.mark.django_db
SESSION_REVOKED = "caep session-revoked"
RECEIVER = "http://gateway.test/auth/events/idp"


@pytest.fixture(scope="module")
def idp():
    with TokenProvider() as started:
        yield started


@pytest.fixture
def provider(idp):
    return IdentityProvider.objects.create(slug="idp", client_id=CLIENT_ID, issuer=idp.issuer)


@pytest.fixture
def other(provider):
    """Another provider, where the same subject and the same address are somebody else."""
    return IdentityProvider.objects.create(slug="other", client_id=CLIENT_ID, issuer="https://other.example")


def signed_in(provider, subject="alice", sid="s-1", email="", verified=True, refresh_token=""):
    claims = {"sub": subject, "sid": sid, "email": email, "email_verified": verified}
    proven = ProvenPerson(subject, email, "", claims)
    tokens = TokenSet(access_token="a", id_token="i.d.t", refresh_token=refresh_token)
    return store.start(proven, tokens, provider, host="", address="", user_agent="", replaces=None)


def alive():
    return {f"{s.person.subject} {s.provider_sid}" for s in Session.objects.filter(ended_at=None)}


def active():
    return {person.subject for person in Person.objects.filter(is_active=True)}


def refusal(token, slug="idp"):
    with pytest.raises(EventRefused) as refused:
        receive_event(slug, token)
    return refused.value.err


# --- what they do ------------------------------------------------------------------------------------------------
SIGN_OUT = ["caep session-revoked", "risc sessions-revoked", "caep credential-change"]
KEEP_OUT = ["risc account-disabled", "risc account-purged"]


@pytest.mark.parametrize("name", SIGN_OUT + KEEP_OUT)
def test_all_sessions_of_the_person_end(idp, provider, name):
    sids = [signed_in(provider, sid=sid).sid for sid in ("s-1", "s-2")]
    signed_in(provider, "bob", "s-3")
    receive_event("idp", idp.event(name))
    assert alive() == {"idp|bob s-3"}
    assert set(RevokedToken.objects.values_list("jti", flat=True)) == set(sids)


@pytest.mark.parametrize(("name", "left"), [(n, {"idp|alice", "idp|bob"}) for n in SIGN_OUT]
                         + [(n, {"idp|bob"}) for n in KEEP_OUT])  # fmt: skip
def test_only_an_account_that_is_gone_or_disabled_keeps_its_person_out(idp, provider, name, left):
    signed_in(provider), signed_in(provider, "bob", "s-3")
    receive_event("idp", idp.event(name))
    assert active() == left


@pytest.mark.parametrize("name", SIGN_OUT + KEEP_OUT)
def test_an_event_about_the_whole_account_refuses_its_tokens_too(idp, provider, name):
    signed_in(provider), signed_in(provider, "bob", "s-3")
    receive_event("idp", idp.event(name))
    refused = set(Revocation.objects.values_list("subject", flat=True))
    assert refused == (set() if name == SESSION_REVOKED else {"idp|alice"})


def test_who_is_kept_out_is_not_let_in_by_an_event(idp, provider):
    signed_in(provider)
    receive_event("idp", idp.event("risc account-disabled"))
    receive_event("idp", idp.event("risc account-enabled"))
    assert active() == set()


def test_changed_claims_are_asked_for_at_the_next_renewal(idp, provider):
    session = signed_in(provider, refresh_token="r")
    receive_event("idp", idp.event("caep token-claims-change", events=claims_changed()))
    session.refresh_from_db()
    assert session.ended_at is None
    assert session.refresh_at <= timezone.now()


def test_changed_claims_end_a_session_whose_provider_cannot_be_asked_again(idp, provider):
    signed_in(provider), signed_in(provider, sid="s-2", refresh_token="r")
    receive_event("idp", idp.event("caep token-claims-change", events=claims_changed()))
    assert alive() == {"idp|alice s-2"}


def test_changed_claims_end_a_session_whose_provider_is_being_asked_at_this_moment(idp, provider):
    """Its answer may be older than the change."""
    session = signed_in(provider, refresh_token="r")
    Session.objects.filter(sid=session.sid).update(refresh_lock_until=timezone.now() + timedelta(seconds=9))
    receive_event("idp", idp.event("caep token-claims-change", events=claims_changed()))
    assert alive() == set()


def claims_changed():
    return {"https://schemas.openid.net/secevent/caep/event-type/token-claims-change": {"claims": {"groups": ["a"]}}}


@pytest.mark.parametrize("name", ["ssf verification", "risc account-enabled", "caep device-compliance-change", "urn:x"])
def test_what_asks_for_nothing_and_what_is_unknown_is_taken_and_logged(idp, provider, caplog, name):
    signed_in(provider)
    with caplog.at_level(logging.INFO):
        receive_event("idp", idp.event(name))
    assert alive() == {"idp|alice s-1"}
    assert name.rpartition(" ")[2] in caplog.text


def test_a_verification_event_is_logged_with_its_state_and_needs_no_subject(idp, provider, caplog):
    uri = "https://schemas.openid.net/secevent/ssf/event-type/verification"
    with caplog.at_level(logging.INFO):
        receive_event("idp", idp.event("", events={uri: {"state": "VGhpcyBp"}}, sub_id=...))
    assert "state VGhpcyBp" in caplog.text


# --- whom they mean ----------------------------------------------------------------------------------------------
def test_the_same_subject_of_another_provider_is_somebody_else(idp, provider, other):
    signed_in(provider), signed_in(other)
    receive_event("idp", idp.event("risc account-disabled"))
    assert (alive(), active()) == ({"other|alice s-1"}, {"other|alice"})


def test_a_provider_cannot_speak_of_the_people_of_another(idp, provider, other):
    signed_in(provider), signed_in(other)
    receive_event("idp", idp.event("risc account-disabled", {"format": "iss_sub", "iss": other.issuer, "sub": "alice"}))
    assert len(alive()) == len(active()) == 2


ADDRESS = "alice@example.com"
BY_ADDRESS = [
    {"format": "email", "email": ADDRESS},
    {"format": "email", "email": "Alice@Example.com"},
    {"format": "account", "uri": f"acct:{ADDRESS}"},
    {"format": "complex", "user": {"format": "email", "email": ADDRESS}, "tenant": {"format": "opaque", "id": "t"}},
]


@pytest.mark.parametrize("subject", BY_ADDRESS, ids=json.dumps)
def test_an_address_that_this_provider_vouches_for_names_its_people(idp, provider, other, subject):
    signed_in(provider, email=ADDRESS), signed_in(other, email=ADDRESS)
    signed_in(provider, "bob", "s-2", email="bob@example.com")
    receive_event("idp", idp.event("risc account-disabled", subject))
    assert alive() == {"other|alice s-1", "idp|bob s-2"}
    assert active() == {"other|alice", "idp|bob"}


@pytest.mark.parametrize("verified", [False, "true", 1, None])
def test_an_address_that_it_does_not_vouch_for_names_nobody(idp, provider, verified):
    signed_in(provider, email=ADDRESS, verified=verified)
    receive_event("idp", idp.event("risc account-disabled", BY_ADDRESS[0]))
    assert (alive(), active()) == ({"idp|alice s-1"}, {"idp|alice"})


def test_an_address_counts_no_more_once_the_provider_stops_vouching_for_it(idp, provider):
    signed_in(provider, email=ADDRESS), signed_in(provider, sid="s-2", email=ADDRESS, verified=False)
    receive_event("idp", idp.event(SESSION_REVOKED, BY_ADDRESS[0]))
    assert len(alive()) == 2


OF_ALICE = [
    {"format": "opaque", "id": "alice"},
    {"format": "complex", "user": {"format": "opaque", "id": "alice"}, "session": {"format": "opaque", "id": "s-1"}},
    {"subject_type": "opaque", "id": "alice"},
]


@pytest.mark.parametrize("subject", OF_ALICE, ids=json.dumps)
def test_an_opaque_id_is_the_subject_as_the_provider_has_it(idp, provider, subject):
    signed_in(provider), signed_in(provider, sid="s-2"), signed_in(provider, "bob", "s-3")
    receive_event("idp", idp.event(SESSION_REVOKED, subject))
    assert alive() == {"idp|bob s-3"}


ONE_SESSION = [
    {"format": "opaque", "id": "s-1"},
    {"format": "complex", "session": {"format": "opaque", "id": "s-1"}},
    {"session": {"format": "opaque", "id": "s-1"}},
]


@pytest.mark.parametrize("subject", ONE_SESSION, ids=json.dumps)
def test_or_the_session_as_the_provider_has_it(idp, provider, other, subject):
    signed_in(provider), signed_in(provider, sid="s-2"), signed_in(other)
    receive_event("idp", idp.event(SESSION_REVOKED, subject))
    assert alive() == {"idp|alice s-2", "other|alice s-1"}


@pytest.mark.parametrize("kind", ["format", "subject_type"])
@pytest.mark.parametrize("name", ["iss_sub", "iss-sub"])
def test_older_transmitters_name_the_subject_in_the_event(idp, provider, kind, name):
    signed_in(provider)
    uri = "https://schemas.openid.net/secevent/risc/event-type/account-disabled"
    events = {uri: {"subject": {kind: name, "iss": idp.issuer, "sub": "alice"}, "reason": "hijacking"}}
    receive_event("idp", idp.event("", events=events, sub_id=...))
    assert (alive(), active()) == (set(), set())


OF_NOBODY = [
    {"format": "iss_sub", "iss": "https://idp.example", "sub": "alice"},
    {"format": "opaque", "id": "carol"},
    {"format": "email", "email": "carol@example.com"},
    {"format": "email", "email": "%"},
    {"format": "phone_number", "phone_number": "+12065550100"},
    {"format": "complex", "device": {"format": "opaque", "id": "alice"}},
    {"format": "complex", "session": {"format": "email", "email": ADDRESS}},
]


@pytest.mark.parametrize("subject", OF_NOBODY, ids=json.dumps)
def test_a_subject_that_nobody_knows_is_taken_all_the_same(idp, provider, subject):
    signed_in(provider, email=ADDRESS)
    receive_event("idp", idp.event("risc account-disabled", subject))
    assert (alive(), active()) == ({"idp|alice s-1"}, {"idp|alice"})


# --- what passes for none ----------------------------------------------------------------------------------------
NOW = int(time.time())
YEAR = 365 * 24 * 3600
URI = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
PURGED = "https://schemas.openid.net/secevent/risc/event-type/account-purged"
DEEP: object = "x"
for _ in range(40):
    DEEP = {"a": DEEP}
BAD_CLAIMS = {
    "other issuer": ({"iss": "https://other.example"}, "invalid_issuer"),
    "issuer with a slash": ({"iss": "/"}, "invalid_issuer"),
    "no issuer": ({"iss": ...}, "invalid_issuer"),
    "issuer a list": ({"iss": ["x"]}, "invalid_issuer"),
    "other audience": ({"aud": "other"}, "invalid_audience"),
    "no audience": ({"aud": ...}, "invalid_audience"),
    "audience of another receiver": ({"aud": f"{RECEIVER}2"}, "invalid_audience"),
    "audience beside a number": ({"aud": [CLIENT_ID, 1]}, "invalid_audience"),
    "no jti": ({"jti": ...}, "invalid_request"),
    "jti empty": ({"jti": ""}, "invalid_request"),
    "jti a list": ({"jti": ["j"]}, "invalid_request"),
    "no iat": ({"iat": ...}, "invalid_request"),
    "iat text": ({"iat": "now"}, "invalid_request"),
    "iat true": ({"iat": True}, "invalid_request"),
    "a year old": ({"iat": NOW - YEAR}, "invalid_request"),
    "eight days old": ({"iat": NOW - 8 * 24 * 3600}, "invalid_request"),
    "from the future": ({"iat": NOW + 3600}, "invalid_request"),
    "sub and exp": ({"sub": "alice", "exp": NOW + 300}, "invalid_request"),
    "nonce": ({"nonce": "n"}, "invalid_request"),
    "no events": ({"events": ...}, "invalid_request"),
    "no event": ({"events": {}}, "invalid_request"),
    "events a list": ({"events": [URI]}, "invalid_request"),
    "event no object": ({"events": {URI: True}}, "invalid_request"),
    "two events": ({"events": {URI: {}, PURGED: {}}}, "invalid_request"),
    "a known and an unknown one": ({"events": {URI: {}, "urn:x": {}}}, "invalid_request"),
    "deep": ({"x": DEEP}, "invalid_request"),
    "no subject": ({"sub_id": ...}, "invalid_request"),
    "subject text": ({"sub_id": ["alice"]}, "invalid_request"),
    "subject without format": ({"sub_id": {"id": "alice"}}, "invalid_request"),
    "subject without id": ({"sub_id": {"format": "opaque"}}, "invalid_request"),
    "id a number": ({"sub_id": {"format": "opaque", "id": 1}}, "invalid_request"),
    "id with NUL": ({"sub_id": {"format": "opaque", "id": "alice\x00"}}, "invalid_request"),
    "half a pair": ({"sub_id": {"format": "opaque", "id": "\ud800"}}, "invalid_request"),
    "complex in complex": ({"sub_id": {"format": "complex", "user": {"user": {}}}}, "invalid_request"),
    "account of another kind": ({"sub_id": {"format": "account", "uri": "mailto:a@b"}}, "invalid_request"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "err"), BAD_CLAIMS.values(), ids=BAD_CLAIMS)
def test_a_bad_event_does_nothing(idp, provider, changes, err):
    signed_in(provider)
    assert refusal(idp.event(SESSION_REVOKED, **changes)) == err
    assert alive() == {"idp|alice s-1"}


BAD_HEADERS = {
    "no type": ({"typ": ...}, "invalid_request"),
    "any JWT": ({"typ": "JWT"}, "invalid_request"),
    "logout token": ({"typ": "logout+jwt"}, "invalid_request"),
    "access token": ({"typ": "at+jwt"}, "invalid_request"),
    "type a list": ({"typ": ["secevent+jwt"]}, "invalid_request"),
    "alg none": ({"alg": "none"}, "invalid_key"),
    "alg of another kind": ({"alg": "ES256"}, "invalid_key"),
    "no such key": ({"kid": "unknown"}, "invalid_key"),
    "critical extension": ({"crit": ["x"]}, "invalid_request"),
}


@pytest.mark.parametrize(("header", "err"), BAD_HEADERS.values(), ids=BAD_HEADERS)
def test_the_type_and_the_key_are_as_they_have_to_be(idp, provider, header, err):
    signed_in(provider)
    claims = {"iss": idp.issuer, "aud": CLIENT_ID, "iat": NOW, "jti": "j", "events": {URI: {}}, "sub_id": OF_ALICE[0]}
    assert refusal(idp.sign(claims, **{"typ": "secevent+jwt", **header})) == err
    assert alive() == {"idp|alice s-1"}


FORGED = {
    "by another key": (lambda idp, claims: idp.sign(claims, "attacker", typ="secevent+jwt"), "authentication_failed"),
    "by a key without a name": (
        lambda idp, claims: idp.sign(claims, "attacker", typ="secevent+jwt", kid=...),
        "authentication_failed",
    ),
    "with the public key": (lambda idp, claims: signed_with_the_public_key(idp, claims), "invalid_key"),
}


@pytest.mark.parametrize(("forge", "err"), FORGED.values(), ids=FORGED)
def test_what_the_provider_did_not_sign_does_nothing(idp, provider, forge, err):
    signed_in(provider)
    claims = {"iss": idp.issuer, "aud": CLIENT_ID, "iat": NOW, "jti": "j", "events": {URI: {}}, "sub_id": OF_ALICE[0]}
    assert refusal(forge(idp, claims)) == err
    assert alive() == {"idp|alice s-1"}


def signed_with_the_public_key(idp, claims):
    header = {"typ": "secevent+jwt", "alg": "HS256", "kid": idp.key.kid}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    message = b".".join(parts)
    mac = hmac.new(json.dumps(idp.key.jwk).encode(), message, hashlib.sha256).digest()
    return (message + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


def test_other_tokens_of_the_provider_are_no_events(idp, provider):
    signed_in(provider)
    events = {"events": {URI: {}}, "sub_id": OF_ALICE[0], "jti": "j"}
    logout = {"events": {LOGOUT_EVENT: {}}, "sub": "alice", "jti": "j", "iat": NOW, "iss": idp.issuer, "aud": CLIENT_ID}
    for token in (
        idp.id_token(**events), idp.logout_token(sub="alice"), idp.logout_token(**events),
        idp.sign({**logout, **events, "exp": NOW + 300}, typ="at+jwt"), idp.sign(logout, typ="logout+jwt"),
    ):  # fmt: skip
        assert refusal(token) == "invalid_request"
    assert alive() == {"idp|alice s-1"}


@pytest.mark.parametrize("junk", ["", "x", "a.b.c", "é", "x" * 1_000_000, "." * 1_000_000], ids=lambda junk: junk[:5])
def test_what_is_no_token_is_none(idp, provider, junk):
    assert refusal(junk) == "invalid_request"


def test_audiences_are_the_client_and_the_address_that_it_is_sent_to(idp, provider):
    for audience in (CLIENT_ID, RECEIVER, [CLIENT_ID, "other"], ["other", RECEIVER]):
        receive_event("idp", idp.event(SESSION_REVOKED, aud=audience))


def test_an_event_that_was_late_for_a_week_counts(idp, provider):
    signed_in(provider)
    receive_event("idp", idp.event(SESSION_REVOKED, iat=NOW - 6 * 24 * 3600))
    assert alive() == set()


def test_an_event_counts_once(idp, provider, caplog):
    token = idp.event(SESSION_REVOKED)
    with caplog.at_level(logging.INFO):
        receive_event("idp", token)
        signed_in(provider)
        receive_event("idp", token)
    assert alive() == {"idp|alice s-1"}
    assert "received before" in caplog.text


def test_that_an_event_was_received_is_remembered_for_as_long_as_it_could_be_sent_again(idp, provider):
    token = idp.event(SESSION_REVOKED, iat=NOW - 6 * 24 * 3600)
    receive_event("idp", token)
    purge()
    signed_in(provider)
    receive_event("idp", token)
    assert alive() == {"idp|alice s-1"}
    assert UsedOnce.objects.get().expires_at > timezone.now() + timedelta(hours=23)


def test_the_same_id_at_another_provider_is_another_event(idp, provider):
    with TokenProvider() as second:
        IdentityProvider.objects.create(slug="second", client_id=CLIENT_ID, issuer=second.issuer)
        receive_event("second", second.event(SESSION_REVOKED, jti="j"))
    signed_in(provider)
    receive_event("idp", idp.event(SESSION_REVOKED, jti="j"))
    assert alive() == set()


def test_an_event_that_could_not_be_acted_on_may_come_again(idp, provider, monkeypatch):
    signed_in(provider)
    token = idp.event(SESSION_REVOKED)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk"):
        patch.setattr(store, "end_these", lambda *_: (_ for _ in ()).throw(OSError("disk")))
        receive_event("idp", token)
    receive_event("idp", token)
    assert alive() == set()


@pytest.mark.parametrize("change", [{"enabled": False}, {"kind": "github"}, {"slug": "renamed"}])
def test_only_an_openid_provider_that_is_enabled_is_heard(idp, provider, change):
    IdentityProvider.objects.filter(pk=provider.pk).update(**change)
    assert refusal(idp.event(SESSION_REVOKED)) == "access_denied"
