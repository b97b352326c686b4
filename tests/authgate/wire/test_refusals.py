from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from authgate.decision import Denied
from authgate.observe.access_log import Record
from authgate.pages.representation import may_be_page, may_be_redirect
from authgate.pages.responses import answer_refusal, refuse
from authgate.pages.words import wait_in_words, words_for
from authgate.reason import BY_GATEWAY, LETTING_IN, Reason
from authgate.request import Identity
from authgate.security_headers import OWN_PAGES_CSP, SECURITY_HEADERS
from authgate.wire.refusal import refusal_of

LET_IN = LETTING_IN | BY_GATEWAY
# Told by the server itself, which answers them in its own way: see test_server_heads.
OF_SERVER = {
    Reason.BAD_REQUEST, Reason.HEAD_TIMEOUT, Reason.TARGET_TOO_LONG, Reason.UNKNOWN_EXPECTATION,
    Reason.HEADER_TOO_LONG, Reason.COOKIES_TOO_LARGE, Reason.HEADERS_TOO_LARGE, Reason.TOO_MANY_HEADERS,
    Reason.HTTP_VERSION, Reason.SERVER_FULL, Reason.SERVER_ERROR,
}  # fmt: skip
REFUSALS = [reason for reason in Reason if reason not in LET_IN | OF_SERVER]
ERRORS = {
    400: {"bad_request"}, 401: {"unauthorized"}, 403: {"forbidden"}, 404: {"not_found"}, 405: {"bad_request"},
    408: {"bad_request"}, 413: {"bad_request"}, 429: {"rate_limited"}, 501: {"bad_request"}, 502: {"bad_gateway"},
    503: {"unavailable"}, 504: {"gateway_timeout"},
}  # fmt: skip
HTML, XHR = (b"accept", b"text/html,*/*"), (b"x-requested-with", b"XMLHttpRequest")
ALICE = Identity(subject="alice", issuer="i", by_cookie=False, expires_at=1)


def page_of(decision: Denied):
    """Without facts: as one that was refused before it was read."""
    return answer_refusal(Record("r1"), decision, "GET", [HTML])


def headers(decision: Denied) -> dict[bytes, bytes]:
    answer = refuse(decision, "r1")
    assert len(dict(answer.headers)) == len(answer.headers)
    return dict(answer.headers)


def denied(reason: Reason, **changes: object) -> Denied:
    return Denied(reason, **changes)


@pytest.mark.parametrize("reason", REFUSALS)
def test_every_refusal_speaks_the_words_of_the_contract(reason):
    answer = refuse(denied(reason), "r1")
    body = json.loads(answer.body)
    assert sorted(body) == ["error", "message", "reason", "request_id"]
    assert body["error"] in ERRORS[answer.status]
    assert (body["reason"], body["request_id"]) == (reason.value, "r1")
    assert body["message"].endswith(".")


@pytest.mark.parametrize("page", [False, True], ids=["json", "page"])
@pytest.mark.parametrize("reason", REFUSALS)
def test_every_refusal_is_private_safe_and_of_known_length(reason, page):
    decision = denied(reason, retry_after=3)
    answer = page_of(decision) if page else refuse(decision, "r1")
    sent = dict(answer.headers)
    assert sent[b"content-length"] == str(len(answer.body)).encode()
    assert (sent[b"cache-control"], sent[b"vary"]) == (b"no-store", b"Cookie, Authorization")
    assert (sent[b"x-request-id"], sent[b"content-security-policy"]) == (b"r1", OWN_PAGES_CSP)
    stricter = {(b"referrer-policy", b"no-referrer")}
    assert set(SECURITY_HEADERS) - set(answer.headers) <= {(b"referrer-policy", b"strict-origin-when-cross-origin")}
    assert set(SECURITY_HEADERS) <= set(answer.headers) or stricter <= set(answer.headers)


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_page_says_it_in_a_visitors_words_with_the_same_request_id(reason):
    answer = page_of(denied(reason))
    text = answer.body.decode()
    assert dict(answer.headers)[b"content-type"] == b"text/html; charset=utf-8"
    assert words_for(refusal_of(reason).status, reason).heading in text
    assert reason.value in text
    assert "r1" in text


@pytest.mark.parametrize("reason", REFUSALS)
def test_every_reason_has_a_sentence_of_its_own(reason):
    others = {refusal_of(other).message for other in REFUSALS if other is not reason}
    assert refusal_of(reason).message not in others


SAID = {
    Reason.WRONG_ISSUER: "another address of the gateway (AUTHGATE_PUBLIC_URL)",
    Reason.WRONG_AUDIENCE: "another audience",
    Reason.TOKEN_EXPIRED: "has expired",
    Reason.TOKEN_REVOKED: "was revoked",
    Reason.UNKNOWN_KEY: "a key that is not known here",
    Reason.BAD_SIGNATURE: "it was cut or changed",
    Reason.INVALID_TOKEN: "get a new one (mint_token",
}


@pytest.mark.parametrize(("reason", "words"), SAID.items())
def test_a_token_that_is_refused_is_told_why_and_what_to_do(reason, words):
    answer = refuse(denied(reason), "r1")
    assert answer.status == 401
    assert words in json.loads(answer.body)["message"]


def test_whoever_is_known_is_told_which_roles_would_do():
    decision = denied(Reason.MISSING_ROLE, identity=ALICE, missing_roles=("admin", "auditor"))
    assert json.loads(refuse(decision, "r1").body)["roles"] == ["admin", "auditor"]


def test_whoever_is_not_known_is_never_told_which_roles_would_do():
    decision = denied(Reason.MISSING_ROLE, missing_roles=("admin",))
    assert "roles" not in json.loads(refuse(decision, "r1").body)


@pytest.mark.parametrize(
    ("reason", "status", "start"),
    [
        (Reason.NO_CREDENTIAL, 401, 'Bearer realm="authgate"'),
        (Reason.MALFORMED_CREDENTIAL, 400, 'Bearer realm="authgate", error="invalid_request"'),
        (Reason.INVALID_TOKEN, 401, 'Bearer realm="authgate", error="invalid_token"'),
        (Reason.TOKEN_EXPIRED, 401, 'Bearer realm="authgate", error="invalid_token"'),
        (Reason.TOKEN_REVOKED, 401, 'Bearer realm="authgate", error="invalid_token"'),
        (Reason.BAD_SIGNATURE, 401, 'Bearer realm="authgate", error="invalid_token"'),
        (Reason.WRONG_AUDIENCE, 401, 'Bearer realm="authgate", error="invalid_token"'),
        (Reason.MISSING_ROLE, 403, 'Bearer realm="authgate", error="insufficient_scope"'),
    ],
)
def test_the_challenge_is_that_of_rfc_6750(reason, status, start):
    challenge = headers(denied(reason))[b"www-authenticate"].decode()
    assert refuse(denied(reason), "r1").status == status
    assert challenge.startswith(start)
    assert "error" not in challenge.removeprefix(start) or "error_description" in challenge


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_challenge_names_each_attribute_once_and_comes_with_every_401(reason):
    sent = headers(denied(reason))
    challenge = sent.get(b"www-authenticate", b"")
    assert all(challenge.count(name) <= 1 for name in (b"realm=", b" error=", b"error_description="))
    assert bool(challenge) or refusal_of(reason).status != 401


def test_a_limit_says_when_to_come_back():
    assert headers(denied(Reason.RATE_LIMITED, retry_after=7))[b"retry-after"] == b"7"


def test_a_method_that_is_not_served_names_those_that_are():
    assert b"GET" in headers(denied(Reason.BAD_METHOD))[b"allow"]


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_request_in_doubt_is_the_last_of_its_connection(reason):
    of_something_else = (Reason.BAD_SIGNATURE, Reason.BAD_PROOF, Reason.BAD_MESSAGE)
    doubtful = reason.value.startswith(("bad_", "body_")) and reason not in of_something_else
    assert (headers(denied(reason)).get(b"connection") == b"close") is doubtful


def test_missing_roles_are_shown_to_somebody_known_only():
    decision = denied(Reason.MISSING_ROLE, missing_roles=("secret-role",))
    assert b"secret-role" not in page_of(decision).body
    assert b"secret-role" in page_of(replace(decision, identity=ALICE)).body


NAVIGATE = (b"sec-fetch-mode", b"navigate")
CHROME = b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"
JAVA = b"text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"
PIP = b"application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01"


def accept(value: bytes) -> tuple[bytes, bytes]:
    return b"accept", value


@pytest.mark.parametrize(
    ("method", "sent", "page", "redirect"),
    [
        pytest.param("GET", [HTML], True, True, id="page"),
        pytest.param("HEAD", [HTML], True, True, id="head of a page"),
        pytest.param("GET", [NAVIGATE], True, True, id="navigation"),
        pytest.param("GET", [accept(b"*/*"), NAVIGATE], True, True, id="navigation that takes anything"),
        pytest.param("GET", [accept(b"TEXT/HTML")], True, True, id="in upper case"),
        pytest.param("GET", [accept(b"text/html;level=1;q=1.0, text/plain;q=0.5")], True, True, id="parameters"),
        pytest.param("GET", [accept(b"application/xhtml+xml"), HTML], True, True, id="in two headers"),
        pytest.param("GET", [accept(CHROME)], True, True, id="Chrome on plain http"),
        pytest.param("GET", [accept(b"text/html, application/xhtml+xml, */*")], True, True, id="Internet Explorer"),
        pytest.param(
            "GET", [accept(b"text/html, text/plain, application/xhtml+xml, */*;q=0.01")], True, True, id="lynx"
        ),
        pytest.param("GET", [NAVIGATE, (b"x-requested-with", b"com.example.app")], True, True, id="Android's web view"),
        pytest.param("POST", [HTML, NAVIGATE], True, False, id="form"),
        pytest.param("POST", [accept(CHROME)], True, False, id="form on plain http"),
        pytest.param("GET", [NAVIGATE, (b"authorization", b"Basic eDp5")], True, False, id="browser with a password"),
        pytest.param("DELETE", [HTML, NAVIGATE], False, False, id="delete"),
        pytest.param("OPTIONS", [HTML], False, False, id="preflight"),
        pytest.param("GET", [HTML, XHR], False, False, id="script"),
        pytest.param("POST", [HTML, XHR], False, False, id="form of a script"),
        pytest.param("GET", [HTML, (b"sec-fetch-mode", b"cors")], False, False, id="fetch"),
        pytest.param("POST", [HTML, (b"sec-fetch-mode", b"cors")], False, False, id="fetch that posts"),
        pytest.param("GET", [HTML, (b"authorization", b"Basic eDp5")], False, False, id="password"),
        pytest.param("GET", [HTML, (b"authorization", b"Bearer x")], False, False, id="token"),
        pytest.param("GET", [accept(b"*/*")], False, False, id="curl"),
        pytest.param("GET", [accept(b"text/html;q=0.01, */*")], False, False, id="html least"),
        pytest.param("GET", [accept(b"text/html;q=0, */*")], False, False, id="no html"),
        pytest.param("GET", [accept(b"text/html;q=x")], False, False, id="no quality"),
        pytest.param("GET", [accept(b"text/html;q=nan")], False, False, id="no number"),
        pytest.param("GET", [accept(JAVA)], False, False, id="Java"),
        pytest.param("GET", [accept(JAVA), NAVIGATE], True, True, id="Java's own browser"),
        pytest.param("GET", [accept(PIP)], False, False, id="pip"),
        pytest.param("GET", [accept(b"application/json")], False, False, id="api"),
        pytest.param("GET", [accept(b"text/htmlx")], False, False, id="another type"),
        pytest.param("GET", [], False, False, id="nothing said"),
    ],
)
def test_only_somebody_who_looks_at_it_gets_a_page_and_only_a_link_leads_elsewhere(method, sent, page, redirect):
    assert (may_be_page(method, sent), may_be_redirect(method, sent)) == (page, redirect)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "1 second"), (1, "1 second"), (7, "7 seconds"), (120, "120 seconds"), (121, "3 minutes"), (7201, "3 hours")],
)
def test_how_long_to_wait_is_said_and_never_too_short(seconds, words):
    assert wait_in_words(seconds) == words


# --- over the wire ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
@pytest.mark.parametrize(("path", "status"), [("/api/admin", 401), ("/nowhere", 404), ("/a/../b", 400)])
def test_a_refusal_is_one_answer_with_one_request_id(gateway, path, status, accept):
    response = gateway.get(path, headers=[("Accept", accept)])
    request_id = response.header("x-request-id")
    assert response.status == status
    assert request_id in response.text
    (line,) = gateway.log_lines(wait_for=1, request_id=request_id)
    assert (line["status"], line["decision"], line["bytes"]) == (status, "deny", len(response.body))


def test_a_refused_head_has_no_body(gateway):
    response = gateway.request("/api/admin", method="HEAD")
    assert (response.status, response.body) == (401, b"")
    assert int(response.header("content-length")) > 0


def test_a_connection_goes_on_after_a_refusal_that_leaves_no_doubt(gateway):
    request = b"GET /api/admin HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with gateway.connect() as client:
        client.send(request * 3)
        assert [response.status for response in client.responses(3)] == [401] * 3


def test_the_query_is_never_in_the_log(gateway):
    response = gateway.get("/api/public/x?secret=planted-query")
    gateway.log_lines(wait_for=1, request_id=response.header("x-request-id"))
    assert "planted-query" not in gateway.output


def test_the_log_has_no_control_characters_of_a_client(gateway):
    """CVE-2020-7694"""
    response = gateway.get(b"/api/public/%1b%5B31m")
    gateway.log_lines(wait_for=1, request_id=response.header("x-request-id"))
    assert response.status == 400
    assert "\x1b" not in gateway.output
