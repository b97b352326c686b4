"""A body that comes with its head goes to the service with it: the same as when it comes later, and in its turn."""

from __future__ import annotations

import random
import time

import pytest

from tests.support import raw
from tests.support.scripted import answer

BODIES = [b"x", b"\r\n\r\n", b"GET /api/public/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n", b"a" * 300, b"b" * 60_000]
METHODS = ["POST", "PUT", "PATCH", "DELETE", "GET"]


def keep_a_connection(gateway, upstream):
    gateway.get("/api/public/first")
    upstream.wait(1)
    upstream.requests.clear()


def sent(gateway, upstream, request, cut=None):
    """What the service gets of it; `cut`: where the client pauses."""
    upstream.requests.clear()
    with gateway.connect() as client:
        client.send(request[:cut])
        if cut is not None:
            time.sleep(0.02)
            client.send(request[cut:])
        assert client.response().status == 200
    [got] = upstream.wait(1, complete=True)
    lines = [
        line for line in got.head.split(b"\r\n") if not line.lower().startswith((b"x-request-id:", b"traceparent:"))
    ]
    return sorted(lines), bytes(got.raw_body)


@pytest.mark.parametrize("body", BODIES, ids=len)
@pytest.mark.parametrize("method", METHODS)
def test_a_service_gets_the_same_however_the_body_comes(gateway, upstream, method, body):
    keep_a_connection(gateway, upstream)
    request = raw.request(method, "/api/public/x", [("X-Mine", "1")], body, host=gateway.host)
    head_ends = len(request) - len(body)
    cuts = [None, head_ends, head_ends + 1, len(request) - 1]
    found = [sent(gateway, upstream, request, cut) for cut in cuts]
    assert found == [found[0]] * len(cuts)
    assert found[0][1] == body


def test_requests_sent_together_are_answered_in_their_order(gateway, upstream):
    generator = random.Random(7)
    upstream.reply(lambda connection, request: echo(connection, request))
    bodies = [generator.randbytes(generator.choice([0, 1, 40, 3000])) for _ in range(60)]
    stream = b"".join(
        raw.request("POST" if body else "GET", f"/api/public/{number}", (), body or None, host=gateway.host)
        for number, body in enumerate(bodies)
    )
    with gateway.connect() as client:
        for piece in pieces(stream, generator):
            client.send(piece)
        responses = client.responses(len(bodies))
    assert [response.body for response in responses] == bodies
    assert [request.path for request in upstream.requests] == [f"/api/public/{n}".encode() for n in range(len(bodies))]


def echo(connection, request):
    connection.read_body(request)
    connection.send(answer(body=bytes(request.body)))
    connection.keep_alive = True


def pieces(stream, generator):
    while stream:
        size = generator.choice([1, 60, 700, 9000])
        yield stream[:size]
        stream = stream[size:]


@pytest.mark.parametrize(("path", "status"), [("/api/protected/x", 401), ("/nowhere", 404)])
def test_after_a_refusal_the_connection_goes_on_with_what_follows_the_body(gateway, upstream, path, status):
    follows = raw.request("GET", "/api/public/next", host=gateway.host)
    refused = raw.request("POST", path, (), b"GET / HTTP/1.1", host=gateway.host)
    with gateway.connect() as client:
        responses = client.send(refused + follows).responses(2)
    assert [response.status for response in responses] == [status, 200]
    assert [request.path for request in upstream.requests] == [b"/api/public/next"]


def test_bytes_beyond_the_announced_length_are_the_next_request(gateway, upstream):
    keep_a_connection(gateway, upstream)
    request = raw.request("POST", "/api/public/x", [("Content-Length", "4")], b"bodyGARBAGE\r\n\r\n", host=gateway.host)
    with gateway.connect() as client:
        statuses = [response.status for response in client.send(request).responses(2)]
    assert statuses == [200, 400]
    assert [bytes(request.body) for request in upstream.requests] == [b"body"]


def test_whoever_waits_to_be_told_to_continue_is_told_so(gateway, upstream):
    keep_a_connection(gateway, upstream)
    request = raw.request("POST", "/api/public/x", [("Expect", "100-continue")], b"body", host=gateway.host)
    with gateway.connect() as client:
        response = client.send(request).response()
    assert response.status == 200
    assert [interim.status for interim in response.interim] == [100]
