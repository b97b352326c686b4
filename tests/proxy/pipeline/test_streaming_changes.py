"""Streams outlive what happens to the gateway around them."""

from __future__ import annotations

import signal
import threading
import time

import psutil
import pytest

from tests.support import raw
from tests.support.policies import demo_policy
from tests.support.scripted import answer
from tests.support.streams import Events, wait_until


def get(gateway) -> bytes:
    return raw.request("GET", "/api/public/x", host=f"localhost:{gateway.port}")


def test_a_new_policy_does_not_cut_open_streams(start_gateway, upstream):
    gateway = start_gateway()
    upstream.reply(events := Events())
    with gateway.connect() as client:
        client.send(get(gateway))
        client.read_head()
        gateway.import_policy(demo_policy(upstream.target).replace("/api/public", "/elsewhere"))
        assert gateway.get("/api/public/x").status == 404
        events.send(b"still here")
        assert client.read_chunk() == b"still here"


def test_term_lets_a_running_download_finish(start_gateway, upstream):
    gateway = start_gateway()
    go = threading.Event()

    def slowly(connection, request):
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        go.wait(5)
        connection.send(b"world")

    upstream.reply(slowly)
    with gateway.connect() as client:
        client.send(get(gateway))
        client.read_head()
        gateway.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        go.set()
        assert client.read(10) == b"helloworld"
    assert gateway.process.wait(10) == 0


def test_a_killed_worker_takes_only_its_own_streams_along(start_gateway, upstream):
    gateway = start_gateway(workers=2)
    upstream.reply(events := Events())
    clients = [gateway.connect() for _ in range(24)]
    for client in clients:
        client.send(get(gateway))
    assert [client.read_head().status for client in clients] == [200] * 24
    victim = psutil.Process(gateway.worker_pids()[0])
    lost_ports = {c.raddr.port for c in victim.net_connections() if c.raddr and c.laddr.port == gateway.port}
    victim.kill()
    assert wait_until(lambda: len(gateway.worker_pids()) == 2 and victim.pid not in gateway.worker_pids())
    time.sleep(0.1)
    events.send(b"event")
    for client in clients:
        if client.socket.getsockname()[1] in lost_ports:
            with pytest.raises(raw.Truncated):
                client.read_chunk()
        else:
            assert client.read_chunk() == b"event"
        client.close()
    upstream.clear()
    upstream.reply(answer(body=b"ok"))
    for _ in range(10):
        assert gateway.get("/api/public/x").body == b"ok"
