from __future__ import annotations

import socket
import threading

import pytest

from tests.support import raw
from tests.support.scripted import Script, ThenClose, answer, assert_refusal, keep_connection

CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture(autouse=True, params=["new", "kept"])
def way(request, gateway, upstream):
    """Each test with a new connection and with a kept one."""
    if request.param == "kept":
        keep_connection(gateway, upstream)


def ask(gateway, method="GET", *, version="HTTP/1.1", target="/api/public/x") -> raw.Response:
    data = raw.request(method, target, host=f"localhost:{gateway.port}").replace(b"HTTP/1.1", version.encode(), 1)
    return gateway.send(data, method=method)


ACCEPTED = [
    pytest.param(answer(body=b"hello"), 200, "length", b"hello", id="content-length"),
    pytest.param(answer(), 200, "length", b"", id="empty"),
    pytest.param(answer("Content-Length: 5 \t", body=b"hello"), 200, "length", b"hello", id="blanks after the length"),
    pytest.param(answer(CHUNKED, body=raw.chunked(b"hel", b"lo")), 200, "chunked", b"hello", id="chunked"),
    pytest.param(
        answer("transfer-encoding: Chunked ", body=raw.chunked(b"hello")), 200, "chunked", b"hello", id="case"
    ),
    pytest.param(answer(CHUNKED, body=raw.chunked()), 200, "chunked", b"", id="chunked and empty"),
    pytest.param(
        answer(CHUNKED, body=b"5;a=b;c\r\nhello\r\n0;d\r\n\r\n"), 200, "chunked", b"hello", id="chunk extensions"
    ),
    pytest.param(answer(body=b"hello", length=False), 200, "chunked", b"hello", id="until close"),
    pytest.param(answer(length=False), 200, "chunked", b"", id="until close and empty"),
    pytest.param(
        answer(body=b"hello", version="HTTP/1.0", length=False), 200, "chunked", b"hello", id="1.0 until close"
    ),
    pytest.param(answer(body=b"hello", version="HTTP/1.0"), 200, "length", b"hello", id="1.0 with a length"),
    pytest.param(
        answer("Connection: keep-alive", body=b"hello", version="HTTP/1.0"), 200, "length", b"hello", id="1.0 kept"
    ),
    pytest.param(answer("Connection: close", body=b"hello"), 200, "length", b"hello", id="connection close"),
    pytest.param(answer(status="204 No Content", length=False), 204, "none", b"", id="204"),
    pytest.param(answer("Content-Length: 0", status="204 No Content"), 204, "none", b"", id="204 with a length of 0"),
    pytest.param(answer('ETag: "a"', status="304 Not Modified", length=False), 304, "none", b"", id="304"),
    pytest.param(answer("Content-Length: 5", status="304 Not Modified"), 304, "none", b"", id="304 with a length"),
    pytest.param(answer(CHUNKED, status="304 Not Modified"), 304, "none", b"", id="304 chunked"),
    pytest.param(answer(body=b"no", status="404 Gone Fishing"), 404, "length", b"no", id="own reason phrase"),
    pytest.param(answer(body=b"hi", status="200"), 200, "length", b"hi", id="no reason phrase"),
    pytest.param(answer(body=b"hi", status="299 Own"), 299, "length", b"hi", id="unknown status"),
    pytest.param(answer(body=b"hi", status="599 Own"), 599, "length", b"hi", id="last status"),
]


@pytest.mark.parametrize(("reply", "status", "framing", "body"), ACCEPTED)
def test_each_framing_arrives_whole(gateway, upstream, reply, status, framing, body):
    upstream.reply(reply)
    response = ask(gateway)
    assert (response.status, response.framing, response.body) == (status, framing, body)
    assert response.trailers == []


@pytest.mark.parametrize(("reply", "status", "framing", "body"), ACCEPTED)
def test_each_framing_arrives_whole_byte_by_byte(gateway, upstream, reply, status, framing, body):
    ends = framing == "chunked" and b"chunked" not in reply.lower()
    pieces = [reply[i : i + 1] for i in range(len(reply))]
    upstream.reply(ThenClose(*pieces, delay=0.0005) if ends else Script(*pieces, delay=0.0005))
    response = ask(gateway)
    assert (response.status, response.body) == (status, body)


@pytest.mark.parametrize(("reply", "status", "framing", "body"), ACCEPTED)
def test_a_client_of_http_1_0_is_never_sent_chunks(gateway, upstream, reply, status, framing, body):
    upstream.reply(reply)
    response = ask(gateway, version="HTTP/1.0")
    assert response.all("transfer-encoding") == []
    assert (response.status, response.body) == (status, body)


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(answer("Content-Length: 5"), id="length"),
        pytest.param(answer(CHUNKED), id="chunked"),
        pytest.param(answer(length=False), id="neither"),
        pytest.param(answer("Content-Length: 5", status="404 Not Found"), id="404"),
        pytest.param(answer("Content-Length: 0"), id="length of 0"),
    ],
)
def test_the_answer_to_head_ends_with_its_head(gateway, upstream, reply):
    def stay_open(connection, request):  # so that nothing may wait for a body
        connection.send(reply)
        connection.keep_alive = True

    upstream.reply(stay_open)
    with gateway.connect() as client:
        client.send(raw.request("HEAD", "/api/public/x", host=f"localhost:{gateway.port}"))
        response = client.response("HEAD")
        assert response.body == b""
        if b"Content-Length" in reply:
            assert f"Content-Length: {response.header('content-length')}".encode() in reply
        upstream.reply(answer(body=b"next"))
        client.send(raw.request("GET", "/api/public/y", host=f"localhost:{gateway.port}"))
        assert client.response().body == b"next"


@pytest.mark.parametrize(
    ("method", "reply"),
    [
        pytest.param("HEAD", answer(body=b"hello"), id="HEAD"),
        pytest.param("HEAD", answer(CHUNKED, body=raw.chunked(b"hello")), id="HEAD chunked"),
        pytest.param("HEAD", answer(body=b"hello", length=False), id="HEAD without framing"),
        pytest.param("GET", answer("Content-Length: 5", body=b"hello", status="204 No Content"), id="204"),
        pytest.param("GET", answer("Content-Length: 5", body=b"hello", status="304 Not Modified"), id="304"),
        pytest.param("GET", answer(CHUNKED, body=raw.chunked(b"x"), status="304 Not Modified"), id="304 chunked"),
    ],
)
@pytest.mark.parametrize("segments", [1, 2])
def test_a_body_where_none_belongs_is_dropped_with_its_connection(gateway, upstream, method, reply, segments):
    head, _, body = reply.partition(b"\r\n\r\n")
    script = Script(reply) if segments == 1 else Script(head + b"\r\n\r\n", body)
    upstream.reply(script)
    response = ask(gateway, method)
    assert response.body == b""
    assert script.closed.wait(5)


TRAILERS = b"5\r\nhello\r\n0\r\nX-Auth-User-ID: eve\r\nSet-Cookie: auth_token=eve\r\n\r\n"


def test_trailers_are_dropped(gateway, upstream):
    upstream.reply(answer(CHUNKED, "Trailer: X-Auth-User-ID", body=TRAILERS))
    response = ask(gateway)
    assert (response.body, response.trailers) == (b"hello", [])
    assert response.all("trailer") == response.all("set-cookie") == []


FIELD = "X-Field: value"
REFUSED = [
    pytest.param(answer("Content-Length: +5", body=b"hello"), id="signed length"),
    pytest.param(answer("Content-Length: -5", body=b"hello"), id="negative length"),
    pytest.param(answer("Content-Length: 0x5", body=b"hello"), id="hexadecimal length"),
    pytest.param(answer("Content-Length: 5 1", body=b"hello"), id="two numbers"),
    pytest.param(answer("Content-Length: 5, 5", body=b"hello"), id="list of lengths"),
    pytest.param(answer("Content-Length: 5,", body=b"hello"), id="list of one"),
    pytest.param(answer("Content-Length: 5.0", body=b"hello"), id="fraction"),
    pytest.param(answer("Content-Length: five", body=b"hello"), id="word"),
    pytest.param(answer("Content-Length:", body=b"hello"), id="no length"),
    pytest.param(answer("Content-Length: 5", "Content-Length: 5", body=b"hello"), id="same length twice"),
    pytest.param(answer("Content-Length: 5", "Content-Length: 6", body=b"hello"), id="two lengths"),
    pytest.param(answer("Content-Length: 9" + "9" * 18, body=b"hello"), id="huge length"),
    pytest.param(answer("Content-Length: " + "9" * 40, body=b"hello"), id="overflowing length"),
    pytest.param(answer("Content-Length: " + "0" * 30 + "5", body=b"hello"), id="many zeros"),
    pytest.param(answer("Content-Length: 5", CHUNKED, body=raw.chunked(b"hello")), id="length and chunked"),
    pytest.param(answer(CHUNKED, "Content-Length: 5", body=raw.chunked(b"hello")), id="chunked and length"),
    pytest.param(answer(CHUNKED, CHUNKED, body=raw.chunked(b"hello")), id="chunked twice"),
    pytest.param(answer(f"{CHUNKED}, chunked", body=raw.chunked(b"hello")), id="chunked twice in a list"),
    pytest.param(answer("Transfer-Encoding: gzip, chunked", body=raw.chunked(b"hello")), id="gzip, chunked"),
    pytest.param(answer("Transfer-Encoding: chunked, gzip", body=raw.chunked(b"hello")), id="chunked, gzip"),
    pytest.param(answer("Transfer-Encoding: gzip", body=b"hello"), id="gzip"),
    pytest.param(answer("Transfer-Encoding: identity", body=b"hello"), id="identity"),
    pytest.param(answer("Transfer-Encoding: xchunked", body=raw.chunked(b"hello")), id="xchunked"),
    pytest.param(answer("Transfer-Encoding: chunked;q=1", body=raw.chunked(b"hello")), id="parameter"),
    pytest.param(answer("Transfer-Encoding:", body=b"hello"), id="no coding"),
    pytest.param(answer("Transfer-Encoding: \x0bchunked", body=raw.chunked(b"hello")), id="vertical tab"),
    pytest.param(answer("Transfer-Encoding: \xa0chunked", body=raw.chunked(b"hello")), id="no-break space"),
    pytest.param(answer(CHUNKED, body=raw.chunked(b"hello"), version="HTTP/1.0"), id="chunked in 1.0"),
    pytest.param(answer("Content-Length : 5", body=b"hello"), id="space before the colon"),
    pytest.param(answer(" Content-Length: 5", body=b"hello"), id="leading space"),
    pytest.param(answer("X: a\r\n b", body=b"hello"), id="folded"),
    pytest.param(answer("X: a\r\n\tb", body=b"hello"), id="folded with a tab"),
    pytest.param(answer("X: a\nY: b", body=b"hello"), id="bare LF"),
    pytest.param(answer("X: a\rY: b", body=b"hello"), id="bare CR"),
    pytest.param(answer("X: a\0b", body=b"hello"), id="NUL"),
    pytest.param(answer("X: a\x1b[31m", body=b"hello"), id="escape"),
    pytest.param(answer("X: a\x7f", body=b"hello"), id="DEL"),
    pytest.param(answer("X Y: a", body=b"hello"), id="space in a name"),
    pytest.param(answer("X\0Y: a", body=b"hello"), id="NUL in a name"),
    pytest.param(answer("X\xe9: a", body=b"hello"), id="name not ASCII"),
    pytest.param(answer(": a", body=b"hello"), id="no name"),
    pytest.param(answer("no colon", body=b"hello"), id="no colon"),
    pytest.param(answer(body=b"hello").replace(b"\r\n", b"\n"), id="LF only"),
    pytest.param(answer(body=b"hello", version="HTTP/3.7"), id="unknown version"),
    pytest.param(answer(body=b"hello", version="ICY"), id="other protocol"),
    pytest.param(answer(body=b"hello", version="http/1.1"), id="version in lower case"),
    pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="SSH"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", id="TLS"),
    pytest.param(b"<html>hello</html>", id="no head"),
    pytest.param(answer(body=b"hello", status="99 Low"), id="two digits"),
    pytest.param(answer(body=b"hello", status="099 Low"), id="099"),
    pytest.param(answer(body=b"hello", status="600 High"), id="600"),
    pytest.param(answer(body=b"hello", status="999 High"), id="999"),
    pytest.param(answer(body=b"hello", status="2000 OK"), id="four digits"),
    pytest.param(answer(body=b"hello", status="-20 OK"), id="negative status"),
    pytest.param(answer(body=b"hello", status="2a0 OK"), id="status with a letter"),
    pytest.param(answer(*[FIELD] * 300, body=b"hello"), id="many headers"),
    pytest.param(answer(*[f"X-{n}: {'v' * 800}" for n in range(200)], body=b"hello"), id="head of 160 KiB"),
    pytest.param(answer("X: " + "v" * 70_000, body=b"hello"), id="header of 70 KB"),
    pytest.param(answer("X: " + "v" * 300_000, body=b"hello"), id="header of 300 KB"),
    pytest.param(answer("X" * 70_000 + ": v", body=b"hello"), id="name of 70 KB"),
]


@pytest.mark.parametrize("reply", REFUSED)
def test_an_answer_in_doubt_is_refused_and_its_connection_closed(gateway, upstream, reply):
    script = Script(reply)
    upstream.reply(script)
    assert_refusal(ask(gateway), 502)
    assert script.closed.wait(5)


@pytest.mark.parametrize("reply", REFUSED)
def test_an_answer_in_doubt_is_refused_to_head_too(gateway, upstream, reply):
    upstream.reply(Script(reply))
    response = ask(gateway, "HEAD")
    assert (response.status, response.body) == (502, b"")


def test_the_client_may_go_on_after_a_refused_answer(gateway, upstream):
    upstream.reply(Script(answer("Content-Length: x", body=b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad")))
    with gateway.connect() as client:
        client.send(raw.request("GET", "/api/public/x", host=f"localhost:{gateway.port}"))
        assert_refusal(client.response(), 502)
        upstream.reply(answer(body=b"good"))
        client.send(raw.request("GET", "/api/public/y", host=f"localhost:{gateway.port}"))
        assert client.response().body == b"good"


CUT = [
    pytest.param(answer("Content-Length: 6", body=b"hello"), id="length"),
    pytest.param(answer("Content-Length: 5"), id="nothing of the body"),
    pytest.param(answer(CHUNKED, body=b"5\r\nhello\r\n"), id="no last chunk"),
    pytest.param(answer(CHUNKED, body=b"6\r\nhello"), id="within a chunk"),
    pytest.param(answer(CHUNKED, body=b"5\r\nhello\r\n0\r\n"), id="no end of the trailers"),
    pytest.param(answer(CHUNKED, body=b"5\r\nhello\r\n0\r\nX: y\r\n"), id="within the trailers"),
    pytest.param(answer(CHUNKED), id="no chunk"),
    pytest.param(answer(CHUNKED, body=b"5\r\nhelloX\r\n0\r\n\r\n"), id="chunk longer than said"),
    pytest.param(answer(CHUNKED, body=b"5\r\nhello\r\n5 \r\nhello\r\n0\r\n\r\n"), id="blank after a size"),
    pytest.param(answer(CHUNKED, body=b"5\r\nhello\r\n 5\r\nhello\r\n0\r\n\r\n"), id="blank before a size"),
    pytest.param(answer(CHUNKED, body=b"5\r\nhello\r\n+5\r\nhello\r\n0\r\n\r\n"), id="signed size"),
    pytest.param(answer(CHUNKED, body=b"5\r\nhello\r\n0x5\r\nhello\r\n0\r\n\r\n"), id="0x size"),
    pytest.param(answer(CHUNKED, body=b"5\r\nhello\r\n0_5\r\nhello\r\n0\r\n\r\n"), id="underscore in a size"),
    pytest.param(answer(CHUNKED, body=b"5\r\nhello\r\n\r\n"), id="no size"),
    pytest.param(answer(CHUNKED, body=b"5\r\nhello\r\n" + b"f" * 17 + b"\r\nhello"), id="size over 64 bits"),
    pytest.param(answer(CHUNKED, body=b"5\nhello\n0\n\n"), id="LF only"),
    pytest.param(answer(CHUNKED, body=b"5\r\nhello\r\n0\r\nX: y\n\r\n"), id="LF in a trailer"),
    pytest.param(answer(CHUNKED, body=b"5\r\nhello\r\n0\r\nno colon\r\n\r\n"), id="bad trailer"),
    pytest.param(answer(CHUNKED, body=b"5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n"), id="length in a trailer"),
]


@pytest.mark.parametrize("reply", CUT)
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_a_response_cut_short_is_visibly_cut(gateway, upstream, reply, version):
    """Its head has been passed on. A fault that is seen with it is a 502 (above)."""
    head, blank, rest = reply.partition(b"\r\n\r\n")
    has_head = threading.Event()

    def reply_in_two(connection, request):
        connection.send(head + blank)
        assert has_head.wait(10)
        connection.send(rest)
        connection.close()

    upstream.reply(reply_in_two)
    with gateway.connect() as client:
        client.send(
            raw.request("GET", "/api/public/x", host=f"localhost:{gateway.port}").replace(b"/1.1", version[4:].encode())
        )
        assert client.socket.recv(1, socket.MSG_PEEK)
        has_head.set()
        if b"chunked" in reply and version == "HTTP/1.0":
            # Only RST tells it from a whole response.
            with pytest.raises(ConnectionResetError):
                while client.socket.recv(65536):
                    pass
        else:
            with pytest.raises(raw.Truncated):
                client.response()


def test_endless_trailers_end_the_exchange(gateway, upstream):
    upstream.reply(Script(answer(CHUNKED, body=b"5\r\nhello\r\n0\r\nX: "), *[b"x" * 30_000] * 6, delay=0.01))
    with pytest.raises(raw.Truncated) as cut:
        ask(gateway)
    assert cut.value.response.body == b"hello"


def test_many_trailers_end_the_exchange(gateway, upstream):
    upstream.reply(Script(answer(CHUNKED, body=b"5\r\nhello\r\n0\r\n"), *[b"X: y\r\n" * 5_000] * 6, delay=0.01))
    with pytest.raises(raw.Truncated):
        ask(gateway)


@pytest.mark.parametrize(
    "late",
    [b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad", b"HTTP/1.1 100 Continue\r\n\r\n", b"\0", b"H"],
    ids=["byte", "answer", "interim", "NUL", "beginning"],
)
@pytest.mark.parametrize("segments", [1, 2])
@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(answer(body=b"first"), id="length"),
        pytest.param(answer(CHUNKED, body=raw.chunked(b"first")), id="chunked"),
        pytest.param(answer(status="204 No Content", length=False), id="204"),
    ],
)
def test_bytes_after_the_body_are_nobodys_answer(gateway, upstream, reply, segments, late):
    script = Script(reply + late) if segments == 1 else Script(reply, late)
    upstream.reply(script, path="/api/public/first")
    upstream.reply(answer(body=b"second"), path="/api/public/second")
    with gateway.connect() as client:
        client.send(raw.request("GET", "/api/public/first", host=f"localhost:{gateway.port}"))
        assert client.response().body in (b"first", b"")
        assert script.closed.wait(5)
        client.send(raw.request("GET", "/api/public/second", host=f"localhost:{gateway.port}"))
        assert client.response().body == b"second"
    first, second = upstream.requests
    assert first.connection != second.connection
