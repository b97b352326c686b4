from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from authgate.observe.access_log import AccessLog, Record, new_request_id
from authgate.observe.line_writer import flush_all

FIELDS = [
    "ts", "request_id", "client", "method", "host", "path", "status", "bytes", "duration_ms", "upstream_ms",
    "route", "decision", "reason", "sub", "credential", "revision", "jti", "cut", "trace_id",
]  # fmt: skip


def last(gateway, **fields):
    return gateway.log_lines(wait_for=1, **fields)[-1]


def test_a_line_has_the_documented_fields_in_order(gateway, upstream):
    response = gateway.get("/api/public/fields")
    line = last(gateway, path="/api/public/fields")
    assert list(line) == FIELDS
    assert line["request_id"] == response.header("x-request-id") == upstream.only.header("x-request-id")
    assert (line["status"], line["decision"], line["reason"], line["route"]) == (200, "allow", "public", "public")
    assert line["bytes"] == len(response.body)
    assert 0 <= line["upstream_ms"] <= line["duration_ms"]


def test_a_refusal_says_why_under_the_id_the_caller_saw(gateway):
    refusal = gateway.get("/api/protected/refused").json()
    line = last(gateway, path="/api/protected/refused")
    assert (line["request_id"], line["reason"]) == (refusal["request_id"], "no_credential")
    assert (line["status"], line["decision"], line["sub"], line["upstream_ms"]) == (401, "deny", None, None)


def test_a_caller_is_named_also_on_the_gateways_own_pages(gateway, upstream):
    token = gateway.mint("alice")
    for path in ("/api/protected/named", "/auth/me"):
        gateway.get(path, token=token)
        line = last(gateway, path=path, status=200)
        assert (line["sub"], line["credential"]) == ("alice", "bearer")
        assert line["jti"]


def test_an_upstream_failure_is_an_allowed_request_with_its_reason(gateway, upstream):
    upstream.reply(b"nonsense\r\n\r\n")
    assert gateway.get("/api/public/broken").status == 502
    line = last(gateway, path="/api/public/broken")
    assert (line["decision"], line["reason"], line["status"]) == ("allow", "upstream_broken", 502)


def test_health_checks_leave_no_line(gateway):
    gateway.get("/health")
    gateway.get("/api/public/after-health")
    last(gateway, path="/api/public/after-health")
    assert gateway.log_lines(path="/health") == []


def test_queries_tokens_and_cookies_are_never_written(gateway, upstream):
    token = gateway.mint("alice")
    gateway.get("/api/public/secret?password=planted-query", token=token, headers=[("Cookie", "sid=planted-cookie")])
    last(gateway, path="/api/public/secret")
    written = gateway.output + json.dumps(gateway.log_lines())
    assert "planted" not in written
    assert token not in written


def test_control_characters_reach_the_log_only_escaped(gateway):
    answer = gateway.send(b"GET /api/%1b[31m HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
    last(gateway, request_id=answer.header("x-request-id"))
    assert "\x1b" not in gateway.output


def write(descriptor: int, count: int) -> None:
    """Lines of about 350 bytes, written together as in a moment of much traffic."""

    async def serve() -> None:
        log = AccessLog(descriptor)
        for number in range(count):
            log.write(Record(f"{number:032x}"))
        log.flush()

    asyncio.run(serve())
    flush_all()


def system_calls() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["syscw"])


def written(data: bytes) -> list[int]:
    return [int(json.loads(line)["request_id"], 16) for line in data.splitlines()]


def test_a_request_id_is_32_hexadecimal_digits():
    ids = {new_request_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert {(len(one), one.strip("0123456789abcdef")) for one in ids} == {(32, "")}


def test_a_request_that_was_never_read_has_a_line(tmp_path):
    with open(tmp_path / "log", "ab") as file:
        write(file.fileno(), 1)
    line = json.loads((tmp_path / "log").read_bytes())
    assert list(line) == FIELDS
    assert [line[name] for name in ("client", "method", "host", "path", "status", "bytes")] == ["", "", "", "", 0, 0]
    assert [line[name] for name in FIELDS[9:18]] == [None] * 9
    assert line["trace_id"] == line["request_id"]


def test_several_workers_on_one_pipe_write_whole_lines():
    # A pipe of packets gives out one write at a time.
    reader, writer = os.pipe2(os.O_DIRECT)
    write(writer, 100)
    os.close(writer)
    packets = list(iter(lambda: os.read(reader, 65536), b""))
    os.close(reader)
    assert all(len(packet) <= 4096 and packet.endswith(b"\n") for packet in packets)
    assert written(b"".join(packets)) == list(range(100))


@pytest.mark.parametrize(("mode", "most"), [("ab", 8), ("wb", 200)], ids=["appending", "not appending"])
def test_a_file_gets_every_line_and_in_few_writes_when_each_is_appended_whole(tmp_path, mode, most):
    with open(tmp_path / "log", mode) as file:
        before = system_calls()
        write(file.fileno(), 1000)
        writes = system_calls() - before
    assert written((tmp_path / "log").read_bytes()) == list(range(1000))
    assert writes <= most


def test_a_line_longer_than_one_write_is_not_cut(tmp_path):
    reader, writer = os.pipe()
    os.set_blocking(reader, False)

    async def serve() -> None:
        log = AccessLog(writer)
        for request_id in ("a", "b" * 9000, "c"):
            log.write(Record(request_id))
        log.flush()

    asyncio.run(serve())
    flush_all()
    lines = os.read(reader, 65536).splitlines()
    os.close(reader)
    os.close(writer)
    assert [json.loads(line)["request_id"] for line in lines] == ["a", "b" * 9000, "c"]


def test_a_log_that_cannot_be_written_is_one_line_of_complaint_and_stops_nothing(caplog):
    reader, writer = os.pipe()
    write(reader, 1)
    os.close(reader)
    os.close(writer)
    assert caplog.messages == ["access log: Bad file descriptor; lines are dropped, 1 so far"]
