"""One request in, one self-framed request out; a doubtful one reaches nobody, nor does what is behind it."""

from __future__ import annotations

import pytest

from tests.support import raw
from tests.support.framing import BROKEN_CHUNKS, DOUBTFUL_HEADS, OTHER_VERSIONS, TARGET, in_chunks, post
from tests.support.neighbours import upstream_sees_nothing

REFUSED = DOUBTFUL_HEADS | OTHER_VERSIONS | {name: in_chunks(body) for name, body in BROKEN_CHUNKS.items()}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_a_doubtful_request_reaches_nobody_nor_does_the_next(gateway, upstream, data):
    with gateway.connect() as client:
        client.send(data + raw.request(target="/api/public/behind"))
        assert client.response().status in (400, 505)
        assert client.is_closed()
    assert upstream.requests == []


@pytest.mark.parametrize(
    "trailer", ["Content-Length: 7", "Transfer-Encoding: x", "Host: evil", "X-Auth-User-ID: evil", "Cookie: a=b"]
)
@pytest.mark.parametrize("together", [True, False], ids=["at once", "later"])
def test_trailers_never_become_headers(gateway, upstream, trailer, together):
    with gateway.connect() as client:
        head = post(b"Transfer-Encoding: chunked\r\nTrailer: X-Auth-User-ID\r\n", b"5\r\nhello\r\n")
        rest = f"0\r\n{trailer}\r\n\r\n".encode()
        if together:
            client.send(head + rest)
        else:
            client.send(head)
            upstream.wait(1)
            client.send(rest)
        assert client.response().status == 200
    request = upstream.wait(1, complete=True)[0]
    assert bytes(request.raw_body) in (b"5\r\nhello\r\n0\r\n\r\n", b"hello")
    assert trailer.encode().lower() not in request.head.lower()


def test_a_body_is_framed_anew(gateway, upstream):
    body = b"5;ext=1\r\nhello\r\n0006\r\n world\r\n000\r\n\r\n"
    assert gateway.send(in_chunks(body)).status == 200
    request = upstream.wait(1, complete=True)[0]
    assert bytes(request.body) == b"hello world"
    assert len(request.all("content-length") + request.all("transfer-encoding")) == 1


@pytest.mark.parametrize(
    "data", [post(b"Content-Length: 3\r\n", b"abc"), in_chunks(b"3\r\nabc\r\n0\r\n\r\n")], ids=["sized", "chunked"]
)
def test_pipelined_requests_stay_apart(gateway, upstream, data):
    with gateway.connect() as client:
        client.send(data + raw.request(target="/api/public/second") + data)
        assert [response.status for response in client.responses(3)] == [200] * 3
    requests = upstream.wait(3, complete=True)
    assert [request.path for request in requests] == [TARGET, b"/api/public/second", TARGET]
    assert [bytes(request.body) for request in requests] == [b"abc", b"", b"abc"]


@pytest.mark.parametrize(
    "behind", [b"0\r\n\r\n", b"GET /api/public/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"], ids=["TE", "CL"]
)
def test_the_body_of_a_refused_request_is_never_a_request(gateway, upstream, behind):
    data = b"POST /api/admin/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (len(behind) + 1)
    with gateway.connect() as client:
        client.send(data + behind)
        assert client.response().status == 401
        assert client.is_closed()
    assert upstream.requests == []


def test_a_body_on_get_is_carried_as_one(gateway, upstream):
    body = b"GET /api/admin/x HTTP/1.1\r\nHost: a\r\n\r\n"
    assert gateway.request("/api/public/x", body=body).status == 200
    assert bytes(upstream.wait(1, complete=True)[0].body) == body


def test_a_refused_upload_gets_no_continue(gateway, upstream):
    data = b"POST /api/admin/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    response = gateway.send(data)
    assert (response.status, response.interim) == (401, [])
    assert upstream.requests == []


def test_continue_comes_from_the_gateway_once_it_has_allowed(gateway, upstream):
    with gateway.connect() as client:
        client.send(post(b"Content-Length: 5\r\nExpect: 100-continue\r\n"))
        assert client.read_head().status == 100
        client.send(b"hello")
        assert client.response().status == 200
    request = upstream.wait(1, complete=True)[0]
    assert request.header("expect") is None
    assert bytes(request.body) == b"hello"


@pytest.mark.parametrize("value", ["x", "100-continue, x", "200-ok"])
def test_an_unknown_expectation_is_refused(gateway, upstream, value):
    response = upstream_sees_nothing(gateway, upstream, post(f"Expect: {value}\r\n".encode()))
    assert response.status == 417
