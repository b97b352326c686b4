"""Requests whose extent is in doubt: refused, the connection closed, and nothing behind them is served."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support import raw
from tests.support.echo_app import EchoServer
from tests.support.framing import BROKEN_CHUNKS, DOUBTFUL_HEADS, OTHER_VERSIONS, in_chunks, post

NEXT = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"  # never served
BEHIND = b"GET /behind HTTP/1.1\r\nHost: a\r\n\r\n"  # served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EchoServer]:
    with EchoServer(tmp_path_factory.mktemp("echo")) as server:
        yield server


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


@pytest.mark.parametrize("data", DOUBTFUL_HEADS.values(), ids=DOUBTFUL_HEADS)
def test_a_doubtful_head_is_refused_and_nothing_behind_it_is_served(server: EchoServer, data: bytes) -> None:
    refused_for_good(server, data, 400)


@pytest.mark.parametrize("data", DOUBTFUL_HEADS.values(), ids=DOUBTFUL_HEADS)
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


@pytest.mark.parametrize("body", BROKEN_CHUNKS.values(), ids=BROKEN_CHUNKS)
def test_a_broken_chunk_is_refused_and_nothing_behind_it_is_served(server: EchoServer, body: bytes) -> None:
    refused_for_good(server, in_chunks(body), 400)


@pytest.mark.parametrize("body", BROKEN_CHUNKS.values(), ids=BROKEN_CHUNKS)
def test_a_broken_chunk_after_the_head_ends_the_request(server: EchoServer, body: bytes) -> None:
    with server.connect() as client:
        client.send(in_chunks(b"")).send(b"3\r\nabc\r\n").send(body)
        assert client.response().status == 400
        assert client.is_closed()


@pytest.mark.parametrize(
    ("target", "pieces", "status"),
    [("/x", [b"nonsense\r\n"], 400), ("/x", [b"3\r\nabc\r\n", b"nonsense\r\n"], 400), ("/raise", [b"0\r\n\r\n"], 500)],
)
def test_no_refusal_of_a_head_request_has_a_body(
    server: EchoServer, target: str, pieces: list[bytes], status: int
) -> None:
    with server.connect() as client:
        client.send(raw.request("HEAD", target, [("Transfer-Encoding", "chunked")]) + pieces[0])
        for piece in pieces[1:]:
            time.sleep(0.02)
            client.send(piece)
        assert client.response("HEAD").status == status
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
    assert first.json()["headers"] == [["host", "localhost"], ["transfer-encoding", "chunked"]]
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
    upgrade = b"Connection: Upgrade, keep-alive\r\nUpgrade: h2c\r\nContent-Length: 5\r\n"
    with server.connect() as client:
        client.send(post(upgrade, b"hello") + BEHIND)
        first, second = client.responses(2)
    assert (first.status, first.json()["body"], second.json()["raw_path"]) == (200, "hello", "/behind")


def test_a_body_cut_by_the_client_never_looks_complete(server: EchoServer) -> None:
    before = server.events.count("disconnect")
    with server.connect() as client:
        client.send(in_chunks(b"5\r\nhello\r\n"))
    server.wait_for(lambda: server.events.count("disconnect") == before + 1)
