"""`serve --http2`: draining, reloading, and losing a worker."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time

import pytest

from tests.support import raw
from tests.support.scripted import answer
from tests.support.streams import wait_until


@pytest.fixture
def gateway(start_gateway):
    return start_gateway(args=("--http2",))


@pytest.fixture
def held(upstream):
    """Half of an answer, and the rest when this is set."""
    go = threading.Event()

    def reply(connection, request):
        connection.send(answer("Content-Length: 10", body=b"hello"))
        go.wait(10)
        connection.send(b"world")

    upstream.reply(reply, path="/api/public/held")
    return go


def replaced(gateway, old: list[int]) -> bool:
    return wait_until(lambda: gateway.worker_pids() and not {*old} & {*gateway.worker_pids()}, 15)


def serves(gateway) -> bool:
    def answers() -> bool:
        try:
            return gateway.get("/api/public/x").status == 200
        except OSError:
            return False

    return wait_until(answers)


def test_term_lets_a_request_in_flight_finish(gateway, held):
    with gateway.connect() as client:
        client.send(raw.request("GET", "/api/public/held", host=f"localhost:{gateway.port}")).read_head()
        gateway.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        held.set()
        assert client.read(10) == b"helloworld"
    assert gateway.process.wait(10) == 0
    assert len(gateway.log_lines(path="/api/public/held")) == 1


def test_hup_lets_requests_in_flight_finish_over_http2_too(gateway, upstream, held):
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("needs curl")
    url = f"http://localhost:{gateway.port}/api/public/held"
    with subprocess.Popen([curl, "-s", "--http2-prior-knowledge", url], stdout=subprocess.PIPE) as client:
        upstream.wait(1)
        old = gateway.worker_pids()
        gateway.process.send_signal(signal.SIGHUP)
        time.sleep(4.5)  # the new worker has been up for a while, and the old one has been told to end
        assert {*old} < {*gateway.worker_pids()}
        held.set()
        assert client.communicate(timeout=10)[0] == b"helloworld"
    assert replaced(gateway, old)
    assert serves(gateway)


def test_term_while_reloading_does_not_wait_for_every_worker(start_gateway):
    gateway = start_gateway(args=("--http2",), workers=2)
    gateway.process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(6) == 0  # one worker's turn takes 3.5 s


@pytest.mark.parametrize("after", ["start", "HUP"])
def test_a_killed_worker_is_replaced(gateway, after):
    if after == "HUP":
        first = gateway.worker_pids()
        gateway.process.send_signal(signal.SIGHUP)
        assert replaced(gateway, first)
    (victim,) = gateway.worker_pids()
    os.kill(victim, signal.SIGKILL)
    assert replaced(gateway, [victim])
    assert serves(gateway)


def test_a_worker_that_keeps_dying_is_tried_again_about_once_a_second(gateway):
    seen, end = set(), time.monotonic() + 3.5
    while time.monotonic() < end:
        assert gateway.process.poll() is None, gateway.output
        for pid in {*gateway.worker_pids()} - seen:
            seen.add(pid)
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    assert 3 <= len(seen) <= 5
    assert serves(gateway)
