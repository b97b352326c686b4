"""Clients that take their time: every wait has an end."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator

import pytest

from tests.support import raw
from tests.support.echo_app import EchoServer

UPLOAD = [("Content-Length", "1000")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EchoServer]:
    limits = {
        "head_seconds": 1.0,
        "idle_seconds": 1.0,
        "body_seconds": 1.0,
        "write_seconds": 1.0,
        "linger_seconds": 1.0,
    }
    with EchoServer(tmp_path_factory.mktemp("echo"), **limits) as server:
        yield server


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EchoServer]:
    with EchoServer(tmp_path_factory.mktemp("echo"), connections=4, requests=2) as server:
        yield server


def reason_of_timeout(client: raw.RawClient) -> str:
    response = client.response()
    assert (response.status, response.header("connection")) == (408, "close")
    assert client.is_closed(timeout=2.5)
    return response.json()["reason"]


def test_a_head_that_stops_half_way_times_out(server: EchoServer) -> None:
    with server.connect(timeout=3) as client:
        client.send(raw.request()[:-2])
        assert reason_of_timeout(client) == "head_timeout"


def test_a_head_that_dribbles_times_out_all_the_same(server: EchoServer) -> None:
    began = time.monotonic()
    with server.connect(timeout=3) as client:
        with pytest.raises(OSError):
            client.dribble(raw.request(headers=[("X", "a" * 5000)]), delay=0.05)
        assert time.monotonic() - began < 4


def test_the_second_head_of_a_connection_has_a_deadline_too(server: EchoServer) -> None:
    with server.connect(timeout=3) as client:
        client.send(raw.request()).response()
        client.send(b"GET /")
        assert reason_of_timeout(client) == "head_timeout"


def test_a_connection_that_says_nothing_is_closed_without_a_word(server: EchoServer) -> None:
    with server.connect() as client:
        assert client.is_closed(timeout=3)


def test_an_idle_connection_is_closed_without_a_word(server: EchoServer) -> None:
    with server.connect() as client:
        client.send(raw.request()).response()
        assert not client.is_closed(timeout=0.5)
        assert client.is_closed(timeout=3)


def test_an_upload_that_stops_times_out(server: EchoServer) -> None:
    before = server.events.count("disconnect")
    with server.connect(timeout=3) as client:
        client.send(raw.request("POST", "/x", UPLOAD) + b"some")
        assert reason_of_timeout(client) == "body_timeout"
    assert server.events.count("disconnect") == before + 1


@pytest.mark.parametrize("framing", [b"0;" + b"x" * 40, b"0\r\nX: " + b"x" * 40], ids=["chunk extension", "trailer"])
def test_an_upload_of_which_only_framing_comes_times_out_too(server: EchoServer, framing: bytes) -> None:
    began = time.monotonic()
    with server.connect(timeout=3) as client:
        client.send(raw.request("POST", "/x", [("Transfer-Encoding", "chunked")]))
        for byte in framing:
            client.send(bytes([byte]))
            if select.select([client.socket], [], [], 0.1)[0]:
                break
        assert reason_of_timeout(client) == "body_timeout"
    assert time.monotonic() - began < 3


def test_an_upload_that_goes_on_slowly_does_not(server: EchoServer) -> None:
    with server.connect() as client:
        client.send(raw.request("POST", "/x", [("Content-Length", "20")]))
        client.dribble(b"x" * 20, delay=0.1)
        assert client.response().status == 200


def test_the_time_the_application_takes_is_not_the_client_s(server: EchoServer) -> None:
    with server.connect() as client:
        client.send(raw.request("POST", "/ignore?2", body=b"x" * 500_000))
        assert client.response().json()["body"] == 500_000


def test_a_client_that_never_reads_is_cut_off(server: EchoServer) -> None:
    with server.connect(receive_buffer=4096) as client:
        client.send(raw.request(target="/flood"))
        time.sleep(3)
        with pytest.raises(raw.Truncated):
            client.response()


def test_more_requests_at_once_than_allowed_are_told_to_come_back(small_server: EchoServer) -> None:
    with small_server.connect() as first, small_server.connect() as second, small_server.connect() as third:
        for client in (first, second):
            client.send(raw.request(target="/slow?0.5"))
        time.sleep(0.1)
        response = third.send(raw.request()).response()
        assert (response.status, response.header("retry-after")) == (503, "1")
        assert (response.json()["error"], response.header("connection")) == ("unavailable", "close")
        assert third.is_closed()
        assert [client.response().status for client in (first, second)] == [200, 200]
