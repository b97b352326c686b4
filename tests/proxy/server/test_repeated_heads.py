"""Headers repeated on a connection are not parsed again: nothing may leak from one request into the next."""

from __future__ import annotations

import pytest

from tests.support import raw
from tests.support.neighbours import neighbour_policy


def head(target, *lines, method="GET", version="1.1"):
    return b"\r\n".join((f"{method} {target} HTTP/{version}".encode(), b"Host: gateway.test", *lines, b"", b""))


def bearer(token):
    return b"Authorization: Bearer " + token.encode()


def test_another_token_on_the_connection_is_another_caller(gateway, upstream):
    alice, bob = gateway.mint("alice"), gateway.mint("bob")
    with gateway.connect() as client:
        for token in (alice, alice, bob, bob, alice):
            assert client.send(head("/api/protected", bearer(token))).response().status == 200
        assert client.send(head("/api/protected")).response().status == 401
    users = [request.header("x-auth-user-id") for request in upstream.requests]
    assert users == ["alice", "alice", "bob", "bob", "alice"]


@pytest.mark.parametrize("value", [b"close", b"keep-alive, Close", b"keep-alive", b"upgrade", b"x"])
def test_proxy_connection_is_read_as_connection(gateway, upstream, value):
    """By the parser too: what one caller sends must not fail the next one's request on a connection they share."""
    with gateway.connect() as client:
        first = client.send(head("/api/public/a", b"Proxy-Connection: " + value)).response()
        assert (first.status, first.header("connection")) == (200, "close" if b"close" in value.lower() else None)
        if first.header("connection") is None:
            assert client.send(head("/api/public/b")).response().status == 200
    assert not [request for request in upstream.requests if request.header("proxy-connection")]


def test_only_the_request_line_may_differ(gateway, upstream):
    with gateway.connect() as client:
        for method, target in (("GET", "/api/public/a"), ("HEAD", "/api/public/b?c=d"), ("DELETE", "/api/public/%61")):
            client.send(head(target, b"X-One: 1", method=method)).response(method)
    assert [request.method for request in upstream.requests] == ["GET", "HEAD", "DELETE"]
    assert [request.target for request in upstream.requests] == [
        b"/api/public/a",
        b"/api/public/b?c=d",
        b"/api/public/a",
    ]


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET  /api/public HTTP/1.1", 400),
        (b"GET /api/public  HTTP/1.1", 400),
        (b"GET /api/public#x HTTP/1.1", 400),
        (b"GET /api/p\xfcblic HTTP/1.1", 400),
        (b"GET api/public HTTP/1.1", 400),
        (b"GET http://other.test/api/public HTTP/1.1", 400),
        (b"get /api/public HTTP/1.1", 400),
        (b"TRACE /api/public HTTP/1.1", 405),
        (b"CONNECT gateway.test:80 HTTP/1.1", 405),
        (b"GET /api/public HTTP/2.0", 505),
        (b"GET /api/public", 400),
        (b"GET /" + b"a" * 8200 + b" HTTP/1.1", 414),
    ],
)
def test_a_request_line_is_judged_as_on_a_new_connection(gateway, upstream, line, status):
    rest = b"\r\nHost: gateway.test\r\nX-One: 1\r\n\r\n"
    assert raw.exchange(gateway.address, line + rest).status == status
    with gateway.connect() as client:
        for _ in range(2):
            assert client.send(b"GET /api/public HTTP/1.1" + rest).response().status == 200
        assert client.send(line + rest).response().status == status
        assert client.is_closed()
    assert len(upstream.requests) == 2


def test_the_same_headers_mean_on_each_route_what_the_route_says(start_gateway, upstream):
    gateway = start_gateway(policy=neighbour_policy(upstream.target))
    token = gateway.mint("alice")
    with gateway.connect() as client:
        for target in ("/open/a", "/pass/a", "/strip/a", "/preserve/a", "/open/a"):
            assert client.send(head(target, bearer(token))).response().status == 200
        assert client.send(head("/open/admin", bearer(token))).response().status == 403
    requests = upstream.requests
    assert [request.target for request in requests] == [b"/open/a", b"/pass/a", b"/a", b"/preserve/a", b"/open/a"]
    assert [request.header("authorization") for request in requests] == [None, f"Bearer {token}", None, None, None]
    assert [request.header("x-forwarded-prefix") for request in requests] == ["", "", "/strip", "", ""]
    assert [request.header("host") == "gateway.test" for request in requests] == [False, False, False, True, False]


def test_the_same_headers_are_split_from_what_comes_with_them(gateway, upstream):
    """Several heads in one read, and one in several."""
    one = head("/api/public/a", b"X-One: 1")
    with gateway.connect() as client:
        assert client.send(one).response().status == 200
        client.send(one + head("/api/public/b", b"X-One: 1") + one[:20])
        assert [client.response().status for _ in range(2)] == [200, 200]
        client.send(one[20:40])
        assert client.send(one[40:]).response().status == 200
        assert client.send(b"\r\n" + one).response().status == 200
    assert [request.target[-1:] for request in upstream.requests] == [b"a", b"a", b"b", b"a", b"a"]


def test_a_line_that_holds_a_whole_head_is_no_request_line(gateway, upstream):
    """The repeated block is a suffix of these bytes, and a request hides in front of it."""
    rest = b"\r\nHost: gateway.test\r\nX-One: 1\r\n\r\n"
    with gateway.connect() as client:
        assert client.send(b"GET /api/public/a HTTP/1.1" + rest).response().status == 200
        client.send(b"GET /api/public/b HTTP/1.1\r\nContent-Length: 5\r\nX-Two: 2" + rest)
        client.send(b"hello")
        assert client.response().status == 200
    assert [request.body for request in upstream.requests] == [b"", b"hello"]


def test_an_absolute_target_must_still_name_the_host(gateway, upstream):
    with gateway.connect() as client:
        assert client.send(head("/api/public")).response().status == 200
        assert client.send(head("http://gateway.test/api/public/absolute")).response().status == 200
    assert upstream.requests[-1].target == b"/api/public/absolute"


def test_a_body_is_framed_by_its_own_head(gateway, upstream):
    with gateway.connect() as client:
        for body in (b"", b"one", b"", b"longer"):
            lines = (b"Content-Length: %d" % len(body),) if body else ()
            client.send(head("/api/public", *lines, method="POST") + body)
            assert client.response().status == 200
    assert [request.body for request in upstream.requests] == [b"", b"one", b"", b"longer"]


def test_close_and_http_1_0_are_never_remembered(gateway, upstream):
    with gateway.connect() as client:
        assert client.send(head("/api/public")).response().status == 200
        assert client.send(head("/api/public", version="1.0")).response().status == 200
        assert client.is_closed()
