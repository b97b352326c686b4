from __future__ import annotations

import time

import pytest

from authgate.authn.claims import LEEWAY
from authgate.authn.tokens import ClaimRefused, Kind, mint, verify
from authgate.reason import Reason
from authgate.request import InvalidCredential
from tests.support.signing import ISSUER, make_trust, sign_token

NOW = 1_800_000_000
TIMES = {"iat": NOW, "exp": NOW + 600}


def verify_with(trust=None, now=NOW, **claims):
    return verify(sign_token(claims={**TIMES, **claims}), trust or make_trust(), Kind.ACCESS, now)


def refused(trust=None, now=NOW, **claims):
    with pytest.raises(InvalidCredential) as refusal:
        verify_with(trust, now, **claims)
    return refusal.value.reason


@pytest.mark.parametrize(
    "issuer",
    [
        ..., None, "", [ISSUER], {"iss": ISSUER}, 0, True, ISSUER + "1", ISSUER + "/", ISSUER[:-1], ISSUER[1:],
        "x" + ISSUER, ISSUER.upper(), ISSUER + " ", "http://gateway.test:80", "https://gateway.test",
    ],
    ids=repr,
)  # fmt: skip
def test_another_issuer_is_refused(issuer):
    assert refused(iss=issuer) is Reason.WRONG_ISSUER


@pytest.mark.parametrize(
    "audience",
    [
        ..., None, "", [], "elsewhere", ["elsewhere"], [[ISSUER]], [ISSUER, 1], [ISSUER, None], {ISSUER: 1}, True,
        ISSUER + "1", ISSUER[:-1], ISSUER + "/", ISSUER.upper(), f"{ISSUER} elsewhere",
    ],
    ids=repr,
)  # fmt: skip
def test_another_audience_is_refused(audience):
    assert refused(aud=audience) is Reason.WRONG_AUDIENCE


@pytest.mark.parametrize("audience", [ISSUER, [ISSUER], ["elsewhere", ISSUER]], ids=repr)
def test_a_token_for_us_is_accepted(audience):
    assert verify_with(aud=audience).subject == "alice"


WEIRD_TIMES = [None, True, False, "9999999999", "", [], [NOW], {}, 1e300, NOW + 0.5, float(NOW), -1, -(2**63)]


@pytest.mark.parametrize(
    "value", [..., *WEIRD_TIMES, 0, 2**63, 2**64, 10**400, 253402300800], ids=lambda v: repr(v)[:30]
)
def test_an_expiry_that_is_no_time_is_refused(value):
    assert refused(exp=value) is Reason.INVALID_TOKEN


@pytest.mark.parametrize("value", [..., *WEIRD_TIMES], ids=repr)
def test_an_issue_time_that_is_no_time_is_refused(value):
    assert refused(iat=value) is Reason.INVALID_TOKEN


@pytest.mark.parametrize("value", WEIRD_TIMES, ids=repr)
def test_a_start_that_is_no_time_is_refused(value):
    assert refused(nbf=value) is Reason.INVALID_TOKEN


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1E400", "1e10", "1.0"])
def test_an_expiry_written_as_no_whole_number_is_refused(text):
    body = f'{{"iss":"{ISSUER}","aud":"{ISSUER}","sub":"a","jti":"j","iat":{NOW},"exp":{text}}}'
    with pytest.raises(InvalidCredential) as refusal:
        verify(sign_token(claims=body.encode()), make_trust(), Kind.ACCESS, NOW)
    assert refusal.value.reason is Reason.INVALID_TOKEN


@pytest.mark.parametrize("expires_at", [NOW + 1, 2**31, 2**32, 253402300799])
def test_a_token_is_good_until_it_expires(expires_at):
    assert verify_with(exp=expires_at).expires_at == expires_at


@pytest.mark.parametrize("now", [NOW + 600, NOW + 600.5, NOW + 601, NOW + 10**6])
def test_a_token_is_bad_from_the_second_it_expires(now):
    assert refused(now=now) is Reason.TOKEN_EXPIRED


def test_a_token_is_good_in_its_last_moment():
    assert verify_with(now=NOW + 599.9).subject == "alice"


@pytest.mark.parametrize("claim", ["iat", "nbf"])
def test_clocks_may_differ_a_little(claim):
    assert verify_with(**{claim: NOW + LEEWAY}).subject == "alice"


@pytest.mark.parametrize("claim", ["iat", "nbf"])
def test_a_token_from_the_future_is_refused(claim):
    assert refused(**{claim: NOW + LEEWAY + 1}) is Reason.TOKEN_NOT_YET_VALID


def test_a_revoked_token_is_refused():
    assert refused(make_trust(revoked=("t-1",))) is Reason.TOKEN_REVOKED


TEXTS = {
    "missing": ..., "null": None, "empty": "", "number": 7, "true": True, "list": ["alice"], "object": {"a": 1},
    "long": "a" * 201, "crlf": "alice\r\nX-Auth-User-Roles: admin", "nul": "alice\x00", "nel": "alice\x85",
    "line-separator": "alice\u2028", "del": "alice\x7f", "leading-space": " alice", "trailing-space": "alice ",
    "no-break-space": "alice\xa0", "tab": "alice\t",
}  # fmt: skip


@pytest.mark.parametrize("value", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("claim", ["sub", "jti"])
def test_a_subject_and_a_token_id_are_required_and_clean(claim, value):
    assert refused(**{claim: value}) is Reason.INVALID_TOKEN


@pytest.mark.parametrize("value", [TEXTS[name] for name in TEXTS if name not in ("missing", "empty")], ids=repr)
@pytest.mark.parametrize("claim", ["email", "name"])
def test_an_email_or_name_that_is_no_clean_text_is_refused(claim, value):
    assert refused(**{claim: value}) is Reason.INVALID_TOKEN


@pytest.mark.parametrize("subject", ["alice", "al ice", "ålice", "alice@example.com", "a" * 200, "日本", "🙂"])
def test_a_subject_comes_out_as_it_was_written(subject):
    assert verify_with(sub=subject).subject == subject


ROLES = [None, "admin", "", {"admin": True}, 1, True, [""], [None], [1], [["admin"]], ["user", ""], [" admin"], ["a\n"]]


@pytest.mark.parametrize("roles", ROLES, ids=repr)
def test_roles_that_are_no_list_of_names_are_refused(roles):
    assert refused(roles=roles) is Reason.INVALID_TOKEN


@pytest.mark.parametrize("roles", [..., []], ids=repr)
def test_no_roles_are_no_roles(roles):
    assert verify_with(roles=roles).roles == frozenset()


def test_claims_cannot_be_changed_afterwards():
    with pytest.raises(TypeError):
        verify_with().all["sub"] = "admin"


def minted(subject="alice", **options):
    values = {"kind": Kind.ACCESS, "now": NOW, "ttl": 60, **options}
    return mint(make_trust(), subject, **values)


def test_what_is_minted_is_verified_with_every_claim():
    token = minted(roles=["b", "a", "b"], email="a@b.c", name="Ann Ä", extra_claims={"groups": ["x"], "\u00e9": 1})
    claims = verify(token.encode(), make_trust(), Kind.ACCESS, NOW)
    assert (claims.subject, claims.roles, claims.email, claims.name) == ("alice", {"a", "b"}, "a@b.c", "Ann Ä")
    assert (claims.expires_at, claims.all["groups"], claims.all["\u00e9"]) == (NOW + 60, ["x"], 1)


def test_every_minted_token_has_an_id_of_its_own():
    ids = {verify(minted().encode(), make_trust(), Kind.ACCESS, NOW).token_id for _ in range(5)}
    assert len(ids) == 5


def test_a_token_minted_for_another_audience_is_refused_here():
    with pytest.raises(InvalidCredential) as refusal:
        verify(minted(audience="elsewhere").encode(), make_trust(), Kind.ACCESS, NOW)
    assert refusal.value.reason is Reason.WRONG_AUDIENCE


REFUSED = {
    "no-subject": {"subject": ""},
    "subject-newline": {"subject": "a\nb"},
    "subject-long": {"subject": "a" * 201},
    "subject-surrogate": {"subject": "a\udcff"},
    "email-control": {"email": "a\r\nb"},
    "role-empty": {"roles": [""]},
    "audience-empty": {"audience": ""},
    "ttl-zero": {"ttl": 0},
    "ttl-negative": {"ttl": -1},
    "ttl-forever": {"ttl": 10**12},
    "claim-nan": {"extra_claims": {"x": float("nan")}},
    "claim-surrogate": {"extra_claims": {"x": ["\ud800"]}},
    "claim-deep": {"extra_claims": {"x": eval("[" * 40 + "]" * 40)}},
    "claim-huge": {"extra_claims": {"x": "x" * 20_000}},
    **{f"claim-{name}": {"extra_claims": {name: 1}} for name in ("iss", "sub", "aud", "iat", "nbf", "exp", "jti")},
    "claim-roles": {"extra_claims": {"roles": ["admin"]}},
}


@pytest.mark.parametrize("options", REFUSED.values(), ids=REFUSED)
def test_what_would_be_refused_is_not_minted(options):
    with pytest.raises(ClaimRefused):
        minted(**options)


def test_a_session_is_no_bearer_token():
    token = minted(kind=Kind.SESSION).encode()
    assert verify(token, make_trust(), Kind.SESSION, NOW).subject == "alice"
    with pytest.raises(InvalidCredential):
        verify(token, make_trust(), Kind.ACCESS, NOW)


def test_minting_takes_the_clock_it_is_given():
    assert verify(minted(now=int(time.time())).encode(), make_trust(), Kind.ACCESS, time.time())
