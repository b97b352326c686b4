"""More connections than files that may be open: a worker takes as many as it can serve, and waits in peace."""

from __future__ import annotations

import logging
import os
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from proxy.server.http1.limits import Limits
from proxy.server.listen import fit_to_files
from tests.support.gateway import Gateway
from tests.support.streams import wait_until

StartGateway = Callable[..., Gateway]
FILES = 400
SERVERS = [pytest.param((), id="http1"), pytest.param(("--http2",), id="http2")]


@contextmanager
def connections(gateway: Gateway, count: int) -> Iterator[None]:
    with ExitStack() as kept:
        for _ in range(count):
            kept.enter_context(socket.create_connection(gateway.address, 5))
        yield


def seconds_of_processor(gateway: Gateway) -> float:
    [worker] = gateway.worker_pids()
    with open(f"/proc/{worker}/stat") as stat:
        user, system = stat.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("args", SERVERS)
def test_a_worker_without_files_for_more_connections_uses_no_processor(
    start_gateway: StartGateway, args: tuple[str, ...]
) -> None:
    gateway = start_gateway(args=args, files=FILES)
    assert wait_until(lambda: gateway.get("/health").status == 200, 15)
    with connections(gateway, FILES + 50):
        time.sleep(1)
        before = seconds_of_processor(gateway)
        time.sleep(3)
        assert seconds_of_processor(gateway) - before < 0.3
    assert wait_until(lambda: gateway.get("/api/public/x").status == 200, 15)
    assert gateway.output.count("so a worker takes 72 connections instead of 10000") == 1


@pytest.mark.parametrize(("files", "level"), [(20_000, logging.INFO), (4_096, logging.WARNING)])
def test_a_limit_that_leaves_nearly_all_connections_is_no_warning(monkeypatch, caplog, files: int, level: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (files, files))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: None)
    with caplog.at_level(logging.INFO):
        fit_to_files(Limits())
    assert [record.levelno for record in caplog.records] == [level]
