"""Requests whose extent is in doubt: refused, the connection closed, and nothing behind them is served."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import raw
from tests.support.echo_app import EchoServer

HOST = b"Host: a\r\n"
NEXT = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"  # never served
BEHIND = b"GET /behind HTTP/1.1\r\nHost: a\r\n\r\n"  # served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EchoServer]:
    with EchoServer(tmp_path_factory.mktemp("echo")) as server:
        yield server


def post(headers: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    return b"POST /x HTTP/" + version + b"\r\n" + HOST + headers + b"\r\n" + body


def sized(value: bytes) -> bytes:
    return post(b"Content-Length: " + value + b"\r\n", b"hello")


def coded(value: bytes) -> bytes:
    return post(b"Transfer-Encoding: " + value + b"\r\n", b"5\r\nhello\r\n0\r\n\r\n")


def in_chunks(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked\r\n", body)


BAD_HEADS = {
    "length and coding": post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "coding and length": post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"),
    "two lengths": post(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello"),
    "the same length twice": post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"),
    "length zero twice": post(b"Content-Length: 0\r\nContent-Length: 0\r\n"),
    **{
        f"length {value!r}": sized(value)
        for value in (
            b"5, 5", b"5,5", b"+5", b"-0", b"-5", b"0x5", b"0_1", b"5 1", b"", b" ", b"010", b"00", b"5;", b"5.0",
            b"1" + b"0" * 30, b"18446744073709551621", b"five", b"\x0b5", b"5\x0c", b"\xb25", b"5\xa0", b'"5"',
        )
    },
    **{
        f"coding {value!r}": coded(value)
        for value in (
            b"chunked, identity", b"identity, chunked", b"gzip, chunked", b",chunked", b"chunked,", b"xchunked",
            b"chunked\x0b", b"\xa0chunked", b"identity", b"gzip", b"", b"chunked;q=1", b'"chunked"',
            b"chunked, chunked",
        )
    },
    "coding twice": post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "coding on HTTP/1.0": post(b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"1.0"),
    "folded coding": post(b"Transfer-\r\n Encoding: chunked\r\n", b"0\r\n\r\n"),
    "folded value": post(b"X: a\r\n b\r\n"),
    "fold with a tab": post(b"X: a\r\n\tb\r\n"),
    "space before the colon": post(b"Content-Length : 5\r\n", b"hello"),
    "tab before the colon": post(b"Content-Length\t: 5\r\n", b"hello"),
    "line without colon": post(b"Content-Length\r\n"),
    "empty name": post(b": x\r\n"),
    "NUL in a value": post(b"X: a\0b\r\n"),
    "NUL in a name": post(b"X\0: a\r\n"),
    "CR in a value": post(b"X: a\rContent-Length: 5\r\n"),
    "LF in a value": post(b"X: a\nContent-Length: 5\r\n"),
    "vertical tab in a value": post(b"X: a\x0bb\r\n"),
    "DEL in a value": post(b"X: a\x7fb\r\n"),
    "NEL in a name": post(b"X\x85: a\r\n"),
    "a name in quotes": post(b'"X": a\r\n'),
    "bare LF everywhere": b"GET / HTTP/1.1\nHost: a\n\n",
    "bare LF after the request line": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    "bare LF after a header": b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
    "bare CR after the request line": b"GET / HTTP/1.1\rHost: a\r\n\r\n",
    "CR CR LF": b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
    "first header indented": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "space before the method": b" GET / HTTP/1.1\r\n" + HOST + b"\r\n",
    "two empty lines first": b"\r\n\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n",
    "two spaces before the target": b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n",
    "two spaces before the version": b"GET /  HTTP/1.1\r\n" + HOST + b"\r\n",
    "space after the version": b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n",
    "tab as separator": b"GET\t/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/0.9 with a host": b"GET /\r\n" + HOST + b"\r\n",
    "no version": b"GET / \r\n" + HOST + b"\r\n",
    "version in lower case": b"GET / http/1.1\r\n" + HOST + b"\r\n",
    "RTSP": b"OPTIONS / RTSP/1.0\r\n" + HOST + b"\r\n",
    "ICE": b"SOURCE / ICE/1.0\r\n" + HOST + b"\r\n",
    "TLS on the plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "nonsense": b"nonsense\r\n\r\n",
}  # fmt: skip

OTHER_VERSIONS = {
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "2.0": b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
    "0.9 spelled out": b"GET / HTTP/0.9\r\n" + HOST + b"\r\n",
    "3": b"GET / HTTP/3\r\n" + HOST + b"\r\n",
}

BAD_BODIES = {
    f"chunked {body!r}"[:60]: body
    for body in (
        b"0_2e\r\n", b"-5\r\nhello\r\n", b"+5\r\nhello\r\n", b" 5\r\nhello\r\n", b"5 \r\nhello\r\n",
        b"5 ;a\r\nhello\r\n",
        b"0x5\r\nhello\r\n", b"\r\nhello\r\n", b"g\r\n", b"5\nhello\r\n", b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n", b"5\r\nhello0\r\n\r\n", b"5\r\nhello\r0\r\n\r\n", b"5\r\nhello\rX",
        b"10000000000000005\r\nhello\r\n", b"fffffffffffffffff\r\n", b"5;a=\rb\r\nhello\r\n", b"5;a=\0\r\nhello\r\n",
        b"5;" + b"a" * 300 + b"\r\nhello\r\n", b"5" * 300, b"5;a\xff\r\nhello\r\n",
        b"0\r\nno colon\r\n\r\n", b"0\r\nX : a\r\n\r\n", b"0\r\n folded\r\n\r\n", b"0\r\nX: a\nY: b\r\n\r\n",
        b"0\r\nX: a\rb\r\n\r\n", b"0\r\nX: " + b"a" * 9000 + b"\r\n\r\n", b"0\r\n" + b"X: aaaaaaaaa\r\n" * 800,
        b"1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n" * 400,
    )
}  # fmt: skip


def refused_for_good(server: EchoServer, data: bytes, status: int) -> raw.Response:
    with server.connect() as client:
        client.send(data + NEXT)
        response = client.response()
        assert response.status == status, response
        assert response.header("connection") == "close"
        assert set(response.json()) == {"error", "message", "reason", "request_id"}
        assert client.is_closed()
    assert "GET /smuggled" not in server.events
    return response


@pytest.mark.parametrize("data", BAD_HEADS.values(), ids=BAD_HEADS)
def test_a_doubtful_head_is_refused_and_nothing_behind_it_is_served(server: EchoServer, data: bytes) -> None:
    refused_for_good(server, data, 400)


@pytest.mark.parametrize("data", BAD_HEADS.values(), ids=BAD_HEADS)
def test_a_doubtful_head_in_small_pieces_is_refused_too(server: EchoServer, data: bytes) -> None:
    with server.connect() as client:
        client.socket.settimeout(0.003)
        for at in range(0, len(data), 7):
            client.send(data[at : at + 7])
            try:
                if client._fill():
                    break
            except TimeoutError:
                pass
        client.socket.settimeout(5)
        assert client.response().status == 400


@pytest.mark.parametrize("data", OTHER_VERSIONS.values(), ids=OTHER_VERSIONS)
def test_another_version_of_http_is_not_spoken(server: EchoServer, data: bytes) -> None:
    assert refused_for_good(server, data, 505).json()["reason"] == "http_version"


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_broken_chunk_is_refused_and_nothing_behind_it_is_served(server: EchoServer, body: bytes) -> None:
    refused_for_good(server, in_chunks(body), 400)


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_broken_chunk_after_the_head_ends_the_request(server: EchoServer, body: bytes) -> None:
    with server.connect() as client:
        client.send(in_chunks(b"")).send(b"3\r\nabc\r\n").send(body)
        assert client.response().status == 400
        assert client.is_closed()


def test_a_refusal_does_not_overtake_the_response_before_it(server: EchoServer) -> None:
    with server.connect() as client:
        client.send(raw.request(target="/slow?0.2") + b"nonsense\r\n\r\n" + NEXT)
        assert [response.status for response in client.responses(2)] == [200, 400]
        assert client.is_closed()


def test_chunks_are_joined_and_trailers_dropped(server: EchoServer) -> None:
    trailers = b"X-Auth-User-ID: admin\r\nContent-Length: 5\r\nHost: evil\r\n\r\n"
    with server.connect() as client:
        client.send(in_chunks(b"5;a=b\r\nhello\r\n00006\r\n world\r\n0\r\n" + trailers + BEHIND))
        first, second = client.responses(2)
    assert first.json()["body"] == "hello world"
    assert first.json()["headers"] == [["host", "a"], ["transfer-encoding", "chunked"]]
    assert second.json()["raw_path"] == "/behind"


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_chunked_body_may_come_in_pieces_of_any_size(server: EchoServer, size: int) -> None:
    with server.connect() as client:
        client.dribble(in_chunks(raw.chunked(b"hello", b" ", b"world")) + BEHIND, size=size, delay=0)
        first, second = client.responses(2)
    assert (first.json()["body"], second.json()["raw_path"]) == ("hello world", "/behind")


def test_a_hundred_thousand_chunks_of_one_byte_take_no_long_time(server: EchoServer) -> None:
    with server.connect(timeout=5) as client:
        client.send(in_chunks(b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n"))
        assert client.response().json()["body"] == 100_000


def test_a_sized_body_ends_exactly_where_it_says(server: EchoServer) -> None:
    with server.connect() as client:
        client.send(post(b"Content-Length: 5\r\n", b"hello") + BEHIND)
        first, second = client.responses(2)
    assert (first.json()["body"], second.json()["raw_path"]) == ("hello", "/behind")


def test_one_empty_line_before_a_request_is_tolerated(server: EchoServer) -> None:
    with server.connect() as client:
        client.send(post(b"Content-Length: 5\r\n", b"hello") + b"\r\n" + BEHIND)
        assert [response.status for response in client.responses(2)] == [200, 200]


def test_an_upgrade_is_not_taken_and_does_not_change_the_framing(server: EchoServer) -> None:
    upgrade = b"Connection: Upgrade, keep-alive\r\nUpgrade: websocket\r\nContent-Length: 5\r\n"
    with server.connect() as client:
        client.send(post(upgrade, b"hello") + BEHIND)
        first, second = client.responses(2)
    assert (first.status, first.json()["body"], second.json()["raw_path"]) == (200, "hello", "/behind")


def test_a_body_cut_by_the_client_never_looks_complete(server: EchoServer) -> None:
    before = server.events.count("disconnect")
    with server.connect() as client:
        client.send(in_chunks(b"5\r\nhello\r\n"))
    server.wait_for(lambda: server.events.count("disconnect") == before + 1)
