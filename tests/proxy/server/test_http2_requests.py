"""What a client can say only in HTTP/2: nothing of it reaches an upstream as more, or as less, than it is."""

from __future__ import annotations

import json
import socket
import struct
import time

import pytest

from tests.support.gateway import Gateway
from tests.support.http2 import DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, SETTINGS, frame, head
from tests.support.neighbours import neighbour_policy


@pytest.fixture(scope="module")
def gateway(gateway_template, session_upstream, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("http2") / "data"
    policy = neighbour_policy(session_upstream.target)
    with Gateway(data_dir, template=gateway_template, policy=policy, args=("--http2",)) as gateway:
        gateway.start()
        gateway.settle()
        yield gateway


def exchange(gateway, block, body=None, *, reset=False):
    """The kinds of frames that ended the stream, and the body of the response."""
    with socket.create_connection(gateway.address, 5) as sock:
        sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0))
        sock.sendall(frame(HEADERS, END_HEADERS | (END_STREAM if body is None else 0), 1, block))
        if body is not None:
            sock.sendall(frame(DATA, 0 if reset else END_STREAM, 1, body))
        if reset:
            time.sleep(0.3)
            sock.sendall(frame(RST_STREAM, 0, 1, struct.pack(">I", 8)))
            time.sleep(0.3)
            return None, b""
        return read_stream(sock.makefile("rb"))


def read_stream(stream):
    answer = b""
    while True:
        start = stream.read(9)
        if not start:
            return None, answer
        payload = stream.read(int.from_bytes(start[:3], "big"))
        kind, flags = start[3], start[4]
        if kind == DATA:
            answer += payload
        if kind in (RST_STREAM, GOAWAY) or (kind in (HEADERS, DATA) and flags & END_STREAM):
            return kind, answer


def test_an_identity_header_of_another_gateway_goes_no_further(gateway, upstream):
    fields = [
        (name, "planted") for name in ("remote-user", "x-webauth-user", "cf-access-jwt-assertion", "x_remote_user")
    ]
    assert exchange(gateway, head("/open/x", "GET", *fields))[0] == DATA
    assert b"planted" not in upstream.only.head


@pytest.mark.parametrize(
    ("block", "body"),
    [
        (head("/open/x", "POST", ("content-length", "300")), b"abc"),
        (head("/open/x", "POST", ("content-length", "1")), b"abc"),
        (head("/open/x", "POST", ("transfer-encoding", "chunked")), b"0\r\n\r\nGET /open/admin HTTP/1.1\r\n\r\n"),
        (head("/open/x", "POST", ("connection", "x-auth-user-id")), b"abc"),
        (head("/open/x", "GET", ("x-a", "b\r\nx-auth-user-id: root")), None),
        (head("/open/x", "GET", ("X-Auth-User-ID", "root")), None),
        (head("http://wiki.test/open/x"), None),
        (head("open/x"), None),
    ],
    ids=["short body", "long body", "transfer-encoding", "connection", "line break", "upper case", "url", "relative"],
)
def test_a_malformed_stream_is_reset_and_nothing_is_sent_on(gateway, upstream, block, body):
    assert exchange(gateway, block, body)[0] in (RST_STREAM, GOAWAY)
    assert not [request for request in upstream.requests if request.complete]


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (head("/open/%61dmin"), "no_credential"),
        (head("/open/../open/admin"), "bad_target"),
        (head("/open%2fadmin"), "bad_target"),
        (head(authority="a@localhost"), "bad_host"),
        (head("/open/x", "GET", ("host", "wiki.test"), ("host", "localhost")), "bad_host"),
        (head("/session", "GET", ("cookie", "auth_token=a"), ("cookie", "auth_token=b")), "invalid_token"),
        (head("/open/x", "POST", ("content-length", "3"), ("content-length", "3")), "bad_framing"),
    ],
)
def test_what_can_be_read_twice_is_refused(gateway, upstream, block, reason):
    body = b"abc" if b"POST" in block else None
    assert json.loads(exchange(gateway, block, body)[1])["reason"] == reason
    assert upstream.requests == []


@pytest.mark.parametrize("fields", [(), (("content-length", "300"),)], ids=["no length", "length"])
def test_an_upload_that_is_reset_never_looks_whole(gateway, upstream, fields):
    exchange(gateway, head("/open/x", "POST", *fields), b"abc", reset=True)
    request = upstream.only
    assert (bytes(request.body), request.complete) == (b"abc", False)


def test_scheme_cookies_and_identity_are_ours(gateway, upstream):
    block = head(
        "/open/x", "GET", ("cookie", "a=1"), ("cookie", "auth_token=x"), ("cookie", "b=2"),
        ("x_auth_user_id", "root"), ("x-auth-user-id", "root"), scheme="https",
    )  # fmt: skip
    exchange(gateway, block)
    request = upstream.only
    assert request.all("cookie") == ["a=1; b=2"]
    assert request.header("x-forwarded-proto") == "http"
    assert not [value for name, value in request.headers if b"user" in name and value]


def test_many_cookies_in_fields_of_their_own_are_one_header(gateway, upstream):
    """Browsers split them so, and a hundred headers are all that is taken (RFC 9113 8.2.3)."""
    cookies = [f"c{number}=1" for number in range(150)]
    exchange(gateway, head("/open/x", "GET", *(("cookie", cookie) for cookie in cookies)))
    assert upstream.only.all("cookie") == ["; ".join(cookies)]


def test_a_host_beside_the_authority_is_refused(gateway, upstream):
    """It may be another one, and a proxy in front may go by the authority (RFC 9113 8.3.1)."""
    _, body = exchange(gateway, head("/open/x", "GET", ("accept", "*/*"), ("host", "other.test")))
    assert json.loads(body)["reason"] == "bad_host"
    assert upstream.requests == []


def test_an_upgrade_on_http1_is_refused_here_as_well(gateway, upstream):
    headers = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
    answer = gateway.get("/open/x", headers=[*headers, ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")])
    assert (answer.status, answer.json()["reason"], upstream.requests) == (501, "upgrade_not_supported", [])


def test_a_websocket_by_extended_connect_is_not_offered_and_reset(gateway, upstream):
    """RFC 8441 3: a client may ask for it only after a server has said that it takes it."""
    assert exchange(gateway, head("/open/x", "CONNECT", (":protocol", "websocket")))[0] in (RST_STREAM, GOAWAY)
    assert upstream.requests == []
