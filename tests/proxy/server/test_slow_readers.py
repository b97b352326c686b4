"""Clients that take their answer slowly get all of it; those that have stopped taking it are cut off."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import raw
from tests.support.certificates import Certificates
from tests.support.echo_app import EchoServer

WRITE_SECONDS = 1.0
FLOOD_1_0 = b"GET /flood HTTP/1.0\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module", params=["plain", "TLS"])
def server(
    request: pytest.FixtureRequest, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EchoServer]:
    tls = (str(certificates.cert_file), str(certificates.key_file)) if request.param == "TLS" else None
    limits = {"write_seconds": WRITE_SECONDS, "head_seconds": 1.0}
    with EchoServer(tmp_path_factory.mktemp("echo"), tls=tls, **limits) as server:
        server.client_context = certificates.client_context() if tls else None
        yield server


def connect(server: EchoServer, **options: int) -> raw.RawClient:
    return server.connect(tls=server.client_context, **options)


def read_slowly(client: raw.RawClient, seconds: float) -> int:
    """A little every tenth of a second; how much it was."""
    taken, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        data = client.socket.recv(4096)
        assert data, "cut off"
        taken += len(data)
        time.sleep(0.1)
    return taken


def read_on(client: raw.RawClient, taken: int) -> int:
    """All the rest: how much there was, with what was taken before."""
    while data := client.socket.recv(65536):
        taken += len(data)
    return taken


def test_a_client_that_reads_slowly_is_not_cut_off(server: EchoServer) -> None:
    """The kernel keeps megabytes for it: for long nothing moves in our own buffer."""
    with connect(server, receive_buffer=4096) as client:
        client.send(raw.request(target="/flood"))
        taken = read_slowly(client, 4 * WRITE_SECONDS)
        while taken < 8_000_000:  # more than the kernel keeps after a cut
            data = client.socket.recv(65536)
            assert data, "cut off"
            taken += len(data)


def long_answer(server: EchoServer) -> int:
    """Have /events answer with more than the kernel would keep; its length."""
    with connect(server) as client:
        for target in [f"/events-{'x' * 8000}"] * 450:
            client.send(raw.request("HEAD", target))
            client.response("HEAD")
        length = client.send(raw.request("HEAD", "/events")).response("HEAD").header("content-length")
    assert length is not None and int(length) > 3_500_000
    return int(length)


def test_the_last_answer_of_a_connection_may_be_taken_slowly_too(server: EchoServer) -> None:
    length = long_answer(server)
    with connect(server, receive_buffer=4096) as client:
        client.send(raw.request(target="/events", headers=[("Connection", "close")]))
        head = client.read_head()
        assert head.header("connection") == "close"
        taken = len(client.buffer)
        taken += read_slowly(client, 4 * WRITE_SECONDS)
        assert read_on(client, taken) == length


def ends_with_reset(client: raw.RawClient) -> bool:
    """Whether the connection beneath ends with RST rather than with FIN; both are an end of file to TLS."""
    with socket.socket(fileno=os.dup(client.socket.fileno())) as beneath:
        beneath.settimeout(4)
        try:
            while beneath.recv(65536):
                pass
        except ConnectionResetError:
            return True
    return False


def test_the_last_answer_of_a_connection_has_to_be_taken(server: EchoServer) -> None:
    long_answer(server)
    with connect(server, receive_buffer=4096) as client:
        client.send(raw.request(target="/events", headers=[("Connection", "close")]))
        client.read_head()
        time.sleep(3 * WRITE_SECONDS)
        assert ends_with_reset(client)


def test_a_cut_answer_that_ends_with_its_connection_does_not_look_whole(server: EchoServer) -> None:
    with connect(server, receive_buffer=4096) as client:
        client.send(FLOOD_1_0)
        client.read_head()
        time.sleep(3 * WRITE_SECONDS)
        assert ends_with_reset(client)


def test_a_client_that_has_everything_and_says_no_goodbye_is_let_go(server: EchoServer) -> None:
    with connect(server) as client:
        client.send(raw.request(headers=[("Connection", "close")])).response()
        assert not ends_with_reset(client)


def test_a_client_that_is_cut_off_in_its_upload_is_let_go_without_a_goodbye(server: EchoServer) -> None:
    with connect(server) as client:
        client.send(raw.request("POST", "/wait", [("Transfer-Encoding", "chunked")])).read_head()
        client.send(b"nonsense\r\n")
        assert not ends_with_reset(client)


def test_a_client_that_is_one_too_many_is_let_go_without_a_goodbye(certificates: Certificates, tmp_path: Path) -> None:
    tls = (str(certificates.cert_file), str(certificates.key_file))
    with EchoServer(tmp_path / "echo", tls=tls, connections=1, head_seconds=2.0) as server:
        server.client_context = certificates.client_context()
        with connect(server), connect(server) as second:
            assert second.response().status == 503
            assert not ends_with_reset(second)
