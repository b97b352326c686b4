from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from authgate.identity.headers import build_identity_headers
from authgate.policy.document import PolicyDocument, Route, Upstream
from authgate.policy.table import RouteEntry, build_table
from authgate.request import RequestFacts
from authgate.wire.authority import parse_authority
from authgate.wire.headers import Headers, RawHeaders, header_block
from authgate.wire.identity_headers import IDENTITY_HEADERS
from authgate.wire.own_cookies import OwnCookies
from proxy.headers import BadFraming, request_body_length, request_head
from tests.support.gateway import environment, manage

NOBODY = header_block(build_identity_headers(None, ""))
OWN, OWN_ON_HTTPS = OwnCookies(secure=False), OwnCookies(secure=True)


def entry(**fields: Any) -> RouteEntry:
    route = Route(**{"name": "r", "path": "/api", "access": "public", "upstream": "api", **fields})
    upstreams = {"api": Upstream(targets=("http://up.test",))}
    return build_table(PolicyDocument(upstreams=upstreams, routes=(route,))).entries[0]


PLAIN = entry()
PASSING = entry(pass_headers=("X-Remote-User",))


def facts(*headers: tuple[str, str], **changes: Any) -> RequestFacts:
    raw = Headers((name.encode(), value.encode("latin-1")) for name, value in (("host", "gateway.test"), *headers))
    authority = parse_authority(b"gateway.test:8000")
    plain = RequestFacts("GET", "http", authority, "/api/a", b"", "1.2.3.4", "1.2.3.4, 10.0.0.1", raw)
    return replace(plain, **changes)


def head_of(of: RequestFacts, by: RouteEntry = PLAIN, host: str = "up.test", length: int | None = 0) -> bytes:
    return request_head(of, by, host, length, NOBODY, "r1", TRACE, OWN)


def head(*headers: tuple[str, str], by: RouteEntry = PLAIN, body_length: int | None = 0, **changes: Any) -> bytes:
    return head_of(facts(*headers, **changes), by, length=body_length)


def lines(of: bytes) -> RawHeaders:
    block, _, nothing = of.partition(b"\r\n\r\n")
    assert not nothing
    pairs = [line.partition(b": ") for line in block.split(b"\r\n")[1:]]
    return [(name, value) for name, _, value in pairs]


TRACE = b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"
OURS = {
    b"host": b"up.test", b"x-forwarded-proto": b"http", b"x-forwarded-host": b"gateway.test:8000",
    b"x-forwarded-port": b"8000", b"x-forwarded-prefix": b"", b"x-real-ip": b"1.2.3.4",
    b"x-forwarded-for": b"1.2.3.4, 10.0.0.1", b"x-request-id": b"r1", b"traceparent": TRACE,
    **dict.fromkeys(IDENTITY_HEADERS, b""),
}  # fmt: skip


def test_the_request_line_is_method_path_and_query():
    assert head(method="PUT", path="/x%20y", query=b"?q=%20").startswith(
        b"PUT /x%20y?q=%20 HTTP/1.1\r\nhost: up.test\r\n"
    )


def test_without_a_query_there_is_no_question_mark():
    assert head().startswith(b"GET /api/a HTTP/1.1\r\n")


@pytest.mark.parametrize(("path", "sent"), [("/api", b"/"), ("/api/", b"/"), ("/api/a", b"/a")])
def test_a_stripped_prefix_is_named_in_a_header_instead(path, sent):
    block = head(path=path, by=entry(strip_prefix=True))
    assert block.startswith(b"GET %b HTTP/1.1\r\n" % sent)
    assert dict(lines(block))[b"x-forwarded-prefix"] == b"/api"


def test_of_the_root_nothing_is_stripped():
    block = head(by=entry(path="/", strip_prefix=True))
    assert block.startswith(b"GET /api/a HTTP/1.1\r\n")
    assert dict(lines(block))[b"x-forwarded-prefix"] == b""


def test_the_host_goes_on_where_the_route_says_so():
    assert dict(lines(head(by=entry(preserve_host=True))))[b"host"] == b"gateway.test:8000"


@pytest.mark.parametrize(
    ("changes", "by", "host"),
    [
        ({}, entry(pass_authorization=True), "up.test"),
        ({}, entry(strip_prefix=True), "up.test"),
        ({}, PLAIN, "other.test"),
        ({"scheme": "https"}, PLAIN, "up.test"),
        ({"authority": parse_authority(b"other.test")}, PLAIN, "up.test"),
        ({"client": "5.6.7.8"}, PLAIN, "up.test"),
        ({"forwarded_for": "5.6.7.8"}, PLAIN, "up.test"),
    ],
)
def test_headers_that_come_again_are_written_for_their_own_request(changes, by, host):
    first = facts(("authorization", "Bearer t"))
    head_of(first)
    fresh = facts(("authorization", "Bearer t"), **changes)
    assert head_of(replace(first, **changes), by, host) == head_of(fresh, by, host) != head_of(first)


def test_headers_that_come_again_are_not_read_again():
    first = facts(("x-one", "1"))
    head_of(first)
    lines_of_first = first.headers.upstream_lines
    head_of(replace(first, method="POST", path="/api/b", query=b"?c"), length=3)
    assert first.headers.upstream_lines is lines_of_first


def test_our_headers_are_set_once_on_every_request():
    assert sorted(lines(head())) == sorted(OURS.items())


@pytest.mark.parametrize("name", [name.decode() for name in OURS])
def test_a_client_never_supplies_one_of_ours(name):
    assert sorted(lines(head((name, "evil"), (name, "evil")))) == sorted(OURS.items())


@pytest.mark.parametrize("name", [name.decode() for name in OURS])
def test_a_connection_header_never_removes_one_of_ours(name):
    assert sorted(lines(head(("connection", f"close, {name.upper()}"), ("connection", name)))) == sorted(OURS.items())


HOP_BY_HOP = (
    "connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer",
    "transfer-encoding", "upgrade", "http2-settings", "expect",
)  # fmt: skip


@pytest.mark.parametrize("name", HOP_BY_HOP)
def test_hop_by_hop_headers_end_here(name):
    assert sorted(lines(head((name, "x")))) == sorted(OURS.items())


@pytest.mark.parametrize(
    "connection",
    [("a-thing",), ("A-Thing",), ("close,a-thing",), ("close , \ta-thing\t,",), ("close", "a-thing")],
    ids=repr,
)
def test_what_the_client_declares_hop_by_hop_ends_here(connection):
    sent = lines(head(("a-thing", "1"), ("b-thing", "2"), *(("connection", value) for value in connection)))
    assert (b"b-thing", b"2") in sent
    assert b"a-thing" not in dict(sent)


def test_other_headers_keep_their_order_repetition_and_bytes():
    sent = [("accept", "a"), ("x-b", "\xe9\xff, \t,"), ("x-empty", ""), ("accept", "b"), ("content-type", "x/y; a=b")]
    assert lines(head(*sent))[1:6] == [(name.encode(), value.encode("latin-1")) for name, value in sent]


@pytest.mark.parametrize("passed", [False, True])
def test_authorization_goes_on_only_where_the_route_says_so(passed):
    sent = dict(lines(head(("authorization", "Bearer t"), by=entry(pass_authorization=passed))))
    assert sent.get(b"authorization") == (b"Bearer t" if passed else None)


def test_an_identity_header_of_another_gateway_goes_on_only_where_the_route_names_it():
    sent = ("X-Remote-User", "eve"), ("X-WEBAUTH-USER", "eve")
    names = [name for name, _ in lines(head(*((name.lower(), value) for name, value in sent), by=PASSING))]
    assert (b"x-remote-user" in names, b"x-webauth-user" in names) == (True, False)


@pytest.mark.parametrize("value", ["NTLM TlRMTVNTUAAB", "Negotiate YII", "negotiate", "ntlm"])
def test_what_would_sign_in_a_connection_that_serves_everybody_stays_here(value):
    sent = dict(lines(head(("authorization", value), by=entry(pass_authorization=True))))
    assert b"authorization" not in sent


@pytest.mark.parametrize(
    ("method", "length", "framing"),
    [
        ("GET", 0, {}), ("HEAD", 0, {}), ("DELETE", 0, {}), ("OPTIONS", 0, {}),
        ("POST", 0, {b"content-length": b"0"}), ("PUT", 0, {b"content-length": b"0"}),
        ("PATCH", 0, {b"content-length": b"0"}), ("GET", 5, {b"content-length": b"5"}),
        ("POST", 5, {b"content-length": b"5"}), ("POST", None, {b"transfer-encoding": b"chunked"}),
    ],
)  # fmt: skip
def test_the_framing_is_written_anew(method, length, framing):
    sent = dict(lines(head(("content-length", "77"), ("transfer-encoding", "x"), method=method, body_length=length)))
    assert {name: sent[name] for name in sent if name in (b"content-length", b"transfer-encoding")} == framing


@pytest.mark.parametrize(
    ("headers", "length"),
    [
        ([], 0), ([(b"content-length", b"0")], 0), ([(b"content-length", b"12")], 12),
        ([(b"transfer-encoding", b"chunked")], None), ([(b"transfer-encoding", b"Chunked")], None),
    ],
)  # fmt: skip
def test_the_length_of_the_body_is_read(headers, length):
    assert request_body_length(headers) == length


CL, TE = b"content-length", b"transfer-encoding"


@pytest.mark.parametrize(
    "headers",
    [
        [(CL, b"5"), (TE, b"chunked")], [(CL, b"5"), (CL, b"5")], [(CL, b"5"), (CL, b"6")], [(CL, b"5, 5")],
        *([(CL, value)] for value in (b"", b"+5", b"-0", b"0x5", b"0_1", b"5 1", b" 5", "٥".encode(), b"1" * 30)),
        *([(TE, value)] for value in (b"", b"identity", b"chunked, identity", b"identity, chunked", b",chunked",
                                      b"xchunked", b"chunked\x0b", b"\xa0chunked", b"chunked, chunked")),
        [(TE, b"chunked"), (TE, b"chunked")],
    ],
    ids=repr,
)  # fmt: skip
def test_a_doubtful_length_is_refused(headers):
    with pytest.raises(BadFraming):
        request_body_length(headers)


@pytest.mark.parametrize(
    ("cookie", "kept"),
    [
        ("a=b; c=d", "a=b; c=d"), ("  a=b;;c = d ;", "  a=b;;c = d ;"), ("author=x; oauth=y", "author=x; oauth=y"),
        ("my_auth_token=x", "my_auth_token=x"), ("auth_token2=x", "auth_token2=x"), ("AUTH_TOKEN=x", "AUTH_TOKEN=x"),
        ("a=auth_token=x", "a=auth_token=x"), ("a=b; auth_token=x; c=d", "a=b; c=d"), ("auth_token=x; c=d", "c=d"),
        ("a=b; auth_token=x", "a=b"), ("a=b;auth_token=x;c=d", "a=b;c=d"), ("a=\"; auth_token=x; b=\"", 'a="; b="'),
        ("authgate_csrf=1; a=b; authgate_admin=2; __Host-authgate_csrf=3", "a=b"),
    ],
)  # fmt: skip
def test_cookies_of_others_are_kept_byte_for_byte(cookie, kept):
    assert OWN.take_out(cookie.encode()) == kept.encode()


OWN_COOKIES = (
    "auth_token=x", "__Host-auth_token=x", "authgate_csrf=x", "authgate_admin=x", "authgate_login_1=x",
    "__Host-authgate_csrf=x", " auth_token=x", "\tauth_token=x", "auth_token =x", "auth_token", "auth_token=",
    '"auth_token"=x', "\u2000auth_token=x", "\u00a0auth_token=x", "auth_token\u3000=x", "=auth_token=x",
    "= auth_token=x", "\x85__Host-auth_token=x",
)  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("pair", OWN_COOKIES, ids=ascii)
def test_our_cookies_are_recognised_in_any_spelling_some_reader_takes_for_them(pair, encoding):
    raw = pair.encode(encoding, "ignore")
    assert raw in OWN
    assert (b"cookie", b"a=b") in lines(head(("cookie", (b"a=b;" + raw).decode("latin-1"))))
    assert raw + b"; Path=/; HttpOnly" in OWN


@pytest.mark.parametrize("pair", ["a=auth_token", "auth=x; auth_token=y", "xauth_token=1", "a; auth_token=x"])
def test_a_set_cookie_of_another_name_is_not_ours(pair):
    assert pair.encode() not in OWN


def test_several_cookie_headers_are_each_cleaned_and_empty_ones_dropped():
    sent = lines(head(("cookie", "auth_token=x"), ("cookie", "a=b; auth_token=y"), ("cookie", "c=d")))
    assert [value for name, value in sent if name == b"cookie"] == [b"a=b", b"c=d"]


@pytest.mark.parametrize(
    ("cookie", "kept"),
    [
        ("auth_token=app; __Host-auth_token=x; a=b", "auth_token=app; a=b"),
        ("authgate_csrf=app; __Host-authgate_csrf=x", "authgate_csrf=app"),
        ("a=b; __Secure-authgate_device=x", "a=b"),
        ("\u2000__Host-auth_token=x; auth_token=app", "auth_token=app"),
        ("=__Host-auth_token=x;a=b", "a=b"), ("__Host-authgate_login_1a_2b=x; a=b", "a=b"),
        ("my__Host-auth_token=x", "my__Host-auth_token=x"),
    ],
)  # fmt: skip
def test_on_https_only_the_names_with_a_prefix_are_ours(cookie, kept):
    assert OWN_ON_HTTPS.take_out(cookie.encode()) == kept.encode()


REAL_NAMES = """
from django.conf import settings
from authgate.admin.messages import MessageStorage
from authgate.oidc import login_state
from authgate.pages import local_sign_in, sign_in_pages
from authgate.wire.own_cookies import OwnCookies
names = [
    settings.AUTHGATE_SESSION_COOKIE, settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME, local_sign_in.COOKIE,
    sign_in_pages.ARRIVED_COOKIE, login_state._prefix() + "1", MessageStorage.storage_classes[0].cookie_name,
]
own = OwnCookies(secure=settings.SECURE)
print([name for name in names if name.encode() + b"=x" not in own])
"""


@pytest.mark.parametrize("url", ["http://gateway.test", "https://gateway.test"])
def test_every_cookie_that_the_gateway_sets_is_known_as_its_own(url, tmp_path):
    env = environment(tmp_path, AUTHGATE_PUBLIC_URL=url, AUTHGATE_SECRET_KEY="x" * 50)
    assert manage(env, "shell", "--no-imports", "-c", REAL_NAMES).stdout.strip() == "[]"
