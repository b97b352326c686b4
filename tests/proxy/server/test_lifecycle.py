"""Starting, draining, reloading, and losing a worker."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import raw
from tests.support.echo_app import EchoServer
from tests.support.load import Load


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., EchoServer]]:
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(EchoServer(tmp_path / "echo", **options))


def clients_of(server: EchoServer) -> Load:
    return Load(server.connect, raw.request(target="/slow?0.01"), clients=8)


def test_term_lets_requests_in_flight_finish_and_ends_with_zero(start: Callable[..., EchoServer]) -> None:
    server = start()
    with server.connect() as client:
        client.send(raw.request(target="/slow?1"))
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        response = client.response()
        assert (response.status, response.header("connection")) == (200, "close")
    assert server.process.wait(5) == 0


def test_term_does_not_wait_for_idle_connections(start: Callable[..., EchoServer]) -> None:
    server = start()
    with server.connect() as client:
        client.send(raw.request()).response()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(4) == 0


def test_draining_is_bounded_and_what_is_left_is_visibly_cut(start: Callable[..., EchoServer]) -> None:
    server = start(drain_seconds=1)
    with server.connect() as client:
        client.send(raw.request(target="/wait"))
        client.read_head()
        server.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert server.process.wait(6) == 0
        assert time.monotonic() - began > 0.9
        assert b"0\r\n\r\n" not in client.read_all()


def test_interrupt_ends_at_once(start: Callable[..., EchoServer]) -> None:
    server = start()
    with server.connect() as client:
        client.send(raw.request(target="/wait")).read_head()
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(4) == 0


def test_hup_replaces_the_workers_without_losing_a_request(start: Callable[..., EchoServer]) -> None:
    server = start(workers=2)
    old = set(server.worker_pids())
    with clients_of(server) as load:
        time.sleep(0.3)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(lambda: old.isdisjoint(server.worker_pids()), timeout=10)
        time.sleep(0.3)
    assert set(load.outcomes) == {"200"}
    assert len(server.worker_pids()) == 2


def test_a_killed_worker_loses_only_its_own_requests_and_is_replaced(start: Callable[..., EchoServer]) -> None:
    server = start(workers=2)
    victim = server.worker_pids()[0]
    with clients_of(server) as load:
        time.sleep(0.3)
        os.kill(victim, signal.SIGKILL)
        server.wait_for(lambda: len({*server.worker_pids()} - {victim}) == 2)
        time.sleep(0.5)
    assert load.outcomes["200"] > 100
    assert load.outcomes.total() - load.outcomes["200"] <= 8


def test_workers_do_not_outlive_their_master(start: Callable[..., EchoServer]) -> None:
    server = start(workers=2)
    workers = server.worker_pids()
    server.process.kill()
    server.process.wait()
    deadline = time.monotonic() + 5
    while any(os.path.exists(f"/proc/{pid}") for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_quiet_start_and_end_write_one_line(start: Callable[..., EchoServer]) -> None:
    server = start(connections=100)  # whatever the machine allows of open files
    server.stop()
    lines = server.log.splitlines()
    assert len(lines) == 1, server.log
    assert f"serving on http://127.0.0.1:{server.address[1]}, workers: 1" in lines[0]
