from __future__ import annotations

import gc
import time

import pytest

from authgate.authn.cache import IdentityCache, cache_key
from authgate.authn.credentials import find_credential, verify_session
from authgate.authn.tokens import Kind
from authgate.gate.authenticate import authenticate
from authgate.policy.document import Grant, Route, When
from authgate.reason import Reason
from authgate.request import Identity, InvalidCredential
from authgate.wire.headers import Headers
from tests.support.signing import ISSUER, make_snapshot, make_trust, sign_token

ALICE = sign_token()
BOB = sign_token(claims={"sub": "bob", "jti": "t-2"})
SESSION = sign_token(header={"typ": "session+jwt"}, claims={"sub": "sam", "jti": "t-3"})
TRUST = make_trust()
ASSERTION = sign_token(header={"typ": "assertion+jwt"})


def who(*headers, snapshot=None):
    identity = authenticate([(b"host", b"gateway.test"), *headers], snapshot or make_snapshot())
    return identity.subject if identity else None


def refused(*headers, snapshot=None):
    with pytest.raises(InvalidCredential) as refusal:
        who(*headers, snapshot=snapshot)
    return refusal.value.reason


def authorization(value):
    return b"authorization", value


def bearer(token):
    return b"authorization", b"Bearer " + token


def cookie(value):
    return b"cookie", value


def session(token):
    return cookie(b"auth_token=" + token)


def test_without_a_credential_nobody_is_known():
    assert who() is None


@pytest.mark.parametrize("scheme", [b"Bearer ", b"bearer ", b"BEARER ", b"bEaReR ", b"Bearer   "])
def test_the_scheme_is_read_in_any_case(scheme):
    assert who(authorization(scheme + ALICE)) == "alice"


MALFORMED = {
    "no-token": b"Bearer",
    "only-space": b"Bearer ",
    "only-spaces": b"bearer    ",
    "two-tokens": b"Bearer " + ALICE + b" " + BOB,
    "twice": b"Bearer Bearer " + ALICE,
    "list": b"Bearer " + ALICE + b", Bearer " + BOB,
    "comma": b"Bearer " + ALICE + b",",
    "quoted": b'Bearer "' + ALICE + b'"',
    "parameter": b"Bearer token=" + b'"' + ALICE + b'"',
    "tab": b"Bearer\t" + ALICE,
    "trailing-space": b"Bearer " + ALICE + b" ",
    "nul": b"Bearer " + ALICE + b"\x00",
    "newline": b"Bearer " + ALICE + b"\n",
    "not-ascii": "Bearer é".encode(),
    "no-break-space": b"Bearer\xa0" + ALICE,
    "padding-inside": b"Bearer aa=bb",
    "empty": b"",
    "space-first": b" Bearer " + ALICE,
    "no-scheme": b", Bearer " + ALICE,
}


@pytest.mark.parametrize("value", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_authorization_is_said_to_be_so(value):
    assert refused(authorization(value), session(SESSION)) is Reason.MALFORMED_CREDENTIAL


@pytest.mark.parametrize("other", [bearer(ALICE), bearer(BOB), authorization(b"Basic eDp5"), authorization(b"")])
def test_two_authorization_headers_are_one_too_many(other):
    assert refused(bearer(ALICE), other) is Reason.MALFORMED_CREDENTIAL
    assert refused(other, bearer(ALICE)) is Reason.MALFORMED_CREDENTIAL


@pytest.mark.parametrize("value", [b"Basic eDp5", b"Digest a=b", b"Negotiate", b"Bearerx y", b"DPoPx " + ALICE])
def test_another_scheme_is_no_credential_of_ours(value):
    assert who(authorization(value)) is None
    assert who(authorization(value), session(SESSION)) == "sam"


@pytest.mark.parametrize(
    "token",
    [b"opaque", b"a.b", b"a.b.c", b"....", ALICE + b"=", SESSION, ASSERTION],
    ids=["opaque", "two parts", "three parts", "dots", "padded", "session", "assertion"],
)
def test_a_bad_bearer_token_is_never_made_good_by_a_cookie(token):
    assert refused(bearer(token), session(SESSION)) is Reason.INVALID_TOKEN


def test_the_bearer_token_goes_before_the_cookie():
    assert who(session(SESSION), bearer(ALICE)) == "alice"


def test_a_bad_cookie_does_not_hinder_a_good_bearer_token():
    assert who(session(b"junk"), bearer(ALICE)) == "alice"


GOOD_COOKIES = {
    "alone": b"auth_token=%s",
    "first": b"auth_token=%s; theme=dark",
    "last": b"theme=dark; auth_token=%s",
    "between": b"a=b; auth_token=%s; c=d",
    "tight": b"a=b;auth_token=%s;c=d",
    "spaces": b"a=b;  auth_token = %s ; c=d",
    "longer-names": b"my_auth_token=x; auth_token=%s; auth_token2=y; Auth_Token=z",
    "empty-pairs": b";; ;=; auth_token=%s;",
    "name-in-a-value": b"a=auth_token; auth_token=%s",
    "name-in-a-value-after": b"auth_token=%s; a=auth_token",
}


@pytest.mark.parametrize("form", GOOD_COOKIES.values(), ids=GOOD_COOKIES)
@pytest.mark.parametrize(("token", "subject"), [(SESSION, "sam"), (ALICE, "alice")], ids=["session", "access"])
def test_the_session_cookie_is_found(form, token, subject):
    assert who(cookie(form % token)) == subject


def test_the_session_cookie_is_found_in_any_cookie_header():
    assert who(cookie(b"a=b"), session(SESSION), cookie(b"c=d")) == "sam"


NO_COOKIES = [
    b"",
    b";",
    b"=",
    b";;;a",
    b"theme=dark",
    b"my_auth_token=x",
    b"auth_token2=x",
    b"=auth_token=x",
    b"\xff=\x00",
]


@pytest.mark.parametrize("value", NO_COOKIES, ids=repr)
def test_a_cookie_of_another_name_is_no_session(value):
    assert who(cookie(value)) is None


@pytest.mark.parametrize("last", [b"auth_token=", b"; auth_token =", b"\xe2\x80\x80auth_token=", b"auth_token; x="])
def test_a_session_twice_in_whatever_spelling_is_refused(last):
    assert refused(cookie(b"auth_token=" + SESSION + b"; " + last + BOB)) is Reason.INVALID_TOKEN
    assert refused(cookie(last + BOB + b"; auth_token=" + SESSION)) is Reason.INVALID_TOKEN
    assert refused(session(SESSION), cookie(last + BOB)) is Reason.INVALID_TOKEN


SPACES = [
    b"\xe2\x80\x80", b"\xc2\xa0", b"\xa0", b"\x85", b"\xc2\x85", b"\x0b", b"\x0c", b"\x1c", b"\x1f", b"\n", b"\r",
    b"\xe3\x80\x80", b"\xe2\x80\xa8", b"\xff",
]  # fmt: skip


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_a_look_alike_of_the_session_cookie_is_refused(space):
    assert refused(cookie(space + b"auth_token=" + SESSION)) is Reason.INVALID_TOKEN
    assert refused(cookie(b"a=b; auth_token" + space + b"=" + SESSION)) is Reason.INVALID_TOKEN


def test_the_host_bound_name_is_looked_for_when_it_is_ours():
    snapshot = make_snapshot(make_trust(session_cookie=b"__Host-auth_token"))
    assert who(cookie(b"__Host-auth_token=" + SESSION), snapshot=snapshot) == "sam"
    assert who(session(SESSION), snapshot=snapshot) is None
    tossed = cookie(b"\xe2\x80\x80__Host-auth_token=" + BOB)
    assert refused(tossed, cookie(b"__Host-auth_token=" + SESSION), snapshot=snapshot) is Reason.INVALID_TOKEN


BAD_COOKIES = {
    "empty": b"", "junk": b"junk", "quoted": b'"' + SESSION + b'"', "truncated": SESSION[:-9], "nul": SESSION + b"\x00",
    "encoded": SESSION.replace(b".", b"%2E"), "64k": b"A" * 65_536, "space": SESSION[:9] + b" " + SESSION[9:],
    "assertion": ASSERTION, "not-ascii": b"\xff\xfe", "scheme": b"Bearer " + SESSION,
}  # fmt: skip


@pytest.mark.parametrize("value", BAD_COOKIES.values(), ids=BAD_COOKIES)
def test_a_session_cookie_that_proves_nothing_is_refused(value):
    assert refused(session(value)) is Reason.INVALID_TOKEN


def test_an_identity_says_what_was_proven():
    token = sign_token(claims={"email": "a@b.c", "name": "Alice"})
    identity = authenticate([bearer(token)], make_snapshot())
    assert (identity.issuer, identity.credential, identity.token_id) == (ISSUER, "bearer", "t-1")
    assert (identity.email, identity.name, identity.claims["sub"]) == ("a@b.c", "Alice", "alice")
    assert authenticate([session(SESSION)], make_snapshot()).credential == "session"


SIGNED_IN = sign_token(header={"typ": "session+jwt"}, claims={"sub": "idp|sam", "jti": "s-1", "sid": "s-1"})
KINDS = {
    "bearer": (bearer(ALICE), False, ""),
    "access token as a cookie": (session(ALICE), True, ""),
    "session": (session(SIGNED_IN), True, "s-1"),
    "session of another token": (session(sign_token(claims={"sid": "s-1"})), True, ""),
    "session without one": (session(SESSION), True, ""),
}


@pytest.mark.parametrize(("header", "by_cookie", "session_id"), KINDS.values(), ids=KINDS)
def test_what_a_browser_sends_by_itself_is_not_always_a_session(header, by_cookie, session_id):
    identity = authenticate([header], make_snapshot())
    assert (identity.by_cookie, identity.session_id) == (by_cookie, session_id)


@pytest.mark.parametrize(("header", "by_cookie", "session_id"), KINDS.values(), ids=KINDS)
def test_an_expired_cookie_says_which_session_it_was_for(header, by_cookie, session_id):
    trust = make_trust()
    claims = verify_session(find_credential(Headers([header]), trust.session_cookie), trust, time.time() + 100_000, "")
    assert (claims.session_id if claims else "") == session_id


def test_roles_are_those_of_the_token_and_those_granted_by_its_claims():
    grants = (
        Grant(role="everybody", when=When(authenticated=True)),
        Grant(role="admin", when=When(claim="groups", contains="admins")),
        Grant(role="auditor", when=When(claim="groups", contains="auditors")),
    )
    token = sign_token(claims={"groups": ["admins"]})
    identity = authenticate([bearer(token)], make_snapshot(grants=grants))
    assert identity.roles == {"user", "everybody", "admin"}


def test_a_token_is_verified_once():
    snapshot = make_snapshot()
    assert authenticate([bearer(ALICE)], snapshot) is authenticate([bearer(ALICE)], snapshot)


def test_a_remembered_bearer_token_is_still_checked_for_its_kind():
    snapshot = make_snapshot()
    assert who(session(SESSION), snapshot=snapshot) == "sam"
    assert refused(bearer(SESSION), snapshot=snapshot) is Reason.INVALID_TOKEN
    assert who(bearer(ALICE), snapshot=snapshot) == "alice"
    assert authenticate([session(ALICE)], snapshot).credential == "session"


def test_a_remembered_token_still_expires(monkeypatch):
    snapshot = make_snapshot()
    expires_at = int(time.time()) + 60
    token = sign_token(claims={"exp": expires_at})
    assert who(bearer(token), snapshot=snapshot) == "alice"
    monkeypatch.setattr(time, "time", lambda: float(expires_at))
    assert refused(bearer(token), snapshot=snapshot) is Reason.TOKEN_EXPIRED


def test_a_token_whose_header_comes_again_still_expires_and_is_verified_when_trust_changes(monkeypatch):
    expires_at = int(time.time()) + 60
    headers = Headers([bearer(sign_token(claims={"exp": expires_at}))])
    snapshot = make_snapshot()
    assert authenticate(headers, snapshot) is authenticate(headers, snapshot)
    assert asked(headers, make_snapshot(make_trust(revoked=("t-1",)))) is Reason.TOKEN_REVOKED
    assert asked(headers, make_snapshot(make_trust(audience="other"))) is Reason.WRONG_AUDIENCE
    monkeypatch.setattr(time, "time", lambda: float(expires_at))
    assert asked(headers, snapshot) is Reason.TOKEN_EXPIRED


def test_a_session_whose_header_comes_again_is_read_by_the_cookie_name_of_the_moment():
    headers = Headers([cookie(b"auth_token=" + SESSION + b"; __Host-auth_token=" + ALICE)])
    assert authenticate(headers, make_snapshot()).subject == "sam"
    assert authenticate(headers, make_snapshot(make_trust(session_cookie=b"__Host-auth_token"))).subject == "alice"
    assert authenticate(headers, make_snapshot(make_trust(session_cookie=b"other"))) is None


@pytest.mark.parametrize("headers", [[bearer(ALICE), bearer(ALICE)], [authorization(b"@")], [bearer(b"a b")]])
def test_a_malformed_credential_that_comes_again_is_refused_again(headers):
    again = Headers(headers)
    assert [asked(again, make_snapshot()) for _ in range(2)] == [Reason.MALFORMED_CREDENTIAL] * 2


def asked(headers, snapshot):
    with pytest.raises(InvalidCredential) as refusal:
        authenticate(headers, snapshot)
    return refusal.value.reason


def test_a_refused_token_is_not_remembered():
    snapshot = make_snapshot()
    for number in range(20):
        refused(bearer(b"junk%d" % number), snapshot=snapshot)
    assert len(snapshot.identities) == 0


def test_the_cache_holds_no_token():
    snapshot = make_snapshot()
    who(bearer(ALICE), snapshot=snapshot)
    held, found = [snapshot.identities], []
    while held:
        value = held.pop()
        found += [value] if isinstance(value, bytes) and value in (ALICE, ALICE.rpartition(b".")[2]) else []
        held += [inner for inner in gc.get_referents(value) if isinstance(inner, (dict, tuple, bytes, Identity))]
    assert found == []


def identity(number, expires_at=2_000_000_000):
    return Identity(f"user-{number}", ISSUER, expires_at, by_cookie=False, token_id=f"t-{number}")


def key(number):
    return cache_key(Kind.ACCESS, b"%d" % number)


def test_the_cache_is_bounded_and_forgets_the_oldest():
    cache = IdentityCache(3)
    for number in range(5):
        cache.put(key(number), identity(number))
    assert [cache.get(key(number), 0, TRUST) is not None for number in range(5)] == [False, False, True, True, True]


def test_the_cache_gives_out_nothing_expired():
    cache = IdentityCache(3)
    cache.put(key(1), identity(1, expires_at=100))
    assert cache.get(key(1), 99.9, TRUST) is not None
    assert cache.get(key(1), 100, TRUST) is None
    assert len(cache) == 0


def test_the_cache_gives_out_nothing_revoked():
    cache = IdentityCache(3)
    cache.put(key(1), identity(1))
    assert cache.get(key(1), 0, make_trust(revoked=("t-1",))) is None


def test_one_token_as_another_kind_is_another_entry():
    cache = IdentityCache(3)
    cache.put(cache_key(Kind.SESSION, b"x"), identity(1))
    assert cache.get(cache_key(Kind.ACCESS, b"x"), 0, TRUST) is None


def test_threads_share_the_cache():
    from concurrent.futures import ThreadPoolExecutor

    cache = IdentityCache(50)

    def use(worker):
        for number in range(2000):
            cache.put(key(worker * 10_000 + number), identity(number))
            cache.get(key(number), 0, TRUST)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(8)))
    assert len(cache) <= 58


# --- where the route hands Authorization on to its service ----------------------------------------------------------
PASSED = Route(name="passed", path="/", access="authenticated", upstream="api", pass_authorization=True)
FOREIGN = sign_token(header={"kid": "theirs"}, claims={"iss": "https://other.example.com"})


def who_beside(*headers):
    headers = [(b"host", b"gateway.test"), *headers]
    identity = authenticate(headers, make_snapshot(), PASSED)
    return identity.subject if identity else None


BESIDE = {
    "a token of ours": ((bearer(ALICE),), "alice"),
    "a token of ours before the session": ((bearer(ALICE), session(SESSION)), "alice"),
    "an opaque token of the service, and a session": ((bearer(b"ghp_0123"), session(SESSION)), "sam"),
    "another issuer's token, and a session": ((bearer(FOREIGN), session(SESSION)), "sam"),
    "another scheme, and a session": ((authorization(b"Token abc"), session(SESSION)), "sam"),
    "the session alone": ((session(SESSION),), "sam"),
    "nothing": ((), None),
}


@pytest.mark.parametrize(("headers", "subject"), BESIDE.values(), ids=BESIDE)
def test_the_services_own_token_leaves_the_session_to_say_who_calls(headers, subject):
    assert who_beside(*headers) == subject


BESIDE_REFUSED = {
    "a bad token of ours": ((bearer(ALICE + b"A"), session(SESSION)), Reason.BAD_SIGNATURE),
    "a token of ours by another scheme": ((authorization(b"Token " + ALICE), session(SESSION)), Reason.INVALID_TOKEN),
    "a token of the service's, and a bad session": ((bearer(b"ghp_0123"), session(b"a.b.c")), Reason.INVALID_TOKEN),
    "a token of the service's alone": ((bearer(b"ghp_0123"),), Reason.INVALID_TOKEN),
    "what is no token at all": ((bearer(b"a b"), session(SESSION)), Reason.MALFORMED_CREDENTIAL),
}


@pytest.mark.parametrize(("headers", "reason"), BESIDE_REFUSED.values(), ids=BESIDE_REFUSED)
def test_nothing_beside_a_session_is_overlooked(headers, reason):
    with pytest.raises(InvalidCredential) as refusal:
        who_beside(*headers)
    assert refusal.value.reason is reason


def test_elsewhere_the_services_token_is_a_bad_credential():
    assert refused(bearer(b"ghp_0123"), session(SESSION)) is Reason.INVALID_TOKEN
