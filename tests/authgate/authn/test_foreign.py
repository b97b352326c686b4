"""Tokens of other issuers, each check by itself. tests/authgate/gate/test_issuers.py asks the running gateway."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from authgate.authn.compact import read_compact, read_object
from authgate.authn.foreign import MAX_SUBJECT, MAX_TTL, KeysWanted, Proven, verify_foreign
from authgate.authn.issuers import Issuer, KeyRing, KeySource
from authgate.authn.jwk import read_keys
from authgate.request import InvalidCredential
from tests.support.hostile import SigningKey, broken, sign, signing_key

NOW = 1_800_000_000
URL, API = "https://ci.example.com", "https://api.example.com"
KEY, OTHER = signing_key(), signing_key(kid="second")
EC = signing_key("ES256", "curve")
JKT = "A" * 43


def issuer(*keys: SigningKey, **changes: Any) -> Issuer:
    published = read_keys({"keys": [key.jwk for key in keys or (KEY,)]})
    values: dict[str, Any] = {
        "slug": "ci", "issuer": URL, "algorithms": frozenset(("RS256", "ES256")), "audiences": frozenset((API,)),
        "source": KeySource(URL), "ring": KeyRing(tuple(published)), **changes,
    }  # fmt: skip
    return Issuer(**values)


def token(key: SigningKey = KEY, header: dict[str, Any] | None = None, **claims: Any) -> str:
    good = {"iss": URL, "aud": API, "sub": "robot", "iat": NOW - 10, "exp": NOW + 300, "jti": "t-1"}
    return sign(key, good | claims, {"alg": key.algorithm, "kid": key.kid, "typ": "at+jwt"} | (header or {}))


def verify(raw: str, by: Issuer | None = None, now: float = NOW) -> Proven:
    unverified = read_compact(raw.encode())
    return verify_foreign(raw.encode(), unverified, read_object(unverified.unverified_payload), by or issuer(), now)


def reason(raw: str, by: Issuer | None = None, now: float = NOW) -> str:
    try:
        verify(raw, by, now)
    except InvalidCredential as refused:
        return refused.reason.value
    except KeysWanted:
        return "keys wanted"
    return ""


def test_what_it_proves() -> None:
    proven = verify(token(email="a@example.com", name="A", scope="x y", aud=[API, "other"], groups=["g"]))
    assert replace(proven, claims={}) == Proven(
        subject="ci|robot", token_id="t-1", issued_at=NOW - 10, expires_at=NOW + 305, email="a@example.com", name="A",
        roles=frozenset(), scopes=frozenset("xy"), audiences=frozenset((API,)), key_thumbprint="",
        claims={},
    )  # fmt: skip
    assert (proven.claims["groups"], proven.claims["sub"]) == (["g"], "robot")


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"exp": NOW}, ""),
        ({"exp": NOW - 4}, ""),
        ({"exp": NOW - 5}, "token_expired"),
        ({"exp": NOW + MAX_TTL}, ""),
        ({"exp": NOW + MAX_TTL + 1}, "invalid_token"),
        ({"exp": 0}, "invalid_token"),
        ({"exp": 253402300800}, "invalid_token"),
        ({"iat": NOW + 5}, ""),
        ({"iat": NOW + 6}, "token_not_yet_valid"),
        ({"nbf": NOW + 5}, ""),
        ({"nbf": NOW + 6}, "token_not_yet_valid"),
        ({"iat": "1"}, "invalid_token"),
        ({"nbf": True}, "invalid_token"),
        ({"nbf": 253402300799}, "token_not_yet_valid"),
        ({"nbf": 253402300800}, "invalid_token"),
        ({"iat": None}, "invalid_token"),
        ({"sub": "a" * MAX_SUBJECT}, ""),
        ({"sub": "a" * (MAX_SUBJECT + 1)}, "invalid_token"),
        ({"sub": ""}, "invalid_token"),
        ({"sub": " a"}, "invalid_token"),
        ({"exp": NOW + 0.5}, ""),
        ({"exp": 1}, "token_expired"),
        ({"exp": 253402300799}, "invalid_token"),
        ({"iat": 1.5}, ""),
        ({"sub": 7}, "invalid_token"),
        ({"sub": ["a"]}, "invalid_token"),
        ({"nonce": "n"}, "wrong_type"),
        ({"at_hash": "h"}, "wrong_type"),
        ({"c_hash": "h"}, "wrong_type"),
        ({"events": {}}, "wrong_type"),
        ({"typ": "Refresh"}, "wrong_type"),
        ({"typ": "ID"}, "wrong_type"),
        ({"typ": "Bearer"}, ""),
        ({"token_use": "access"}, ""),
        ({"toe": 1}, "wrong_type"),
        ({"token_use": "id_token"}, "wrong_type"),
        ({"token_use": "refresh_token"}, "wrong_type"),
        ({"typ": "Offline"}, "wrong_type"),
        ({"typ": "Logout"}, "wrong_type"),
        ({"token_use": "ID"}, "wrong_type"),
        ({"typ": 7}, ""),
        ({"aud": API + "/"}, "wrong_audience"),
        ({"aud": {API: True}}, "wrong_audience"),
        ({"aud": None}, "wrong_audience"),
    ],
)
def test_bounds_of_claims(claims: dict[str, Any], expected: str) -> None:
    assert reason(token(**claims)) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"typ": ...}, ""),
        ({"typ": "JWT"}, ""),
        ({"typ": "application/JWT"}, ""),
        ({"typ": "application/at+jwt"}, ""),
        ({"typ": "AT+JWT"}, ""),
        ({"typ": 7}, "wrong_type"),
        ({"typ": ""}, "wrong_type"),
        ({"typ": None}, "wrong_type"),
        ({"enc": "A256GCM"}, "invalid_token"),
        ({"zip": "DEF"}, "invalid_token"),
        ({"crit": []}, "invalid_token"),
        ({"b64": True}, "invalid_token"),
        ({"alg": ...}, "invalid_token"),
        ({"alg": None}, "invalid_token"),
        ({"alg": "rs256"}, "invalid_token"),
        ({"alg": ["RS256"]}, "invalid_token"),
        ({"kid": None}, ""),
        ({"kid": ""}, "keys wanted"),
        ({"kid": ["first"]}, "invalid_token"),
        ({"kid": "First"}, "keys wanted"),
    ],
)
def test_headers(header: dict[str, Any], expected: str) -> None:
    assert reason(token(header=header)) == expected


@pytest.mark.parametrize(("typ", "expected"), [("JWT", "wrong_type"), (..., "wrong_type"), ("at+jwt", "")])
def test_strict_type(typ: Any, expected: str) -> None:
    assert reason(token(header={"typ": typ}), issuer(strict_type=True)) == expected


def test_strict_type_needs_iat() -> None:
    assert (reason(token(iat=...), issuer(strict_type=True)), reason(token(iat=...))) == ("invalid_token", "")


def test_age() -> None:
    by = issuer(max_age=60)
    assert [reason(token(iat=NOW - age), by) for age in (0, 64, 65)] == ["", "", "token_expired"]
    assert reason(token(iat=...), by) == "invalid_token"
    assert verify(token(iat=NOW - 10), by).expires_at == NOW + 55
    assert verify(token(iat=NOW, exp=NOW + 20), by).expires_at == NOW + 25


def test_leeway() -> None:
    assert reason(token(exp=NOW - 30), issuer(leeway=31)) == ""
    assert reason(token(exp=NOW - 1), issuer(leeway=0)) == "token_expired"


def test_only_the_issuers_algorithms() -> None:
    assert reason(token(EC), issuer(EC)) == ""
    assert reason(token(EC), issuer(EC, algorithms=frozenset(("RS256",)))) == "invalid_token"


def test_keys() -> None:
    assert reason(token(OTHER)) == "keys wanted"
    assert reason(token(OTHER), issuer(KEY, OTHER)) == ""
    assert reason(token(OTHER, {"kid": KEY.kid}), issuer(KEY, OTHER)) == "bad_signature"
    assert reason(broken(token())) == "bad_signature"
    assert reason(token(), issuer(ring=KeyRing())) == "keys wanted"
    # Without a name, one key must be meant.
    assert reason(token(header={"kid": ...}), issuer(KEY, OTHER)) == "unknown_key"
    assert reason(token(header={"kid": ...}), issuer(KEY, EC)) == ""
    pss = signing_key("PS256", "first")  # of the same name, and for another algorithm
    assert reason(token(), issuer(KEY, pss)) == ""
    assert reason(token(), issuer(KEY, signing_key(bits=3072))) == "unknown_key"


def test_required_claims() -> None:
    by = issuer(required_claims={"env": "prod", "level": 1, "on": True, "a.b": "c"})
    good = {"env": ["test", "prod"], "level": 1, "on": True, "a": {"b": "c"}}
    assert reason(token(**good), by) == ""
    for change in ({"env": "Prod"}, {"level": True}, {"level": "1"}, {"on": 1}, {"a": {"b": ["d"]}}, {"a": "c"}):
        assert reason(token(**{**good, **change}), by) == "claim_missing"


def test_required_scopes() -> None:
    by = issuer(required_scopes=frozenset("xy"))
    assert [reason(token(scope=scope), by) for scope in ("x y", "z y x")] == ["", ""]
    assert {reason(token(scope=scope), by) for scope in ("x", "", None, "xy")} == {"insufficient_scope"}


@pytest.mark.parametrize(
    ("dpop", "unbound", "bound"),
    [
        ("off", "", "proof_required"),
        ("optional", "", ""),
        ("required", "proof_required", ""),
        ("nonce", "proof_required", ""),
    ],
)
def test_bound_tokens(dpop: str, unbound: str, bound: str) -> None:
    assert (reason(token(), issuer(dpop=dpop)), reason(token(cnf={"jkt": JKT}), issuer(dpop=dpop))) == (unbound, bound)


def test_key_that_a_token_is_bound_to() -> None:
    assert verify(token(cnf={"jkt": JKT}), issuer(dpop="optional")).key_thumbprint == JKT


def test_mapping() -> None:
    paths = {"sub": "client_id", "email": "contact.mail", "name": "n", "groups": "g.h", "roles": "realm_access.roles"}
    proven = verify(
        token(
            client_id="c", contact={"mail": "m@example.com"}, n="N", g={"h": ["x"]}, groups=["not meant"],
            realm_access={"roles": ["a", "", 7, "b"]},
        ),
        issuer(mapping=paths),
    )  # fmt: skip
    assert (proven.subject, proven.email, proven.name) == ("ci|c", "m@example.com", "N")
    assert (proven.roles, proven.claims["groups"]) == (frozenset("ab"), ["x"])
    one = verify(token(realm_access={"roles": "one"}), issuer(mapping={"roles": "realm_access.roles"}))
    assert one.roles == {"one"}


def test_roles_come_only_from_where_the_operator_says() -> None:
    assert verify(token(roles=["admin"])).roles == frozenset()


@pytest.mark.parametrize(("email", "taken"), [("a@example.com", "a@example.com"), (7, ""), ("a\r\nb", ""), (" a", "")])
def test_email(email: Any, taken: str) -> None:
    proven = verify(token(email=email))
    assert (proven.email, proven.claims["email"]) == (taken, taken)


@pytest.mark.parametrize(
    ("verified", "taken"), [(True, "a@b"), (..., "a@b"), (False, ""), ("true", ""), (1, ""), (None, "")]
)
def test_email_that_is_not_verified(verified: Any, taken: str) -> None:
    proven = verify(token(email="a@b", email_verified=verified))
    assert (proven.email, proven.claims["email"]) == (taken, taken)


def test_name_in_the_claims_is_the_mapped_one() -> None:
    assert verify(token(name="A", n="B"), issuer(mapping={"name": "n"})).claims["name"] == "B"


def test_time_of_issue_that_is_not_told_is_the_beginning() -> None:
    assert verify(token(iat=...)).issued_at == 0


def test_token_without_an_id_has_one_made_of_itself() -> None:
    first, second = (verify(token(jti=..., n=n)).token_id for n in (1, 2))
    assert first.startswith("sha256:") and len(first) == 39 and first != second
    assert verify(token(jti="a\nb")).token_id.startswith("sha256:")


RULES = [
    ({"aud": [None, True, {}, [], 7]}, "aud is missing or null, true or false, an object, a list, a number"),
    ({"aud": [7] * 20}, f"aud is {', '.join(['a number'] * 10)}"),
    ({"aud": []}, "aud is empty"),
    ({"aud": "x" * 500}, f"aud is '{'x' * 199}"),
    ({"exp": ...}, "exp is missing or null, which is no time"),
    ({"exp": NOW + MAX_TTL + 1}, "exp is more than 366 days away"),
    ({"iat": NOW - 100}, "it was issued more than 60 seconds ago"),
    ({"iat": ...}, "iat is missing"),
    ({"scope": "x"}, "the issuer's required scopes: y z is missing"),
    ({"env": "test"}, "env must be 'prod'"),
    ({"cnf": ...}, "it is bound to no key"),
    ({"header": {"typ": ...}}, "typ is missing or null"),
    ({"header": {"typ": "x"}}, "typ is 'x'"),
    ({"header": {"alg": None}}, "alg is missing or null, which the issuer may not use"),
    ({"header": {"crit": ["x"]}}, "its header has one of b64, crit, enc, zip"),
]


@pytest.mark.parametrize(("changes", "rule"), RULES, ids=[rule[:40] for _, rule in RULES])
def test_rule_that_an_operator_is_told(changes: dict[str, Any], rule: str) -> None:
    by = issuer(
        strict_type=True, max_age=60, required_scopes=frozenset("xyz"), required_claims={"env": "prod"}, dpop="required"
    )
    good = {"scope": "x y z", "env": "prod", "cnf": {"jkt": JKT}}
    assert reason(token(**good), by) == ""
    with pytest.raises(InvalidCredential) as refused:
        verify(token(**{**good, **changes}), by)
    assert refused.value.rule == rule


def test_rule_of_a_bound_token_where_dpop_is_off() -> None:
    with pytest.raises(InvalidCredential) as refused:
        verify(token(cnf={"jkt": JKT}))
    assert refused.value.rule == "it is bound to a key, and DPoP is off"


def test_now_is_the_time_it_is_verified() -> None:
    assert reason(token(), now=time.time() + 10 * MAX_TTL) == "token_expired"
