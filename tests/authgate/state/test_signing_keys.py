from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.conf import settings
from django.utils import timezone

from authgate.authn.jwk import thumbprint_of
from authgate.authn.keys import KeyUnusable, generate_key_pair, seal, unseal
from authgate.identity.assertion import mint_assertion
from authgate.models.trust import RevokedToken, SigningKey, StateVersion
from authgate.policy.document import PolicyDocument, Route, Upstream
from authgate.policy.powers import Machine
from authgate.policy.table import build_table
from authgate.request import Identity
from authgate.state import signing_keys
from authgate.state.signing_keys import Algorithm, Purpose
from authgate.state.trust import load_trust
from tests.support.gateway import environment, manage
from tests.support.signing import key, make_trust

SECRET = "a secret of at least 32 characters"


def trust_version():
    return StateVersion.objects.get(name="trust").value


@pytest.mark.django_db
def test_the_first_start_makes_a_key_for_each_purpose():
    load_trust()
    assert sorted(SigningKey.objects.values_list("purpose", "algorithm")) == [
        ("assertions", "ES256"),
        ("tokens", "RS256"),
    ]


@pytest.mark.django_db
def test_the_next_start_uses_the_same_keys():
    assert load_trust().token_signer.kid == load_trust().token_signer.kid


@pytest.mark.django_db
def test_the_newest_key_signs_and_the_older_one_still_verifies():
    first = load_trust().token_signer.kid
    made = signing_keys.create(Purpose.TOKENS, Algorithm.ES256, Machine("test"))
    trust = load_trust()
    assert trust.token_signer.kid == made.kid
    assert set(trust.token_keys) == {first, made.kid}


@pytest.mark.django_db
def test_a_retired_key_neither_signs_nor_verifies_and_is_replaced():
    first = load_trust().token_signer.kid
    row = SigningKey.objects.get(kid=first)
    row.retired_at = timezone.now()
    row.save()
    trust = load_trust()
    assert first not in trust.token_keys
    assert first not in trust.jwks.decode()
    assert trust.token_signer.kid != first


@pytest.mark.django_db
def test_another_secret_stops_with_a_clear_word_and_makes_no_new_key(settings):
    load_trust()
    settings.SECRET_KEY = "another secret, also of 32 characters"
    with pytest.raises(KeyUnusable, match="is not the one it was made with"):
        load_trust()
    assert SigningKey.objects.count() == 2


@pytest.mark.django_db
def test_the_private_key_is_not_readable_in_the_database():
    load_trust()
    for row in SigningKey.objects.all():
        raw = base64.b64decode(row.private_key)
        assert b"PRIVATE" not in raw
        assert {"d", "p", "q"}.isdisjoint(row.public_jwk)


@pytest.mark.django_db
def test_a_public_key_planted_in_the_database_is_not_trusted():
    load_trust()
    row = SigningKey.objects.get(purpose="tokens")
    SigningKey.objects.filter(pk=row.pk).update(public_jwk=generate_key_pair("RS256").public_jwk)
    assert load_trust().token_signer.public_jwk == row.public_jwk


TAMPERING = {
    "purpose": lambda row: {"purpose": "assertions"},
    "algorithm": lambda row: {"algorithm": "ES256"},
    "kid": lambda row: {"kid": generate_key_pair("ES256").kid},
    "truncated": lambda row: {"private_key": row.private_key[:-8]},
    "empty": lambda row: {"private_key": ""},
    "no-base64": lambda row: {"private_key": "é" + row.private_key},
    "plain": lambda row: {"private_key": base64.b64encode(b"-----BEGIN PRIVATE KEY-----").decode()},
    "other-key": lambda row: {"private_key": seal(generate_key_pair("RS256"), "tokens", settings.SECRET_KEY)},
}


@pytest.mark.django_db
@pytest.mark.parametrize("tamper", TAMPERING.values(), ids=TAMPERING)
def test_a_changed_row_stops_the_load(tamper):
    load_trust()
    row = SigningKey.objects.get(purpose="tokens")
    SigningKey.objects.filter(pk=row.pk).update(**tamper(row))
    with pytest.raises(KeyUnusable):
        load_trust()


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_sealed_key_comes_out_whole(algorithm):
    pair = generate_key_pair(algorithm)
    again = unseal(seal(pair, "tokens", SECRET), pair.kid, "tokens", algorithm, (SECRET,))
    assert again.public_jwk == pair.public_jwk
    assert pair.verify(b"text", again.sign(b"text"))


def test_the_same_key_is_sealed_differently_each_time():
    assert seal(key(), "tokens", SECRET) != seal(key(), "tokens", SECRET)


WEAK = {
    "rsa-1024": rsa.generate_private_key(public_exponent=65537, key_size=1024),
    "p-384": ec.generate_private_key(ec.SECP384R1()),
    "secp256k1": ec.generate_private_key(ec.SECP256K1()),
}


@pytest.mark.parametrize("private", WEAK.values(), ids=WEAK)
def test_a_key_that_is_too_weak_or_on_another_curve_is_not_used(private):
    from authgate.authn import keys

    with pytest.raises(KeyUnusable):
        keys._pair(private)


def test_a_key_id_is_the_thumbprint_of_rfc_7638():
    n = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCi"
        "FV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb"
        "9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls"
        "1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    assert thumbprint_of({"kty": "RSA", "n": n, "e": "AQAB"}) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@pytest.mark.django_db
def test_a_revoked_token_is_known_until_it_would_have_expired():
    now = timezone.now()
    RevokedToken.objects.create(jti="live", expires_at=now + timedelta(hours=1))
    RevokedToken.objects.create(jti="past", expires_at=now - timedelta(hours=1))
    assert load_trust().revoked == {"live"}


CHANGES = {
    "revoke": lambda: RevokedToken.objects.create(jti="x", expires_at=timezone.now()),
    "forget-revocation": lambda: RevokedToken.objects.all().delete(),
    "make-key": lambda: signing_keys.create(Purpose.TOKENS, Algorithm.ES256, Machine("test")),
    "retire-key": lambda: SigningKey.objects.first().save(),
    "delete-key": lambda: SigningKey.objects.first().delete(),
}


@pytest.mark.django_db
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_makes_the_workers_reload(change):
    load_trust()
    RevokedToken.objects.create(jti="before", expires_at=timezone.now() - timedelta(hours=1))
    before = trust_version()
    change()
    assert trust_version() > before


@pytest.mark.django_db
def test_a_load_that_changes_nothing_makes_nobody_reload():
    load_trust()
    before = trust_version()
    load_trust()
    assert trust_version() == before


def start_together(env, count=4):
    with ThreadPoolExecutor(count) as pool:
        results = list(pool.map(lambda _: manage(env, "mint_token", "alice", "--quiet"), range(count)))
    assert [(result.returncode, result.stderr) for result in results] == [(0, "")] * count
    return {jwt.get_unverified_header(result.stdout.strip())["kid"] for result in results}


def test_processes_that_start_together_agree_on_one_key(tmp_path):
    env = environment(tmp_path / "data")
    assert manage(env, "migrate", "--verbosity=0").returncode == 0
    assert len(start_together(env)) == 1


def test_machines_that_start_together_agree_on_one_key(tmp_path, postgres):
    shared = {"AUTHGATE_DATABASE_URL": postgres.create_database(), "AUTHGATE_SECRET_KEY": SECRET}
    env = environment(tmp_path / "data", **shared)
    assert manage(env, "migrate", "--verbosity=0").returncode == 0
    assert len(start_together(env)) == 1


ALICE = Identity(
    "alice", "http://gateway.test", 2_000_000_000, by_cookie=False, token_id="t-1", email="a@b.c", name="Al Ä",
    roles=frozenset({"b", "a"}),
)  # fmt: skip


def entry(name="api"):
    route = Route(name=name, path="/api", access="authenticated", upstream="api")
    document = PolicyDocument(upstreams={"api": Upstream(targets=("http://127.0.0.1:1",))}, routes=(route,))
    return build_table(document).match("gateway.test", "/api", "GET")


def read_assertion(token, audience="api", **options):
    """As the developer of a service would: any JWT library and the published keys."""
    keys = jwt.PyJWKSet.from_dict(json.loads(make_trust().jwks))
    signer = keys[jwt.get_unverified_header(token)["kid"]]
    return jwt.decode(
        token, signer, algorithms=["ES256"], audience=audience, issuer="http://gateway.test",
        options={"require": ["exp", "iat", "sub"], **options},
    )  # fmt: skip


def test_an_assertion_is_verified_with_the_published_keys():
    now = int(timezone.now().timestamp())
    token = mint_assertion(ALICE, entry(), make_trust(), now)
    claims = read_assertion(token)
    assert (claims["sub"], claims["email"], claims["name"], claims["roles"]) == ("alice", "a@b.c", "Al Ä", ["a", "b"])
    assert (claims["iat"], claims["exp"]) == (now, now + 300)
    assert jwt.get_unverified_header(token)["typ"] == "assertion+jwt"


def test_an_assertion_for_one_route_is_no_good_at_another():
    token = mint_assertion(ALICE, entry("api"), make_trust(), int(timezone.now().timestamp()))
    with pytest.raises(jwt.InvalidAudienceError):
        read_assertion(token, audience="other")


def test_no_private_member_is_published():
    published = json.loads(make_trust().jwks)["keys"]
    assert [set(jwk) for jwk in published] == [
        {"kty", "n", "e", "kid", "use", "alg"},
        {"kty", "crv", "x", "y", "kid", "use", "alg"},
    ]
