"""Clients that take their answers slowly hold nothing that others need."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest

from tests.support import raw
from tests.support.hasty import HASTY
from tests.support.streams import Memory, sockets, wait_until

READERS = 24
# Each apostrophe comes back as six characters.
PAGES = ("/admin/login/?next=/" + "'" * 1900, "/auth/signed-out?next=/" + "'" * 1900)


@contextmanager
def slow_readers(gateway, path):
    """They ask for a hundred answers each, and take 4 KiB every 3 s."""
    asked = raw.request(target=path, host=f"localhost:{gateway.port}") * 100
    clients = [socket.socket() for _ in range(READERS)]
    done = threading.Event()
    try:
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1460
            )  # as on a real network: the kernel takes less
            client.connect(gateway.address)
            client.setblocking(False)
        threads = [threading.Thread(target=read_slowly, args=(client, asked, done)) for client in clients]
        for thread in threads:
            thread.start()
        yield
    finally:
        done.set()
        for client in clients:
            client.close()


def read_slowly(client, left, done):
    while not done.wait(0.1):
        try:
            left = left[client.send(left) :] if left else left
            if int(time.monotonic() * 10) % 30 == 0:
                client.recv(4096)
        except BlockingIOError:
            pass
        except OSError:
            return


def status_elsewhere(gateway, path):
    """What another address is answered: the readers' own may wait for its turns."""
    with gateway.connect(source="127.0.0.2") as client:
        client.send(raw.request(target=path, host=f"localhost:{gateway.port}"))
        return client.response("GET").status


@pytest.mark.parametrize("server", ["http1", "http2"])
@pytest.mark.parametrize("path", PAGES, ids=["admin", "auth"])
def test_slow_readers_of_a_page_keep_nobody_from_it(start_gateway, server, path):
    gateway = start_gateway(args=("--http2",) if server == "http2" else ())
    memory = Memory(gateway)
    with slow_readers(gateway, path), ThreadPoolExecutor(9) as others:
        time.sleep(4)
        began = time.monotonic()
        statuses = list(others.map(lambda _: status_elsewhere(gateway, "/admin/login/"), range(9)))
        assert (statuses, time.monotonic() - began < 5) == ([200] * 9, True)
        assert memory.grown() < 24


@pytest.mark.parametrize("path", PAGES, ids=["admin", "auth"])
def test_a_page_that_is_not_taken_in_time_is_cut(start_gateway, path):
    """Although something of it is taken all the time."""
    gateway = start_gateway(program=HASTY)
    with gateway.connect(receive_buffer=4096, segment=1460) as client:
        client.send(raw.request(target=path, host=f"localhost:{gateway.port}") * 20)
        client.socket.recv(64)
        assert sockets(gateway) == 1

        def is_cut():
            with suppress(ConnectionResetError):
                client.socket.recv(64)
            time.sleep(0.1)
            return sockets(gateway) == 0

        assert wait_until(is_cut, 8)


def test_a_page_that_is_taken_at_once_is_whole_and_its_connection_kept(gateway):
    with gateway.connect() as client:
        for method in ("GET", "HEAD", "GET"):
            client.send(raw.request(method, PAGES[0], host=f"localhost:{gateway.port}"))
            answer = client.response(method)
            length = int(answer.header("content-length"))
            assert (answer.status, len(answer.body)) == (200, 0 if method == "HEAD" else length)
