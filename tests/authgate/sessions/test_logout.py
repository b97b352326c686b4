from __future__ import annotations

import time
from types import SimpleNamespace
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from authgate.models.people import IdentityProvider, Session
from authgate.models.trust import RevokedToken
from authgate.oidc.claims import ProvenPerson
from authgate.oidc.provider import TokenSet
from authgate.outbound.errors import ProviderError
from authgate.sessions import store
from authgate.sessions.logout import backchannel, frontchannel, provider_logout_url
from tests.support.token_provider import CLIENT_ID, LOGOUT_EVENT, TokenProvider

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def idp():
    with TokenProvider() as started:
        yield started


@pytest.fixture
def provider(idp):
    return IdentityProvider.objects.create(slug="idp", client_id=CLIENT_ID, issuer=idp.issuer)


def signed_in(provider, subject="alice", sid="s-1", id_token="i.d.t"):
    proven = ProvenPerson(subject, "", "", {"sub": subject, "sid": sid})
    tokens = TokenSet(access_token="a", id_token=id_token)
    return store.start(proven, tokens, provider, host="", address="", user_agent="", replaces=None)


def alive():
    return {session.provider_sid for session in Session.objects.filter(ended_at=None)}


def body(token, **others):
    return urlencode({"logout_token": token, **others}).encode()


def refused(request, slug="idp"):
    with pytest.raises(ProviderError):
        backchannel(slug, request)
    return True


def test_a_logout_by_session_ends_that_session_and_revokes_its_cookie(idp, provider):
    ended, _ = signed_in(provider), signed_in(provider, sid="s-2")
    assert backchannel("idp", body(idp.logout_token(sid="s-1"))) == 1
    assert alive() == {"s-2"}
    assert RevokedToken.objects.get().jti == ended.sid


def test_a_logout_by_subject_ends_all_sessions_of_that_person(idp, provider):
    for subject, sid in (("alice", "s-1"), ("alice", "s-2"), ("bob", "s-3")):
        signed_in(provider, subject, sid)
    assert backchannel("idp", body(idp.logout_token(sub="alice"))) == 2
    assert alive() == {"s-3"}


def test_a_logout_of_a_session_that_is_another_persons_ends_nothing(idp, provider):
    signed_in(provider)
    assert backchannel("idp", body(idp.logout_token(sid="s-1", sub="bob"))) == 0
    assert alive() == {"s-1"}


def test_a_logout_ends_nothing_at_another_provider(idp, provider):
    other = IdentityProvider.objects.create(slug="other", client_id=CLIENT_ID, issuer="https://other.example")
    signed_in(other)
    assert backchannel("idp", body(idp.logout_token(sub="alice", sid="s-1"))) == 0
    assert alive() == {"s-1"}


def test_what_the_specification_says_to_ignore_is_ignored(idp, provider):
    signed_in(provider)
    assert backchannel("idp", body(idp.logout_token(sid="s-1", unknown={"a": 1}), ignored_parameter="x")) == 1


def test_a_logout_without_exp_and_one_of_the_usual_type_are_understood(idp, provider):
    signed_in(provider), signed_in(provider, sid="s-2")
    assert backchannel("idp", body(idp.logout_token(sid="s-1", exp=...))) == 1
    claims = {"iss": idp.issuer, "aud": [CLIENT_ID], "iat": time.time(), "jti": "j", "events": {LOGOUT_EVENT: {}}}
    assert backchannel("idp", body(idp.sign({**claims, "sid": "s-2"}, typ="JWT"))) == 1


def test_a_logout_token_counts_once(idp, provider):
    token = idp.logout_token(sub="alice")
    assert backchannel("idp", body(token)) == 0
    signed_in(provider)
    assert refused(body(token))
    assert alive() == {"s-1"}


NOW = int(time.time())
BAD_CLAIMS = {
    "no events": {"events": ...},
    "other event": {"events": {"http://schemas.openid.net/event/foobar": {}}},
    "event no object": {"events": {LOGOUT_EVENT: True}},
    "events a list": {"events": [LOGOUT_EVENT]},
    "other audience": {"aud": "other"},
    "no audience": {"aud": ...},
    "other issuer": {"iss": "https://other.example"},
    "no issuer": {"iss": ...},
    "nonce": {"nonce": "n"},
    "empty nonce": {"nonce": None},
    "no iat": {"iat": ...},
    "iat text": {"iat": "now"},
    "iat true": {"iat": True},
    "old": {"iat": NOW - 3600, "exp": NOW + 3600},
    "future": {"iat": NOW + 3600, "exp": NOW + 7200},
    "expired": {"iat": NOW - 300, "exp": NOW - 200},
    "no jti": {"jti": ...},
    "jti a list": {"jti": ["j"]},
    "nobody": {"sid": ...},
    "sid a list": {"sid": ["s-1"]},
    "sub empty": {"sub": ""},
}


@pytest.mark.parametrize("changes", BAD_CLAIMS.values(), ids=BAD_CLAIMS)
def test_a_bad_logout_token_ends_nothing(idp, provider, changes):
    signed_in(provider)
    assert refused(body(idp.logout_token(**{"sid": "s-1", **changes})))
    assert alive() == {"s-1"}


def test_a_logout_token_that_the_provider_did_not_sign_ends_nothing(idp, provider):
    signed_in(provider)
    claims = {"iss": idp.issuer, "aud": CLIENT_ID, "iat": NOW, "jti": "j", "events": {LOGOUT_EVENT: {}}, "sid": "s-1"}
    for token in (
        idp.unsigned(claims), idp.sign(claims, signer="attacker"), idp.sign(claims, alg="ES256"),
        idp.sign(claims, typ="at+jwt"), idp.sign(claims, crit=["x"]), "x", "", "é",
    ):  # fmt: skip
        assert refused(body(token))
    assert alive() == {"s-1"}


def test_an_id_token_is_no_logout_token(idp, provider):
    signed_in(provider)
    assert refused(body(idp.id_token(sid="s-1", jti="j")))
    assert alive() == {"s-1"}


def test_a_form_without_exactly_one_logout_token_ends_nothing(idp, provider):
    signed_in(provider)
    one, two = idp.logout_token(sid="s-1"), idp.logout_token(sid="s-1")
    for form in (b"", b"\xff", b"a=1", body(one) + b"&" + body(two), body(one) + b"&pad=" + b"x" * 70_000):
        assert refused(form)
    assert alive() == {"s-1"}


def test_an_unknown_provider_ends_nothing(idp, provider):
    assert refused(body(idp.logout_token(sid="s-1")), slug="unknown")


def test_a_frame_of_the_provider_ends_the_session_it_names(idp, provider):
    signed_in(provider), signed_in(provider, sid="s-2")
    assert frontchannel("idp", idp.issuer, "s-1") == 1
    assert alive() == {"s-2"}


@pytest.mark.parametrize(("issuer", "sid"), [("", "s-1"), ("https://other.example", "s-1"), (..., ""), (..., "s-9")])
def test_a_frame_that_does_not_name_issuer_and_session_ends_nothing(idp, provider, issuer, sid):
    signed_in(provider), signed_in(provider, sid="")
    assert frontchannel("idp", idp.issuer if issuer is ... else issuer, sid) == 0
    assert alive() == {"s-1", ""}


def test_signing_out_at_the_provider_leads_back_here(provider, idp):
    url = urlsplit(provider_logout_url(signed_in(provider)))
    asked = {name: value[0] for name, value in parse_qs(url.query).items()}
    assert f"{url.scheme}://{url.netloc}{url.path}" == f"{idp.issuer}/logout"
    assert asked.pop("state")
    assert asked == {
        "from": "here", "client_id": CLIENT_ID, "id_token_hint": "i.d.t",
        "post_logout_redirect_uri": "http://gateway.test/auth/signed-out",
    }  # fmt: skip


def test_a_provider_may_be_left_alone_on_signing_out(provider):
    session = signed_in(provider)
    session.person.provider.logout = IdentityProvider.Logout.LOCAL
    assert provider_logout_url(session) is None


def test_a_very_long_id_token_stays_out_of_the_address(provider):
    url = provider_logout_url(signed_in(provider, id_token="x" * 5000))
    assert "id_token_hint" not in url and len(url) < 1000


def test_the_provider_of_a_plain_oauth_sign_in_has_no_logout():
    session = SimpleNamespace(
        person=SimpleNamespace(provider=IdentityProvider(slug="gh", kind=IdentityProvider.Kind.GITHUB))
    )
    assert provider_logout_url(session) is None
