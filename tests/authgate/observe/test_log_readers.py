"""Whoever reads the logs may stop, leave or run out of room: the gateway serves on, and says what was lost."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from authgate.observe.line_writer import HELD_BYTES, LineWriter, flush_all
from tests.support import raw
from tests.support.gateway import Gateway

StartGateway = Callable[..., Gateway]
BOTH_SERVERS = pytest.mark.parametrize("args", [(), ("--http2",)], ids=["http1", "http2"])
DROPPED = re.compile(r"(\d+) lines were dropped")
# More than a pipe and what a worker keeps hold together, also where two share them: a long path makes a long line.
LONG = "/api/protected/" + "a" * 7000
REQUESTS = 1400


class Pipe:
    """A reader that reads nothing until it is told to."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        self._data = bytearray()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def read(self) -> None:
        self._thread.start()

    def _read(self) -> None:
        while data := os.read(self._reader, 65536):
            self._data += data

    @property
    def text(self) -> str:
        return self._data.decode()

    def wait_for(self, pattern: re.Pattern[str], seconds: float = 10) -> list[str]:
        deadline = time.monotonic() + seconds
        while not (found := pattern.findall(self.text)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def close(self) -> None:
        os.close(self.writer)
        if self._thread.is_alive():
            self._thread.join(5)
        os.close(self._reader)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def ask(gateway: Gateway, count: int, target: str = LONG) -> set[int]:
    """The statuses of so many requests, over a few kept connections."""
    statuses: set[int] = set()
    request = raw.request(target=target, host=gateway.host)
    for _ in range(10):
        with gateway.connect() as client:
            for _ in range(count // 10):
                statuses.add(client.send(request).response().status)
    return statuses


def end(gateway: Gateway) -> float:
    """Seconds from TERM to the end of the server."""
    assert gateway.process is not None
    began = time.monotonic()
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(30) == 0
    return time.monotonic() - began


def replace_workers(gateway: Gateway) -> None:
    assert gateway.process is not None
    before, deadline = set(gateway.worker_pids()), time.monotonic() + 20
    gateway.process.send_signal(signal.SIGHUP)
    while before & set(gateway.worker_pids()) or len(gateway.worker_pids()) < gateway.workers:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@BOTH_SERVERS
def test_a_reader_of_the_access_log_that_stops_reading_stops_nothing(
    start_gateway: StartGateway, pipe: Pipe, args: tuple[str, ...]
) -> None:
    gateway = start_gateway(workers=2, args=args, stdout=pipe.writer)
    workers = gateway.worker_pids()
    assert ask(gateway, REQUESTS) == {401}
    assert gateway.worker_pids() == workers
    assert "lines are dropped" in gateway.output
    assert end(gateway) < 6


def test_what_was_lost_is_counted_and_said_when_the_reader_reads_again(start_gateway: StartGateway, pipe: Pipe) -> None:
    gateway = start_gateway(stdout=pipe.writer)
    ask(gateway, REQUESTS)
    pipe.read()
    deadline = time.monotonic() + 10
    while not DROPPED.search(gateway.output) and time.monotonic() < deadline:
        time.sleep(0.05)
    dropped = [int(count) for count in DROPPED.findall(gateway.output)]
    end(gateway)
    ids = [json.loads(line)["request_id"] for line in pipe.text.splitlines()]
    assert len(dropped) == 1
    assert len(set(ids)) + dropped[0] == REQUESTS + 1  # and the one that asked whether it was ready


@BOTH_SERVERS
def test_a_reader_of_the_log_that_stops_reading_stops_nothing(
    start_gateway: StartGateway, pipe: Pipe, args: tuple[str, ...]
) -> None:
    fcntl.fcntl(pipe.writer, fcntl.F_SETPIPE_SZ, 4096)
    gateway = start_gateway(workers=2, args=args, stderr=pipe.writer, env={"AUTHGATE_LOG_LEVEL": "debug"})
    os.set_blocking(pipe.writer, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(pipe.writer, b"somebody else's line\n")
    os.set_blocking(pipe.writer, True)
    assert ask(gateway, 200, "/auth/nowhere") == {404}
    replace_workers(gateway)
    assert ask(gateway, 200, "/auth/nowhere") == {404}
    assert end(gateway) < 8


@BOTH_SERVERS
def test_both_on_one_pipe_that_nobody_reads_stop_nothing(
    start_gateway: StartGateway, pipe: Pipe, args: tuple[str, ...]
) -> None:
    gateway = start_gateway(workers=2, args=args, stdout=pipe.writer, stderr=pipe.writer)
    assert ask(gateway, REQUESTS) == {401}
    assert end(gateway) < 8


def test_a_full_disk_is_said_once_and_stops_nothing(start_gateway: StartGateway) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    gateway = start_gateway(workers=1, stdout=full)
    os.close(full)
    for _ in range(20):
        assert gateway.get("/api/public/x").status == 200
        time.sleep(0.06)
    end(gateway)
    assert gateway.output.count("No space left on device") == 1


def test_a_reader_that_leaves_is_said_once_and_stops_nothing(start_gateway: StartGateway) -> None:
    reader, writer = os.pipe()
    gateway = start_gateway(workers=1, stdout=writer)
    os.close(writer)
    os.close(reader)
    for _ in range(20):
        assert gateway.get("/api/public/x").status == 200
        time.sleep(0.06)
    end(gateway)
    assert gateway.output.count("Broken pipe") == 1


def test_lines_logged_at_the_end_are_written(start_gateway: StartGateway, pipe: Pipe) -> None:
    pipe.read()
    gateway = start_gateway(stdout=pipe.writer)
    gateway.get("/api/public/last")
    end(gateway)
    assert '"/api/public/last"' in pipe.text


@pytest.fixture
def full_pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_a_line_that_an_error_cut_does_not_run_into_the_next(
    monkeypatch: pytest.MonkeyPatch, full_pipe: tuple[int, int]
) -> None:
    reader, descriptor = full_pipe
    writer, write = LineWriter(descriptor, "a log"), os.write

    def disk_fills_up(descriptor: int, data: bytes) -> int:
        if data.startswith(b"one"):
            return write(descriptor, b"on")
        if data.startswith(b"e"):
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", disk_fills_up)
    writer.put(b"one\n")
    writer.put(b"two\n")
    flush_all()
    assert os.read(reader, 100) == b"on\ntwo\n"


def test_a_writer_keeps_no_more_than_its_bound(full_pipe: tuple[int, int], caplog: pytest.LogCaptureFixture) -> None:
    reader, descriptor = full_pipe
    writer = LineWriter(descriptor, "a log")
    count = HELD_BYTES // 1024 + 1000
    for _ in range(count):
        writer.put(b"x" * 1023 + b"\n")
    os.set_blocking(reader, False)
    got = 0
    deadline = time.monotonic() + 5
    while not DROPPED.search(caplog.text) and time.monotonic() < deadline:
        with suppress(BlockingIOError):
            got += len(os.read(reader, 65536))
    with suppress(BlockingIOError):  # what it wrote last
        while True:
            got += len(os.read(reader, 65536))
    dropped = int(DROPPED.findall(caplog.text)[0])
    assert HELD_BYTES <= got == 1024 * (count - dropped) < 1024 * count


def test_somebody_who_makes_the_open_file_non_blocking_loses_no_line(full_pipe: tuple[int, int]) -> None:
    reader, descriptor = full_pipe
    os.set_blocking(descriptor, False)
    writer = LineWriter(descriptor, "a log")
    for number in range(20_000):
        writer.put(b"%07d\n" % number)
    got = b""
    while len(got) < 160_000:
        got += os.read(reader, 65536)
    assert got.splitlines() == [b"%07d" % number for number in range(20_000)]
