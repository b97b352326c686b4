"""Providers and answers that must not sign anybody in. Names with oidcc are those of the OpenID Foundation's tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlencode, urlsplit

import pytest

from authgate.oidc import login_state
from authgate.outbound.errors import ProviderError
from tests.support.hostile import (
    CLIENT_ID,
    CLIENT_SECRET,
    DISCOVERY,
    TOKEN,
    USERINFO,
    HostileProvider,
    Reply,
    Seen,
    broken,
    signing_key,
    unsigned,
)
from tests.support.logins import Browser, make_provider, sign_in

pytestmark = pytest.mark.django_db
Bend = Callable[[HostileProvider], Any]


@pytest.fixture
def hostile() -> Iterator[HostileProvider]:
    with HostileProvider() as provider:
        yield provider


def claims(**changes: Any) -> Bend:
    return lambda hostile: hostile.claims.update(changes)


def header(**changes: Any) -> Bend:
    return lambda hostile: hostile.header.update(changes)


def metadata(**changes: Any) -> Bend:
    return lambda hostile: hostile.metadata.update(changes)


def token(**changes: Any) -> Bend:
    return lambda hostile: hostile.token.update(changes)


def bend(how: Callable[[str], str]) -> Bend:
    return lambda hostile: setattr(hostile, "bend", how)


def signed_with(algorithm: str, then: Callable[[str], str] = str) -> Bend:
    def apply(hostile: HostileProvider) -> None:
        hostile.key, hostile.bend = signing_key(algorithm), then
        hostile.published = [hostile.key.jwk]

    return apply


def published(*, change: dict[str, Any] | None = None, more: list[Any] | None = None) -> Bend:
    def apply(hostile: HostileProvider) -> None:
        hostile.published = [{**hostile.key.jwk, **(change or {})}, *(more or [])]

    return apply


def several_without_kid(hostile: HostileProvider) -> None:
    hostile.header["kid"] = ...
    hostile.published = [hostile.key.jwk, signing_key(kid="second").jwk]


def one_kid_for_two(hostile: HostileProvider) -> None:
    hostile.published = [hostile.key.jwk, {**signing_key(kid="second").jwk, "kid": hostile.key.kid}]


def short_key(hostile: HostileProvider) -> None:
    hostile.key = signing_key(kid="short", bits=1024)
    hostile.published = [hostile.key.jwk]


def other_family(hostile: HostileProvider) -> None:
    hostile.metadata["id_token_signing_alg_values_supported"] = ["RS256", "PS256"]
    hostile.header["alg"] = "PS256"


def key_in_the_header(hostile: HostileProvider) -> None:
    hostile.key = signing_key(kid="attacker")
    hostile.header |= {"kid": ..., "jwk": hostile.key.jwk}


def nonce_with_more(hostile: HostileProvider) -> None:
    made = hostile.id_token
    hostile.id_token = lambda nonce="", *rest, **changes: made(f"{nonce}1", *rest, **changes)  # type: ignore[method-assign]


def issuer_with_more(hostile: HostileProvider) -> None:
    hostile.claims["iss"] = f"{hostile.url}1"


def hours(number: float) -> int:
    return int(time.time() + number * 3600)


BAD_ID_TOKENS: dict[str, Bend] = {
    "oidcc-client-test-nonce-invalid": nonce_with_more,
    "oidcc-client-test-invalid-iss": issuer_with_more,
    "oidcc-client-test-invalid-aud": claims(aud=f"{CLIENT_ID}1"),
    "oidcc-client-test-missing-aud": claims(aud=...),
    "oidcc-client-test-missing-sub": claims(sub=...),
    "oidcc-client-test-missing-iat": claims(iat=...),
    "oidcc-client-test-invalid-sig-rs256": bend(broken),
    "oidcc-client-test-invalid-sig-es256": signed_with("ES256", broken),
    "oidcc-client-test-invalid-sig-hs256": bend(lambda token: unsigned(token, "HS256") + "AAAA"),
    "oidcc-client-test-idtoken-sig-none": bend(unsigned),
    "none with an empty signature's worth of text": bend(lambda token: unsigned(token) + "AA"),
    "oidcc-client-test-kid-absent-multiple-jwks": several_without_kid,
    "oidcc-client-test-invalid-athash": claims(at_hash="AAAAAAAAAAAAAAAAAAAAAA"),
    "nonce missing": claims(nonce=...),
    "nonce null": claims(nonce=None),
    "iss missing": claims(iss=...),
    "iss null": claims(iss=None),
    "iss a list": lambda hostile: hostile.claims.update(iss=[hostile.url]),
    "iss with a slash more": lambda hostile: hostile.claims.update(iss=f"{hostile.url}/"),
    "exp missing": claims(exp=...),
    "exp five minutes past": claims(exp=hours(-1 / 12)),
    "exp as text": claims(exp="9999999999"),
    "exp true": claims(exp=True),
    "exp null": claims(exp=None),
    "exp beyond all dates": claims(exp=10**30),
    "iat in an hour": claims(iat=hours(1)),
    "nbf in an hour": claims(nbf=hours(1)),
    "aud empty": claims(aud=[]),
    "aud with an untrusted audience more": claims(aud=[CLIENT_ID, "https://other.example"]),
    "azp of another client": claims(azp="other"),
    "azp null": claims(azp=None),
    "sub empty": claims(sub=""),
    "sub a number": claims(sub=7),
    "sub of 256 characters": claims(sub="a" * 256),
    "sub with a line break": claims(sub="alice\r\nX-Auth-User-Roles: admin"),
    "sub with outer space": claims(sub=" alice"),
    "sub not ASCII": claims(sub="al\u00edce"),
    "alg unknown": header(alg="XX256"),
    "alg ES256K": header(alg="ES256K"),
    "alg in lower case": header(alg="rs256"),
    "alg with a space": header(alg="RS256 "),
    "alg missing": header(alg=...),
    "alg not announced": metadata(id_token_signing_alg_values_supported=["ES256"]),
    "alg of another family than the key": other_family,
    "kid unknown": header(kid="other"),
    "kid a list": header(kid=["first"]),
    "kid a path": header(kid="../../etc/passwd"),
    "crit": header(crit=["bork"]),
    "crit empty": header(crit=[]),
    "b64": header(b64=False),
    "key in the header": key_in_the_header,
    "key for encryption": published(change={"use": "enc"}),
    "key that may not verify": published(change={"key_ops": ["encrypt"]}),
    "key with its private half": published(change={"d": "AQAB"}),
    "key for another algorithm": published(change={"alg": "RS512"}),
    "key of 1024 bits": short_key,
    "two keys of one kid": one_kid_for_two,
    "no keys": lambda hostile: hostile.published.clear(),
    "encrypted": bend(lambda token: f"{token}.AAAA.AAAA"),
    "padded": bend(lambda token: f"{token}=="),
    "a megabyte of dots": bend(lambda token: "." * 60_000),
    "missing": token(id_token=...),
}


@pytest.mark.parametrize("bend", [pytest.param(bend, id=name) for name, bend in BAD_ID_TOKENS.items()])
def test_an_id_token_that_is_not_right_signs_nobody_in(hostile: HostileProvider, bend: Bend) -> None:
    bend(hostile)

    with pytest.raises(ProviderError) as refused:
        sign_in(hostile, make_provider(hostile))
    assert refused.value.code == "invalid_id_token"
    assert hostile.count(USERINFO) == 0


BAD_ANSWERS: dict[str, tuple[str, Bend]] = {
    "oidcc-client-test-userinfo-invalid-sub": (
        "userinfo_failed", lambda hostile: hostile.userinfo.update(sub="alice1")),
    "userinfo without sub": ("userinfo_failed", lambda hostile: hostile.userinfo.update(sub=...)),
    "userinfo not JSON": ("userinfo_failed", lambda hostile: hostile.answers.update(
        {USERINFO: lambda seen: Reply(body=b"<html>")})),
    "userinfo 500": ("userinfo_failed", lambda hostile: hostile.answers.update({USERINFO: lambda seen: Reply(500)})),
    "userinfo nested deeply": ("userinfo_failed", lambda hostile: hostile.answers.update(
        {USERINFO: lambda seen: Reply(body=b"[" * 100_000)})),
    "token endpoint 500": ("token_exchange_failed", lambda hostile: hostile.answers.update(
        {TOKEN: lambda seen: Reply(500, b"oops")})),
    "token in a 400": ("token_exchange_failed", lambda hostile: hostile.answers.update(
        {TOKEN: lambda seen: Reply(400, {"access_token": "a", "token_type": "Bearer"})})),
    "token that redirects": ("token_exchange_failed", lambda hostile: hostile.answers.update(
        {TOKEN: lambda seen: Reply(307, b"", {"Location": f"{hostile.url}/elsewhere"})})),
    "token answer too large": ("token_exchange_failed", token(padding="x" * 2_000_000)),
    "no access token": ("token_exchange_failed", token(access_token=...)),
    "access token with a line break": ("token_exchange_failed", token(access_token="a\r\nHost: evil")),
    "token of another type": ("token_exchange_failed", token(token_type="mac")),
    "no token type": ("token_exchange_failed", token(token_type=...)),
    "token answer a list": ("token_exchange_failed", lambda hostile: hostile.answers.update(
        {TOKEN: lambda seen: Reply(body=[1])})),
    "not verified": ("not_allowed", claims(email_verified=False)),
    "verified in words": ("not_allowed", claims(email_verified="true")),
    "nothing said about verified": ("not_allowed", claims(email_verified=...)),
    "verified by the source that names another": ("not_allowed", lambda hostile: (
        hostile.claims.update(email_verified=...),
        hostile.userinfo.update(email="bob@example.com", email_verified=True))),
}  # fmt: skip


@pytest.mark.parametrize(
    ("code", "bend"), [pytest.param(code, bend, id=name) for name, (code, bend) in BAD_ANSWERS.items()]
)
def test_an_answer_that_is_not_right_signs_nobody_in(hostile: HostileProvider, code: str, bend: Bend) -> None:
    bend(hostile)

    with pytest.raises(ProviderError) as refused:
        sign_in(hostile, make_provider(hostile))
    assert refused.value.code == code
    assert hostile.count("/elsewhere") == 0


BAD_METADATA: dict[str, Bend] = {
    "oidcc-client-test-discovery-issuer-mismatch": lambda hostile: hostile.metadata.update(issuer=f"{hostile.url}1"),
    "issuer with a slash more": lambda hostile: hostile.metadata.update(issuer=f"{hostile.url}/"),
    "issuer missing": metadata(issuer=...),
    "jwks_uri missing": metadata(jwks_uri=...),
    "jwks_uri a file": metadata(jwks_uri="file:///etc/passwd"),
    "jwks_uri ftp": metadata(jwks_uri="ftp://127.0.0.1/keys"),
    "jwks_uri data": metadata(jwks_uri="data:application/json,{}"),
    "token endpoint plain http elsewhere": metadata(token_endpoint="http://idp.example/token"),
    "token endpoint with credentials": metadata(token_endpoint="https://a:b@idp.example/token"),
    "token endpoint with a fragment": metadata(token_endpoint="https://idp.example/token#"),
    "token endpoint with a backslash": metadata(token_endpoint="https://idp.example\\@127.0.0.1/token"),
    "token endpoint a list": metadata(token_endpoint=["https://idp.example/token"]),
    "authorization endpoint with a state": lambda hostile: hostile.metadata.update(
        authorization_endpoint=f"{hostile.url}/authorize?state=theirs"
    ),
    "discovery redirects": lambda hostile: hostile.answers.update(
        {DISCOVERY: lambda seen: Reply(302, b"", {"Location": f"{hostile.url}/elsewhere"})}
    ),
    "discovery too large": metadata(padding="x" * 2_000_000),
    "discovery nested deeply": lambda hostile: hostile.answers.update(
        {DISCOVERY: lambda seen: Reply(body=b'{"a":' * 100_000)}
    ),
}


@pytest.mark.parametrize("bend", [pytest.param(bend, id=name) for name, bend in BAD_METADATA.items()])
def test_metadata_that_is_not_right_begins_nothing(hostile: HostileProvider, bend: Bend) -> None:
    bend(hostile)

    with pytest.raises(ProviderError) as refused:
        Browser().begin(make_provider(hostile))
    assert refused.value.code == "provider_unavailable"
    assert [urlsplit(seen.path).path for seen in hostile.seen] == [DISCOVERY]


BAD_CALLBACKS: dict[str, tuple[str, dict[str, Any]]] = {
    "state wrong": ("login_expired", {"state": "other"}),
    "state missing": ("login_expired", {"state": ...}),
    "code missing": ("missing_code", {"code": ...}),
    "code empty": ("missing_code", {"code": ""}),
    "error": ("oauth2_error", {"code": ..., "error": "access_denied"}),
    "error beside a code": ("oauth2_error", {"error": "access_denied"}),
    "error with markup": ("oauth2_error", {"error": "<script>\r\nalert(1)"}),
    "iss wrong": ("oauth2_error", {"iss": "https://other.example"}),
    "iss empty": ("oauth2_error", {"iss": ""}),
}


@pytest.mark.parametrize(
    ("code", "changes"), [pytest.param(code, changes, id=name) for name, (code, changes) in BAD_CALLBACKS.items()]
)
def test_a_callback_that_is_not_right_asks_for_no_token(
    hostile: HostileProvider, code: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(ProviderError) as refused:
        sign_in(hostile, make_provider(hostile), **changes)
    assert refused.value.code == code
    assert hostile.count(TOKEN) == 0
    assert "<" not in refused.value.detail and "\n" not in refused.value.detail


@pytest.mark.parametrize("name", ["code", "state", "iss", "anything"])
def test_a_parameter_that_comes_twice_is_refused(hostile: HostileProvider, name: str) -> None:
    browser = Browser()
    query = hostile.authorize(browser.begin(make_provider(hostile)).location, iss=hostile.url, anything="x")
    value = parse_qs(query)[name][0]

    with pytest.raises(ProviderError, match="oauth2_error"):
        browser.complete(f"{query}&{urlencode({name: value})}")
    assert hostile.count(TOKEN) == 0


@pytest.mark.parametrize("spelling", ["{}/", "{}%2F", "{}:80", " {}"])
def test_the_iss_of_an_answer_is_compared_as_text(hostile: HostileProvider, spelling: str) -> None:
    with pytest.raises(ProviderError, match="oauth2_error"):
        sign_in(hostile, make_provider(hostile), iss=spelling.format(hostile.url))


def test_an_iss_that_was_promised_may_not_be_missing(hostile: HostileProvider) -> None:
    hostile.metadata["authorization_response_iss_parameter_supported"] = True

    with pytest.raises(ProviderError, match="oauth2_error"):
        sign_in(hostile, make_provider(hostile))
    assert hostile.count(TOKEN) == 0


def test_the_right_iss_is_accepted(hostile: HostileProvider) -> None:
    hostile.metadata["authorization_response_iss_parameter_supported"] = True

    assert sign_in(hostile, make_provider(hostile), iss=hostile.url).proven.subject == "alice"


def test_an_answer_at_another_providers_callback_is_refused(hostile: HostileProvider) -> None:
    with HostileProvider() as other:
        provider, _ = make_provider(hostile), make_provider(other, "other")
        browser = Browser()
        query = hostile.authorize(browser.begin(provider).location)

        with pytest.raises(ProviderError, match="oauth2_error"):
            browser.complete(query, "other")
        assert hostile.count(TOKEN) == other.count(TOKEN) == 0


def test_an_answer_on_another_host_is_refused(hostile: HostileProvider) -> None:
    browser = Browser()
    query = hostile.authorize(browser.begin(make_provider(hostile)).location)

    with pytest.raises(ProviderError, match="oauth2_error"):
        browser.complete(query, origin="http://other.test")


def test_a_callback_counts_once_even_with_its_cookie(hostile: HostileProvider) -> None:
    browser = Browser()
    query = hostile.authorize(browser.begin(make_provider(hostile)).location)
    kept = dict(browser.cookies)
    browser.complete(query)
    browser.cookies = kept

    with pytest.raises(ProviderError, match="login_expired"):
        browser.complete(query)
    assert hostile.count(TOKEN) == 1


def test_a_callback_in_another_browser_is_refused(hostile: HostileProvider) -> None:
    query = hostile.authorize(Browser().begin(make_provider(hostile)).location)

    with pytest.raises(ProviderError, match="login_expired"):
        Browser().complete(query)


def test_a_sign_in_ends_on_our_own_clock(hostile: HostileProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = Browser()
    query = hostile.authorize(browser.begin(make_provider(hostile)).location)
    began = time.time()
    monkeypatch.setattr("authgate.oidc.login.time.time", lambda: began + login_state.SECONDS + 1)

    with pytest.raises(ProviderError, match="login_expired"):
        browser.complete(query)


def test_a_sign_in_that_fails_is_over_and_says_where_it_led(hostile: HostileProvider) -> None:
    browser = Browser()
    query = hostile.authorize(browser.begin(make_provider(hostile), "/wiki?page=1").location, error="access_denied")

    with pytest.raises(ProviderError) as refused:
        browser.complete(query)
    assert refused.value.next == "/wiki?page=1"
    with pytest.raises(ProviderError, match="login_expired"):
        browser.complete(query.replace("&error=access_denied", ""))


def test_references_to_claims_elsewhere_are_neither_fetched_nor_kept(hostile: HostileProvider) -> None:
    hostile.userinfo |= {"_claim_names": {"groups": "s"}, "_claim_sources": {"s": {"endpoint": f"{hostile.url}/s"}}}

    proven = sign_in(hostile, make_provider(hostile)).proven
    assert not {"_claim_names", "_claim_sources"} & proven.claims.keys()
    assert hostile.count("/s") == 0


def test_a_redirecting_userinfo_is_not_followed_with_the_token(hostile: HostileProvider) -> None:
    hostile.answers[USERINFO] = lambda seen: Reply(302, b"", {"Location": f"{hostile.url}/elsewhere"})

    with pytest.raises(ProviderError, match="userinfo_failed"):
        sign_in(hostile, make_provider(hostile))
    assert hostile.count("/elsewhere") == 0


REPEATED: dict[str, Callable[[Seen], str]] = {
    "code": lambda seen: seen.form["code"],
    "most of the code": lambda seen: seen.form["code"][1:-1],
    "code at the end of what is kept": lambda seen: "x" * 285 + seen.form["code"],
    "verifier": lambda seen: seen.form["code_verifier"],
    "header": lambda seen: seen.headers["authorization"],
    "secret": lambda seen: CLIENT_SECRET,
    "secret as it is sent": lambda seen: quote_plus(CLIENT_SECRET),
}


@pytest.mark.parametrize("repeat", REPEATED.values(), ids=REPEATED)
def test_what_a_provider_repeats_of_our_secrets_is_not_passed_on(
    hostile: HostileProvider, repeat: Callable[[Seen], str]
) -> None:
    hostile.answers[TOKEN] = lambda seen: Reply(
        400, {"error": "invalid_grant", "error_description": f"bad: {repeat(seen)}"}
    )

    with pytest.raises(ProviderError) as refused:
        sign_in(hostile, make_provider(hostile))
    assert refused.value.detail == "the token endpoint refused with invalid_grant" and refused.value.__cause__ is None


def test_what_a_provider_says_of_a_refusal_is_passed_on(hostile: HostileProvider) -> None:
    said = {"error": "invalid_client", "error_description": "No such\nclient"}
    hostile.answers[TOKEN] = lambda seen: Reply(400, said)

    with pytest.raises(ProviderError, match=r"refused with invalid_client \(No such client\)"):
        sign_in(hostile, make_provider(hostile))


def test_one_state_is_used_up_once(hostile: HostileProvider) -> None:
    pending = login_state.new_pending("test", "/", "http://gateway.test/auth/callback/test", {}, time.time())
    assert [login_state.use_up(pending, time.time()) for _ in range(3)] == [True, False, False]
