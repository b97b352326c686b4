"""Who speaks when: the request's body against the response."""

from __future__ import annotations

import threading

import pytest

from tests.support import raw
from tests.support.scripted import Script, answer, assert_refusal, keep_connection


@pytest.fixture(autouse=True, params=["new", "kept"])
def way(request, gateway, upstream):
    """Each test with a new connection and with a kept one."""
    if request.param == "kept":
        keep_connection(gateway, upstream)


def start(gateway, *fields, path="/api/public/x", method="POST") -> bytes:
    return raw.request(method, path, fields, host=f"localhost:{gateway.port}")


LENGTH = ("Content-Length", "1000000")
CHUNKED = ("Transfer-Encoding", "chunked")
EXPECT = ("Expect", "100-continue")


@pytest.mark.parametrize(("framing", "piece"), [(LENGTH, b"x" * 1000), (CHUNKED, b"3e8\r\n" + b"x" * 1000 + b"\r\n")])
@pytest.mark.parametrize("reply", [answer(body=b"too much", status="413 Too Large"), answer(body=b"fine, thanks")])
def test_an_answer_before_the_end_of_the_body_ends_the_exchange(gateway, upstream, framing, piece, reply):
    script = Script(reply, read_body=False)
    upstream.reply(script)
    with gateway.connect() as client:
        client.send(start(gateway, framing)).send(piece)
        response = client.response()
        assert response.raw_head.split(b" ")[1] == reply.split(b" ")[1]
        assert response.body == reply.partition(b"\r\n\r\n")[2]
        assert response.header("connection") == "close"
        assert script.closed.wait(5)
        assert client.is_closed()
    upstream.reply(answer(body=b"next"))
    assert gateway.get("/api/public/y").body == b"next"
    assert upstream.requests[0].connection != upstream.requests[1].connection


def test_an_early_answer_that_ends_with_its_connection_is_whole(gateway, upstream):
    def answer_and_close(connection, request):
        connection.send(answer(body=b"hello", length=False))
        connection.socket.shutdown(1)  # the answer is whole, the upload goes on
        connection.wait_closed()

    upstream.reply(answer_and_close)
    with gateway.connect() as client:
        client.send(start(gateway, LENGTH)).send(b"x" * 1000)
        assert client.response().body == b"hello"


def test_a_body_that_comes_after_the_answer_is_never_a_request(gateway, upstream):
    upstream.reply(Script(answer(body=b"first"), read_body=False), path="/api/public/x")
    smuggled = start(gateway, path="/api/public/smuggled", method="GET")
    with gateway.connect() as client:
        client.send(start(gateway, ("Content-Length", str(len(smuggled) + 1000))) + b"x")
        assert client.response().body == b"first"
        client.send(smuggled)
        assert client.is_closed()
    assert [request.path for request in upstream.requests] == [b"/api/public/x"]


def test_100_continue_comes_once_the_gate_has_let_the_request_in(gateway, upstream):
    with gateway.connect() as client:
        client.send(start(gateway, EXPECT, ("Content-Length", "5"), path="/api/public/x"))
        assert client.read_head().status == 100
        client.send(b"hello")
        assert client.response().status == 200
    assert bytes(upstream.only.body) == b"hello"
    assert upstream.only.all("expect") == []


def test_100_continue_comes_before_a_chunked_body_too(gateway, upstream):
    with gateway.connect() as client:
        client.send(start(gateway, EXPECT, CHUNKED))
        assert client.read_head().status == 100
        client.send(raw.chunked(b"hel")[:-5]).send(raw.chunked(b"lo"))
        assert client.response().status == 200
    assert bytes(upstream.only.body) == b"hello"


@pytest.mark.parametrize("framing", [("Content-Length", "5"), CHUNKED])
def test_a_denied_request_is_not_told_to_send_its_body(gateway, upstream, framing):
    with gateway.connect() as client:
        client.send(start(gateway, EXPECT, framing, path="/api/protected/x"))
        response = client.response()
        assert (response.status, response.interim, response.header("connection")) == (401, [], "close")
        assert client.is_closed()
    assert upstream.requests == []


def test_an_impatient_client_gets_no_second_100(gateway, upstream):
    with gateway.connect() as client:
        client.send(start(gateway, EXPECT, ("Content-Length", "5")) + b"hello")
        response = client.response()
        assert response.status == 200
        assert len(response.interim) <= 1
    assert bytes(upstream.only.body) == b"hello"


def test_a_client_of_http_1_0_is_told_no_100(gateway, upstream):
    with gateway.connect() as client:
        data = start(gateway, EXPECT, ("Content-Length", "5")).replace(b"HTTP/1.1", b"HTTP/1.0")
        client.send(data + b"hello")
        response = client.response()
        assert (response.status, response.interim) == (200, [])


def test_the_upstream_hears_of_a_request_only_with_the_first_of_its_body(gateway, upstream):
    with gateway.connect() as client:
        client.send(start(gateway, LENGTH))
        assert not threading.Event().wait(0.2)
        assert upstream.requests == []
        client.send(b"x" * 1000)
        upstream.wait(1)


@pytest.mark.parametrize(
    ("framing", "body", "wanted"),
    [
        pytest.param(("Content-Length", "5"), b"hello", "content-length", id="length"),
        pytest.param(CHUNKED, raw.chunked(b"hello"), "content-length", id="chunked but already whole"),
        pytest.param(("Content-Length", "0"), b"", "content-length", id="empty"),
        pytest.param(CHUNKED, raw.chunked(), "content-length", id="chunked and empty"),
    ],
)
def test_each_body_is_framed_anew(gateway, upstream, framing, body, wanted):
    gateway.send(start(gateway, framing) + body)
    upstream.wait(1, complete=True)
    request = upstream.only
    assert bytes(request.body) == (b"hello" if b"hello" in body else b"")
    assert len(request.all("content-length")) + len(request.all("transfer-encoding")) == 1
    assert request.header(wanted) == str(len(request.body))


def test_a_chunked_body_that_comes_slowly_goes_on_as_chunks(gateway, upstream):
    upstream.reply(answer(body=b"ok"))
    with gateway.connect() as client:
        client.send(start(gateway, CHUNKED, ("Trailer", "X-Auth-User-ID")))
        for part in (b"hel", b"lo"):
            client.send(b"%x;ext=1\r\n%b\r\n" % (len(part), part))
            upstream.wait(1)
            threading.Event().wait(0.05)
        client.send(b"0\r\nX-Auth-User-ID: eve\r\n\r\n")
        assert client.response().body == b"ok"
    assert bytes(upstream.only.raw_body) == b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
    assert upstream.only.all("content-length") == []


def test_a_get_without_a_body_is_framed_as_having_none(gateway, upstream):
    gateway.get("/api/public/x")
    assert upstream.only.all("content-length") == upstream.only.all("transfer-encoding") == []


def test_a_get_may_have_a_body(gateway, upstream):
    gateway.request("/api/public/x", body=b"hello")
    upstream.wait(1, complete=True)
    assert bytes(upstream.only.body) == b"hello"


def test_a_client_that_stops_in_the_middle_of_its_body_leaves_no_whole_request_behind(gateway, upstream):
    for framing, piece in ((LENGTH, b"x" * 1000), (CHUNKED, b"3e8\r\n" + b"x" * 1000 + b"\r\n")):
        upstream.clear()
        with gateway.connect() as client:
            client.send(start(gateway, framing)).send(piece)
            upstream.wait(1)
        request = upstream.only
        threading.Event().wait(0.3)
        assert not request.complete
        assert b"0\r\n\r\n" not in request.raw_body


def test_both_directions_flow_at_once(gateway, upstream):
    def echo(connection, request):
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n")
        left = 3000
        while left:
            data = connection._take(left)
            left -= len(data)
            connection.send(data)

    upstream.reply(echo)
    with gateway.connect() as client:
        client.send(start(gateway, ("Content-Length", "3000")))
        client.send(b"a" * 1000)
        assert client.read_head().status == 200
        assert client.read(1000) == b"a" * 1000
        for letter in (b"b", b"c"):
            client.send(letter * 1000)
            assert client.read(1000) == letter * 1000


def test_pipelined_requests_get_their_own_answers_in_order(gateway, upstream):
    for name in "abc":
        upstream.reply(answer(body=name.encode()), path=f"/api/public/{name}")
    with gateway.connect() as client:
        client.send(b"".join(start(gateway, path=f"/api/public/{name}", method="GET") for name in "abc"))
        assert [response.body for response in client.responses(3)] == [b"a", b"b", b"c"]


def test_a_refused_answer_to_an_upload_is_told_to_the_client(gateway, upstream):
    upstream.reply(Script(b"nonsense\r\n\r\n", read_body=False))
    with gateway.connect() as client:
        client.send(start(gateway, LENGTH)).send(b"x" * 1000)
        assert_refusal(client.response(), 502)
        assert client.is_closed()
