"""Answers about tokens, each check by itself. tests/authgate/gate/test_introspection.py asks the running gateway."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any
from urllib.parse import quote_plus

import pytest

from authgate.authn.compact import read_compact, read_object
from authgate.authn.foreign import KeysWanted
from authgate.authn.introspection import (
    JSON,
    MAX_BYTES,
    SIGNED,
    AnswerRefused,
    client_credentials,
    prove_answer,
    read_answer,
)
from authgate.authn.issuers import Introspection
from authgate.request import InvalidCredential
from tests.authgate.authn.test_foreign import API, JKT, KEY, NOW, OTHER, URL, issuer
from tests.support.hostile import SigningKey, broken, sign
from tests.support.signing import key, make_trust

ASKED = Introspection("", "gateway", "basic", "s3cret: +", 60)
ANSWER = {"active": True, "iss": URL, "aud": API, "sub": "robot", "exp": NOW + 300}


def told(body: str | bytes, content_type: str = JSON) -> Any:
    raw = body.encode() if isinstance(body, str) else body
    try:
        return read_answer(content_type, raw, issuer(introspection=ASKED), NOW)
    except AnswerRefused:
        return "refused"
    except KeysWanted:
        return "keys wanted"


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON", "application/json; charset=utf-8", " application/json ;"]
)
def test_types_of_a_plain_answer(content_type: str) -> None:
    assert told(json.dumps(ANSWER), content_type) == ANSWER


@pytest.mark.parametrize("content_type", ["", "text/html", "application/jwt", "json", "application/json, text/html"])
def test_types_of_no_answer(content_type: str) -> None:
    assert told(json.dumps(ANSWER), content_type) == "refused"


@pytest.mark.parametrize(
    ("active", "expected"),
    [("false", None), ("1", "refused"), ("0", "refused"), ("null", "refused"), ('""', "refused")],
)
def test_what_is_active(active: str, expected: object) -> None:
    assert told(f'{{"active": {active}}}') == expected


def signed(by: SigningKey = KEY, header: dict[str, Any] | None = None, **changes: Any) -> str:
    claims = {"iss": URL, "aud": "gateway", "iat": NOW, "token_introspection": ANSWER, **changes}
    return sign(by, claims, {"alg": "RS256", "kid": by.kid, "typ": "token-introspection+jwt", **(header or {})})


@pytest.mark.parametrize(
    "changes",
    [
        {"header": {"typ": SIGNED}},
        {"header": {"typ": "Token-Introspection+JWT"}},
        {"aud": API},
        {"aud": ["other", "gateway"]},
        {"iat": NOW - 60},
        {"iat": NOW + 5},
    ],
    ids=str,
)
def test_signed_answers(changes: dict[str, Any]) -> None:
    assert told(signed(**changes), SIGNED) == ANSWER


@pytest.mark.parametrize(
    "changes",
    [
        {"header": {"typ": ...}},
        {"header": {"typ": 7}},
        {"header": {"typ": "at+jwt"}},
        {"header": {"alg": "none"}},
        {"header": {"crit": ["x"]}},
        {"iss": URL + "/"},
        {"iss": ...},
        {"aud": "other"},
        {"aud": ...},
        {"aud": [["gateway"]]},
        {"iat": NOW - 61},
        {"iat": NOW + 6},
        {"iat": ...},
        {"iat": float(NOW)},
        {"iat": str(NOW)},
        {"token_introspection": ...},
        {"token_introspection": [ANSWER]},
        {"token_introspection": {**ANSWER, "active": 1}},
        {"pad": "x" * MAX_BYTES},
    ],
    ids=lambda changes: str(changes)[:60],
)
def test_signed_answers_that_are_none(changes: dict[str, Any]) -> None:
    assert told(signed(**changes), SIGNED) == "refused"


def test_audience_of_a_signed_answer_of_an_issuer_that_is_asked_no_more() -> None:
    body = signed(aud=API).encode()
    assert read_answer(SIGNED, body, issuer(), NOW) == ANSWER


def test_signature_of_an_answer() -> None:
    assert told(signed(OTHER), SIGNED) == "keys wanted"
    assert told(signed(OTHER, {"kid": KEY.kid}), SIGNED) == "refused"
    assert told(broken(signed()), SIGNED) == "refused"
    assert told(json.dumps(ANSWER), SIGNED) == "refused"
    assert told(signed()) == "refused"
    assert told(f"\n{signed()}\r\n", f"{SIGNED}; charset=utf-8") == ANSWER


def reason(now: float = NOW, **changes: Any) -> str:
    answer = {name: value for name, value in (ANSWER | changes).items() if value is not ...}
    try:
        prove_answer(b"opaque", answer, issuer(introspection=ASKED, dpop="optional"), now)
    except InvalidCredential as refused:
        return refused.reason.value
    return ""


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"iss": ...}, ""),
        ({"iss": None}, "wrong_issuer"),
        ({"iss": URL + "/"}, "wrong_issuer"),
        ({"typ": "Refresh"}, "wrong_type"),
        ({"token_type": "Bearer"}, ""),
        ({"token_type": "Access_Token"}, ""),
        ({"token_type": "refresh_token"}, "wrong_type"),
        ({"token_type": None}, "wrong_type"),
        ({"token_type": ""}, "wrong_type"),
        ({"token_type": "DPoP"}, "wrong_type"),
        ({"token_type": "DPoP", "cnf": {"jkt": JKT}}, ""),
        ({"cnf": {"jkt": JKT}}, ""),
        ({"aud": "other"}, "wrong_audience"),
        ({"exp": NOW + 1}, ""),
        ({"exp": NOW}, "token_expired"),
        ({"exp": NOW + 0.5}, "token_expired"),
        ({"exp": None}, "invalid_token"),
        ({"iat": NOW + 6}, "token_not_yet_valid"),
    ],
    ids=str,
)
def test_what_an_answer_proves(changes: dict[str, Any], expected: str) -> None:
    assert reason(**changes) == expected


@pytest.mark.parametrize(
    ("now", "seconds", "exp", "expected"),
    [
        (NOW, 60, NOW + 300, NOW + 300),
        (NOW, 60, ..., NOW + 60),
        (NOW + 0.5, 60, ..., NOW + 61),
        (NOW, 0, ..., NOW + 30),
        (NOW, 0, NOW + 300, NOW + 300),
    ],
)
def test_end_of_an_answer(now: float, seconds: int, exp: Any, expected: int) -> None:
    by = issuer(introspection=Introspection("", "gateway", "basic", "", seconds))
    answer = {name: value for name, value in (ANSWER | {"exp": exp}).items() if value is not ...}
    assert prove_answer(b"opaque", answer, by, now).expires_at == expected


def test_end_of_an_answer_of_an_issuer_that_is_asked_no_more() -> None:
    answer = {name: value for name, value in ANSWER.items() if name != "exp"}
    assert prove_answer(b"opaque", answer, issuer(), NOW).expires_at == NOW + 30


def test_the_issuers_own_clock_ends_a_token_that_is_too_old() -> None:
    by = issuer(introspection=ASKED, max_age=60)
    assert prove_answer(b"opaque", {**ANSWER, "iat": NOW - 10}, by, NOW).expires_at == NOW + 55


@pytest.mark.parametrize("secret", ["s3cret: +", None])
def test_credentials_of_the_gateway(secret: str | None) -> None:
    basic, post = (Introspection("", "g w", how, secret, 60) for how in ("basic", "post"))
    header, form = client_credentials(basic, URL, make_trust(), NOW)
    assert (b64decode(header.removeprefix("Basic ")).decode(), form) == (f"g+w:{quote_plus(secret or '')}", {})
    sent = client_credentials(post, URL, make_trust(), NOW)
    assert sent == ("", {"client_id": "g w", "client_secret": secret or ""})


def test_assertion_of_the_gateway() -> None:
    asked = Introspection("", "gateway", "private_key_jwt", "unused", 60)
    header, form = client_credentials(asked, URL, make_trust(), NOW + 0.9)
    token = read_compact(form.pop("client_assertion").encode())
    claims = read_object(token.unverified_payload)
    assert len(claims.pop("jti")) == 22
    assert claims == {"iss": "gateway", "sub": "gateway", "aud": URL, "iat": NOW, "exp": NOW + 60}
    assert token.unverified_header["typ"] == "client-authentication+jwt"
    assert key().verify(token.signing_input, token.unverified_signature)
    jwt_bearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert (header, form) == ("", {"client_id": "gateway", "client_assertion_type": jwt_bearer})
