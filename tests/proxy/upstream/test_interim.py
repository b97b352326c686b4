from __future__ import annotations

import pytest

from tests.support import raw
from tests.support.scripted import Kept, Script, answer, assert_refusal, keep_connection

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x.css>; rel=preload\r\nSet-Cookie: auth_token=eve\r\n\r\n"


@pytest.fixture(autouse=True, params=["new", "kept"])
def way(request, gateway, upstream):
    """Each test with a new connection and with a kept one."""
    if request.param == "kept":
        keep_connection(gateway, upstream)


@pytest.mark.parametrize(
    "interim",
    [
        pytest.param(CONTINUE, id="100"),
        pytest.param(b"HTTP/1.1 102 Processing\r\n\r\n", id="102"),
        pytest.param(HINTS, id="103"),
        pytest.param(b"HTTP/1.1 104 Upload Resumption Supported\r\n\r\n", id="104"),
        pytest.param(b"HTTP/1.1 199 Own\r\n\r\n", id="199"),
        pytest.param(CONTINUE + HINTS + CONTINUE, id="several"),
        pytest.param(CONTINUE * 500, id="flood"),
    ],
)
@pytest.mark.parametrize("segments", [1, 2])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_interim_answers_end_at_the_gateway(gateway, upstream, interim, segments, method):
    final = answer("X-Final: 1", body=b"" if method == "HEAD" else b"hello")
    upstream.reply(interim + final if segments == 1 else Script(interim, final))
    response = gateway.request("/api/public/x", method=method, body=b"body" if method == "POST" else None)
    assert (response.status, response.header("x-final"), response.interim) == (200, "1", [])
    assert response.body == (b"" if method == "HEAD" else b"hello")
    assert response.all("set-cookie") == response.all("link") == []


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", id="101"),
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", id="101 bare"),
        pytest.param(CONTINUE + b"HTTP/1.1 101 Switching Protocols\r\n\r\n", id="101 after 100"),
        pytest.param(b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhello", id="100 with a length"),
        pytest.param(b"HTTP/1.1 150 Own\r\nContent-Length: 5\r\n\r\nhello", id="150 with a body"),
        pytest.param(
            b"HTTP/1.1 150 Own\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", id="150 chunked"
        ),
        pytest.param(b"HTTP/1.1 103 Hints\r\nX: a\r\n b\r\n\r\n", id="folded header"),
        pytest.param(CONTINUE * 15_000, id="flood over 64 KiB"),
        pytest.param(b"HTTP/1.1 103 Hints\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", id="header over 64 KiB"),
    ],
)
def test_interim_answers_that_are_none_are_refused(gateway, upstream, reply):
    script = Script(reply, answer(body=b"final"))
    upstream.reply(script)
    assert_refusal(gateway.get("/api/public/x"), 502)
    assert script.closed.wait(5)


def test_interim_answers_do_not_cost_the_connection(gateway, upstream):
    upstream.reply(Kept(CONTINUE + HINTS + answer(body=b"hello")))
    for _ in range(3):
        assert gateway.get("/api/public/x").body == b"hello"
    assert len({request.connection for request in upstream.requests}) == 1


def test_an_offer_of_http2_never_reaches_the_upstream_nor_its_answer_the_client(gateway, upstream):
    upstream.reply(answer("Upgrade: h2c", "Connection: Upgrade", body=b"plain"))
    upgrade = [("Connection", "Upgrade"), ("Upgrade", "h2c")]
    with gateway.connect() as client:
        client.send(raw.request("GET", "/api/public/x", upgrade, host=f"localhost:{gateway.port}"))
        response = client.response()
        assert (response.status, response.body, response.all("upgrade")) == (200, b"plain", [])
        assert upstream.only.all("upgrade") == []
