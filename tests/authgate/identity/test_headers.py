from __future__ import annotations

import json

import pytest

from authgate.identity.headers import build_identity_headers, header_value
from authgate.request import Identity
from authgate.wire.identity_headers import IDENTITY_HEADERS, client_may_send


def identity(**changes: object) -> Identity:
    values = {
        "subject": "alice",
        "issuer": "i",
        "by_cookie": False,
        "expires_at": 1,
        "email": "a@b.test",
        "name": "A",
    }
    return Identity(**{**values, **changes})


def test_all_identity_headers_are_set_when_nobody_is_known():
    assert build_identity_headers(None, "") == [(name, b"") for name in IDENTITY_HEADERS]


def test_all_identity_headers_are_set_in_the_same_order_for_somebody():
    headers = build_identity_headers(identity(roles=frozenset(("b", "a"))), "jwt")
    assert headers == list(zip(IDENTITY_HEADERS, (b"alice", b"a@b.test", b"A", b'["a", "b"]', b"jwt"), strict=True))


@pytest.mark.parametrize("empty", ["email", "name"])
def test_an_unknown_claim_is_an_empty_header(empty):
    headers = dict(build_identity_headers(identity(**{empty: ""}), "jwt"))
    assert headers[f"x-auth-user-{empty}".encode()] == b""


@pytest.mark.parametrize("role", ['","admin', "a\r\nx-auth-user-id: evil", "é\u2028", "\x00"])
def test_a_role_is_one_entry_of_an_ascii_array_whatever_it_holds(role):
    value = dict(build_identity_headers(identity(roles=frozenset((role,))), ""))[b"x-auth-user-roles"]
    assert json.loads(value) == [role]
    assert not set(value) - set(range(0x20, 0x7F))


@pytest.mark.parametrize(
    "text",
    ["a\r\nb", "a\rb", "a\nb", "a\x00b", "a\x1bb", "a\x7fb", "a\x85b", "a\u2028b", "a\u2029b", "a\tb", "a\n",
     " alice", "alice ", "\u00a0alice", "alice\u3000", "\u2000"],
    ids=repr,
)  # fmt: skip
def test_text_that_a_reader_could_end_early_or_trim_is_left_out(text):
    assert header_value(text) == b""


@pytest.mark.parametrize(
    ("text", "value"),
    [("alice", b"alice"), ("A B, C", b"A B, C"), ("é", "é".encode()), ("\ud800", b"?"), ('"<>', b'"<>')],
    ids=repr,
)
def test_other_text_is_utf8(text, value):
    assert header_value(text) == value


SPOOFED = (
    *(name.decode() for name in IDENTITY_HEADERS),
    "x_auth_user_id", "x-auth_user_id", "x_auth-user-id", "x-auth-user_roles", "x_auth_assertion",
    "x.auth.user.id", "x-auth-user.id", "x!auth!user!id", "x~auth~user~id", "x'auth'user'id", "x-auth-user-id*",
    "x-request-id", "x_request_id", "x-real-ip", "x_real_ip", "x-forwarded-for", "x-forwarded-proto",
    "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix", "x_forwarded_proto", "x-forwarded_proto",
    "x-forwarded-server", "x-forwarded-scheme", "x-forwarded-ssl", "x-forwarded-protocol", "x-forwarded-uri",
    "x-forwarded-method", "x-forwarded-user", "x-forwarded-email", "x-forwarded-groups", "x-forwarded",
    "x-forwarded-", "forwarded", "x-original-url", "x-original-uri", "x-original-host", "x-original-method",
    "x-original-forwarded-for", "x-rewrite-url", "x-http-method-override", "x-http-method", "x-method-override",
    "x-accel-redirect", "x-accel-mapping", "x-accel-internal", "x-sendfile", "x-sendfile-type", "proxy",
    "x-envoy-external-address", "x-envoy-original-path", "x-envoy-internal", "true-client-ip", "x-client-ip",
    "client-ip", "x-cluster-client-ip", "cf-connecting-ip", "fastly-client-ip", "x-host", "x-http-host-override",
    "x-middleware-subrequest", "script_name", "path_info", "remote_user", "content_length", "_method",
)  # fmt: skip


@pytest.mark.parametrize("name", SPOOFED)
def test_a_client_may_not_say(name):
    assert not client_may_send(name.encode())


@pytest.mark.parametrize(
    "name",
    ["accept", "cookie", "content-type", "x-csrf-token", "x-auth-token", "x-auth", "user-agent", "origin", "te2",
     "if-none-match", "x-requested-with", "sec-fetch-site", "x-amz-date", "traceparent", "x-real", "1"],
)  # fmt: skip
def test_a_client_may_say(name):
    assert client_may_send(name.encode())
