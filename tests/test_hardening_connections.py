"""Connections that say nothing: during their TLS handshake, and when there are too many of them."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import raw
from tests.support.certificates import Certificates
from tests.support.echo_app import EchoServer


@pytest.fixture
def tls_server(tmp_path: Path, certificates: Certificates) -> Iterator[EchoServer]:
    files = (str(certificates.cert_file), str(certificates.key_file))
    with EchoServer(tmp_path / "echo", tls=files, head_seconds=1.0) as server:
        yield server


@pytest.mark.parametrize(
    "said", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"], ids=["nothing", "half a hello"]
)
def test_a_handshake_has_as_long_as_a_head(tls_server: EchoServer, said: bytes) -> None:
    with tls_server.connect() as client:
        client.send(said)
        assert not client.is_closed(timeout=0.5)
        assert client.is_closed(timeout=3)


def test_a_finished_handshake_is_answered(tls_server: EchoServer, certificates: Certificates) -> None:
    with tls_server.connect(tls=certificates.client_context()) as client:
        answer = client.send(raw.request()).response()
    assert (answer.status, answer.json()["scheme"]) == (200, "https")


def test_a_client_that_shuts_its_side_has_left_although_it_has_not_taken_all(tmp_path: Path) -> None:
    """So little is left to send that nothing waits for it, and none of it is ever taken."""
    with EchoServer(tmp_path / "echo", write_seconds=4.0) as server, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        client.connect(server.address)
        client.sendall(raw.request(target="/much?60000"))
        time.sleep(0.5)
        assert "disconnect" not in server.events
        client.shutdown(socket.SHUT_WR)
        server.wait_for(lambda: "disconnect" in server.events, timeout=2)
        reset = select.poll()
        reset.register(client, 0)
        assert reset.poll(20_000)


def test_one_connection_too_many_is_closed_before_it_says_a_word(tmp_path: Path) -> None:
    with EchoServer(tmp_path / "echo", connections=4) as server:
        kept = [server.connect() for _ in range(4)]
        time.sleep(0.1)
        with server.connect() as late:
            assert late.response().status == 503
            assert late.is_closed(timeout=1)
        answers = [client.send(raw.request()).response().status for client in kept]
        for client in kept:
            client.close()
        assert answers == [200] * 4
        server.wait_for(lambda: server.send(raw.request()).status == 200)
