"""What an issuer's security event does: it refuses the tokens that its subject was given before."""

from __future__ import annotations

import json

import pytest

from authgate.models.issuers import TokenIssuer
from authgate.models.people import IdentityProvider, Session
from authgate.models.trust import Revocation
from authgate.oidc.security_event import EventRefused
from authgate.outbound.errors import ProviderError
from authgate.sessions import signals
from authgate.sessions.receiving import receive_event
from authgate.state.issuer_keys import issuer_keys
from tests.authgate.sessions.test_signals import signed_in
from tests.support.hostile import JWKS, Reply, signing_key
from tests.support.issuers import API
from tests.support.token_provider import TokenProvider

pytestmark = pytest.mark.django_db
REVOKED = "caep session-revoked"
EFFECTIVE = [
    REVOKED, "caep credential-change", "caep token-claims-change", "risc sessions-revoked", "risc account-disabled",
    "risc account-purged",
]  # fmt: skip


@pytest.fixture
def ci():
    with TokenProvider() as started:
        yield started
    issuer_keys.keep_only(set())


@pytest.fixture
def issuer(ci):
    return TokenIssuer.objects.create(slug="ci", issuer=ci.issuer, audiences=[API])


def refused_subjects():
    return set(Revocation.objects.values_list("subject", flat=True))


def refusal(token):
    with pytest.raises(EventRefused) as refused:
        receive_event("ci", token)
    return refused.value.err


@pytest.mark.parametrize("name", EFFECTIVE)
def test_the_tokens_of_the_subject_are_refused(ci, issuer, name):
    receive_event("ci", ci.event(name, "robot", aud=API))
    assert refused_subjects() == {"ci|robot"}


def test_an_issuer_that_names_ever_more_subjects_loses_all_its_tokens_at_once(ci, issuer, monkeypatch):
    monkeypatch.setattr(signals, "MOST_SUBJECTS", 2)
    for name in ("one", "two", "one", "three", "four"):
        receive_event("ci", ci.event(REVOKED, name, aud=API))
    assert refused_subjects() == {"ci|one", "ci|two", ""}
    assert Revocation.objects.get(subject="").issuer == "ci"


@pytest.mark.parametrize("name", ["ssf verification", "risc account-enabled", "caep device-compliance-change", "urn:x"])
def test_what_asks_for_nothing_does_nothing(ci, issuer, name):
    receive_event("ci", ci.event(name, "robot", aud=API))
    assert refused_subjects() == set()


@pytest.mark.parametrize("strategy", TokenIssuer.Strategy.values)
def test_an_issuer_whose_tokens_are_introspected_is_heard_as_well(ci, issuer, strategy):
    TokenIssuer.objects.update(strategy=strategy)
    receive_event("ci", ci.event(REVOKED, "robot", aud=API))
    assert refused_subjects() == {"ci|robot"}


def test_an_issuer_whose_keys_are_pasted_is_heard_as_well(ci, issuer):
    TokenIssuer.objects.update(pasted_keys=json.dumps({"keys": [ci.key.jwk]}))
    receive_event("ci", ci.event(REVOKED, "robot", aud=API))
    assert refused_subjects() == {"ci|robot"}
    assert ci.seen == []


def test_an_opaque_id_is_the_subject_as_the_issuer_has_it(ci, issuer):
    receive_event("ci", ci.event(REVOKED, {"format": "opaque", "id": "robot"}, aud=API))
    assert refused_subjects() == {"ci|robot"}


OF_NOBODY = [
    {"format": "iss_sub", "iss": "https://idp.example", "sub": "robot"},
    {"format": "email", "email": "robot@example.com"},
    {"format": "account", "uri": "acct:robot@example.com"},
    {"format": "complex", "session": {"format": "opaque", "id": "robot"}},
    {"format": "opaque", "id": "r" * 200},
    {"format": "opaque", "id": " robot"},
]


@pytest.mark.parametrize("subject", OF_NOBODY, ids=json.dumps)
def test_whoever_no_token_can_name_is_taken_to_no_effect(ci, issuer, subject):
    receive_event("ci", ci.event(REVOKED, subject, aud=API))
    assert refused_subjects() == set()


def test_people_of_a_provider_are_beyond_an_issuer(ci, issuer):
    provider = IdentityProvider.objects.create(slug="idp", client_id="gateway", issuer=ci.issuer)
    signed_in(provider)
    receive_event("ci", ci.event("risc account-disabled", aud=API))
    assert Session.objects.filter(ended_at=None).count() == 1
    assert refused_subjects() == {"ci|alice"}


def test_an_event_counts_once(ci, issuer):
    token = ci.event(REVOKED, "robot", aud=API)
    receive_event("ci", token)
    before = Revocation.objects.get().created_at, Revocation.objects.get().issued_before
    receive_event("ci", token)
    assert (Revocation.objects.get().created_at, Revocation.objects.get().issued_before) == before


@pytest.mark.parametrize(
    ("changes", "err"),
    [
        ({"iss": "https://other.example"}, "invalid_issuer"),
        ({"aud": "gateway"}, "invalid_audience"),
        ({"aud": "http://gateway.test/auth/events/other"}, "invalid_audience"),
        ({"header": {"typ": "at+jwt"}}, "invalid_request"),
        ({"header": {"typ": "JWT"}}, "invalid_request"),
        ({"header": {"alg": "none"}}, "invalid_key"),
        ({"header": {"alg": "ES256"}}, "invalid_key"),
    ],
    ids=json.dumps,
)
def test_what_is_not_for_us_or_of_another_type_is_refused(ci, issuer, changes, err):
    assert refusal(ci.event(REVOKED, "robot", **({"aud": API} | changes))) == err
    assert refused_subjects() == set()


def test_only_the_algorithms_of_the_issuer_are_taken(ci, issuer):
    TokenIssuer.objects.update(algorithms=["PS256"])
    assert refusal(ci.event(REVOKED, aud=API)) == "invalid_key"


def test_the_address_that_it_is_sent_to_is_an_audience(ci, issuer):
    receive_event("ci", ci.event(REVOKED, "robot", aud="http://gateway.test/auth/events/ci"))
    assert refused_subjects() == {"ci|robot"}


def test_somebody_elses_signature_is_refused(ci, issuer):
    claims = {"iss": ci.issuer, "aud": API, "iat": 1, "jti": "j", "events": {"urn:x": {}}, "sub_id": OF_NOBODY[0]}
    assert refusal(ci.sign(claims, "attacker", typ="secevent+jwt")) == "authentication_failed"


def test_a_disabled_issuer_is_not_heard(ci, issuer):
    TokenIssuer.objects.update(enabled=False)
    assert refusal(ci.event(REVOKED, aud=API)) == "access_denied"


def test_nothing_is_said_about_an_event_while_the_keys_are_away(ci, issuer):
    """Neither accepted nor refused: it may come again."""
    ci.answers[JWKS] = lambda seen: Reply(500)
    with pytest.raises(ProviderError):
        receive_event("ci", ci.event(REVOKED, aud=API))


def test_a_key_that_is_new_may_not_be_known_for_some_seconds(ci, issuer):
    receive_event("ci", ci.event(REVOKED, aud=API))
    ci.key = signing_key(kid="second")
    ci.published = [ci.key.jwk]
    with pytest.raises(ProviderError, match="a moment ago"):
        receive_event("ci", ci.event(REVOKED, "robot", aud=API))


@pytest.mark.parametrize("first", ["provider", "issuer"])
def test_no_provider_and_issuer_have_one_slug(ci, first):
    provider = IdentityProvider(slug="ci", name="CI", client_id="gateway", issuer=ci.issuer)
    issuer = TokenIssuer(slug="ci", issuer=ci.issuer, audiences=[API])
    before, after = (provider, issuer) if first == "provider" else (issuer, provider)
    before.full_clean()
    before.save()
    with pytest.raises(Exception, match="has this name"):
        after.full_clean()
